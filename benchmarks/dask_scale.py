"""How the Dask map grows: 25,000 and 100,000 made-up studies over a local cluster of two workers.

    ./run bench dask_scale

A study is a record, and its work is to read one small file; chunks of 32 are a Dask task each. Told are core seconds
of this process, which holds the scheduler, and of the workers, and what this process's memory rises by at its highest
over what the studies take. Goals: four times the studies cost 3.2 to 4.8 times as much, at most 300 bytes a study
more between the two, and a task for 32 studies. Exit 1 where one is missed.
"""

from __future__ import annotations

import argparse
import gc
import os
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import psutil

from medgan import parallel
from medgan.records import Study

SMALL, LARGE, SIZE = 25_000, 100_000, 32
COST, BYTES_A_STUDY = (3.2, 4.8), 300
HEADER = 2048  # bytes of a header


@dataclass(frozen=True)
class Cost:
    """Of one map over `studies` studies."""

    studies: int
    core_s: float
    wall_s: float
    risen: int  # bytes
    tasks: int


def read(studies: list[Study], header: Path) -> list[int]:
    return [study.n_instances + len(header.read_bytes()) for study in studies]


def made_up(count: int) -> list[Study]:
    return [
        Study(
            study_key=f"{n:032x}",
            patient_key=f"{n // 3:032x}",
            digest=f"{n:064x}",
            n_instances=n % 700,
            modalities=("CT",),
            profile="1",
            removed=100,
            boxes=0,
        )
        for n in range(count)
    ]


def core_s() -> float:
    """Of this process and of the workers, which all live until the end."""
    there = [psutil.Process(), *psutil.Process().children(recursive=True)]
    return sum(sum(process.cpu_times()[:2]) for process in there)


def resident(which: str) -> int:
    """Bytes: VmRSS is what there is now, VmHWM the most since `forget_highest`."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(which))


def forget_highest() -> None:
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5")


def run(count: int, header: Path) -> Cost:
    studies, told = made_up(count), []
    forget_highest()
    before, spent, start = resident("VmRSS"), core_s(), time.perf_counter()
    found = parallel.in_chunks(studies, read, header, size=SIZE, on_progress=lambda done, _: told.append(done))
    cost = Cost(count, core_s() - spent, time.perf_counter() - start, resident("VmHWM") - before, len(told))
    if found != [study.n_instances + HEADER for study in studies]:
        sys.exit("results are missing or out of order")
    print(
        f"{count:7} studies: {cost.core_s:6.2f} core-s, {cost.wall_s:6.2f} s, {cost.tasks} tasks, "
        f"memory + {cost.risen / 2**20:.1f} MiB",
        flush=True,
    )
    return cost


def judged(small: list[Cost], large: Cost) -> bool:
    ratio = large.core_s / (sum(cost.core_s for cost in small) / len(small))
    rise = (large.risen - max(cost.risen for cost in small)) / (large.studies - small[0].studies)
    tasks = all(cost.tasks == -(-cost.studies // SIZE) for cost in (*small, large))
    print(f"four times the studies cost {ratio:.2f} times as much, goal {COST[0]} to {COST[1]}")
    print(f"{rise:.0f} bytes a study more, goal at most {BYTES_A_STUDY}")
    print(f"a task for {SIZE} studies: {'yes' if tasks else 'NO'}")
    return COST[0] <= ratio <= COST[1] and rise <= BYTES_A_STUDY and tasks


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.parse_args()
    if parallel.cores() < 2:
        sys.exit("this needs two processors")
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:2])  # so that there are two workers
    os.environ["MEDGAN_DASK"] = ""
    with tempfile.TemporaryDirectory() as folder:
        header = Path(folder) / "header"
        header.write_bytes(bytes(HEADER))
        try:
            run(SMALL, header)  # starts the cluster, and takes the memory that is kept for the next
            first, large, last = (run(count, header) for count in (SMALL, LARGE, SMALL))
        finally:
            parallel.close()
    sys.exit(0 if judged([first, last], large) else 1)


if __name__ == "__main__":
    main()
