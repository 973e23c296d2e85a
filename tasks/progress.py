"""Progress of a task, told to Prefect as an artifact and to the log of the terminal."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from prefect.artifacts import create_progress_artifact, update_progress_artifact

logger = logging.getLogger("medgan.progress")
EVERY_S = 2.0


@contextmanager
def reported(stage: str, unit: str, of: int = 0) -> Iterator[Callable[[int, int], None]]:
    """A function `(done, total)` to call as often as one likes; it speaks every few seconds.

    Where several tasks share a stage, `of` is the total of them all; the terminal adds them up.
    """
    artifact = create_progress_artifact(progress=0.0, key=f"{stage}-progress", description=f"{stage}: {unit} done")
    told_at = 0.0

    def report(done: int, total: int) -> None:
        nonlocal told_at
        if done < total and time.monotonic() - told_at < EVERY_S:
            return
        told_at = time.monotonic()
        part = (stage, done, of or total, unit, str(artifact))
        logger.info("%s: %d of %d %s", stage, done, total, unit, extra={"progress": part})
        update_progress_artifact(artifact, progress=round(100.0 * done / max(1, total), 1))  # type: ignore[arg-type]

    yield report
