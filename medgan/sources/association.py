"""What asking an archive and being sent images share: associations that are quick, bounded and silent.

pynetdicom trusts the length a peer declares, keeps a whole message in memory whatever its size, waits without
end for the rest of a PDU, shakes hands over TLS while no other peer can connect, and quotes values in its logs.
"""

from __future__ import annotations

import contextlib
import io
import logging
import re
import socket
import ssl
import struct
import threading
import time
import warnings
import weakref
from collections.abc import Callable
from dataclasses import dataclass, field
from socketserver import BaseServer
from typing import Any, cast

from pynetdicom import AE, _config, build_context, evt
from pynetdicom.association import Association
from pynetdicom.dimse_messages import DIMSEMessage
from pynetdicom.presentation import AllStoragePresentationContexts, PresentationContext
from pynetdicom.transport import AssociationSocket, ThreadedAssociationServer

from medgan.dicom.dictionary import IMAGE_CLASSES
from medgan.dicom.index import IMPLEMENTATION
from medgan.dicom.structure import BIG_ENDIAN, DEFLATED, EXPLICIT, IMPLICIT
from medgan.errors import SourceError, UsageError
from medgan.sources.connection import Connection

MAX_PDU = 1 << 17  # bytes; the largest that DCMTK, and so most archives, would send
LONGEST_REQUEST = 1 << 18  # bytes of an association request with 128 contexts
MAX_COMMAND = 1 << 16  # bytes of a command set; real ones stay below 1 KiB
MAX_CONNECTIONS = 256  # open at a time, associations or not yet
CONNECT_S, NEGOTIATE_S, IDLE_S = 10.0, 30.0, 60.0
LOOK_S = 0.0002
SUCCESS, OUT_OF_RESOURCES, NOT_AUTHORISED, CANNOT_UNDERSTAND = 0x0000, 0xA700, 0x0124, 0xC000  # PS3.7 C, PS3.4 B.2.3
JPEG = "1.2.840.10008.1.2.4."
# as they are stored, uncompressed first: who may choose picks the first, and shall compress nothing for us
SYNTAXES = (
    *(EXPLICIT, IMPLICIT, f"{JPEG}70", f"{JPEG}90", f"{JPEG}91", f"{JPEG}80", f"{JPEG}81", f"{JPEG}50", f"{JPEG}51"),
    *(f"{JPEG}57", "1.2.840.10008.1.2.5", f"{JPEG}201", f"{JPEG}202", f"{JPEG}203", DEFLATED, BIG_ENDIAN),
    *(f"{JPEG}{n}" for n in range(100, 109)),
)
STORAGE_CLASSES = tuple(
    sorted({str(context.abstract_syntax) for context in AllStoragePresentationContexts} | IMAGE_CLASSES)
)
VERIFICATION = "1.2.840.10008.1.1"
AE_TITLE = re.compile(r"(?! )[ -\[\]-~]{1,16}(?<! )")  # PS3.5 6.2, AE: no backslash, no control character
MALFORMED = (ValueError, TypeError, KeyError, IndexError, AttributeError, NotImplementedError, EOFError, struct.error)
BROKEN = (OSError, RuntimeError, ValueError)  # of a connection: lost, not established any more, nothing agreed on


@dataclass(slots=True)
class Pulse:
    """When something was last heard of a peer, on the monotonic clock."""

    heard: float = field(default_factory=time.monotonic)

    def beat(self) -> None:
        self.heard = time.monotonic()


@dataclass(frozen=True, slots=True)
class Bounds:
    """`message_bytes`: how much of a data set is kept; what goes beyond is dropped. `pdu_bytes`: of one PDU."""

    message_bytes: Callable[[], int]
    pdu_bytes: int = MAX_PDU
    pulse: Pulse = field(default_factory=Pulse)
    look_s: float = LOOK_S  # seconds between two looks at the socket: twice that for each instance, CPU for each look


class _Capped(io.BytesIO):
    """Keeps the first bytes written and drops the rest."""

    def __init__(self, limit: int) -> None:
        super().__init__()
        self.limit = limit

    def write(self, data: Any) -> int:
        room = self.limit - self.tell()
        super().write(data if len(data) <= room else data[: max(0, room)])
        return len(data)


class _Shared(list[PresentationContext]):
    """What is only read need not be copied for each connection, which takes longer than a file does."""

    def __deepcopy__(self, _: Any) -> _Shared:
        return self


class Entity(AE):
    """An application entity. A connection counts against the limit once it has become an association."""

    def __init__(self, title: str) -> None:
        super().__init__(ae_title=title)
        hush()
        self.acse_timeout, self.dimse_timeout, self.network_timeout = NEGOTIATE_S, IDLE_S, IDLE_S
        self.connection_timeout = CONNECT_S

    @property
    def active_associations(self) -> list[Association]:
        """Those established, and the one of the thread that asks: silent connections must not lock others out."""
        current = threading.current_thread()
        return [one for one in super().active_associations if one.is_established or one is current]


