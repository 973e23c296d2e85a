"""The fate of an error: the world's are tried again, ours are final."""

import httpx
import pytest
import sqlalchemy as sa
from prefect.cache_policies import NO_CACHE
from prefect.states import Completed, Failed

from medgan.errors import Busy, HomeError, MedganError, Reason, Stopped, StudyRejected
from tasks.policies import ONE_LONG, PER_BATCH, only_the_world


class OurWorldError(HomeError, OSError):
    """Raised on purpose, though it is an OSError too."""


@pytest.mark.parametrize(
    ("error", "again"),
    [
        (OSError("disk"), True),
        (ConnectionRefusedError(), True),
        (TimeoutError(), True),
        (sa.exc.OperationalError("select", {}, Exception("locked")), True),
        (HomeError("full"), False),
        (OurWorldError("full"), False),
        (StudyRejected(Reason.BLANK), False),
        (Busy("busy"), False),
        (Stopped("stop"), False),
        (ValueError("bug"), False),
        (KeyError("bug"), False),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else "",
)
def test_only_what_the_world_did_is_tried_again(error: Exception, again: bool) -> None:
    assert only_the_world(None, None, Failed(data=error)) is again


def test_a_result_is_no_error() -> None:
    assert only_the_world(None, None, Completed(data=1)) is False


def test_no_result_is_kept_by_prefect_and_retries_wait_longer_each_time() -> None:
    for policy in (PER_BATCH, ONE_LONG):
        assert policy["cache_policy"] is NO_CACHE and policy["persist_result"] is False
        delays = policy["retry_delay_seconds"](policy["retries"])
        assert delays == sorted(delays) and len(delays) == policy["retries"] and policy["retry_jitter_factor"] > 0
    assert ONE_LONG["tags"] == {"gpu"}


def test_every_task_follows_a_policy() -> None:
    import importlib
    import pkgutil

    from prefect import Task

    import tasks

    found = []
    for module in pkgutil.iter_modules(tasks.__path__):
        for value in vars(importlib.import_module(f"tasks.{module.name}")).values():
            if isinstance(value, Task):
                found.append(value)
                assert value.retry_condition_fn is only_the_world and value.persist_result is False, value.name
    assert len({task.name for task in found}) == len(found) > 9


def test_errors_of_the_client_are_not_taken_for_ours() -> None:
    assert not isinstance(httpx.ConnectError("away"), MedganError)
