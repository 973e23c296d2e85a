"""The Dask map: one study, or one whole shard, is one Dask task; results are small records.

This module owns the client. A local cluster of single-threaded processes by default, any scheduler by
MEDGAN_DASK. Order is kept.
"""

from __future__ import annotations

import atexit
import logging
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Any, TypeVar

from medgan.settings import settings

logger = logging.getLogger(__name__)
T = TypeVar("T")
U = TypeVar("U")

IN_FLIGHT = 512  # tasks the cluster knows of: enough for some hundred threads, and memory does not grow with the items

_client: Any = None
_opening = threading.Lock()  # Prefect's thread runner may ask from several tasks at once


@dataclass(frozen=True, slots=True)
class _Death:
    """Outcome of a task whose worker died under it; the task itself may be innocent."""

    error: Exception


def over(
    items: Sequence[T],
    function: Callable[..., U],
    *args: Any,
    lost: Callable[[T], U] | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> list[U]:
    """`[function(item, *args) for item in items]`, wide. A single item, or one core: it is done in this process.

    An item under which workers died three times, the last time with no other task of this call at work, is given up:
    its result is `lost(item)`; without `lost`, distributed's KilledWorker is raised. Locally each time is one worker;
    at the scheduler of MEDGAN_DASK it is as many as its own `allowed-failures`, and one more.
    Raises ConnectionError when that scheduler goes away.
    """
    return in_chunks(items, partial(_each, function), *args, size=1, lost=lost, on_progress=on_progress)


def in_chunks(
    items: Sequence[T],
    function: Callable[..., list[U]],
    *args: Any,
    size: int = 32,
    known: Callable[[T], U | None] = lambda item: None,
    lost: Callable[[T], U] | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> list[U]:
    """As `over`, for a function of a list: chunks of `size` items are a Dask task each; one flat list back.

    What is `known` already is asked for here, and sent to no worker: without work, no cluster is started. Items of a
    chunk under which a worker died are asked for again, then tried one by one: only what kills is lost.
    """
    results = [known(item) for item in items]
    owed = [item for item, result in zip(items, results, strict=True) if result is None]
    chunks = [owed[start : start + size] for start in range(0, len(owed), size)]

    def told(done: int) -> None:
        if on_progress is not None:
            on_progress(len(items) - len(owed) + min(done * size, len(owed)), len(items))

    if len(owed) < len(items):
        told(0)
    spread = partial(_here if _is_little(chunks) else _spread, function, args)
    made = iter(_all_of(chunks, spread, known, lost, told))
    return [next(made) if result is None else result for result in results]


def _all_of(
    chunks: list[list[T]],
    spread: Callable[..., list[list[U] | _Death]],
    known: Callable[[T], U | None],
    lost: Callable[[T], U] | None,
    told: Callable[[int], None],
) -> list[U]:
    """One result an item: first chunk by chunk, then one by one where a worker died, then alone."""
    made = spread(chunks, told)
    suspects = [item for chunk, some in zip(chunks, made, strict=True) if isinstance(some, _Death) for item in chunk]
    if suspects:
        logger.warning("workers died under %d items, which are tried again one by one", len(suspects))
    again = iter(_one_by_one(suspects, spread, known, lost))
    results = [
        result
        for chunk, some in zip(chunks, made, strict=True)
        for result in (islice(again, len(chunk)) if isinstance(some, _Death) else some)
    ]
    if suspects:
        told(len(chunks))
    return results


def _one_by_one(
    suspects: list[T],
    spread: Callable[..., list[list[U] | _Death]],
    known: Callable[[T], U | None],
    lost: Callable[[T], U] | None,
) -> list[U]:
    found = [known(item) for item in suspects]
    made = iter(spread([[item] for item, one in zip(suspects, found, strict=True) if one is None]))
    outcomes = [next(made) if one is None else [one] for one in found]
    return [
        _alone(item, spread, lost) if isinstance(some, _Death) else some[0]
        for item, some in zip(suspects, outcomes, strict=True)
    ]


def _alone(item: T, spread: Callable[..., list[list[U] | _Death]], lost: Callable[[T], U] | None) -> U:
    """Nothing else of this call is at work: when the worker dies now, it is of this item."""
    (some,) = spread([[item]])
    if not isinstance(some, _Death):
        return some[0]
    if lost is None:
        raise some.error
    logger.warning("an item is given up: workers died under it three times")
    return lost(item)


def _each(function: Callable[..., U], items: list[T], *args: Any) -> list[U]:
    return [function(item, *args) for item in items]


def _is_little(chunks: Sequence[Any]) -> bool:
    return settings().dask == "serial" or len(chunks) < 2 or (settings().dask == "" and cores() < 2)


def _here(
    function: Callable[..., list[U]],
    args: tuple[Any, ...],
    chunks: list[list[T]],
    told: Callable[[int], None] = lambda done: None,
) -> list[list[U] | _Death]:
    made: list[list[U] | _Death] = []
    for chunk in chunks:
        made.append(function(chunk, *args))
        told(len(made))
    return made


def _spread(
    function: Callable[..., list[U]],
    args: tuple[Any, ...],
    chunks: list[list[T]],
    told: Callable[[int], None] = lambda done: None,
) -> list[list[U] | _Death]:
    """One outcome a chunk, in order; each is fetched as soon as it is there, and forgotten by the cluster."""
    from distributed import CancelledError, KilledWorker, as_completed

    client, coming, waiting = _open(), iter(enumerate(chunks)), as_completed()
    made: list[list[U] | _Death] = [[] for _ in chunks]
    places: dict[str, int] = {}

    def send() -> None:
        if some := dict(islice(coming, IN_FLIGHT // 2)):
            more = ([arg] * len(some) for arg in args)
            futures = client.map(function, list(some.values()), *more, pure=False, retries=2)
            places.update(zip((future.key for future in futures), some, strict=True))
            waiting.update(futures)  # and kept nowhere else: what a worker holds is done again when it dies

    send()
    done = 0
    while places:
        if len(places) <= IN_FLIGHT // 2:
            send()
        future = next(waiting)
        place = places.pop(future.key)
        try:
            made[place] = future.result()
            done += 1
            told(done)
        except KilledWorker as error:
            made[place] = _Death(error)
        except CancelledError:
            close()  # this client would stay without a cluster
            raise ConnectionError("the Dask scheduler went away; what is sealed stays so, run again") from None
    return made


def batches(items: Sequence[T], most: int = 16, least: int = 64) -> Iterator[list[T]]:
    """At most `most` batches of `least` items or more, whatever the number of items: a Prefect task each."""
    size = max(least, -(-len(items) // most))
    for start in range(0, len(items), size):
        yield list(items[start : start + size])


def cores() -> int:
    """Processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def close() -> None:
    """End the cluster this process started, if any."""
    global _client
    if _client is not None:
        cluster = _client.cluster
        _client.close()
        if cluster is not None:
            cluster.close()
        _client = None


def _open() -> Any:
    global _client
    with _opening:
        if _client is None:
            _client = _connect()
            atexit.register(close)
    return _client


def _connect() -> Any:
    import dask
    from distributed import Client, LocalCluster

    if address := settings().dask:
        return Client(address)
    # each worker gets one BLAS thread by distributed.nanny.pre-spawn-environ
    dask.config.set(
        {
            "distributed.scheduler.allowed-failures": 0,  # who is to blame is found out here
            "distributed.scheduler.worker-saturation": 1.0,  # what waits at a worker would be blamed with what runs
            "distributed.worker.memory.pause": False,  # of workers that never give memory back, for good
            "distributed.admin.log-length": 0,
        }
    )
    # memory_limit "auto": a share each of the smallest of the machine's memory, the cgroup's and the rlimit's;
    # at 95 % of it a nanny ends the worker, and starts another for any that died
    cluster = LocalCluster(
        n_workers=cores(),
        threads_per_worker=1,
        processes=True,
        host="127.0.0.1",
        dashboard_address=None,
        silence_logs=logging.ERROR,
    )
    return Client(cluster)
