"""How the files of a study come over DIMSE: by C-GET on one association, or by C-MOVE to a listener of ours."""

from __future__ import annotations

import itertools
import secrets
import ssl
import threading
import time
from collections import deque
from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydicom.dataset import Dataset
from pynetdicom import build_context, build_role, evt
from pynetdicom.association import Association
from pynetdicom.presentation import PresentationContext
from pynetdicom.sop_class import (  # type: ignore[attr-defined]
    StudyRootQueryRetrieveInformationModelGet,
    StudyRootQueryRetrieveInformationModelMove,
)

from medgan.dicom import structure
from medgan.dicom.index import STUDY
from medgan.errors import HomeError, InputRejected, SourceError
from medgan.sources.association import (
    BROKEN,
    NOT_AUTHORISED,
    OUT_OF_RESOURCES,
    SUCCESS,
    SYNTAXES,
    Bounds,
    Entity,
    Listener,
    Pulse,
    bounded,
    cut_off,
    file_start,
    listen,
)
from medgan.sources.entry import Limits
from medgan.sources.peer import PENDING, Peer, release

GET, MOVE = str(StudyRootQueryRetrieveInformationModelGet), str(StudyRootQueryRetrieveInformationModelMove)
ROOM = 64 << 20  # bytes that may lie between the network and whoever reads them, beside one instance
STALL_S = 120.0  # without a byte from the archive
MAX_CONTEXTS = 127  # of the 128 of an association, beside the retrieval itself
UNKNOWN_DESTINATION = 0xA801  # PS3.4 C.4.2.1.5
ANSWER_BYTES = 1 << 20  # of one answer to a C-MOVE: at most a list of UIDs


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the archive said at the end; `status` is None when the association broke."""

    status: int | None = None
    completed: int = 0
    failed: int = 0


@dataclass(frozen=True, slots=True)
class Arrival:
    """An instance as it came: `start` is what makes a file of its `data`."""

    uid: str
    start: bytes
    data: memoryview


@dataclass(slots=True)
class Delivery:
    """Instances of one study on their way from an association's thread to whoever reads them."""

    study_uid: str
    landing: Path
    limits: Limits
    waiting: deque[Arrival | Outcome] = field(default_factory=deque)
    held: int = 0  # bytes in `waiting`
    ended: bool = False
    changed: threading.Condition = field(default_factory=threading.Condition)
    outcome: Outcome = Outcome()

    def take(self, event: Any) -> int:
        """The C-STORE handler. It waits while the reader is behind, and so does the archive."""
        asked = event.request
        start = file_start(asked.AffectedSOPClassUID, asked.AffectedSOPInstanceUID, event.context.transfer_syntax)
        arrival = Arrival(str(asked.AffectedSOPInstanceUID), start, asked.DataSet.getbuffer())
        return SUCCESS if self.put(arrival, len(arrival.data)) else OUT_OF_RESOURCES

    def put(self, item: Arrival | Outcome, size: int = 0) -> bool:
        """False when it is over, or nobody reads any more."""
        with self.changed:
            self.changed.wait_for(lambda: self.ended or not self.held or self.held + size <= ROOM)
            if self.ended:
                return False
            self.waiting.append(item)
            self.held += size
            self.ended = isinstance(item, Outcome)
            self.changed.notify_all()
            return True

    def items(self, pulse: Pulse) -> Iterator[tuple[str, Path]]:
        """UID and path of each file; how it ended is the `outcome`. Raises HomeError when `landing` is full."""
        while isinstance(item := self._next(pulse), Arrival):
            path = self.landing / f"{secrets.token_hex(16)}.dcm"
            try:
                with path.open("xb") as file:
                    file.write(item.start)
                    file.write(item.data[: self.limits.max_bytes + 1 - len(item.start)])
            except OSError:
                path.unlink(missing_ok=True)
                raise HomeError("the landing folder cannot be written or is full; make room and run again") from None
            yield item.uid, path
        self.outcome = item

    def _next(self, pulse: Pulse) -> Arrival | Outcome:
        since = time.monotonic()
        with self.changed:
            while not self.changed.wait_for(lambda: self.waiting, timeout=1.0):
                if time.monotonic() - max(since, pulse.heard) > STALL_S:
                    return Outcome()
            item = self.waiting.popleft()
            self.held -= len(item.data) if isinstance(item, Arrival) else 0
            self.changed.notify_all()
            return item

    def end(self) -> None:
        """Nobody reads any more."""
        with self.changed:
            self.ended = True
            self.waiting.clear()
            self.changed.notify_all()


def get(
    peer: Peer, requests: Iterable[Dataset], classes: Sequence[str], delivery: Delivery
) -> Generator[tuple[str, Path], None, None]:
    """C-GET. `classes`: those to come, most frequent first. Raises ConnectionError, SourceError, HomeError."""
    bounds = Bounds(lambda: delivery.limits.max_bytes + 1)
    contexts = [build_context(GET), *contexts_for(classes)]
    roles = [build_role(uid, scp_role=True) for uid in dict.fromkeys(str(c.abstract_syntax) for c in contexts[1:])]
    association = peer.associate(contexts, bounds, roles=roles, on=[(evt.EVT_C_STORE, delivery.take)])

    def ask(request: Dataset) -> Iterable[tuple[Dataset, Dataset | None]]:
        return association.send_c_get(request, GET)

    yield from _carried(association, requests, ask, delivery, bounds.pulse)


