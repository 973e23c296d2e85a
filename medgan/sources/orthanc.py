"""What an Orthanc archive tells beside DICOMweb: its log of changes, and when each study last changed."""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from medgan.sources.qido import is_uid
from medgan.sources.web import Absent, Query, Unexpected, Web

PAGE = 1000  # changes or studies in an answer
MAX_PAGES = 100  # of changes: above, the list of all studies is cheaper
LEVELS = {"Study": "studies", "Series": "series", "Instance": "instances"}
CURSOR = re.compile(r"orthanc:([0-9]{1,18}):(-|[0-9a-f]{16})")
TIME = "%Y%m%dT%H%M%S"
ID = re.compile(r"[0-9a-f-]{1,64}")


@dataclass(frozen=True, slots=True)
class Study:
    """A study as Orthanc knows it. `updated`: UTC, to the second."""

    uid: str
    updated: str
    stable: bool

    def age_s(self, now: datetime) -> float | None:
        """Seconds since the last change."""
        try:
            return max(0.0, (now - datetime.strptime(self.updated, TIME)).total_seconds())
        except ValueError:
            return None


@dataclass(frozen=True, slots=True)
class Changes:
    """The studies that changed, by their UIDs, and the cursor for the next time."""

    studies: dict[str, tuple[Study, ...]]
    cursor: str


@dataclass(slots=True)
class Orthanc:
    """`root`: URL of the REST interface."""

    web: Web
    root: str
    page: int = PAGE
    _whole: bool = field(default=True, repr=False)  # whether it takes /tools/bulk-content

    def newest(self) -> str:
        """A cursor at the end of the log. Raises SourceError."""
        said = self._ask("/changes", [("last", "")])
        return _cursor(said["Changes"][-1:], said["Last"])

    def since(self, cursor: str) -> Changes | None:
        """What changed since `cursor`; None where only a whole listing can tell. Raises SourceError.

        A cursor holds a hash of the entry that was the newest. Entries go when the log is cleared or what they are
        about is deleted or overwritten, and a rebuilt index has others: then that entry is not there any more.
        """
        parts = CURSOR.fullmatch(cursor)
        if parts is None:
            return None
        seq, mark = int(parts[1]), parts[2]
        said = self._log_after(max(0, seq - 1) if mark != "-" else 0)
        if not said["Changes"] and mark == "-" and said["Last"] == seq:
            return Changes({}, cursor)
        if not said["Changes"] or not _goes_on(said["Changes"][0], seq, mark):
            return None
        entries = self._rest(said)
        studies = self._studies_of(entries if mark == "-" else entries[1:]) if entries else None
        return Changes(studies, _cursor(entries[-1:], seq)) if entries and studies is not None else None

    def studies(self) -> dict[str, tuple[Study, ...]]:
        """Every study, by its UID: one UID under several patients is several. Raises SourceError."""
        found: dict[str, Study] = {}  # by Orthanc's own id
        since = 0
        query: Query = [("expand", ""), ("limit", str(self.page))]
        while rows := self._ask("/studies", [*query, ("since", str(since))], list):
            found |= _read_studies(rows)
            since += len(rows)
        return _by_uid(found)

    def studies_named(self, uid: str) -> tuple[Study, ...]:
        """The studies of one UID; () where it does not answer that."""
        body = {"Level": "Study", "Expand": True, "Query": {"StudyInstanceUID": uid}}
        with contextlib.suppress(Absent, Unexpected):
            return _by_uid(_read_studies(self.web.json(f"{self.root}/tools/find", body=body))).get(uid, ())
        return ()

    def now(self) -> datetime | None:
        """The server's own clock, UTC."""
        with contextlib.suppress(Absent, Unexpected, ValueError):
            return datetime.strptime(self.web.text(f"{self.root}/tools/now"), TIME)
        return None

    def _log_after(self, since: int) -> dict[str, Any]:
        said: dict[str, Any] = self._ask("/changes", [("since", str(since)), ("limit", str(self.page))])
        return said

    def _rest(self, said: dict[str, Any]) -> list[dict[str, Any]] | None:
        """The entries of one answer and of those after it; None when they are too many."""
        entries: list[dict[str, Any]] = list(said["Changes"])
        for _ in range(MAX_PAGES):
            if said["Done"] or not said["Changes"]:
                return entries
            said = self._log_after(entries[-1]["Seq"])
            entries += said["Changes"]
        return None

    def _studies_of(self, entries: list[dict[str, Any]]) -> dict[str, tuple[Study, ...]] | None:
        """The studies that entries are about; None where one of them is not there any more."""
        levels = {entry["ID"]: entry["ResourceType"] for entry in entries if entry.get("ResourceType") in LEVELS}
        ids = [each for each in levels if isinstance(each, str) and ID.fullmatch(each)]
        found: dict[str, Study] = {}
        for begin in range(0, len(ids), self.page):
            found |= self._look_up(ids[begin : begin + self.page], levels)
        gone = any(level == "Study" and each not in found for each, level in levels.items())
        return None if gone else _by_uid(found)

    def _look_up(self, ids: list[str], levels: dict[str, str]) -> dict[str, Study]:
        if self._whole:
            try:
                body = {"Resources": ids, "Level": "Study", "Metadata": False}
                return _read_studies(self.web.json(f"{self.root}/tools/bulk-content", body=body))
            except (Absent, Unexpected):
                self._whole = False  # before 1.9.4, or behind a proxy that lets no POST through
        found: dict[str, Study] = {}
        for each in ids:
            way = "" if levels[each] == "Study" else "/study"
            with contextlib.suppress(Absent):  # a study that went is seen by who called
                found |= _read_studies([self._ask(f"/{LEVELS[levels[each]]}/{each}{way}", [])])
        return found

    def _ask(self, path: str, query: Query, kind: type = dict) -> Any:
        said: Any = self.web.json(f"{self.root}{path}", query)
        if not isinstance(said, kind) or (path == "/changes" and not _is_log(said)):
            raise Unexpected("the archive's own list is not like Orthanc's; put changes=no into the address")
        return said


