"""A checkpoint becomes a model version that loads and samples anywhere, or it becomes none."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch

from medgan.errors import CorruptArtefact, MedganError, UsageError
from medgan.gan.checkpoint import load_generator, seal
from medgan.gan.networks import Design, build_discriminator, build_generator
from medgan.gan.sample import sample
from medgan.registry import models
from medgan.registry.tracking import local_uri, open_client

CLASSES = ["normal", "nodule"]


def checkpoint(folder: Path, seed: int = 0) -> Path:
    design = Design(shape=(1, 1, 32, 32), num_classes=2, widths=(16, 16, 16), head=2, latent=8)
    chance = torch.Generator().manual_seed(seed)
    folder.mkdir(parents=True)
    state = {"images_seen": 64, "classes": CLASSES, "proportions": [0.75, 0.25]}
    seal(folder, build_generator(design, chance), build_discriminator(design, chance), state)
    return folder


@dataclass(frozen=True)
class Registry:
    uri: str
    folder: Path
    version: str


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Registry:
    root = tmp_path_factory.mktemp("registry")
    uri, folder = local_uri(root / "mlflow"), checkpoint(root / "checkpoint")
    version = models.register(folder, name="medgan", uri=uri, tags={"scorecard": "s1"}, metrics={"fd": 0.1})
    return Registry(uri, folder, version)


def stored(registry: Registry) -> Path:
    source = open_client(registry.uri).get_model_version("medgan", registry.version).source
    return Path(source.removeprefix("file://"))


def test_registering_the_same_checkpoint_again_is_the_same_version(registry: Registry) -> None:
    assert models.register(registry.folder, name="medgan", uri=registry.uri) == registry.version
    assert len(models.history("medgan", registry.uri)) == 1


def test_a_version_carries_what_was_said_about_it(registry: Registry) -> None:
    (version,) = models.history("medgan", registry.uri)
    assert version.tags["scorecard"] == "s1"
    assert version.metrics == {"fd": 0.1}
    assert len(version.checkpoint) == 64


def test_stored_are_the_generator_and_its_code_and_nothing_else(registry: Registry) -> None:
    files = {path.relative_to(stored(registry)).as_posix() for path in stored(registry).rglob("*") if path.is_file()}
    assert {name for name in files if name.startswith("artifacts/")} == {
        "artifacts/checkpoint/generator.safetensors",
        "artifacts/checkpoint/state.json",
    }
    code = {name for name in files if name.startswith("code/")}
    assert {"code/medgan/gan/networks.py", "code/medgan/gan/sample.py", "code/medgan/gan/labels.py"} <= code
    assert not [name for name in code if "deid" in name or "stages" in name or "home" in name]
    assert not [name for name in files if name.endswith((".pkl", ".pt", ".bin", ".pyc", ".joblib"))]


def test_requirements_are_pinned_and_have_no_local_tag(registry: Registry) -> None:
    lines = (stored(registry) / "requirements.txt").read_text().split()
    assert all("==" in line and "+" not in line for line in lines)
    assert {"torch", "safetensors", "numpy", "mlflow"} <= {line.partition("==")[0] for line in lines}


PROGRAM = """
import importlib.util, json, sys
import numpy as np
assert importlib.util.find_spec("medgan") is None
import mlflow, pandas as pd
mlflow.set_tracking_uri(sys.argv[1])
model = mlflow.pyfunc.load_model("models:/medgan@challenger")
asked = pd.DataFrame({"n": [2, 1], "label": ["nodule", None]})
np.save(sys.argv[2], model.predict(asked, params={"seed": 5}))
refused = []
for rows, params in (
    (pd.DataFrame({"n": [1]}), {"sed": 5}),
    (pd.DataFrame({"n": [1]}), None),
    (pd.DataFrame({"n": [1], "label": ["cat"]}), {"seed": 5}),
    (pd.DataFrame({"n": [0]}), {"seed": 5}),
    (pd.DataFrame({"n": [10**6]}), {"seed": 5}),
):
    try:
        model.predict(rows, params=params)
        refused.append("")
    except ValueError as error:
        refused.append(str(error))