class Mover:
    """C-MOVE to a listener of ours, which all fetches share. Only the archive may connect to it."""

    def __init__(self, peer: Peer, host: str, port: int, tls: ssl.SSLContext | None) -> None:
        self.peer, self.host, self.port, self.tls = peer, host, port, tls
        self.pulse, self.lock = Pulse(), threading.Lock()
        self.deliveries: dict[int, Delivery] = {}
        self.numbers = itertools.cycle(range(1, 1 << 16))
        self.listener: Listener | None = None

    def move(self, requests: Iterable[Dataset], delivery: Delivery) -> Generator[tuple[str, Path], None, None]:
        """Raises ConnectionError, SourceError, HomeError."""
        self._listen()
        bounds = Bounds(lambda: ANSWER_BYTES, pulse=self.pulse, look_s=0.005)
        association = self.peer.associate([build_context(MOVE)], bounds)
        with self.lock:
            number = next(n for n in self.numbers if n not in self.deliveries)
            self.deliveries[number] = delivery

        def ask(request: Dataset) -> Iterable[tuple[Dataset, Dataset | None]]:
            return association.send_c_move(request, self.peer.calling, MOVE, msg_id=number)

        try:
            yield from _carried(association, requests, ask, delivery, self.pulse)
        finally:
            with self.lock:
                del self.deliveries[number]
        if delivery.outcome.status == UNKNOWN_DESTINATION:
            raise SourceError("the archive does not know where to send to; register our AE title, host and port there")

    def close(self) -> None:
        with self.lock:
            listener, self.listener = self.listener, None
        if listener is not None:
            listener.shutdown()

    def _listen(self) -> None:
        with self.lock:
            if self.listener is None:
                entity = Entity(self.peer.calling)
                entity.require_calling_aet = [self.peer.title]
                # while a reader is behind, an association is silent for its sake
                entity.maximum_associations, entity.network_timeout = 64, 600.0
                bounds = Bounds(self._limit, pulse=self.pulse)
                entity.maximum_pdu_size = bounds.pdu_bytes
                on = [*bounded(bounds), (evt.EVT_C_STORE, self._take)]
                self.listener = listen(entity, self.host, self.port, on, self.tls)

    def _limit(self) -> int:
        with self.lock:
            return max((delivery.limits.max_bytes + 1 for delivery in self.deliveries.values()), default=0)

    def _take(self, event: Any) -> int:
        delivery = self._whose(event)
        return delivery.take(event) if delivery is not None else NOT_AUTHORISED

    def _whose(self, event: Any) -> Delivery | None:
        """By the number of the request, which is optional in a C-STORE; else by the study."""
        with self.lock:
            open_now = dict(self.deliveries)
        number = event.request.MoveOriginatorMessageID
        if number in open_now and event.request.MoveOriginatorApplicationEntityTitle == self.peer.calling:
            return open_now[number]
        try:
            found = structure.walk(event.encoded_dataset(include_meta=False), 0, str(event.context.transfer_syntax))
        except InputRejected:
            return None
        uid = (found.raw(STUDY) or b"").decode("ascii", "replace").strip("\0 ")
        return next((delivery for delivery in open_now.values() if delivery.study_uid == uid), None)


def contexts_for(classes: Sequence[str]) -> list[PresentationContext]:
    """One context for each class and transfer syntax, so that a file comes in the syntax it is stored in.

    Where they do not all fit, the rarer syntaxes are left out, then the rarer classes.
    """
    pairs = itertools.islice(((uid, syntax) for syntax in SYNTAXES for uid in classes), MAX_CONTEXTS)
    return [build_context(uid, syntax) for uid, syntax in pairs]


def _carried(
    association: Association, requests: Iterable[Dataset], ask: Any, delivery: Delivery, pulse: Pulse
) -> Iterator[tuple[str, Path]]:
    """Run the requests one after the other in a thread, and yield what they bring."""
    association.dimse_timeout = None  # a large file takes long; `items` watches for the last byte instead
    worker = threading.Thread(target=_ask_all, args=(association, requests, ask, delivery), daemon=True)
    worker.start()
    try:
        yield from delivery.items(pulse)
    finally:
        delivery.end()
        if delivery.outcome.status is None:
            cut_off([association])
        worker.join()


def _ask_all(association: Association, requests: Iterable[Dataset], ask: Any, delivery: Delivery) -> None:
    status, completed, failed = None, 0, 0
    try:
        for request in requests:
            status, answer = None, Dataset()
            for answer, _ in ask(request):
                status = answer.get("Status")
            if status is None or status in PENDING:
                status = None
                break
            completed += answer.get("NumberOfCompletedSuboperations") or 0
            failed += answer.get("NumberOfFailedSuboperations") or 0
    except BROKEN:
        status = None
    delivery.put(Outcome(status, completed, failed))
    if status is not None:
        release(association)
