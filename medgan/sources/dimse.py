"""An archive that speaks DIMSE (C-FIND, C-GET, C-MOVE) as a source of studies."""

from __future__ import annotations

import contextlib
import datetime
import hashlib
import ipaddress
import logging
import random
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit

from pydicom.datadict import tag_for_keyword
from pydicom.dataset import Dataset

from medgan.dicom.index import UID
from medgan.errors import SourceError, UsageError
from medgan.sources.association import called_tls, calling_tls, checked_title
from medgan.sources.connection import Connection
from medgan.sources.dimse_plan import Plan, plan_at_a_glance, plan_by_list
from medgan.sources.dimse_retrieval import Delivery, Mover, get
from medgan.sources.entry import Limits
from medgan.sources.peer import Peer, find, query, raw, release
from medgan.sources.server import Holding, Poll

STUDY_UID, STUDY_DATE, INSTANCES = 0x0020000D, 0x00080020, 0x00201208
TELLING = (
    *("StudyInstanceUID", "StudyDate", "StudyTime", "NumberOfStudyRelatedInstances", "NumberOfStudyRelatedSeries"),
    *("ModalitiesInStudy", "PatientID"),
)
NOT_OF_THE_STUDY = (0x00080052, 0x00080054, 0x00080056)  # level asked, where to fetch it, whether on line
SETTLED_DAYS = 2
TRIES = 5  # without progress
OWN_KEYS = ("connections", "retrieve", "calling", "listen")

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Dimse:
    """Satisfies `Server`. `keys`: what a study must match, by keyword. `mover` is there when C-MOVE was chosen."""

    name: str
    peer: Peer
    keys: dict[str, str]
    connections: int
    mover: Mover | None
    today: Callable[[], datetime.date] = field(default=lambda: datetime.datetime.now(datetime.UTC).date())
    sleep: Callable[[float], None] = field(default=time.sleep)

    def poll(self, cursor: str, *, whole: bool) -> Poll:
        """Every study that matches; DIMSE knows no change log. Raises SourceError.

        `expected` is None where the archive does not count instances. A study is settled two days after its date.
        """
        for idle in range(1, TRIES + 1):
            try:
                answers = self._found("STUDY", {**dict.fromkeys(TELLING, ""), **self.keys})
                break
            except ConnectionError:
                self._wait(idle)
        held: dict[str, Holding] = {}
        unusable = 0
        for answer in answers:
            holding = self._holding(answer)
            if _is_uid(holding.study_uid):
                held[holding.study_uid] = holding
            else:
                unusable += 1
        if unusable:
            log.warning("the archive lists %d studies without a valid UID; they cannot be fetched", unusable)
        return Poll(tuple(held.values()), whole=True)

    def fetch(self, study_uid: str, landing: Path, limits: Limits, has: Callable[[str], bool]) -> Iterator[Path]:
        """See `Server`. What is missing at the end, by the archive's own list of the study, is asked for again."""
        if not _is_uid(study_uid):
            raise SourceError("a study without a valid UID cannot be fetched")
        plan, idle, arrived = None, 0, set[str]()
        while True:
            before = len(arrived)
            try:
                plan = self._plan(study_uid, arrived, has, first=plan is None, alone=idle > 0)
                if not plan.requests:
                    return
                delivery = Delivery(study_uid, landing, limits)
                yield from self._round(delivery, plan, arrived)
                if plan.is_done(delivery.outcome, arrived):
                    return
            except ConnectionError:
                pass
            idle = 0 if len(arrived) > before else idle + 1
            self._wait(idle)

    def close(self) -> None:
        """Stop listening; associations of fetches end with their iterators."""
        if self.mover is not None:
            self.mover.close()

    def _holding(self, answer: Dataset) -> Holding:
        count, date = raw(answer, INSTANCES), raw(answer, STUDY_DATE)
        return Holding(
            raw(answer, STUDY_UID),
            stamp=_stamp(answer),
            expected=int(count) if count.isdigit() else None,
            settled=_is_before(date, self.today() - datetime.timedelta(days=SETTLED_DAYS)),
        )

    def _found(self, level: str, keys: dict[str, str]) -> list[Dataset]:
        association = query(self.peer)
        try:
            return list(find(association, level, keys))
        finally:
            release(association)

    def _plan(self, study_uid: str, arrived: set[str], has: Callable[[str], bool], *, first: bool, alone: bool) -> Plan:
        """What to ask for next. Raises ConnectionError, SourceError."""

        def is_here(uid: str) -> bool:
            return uid in arrived or has(uid)

        association = query(self.peer)
        try:
            plan = plan_at_a_glance(association, study_uid, has) if first else None
            known_only = self.mover is not None  # our listener must name the classes it takes
            return plan or plan_by_list(association, study_uid, is_here, known_only=known_only, alone=alone)
        finally:
            release(association)

    def _round(self, delivery: Delivery, plan: Plan, arrived: set[str]) -> Iterator[Path]:
        """Ask once; add to `arrived` what came, and yield it unless it came before."""
        if self.mover is not None:
            coming = self.mover.move(plan.requests, delivery)
        else:
            coming = get(self.peer, plan.requests, plan.classes, delivery)
        with contextlib.closing(coming):
            for uid, path in coming:
                if uid in arrived:
                    path.unlink(missing_ok=True)
                else:
                    arrived.add(uid)
                    yield path

    def _wait(self, idle: int) -> None:
        """Wait longer each time that nothing came. Raises SourceError after some times."""
        if idle >= TRIES:
            raise SourceError(
                "the archive stopped answering, does not know our AE title, or keeps something back; "
                "run again: what arrived is kept"
            )
        self.sleep(min(30.0, 2.0**idle) * random.uniform(0.5, 1.0))


