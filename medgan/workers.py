"""Child processes that may die: an item that kills its child twice is given up, and the others go on.

The Dask map (parallel.py) spreads what is trusted; what reads hostile files needs this one, which starts in no time.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from itertools import islice
from multiprocessing.connection import wait as until_ready
from typing import TypeVar

T = TypeVar("T")
U = TypeVar("U")


class Workers:
    """`n` children, started when first asked; none: everything is done in this process. Use it as a context.

    In a child, interrupts are left to the parent; no child outlives it, even where that is killed.
    """

    def __init__(self, n: int) -> None:
        self.n = n
        self._pool: ProcessPoolExecutor | None = None

    def __enter__(self) -> Workers:
        return self

    def __exit__(self, *_: object) -> None:
        self._end()

    def spread(self, items: Iterable[T], function: Callable[[T], U], lost: Callable[[T], U]) -> Iterator[tuple[T, U]]:
        """(item, function(item)) as they finish; without children in order.

        An item whose child died is tried once more, alone; when that dies too, its result is `lost(item)`. What the
        function raises is raised here, and ends the children: what they had under way is done again by a next run.
        """
        if not self.n:
            yield from ((item, function(item)) for item in items)
            return
        waiting = iter(items)
        while True:
            suspects: list[T] = []
            yield from self._until_a_death(waiting, function, suspects)
            if not suspects:
                return
            for item in suspects:
                with Workers(1) as alone:
                    dead: list[T] = []
                    yield from alone._until_a_death(iter((item,)), function, dead)
                yield from ((one, lost(one)) for one in dead)

    def _until_a_death(
        self, waiting: Iterator[T], function: Callable[[T], U], suspects: list[T]
    ) -> Iterator[tuple[T, U]]:
        """Work until all is done or a child dies; what was under way then is added to `suspects`."""
        under_way: dict[Future[U], T] = {}
        while True:
            # one that waits for each that is worked on: no child is idle, and few are suspected
            for item in islice(waiting, 2 * self.n - len(under_way)):
                under_way[self._submitted(function, item)] = item
            if not under_way:
                return
            done, _ = wait(under_way, return_when=FIRST_COMPLETED)
            dead = [future for future in done if isinstance(future.exception(), BrokenProcessPool)]
            for future in done - set(dead):
                yield under_way.pop(future), future.result()
            if dead:
                suspects += under_way.values()
                self._end()
                return

    def _submitted(self, function: Callable[[T], U], item: T) -> Future[U]:
        if self._pool is None:
            context = multiprocessing.get_context("spawn")
            self._pool = ProcessPoolExecutor(self.n, mp_context=context, initializer=_begin)
        try:
            return self._pool.submit(function, item)
        except BrokenProcessPool as error:  # it died since the last answer
            future: Future[U] = Future()
            future.set_exception(error)
            return future

    def _end(self) -> None:
        pool, self._pool = self._pool, None
        if pool is None:
            return
        children = list((pool._processes or {}).values())
        pool.shutdown(wait=False, cancel_futures=True)
        for child in children:
            child.terminate()
        for child in children:
            child.join()


def _begin() -> None:
    """In a child: leave interrupts to the parent, and do not outlive it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        until_ready([parent.sentinel])
        os._exit(1)
