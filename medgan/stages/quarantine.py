"""What was set aside: look, let it be tried again, or keep it out for good.

Studies are named by their key, inputs by their sha256, and many inputs at once by their reason ("conflict" for those
that disagree with another place about the same image).
"""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

from medgan.errors import UsageError
from medgan.home import Home
from medgan.ledger import Entry
from medgan.ledger_inputs import Input
from medgan.stages.desk import ASIDE, forget_study, put_back

CONFLICT = "conflict"


def studies(home: Home) -> list[dict[str, Any]]:
    """Keyed study, stage, reason and times of every study that was set aside."""
    return [
        {"what": "study", "key": row["subject"], "stage": row["stage"], "reason": row["reason"], "times": row["times"]}
        for row in home.research.ledger.set_aside_rows()
    ]


def inputs(home: Home) -> list[dict[str, Any]]:
    """The same columns for inputs that never became part of a study, one row a reason."""
    counts = Counter(_reason(row) for row in _set_aside(home))
    return [
        {"what": "inputs", "key": reason, "stage": "ingest", "reason": reason, "times": n}
        for reason, n in sorted(counts.items())
    ]


def find(home: Home, subject: str) -> list[dict[str, Any]]:
    """Rows of what `subject` names. Raises UsageError when there is none, or several studies or inputs."""
    found = [row for row in studies(home) if subject and row["key"].startswith(subject)]
    found += [
        {"what": "input", "key": row.sha256, "stage": "ingest", "reason": _reason(row), "times": 1}
        for row in _inputs(home, subject)
    ]
    if not found:
        raise UsageError("nothing of that key or reason is set aside; see `medgan quarantine list`")
    if len({row["key"] for row in found}) > 1 and subject not in {row["reason"] for row in found}:
        raise UsageError("the key stands for several; write more of it")
    return found


def retry(home: Home, subject: str) -> list[dict[str, Any]]:
    """Let it be tried again by the next run: read again from its source, or from where it was set aside."""
    found = find(home, subject)
    for key in {row["key"] for row in found if row["what"] == "study"}:
        home.research.ledger.take_back(key)
    for row in _inputs(home, subject):
        for entry in _aside(row, home):
            put_back(entry, home)
        home.identified_ledger.reconsider(source=row.source, locator=row.locator, sha256=row.sha256)
    return found


def drop(home: Home, subject: str) -> list[dict[str, Any]]:
    """Delete what is held of it; it stays on the list, and its inputs are not read again."""
    found = find(home, subject)
    for key in {row["key"] for row in found if row["what"] == "study"}:
        forget_study(home, key)
    for row in _inputs(home, subject):
        for entry in _aside(row, home):
            home.identified.store.drop(entry.digest)
            home.identified_ledger.forget(entry.digest)
    return found


def _set_aside(home: Home) -> list[Input]:
    ledger = home.identified_ledger
    return ledger.inputs(state="quarantined") + ledger.inputs(state=CONFLICT)


def _inputs(home: Home, subject: str) -> list[Input]:
    return [row for row in _set_aside(home) if subject and (_reason(row) == subject or row.sha256.startswith(subject))]


def _reason(row: Input) -> str:
    return row.reason.value if row.reason else CONFLICT


def _aside(row: Input, home: Home) -> list[Entry]:
    """The sealed bytes of a pushed input."""
    entries = home.identified_ledger.entries(ASIDE, subject=row.locator)
    return [entry for entry in entries if json.loads(entry.record)["sha256"] == row.sha256]
