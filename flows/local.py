"""The whole road in this process, under Prefect with an embedded server, its own console output quiet."""

from __future__ import annotations

import logging

from prefect.exceptions import TerminationSignal

from flows.pipeline import pipeline
from medgan import parallel
from medgan.errors import Stopped
from medgan.records import Release


def whole_road(source: str, recipe: str) -> Release:
    """Run the pipeline on a named source. Raises what the stages raise; Stopped on SIGTERM."""
    _quiet()
    try:
        return pipeline(source, recipe)
    except TerminationSignal:
        raise Stopped("stopped by SIGTERM; run the same command again to go on") from None
    finally:
        parallel.close()


def _quiet() -> None:
    """Prefect's own lines and tracebacks go to its database, not to the terminal (its handler sits on the root)."""
    for name in ("", "prefect", "prefect.flow_runs", "prefect.task_runs", "medgan"):
        logger = logging.getLogger(name)
        for handler in list(logger.handlers):
            if type(handler).__name__ == "PrefectConsoleHandler":
                logger.removeHandler(handler)
