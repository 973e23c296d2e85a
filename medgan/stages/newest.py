"""Which artefact a run works on when none is named, and how artefacts find each other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from medgan.errors import SourceError, UsageError
from medgan.home import Home
from medgan.records import Checkpoint, Cohort, Record, Scorecard

R = TypeVar("R", bound=Record)


def choose(cohorts: Sequence[Cohort], group: str = "") -> Cohort:
    """The real cohort of this group or, without one, that with most patients (then images, then by name)."""
    real = [cohort for cohort in cohorts if cohort.origin == "real"]
    if not real:
        raise SourceError("no cohort to train on: nothing usable was taken in; see `medgan quarantine list`")
    if not group:
        return max(real, key=lambda cohort: (cohort.patients, cohort.count, cohort.group))
    for cohort in reversed(real):
        if cohort.group == group:
            return cohort
    raise UsageError(f"no cohort of group {group!r}; there are {', '.join(sorted({c.group for c in real}))}")


def real_cohorts(home: Home) -> list[Cohort]:
    """The newest real cohort of each group."""
    return list({cohort.group: cohort for cohort in home.research.records("assemble", Cohort)}.values())


def checkpoint(home: Home, name: str = "") -> Checkpoint:
    """The newest checkpoint of the residual network, or the one whose digest starts with `name`."""
    found = [
        c
        for c in home.research.records("train", Checkpoint)
        if (c.digest.startswith(name) if name else c.network == "residual")
    ]
    return _last(found, "checkpoint", "`medgan train`")


def scorecard(home: Home) -> Scorecard:
    return _last(home.research.records("evaluate", Scorecard), "scorecard", "`medgan evaluate`")


def trained_on(home: Home, made: Checkpoint) -> Cohort:
    """The real cohort of a checkpoint."""
    return _of(home, "assemble", Cohort, lambda c: c.digest == made.cohort_digest)


def judged(home: Home, card: Scorecard) -> Cohort:
    """The synthetic cohort of a scorecard."""
    return _of(home, "synthesize", Cohort, lambda c: c.digest == card.cohort_digest)


def sampled_from(home: Home, card: Scorecard) -> Checkpoint:
    """The checkpoint of a scorecard."""
    return _of(home, "train", Checkpoint, lambda c: c.digest == card.checkpoint_digest)


def _of(home: Home, stage: str, kind: type[R], is_it: Callable[[R], bool]) -> R:
    return _last([record for record in home.research.records(stage, kind) if is_it(record)], stage, "`medgan run`")


def _last(found: list[R], what: str, make: str) -> R:
    if not found:
        raise UsageError(f"no such {what} in this home; make one with {make}")
    return found[-1]
