"""Progress of a task, told to Prefect as an artifact and to the log of the terminal."""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import httpx
from prefect.artifacts import create_progress_artifact, update_progress_artifact
from prefect.exceptions import PrefectException

logger = logging.getLogger("medgan.progress")
EVERY_S = 2.0
AWAY = (httpx.HTTPError, PrefectException)  # a bar that cannot be drawn fails no work


@contextmanager
def reported(stage: str, unit: str, of: int = 0) -> Iterator[Callable[[int, int], None]]:
    """A function `(done, total)` to call as often as one likes; it speaks every few seconds.

    Where several tasks share a stage, `of` is the total of them all; the terminal adds them up.
    """
    try:
        artifact = create_progress_artifact(progress=0.0, key=f"{stage}-progress", description=f"{stage}: {unit} done")
    except AWAY as error:
        logger.warning("%s: its progress is not shown, the server is away (%s)", stage, type(error).__name__)
        artifact = None
    name = str(artifact or uuid.uuid4())
    told_at = 0.0

    def report(done: int, total: int) -> None:
        nonlocal told_at
        if done < total and time.monotonic() - told_at < EVERY_S:
            return
        told_at = time.monotonic()
        part = (stage, done, of or total, unit, name)
        logger.info("%s: %d of %d %s", stage, done, total, unit, extra={"progress": part})
        if artifact is None:
            return
        try:
            update_progress_artifact(artifact, progress=round(100.0 * done / max(1, total), 1))  # type: ignore[arg-type]
        except AWAY as error:
            logger.debug("progress was not shown (%s)", type(error).__name__)

    yield report
