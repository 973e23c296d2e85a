"""An archive that speaks DICOMweb: which studies it holds (QIDO-RS), and their files (WADO-RS).

DICOMweb has no standard log of changes, so every poll lists all studies, except on Orthanc, whose log is read. With
changes=no an Orthanc is asked by DICOMweb alone; then neither an overwritten instance nor a list that it cuts
(LimitFindResults) can be noticed.
"""

from __future__ import annotations

import hashlib
import ipaddress
import random
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import SplitResult, parse_qsl, urlencode, urlsplit

from pydicom.datadict import tag_for_keyword

from medgan.errors import SourceError, UsageError
from medgan.sources.connection import FILE, Connection
from medgan.sources.entry import Limits
from medgan.sources.orthanc import Orthanc, Study, find_orthanc
from medgan.sources.qido import INSTANCES, MODALITIES, OF_SERIES, STUDY, Row, is_uid, parsed, read_list, read_page
from medgan.sources.qido import study_row as read_row
from medgan.sources.server import Holding, Poll
from medgan.sources.wado import Retrieval, Wado
from medgan.sources.web import Absent, Query, Web

SCHEMES = ("dicomweb+http", "dicomweb+https")
OURS = ("limit", "offset", "includefield")  # set by the paging
SETTLED_AFTER = timedelta(days=2)
PAGE, AT_ONCE = 1000, 20  # rows in one answer; UIDs in one question
INCLUDE = [("includefield", tag) for tag in (INSTANCES, OF_SERIES, MODALITIES)]


@dataclass
class Dicomweb:
    """A `Server` (see server.py). `url`: of the service; `matching`: what a study must be to be listed."""

    name: str
    connections: int
    web: Web
    url: str
    matching: Query
    changes: bool = True
    page: int = PAGE
    _orthanc: list[Orthanc | None] = field(default_factory=list, repr=False)  # empty until it was looked for
    _wado: Wado = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._wado = Wado(self.web, self.url, self.page)

    def poll(self, cursor: str, *, whole: bool) -> Poll:
        orthanc = self._find_orthanc()
        if orthanc is None:
            return Poll(self._list_all(None), whole=True)
        changed = None if whole else orthanc.since(cursor)
        if changed is not None:
            holdings = self._holdings(self._rows_named(changed.studies), orthanc, changed.studies)
            return Poll(holdings, whole=False, cursor=changed.cursor)
        newest = orthanc.newest()  # before the listing: what changes meanwhile is seen the next time
        return Poll(self._list_all(orthanc), whole=True, cursor=newest)

    def fetch(self, study_uid: str, landing: Path, limits: Limits, has: Callable[[str], bool]) -> Iterator[Path]:
        if not is_uid(study_uid):
            raise SourceError("a study without a valid UID cannot be fetched")
        yield from Retrieval(self._wado, study_uid, landing, limits.max_bytes, has).run()

    def close(self) -> None:
        self.web.close()

    def _find_orthanc(self) -> Orthanc | None:
        """Looked for once. A question for one study needs no log."""
        if not self._orthanc:
            wanted = self.changes and not any(key in (STUDY, "StudyInstanceUID") for key, _ in self.matching)
            self._orthanc.append(find_orthanc(self.web, self.url) if wanted else None)
        return self._orthanc[0]

    def _list_all(self, orthanc: Orthanc | None) -> tuple[Holding, ...]:
        studies = orthanc.studies() if orthanc else {}
        try:
            rows = read_list(self.web, f"{self.url}/studies", [*self.matching, *INCLUDE], read_row, page=self.page)
            missing = studies.keys() - {row.uid for row in rows}
            if missing and (not self.matching or self._is_cut(sum(map(len, studies.values())))):
                rows += self._rows_named(missing)
        except Absent:
            raise SourceError("there is no DICOMweb service at this address; check its path") from None
        return self._holdings(rows, orthanc, studies)

    def _is_cut(self, studies: int) -> bool:
        """Whether an Orthanc with LimitFindResults gives only the beginning of a list: it does not say so."""
        return not read_page(self.web, f"{self.url}/studies", [("limit", "1"), ("offset", str(studies - 1))])

    def _rows_named(self, uids: Iterable[str]) -> list[Row]:
        """Those that match. Not every service takes a list of UIDs, so what is missing is asked for alone."""
        left, rows = sorted(uids), []
        for begin in range(0, len(left), AT_ONCE):
            some = left[begin : begin + AT_ONCE]
            found = self._rows_of(some)
            seen = {row.uid for row in found}
            rows += found
            rows += [row for uid in some if uid not in seen and len(some) > 1 for row in self._rows_of([uid])]
        return rows

    def _rows_of(self, uids: list[str]) -> list[Row]:
        query = [*self.matching, *INCLUDE, ("StudyInstanceUID", ",".join(uids))]
        try:
            rows = parsed(read_page(self.web, f"{self.url}/studies", query), read_row)
        except Absent:
            return []
        return [row for row in rows.values() if row.uid in uids]

    def _holdings(
        self, rows: list[Row], orthanc: Orthanc | None, studies: dict[str, tuple[Study, ...]]
    ) -> tuple[Holding, ...]:
        by_uid: dict[str, list[Row]] = {}
        for row in rows:
            by_uid.setdefault(row.uid, []).append(row)
        if orthanc is None:
            today = self.web.date or datetime.now(UTC)
            return tuple(_holding(same, today) for same in by_uid.values())
        now = orthanc.now()
        found = []
        for uid, same in by_uid.items():
            known = studies.get(uid, ())
            if len(known) != len(same):  # it changed while the lists were read
                known = orthanc.studies_named(uid)
            found.append(_holding_of_orthanc(same, known, now))
        return tuple(found)


