"""Which models learned from whom, and the retraining that the house owes when somebody leaves."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from medgan.home import Home
from medgan.records import Checkpoint
from medgan.stages import newest, tracking

RETRAIN, RETIRE = "retrain", "retire"  # kinds of requests in the research ledger; subject: a checkpoint


@dataclass(frozen=True, slots=True)
class Stale:
    """Digests of what learned from some patients, at any remove, and stays as a record."""

    checkpoints: tuple[str, ...] = ()
    cohorts: tuple[str, ...] = ()  # synthetic ones
    releases: tuple[str, ...] = ()


def learned_from(keys: Iterable[str], home: Home) -> Stale:
    """What learned from these patients; a model of which they only were judges is not among it."""
    ledger, sought = home.research.ledger, set(keys)
    if not sought:
        return Stale()
    models = {entry.digest for entry in ledger.entries("train", state=None)}
    found = {digest for digest in models if not sought.isdisjoint(ledger.patients_of(digest))}
    found = found.union(*(ledger.made_from(digest) for digest in found))
    return Stale(*(_recorded(stage, found, home) for stage in ("train", "synthesize", "release")))


def ask(before: Iterable[str], now: Iterable[str], home: Home) -> None:
    """Note what is owed when those who left were `before` and are `now`: registry versions retired, models replaced.

    A model is asked for again unless a later one of its group and network saw none of them.
    """
    ledger = home.research.ledger
    stale = set(learned_from(now, home).checkpoints)
    fresh = stale - set(learned_from(before, home).checkpoints)
    for digest in sorted(fresh):
        ledger.request(RETIRE, digest)
    for digest in sorted(fresh & set(_unreplaced(stale, home).values())):
        ledger.request(RETRAIN, digest)


def ask_without(study_keys: Iterable[str], home: Home) -> None:
    """Ask for retraining of the newest models that learned from studies which their archive holds no more."""
    ledger = home.research.ledger
    held = {e.digest for key in study_keys for e in ledger.entries("deidentify", subject=key, state=None)}
    stale = {digest for one in held for digest in ledger.made_from(one)}
    for digest in sorted(_unreplaced(stale, home).values()):
        ledger.request(RETRAIN, digest)


def answer(home: Home) -> int:
    """Note that retraining is done, once every model that was asked for has a successor; returns how many there were.

    Called when a model is sealed, not when one is released: a successor that the gate refuses is no reason to train
    the same once more. Groups of which no picture is left are not waited for.
    """
    ledger = home.research.ledger
    wanted = set(ledger.requested(RETRAIN))
    if not wanted:
        return 0
    stale = set(learned_from(ledger.everyone_like(ledger.buried()), home).checkpoints)
    there = {cohort.group for cohort in newest.real_cohorts(home)}
    left = {digest for (group, _), digest in _unreplaced(stale, home).items() if group in there}
    return 0 if left & wanted else ledger.answered(RETRAIN)


def retire(checkpoints: Collection[str], home: Home) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Tag the versions of these models and take their aliases away; returns versions and aliases.

    Repeated, it says the same: what was done stands in the tags. Raises ConnectionError when MLflow is away.
    """
    from medgan.registry import models

    ledger = home.research.ledger
    withdrawn = set(learned_from(ledger.everyone_like(ledger.buried("withdrawn")), home).checkpoints)
    parts = {"withdrawal": withdrawn & set(checkpoints), "opt-out": set(checkpoints) - withdrawn}
    done = [models.retire(some, tracking.uri(home), why=why) for why, some in parts.items()]
    return tuple(v for part in done for v in part.versions), tuple(a for part in done for a in part.aliases)


def _unreplaced(stale: set[str], home: Home) -> dict[tuple[str, str], str]:
    """(group, network) -> its newest model, where that is stale."""
    last = {(c.group, c.network): c.digest for c in home.research.records("train", Checkpoint)}
    return {place: digest for place, digest in last.items() if digest in stale}


def _recorded(stage: str, digests: set[str], home: Home) -> tuple[str, ...]:
    return tuple(sorted({e.digest for e in home.research.ledger.entries(stage, state=None)} & digests))
