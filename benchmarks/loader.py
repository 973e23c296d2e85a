"""Training batches from memory, against a plain gather (the limit) and against a DataLoader over Zarr (the usual way).

    ./run bench loader [--rounds 3]

One thread, CPU seconds, medians of interleaved rounds; shuffled batches of float32. "plain gather" takes rows of an
array into a buffer that is there already, and does not scale them; the others scale to [-1, 1]. The DataLoaders ask for
one image after the other, without workers, as is usual; their batches must equal ours. Goals: at least 0.7 times the
rate of the plain gather; at least 100 times that of a DataLoader over single items of a sharded Zarr at 64 x 64, and
20 times at 64 x 64 x 64. Exit 1 where one is missed.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ[name] = "1"

import numpy as np  # noqa: E402
import torch  # noqa: E402
import zarr  # noqa: E402
from numpy.typing import NDArray  # noqa: E402
from torch.utils.data import DataLoader, Dataset, Sampler  # noqa: E402

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT)]

from medgan.cohort.arrays import CohortArrays, write_cohort  # noqa: E402
from medgan.gan.data import Batches  # noqa: E402

CPU = torch.device("cpu")
LEAST = 0.7  # of the plain gather


@dataclass(frozen=True)
class Shape:
    name: str
    item: tuple[int, int, int, int]
    count: int
    batch: int
    over_zarr: float  # goal; 0: none


SHAPES = (
    Shape("64 x 64", (1, 1, 64, 64), 20_000, 64, 100),
    Shape("128 x 128", (1, 1, 128, 128), 6_000, 64, 0),
    Shape("64 x 64 x 64", (1, 64, 64, 64), 400, 4, 20),
)


class Items(Dataset[torch.Tensor]):
    """Single images, scaled, of an array or a Zarr array."""

    def __init__(self, images: Any) -> None:
        self.images = images

    def __getitem__(self, index: int) -> torch.Tensor:
        return torch.from_numpy(self.images[index].astype(np.float32) * np.float32(2 / 255) - np.float32(1))

    def __len__(self) -> int:
        return len(self.images)


class Same(Sampler[list[int]]):
    """The rows of our own batches, so that results can be compared."""

    def __init__(self, batches: Batches) -> None:
        self.batches = batches

    def __iter__(self) -> Iterator[list[int]]:
        for start in range(0, len(self.batches.images) - self.batches.batch + 1, self.batches.batch):
            yield self.batches.index(start).tolist()


def rates(shape: Shape, zarred: Any, images: NDArray[np.uint8], rounds: int) -> dict[str, float]:
    """Images a CPU second of each way."""
    batches = Batches(images, np.zeros(len(images), np.uint16), shape.batch, 0)
    buffer = np.empty((shape.batch, *shape.item), np.float32)
    many = min(200, len(images) // shape.batch)

    def plain() -> int:
        for number in range(many):
            buffer[...] = images[batches.index(number * shape.batch)]
        return many

    def ours() -> int:
        for number in range(many):
            batches.at(number * shape.batch, CPU)
        return many

    def loader(source: Any, count: int) -> Callable[[], int]:
        data = DataLoader(Items(source), batch_sampler=Same(batches))
        return lambda: len(list(islice(iter(data), count)))

    ways = {
        "plain gather": plain,
        "medgan": ours,
        "DataLoader over an array": loader(images, min(many, 20)),
        "DataLoader over Zarr": loader(zarred, 2),
    }
    for way in ways.values():
        way()
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            start = time.process_time()
            done = way()
            taken[name].append(done * shape.batch / (time.process_time() - start))
    return {name: statistics.median(some) for name, some in taken.items()}


def same(shape: Shape, zarred: Any, images: NDArray[np.uint8]) -> bool:
    """Whether the first batches of a DataLoader over Zarr are ours, value for value."""
    batches = Batches(images, np.zeros(len(images), np.uint16), shape.batch, 0)
    theirs = islice(DataLoader(Items(zarred), batch_sampler=Same(batches)), 2)
    return all(torch.equal(batches.at(n * shape.batch, CPU)[0], batch) for n, batch in enumerate(theirs))


def report(shape: Shape, rounds: int) -> bool:
    images = np.random.default_rng(1).integers(0, 256, (shape.count, *shape.item)).astype(np.uint8)
    with tempfile.TemporaryDirectory() as folder:
        keys = np.full(shape.count, "0" * 32)
        column = np.zeros(shape.count)
        cohort = CohortArrays(images, column.astype(np.uint16), keys, column.astype(np.uint8), ("all",))
        write_cohort(Path(folder) / "cohort.zarr", cohort)
        zarred = zarr.open_array(Path(folder) / "cohort.zarr" / "images", mode="r")
        equal = same(shape, zarred, images)
        found = rates(shape, zarred, images, rounds)
    mine, limit, usual = found["medgan"], found["plain gather"], found["DataLoader over Zarr"]
    print(f"{shape.name}: batches {'equal' if equal else 'DIFFER'}; images a CPU second (times medgan)")
    for name, rate in found.items():
        print(f"  {name:26} {rate:10.0f}   {rate / mine:8.4f}")
    print(f"  of the plain gather {mine / limit:.2f}, goal {LEAST}")
    print(f"  times a DataLoader over Zarr {mine / usual:.0f}, goal {shape.over_zarr or 'none'}", flush=True)
    return equal and mine >= LEAST * limit and mine >= shape.over_zarr * usual


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    torch.set_num_threads(1)
    met = [report(shape, given.rounds) for shape in SHAPES]
    sys.exit(0 if all(met) else 1)


if __name__ == "__main__":
    main()