def open_dimse(address: str, connection: Connection) -> Dimse:
    """`dimse://AE@host:port?Keyword=Value&…`: matching keys of the study level by DICOM keyword; besides them
    connections=N (2), retrieve=get|move, calling=AE and listen=PORT. Raises UsageError, SourceError.
    """
    try:
        parts = urlsplit(address)
        title, host, port = unquote(parts.username or ""), parts.hostname or "", parts.port or 104
    except ValueError:
        raise UsageError("the address must read dimse://AE@host:port") from None
    if parts.scheme != "dimse" or not host or not title or parts.password or parts.path not in ("", "/"):
        raise UsageError("the address must read dimse://AE@host:port")
    given: dict[str, str] = {}
    for name, value in parse_qsl(parts.query, keep_blank_values=True):
        given[name] = f"{given[name]}\\{value}" if name in given else value
    own = {name: given.pop(name) for name in OWN_KEYS if name in given}
    if any(tag_for_keyword(name) is None for name in given):
        raise UsageError(f"the address may hold DICOM keywords and {', '.join(OWN_KEYS)}")
    connections = _number(own.get("connections", "2"), 1, 16, "connections")
    connection = replace(
        connection,
        calling=own.get("calling", connection.calling),
        retrieve=own.get("retrieve", connection.retrieve),
        listen=_number(own.get("listen", str(connection.listen)), 0, 65535, "listen"),
    )
    if connection.retrieve not in ("get", "move"):
        raise UsageError("retrieve must be get or move")
    peer = Peer(
        checked_title(title, "the address"),
        host,
        port,
        checked_title(connection.calling, "calling"),
        calling_tls(connection),
    )
    mover = None
    if connection.retrieve == "move":
        mover = Mover(peer, _facing(host), connection.listen, called_tls(connection))
    name = f"dimse://{title}@{host}:{port}" + (f"?{urlencode(sorted(given.items()))}" if given else "")
    return Dimse(name, peer, given, connections, mover)  # how it is asked is no place


def _facing(host: str) -> str:
    """Where to listen for an archive: on loopback when it is there itself, else everywhere."""
    try:
        return "127.0.0.1" if ipaddress.ip_address(socket.gethostbyname(host)).is_loopback else ""
    except (OSError, ValueError):
        return ""


def _number(text: str, low: int, high: int, what: str) -> int:
    if not text.isdigit() or not low <= int(text) <= high:
        raise UsageError(f"{what} must be a number from {low} to {high}")
    return int(text)


def _is_uid(text: str) -> bool:
    return len(text) <= 64 and UID.fullmatch(text) is not None


def _is_before(date: str, limit: datetime.date) -> bool:
    return len(date) == 8 and date.isdigit() and date < limit.strftime("%Y%m%d")


def _stamp(answer: Dataset) -> str:
    """sha256 over all that the archive tells of a study, whatever the order and padding."""
    digest = hashlib.sha256()
    for tag in sorted(answer.keys()):
        if tag not in NOT_OF_THE_STUDY:
            value = answer.get_item(tag).value
            text = value.strip(b"\0 ") if isinstance(value, bytes) else str(value or "").encode()
            digest.update(f"{tag:08x}:{len(text)}:".encode() + text)
    return digest.hexdigest()
