"""Weights that a user brings: two kinds of file, nothing unpickled, the digest recorded, and anything else refused."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
import torch
from toy_chest import chest_cohort, chest_films, synthetic_cohort

from medgan.cohort import external, features, scorecard
from medgan.errors import UsageError


@pytest.fixture
def pictures() -> np.ndarray:
    return chest_films(8, size=32, seed=1, films=(1, 1))[0]


def scripted(path: Path, channels: int = 3) -> Path:
    torch.manual_seed(0)
    torch.jit.script(torch.nn.Sequential(torch.nn.Conv2d(channels, 5, 3), torch.nn.AdaptiveAvgPool2d(1))).save(path)
    return path


def test_a_network_of_ours_looks_the_same_after_a_round_trip(tmp_path: Path, pictures: np.ndarray) -> None:
    network = features.untrained(pictures, 3, seed=4)
    external.save(network, tmp_path / "eyes.safetensors")
    found = external.load(tmp_path / "eyes.safetensors")
    assert np.array_equal(found.features(pictures), features.seen(network, pictures, 0))
    assert found.digest == hashlib.sha256((tmp_path / "eyes.safetensors").read_bytes()).hexdigest()


def test_a_torchscript_archive_sees_pictures_and_volumes(tmp_path: Path, pictures: np.ndarray) -> None:
    found = external.load(scripted(tmp_path / "net.pt"))
    assert found.kind == "torchscript"
    assert found.features(pictures).shape == (8, 5)
    assert found.features(np.repeat(pictures, 6, axis=2)).shape == (8, 5)


def weights_of(kind: str, path: Path) -> Path:
    if kind == "checkpoint":
        torch.save({"weight": torch.zeros(3)}, path)
    elif kind == "other safetensors":
        from safetensors.torch import save_file

        save_file({"weight": torch.zeros(3)}, path)
    elif kind == "text":
        path.write_text("weights")
    return path


@pytest.mark.parametrize("kind", ["checkpoint", "other safetensors", "text", "missing"])
def test_any_other_file_is_refused_without_its_name(kind: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="safetensors of our own network") as error:
        external.load(weights_of(kind, tmp_path / "secret-name"))
    assert "secret-name" not in str(error.value)


def test_a_network_that_takes_other_pictures_is_refused(tmp_path: Path, pictures: np.ndarray) -> None:
    with pytest.raises(UsageError, match="did not take"):
        external.load(scripted(tmp_path / "net.pt", channels=7)).features(pictures)
    external.save(features.untrained(np.repeat(pictures, 4, axis=2), 3, seed=0), tmp_path / "four.safetensors")
    with pytest.raises(UsageError, match="4 channels"):
        external.load(tmp_path / "four.safetensors").features(pictures)


def test_many_features_are_seen_on_the_leading_axes_of_the_real_ones() -> None:
    rng = np.random.default_rng(0)
    plane = rng.normal(size=(2, 300))
    real, fake = rng.normal(size=(60, 2)) @ plane, rng.normal(size=(40, 2)) @ plane
    found = external.leading({"real": real, "synthetic": fake})
    assert found["real"].shape == (60, 30) and found["synthetic"].shape == (40, 30)
    assert np.linalg.norm(found["synthetic"][0] - found["synthetic"][1]) == pytest.approx(
        np.linalg.norm(fake[0] - fake[1])
    )
    narrow = {"real": real[:, :20], "synthetic": fake[:, :20]}
    assert external.leading(narrow) is narrow


def test_a_scorecard_says_which_weights_looked_or_that_none_did(tmp_path: Path) -> None:
    real = chest_cohort({"train": 16, "select": 8, "audit": 8, "fresh": 3}, size=32)
    images, label, _ = chest_films(30, size=32, seed=7, films=(1, 1))
    limits = scorecard.Limits(alpha=0.01, smallest_leak=0.25, max_epsilon=0.5)

    def fidelity(weights: Path | None) -> dict:
        offered = synthetic_cohort(images, label)
        return scorecard.compose(offered, real, limits=limits, look=1, steps=3, seed=0, weights=weights).card[
            "fidelity"
        ]

    assert fidelity(None)["external"].startswith("skipped")
    path = scripted(tmp_path / "net.pt")
    found = fidelity(path)["external"]
    assert found["digest"] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert found["metrics"]["fd"]["ratio"] > 0
