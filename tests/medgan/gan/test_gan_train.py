"""The training loop, in small."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from medgan.errors import MedganError, UsageError
from medgan.gan import checkpoint
from medgan.gan import train as gan
from medgan.gan.checkpoint import pack, rebuild
from medgan.gan.networks import Design
from medgan.gan.sample import sample
from medgan.gan.train import Hyper, Progress, train

DESIGN = Design((1, 1, 16, 16), 2, widths=(16, 8), head=2)
HYPER = Hyper(batch=4, images=48, checkpoint_images=12, precision="fp32", augment=0.5)
LABELS = np.arange(10) % 2
IMAGES = np.random.default_rng(0).integers(0, 256, (10, 1, 1, 16, 16)).astype(np.uint8)

PROGRAM = """
import sys, torch
from pathlib import Path
torch.set_num_threads(1)
sys.path.insert(0, {here!r})
from test_gan_train import DESIGN, HYPER, IMAGES, LABELS, train
for progress in train(IMAGES, LABELS, DESIGN, HYPER, folder=Path(sys.argv[1])):
    print(progress.images_seen, flush=True)
    if progress.images_seen == 32:
        sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def run(folder: Path, hyper: Hyper = HYPER, design: Design = DESIGN, **more: object) -> list[Progress]:
    images = np.random.default_rng(0).integers(0, 256, (10, *design.shape)).astype(np.uint8)
    return list(train(images, LABELS, design, hyper, folder=folder, **more))  # type: ignore[arg-type]


def weights(folder: Path) -> dict[str, bytes]:
    """Every tensor of the newest checkpoint, and the history, as bytes."""
    found = checkpoint.latest(folder)
    assert found is not None
    return {name: pack(part) for name, part in found.tensors.items()} | {"history": repr(found.rest).encode()}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("undisturbed")
    run(folder)
    return weights(folder)


def test_progress_counts_every_batch_to_the_target(tmp_path: Path) -> None:
    seen = run(tmp_path)
    assert [p.images_seen for p in seen] == list(range(4, 52, 4))
    assert seen[-1].lr == pytest.approx(HYPER.lr / 4) and seen[-1].gamma == pytest.approx(0.1)
    assert all(np.isfinite([p.discriminator_loss, p.generator_loss, p.penalty]).all() for p in seen)


def test_a_finished_run_has_nothing_left_to_do(tmp_path: Path) -> None:
    run(tmp_path)
    before = weights(tmp_path)
    assert run(tmp_path) == []
    assert weights(tmp_path) == before


@pytest.mark.parametrize("stop", [4, 12, 32, 44])
def test_a_run_that_was_closed_goes_on_to_the_same_bits(
    tmp_path: Path, stop: int, undisturbed: dict[str, bytes]
) -> None:
    iterator = train(IMAGES, LABELS, DESIGN, HYPER, folder=tmp_path)
    for progress in iterator:
        if progress.images_seen == stop:
            break
    iterator.close()
    found = checkpoint.latest(tmp_path)
    assert found is not None and found.images_seen == stop
    run(tmp_path)
    assert weights(tmp_path) == undisturbed


def test_a_run_that_was_killed_goes_on_to_the_same_bits(tmp_path: Path, undisturbed: dict[str, bytes]) -> None:
    program = PROGRAM.format(here=str(Path(__file__).parent))
    child = subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    while child.stdout.readline().strip() != "32":
        assert child.poll() is None
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    found = checkpoint.latest(tmp_path)
    assert found is not None and found.images_seen == 24
    run(tmp_path)
    assert weights(tmp_path) == undisturbed


def test_a_damaged_newest_checkpoint_costs_time_and_no_bit(tmp_path: Path, undisturbed: dict[str, bytes]) -> None:
    run(tmp_path)
    newest = sorted(tmp_path.iterdir())[-1]
    (newest / "discriminator.safetensors").write_bytes(b"")
    run(tmp_path)
    assert weights(tmp_path) == undisturbed


def test_another_seed_gives_other_weights(tmp_path: Path, undisturbed: dict[str, bytes]) -> None:
    run(tmp_path, Hyper(**{**_fields(HYPER), "seed": 1}))
    assert weights(tmp_path)["ema"] != undisturbed["ema"]


@pytest.mark.parametrize(
    ("able", "asked", "dtype"),
    [
        ({"avx2": True, "avx512_bf16": False}, "bf16", torch.float32),
        ({"avx512_bf16": True}, "bf16", torch.bfloat16),
        ({"avx512_bf16": False, "amx_bf16": True}, "bf16", torch.bfloat16),
        ({"avx512_bf16": True}, "fp32", torch.float32),
    ],
)
def test_bf16_is_used_only_where_the_processor_computes_in_it(
    monkeypatch: pytest.MonkeyPatch, able: dict[str, bool], asked: str, dtype: torch.dtype
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: able)
    gan._computes_bf16.cache_clear()
    try:
        begun = gan.start(DESIGN, Hyper(**{**_fields(HYPER), "precision": asked}), torch.device("cpu"))
        with gan._precision(begun):
            made = torch.nn.functional.conv2d(torch.zeros(1, 1, 4, 4), torch.zeros(1, 1, 3, 3))
        assert made.dtype == dtype
    finally:
        gan._computes_bf16.cache_clear()


