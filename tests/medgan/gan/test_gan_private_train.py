"""The training loop under differential privacy, in small."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from medgan.errors import MedganError, UsageError
from medgan.gan import checkpoint, private, spent
from medgan.gan import private_train as loop
from medgan.gan import train as gan
from medgan.gan.chance import Chance
from medgan.gan.networks import Design
from medgan.gan.private_train import Patients, train
from medgan.gan.spent import promised
from medgan.gan.train import Hyper, Progress

DESIGN = Design((1, 1, 16, 16), 2, widths=(16, 8), head=2)
HYPER = Hyper(loss="nonsaturating", batch=8, images=96, checkpoint_images=32, precision="fp32", augment=0.0)
TERMS = promised(patients=30, expected=8, steps=12, epsilon=5.0, delta=1e-3, discriminator_steps=2)
LABELS = np.arange(60) % 2
IMAGES = np.random.default_rng(0).integers(0, 256, (60, 1, 1, 16, 16)).astype(np.uint8)
OWNERS = np.array([f"{1 + i // 2:032x}" for i in range(60)])
KEY = bytes(range(32))

PROGRAM = """
import sys, torch
from pathlib import Path
torch.set_num_threads(1)
sys.path.insert(0, {here!r})
from test_gan_private_train import run_iterator
for progress in run_iterator(Path(sys.argv[1])):
    print(progress.images_seen, flush=True)
    if progress.images_seen == 48:
        sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def run_iterator(folder: Path, **more):
    what = {"design": DESIGN, "hyper": HYPER, "terms": TERMS, "images": IMAGES, "owners": OWNERS, **more}
    images, owners, design, hyper, terms = (what.pop(n) for n in ("images", "owners", "design", "hyper", "terms"))
    return train(images, LABELS[: len(images)], owners, design, hyper, terms, folder=folder, **what)


def run(folder: Path, **more: object) -> list[Progress]:
    return list(run_iterator(folder, **more))


def counted(folder: Path) -> int:
    return int(json.loads((folder / spent.FILE).read_bytes())["counted"])


def newest(folder: Path) -> checkpoint.Snapshot:
    found = checkpoint.latest(folder)
    assert found is not None
    return found


def test_a_run_makes_its_steps_and_says_what_they_cost(tmp_path: Path) -> None:
    seen = run(tmp_path)
    assert [p.images_seen for p in seen] == list(range(8, 104, 8))
    rest = newest(tmp_path).rest["privacy"]
    assert rest["steps"] == counted(tmp_path) == 12 and rest["terms"] == asdict(TERMS)
    assert spent.statement(TERMS, 12)["epsilon"] <= 5.0
    assert run(tmp_path) == []
    moments = newest(tmp_path).tensors["optimisers"]
    assert all(bool(m.abs().sum() > 0) for name, m in moments.items() if ".second." in name)


def test_nothing_that_is_reported_is_read_off_a_real(tmp_path: Path) -> None:
    """The discriminator hardly moves; reals of another world change no figure but through it."""
    still = replace(HYPER, lr=1e-30)
    white = np.full_like(IMAGES, 255)
    one, other = (run(tmp_path / str(i), hyper=still, images=some) for i, some in enumerate((IMAGES, white)))
    assert [_figures(p) for p in one] == [_figures(p) for p in other]
    assert {(p.penalty, p.logit_gap) for p in one} == {(0.0, 0.0)}
    assert newest(tmp_path / "0").rest["history"] == newest(tmp_path / "1").rest["history"]


def _figures(progress: Progress) -> dict[str, float]:
    return {k: v for k, v in ((n, getattr(progress, n)) for n in progress.__dataclass_fields__) if k != "images_per_s"}


def test_the_same_seed_gives_other_noise_each_time_and_the_same_key_the_same(tmp_path: Path) -> None:
    for name, chance in (("a", None), ("b", None), ("c", Chance(KEY)), ("d", Chance(KEY))):
        run(tmp_path / name, chance=chance)
    a, b, c, d = (checkpoint.pack(newest(tmp_path / name).tensors["ema"]) for name in "abcd")
    assert a != b and c == d


