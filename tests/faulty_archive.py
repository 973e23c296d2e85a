"""A DICOMweb archive on loopback that fails on purpose: each kind of request has a queue of faults, then it is well."""

from __future__ import annotations

import contextlib
import json
import ssl
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from factories import dicom_bytes

BOUNDARY = "between-7f3a"
KINDS = {2: "studies", 3: "study", 4: "list", 5: "series", 7: "instance"}  # by the number of names in a path


@dataclass
class Archive:
    """`files`: (study, series, instance) -> bytes. `faults`: kind of request -> what goes wrong, one request each."""

    port: int = 0
    scheme: str = "http"
    files: dict[tuple[str, str, str], bytes] = field(default_factory=dict)
    faults: dict[str, list[Callable[[Answer], None]]] = field(default_factory=lambda: defaultdict(list))
    asked: list[tuple[str, str]] = field(default_factory=list)  # (kind, path)
    headers: list[dict[str, str]] = field(default_factory=list)
    extra: dict[str, str] = field(default_factory=dict)  # headers of every answer
    pages: bool = True

    @property
    def address(self) -> str:
        return f"dicomweb+{self.scheme}://127.0.0.1:{self.port}/dicom-web"

    def kinds(self) -> list[str]:
        return [kind for kind, _ in self.asked if kind != "other"]

    def fill(self, study: str = "1.2.9", series: int = 1, instances: int = 5, **more: Any) -> None:
        for s in range(1, series + 1):
            for i in range(1, instances + 1):
                uid = f"{study}.{s}.{i}"
                self.files[study, f"{study}.{s}", uid] = dicom_bytes(
                    uid, StudyInstanceUID=study, SeriesInstanceUID=f"{study}.{s}", StudyDate="20200101", **more
                )

    def below(self, names: list[str]) -> list[bytes]:
        return [data for uids, data in self.files.items() if list(uids[: len(names)]) == names]


@dataclass
class Answer:
    """What would be sent if all were well; a fault changes it, or takes over with `handler`."""

    archive: Archive
    handler: BaseHTTPRequestHandler
    parts: list[bytes]
    status: int = 200
    kind: str = f'multipart/related; type="application/dicom"; boundary={BOUNDARY}'
    body: bytes = b""
    lengths: bool = True
    send_at_most: int | None = None
    headers: dict[str, str] = field(default_factory=dict)
    chunked: bool = False
    sent_boundary: str = BOUNDARY
    before: bytes = b""
    after: bytes = b""

    def multipart(self) -> bytes:
        written = self.before
        for part in self.parts:
            length = f"content-length: {len(part)}\r\n" if self.lengths else ""
            written += f"--{self.sent_boundary}\r\nContent-Type: application/dicom\r\n{length}\r\n".encode()
            written += part + b"\r\n"
        return written + f"--{self.sent_boundary}--\r\n".encode() + self.after


def status(code: int, **headers: str) -> Callable[[Answer], None]:
    def fault(answer: Answer) -> None:
        answer.status, answer.kind, answer.body, answer.parts = code, "text/plain", b"Doe^Jane is not here", []
        answer.headers = {name.replace("_", "-"): value for name, value in headers.items()}

    return fault


def other(kind: str, body: bytes) -> Callable[[Answer], None]:
    def fault(answer: Answer) -> None:
        answer.kind, answer.body, answer.parts = kind, body, []

    return fault


def change(**what: Any) -> Callable[[Answer], None]:
    """Set attributes of the answer."""

    def fault(answer: Answer) -> None:
        for name, value in what.items():
            assert hasattr(answer, name)
            setattr(answer, name, value)

    return fault


def cut_in_part(number: int, **more: Any) -> Callable[[Answer], None]:
    """The connection breaks in the middle of a part, counted from 1."""

    def fault(answer: Answer) -> None:
        change(**more)(answer)
        answer.send_at_most = len(answer.multipart().split(b"--" + BOUNDARY.encode())[0])
        begin = answer.multipart().index(answer.parts[number - 1])
        answer.send_at_most = begin + len(answer.parts[number - 1]) // 2

    return fault


def well(_: Answer) -> None:
    """No fault this time."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_: Any) -> None:
        """A client that goes away is no news."""


@contextlib.contextmanager
def faulty_archive(tls: ssl.SSLContext | None = None) -> Iterator[Archive]:
    archive = Archive(scheme="https" if tls else "http")

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            _answer(archive, self)

        def log_message(self, *_: Any) -> None:
            pass

    server = _Server(("127.0.0.1", 0), Handler)
    if tls:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    archive.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield archive
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _answer(archive: Archive, handler: BaseHTTPRequestHandler) -> None:
    parts = urlsplit(handler.path)
    names = parts.path.strip("/").split("/")
    kind = KINDS.get(len(names), "other") if names[0] == "dicom-web" else "other"
    archive.asked.append((kind, handler.path))
    archive.headers.append(dict(handler.headers))
    uids = names[2::2] if kind not in ("list", "studies", "other") else names[2:3]
    answer = Answer(archive, handler, archive.below(uids) if uids else [])
    if kind in ("list", "studies"):
        rows = _instances(archive, uids[0]) if kind == "list" else _studies(archive)
        query = {key: int(value[0]) for key, value in parse_qs(parts.query).items() if key in ("limit", "offset")}
        if archive.pages:
            rows = rows[query.get("offset", 0) :][: query.get("limit", len(rows))]
        other("application/dicom+json", json.dumps(rows).encode())(answer)
    elif not answer.parts:
        status(404)(answer)
    if archive.faults[kind]:
        archive.faults[kind].pop(0)(answer)
    _send(answer)


def _studies(archive: Archive) -> list[dict[str, Any]]:
    rows = []
    for study in dict.fromkeys(uids[0] for uids in archive.files):
        count = sum(uids[0] == study for uids in archive.files)
        rows.append(
            {
                "0020000D": {"vr": "UI", "Value": [study]},
                "00080020": {"vr": "DA", "Value": ["20200101"]},
                "00201208": {"vr": "IS", "Value": [count]},
            }
        )
    return rows


def _instances(archive: Archive, study: str) -> list[dict[str, Any]]:
    return [
        {"0020000E": {"vr": "UI", "Value": [series]}, "00080018": {"vr": "UI", "Value": [instance]}}
        for each, series, instance in archive.files
        if each == study
    ]


def _send(answer: Answer) -> None:
    handler = answer.handler
    body = answer.multipart() if answer.parts else answer.body
    handler.send_response(answer.status)
    for name, value in {"Content-Type": answer.kind, **answer.archive.extra, **answer.headers}.items():
        handler.send_header(name, value)
    if answer.chunked:
        handler.send_header("Transfer-Encoding", "chunked")
    else:
        handler.send_header("Content-Length", str(len(body)))
    handler.end_headers()
    sent = body if answer.send_at_most is None else body[: answer.send_at_most]
    if answer.chunked:
        sent = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in _pieces(sent))
        sent += b"0\r\n\r\n" if answer.send_at_most is None else b""
    with contextlib.suppress(ConnectionError):
        handler.wfile.write(sent)
        handler.wfile.flush()
    if answer.send_at_most is not None:
        handler.close_connection = True


def _pieces(data: bytes, size: int = 777) -> Iterator[bytes]:
    for at in range(0, len(data), size):
        yield data[at : at + size]
