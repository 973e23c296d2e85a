"""The report that a data protection officer reads: what was done, how often, by whose decision; never a value.

A page that needs no network, and the same as JSON.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import jinja2

from medgan.deid.cells import Anonymity, Coarser

SCHEMA = 1  # of the JSON; bump when a field changes its meaning
# what the actions of the scrubber mean to somebody who does not know them
ACTIONS = {
    "remove": "removed",
    "empty": "emptied",
    "dummy": "replaced by a dummy",
    "uid": "replaced by a keyed UID",
    "patient": "replaced by the pseudonym",
    "date": "shifted",
    "time": "checked",
    "datetime": "shifted",
    "text": "cleaned, word by word",
    "code": "cleaned",
    "code_value": "cleaned",
    "scheme": "cleaned",
    "number": "cleaned",
    "retain": "cleaned",
    "age": "capped or banded",
}
TEMPORAL = {
    "REMOVED": "removed",
    "MODIFIED": "shifted by a secret number of days for each patient; intervals and times of day are kept",
    "UNMODIFIED": "kept as they were",
}


@dataclass(frozen=True, slots=True)
class Decision:
    """Who decided that more is retained than usual, when (ISO date), and why."""

    by: str
    on: str
    because: str


@dataclass(frozen=True, slots=True)
class Applied:
    """The profile as it was applied."""

    name: str
    edition: str
    digest: str
    key_id: str
    temporal: str
    codes: tuple[tuple[str, str], ...] = ()  # (value, meaning) of CID 7050, with those that ran
    cautions: tuple[str, ...] = ()
    rules: tuple[tuple[str, str, str], ...] = ()  # (keyword, action, because)
    decided: Decision | None = None


@dataclass(frozen=True, slots=True)
class Report:
    """Counts of one run. `actions`: keyword -> action -> how often. `private`: creator of Table E.3.10-1 -> how often.

    Every input is in exactly one of written, duplicate and quarantined (by reason).
    """

    applied: Applied
    inputs: int
    written: int
    duplicate: int = 0
    quarantined: Mapping[str, int] = field(default_factory=dict)
    studies: int = 0
    patients: int = 0
    looked: int = 0  # instances of which every frame was read for burned-in text
    boxes: int = 0
    actions: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    private: Mapping[str, int] = field(default_factory=dict)
    faces: Mapping[str, float] = field(default_factory=dict)  # measure, in words -> figure
    validated: int | None = None  # None: the validator is not installed
    less_valid: Mapping[str, int] = field(default_factory=dict)
    risk: Anonymity | None = None
    coarser: Coarser | None = None


def counted(counts: Mapping[tuple[str, str], int]) -> tuple[dict[str, dict[str, int]], dict[str, int]]:
    """(actions, private) of a Report from the scrubber's counts by (keyword, action)."""
    actions: dict[str, dict[str, int]] = {}
    private: dict[str, int] = {}
    for (keyword, action), count in sorted(counts.items()):
        creator = re.fullmatch(r"private \((.*)\)", keyword)
        if creator:
            private[creator[1]] = private.get(creator[1], 0) + count
        else:
            actions.setdefault(keyword, {})[action] = count
    return actions, private


def document(report: Report) -> dict[str, Any]:
    """The report as plain JSON values."""
    return {"schema": SCHEMA, **asdict(report)}


def html(report: Report) -> str:
    """The report as one page."""
    page = _environment().get_template("officer.html.j2")
    return page.render(r=report, a=report.applied, rows=_rows(report), temporal=TEMPORAL[report.applied.temporal])


def _rows(report: Report) -> list[tuple[str, list[tuple[str, int]], int]]:
    """(keyword, [(what was done, how often)], in all), the most frequent first."""
    rows = []
    for keyword, actions in report.actions.items():
        told: dict[str, int] = {}
        for action, count in actions.items():
            told[ACTIONS.get(action, action)] = told.get(ACTIONS.get(action, action), 0) + count
        rows.append((keyword, sorted(told.items(), key=lambda one: (-one[1], one[0])), sum(told.values())))
    return sorted(rows, key=lambda row: (-row[2], row[0]))


def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("medgan.deid", "."),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["number"] = lambda value: f"{value:,}".replace(",", "\N{THIN SPACE}")
    environment.filters["words"] = lambda value: str(value).replace("_", " ")
    return environment