class Listener(ThreadedAssociationServer):
    """Accepts connections. Whatever a peer does or leaves undone costs its own thread only."""

    daemon_threads = True
    request_queue_size = 64
    most = MAX_CONNECTIONS

    def __init__(self, *words: Any, **named: Any) -> None:
        self.clients: weakref.WeakSet[socket.socket] = weakref.WeakSet()
        super().__init__(*words, **named)
        self._gc = [0, 600]  # looks between two full garbage collections, which stop every thread of a large process

    def get_request(self) -> tuple[socket.socket, Any]:
        client, address = socket.socket.accept(self.socket)  # type: ignore[arg-type]
        client.settimeout(NEGOTIATE_S)
        if self.ssl_context:
            # the handshake follows in the peer's own thread
            client = self.ssl_context.wrap_socket(client, server_side=True, do_handshake_on_connect=False)
        self.clients.add(client)
        return client, address

    def verify_request(self, request: Any, client_address: Any) -> bool:
        """False closes it at once: silent connections cost threads until they time out."""
        return sum(client.fileno() != -1 for client in self.clients) <= self.most

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            if isinstance(request, ssl.SSLSocket):
                request.do_handshake()
            self.finish_request(request, client_address)
        except BROKEN:
            self.shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Silent: the default prints the peer's address."""

    def shutdown(self) -> None:
        """Stop accepting, end every association. Returns when the port is free."""
        BaseServer.shutdown(self)
        self.server_close()
        cut_off(self.active_associations)


def listen(entity: Entity, host: str, port: int, handlers: list[Any], tls: ssl.SSLContext | None) -> Listener:
    """A listener for every storage class, in a thread of its own. Raises SourceError when it cannot have the port."""
    contexts = _Shared(build_context(uid, list(SYNTAXES)) for uid in [*STORAGE_CLASSES, VERIFICATION])
    try:
        server = cast(Listener, entity.make_server((host, port), None, contexts, tls, handlers, Listener))
    except OSError:
        raise SourceError("the port to listen on is taken or not allowed; give another one") from None
    threading.Thread(target=server.serve_forever, args=(0.1,), name="dicom listener", daemon=True).start()
    return server


def cut_off(associations: list[Association]) -> None:
    """End associations from outside, also those whose threads wait for a peer that says nothing more."""
    for association in associations:
        association.abort(block=False)
    time.sleep(0.1 if associations else 0)  # the abort is sent by the association's own thread
    for association in associations:
        connection = association.dul.socket
        if connection is not None and connection.socket is not None:
            with contextlib.suppress(OSError):
                connection.socket.shutdown(socket.SHUT_RDWR)
        association.dimse.msg_queue.put((None, None))  # whoever waits for a message shall not wait on


class _Gate:
    """In place of the event that pauses an association's own thread while another one waits for an answer.

    pynetdicom 3.0.4 goes on when that thread *says* that it is paused, just before it looks for messages once
    more: now and then it then swallows an answer (as in pynetdicom#435). Here, `clear` returns when it does wait.
    """

    def __init__(self, association: Association) -> None:
        self.association, self.is_open, self.waiting = association, True, False
        self.changed = threading.Condition()

    def set(self) -> None:
        with self.changed:
            self.is_open = True
            self.changed.notify_all()

    def clear(self) -> None:
        with self.changed:
            self.is_open = False
            while self.association.is_alive() and not self.association._kill and not self.waiting:
                self.changed.wait(0.05)

    def wait(self) -> None:
        with self.changed:
            self.waiting = True
            self.changed.notify_all()
            self.changed.wait_for(lambda: self.is_open)
            self.waiting = False


def bounded(bounds: Bounds) -> list[tuple[Any, Callable[[Any], None]]]:
    """The event handlers that bound each connection when it opens, and let go of it when it closes."""

    def opened(event: Any) -> None:
        connection = event.assoc.dul.socket
        plain = connection.socket
        plain.settimeout(IDLE_S)
        # a command and its data set are two writes: without this, the second waits 40 ms for a delayed ACK
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        plain.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        most = max(bounds.pdu_bytes, LONGEST_REQUEST) + 64
        event.assoc.dul._run_loop_delay = bounds.look_s
        if event.assoc.is_requestor:
            event.assoc._reactor_checkpoint = _Gate(event.assoc)
        connection.recv = lambda size: _receive(connection, size, most, bounds.pulse)
        _bound_messages(event.assoc, bounds)

    return [(evt.EVT_CONN_OPEN, opened), (evt.EVT_CONN_CLOSE, _closed)]


