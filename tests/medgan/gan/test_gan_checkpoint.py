"""Checkpoints on disk."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from medgan.errors import CorruptArtefact, MedganError, UsageError
from medgan.gan import checkpoint
from medgan.gan.checkpoint import Snapshot
from medgan.gan.networks import Design, build_discriminator, build_generator, condition

DESIGN = Design((1, 1, 16, 16), 2, widths=(16, 8), head=2)


def snapshot(images_seen: int) -> Snapshot:
    return Snapshot({"ema": {"w": torch.full((2, 3), images_seen / 3)}}, {"images_seen": images_seen, "x": 0.1})


@pytest.fixture
def sealed(tmp_path: Path) -> Path:
    """A finished checkpoint of untrained networks."""
    rng = torch.Generator().manual_seed(0)
    checkpoint.seal(
        tmp_path,
        build_generator(DESIGN, rng),
        build_discriminator(DESIGN, rng),
        {"images_seen": 5, "classes": ["a", "b"]},
    )
    return tmp_path


def test_what_was_saved_comes_back_to_the_bit(tmp_path: Path) -> None:
    checkpoint.save(tmp_path, snapshot(16))
    found = checkpoint.latest(tmp_path)
    assert found is not None and found.rest == snapshot(16).rest
    assert torch.equal(found.tensors["ema"]["w"], snapshot(16).tensors["ema"]["w"])


def test_without_a_checkpoint_there_is_none(tmp_path: Path) -> None:
    assert checkpoint.latest(tmp_path / "never") is None


def test_the_newest_two_are_kept_and_nothing_else(tmp_path: Path) -> None:
    for seen in (16, 32, 1600, 160_000):
        checkpoint.save(tmp_path, snapshot(seen))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["000000001600", "000000160000"]


def test_what_a_killed_writer_left_is_no_checkpoint_and_goes(tmp_path: Path) -> None:
    checkpoint.save(tmp_path, snapshot(16))
    (tmp_path / ".aside-1").mkdir()
    (tmp_path / ".aside-1" / "ema.safetensors").write_bytes(b"half")
    found = checkpoint.latest(tmp_path)
    assert found is not None and found.images_seen == 16
    checkpoint.save(tmp_path, snapshot(32))
    assert not list(tmp_path.glob(".aside*"))


def _cut(place: Path) -> None:
    data = (place / "ema.safetensors").read_bytes()
    (place / "ema.safetensors").write_bytes(data[:-1])


def _flip(place: Path) -> None:
    data = bytearray((place / "ema.safetensors").read_bytes())
    data[-1] ^= 1
    (place / "ema.safetensors").write_bytes(data)


def _edit(place: Path) -> None:
    text = (place / "state.json").read_text()
    (place / "state.json").write_text(text.replace('"x":0.1', '"x":0.2'))


DAMAGE = {
    "cut": _cut,
    "one bit": _flip,
    "edited": _edit,
    "not json": lambda place: (place / "state.json").write_text("{"),
    "a list": lambda place: (place / "state.json").write_text("[]"),
    "state lost": lambda place: (place / "state.json").unlink(),
    "weights lost": lambda place: (place / "ema.safetensors").unlink(),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE.keys())
def test_a_damaged_checkpoint_gives_way_to_the_one_before(
    tmp_path: Path, damage: Callable[[Path], object], caplog: pytest.LogCaptureFixture
) -> None:
    checkpoint.save(tmp_path, snapshot(16))
    damage(checkpoint.save(tmp_path, snapshot(32)))
    found = checkpoint.latest(tmp_path)
    assert found is not None and found.images_seen == 16
    assert "32 images is damaged" in caplog.text
    checkpoint.save(tmp_path, snapshot(32))
    again = checkpoint.latest(tmp_path)
    assert again is not None and again.images_seen == 32


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE.keys())
def test_when_all_are_damaged_nothing_is_guessed(tmp_path: Path, damage: Callable[[Path], object]) -> None:
    damage(checkpoint.save(tmp_path, snapshot(16)))
    with pytest.raises(CorruptArtefact, match="all 1 working checkpoints are damaged"):
        checkpoint.latest(tmp_path)


def test_sealed_networks_come_back_ready_to_use(sealed: Path) -> None:
    generator = checkpoint.load_generator(sealed)
    assert (generator.num_classes, generator.shape, generator.classes) == (2, (1, 1, 16, 16), ("a", "b"))
    assert not generator.training and not any(p.requires_grad for p in generator.parameters())
    images = generator(torch.randn(3, 64), condition(torch.tensor([0, 1, 1]), 2))
    maps, vector = checkpoint.load_discriminator(sealed).features(images)
    assert [m.shape[-1] for m in maps] == [8, 4] and vector.shape == (3, 16)


def test_sealing_twice_gives_the_same_bytes_and_no_pickle(
    sealed: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    rng, other = torch.Generator().manual_seed(0), tmp_path_factory.mktemp("other")
    networks = build_generator(DESIGN, rng), build_discriminator(DESIGN, rng)
    checkpoint.seal(other, *networks, {"classes": ["a", "b"], "images_seen": 5})
    for file in sealed.iterdir():
        assert file.suffix in (".safetensors", ".json")
        assert file.read_bytes() == (other / file.name).read_bytes()


def _state(**change: object) -> Callable[[Path], object]:
    def edit(folder: Path) -> None:
        state = json.loads((folder / "state.json").read_text())
        (folder / "state.json").write_text(json.dumps({**state, **change}))

    return edit


@pytest.mark.parametrize(
    ("damage", "error", "message"),
    [
        pytest.param(lambda f: (f / "state.json").unlink(), UsageError, "not a checkpoint", id="no state"),
        pytest.param(lambda f: (f / "state.json").write_text("{"), CorruptArtefact, "not readable JSON", id="not json"),
        pytest.param(lambda f: (f / "state.json").write_text("[]"), CorruptArtefact, "not readable JSON", id="a list"),
        pytest.param(_state(schema=9), UsageError, "schema 9, expected 1", id="schema"),
        pytest.param(_state(network={}), CorruptArtefact, "does not describe a network", id="no network"),
        pytest.param(
            _state(network={**DESIGN.as_json(), "latent": 32}),
            CorruptArtefact,
            "of another network",
            id="other network",
        ),
        pytest.param(
            lambda f: (f / "generator.safetensors").write_bytes(b"x" * 99), CorruptArtefact, "damaged", id="weights"
        ),
        pytest.param(lambda f: (f / "generator.safetensors").unlink(), CorruptArtefact, "missing", id="weights lost"),
    ],
)
def test_a_folder_that_is_no_whole_checkpoint_is_refused(
    sealed: Path, damage: Callable[[Path], object], error: type[MedganError], message: str
) -> None:
    damage(sealed)
    with pytest.raises(error, match=message):
        checkpoint.load_generator(sealed)
