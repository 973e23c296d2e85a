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
from typing import Any, TypeVar

from medgan.settings import settings

logger = logging.getLogger(__name__)
T = TypeVar("T")
U = TypeVar("U")

_client: Any = None
_opening = threading.Lock()  # Prefect's thread runner may ask from several tasks at once


def over(
    items: Sequence[T], function: Callable[..., U], *args: Any, on_progress: Callable[[int, int], None] | None = None
) -> list[U]:
    """`[function(item, *args) for item in items]`, wide. Few items, or one core, are done in this process."""
    told = on_progress or (lambda done, total: None)
    if settings().dask == "serial" or len(items) < 2 or (settings().dask == "" and cores() < 2):
        results = []
        for item in items:
            results.append(function(item, *args))
            told(len(results), len(items))
        return results
    from distributed import as_completed

    client = _open()
    futures = client.map(function, items, *([arg] * len(items) for arg in args), pure=False, retries=2)
    for done, _ in enumerate(as_completed(futures), start=1):
        told(done, len(items))
    gathered: list[U] = client.gather(futures)
    return gathered


def in_chunks(
    items: Sequence[T],
    function: Callable[..., list[U]],
    *args: Any,
    size: int = 32,
    known: Callable[[T], U | None] = lambda item: None,
    on_progress: Callable[[int, int], None] | None = None,
) -> list[U]:
    """As `over`, for a function of a list: chunks of `size` items are a Dask task each; one flat list back.

    What is `known` already is asked for here, and sent to no worker: without work, no cluster is started.
    """
    results = [known(item) for item in items]
    owed = [item for item, result in zip(items, results, strict=True) if result is None]
    chunks = [owed[start : start + size] for start in range(0, len(owed), size)]

    def told(done: int, total: int) -> None:
        if on_progress is not None:
            on_progress(len(items) - len(owed) + min(done * size, len(owed)), len(items))

    if len(owed) < len(items):
        told(0, len(chunks))
    made = iter([result for some in over(chunks, function, *args, on_progress=told) for result in some])
    return [next(made) if result is None else result for result in results]


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
    dask.config.set({"distributed.scheduler.allowed-failures": 3, "distributed.admin.log-length": 0})
    cluster = LocalCluster(
        n_workers=cores(),
        threads_per_worker=1,
        processes=True,
        host="127.0.0.1",
        dashboard_address=None,
        silence_logs=logging.ERROR,
    )
    return Client(cluster)