print(json.dumps(refused))
"""


def test_an_aliased_model_samples_in_a_process_without_this_repository(registry: Registry, tmp_path: Path) -> None:
    models.set_alias("medgan", registry.uri, "challenger", registry.version)
    done = subprocess.run(
        [sys.executable, "-I", "-W", "ignore", "-c", PROGRAM, registry.uri, str(tmp_path / "out.npy")],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]

    direct = sample(load_generator(registry.folder), np.array([1, 1, 0]), seed=5)
    np.testing.assert_allclose(np.load(tmp_path / "out.npy"), direct, atol=1e-5)
    misspelt, missing, no_class, none, too_many = json.loads(done.stdout.splitlines()[-1])
    assert "seed is missing or misspelt" in misspelt
    assert "seed is missing or misspelt" in missing
    assert "classes are normal, nodule" in no_class
    assert "expected 1 or more" in none
    assert "expected 1 to 4096" in too_many


def test_an_alias_moves_and_the_champion_is_found(registry: Registry) -> None:
    assert models.champion("medgan", registry.uri) is None
    models.set_alias("medgan", registry.uri, "champion", registry.version)
    found = models.champion("medgan", registry.uri)
    assert found is not None
    assert found.version == registry.version
    assert "champion" in found.aliases


def test_a_later_scorecard_of_the_same_checkpoint_is_what_is_said_of_it(registry: Registry) -> None:
    models.register(registry.folder, name="medgan", uri=registry.uri, tags={"scorecard": "s2"}, metrics={"fd": 0.2})
    (version,) = models.history("medgan", registry.uri)
    assert (version.tags["scorecard"], version.metrics) == ("s2", {"fd": 0.2})


def damaged(folder: Path) -> None:
    weights = folder / "generator.safetensors"
    weights.write_bytes(weights.read_bytes()[:-4])


def not_finite(folder: Path) -> None:
    generator = load_generator(folder)
    for parameter in generator.parameters():
        torch.nn.init.constant_(parameter, float("nan"))
    state = json.loads((folder / "state.json").read_text())
    seal(folder, generator, build_discriminator(generator.design, torch.Generator()), state)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [(damaged, "cannot be loaded, nothing was registered"), (not_finite, "failed checks: finite")],
    ids=["damaged weights", "not finite"],
)
def test_what_fails_its_trial_is_not_registered(registry: Registry, tmp_path: Path, spoil, message: str) -> None:
    folder = checkpoint(tmp_path / "bad", seed=1)
    spoil(folder)
    with pytest.raises(MedganError, match=message):
        models.register(folder, name="medgan", uri=registry.uri)
    assert len(models.history("medgan", registry.uri)) == 1


def test_weights_that_differ_from_the_manifest_are_not_registered(registry: Registry, tmp_path: Path) -> None:
    folder = checkpoint(tmp_path / "changed", seed=2)
    (folder / "manifest.json").write_text(json.dumps({"files": {"generator.safetensors": {"sha256": "0" * 64}}}))
    with pytest.raises(CorruptArtefact, match="differ from its manifest"):
        models.register(folder, name="medgan", uri=registry.uri)


def test_a_name_that_a_registry_filter_cannot_hold_is_refused(registry: Registry) -> None:
    with pytest.raises(UsageError, match="model_name"):
        models.register(registry.folder, name="it's", uri=registry.uri)


def test_asking_an_absent_registry_makes_none(tmp_path: Path) -> None:
    uri = local_uri(tmp_path)
    assert models.champion("medgan", uri) is None
    assert models.history("medgan", uri) == []
    assert list(tmp_path.iterdir()) == []


def test_the_code_of_a_model_is_closed_under_its_imports() -> None:
    modules = models.closure(models.SERVED)
    assert "medgan.errors" in modules
    assert all(file.is_file() for file in modules.values())