def open_dicomweb(
    address: str,
    connection: Connection,
    *,
    sleep: Callable[[float], None] = time.sleep,
    chance: Callable[[], float] = random.random,
    page: int = PAGE,
) -> Dicomweb:
    """`address`: dicomweb+http[s]://host:port/path?Keyword=Value&…; connections=N and changes=no are for us.

    Nothing is asked yet. Raises UsageError for a wrong address, SourceError where a file of `connection` is missing.
    """
    try:
        parts = urlsplit(address)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        raise UsageError(_USAGE) from None
    if parts.scheme not in SCHEMES or not host or parts.fragment:
        raise UsageError(_USAGE)
    if parts.username is not None or parts.password is not None:
        raise UsageError(f"credentials do not belong into an address; put them into {FILE}")
    matching, connections, changes = _read_query(parts)
    scheme = parts.scheme.removeprefix("dicomweb+")
    place = f"{f'[{host}]' if ':' in host else host}:{port or (443 if scheme == 'https' else 80)}"
    url = f"{scheme}://{place}{parts.path.rstrip('/')}"
    if scheme == "http" and (connection.token or connection.user) and not _is_here(host):
        raise UsageError("a token or password would go over plain http; use dicomweb+https")
    name = f"dicomweb+{url}" + (f"?{urlencode(sorted(matching))}" if matching else "")  # how it is asked is no place
    web = Web(connection, sleep, chance)
    return Dicomweb(name, connections, web, url, matching, changes, page)


def _is_here(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


_USAGE = "the address is not like dicomweb+https://host:port/path?Keyword=Value; correct it"


def _read_query(parts: SplitResult) -> tuple[Query, int, bool]:
    """Matching keys, connections, and whether a log of changes may be read. Raises UsageError."""
    matching: Query = []
    connections, changes = 4, True
    for at, (key, value) in enumerate(parse_qsl(parts.query, keep_blank_values=True), start=1):
        if key == "connections":
            connections = _connections(value)
        elif key == "changes":
            if value not in ("no", "yes"):
                raise UsageError("changes must be yes or no")
            changes = value == "yes"
        elif key in OURS or not _is_key(key):
            raise UsageError(f"part {at} after the ? of the address is no keyword of a DICOM attribute; correct it")
        else:
            matching.append((key, value))
    return matching, connections, changes


def _connections(value: str) -> int:
    if not value.isdecimal() or not 1 <= int(value[:3]) <= 16:
        raise UsageError("connections must be a number from 1 to 16")
    return int(value)


def _is_key(key: str) -> bool:
    """A typing error would be ignored by the server, and everything taken in."""
    if key == "fuzzymatching" or tag_for_keyword(key) is not None:
        return True
    return len(key) == 8 and all(digit in "0123456789abcdefABCDEF" for digit in key)


def _holding(rows: list[Row], today: datetime) -> Holding:
    settled = all(_is_old(row.date, today) for row in rows)
    return Holding(rows[0].uid, _stamp(rows, ()), _expected(rows), None, settled)


def _holding_of_orthanc(rows: list[Row], studies: tuple[Study, ...], now: datetime | None) -> Holding:
    ages = [study.age_s(now) for study in studies] if now else []
    known = [age for age in ages if age is not None]
    age = min(known) if known and len(known) == len(studies) else None
    settled = bool(studies) and all(study.stable for study in studies)
    return Holding(rows[0].uid, _stamp(rows, studies), _expected(rows), age, settled)


def _stamp(rows: list[Row], studies: tuple[Study, ...]) -> str:
    said = sorted(row.digest for row in rows) + sorted(study.updated for study in studies)
    return hashlib.sha256("\n".join(said).encode()).hexdigest()


def _expected(rows: list[Row]) -> int | None:
    counts = [row.expected for row in rows if row.expected is not None]
    return sum(counts) if len(counts) == len(rows) else None


def _is_old(date: str, today: datetime) -> bool:
    try:
        return datetime.strptime(date, "%Y%m%d").replace(tzinfo=UTC) + SETTLED_AFTER < today
    except ValueError:
        return False
