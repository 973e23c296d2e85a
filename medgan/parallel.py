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


def over(items: Sequence[T], function: Callable[..., U], *args: Any) -> list[U]:
    """`[function(item, *args) for item in items]`, wide. Few items, or one core, are done in this process."""
    if settings().dask == "serial" or len(items) < 4 or (settings().dask == "" and cores() < 2):
        return [function(item, *args) for item in items]
    client = _open()
    futures = client.map(function, items, *([arg] * len(items) for arg in args), pure=False, retries=2)
    results: list[U] = client.gather(futures)
    return results


def batches(items: Sequence[T], most: int = 16) -> Iterator[list[T]]:
    """At most `most` batches, whatever the number of items: a Prefect task each."""
    size = max(1, -(-len(items) // most))
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
