"""The door for what scanners and archives push: a plain storage SCP that answers for a file once it lies on disk."""

from __future__ import annotations

import hashlib
import os
import re
import secrets
import threading
import time
import weakref
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pynetdicom import evt
from pynetdicom.association import Association

from medgan.errors import HomeError, UsageError
from medgan.sources.association import (
    CANNOT_UNDERSTAND,
    MAX_PDU,
    NOT_AUTHORISED,
    OUT_OF_RESOURCES,
    SUCCESS,
    Bounds,
    Entity,
    Listener,
    bounded,
    called_tls,
    checked_title,
    file_start,
    listen,
)
from medgan.sources.connection import Connection

PART = ".part-"  # the name of a file that is not whole yet begins so
TOKEN = re.compile(r"[0-9A-Za-z_-]{1,64}")
SMALLEST_PDU, LARGEST_PDU = 4096, 16 << 20
LOOK_S = 0.001


@dataclass(frozen=True, slots=True)
class Counts:
    """Since the start. `refused`: no_room, disk, too_large, unreadable, unknown_sender, wrong_title, too_many."""

    received: int
    repeated: int
    refused: dict[str, int]


class Reception:
    """Receives into INBOX/SENDER/SHA256.dcm, where `sender_of` makes the folder's name from the calling AE title.

    Success is answered only when file and folder are on disk, so whatever was acknowledged outlives any crash.
    Up to `max_associations` data sets of `max_bytes` are held in memory. `max_per_second`: instances of one
    association, 0 for no limit. `room` says whether the disk may take more. One process owns an inbox.
    """

    def __init__(
        self,
        inbox: Path,
        *,
        ae_title: str,
        port: int,
        allowed: frozenset[str],
        sender_of: Callable[[str], str],
        host: str = "127.0.0.1",
        called_must_match: bool = True,
        tls: Connection | None = None,
        max_pdu: int = MAX_PDU,
        max_associations: int = 10,
        max_per_second: float = 0.0,
        max_bytes: int = 2 << 30,
        room: Callable[[], bool] = lambda: True,
    ) -> None:
        if not allowed:
            raise UsageError("name the AE titles that may send; an empty list would let in everybody")
        if not SMALLEST_PDU <= max_pdu <= LARGEST_PDU:
            raise UsageError(f"the largest PDU must be between {SMALLEST_PDU} and {LARGEST_PDU} bytes")
        self.inbox, self.host, self.wanted_port, self.tls = inbox, host, port, called_tls(tls)
        self.senders = {title: sender_of(checked_title(title, "an allowed sender")) for title in sorted(allowed)}
        if not all(TOKEN.fullmatch(token) for token in self.senders.values()):
            raise UsageError("the name of a sender's folder may hold letters, digits, - and _ only")
        self.gap_s = 1 / max_per_second if max_per_second > 0 else 0.0
        self.max_bytes, self.room = max_bytes, room
        self.entity = Entity(checked_title(ae_title, "the reception"))
        self.entity.require_calling_aet = list(self.senders)
        self.entity.require_called_aet = called_must_match
        self.entity.maximum_associations = max_associations
        self.entity.maximum_pdu_size = max_pdu
        self.bounds = Bounds(lambda: max_bytes + 1, pdu_bytes=max_pdu, look_s=LOOK_S)
        self.listener: Listener | None = None
        self.lock = threading.Lock()
        self.counted: Counter[str] = Counter()
        self.next_at: weakref.WeakKeyDictionary[Association, float] = weakref.WeakKeyDictionary()

    def start(self) -> None:
        """Sweep what was cut off, then listen. Raises SourceError for the port, HomeError for the inbox."""
        try:
            for part in self.inbox.glob(f"{PART}*"):
                part.unlink(missing_ok=True)
            for token in self.senders.values():
                (self.inbox / token).mkdir(parents=True, exist_ok=True)
            _sync_folder(self.inbox)
        except OSError:
            raise HomeError("the inbox cannot be written; check its permissions and space") from None
        on = [*bounded(self.bounds), (evt.EVT_C_STORE, self._store), (evt.EVT_REJECTED, self._rejected)]
        self.listener = listen(self.entity, self.host, self.wanted_port, on, self.tls)

    def stop(self) -> None:
        """End every association and free the port."""
        if self.listener is not None:
            self.listener.shutdown()
            self.listener = None

    @property
    def port(self) -> int:
        """Where it listens; when 0 was asked for, the port that was found."""
        return int(self.listener.server_address[1]) if self.listener is not None else self.wanted_port

    @property
    def counts(self) -> Counts:
        with self.lock:
            counted = dict(self.counted)
        return Counts(counted.pop("received", 0), counted.pop("repeated", 0), counted)

    def _store(self, event: Any) -> int:
        """The C-STORE handler."""
        asked, sender = event.request, self.senders.get(str(event.assoc.requestor.ae_title).strip())
        self._keep_pace(event.assoc)
        if sender is None:
            return self._refuse("unknown_sender", NOT_AUTHORISED)
        if asked.DataSet is None:
            return self._refuse("unreadable", CANNOT_UNDERSTAND)
        if not self.room():
            return self._refuse("no_room", OUT_OF_RESOURCES)
        start = file_start(asked.AffectedSOPClassUID, asked.AffectedSOPInstanceUID, event.context.transfer_syntax)
        with asked.DataSet.getbuffer() as data:
            if len(data) > self.max_bytes:
                return self._refuse("too_large", OUT_OF_RESOURCES)
            try:
                self._count(self._keep(sender, start, data))
            except OSError:
                return self._refuse("disk", OUT_OF_RESOURCES)
        return SUCCESS

    def _keep(self, sender: str, start: bytes, data: memoryview) -> str:
        """Put a file into the inbox, durably. Returns received, or repeated when it lies there already."""
        digest = hashlib.sha256(start)
        digest.update(data)
        path = self.inbox / sender / f"{digest.hexdigest()}.dcm"
        what = "repeated"
        try:
            os.utime(path)  # sent once more: it is the newest that this sender says
        except FileNotFoundError:
            what = "received"
            part = self.inbox / f"{PART}{secrets.token_hex(8)}"
            try:
                with part.open("xb") as file:
                    file.write(start)
                    file.write(data)
                    file.flush()
                    os.fsync(file.fileno())
                part.replace(path)
            except OSError:
                part.unlink(missing_ok=True)
                raise
        _sync_folder(path.parent)  # also for a repeated one: whoever brought it first may not be so far yet
        return what

    def _keep_pace(self, association: Association) -> None:
        """Let one association bring no more than so many a second: the answer waits, and so does the sender."""
        if self.gap_s:
            now = time.monotonic()
            at = max(now, self.next_at.get(association, now))
            self.next_at[association] = at + self.gap_s
            time.sleep(at - now)

    def _rejected(self, event: Any) -> None:
        """Count why an association was not accepted."""
        asked = event.assoc.requestor.primitive
        if asked.calling_ae_title not in self.senders:
            self._count("unknown_sender")
        elif self.entity.require_called_aet and asked.called_ae_title != self.entity.ae_title.strip():
            self._count("wrong_title")
        else:
            self._count("too_many")

    def _refuse(self, why: str, status: int) -> int:
        self._count(why)
        return status

    def _count(self, what: str) -> None:
        with self.lock:
            self.counted[what] += 1


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