def _closed(event: Any) -> None:
    """A connection that ends before it asked for an association would keep its thread until that is overdue."""
    if event.assoc.is_acceptor and event.assoc.requestor.primitive is None:
        event.assoc.dul.to_user_queue.put(None)


def _receive(connection: AssociationSocket, size: int, most: int, pulse: Pulse) -> bytearray:
    """Exactly `size` bytes, or fewer when the peer closed. Raises OSError past the limits of size and time."""
    plain = connection.socket
    if plain is None or size > most:
        raise OSError("PDU too long")
    data, at, deadline = bytearray(size), 0, time.monotonic() + IDLE_S
    view = memoryview(data)
    while at < size:
        got = plain.recv_into(view[at:])
        if not got:
            view.release()
            return data[:at]
        at += got
        if at < size and time.monotonic() > deadline:  # bytes that drip in keep a socket's own time-out away
            raise TimeoutError
    if hasattr(socket, "TCP_QUICKACK"):  # Linux; the peer may hold its next write back until this one is acknowledged
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
    pulse.beat()
    return data


def _bound_messages(association: Association, bounds: Bounds) -> None:
    """Let a message keep no more than its limit, and let one that cannot be read end its association only."""
    dimse = association.dimse
    take = dimse.receive_primitive

    def receive(primitive: Any) -> None:
        if dimse.message is None:
            dimse.message = DIMSEMessage()
            dimse.message.data_set = _Capped(bounds.message_bytes())
            dimse.message.encoded_command_set = _Capped(MAX_COMMAND)
        try:
            take(primitive)
        except MALFORMED:
            dimse.message = None
            association.dul.event_queue.put("Evt19")  # invalid PDU: abort, PS3.8 9.2

    dimse.receive_primitive = receive  # type: ignore[method-assign]


def hush() -> None:
    """Nothing that pynetdicom or pydicom would log or warn of leaves this process: both quote values."""
    _config.LOG_HANDLER_LEVEL = "none"
    _config.LOG_REQUEST_IDENTIFIERS = _config.LOG_RESPONSE_IDENTIFIERS = False
    for name in ("pynetdicom", "pydicom"):
        logger = logging.getLogger(name)
        logger.setLevel(logging.CRITICAL + 1)
        logger.propagate = False
    warnings.filterwarnings("ignore", module=r"py(net)?dicom(\..*)?")


def file_start(sop_class: str, sop_instance: str, syntax: str) -> bytes:
    """Preamble and file meta group of a data set that came without (PS3.10 7.1): a handful of UIDs."""

    def element(number: int, vr: bytes, value: bytes) -> bytes:
        value += b"\0" * (len(value) % 2)
        if vr == b"OB":
            return struct.pack("<HH2sHI", 2, number, vr, 0, len(value)) + value
        return struct.pack("<HH2sH", 2, number, vr, len(value)) + value

    uids = ((0x02, sop_class), (0x03, sop_instance), (0x10, syntax), (0x12, IMPLEMENTATION))
    group = element(0x01, b"OB", b"\0\1") + b"".join(element(n, b"UI", uid.encode("ascii")) for n, uid in uids)
    return bytes(128) + b"DICM" + element(0x00, b"UL", struct.pack("<I", len(group))) + group


def checked_title(title: str, what: str) -> str:
    """An application entity title. Raises UsageError that names `what`."""
    if not AE_TITLE.fullmatch(title):
        raise UsageError(f"{what}: an AE title has 1 to 16 printable ASCII characters and no backslash")
    return title


def calling_tls(connection: Connection) -> ssl.SSLContext | None:
    """TLS towards a server that is verified; None where the connection names neither ca, cert nor key."""
    if not (connection.ca or connection.cert or connection.key):
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    return _with_files(context, connection)


def called_tls(connection: Connection | None) -> ssl.SSLContext | None:
    """TLS towards those who connect; with `ca` they must show a certificate that it signed."""
    if connection is None or not (connection.ca or connection.cert or connection.key):
        return None
    if not connection.cert:
        raise UsageError("TLS: to be connected to takes cert and key, not ca alone")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    if connection.ca:
        context.verify_mode = ssl.CERT_REQUIRED
    return _with_files(context, connection)


def _with_files(context: ssl.SSLContext, connection: Connection) -> ssl.SSLContext:
    try:
        if connection.ca:
            context.load_verify_locations(connection.ca)
        elif context.verify_mode != ssl.CERT_NONE:
            context.load_default_certs()
        if connection.cert:
            context.load_cert_chain(connection.cert, connection.key or None)
    except (OSError, ValueError):
        raise SourceError("TLS: the files of ca, cert and key cannot be read or do not fit each other") from None
    return context
