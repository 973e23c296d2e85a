"""Cohort + TrainRecipe -> Checkpoint."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from medgan.cohort.arrays import CohortArrays, write_cohort
from medgan.errors import CorruptArtefact, MedganError, SourceError, UsageError
from medgan.gan.checkpoint import load_discriminator, load_generator
from medgan.home import Home
from medgan.recipes import TrainRecipe
from medgan.records import Checkpoint, Cohort
from medgan.stages.train import train

RECIPE = TrainRecipe(widths=(16, 8), head=2, batch=4, images=24, checkpoint_images=8)
GROUP = "XR-CHEST-2d-16"

PROGRAM = """
import sys
from pathlib import Path
sys.path.insert(0, {here!r})
from test_stages_train import RECIPE, cohort
from medgan.errors import MedganError
from medgan.home import Home
from medgan.stages.train import train
home = Home.create(Path(sys.argv[1]))
def on_progress(progress):
    print(progress.images_seen, flush=True)
    if progress.images_seen == 12:
        sys.stdin.readline()
try:
    train(cohort(home), RECIPE, home, on_progress=on_progress, threads=1)
except MedganError as error:
    print(type(error).__name__, error, flush=True)
    sys.exit(error.exit_code)
"""


def cohort(home: Home, *, side: int = 16, seed: int = 0, split: tuple[int, ...] = (0, 0, 0, 1, 2, 3)) -> Cohort:
    """24 images of 12 patients, sealed; the train part does not depend on `seed`."""
    part = np.array(split, np.uint8)[np.arange(24) // 2 % len(split)]
    images = np.random.default_rng(0).integers(0, 256, (24, 1, 1, side, side)).astype(np.uint8)
    held_out = np.random.default_rng(seed).integers(0, 256, images.shape).astype(np.uint8)
    images[part != 0] = held_out[part != 0]
    arrays = CohortArrays(
        images=images,
        label=(np.arange(24) % 3 == 0).astype(np.uint16),
        patient_key=np.array([f"{1 + i // 2:032x}" for i in range(24)]),
        split=part,
        classes=("normal", "nodule"),
        attributes={"group": GROUP, "unit": "patient"},
    )

    def fill(folder: Path) -> Cohort:
        write_cohort(folder / "cohort.zarr", arrays)
        return Cohort(
            origin="real",
            digest="",
            group=GROUP,
            count=24,
            patients=12,
            shape=(1, 1, side, side),
            classes=arrays.classes,
            splits={"train": int((part == 0).sum())},
        )

    return home.research.make(f"cohort-{side}-{seed}-{split}", fill, stage="preprocess", kind=Cohort)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home.create(tmp_path / "home")


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Home, Checkpoint]:
    home = Home.create(tmp_path_factory.mktemp("undisturbed"))
    return home, train(cohort(home), RECIPE, home, threads=1)


def test_a_checkpoint_holds_what_later_stages_need(undisturbed: tuple[Home, Checkpoint]) -> None:
    home, made = undisturbed
    folder = home.research.store.path(made.digest)
    assert sorted(p.name for p in folder.iterdir()) == [
        "discriminator.safetensors",
        "generator.safetensors",
        "history.json",
        "manifest.json",
        "samples.png",
        "state.json",
    ]
    state = json.loads((folder / "state.json").read_text())
    assert state["classes"] == ["normal", "nodule"] and state["shape"] == [1, 1, 16, 16]
    assert state["images_seen"] == made.images_seen == 24
    assert state["cohort_digest"] == made.cohort_digest and state["group"] == made.group == GROUP
    assert sum(state["proportions"]) == pytest.approx(1) and state["training_images"] == 12
    assert len(json.loads((folder / "history.json").read_text())) == 6
    assert load_generator(folder).classes == load_discriminator(folder).classes == ("normal", "nodule")
    home.research.store.verify(made.digest)


def test_the_lineage_names_the_patients_of_the_train_part_only(undisturbed: tuple[Home, Checkpoint]) -> None:
    home, made = undisturbed
    assert home.research.ledger.patients_of(made.digest) == {f"{1 + p:032x}" for p in range(12) if p % 6 < 3}
    assert home.research.ledger.made_of(made.digest) == {made.cohort_digest}


def test_a_second_call_trains_nothing(undisturbed: tuple[Home, Checkpoint]) -> None:
    home, made = undisturbed
    seen: list[object] = []
    assert train(cohort(home), RECIPE, home, on_progress=seen.append, threads=1) == made
    assert seen == [] and not list(home.work.glob("*"))


def test_another_home_gives_the_same_digest(home: Home, undisturbed: tuple[Home, Checkpoint]) -> None:
    assert train(cohort(home), RECIPE, home, threads=1).digest == undisturbed[1].digest


def test_images_outside_the_train_part_do_not_reach_the_weights(
    home: Home, undisturbed: tuple[Home, Checkpoint]
) -> None:
    other = cohort(home, seed=1)
    made = train(other, RECIPE, home, threads=1)
    assert other.digest != undisturbed[1].cohort_digest
    for name in ("generator.safetensors", "discriminator.safetensors", "samples.png"):
        files = [h.research.store.path(c.digest) / name for h, c in ((home, made), undisturbed)]
        assert files[0].read_bytes() == files[1].read_bytes()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_stopped_run_goes_on_to_the_same_digest(
    home: Home, undisturbed: tuple[Home, Checkpoint], number: signal.Signals
) -> None:
    child = subprocess.Popen(
        [sys.executable, "-c", PROGRAM.format(here=str(Path(__file__).parent)), str(home.root)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert child.stdout is not None
    while child.stdout.readline().strip() != "12":
        assert child.poll() is None
    child.send_signal(number)
    said, _ = child.communicate("go on\n", timeout=60)
    if number == signal.SIGTERM:
        assert child.returncode == 143 and "Stopped" in said
    seen: list[int] = []
    made = train(cohort(home), RECIPE, home, on_progress=lambda p: seen.append(p.images_seen), threads=1)
    assert seen[0] == (16 if number == signal.SIGTERM else 12)
    assert made.digest == undisturbed[1].digest


def test_a_run_cut_short_by_the_clock_is_sealed_apart_and_goes_on(
    home: Home, undisturbed: tuple[Home, Checkpoint]
) -> None:
    real = cohort(home)
    short = train(real, RECIPE, home, budget_s=1e-9, threads=1)
    assert short.images_seen < 24 and short.digest != undisturbed[1].digest
    assert train(real, RECIPE, home, threads=1).digest == undisturbed[1].digest


def _damage(home: Home, real: Cohort) -> Cohort:
    shard = next(p for p in (home.research.store.path(real.digest) / "cohort.zarr/images/c").rglob("*") if p.is_file())
    data = bytearray(shard.read_bytes())
    data[len(data) // 2] ^= 1
    shard.write_bytes(data)
    return real


@pytest.mark.parametrize(
    ("prepare", "error", "message"),
    [
        pytest.param(lambda h: cohort(h, side=64), UsageError, "makes images of 16 .* have 64; use", id="misfit"),
        pytest.param(lambda h: cohort(h, split=(2, 3)), SourceError, "no image in its train part", id="no train part"),
        pytest.param(lambda h: _damage(h, cohort(h)), CorruptArtefact, "missing or changed", id="damaged"),
    ],
)
def test_a_cohort_that_cannot_be_trained_on_is_refused(
    home: Home, prepare: Callable[[Home], Cohort], error: type[MedganError], message: str
) -> None:
    with pytest.raises(error, match=message):
        train(prepare(home), RECIPE, home, threads=1)
    assert not home.work.exists()


def test_the_mlp_baseline_trains_on_the_same_cohort(home: Home) -> None:
    recipe = TrainRecipe(network="mlp", loss="nonsaturating", batch=4, images=8, gamma=0.0, betas=(0.5, 0.999))
    made = train(cohort(home), recipe, home, threads=1)
    assert made.network == "mlp" and load_generator(home.research.store.path(made.digest)).shape == (1, 1, 16, 16)
