"""Children that may die: who dies is named, who does not is done."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from medgan.workers import Workers

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = """
import os, sys, time
sys.path.insert(0, {root!r})
from medgan.workers import Workers
def stay(item):
    open(os.path.join({folder!r}, str(os.getpid())), "w").close()
    time.sleep(60)
if __name__ == "__main__":
    with Workers(2) as workers:
        list(workers.spread(range(2), stay, str))
"""


def squared(n: int) -> int:
    if n == 7:
        os.kill(os.getpid(), signal.SIGKILL)
    if n == 1000:
        raise ValueError("out of range")
    return n * n


def lost(n: int) -> int:
    return -n


def test_in_this_process_results_come_in_order() -> None:
    assert list(Workers(0).spread(range(4), squared, lost)) == [(0, 0), (1, 1), (2, 4), (3, 9)]


def test_an_item_that_kills_its_child_is_given_up_and_the_others_are_done_once() -> None:
    with Workers(2) as workers:
        done = list(workers.spread(range(14), squared, lost))
        assert list(workers.spread([3], squared, lost)) == [(3, 9)]
    assert sorted(done) == [(n, -7 if n == 7 else n * n) for n in range(14)]


def test_an_error_is_raised_where_the_result_was_asked_for() -> None:
    with Workers(1) as workers, pytest.raises(ValueError, match="out of range"):
        list(workers.spread([2, 1000, 3], squared, lost))


def test_children_do_not_outlive_a_parent_that_is_killed(tmp_path: Path) -> None:
    (tmp_path / "pids").mkdir()
    program = tmp_path / "program.py"
    program.write_text(PROGRAM.format(root=str(ROOT), folder=str(tmp_path / "pids")))
    parent = subprocess.Popen([sys.executable, program])
    _until(lambda: len(list((tmp_path / "pids").iterdir())) == 2)
    parent.kill()
    parent.wait()
    _until(lambda: not any(_alive(int(pid.name)) for pid in (tmp_path / "pids").iterdir()))


def _until(true: object, seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not true():  # type: ignore[operator]
        assert time.monotonic() < deadline
        time.sleep(0.05)


def _alive(pid: int) -> bool:
    from medgan.store import alive

    return alive(pid)
