"""What was set aside: look, let it be tried again, or keep it out for good."""

from __future__ import annotations

from typing import Any

from medgan.errors import UsageError
from medgan.home import Home

STAGES = ("ingest", "deidentify", "preprocess")


def studies(home: Home) -> list[dict[str, Any]]:
    """Keyed study, stage, reason and times of every study that was set aside."""
    return [
        {"study": row["subject"], "stage": row["stage"], "reason": row["reason"], "times": row["times"]}
        for row in home.research.ledger.set_aside_rows()
    ]


def inputs(home: Home) -> list[dict[str, Any]]:
    """The same columns for inputs that never became part of a study, one row a reason."""
    return [
        {"study": "an input", "stage": "ingest", "reason": reason, "times": n}
        for reason, n in home.identified_ledger.input_reasons().items()
    ]


def find(home: Home, subject: str) -> list[dict[str, Any]]:
    """Rows of the study whose key starts with `subject`. Raises UsageError when there is none, or several."""
    found = [row for row in studies(home) if subject and row["study"].startswith(subject)]
    if not found:
        raise UsageError("no study with that key is set aside; see `medgan quarantine list`")
    if len({row["study"] for row in found}) > 1:
        raise UsageError("the key stands for several studies; write more of it")
    return found


def retry(home: Home, subject: str) -> list[dict[str, Any]]:
    """Let a study be tried again by the next run."""
    found = find(home, subject)
    home.research.ledger.take_back(found[0]["study"])
    return found


def drop(home: Home, subject: str) -> list[dict[str, Any]]:
    """Delete what is held of a study; it stays on the list, and its inputs are not read again."""
    found = find(home, subject)
    for zone in (home.identified, home.research):
        for stage in STAGES:
            for entry in zone.ledger.entries(stage, subject=found[0]["study"], state=None):
                zone.store.drop(entry.digest)
                zone.ledger.forget(entry.digest)
    return found
