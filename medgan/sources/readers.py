"""A few child processes that read untrusted files, so that no file can hurt the one that decides."""

from __future__ import annotations

import contextlib
import errno
import os
import queue
import select
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future
from pathlib import Path
from types import TracebackType

from medgan.digest import sha256_file
from medgan.errors import HomeError, MedganError, Reason
from medgan.sources.reading import Reading, Task, parse_answer, remove_parts, settle, task_line

AHEAD = 16  # tasks under way for each child
AT_ONCE = 8  # of them in one message: what waits already, when there is more than one
RETIRE = 20_000  # files after which a child is replaced: whatever it hoarded goes with it
START_S = 120.0
BYTES_PER_S = 16 << 20  # what a file may take longer for its size
MAX_ANSWER = 8 << 20
NOT_STARTED = "a reader process could not be started; check free memory and the installation"
ROOT = Path(__file__).resolve().parents[2]
# numpy's idle threads would count against the limit of memory; pydicom would load a web client
START = (
    "import os, sys\nos.environ['OPENBLAS_NUM_THREADS'] = '1'\nsys.modules['requests'] = None\n"
    "sys.path.append(sys.argv.pop())\nfrom medgan.sources.reading import main\nmain()"
)


_Work = tuple[Task, "Future[Reading]"]