def test_no_file_of_a_run_holds_the_key(tmp_path: Path) -> None:
    run(tmp_path, chance=Chance(KEY))
    for file in tmp_path.rglob("*"):
        if file.is_file():
            data = file.read_bytes()
            assert KEY not in data and KEY.hex().encode() not in data


def test_a_run_that_was_closed_goes_on_and_counts_each_step_once(tmp_path: Path) -> None:
    iterator = run_iterator(tmp_path)
    for progress in iterator:
        if progress.images_seen == 40:
            break
    iterator.close()
    assert newest(tmp_path).images_seen == 40 and counted(tmp_path) == 5
    pace = newest(tmp_path).rest["privacy"]["pace"]
    assert pace["since"] == 1 and 0 < pace["found"] < 1
    run(tmp_path)
    assert counted(tmp_path) == 12 and newest(tmp_path).images_seen == 96


def test_a_run_that_was_killed_pays_for_what_it_lost_and_ends_within_its_budget(tmp_path: Path) -> None:
    program = PROGRAM.format(here=str(Path(__file__).parent))
    child = subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    while child.stdout.readline().strip() != "48":
        assert child.poll() is None
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    assert newest(tmp_path).images_seen == 32 and newest(tmp_path).rest["privacy"]["steps"] == 4
    assert counted(tmp_path) == 8  # up to the checkpoint at 64 images, which never came
    run(tmp_path)
    after = newest(tmp_path)
    # 12 steps were paid, 8 of them before the kill: 4 + 4 are in the weights
    assert after.images_seen == 64 and counted(tmp_path) == 12
    assert after.rest["privacy"]["left"] == 0 and run(tmp_path) == []


def test_a_budget_smaller_than_the_run_ends_it(tmp_path: Path) -> None:
    terms = replace(TERMS, epsilon=4.0)
    seen = run(tmp_path, terms=terms)
    assert 0 < len(seen) < 12
    assert spent.statement(terms, len(seen))["epsilon"] <= 4.0 < spent.statement(terms, len(seen) + 1)["epsilon"]


def test_a_run_that_diverges_fails_at_once_and_what_it_spent_stays_spent(tmp_path: Path) -> None:
    with pytest.raises(MedganError, match="private training diverged at .* what it spent is spent"):
        run(tmp_path, hyper=replace(HYPER, lr=1e30))
    assert counted(tmp_path) == 4


