"""A Dask cluster for tests: a scheduler and workers as processes of their own on loopback, gone at the end.

The functions for its workers are here too, since a worker that is started again imports their module again.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil

PATIENCE_S = 60.0
POISON = 7


@contextlib.contextmanager
def cluster(folder: Path, *, workers: int = 2, allowed_failures: int = 0) -> Iterator[str]:
    """A running cluster; yields its address. `folder` takes its files. Raises TimeoutError.

    Workers have one thread and a nanny, as by default; they find what this process can import.
    """
    told = folder / "scheduler.json"
    with contextlib.ExitStack() as stack:
        file, failures = ("--scheduler-file", str(told)), str(allowed_failures)
        _start(stack, folder, "dask_scheduler", "--port", "0", "--no-show", *file, ALLOWED_FAILURES=failures)
        address = json.loads(_awaited(told))["address"]
        for _ in range(workers):
            _start(stack, folder, "dask_worker", "--nthreads", "1", "--local-directory", str(folder), address)
        yield address


def _start(stack: contextlib.ExitStack, folder: Path, program: str, *words: str, **scheduler: str) -> None:
    command = [sys.executable, "-m", f"distributed.cli.{program}", "--host", "127.0.0.1", "--no-dashboard", *words]
    found = {"PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1", "MEDGAN_DASK": "serial"}
    found |= {f"DASK_DISTRIBUTED__SCHEDULER__{name}": value for name, value in scheduler.items()}
    quiet: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    process = subprocess.Popen(command, cwd=folder, env={**os.environ, **found}, **quiet)
    stack.callback(process.wait)
    stack.callback(process.kill)  # a nanny's worker ends with it


def _awaited(file: Path) -> bytes:
    until = time.monotonic() + PATIENCE_S
    while time.monotonic() < until:
        with contextlib.suppress(FileNotFoundError):
            if content := file.read_bytes():
                return content
        time.sleep(0.05)
    raise TimeoutError("the scheduler did not start")


def double(x: int, by: int) -> int:
    return x * by


def pids(items: list[int]) -> list[int]:
    return [os.getpid() for _ in items]


def deadly(items: list[int]) -> list[int]:
    if POISON in items:
        os.kill(os.getpid(), signal.SIGKILL)
    return [-item for item in items]


def deadly_after_writing(items: list[int], folder: Path) -> list[int]:
    """Each item leaves a file, to which a letter is added whenever it is done."""
    for item in items:
        if item == POISON:
            os.kill(os.getpid(), signal.SIGKILL)
        with (folder / str(item)).open("a") as file:
            file.write("x")
    return items


def deadly_once(item: int, folder: Path) -> int:
    if item == POISON and not (folder / "died").exists():
        (folder / "died").touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return -item


def slow(items: list[int], folder: Path) -> list[int]:
    (folder / str(os.getpid())).touch()
    time.sleep(0.1)
    return [-item for item in items]


KEPT: list[bytearray] = []


def greedy(items: list[int], limit: int) -> list[int]:
    """Takes nearly all of a worker's memory and keeps it; the poison takes more and more."""
    end = 16 * limit if POISON in items else int(0.87 * limit)
    while psutil.Process().memory_info().rss < end:
        KEPT.append(bytearray(b"x") * (4 << 20))
        time.sleep(0.002)
    time.sleep(0.3)  # a worker looks at its memory a few times a second
    return [-item for item in items]
