"""The fate of an error, decided once: the world's are tried again, ours are final."""

from __future__ import annotations

from typing import Any

from prefect.cache_policies import NO_CACHE
from prefect.tasks import exponential_backoff

from medgan.errors import MedganError
from medgan.ledger import WORLD_ERRORS

WORLD = (OSError, TimeoutError, *WORLD_ERRORS)


def only_the_world(_task: Any, _run: Any, state: Any) -> bool:
    """Retry connections, time-outs, locks and disks; never what medgan raised on purpose."""
    error = state.result(raise_on_failure=False)
    return isinstance(error, WORLD) and not isinstance(error, MedganError)


# The ledger decides what is done. Prefect's result cache sees only the wrapper and could give back what was
# withdrawn, so it stays off; what a task returns is a small record, held in memory.
PER_BATCH: dict[str, Any] = {
    "retries": 3,
    "retry_delay_seconds": exponential_backoff(backoff_factor=2),
    "retry_jitter_factor": 0.5,
    "retry_condition_fn": only_the_world,
    "cache_policy": NO_CACHE,
    "persist_result": False,
}
ONE_LONG: dict[str, Any] = {**PER_BATCH, "tags": {"gpu"}}