@pytest.mark.parametrize(
    ("change", "message"),
    [
        pytest.param({"owners": np.array(["0" * 32] * 60)}, "60 of 60 images are of no known patient", id="no key"),
        pytest.param({"owners": np.array([f"{i:032x}" for i in range(1, 61)])}, "for 30 patients", id="image as unit"),
    ],
)
def test_owners_that_do_not_fit_are_refused(tmp_path: Path, change: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        run(tmp_path, **change)


def test_a_folder_of_a_run_without_privacy_is_refused(tmp_path: Path) -> None:
    for _ in gan.train(IMAGES, LABELS, DESIGN, HYPER, folder=tmp_path):
        pass
    with pytest.raises(UsageError, match="without privacy"):
        run(tmp_path)


def inclusion(draw, patients: int = 40, rate: float = 0.25, rounds: int = 4000) -> tuple[float, float, float]:
    """Mean number drawn, its variance, and how often who was drawn is drawn again in the next step."""
    seen = np.zeros((rounds, patients), bool)
    for row in seen:
        row[draw(rate)] = True
    sizes = seen.sum(axis=1)
    return float(sizes.mean()), float(sizes.var()), float((seen[1:] & seen[:-1]).sum() / seen[:-1].sum())


def poisson(mean: float, variance: float, again: float) -> bool:
    """Whether that is what 40 patients drawn at 0.25 give: mean 10, variance 7.5, again 0.25."""
    return abs(mean - 10) < 0.3 and abs(variance - 7.5) < 0.75 and abs(again - 0.25) < 0.015


def test_patients_are_drawn_each_on_their_own() -> None:
    patients = Patients.of(np.array([f"{1 + i:032x}" for i in range(40)]))
    chance = Chance(KEY)
    assert poisson(*inclusion(lambda rate: patients.draw(rate, chance)))


def test_planted_batches_of_one_size_or_of_epochs_are_found() -> None:
    rng = np.random.default_rng(0)
    epoch: list[int] = []

    def shuffled(rate: float) -> NDArray[np.int64]:
        if len(epoch) < 10:
            epoch[:] = rng.permutation(40).tolist()
        return np.array([epoch.pop() for _ in range(10)])

    assert not poisson(*inclusion(lambda rate: rng.choice(40, 10, replace=False)))
    assert not poisson(*inclusion(shuffled))


def test_the_images_of_a_drawn_patient_are_their_own_and_all_of_them_come_up() -> None:
    owners = np.array(["b", "a", "b", "c", "b"])
    patients = Patients.of(owners)
    assert [rows.tolist() for rows in patients.rows] == [[1], [0, 2, 4], [3]]
    rows = patients.images(np.repeat([0, 1, 2], 200), 2, Chance(KEY)).reshape(-1, 2)
    assert (owners[rows] == np.repeat(["a", "b", "c"], 200)[:, None]).all()
    assert set(rows[200:400].ravel()) == {0, 2, 4}


def largest_share(owners: NDArray[np.str_]) -> float:
    """Most that leaving out all images of one person moves a step's sum, in clipping norms; everybody is drawn."""
    keys = np.array([f"{1 + i // 3:032x}" for i in range(12)])  # whose they really are
    # all images of a person are the same: which of them comes up for the others shall not matter
    images = IMAGES[:12:3].repeat(3, axis=0)

    def total(kept: NDArray[np.bool_]) -> torch.Tensor:
        patients = Patients.of(owners[kept])
        begun = _begun(images[kept], owners[kept], len(patients.rows))
        like = list(begun.run.discriminator.parameters())
        found = private.gradients_of(begun.run.discriminator, _same_fakes(begun), 0.0)
        return torch.cat([t.flatten() for t in private.clipped_sum(found, like, 0.01)])

    whole = total(np.ones(12, bool))
    return max(float((whole - total(keys != key)).norm()) for key in np.unique(keys)) / 0.01


def _begun(images: NDArray[np.uint8], owners: NDArray[np.str_], count: int) -> loop.PrivateRun:
    terms = replace(TERMS, patients=count, expected=count)
    run = gan.start(DESIGN, HYPER, torch.device("cpu"))
    batches = loop.Batches(images, np.zeros(len(images), int), 8, 0)
    account = spent.Account(Path("nowhere"), terms, 1)
    return loop.PrivateRun(run, batches, Patients.of(owners), account, loop.Pace(1), Chance(KEY))


def _same_fakes(begun: loop.PrivateRun):
    """The step's pairs, every patient beside the same fake: only who is there differs."""
    for some in loop._pairs(begun):
        yield replace(some, fake=torch.zeros_like(some.fake), c=torch.ones_like(some.c))


def test_one_patient_with_many_images_counts_once() -> None:
    assert largest_share(np.array([f"{1 + i // 3:032x}" for i in range(12)])) <= 1 + 1e-6


def test_planted_images_sold_as_patients_are_found() -> None:
    assert largest_share(np.array([f"{1 + i:032x}" for i in range(12)])) > 1.5


def test_the_generator_cannot_tell_how_many_were_drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the same released gradients its weights are the same bits, whoever was drawn and whatever they look like."""

    def fixed(gradients, like, **_):
        for _some in gradients:
            pass
        return [torch.ones_like(p) for p in like]

    monkeypatch.setattr(private, "released", fixed)
    free = replace(TERMS, epsilon=100.0)
    everybody, white = replace(free, expected=30), np.full_like(IMAGES, 255)
    run(tmp_path / "few", terms=free)
    run(tmp_path / "all", terms=everybody, images=white)
    one, other = (newest(tmp_path / name).tensors for name in ("few", "all"))
    for part in ("generator", "ema", "discriminator"):
        assert checkpoint.pack(one[part]) == checkpoint.pack(other[part])


def test_the_generators_turn_comes_early_when_fakes_are_found_and_never_too_late() -> None:
    pace = loop.Pace(most=5)
    for _ in range(4):
        pace.note(0.0)
        assert not pace.due
    pace.note(0.0)
    assert pace.due
    pace = loop.Pace(most=50)
    while not pace.due:
        pace.note(1.0)
    assert 1 < pace.since < 10
