"""How many images a second training takes, against the machine's own ceiling and a plainer layout of the networks.

    ./run bench training [--rounds 3] [--steps 12] [--device cuda] [--profile]

An image is one real that both players have seen once: a step of each, exact penalties on reals and fakes,
augmentation, Adam, the average. On a processor: one thread, CPU seconds, medians of interleaved rounds; on a GPU the
clock, after the queue has run empty. "literal" lets blocks run at full resolution, as published layouts do, at
comparable width; "ours" ends in a pixel-shuffle head. The ceiling is the rate of the fastest plain matrix product in
the same precision, measured here; its share is the operations that the step's convolutions and products need (counted
by PyTorch, with both backward passes), over what the ceiling could have done meanwhile. --profile adds the time by
kind of kernel. Goals on a processor: 200 images a core second at 32 x 32, 120 at 64 x 64, and 5 times the literal
layout. Exit 1 where one is missed.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ.setdefault(name, "1")

import numpy as np  # noqa: E402
import torch  # noqa: E402
from torch.utils._python_dispatch import TorchDispatchMode  # noqa: E402
from torch.utils.flop_counter import flop_registry  # noqa: E402

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT)]

from medgan.gan.data import Batches  # noqa: E402
from medgan.gan.networks import Design  # noqa: E402
from medgan.gan.train import Hyper, Run, precision, start, step  # noqa: E402

TIMES_LITERAL = 5.0
IMAGES = 512  # of the training part
WARM = 3  # steps that do not count
PRODUCT = {"cpu": 1024, "cuda": 8192}  # side of the matrices whose product is the ceiling
KINDS = (  # of kernels, by what their names hold; the first that fits
    ("convolution", ("conv", "mkldnn_convolution")),
    ("matrix product", ("mm", "addmm", "bmm")),
    ("resampling", ("upsample", "avg_pool", "grid_sampl", "affine_grid", "pixel_")),
    ("optimiser and average", ("_foreach",)),
    ("copies and layout", ("copy_", "_to_copy", "cat", "clone", "contiguous", "fill_", "zero_")),
    ("chance", ("rand", "normal_", "uniform_")),
    ("activations, sums, other element by element", ("",)),
)


@dataclass(frozen=True)
class Case:
    """One layout; `goal`: images a core second on a processor, 0 for none."""

    name: str
    side: int
    widths: tuple[int, ...]
    head: int
    batch: int = 32
    goal: float = 0.0
    depth: int = 1
    precision: str = "bf16"

    @property
    def design(self) -> Design:
        return Design((1, self.depth, self.side, self.side), 2, widths=self.widths, head=self.head)


CPU = (
    Case("32 x 32 ours", 32, (96, 64, 48), 2, goal=200),
    Case("32 x 32 ours, fp32", 32, (96, 64, 48), 2, precision="fp32"),
    Case("32 x 32 literal", 32, (96, 64, 48, 32), 1, precision="fp32"),
    Case("64 x 64 ours", 64, (96, 96, 64), 4, goal=120),
    Case("64 x 64 ours, fp32", 64, (96, 96, 64), 4, precision="fp32"),
    Case("64 x 64 literal", 64, (96, 96, 64, 48, 32), 1, precision="fp32"),
)
GPU = (
    Case("64 x 64, S", 64, (192, 192, 128, 64), 2, batch=256),
    Case("128 x 128, M", 128, (384, 384, 256, 128, 64), 2, batch=256),
    Case("256 x 256, M", 256, (384, 384, 256, 128, 64, 32), 2, batch=128),
    Case("64 x 64 x 64", 64, (192, 128, 64, 32), 2, batch=16, depth=64),
)


def prepared(case: Case, device: torch.device) -> tuple[Run, Batches]:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (IMAGES, *case.design.shape), dtype=np.uint8)
    labels = rng.integers(0, 2, IMAGES)
    hyper = Hyper(batch=case.batch, images=10**6, precision=case.precision)  # type: ignore[arg-type]
    run = start(case.design, hyper, device)
    run.images_seen = hyper.images // 2  # augmentation is at work
    return run, Batches(images, labels, case.batch, seed=0)


def seconds(work: Callable[[], object], device: torch.device) -> float:
    """CPU seconds on a processor; on a GPU the clock."""
    if device.type == "cpu":
        at = time.process_time()
        work()
        return time.process_time() - at
    torch.cuda.synchronize(device)
    clock = time.perf_counter()
    work()
    torch.cuda.synchronize(device)
    return time.perf_counter() - clock


def rates(cases: tuple[Case, ...], device: torch.device, rounds: int, steps: int) -> dict[str, float]:
    """Images a second of each case, medians of interleaved rounds."""
    runs = {case.name: prepared(case, device) for case in cases}
    for run, batches in runs.values():
        for _ in range(WARM):
            step(run, batches)
    found: dict[str, list[float]] = defaultdict(list)
    for _ in range(rounds):
        for case in cases:
            run, batches = runs[case.name]
            took = seconds(lambda: [step(run, batches) for _ in range(steps)], device)  # noqa: B023
            found[case.name].append(case.batch * steps / took)
    return {name: statistics.median(some) for name, some in found.items()}


class Counter(TorchDispatchMode):
    """Operations of what runs inside. PyTorch's own counter hooks modules, which forbids a gradient of a gradient."""

    def __init__(self) -> None:
        super().__init__()
        self.total = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if func.overloadpacket in flop_registry:
            self.total += flop_registry[func.overloadpacket](*args, **(kwargs or {}), out_val=out)
        return out


