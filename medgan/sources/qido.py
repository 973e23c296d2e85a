"""Lists that an archive gives in pages (QIDO-RS), and what one of its rows says of a study."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass
from typing import Any, TypeVar

from medgan.dicom.index import UID
from medgan.sources.web import Query, Unexpected, Web

ACCEPT = "application/dicom+json"
STUDY, SERIES, INSTANCE = "0020000D", "0020000E", "00080018"
STUDY_DATE, INSTANCES, OF_SERIES, MODALITIES, CLASSES = "00080020", "00201208", "00201206", "00080061", "00080062"
PATIENT = ("00100020", "00100021")
PASSING = ("00081190", "00080054", "00080056")  # where and how soon it can be had: says nothing of the content
ROUNDS = 3  # of one list, when it shifted while it was read
T = TypeVar("T")
Parse = Callable[[dict[str, Any]], tuple[Hashable, T] | None]  # what a row is of, and what it says; None: no UID
logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Row:
    """A study as QIDO-RS lists it. `digest` changes with anything it says of the content."""

    uid: str
    digest: str
    expected: int | None
    date: str


def is_uid(text: Any) -> bool:
    """Whether a UID of the server may be put into a URL."""
    return isinstance(text, str) and len(text) <= 64 and UID.fullmatch(text) is not None


def study_row(row: dict[str, Any]) -> tuple[Hashable, Row] | None:
    """A study of one patient: some archives hold one UID under several patients, each a row."""
    uid = first(row, STUDY)
    if not is_uid(uid):
        return None
    said = {tag: _steady(tag, value) for tag, value in row.items() if tag not in PASSING}
    digest = hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()
    count = first(row, INSTANCES)
    expected = int(count) if isinstance(count, int) or (isinstance(count, str) and count.isdecimal()) else None
    patient = json.dumps([row.get(tag) for tag in PATIENT], sort_keys=True)
    return (uid, patient), Row(uid, digest, expected, str(first(row, STUDY_DATE) or ""))


def instance_row(row: dict[str, Any]) -> tuple[Hashable, tuple[str, str]] | None:
    """The UIDs of an instance: (series, instance)."""
    uids = first(row, SERIES), first(row, INSTANCE)
    return (uids, uids) if all(map(is_uid, uids)) else None


def first(row: dict[str, Any], tag: str) -> Any:
    """The first value of an attribute; None where there is none."""
    attribute = row.get(tag)
    values = attribute.get("Value") if isinstance(attribute, dict) else None
    return values[0] if isinstance(values, list) and values else None


def read_list(web: Web, url: str, query: Query, parse: Parse[T], *, page: int) -> list[T]:
    """All rows of a list, read in pages of `page` >= 2, each once. Raises Absent, SourceError.

    Each page begins with the last row of the one before. Where it does not, something was deleted meanwhile and a
    row may have been skipped: the list is read again, and what any of the rounds showed is in it.
    """
    found: dict[Hashable, T] = {}
    for _ in range(ROUNDS):
        rows, shifted = _read_once(web, url, query, parse, page)
        found |= rows
        if not shifted:
            break
    return list(found.values())


def read_page(web: Web, url: str, query: Query) -> list[dict[str, Any]]:
    """The rows of one answer. Raises Absent, SourceError."""
    rows = web.json(url, query, accept=ACCEPT)
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise Unexpected("the archive answers with other JSON than a list of DICOM attributes; check the address")
    return rows


def parsed(rows: Iterable[dict[str, Any]], parse: Parse[T]) -> dict[Hashable, T]:
    """The rows with valid UIDs; how many there are without goes into the log."""
    found = [parse(row) for row in rows]
    good = [one for one in found if one is not None]
    if len(good) < len(found):
        logger.warning("%d rows of the archive's list have no valid UID and are left out", len(found) - len(good))
    return dict(good)


def _read_once(web: Web, url: str, query: Query, parse: Parse[T], page: int) -> tuple[dict[Hashable, T], bool]:
    """The list once, and whether it shifted."""
    found: dict[Hashable, T] = {}
    before: list[dict[str, Any]] = []
    offset, shifted = 0, False
    while True:
        rows = read_page(web, url, [*query, ("limit", str(page)), ("offset", str(offset))])
        if len(before) > 1 and rows == before:
            if len(rows) >= page:
                raise Unexpected("the archive repeats the first page of a list; narrow the matching keys")
            return found, False  # it knows no pages, and this was everything
        joined = not before or (bool(rows) and rows[0] == before[-1])
        shifted |= not joined
        size = len(found)
        found |= parsed(rows[1:] if before and joined else rows, parse)
        if not rows or len(rows) > page or (before and len(found) == size):
            return found, shifted
        before, offset = rows, offset + len(rows) - 1


def _steady(tag: str, attribute: Any) -> Any:
    """Values that are a set come in any order."""
    if tag in (MODALITIES, CLASSES) and isinstance(attribute, dict) and isinstance(attribute.get("Value"), list):
        return {**attribute, "Value": sorted(map(str, attribute["Value"]))}
    return attribute
