"""Private elements of results: safe numbers stay with their creator, everything else is gone."""

from __future__ import annotations

import csv
from functools import cache
from typing import TYPE_CHECKING

from plants_check_search import elements
from plants_check_values import values_of
from plants_rows import TABLE
from pydicom.dataset import Dataset

if TYPE_CHECKING:
    from plants_check import Result, Verdict

NUMBERS = {"IS", "DS", "CS", "FL", "FD", "US", "SS", "UL", "SL"}
Key = tuple[int, str, int]  # group, creator, low byte


@cache
def safe() -> dict[Key, str]:
    """Table E.3.10-1: key -> VR."""
    with (TABLE.parent / "ps3.15_table_e3.10-1_2026d.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    return {(int(row["group"], 16), row["creator"], int(row["low_byte"], 16)): row["vr"] for row in rows}


def private(ds: Dataset) -> dict[Key, tuple[str, ...]]:
    """The private elements at the top of a data set by key; creator "" where none is reserved."""
    found: dict[Key, tuple[str, ...]] = {}
    creators: dict[tuple[int, int], str] = {}
    for tag, _, value in elements(ds):
        group, number = tag >> 16, tag & 0xFFFF
        if group & 1 and 0x10 <= number <= 0xFF:
            creators[group, number] = str(value).strip()
        elif group & 1:
            creator = creators.get((group, number >> 8), "")
            found[group, creator, number & 0xFF] = values_of(value)
    return found


def judge_private(result: Result, columns: tuple[str, ...], verdict: Verdict) -> None:
    before, after = private(result.case.source()), private(result.ds)
    allowed = safe() if "retain_safe_private" in columns else {}
    verdict.count("private", "nothing beyond the table", set(after) <= set(allowed), result.case.kind)
    for key, values in before.items():
        if allowed.get(key) in NUMBERS and values:
            verdict.count("private", "safe numbers kept", after.get(key) == values, f"{key} in {result.case.kind}")