class Readers:
    """`n` children that read files side by side. Use it as a context: on leaving, all have ended.

    seconds: time for one file, and one second more for each 16 MiB. memory: bytes that a child may take.
    """

    def __init__(self, n: int, *, seconds: float = 60.0, memory: int = 1 << 30) -> None:
        self.seconds, self.memory = seconds, memory
        self._work: queue.SimpleQueue[_Work | None] = queue.SimpleQueue()
        self._room = threading.BoundedSemaphore(AHEAD * n)
        self._stop = threading.Event()
        self._children: dict[int, _Child] = {}
        self._threads = [threading.Thread(target=self._feed, args=(k,), name=f"reader-{k}") for k in range(n)]

    def __enter__(self) -> Readers:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Wait for what was submitted; after an error, drop it."""
        if kind is not None:
            self._stop.set()
            for child in list(self._children.values()):
                child.kill()
        for _ in self._threads:
            self._work.put(None)
        for thread in self._threads:
            thread.join()
        self._stop.set()
        self._cancel_left()

    def submit(self, task: Task) -> Future[Reading]:
        """Have one file read. Waits while more than sixteen files a child are under way. From any thread.

        The future raises HomeError when the disk of the landing folder fails, and MedganError when no child can be
        started; whatever the file holds gives a Reading.
        """
        self._room.acquire()
        future: Future[Reading] = Future()
        self._work.put((task, future))
        if self._stop.is_set():  # nobody may be left who would answer
            self._cancel_left()
        return future

    def _cancel_left(self) -> None:
        ends = 0
        with contextlib.suppress(queue.Empty):
            while True:
                work = self._work.get_nowait()
                if work is None:
                    ends += 1
                elif work[1].cancel():
                    self._room.release()
        for _ in range(ends):
            self._work.put(None)

    def _feed(self, k: int) -> None:
        """One thread, one child: a child ends with the thread that started it (PR_SET_PDEATHSIG)."""
        try:
            while works := self._taken():
                if self._stop.is_set():
                    for _, future in works:
                        future.cancel()
                asked = [work for work in works if work[1].set_running_or_notify_cancel()]
                left = self._answer_together(k, asked) if len(asked) > 1 else asked
                for number, (task, future) in enumerate(left):
                    self._answer(k, task, future, tries=1 if number == 0 and len(asked) > 1 else 2)
                for _ in works:
                    self._room.release()
        finally:
            self._end(k)

    def _taken(self) -> list[_Work]:
        """The next task, and some of those that wait behind it; none when there will be no more."""
        works: list[_Work] = []
        with contextlib.suppress(queue.Empty):
            while len(works) < AT_ONCE:
                work = self._work.get(block=not works)
                if work is None:
                    if works:
                        self._work.put(None)
                    break
                works.append(work)
        return works

    def _answer_together(self, k: int, works: Sequence[_Work]) -> Sequence[_Work]:
        """Answer tasks of one message. When the child dies of one of them, that and those behind it are left over."""
        try:
            child = self._child(k)
            child.tell(b"".join(task_line(task) for task, _ in works), len(works))
            for task, future in works:
                seconds = self.seconds + task.path.stat().st_size / BYTES_PER_S
                try:
                    reading = parse_answer(child.answer(seconds))
                    settle(task, reading)
                except OSError as error:
                    future.set_exception(_of_the_world(error))
                else:
                    future.set_result(reading)
        except (_TooSlow, _Died, ValueError, MedganError, OSError):
            self._end(k)
            return [work for work in works if not work[1].done()]
        return ()

    def _answer(self, k: int, task: Task, future: Future[Reading], *, tries: int) -> None:
        try:
            future.set_result(self._read(k, task, tries))
        except OSError as error:
            future.set_exception(_of_the_world(error))
        except BaseException as error:  # noqa: BLE001 as in concurrent.futures: whoever asked must hear of it
            future.set_exception(error)

    def _read(self, k: int, task: Task, tries: int) -> Reading:
        """Ask the child, and a fresh one once more when that dies or takes too long; so many tries are left."""
        seconds = self.seconds + task.path.stat().st_size / BYTES_PER_S
        reason = Reason.POISON
        for _ in range(tries):
            if self._stop.is_set():
                raise MedganError("the readers were stopped")
            try:
                child = self._child(k)
                child.tell(task_line(task), 1)
                reading = parse_answer(child.answer(seconds))
                settle(task, reading)
                return reading
            except _TooSlow:
                reason = Reason.UNSAFE_FILE
            except (_Died, ValueError):
                reason = Reason.POISON
            self._end(k)
        return _poisoned(task, reason)

    def _child(self, k: int) -> _Child:
        child = self._children.get(k)
        if child is not None and child.asked >= RETIRE:
            self._end(k)
            child = None
        if child is None:
            child = self._children[k] = _Child(self.memory)
        return child

    def _end(self, k: int) -> None:
        child = self._children.pop(k, None)
        if child is not None:
            child.end()


class _Died(Exception):
    """The child ended, or said what no healthy child says."""


class _TooSlow(Exception):
    """The child did not answer in time."""


class _Child:
    """One process that reads. Raises MedganError when it cannot be started."""

    def __init__(self, memory: int) -> None:
        self.asked = 0
        self._rest = b""
        self._process = _started(memory)
        assert self._process.stdin is not None and self._process.stdout is not None
        self._to, self._from = self._process.stdin, self._process.stdout
        self._poll = select.poll()
        self._poll.register(self._from, select.POLLIN)
        try:
            self._line(time.monotonic() + START_S)
        except (_Died, _TooSlow):
            self.end()
            raise MedganError("a reader process could not be started; check free memory and the installation") from None

    def tell(self, lines: bytes, tasks: int) -> None:
        """Send tasks. Raises _Died."""
        self.asked += tasks
        try:
            while lines:
                lines = lines[self._to.write(lines) or 0 :]
        except BrokenPipeError:
            raise _Died from None

    def answer(self, seconds: float) -> bytes:
        """The next answer. Raises _Died or _TooSlow; the child is of no use afterwards."""
        return self._line(time.monotonic() + seconds)

    def kill(self) -> None:
        self._process.kill()

    def end(self) -> None:
        self._process.kill()
        self._process.wait()
        for pipe in (self._to, self._from):
            with contextlib.suppress(BrokenPipeError):
                pipe.close()

    def _line(self, deadline: float) -> bytes:
        parts = [self._rest]
        while b"\n" not in parts[-1]:
            left = deadline - time.monotonic()
            if left <= 0 or not self._poll.poll(left * 1000):
                raise _TooSlow
            part = os.read(self._from.fileno(), 1 << 16)
            if not part or sum(map(len, parts)) > MAX_ANSWER:
                raise _Died
            parts.append(part)
        line, _, self._rest = b"".join(parts).partition(b"\n")
        return line


def _started(memory: int) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-I", "-c", START, str(os.getpid()), str(memory), str(ROOT)]
    try:
        return subprocess.Popen(
            command, bufsize=0, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
    except OSError:
        raise MedganError(NOT_STARTED) from None


def _poisoned(task: Task, reason: Reason) -> Reading:
    """What is left to say of a file that no child survived: it is hashed here, never parsed."""
    remove_parts(task.path)
    reading = Reading(sha256_file(task.path), task.path.stat().st_size, reason=reason)
    settle(task, reading)
    return reading


def _of_the_world(error: OSError) -> HomeError:
    """A failing disk is no fault of the file that was being read."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return HomeError("no room left on the disk of the home folder; free some and run again")
    code = errno.errorcode.get(error.errno or 0, "EIO")
    return HomeError(f"the disk of the home folder failed while files were read ({code}); run again")
