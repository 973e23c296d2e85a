"""A Dask cluster for tests: a scheduler and workers as processes of their own on loopback, gone at the end."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

PATIENCE_S = 60.0


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
    quiet: dict[str, Any] = {"stderr": open("/tmp/h8/log.txt","a")}
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