@pytest.mark.parametrize(
    ("design", "change"),
    [
        pytest.param(DESIGN, {"precision": "bf16"}, id="bf16"),
        pytest.param(Design((1, 8, 16, 16), 2, widths=(16, 8), head=2), {"precision": "bf16"}, id="volume"),
        pytest.param(
            Design((1, 1, 16, 16), 2, kind="mlp"), {"loss": "nonsaturating", "gamma": 0.0, "augment": 0.0}, id="mlp"
        ),
        pytest.param(Design((1, 1, 16, 16), 2, kind="mlp"), {"loss": "minimax", "betas": (0.5, 0.999)}, id="minimax"),
        pytest.param(DESIGN, {"batch": 32, "images": 96, "condition_dropout": 0.0}, id="batch above cohort"),
    ],
)
def test_every_kind_of_run_moves_all_weights_and_stays_finite(
    tmp_path: Path, design: Design, change: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gan, "_computes_bf16", lambda _: True)  # emulated where need be
    run(tmp_path, Hyper(**{**_fields(HYPER), "images": 12, **change}), design)
    found = checkpoint.latest(tmp_path)
    assert found is not None
    for part in ("generator", "discriminator"):
        assert all(bool(t.isfinite().all()) for t in found.tensors[part].values())
    moments = found.tensors["optimisers"]
    assert all(bool(m.abs().sum() > 0) for name, m in moments.items() if ".second." in name)


def test_gamma_holds_the_discriminators_gradient_down(tmp_path: Path) -> None:
    last = {}
    for gamma in (0.1, 30.0):
        hyper = Hyper(**{**_fields(HYPER), "gamma": gamma, "images": 160})
        last[gamma] = np.mean([p.penalty for p in run(tmp_path / str(gamma), hyper)[-10:]])
    assert 0 < last[30.0] < last[0.1] / 2
    free = run(tmp_path / "free", Hyper(**{**_fields(HYPER), "gamma": 0.0, "images": 8}))
    assert [p.penalty for p in free] == [0.0, 0.0]


def test_the_clock_ends_a_run_and_the_next_one_goes_on(tmp_path: Path, undisturbed: dict[str, bytes]) -> None:
    ticks = iter(range(1000))
    some = run(tmp_path, budget_s=10.0, clock=lambda: float(next(ticks)))
    assert 0 < len(some) < 12
    run(tmp_path)
    assert weights(tmp_path) == undisturbed


def test_a_run_that_diverges_rolls_back_twice_at_half_the_rate_and_then_fails(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(MedganError, match=r"diverged for the third time, at \d+ images; use a smaller train.lr"):
        run(tmp_path, Hyper(**{**_fields(HYPER), "lr": 1e12}))
    assert caplog.text.count("half the learning rate") == 2


def test_one_bad_number_is_rolled_back_to_the_last_good_checkpoint(tmp_path: Path) -> None:
    iterator = train(IMAGES, LABELS, DESIGN, HYPER, folder=tmp_path)
    seen = []
    for progress in iterator:
        seen.append((progress.images_seen, progress.rollbacks))
        if progress.images_seen == 20 and progress.rollbacks == 0:
            frame = iterator.gi_frame  # type: ignore[attr-defined]
            next(frame.f_locals["run"].discriminator.parameters()).data.fill_(float("nan"))
    assert seen[4:6] == [(20, 0), (16, 1)]
    assert seen[-1] == (48, 1)


def test_checkpoints_of_another_run_are_not_taken_over(tmp_path: Path) -> None:
    run(tmp_path)
    with pytest.raises(UsageError, match="another run"):
        run(tmp_path, Hyper(**{**_fields(HYPER), "lr": 2e-3}))


def test_the_history_covers_the_whole_run(tmp_path: Path) -> None:
    run(tmp_path)
    found = checkpoint.latest(tmp_path)
    assert found is not None
    assert [row["images_seen"] for row in found.rest["history"]] == list(range(4, 52, 4))


def test_a_stop_within_a_row_of_the_history_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("medgan.gan.train.HISTORY_ROWS", 4)
    run(tmp_path / "whole")
    iterator = train(IMAGES, LABELS, DESIGN, HYPER, folder=tmp_path / "cut")
    assert next(iterator).images_seen == 4 and next(iterator).images_seen == 8
    iterator.close()
    run(tmp_path / "cut")
    whole = weights(tmp_path / "whole")
    assert whole["history"].count(b"generator_loss") == 4
    assert weights(tmp_path / "cut") == whole


def test_a_small_run_learns_where_the_images_are_bright(tmp_path: Path) -> None:
    """Class 0 is bright on the left, class 1 on the right."""
    images = np.zeros((64, 1, 1, 16, 16), np.uint8)
    labels = np.arange(64) % 2
    images[labels == 0, ..., :8] = 220
    images[labels == 1, ..., 8:] = 220
    images += np.random.default_rng(0).integers(0, 30, images.shape).astype(np.uint8)
    hyper = Hyper(batch=16, images=2400, checkpoint_images=2400, precision="fp32", augment=0.0, lr=2e-3)
    for _ in train(images, labels, DESIGN, hyper, folder=tmp_path):
        pass
    found = checkpoint.latest(tmp_path)
    assert found is not None
    made = sample(rebuild(found, DESIGN)[0], np.arange(16) % 2, seed=0)
    left_minus_right = made[..., :8].mean(axis=(1, 2, 3, 4)) - made[..., 8:].mean(axis=(1, 2, 3, 4))
    assert (left_minus_right[::2] > 0.5).all() and (left_minus_right[1::2] < -0.5).all()


def _fields(hyper: Hyper) -> dict[str, object]:
    return {name: getattr(hyper, name) for name in Hyper.__dataclass_fields__}