def operations(case: Case, device: torch.device) -> float:
    """Floating-point operations for each image, of convolutions and products, forward and backward."""
    run, batches = prepared(case, device)
    with Counter() as counter:
        step(run, batches)
    return counter.total / case.batch


def ceiling(kind: str, device: torch.device) -> float:
    """Operations a second of one large matrix product in this precision, the best of several."""
    side = PRODUCT[device.type]
    dtype = torch.bfloat16 if kind == "bf16" else torch.float32
    a, b = (torch.randn(side, side, device=device, dtype=dtype) for _ in range(2))
    torch.mm(a, b)
    return max(2 * side**3 / seconds(lambda: torch.mm(a, b), device) for _ in range(8))


def profile(case: Case, device: torch.device, steps: int) -> None:
    """Print the share of time of each kind of kernel."""
    from torch.profiler import ProfilerActivity
    from torch.profiler import profile as profiled

    run, batches = prepared(case, device)
    for _ in range(WARM):
        step(run, batches)
    activities = [ProfilerActivity.CPU] + ([ProfilerActivity.CUDA] if device.type == "cuda" else [])
    with profiled(activities=activities) as seen:
        for _ in range(steps):
            step(run, batches)
    spent: dict[str, float] = defaultdict(float)
    for event in seen.key_averages():
        took = event.self_device_time_total if device.type == "cuda" else event.self_cpu_time_total
        spent[next(kind for kind, marks in KINDS if any(mark in event.key for mark in marks))] += took
    total = sum(spent.values())
    print(f"{case.name}: " + ", ".join(f"{k} {v / total:.0%}" for k, v in sorted(spent.items(), key=lambda i: -i[1])))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--profile", action="store_true")
    given = parser.parse_args()
    torch.set_num_threads(1)
    device = torch.device(given.device)
    cases = CPU if device.type == "cpu" else GPU
    unit = "core second" if device.type == "cpu" else "second"
    found = rates(cases, device, given.rounds, given.steps)
    tops = {kind: ceiling(kind, device) for kind in ("bf16", "fp32")}
    print(f"ceiling, operations a {unit}: bf16 {tops['bf16'] / 1e9:.0f} G, fp32 {tops['fp32'] / 1e9:.0f} G")
    print(f"{'':24}{'images a ' + unit:>22}{'MFLOP an image':>18}{'of the ceiling':>16}{'precision':>11}{'goal':>7}")
    met = True
    for case in cases:
        rate, needed = found[case.name], operations(case, device)
        kind = precision(Hyper(precision=case.precision), device.type)  # type: ignore[arg-type]
        goal = f"{case.goal:.0f}" if case.goal else ""
        share = rate * needed / tops[kind]
        print(f"{case.name:24}{rate:>22.0f}{needed / 1e6:>18.0f}{share:>16.0%}{kind:>11}{goal:>7}")
        met &= rate >= case.goal
    for side in ("32 x 32", "64 x 64") if device.type == "cpu" else ():
        times = found[f"{side} ours"] / found[f"{side} literal"]
        print(f"{side}: {times:.1f} times the literal layout (goal {TIMES_LITERAL:.0f})")
        met &= times >= TIMES_LITERAL
    for case in cases if given.profile else ():
        profile(case, device, given.steps)
    sys.exit(0 if met else 1)


if __name__ == "__main__":
    main()