def find_orthanc(web: Web, service: str) -> Orthanc | None:
    """The REST interface one level above a DICOMweb service; None where there is none. Raises SourceError."""
    root = service.rsplit("/", 1)[0]
    try:
        said = web.json(f"{root}/system")
    except (Absent, Unexpected):
        return None
    return Orthanc(web, root) if isinstance(said, dict) and {"ApiVersion", "DicomAet"} <= said.keys() else None


def _goes_on(oldest: dict[str, Any], seq: int, mark: str) -> bool:
    """Whether nothing can be missing between a cursor and the oldest entry."""
    if mark == "-":  # the log was empty: what came next has the next number, unless it was cleared again
        return bool(oldest["Seq"] == seq + 1)
    return bool(oldest["Seq"] == seq) and _mark(oldest) == mark


def _cursor(newest: list[dict[str, Any]], last: int) -> str:
    return f"orthanc:{newest[0]['Seq']}:{_mark(newest[0])}" if newest else f"orthanc:{last}:-"


def _mark(entry: dict[str, Any]) -> str:
    said = json.dumps([entry.get(name) for name in ("Seq", "Date", "ChangeType", "ID")])
    return hashlib.sha256(said.encode()).hexdigest()[:16]


def _is_log(said: Any) -> bool:
    entries = said.get("Changes")
    return (
        isinstance(entries, list)
        and all(isinstance(entry, dict) and {"Seq", "ID"} <= entry.keys() for entry in entries)
        and isinstance(said.get("Last"), int)
        and "Done" in said
    )


def _read_studies(rows: Any) -> dict[str, Study]:
    found = {}
    for row in rows if isinstance(rows, list) else []:
        tags = row.get("MainDicomTags") if isinstance(row, dict) else None
        uid = str(tags.get("StudyInstanceUID", "")).strip("\0 ") if isinstance(tags, dict) else ""
        if is_uid(uid):
            found[str(row.get("ID"))] = Study(uid, str(row.get("LastUpdate", "")), row.get("IsStable") is True)
    return found


def _by_uid(found: dict[str, Study]) -> dict[str, tuple[Study, ...]]:
    by_uid: dict[str, tuple[Study, ...]] = {}
    for study in found.values():
        by_uid[study.uid] = (*by_uid.get(study.uid, ()), study)
    return by_uid
