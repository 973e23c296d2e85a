"""The whole road in this process, under a Prefect server of its own, its console output quiet."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from pathlib import Path

import httpx
from prefect.exceptions import TerminationSignal
from prefect.logging.handlers import APILogHandler
from prefect.settings import PREFECT_API_URL, temporary_settings

from flows.house import House
from flows.pipeline import pipeline
from medgan import parallel
from medgan.errors import MedganError, Stopped
from medgan.records import Release
from medgan.settings import settings


def whole_road(source: str, recipe: str, root: Path) -> Release:
    """Run the pipeline on a named source of the home at `root`, on the Prefect server of PREFECT_API_URL or its own.

    Raises what the stages raise; Stopped on SIGTERM.
    """
    _quiet()
    try:
        with _server(root):
            return pipeline(source, recipe)
    except httpx.TransportError:
        raise MedganError(
            "the Prefect server does not answer; start the one that PREFECT_API_URL names, or unset it"
        ) from None
    except TerminationSignal:
        raise Stopped("stopped by SIGTERM; run the same command again to go on") from None
    finally:
        parallel.close()


@contextlib.contextmanager
def _server(root: Path) -> Iterator[None]:
    """Prefect's own embedded server outlives a killed parent; this one does not."""
    if settings().prefect_api:
        yield
        return
    house = House(root)
    try:
        house.start_prefect(0)
        with temporary_settings({PREFECT_API_URL: f"{house.prefect_url}/api"}):
            try:
                yield
            finally:
                APILogHandler().flush()  # or the process would try for a minute to reach a server that is gone
    finally:
        house.stop()


def _quiet() -> None:
    """Prefect's own lines and tracebacks go to its database, not to the terminal (its handler sits on the root)."""
    for name in ("", "prefect", "prefect.flow_runs", "prefect.task_runs", "medgan"):
        logger = logging.getLogger(name)
        for handler in list(logger.handlers):
            if type(handler).__name__ == "PrefectConsoleHandler":
                logger.removeHandler(handler)
