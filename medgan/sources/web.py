"""Requests to one archive over HTTP: who we are, how long we wait, and what an answer means."""

from __future__ import annotations

import contextlib
import http.client
import json
import logging
import random
import socket
import ssl
import threading
import time
from base64 import b64encode
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any, NoReturn, TypeVar
from urllib.parse import urljoin, urlsplit

import requests
import urllib3

from medgan.errors import SourceError
from medgan.sources.connection import FILE, Connection

for _name in ("urllib3.connectionpool", "urllib3.connection"):
    logging.getLogger(_name).setLevel(logging.ERROR)  # what they say below that quotes URLs, and with them UIDs

TIMEOUTS_S = (10.0, 60.0)  # to connect; without a byte
TRIES, FIRST_WAIT_S, LONGEST_WAIT_S, LONGEST_ASKED_S = 5, 1.0, 60.0, 300.0
MAX_JSON, MAX_TEXT, MAX_REDIRECTS, BLOCK = 256 << 20, 1000, 5, 1 << 20
REDIRECTS, ABSENT, REFUSED, UNWANTED = (301, 302, 303, 307, 308), (404, 410), (401, 403), (400, 406, 415)
BUSY = (408, 425, 429, 500, 502, 503, 504, 507, 509)  # all others above 500 are final
BROKEN = (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError)
Query = list[tuple[str, str]]
T = TypeVar("T")


class Broken(Exception):
    """The connection broke, or the archive is busy: worth another try. `code` holds no value."""

    def __init__(self, code: str, wait_s: float | None = None) -> None:
        super().__init__(code)
        self.code, self.wait_s = code, wait_s


class Absent(Exception):
    """The archive says that there is no such thing."""


class Unexpected(SourceError):
    """The archive answered, but not as DICOMweb does."""


class Unwanted(Unexpected):
    """The archive does not take the request as it was put."""


@dataclass(slots=True)
class Patience:
    """How often something that broke is tried again without progress, and after how long."""

    sleep: Callable[[float], None]
    chance: Callable[[], float]
    failed: int = 0

    def progress(self) -> None:
        self.failed = 0

    def wait(self, broken: Broken) -> None:
        """Sleep before the next try. Raises SourceError when there were enough."""
        self.failed += 1
        if self.failed >= TRIES:
            message = f"the archive does not answer ({broken.code}); run again: what arrived is kept"
            raise SourceError(message) from None
        wait_s = min(LONGEST_WAIT_S, FIRST_WAIT_S * 2 ** (self.failed - 1)) * (0.5 + self.chance() / 2)
        self.sleep(max(wait_s, min(broken.wait_s or 0.0, LONGEST_ASKED_S)))


@dataclass
class Web:
    """One archive host, usable from several threads: each has its own session."""

    connection: Connection
    sleep: Callable[[float], None] = time.sleep
    chance: Callable[[], float] = random.random
    date: datetime | None = None  # the server's clock at its last answer, where it tells
    _local: threading.local = field(default_factory=threading.local, repr=False)
    _sessions: list[requests.Session] = field(default_factory=list, repr=False)

    def __post_init__(self) -> None:
        for name in ("ca", "cert", "key"):
            path = getattr(self.connection, name)
            if path and not Path(path).is_file():
                raise SourceError(f"the file that the field {name} of {FILE} names is not there") from None

    def patience(self) -> Patience:
        return Patience(self.sleep, self.chance)

    def get(self, url: str, query: Query | None = None, *, accept: str) -> requests.Response:
        """An answer of 200, 204 or 206, its body still to be read. Raises Broken, Absent, SourceError."""
        for _ in range(MAX_REDIRECTS):
            response = self._send("GET", url, query, accept, None)
            if response.status_code not in REDIRECTS:
                _check(response)
                return response
            url, query = _follow(response, url), None
        raise Unexpected("the archive redirects in a circle; check the address")

    def json(self, url: str, query: Query | None = None, *, accept: str = "application/json", body: Any = None) -> Any:
        """The parsed answer; [] for none; a `body` is posted. Tries again. Raises Absent, SourceError."""
        return self._patiently(lambda: self._json(url, query, accept, body))

    def text(self, url: str) -> str:
        """A short answer in ASCII. Tries again. Raises Absent, SourceError."""
        return self._patiently(lambda: self._text(url))

    def _patiently(self, ask: Callable[[], T]) -> T:
        patience = self.patience()
        while True:
            try:
                return ask()
            except Broken as broken:
                patience.wait(broken)

    def _json(self, url: str, query: Query | None, accept: str, body: Any) -> Any:
        if body is None:
            response = self.get(url, query, accept=accept)
        else:
            response = self._send("POST", url, query, accept, body)
            _check(response)
        with contextlib.closing(response):
            if response.status_code == 204:
                return []
            if "json" not in response.headers.get("Content-Type", "").lower():
                raise Unexpected("the archive answers with another format than JSON; check the address")
            return _parse(reader(response))

    def _text(self, url: str) -> str:
        with contextlib.closing(self.get(url, accept="text/plain")) as response:
            return reader(response)(BLOCK)[:MAX_TEXT].decode("ascii", "replace").strip()

    def _send(self, method: str, url: str, query: Query | None, accept: str, body: Any) -> requests.Response:
        try:
            response = self._session().request(
                method,
                url,
                params=query,
                json=body,
                headers={"Accept": accept},
                stream=True,
                allow_redirects=False,
                timeout=TIMEOUTS_S,
            )
        except requests.exceptions.SSLError as error:
            _raise_for_tls(error)
        except BROKEN as error:
            raise Broken(_cause(error)) from None
        except requests.RequestException:
            raise SourceError("the address of the archive cannot be used; check it") from None
        except OSError:  # requests' own are gone by now
            raise SourceError(f"the files of the fields ca, cert or key of {FILE} cannot be used") from None
        self._note_date(response)
        return response

    def _session(self) -> requests.Session:
        session: requests.Session | None = getattr(self._local, "session", None)
        if session is None:
            session = _open_session(self.connection)
            self._local.session = session
            self._sessions.append(session)
        return session

    def _note_date(self, response: requests.Response) -> None:
        with contextlib.suppress(ValueError, TypeError, OverflowError):
            self.date = parsedate_to_datetime(response.headers.get("Date", "")).astimezone(UTC)

    def close(self) -> None:
        for session in self._sessions:
            session.close()


def reader(response: requests.Response) -> Callable[[int], bytes]:
    """read(n): at most n bytes of the body as they arrive, b"" at its end. Raises Broken."""
    raw = response.raw
    packed = bool(response.headers.get("Content-Encoding"))  # some proxies compress whatever is asked

    def read(size: int) -> bytes:
        try:
            return raw.read1(size, decode_content=packed) or b""
        except urllib3.exceptions.ReadTimeoutError:
            raise Broken("time-out") from None
        except (urllib3.exceptions.HTTPError, http.client.HTTPException, OSError, ValueError):
            raise Broken("connection") from None

    return read


def _open_session(connection: Connection) -> requests.Session:
    session = requests.Session()
    session.trust_env = False  # no proxy, netrc or certificates from the environment
    # asked with gzip, as requests does, Orthanc compresses: 4 to 24 times slower
    session.headers.update({"Accept-Encoding": "identity", "User-Agent": "medgan"})
    session.verify = connection.ca or True
    if connection.cert:
        session.cert = (connection.cert, connection.key) if connection.key else connection.cert
    if connection.token:
        session.headers["Authorization"] = f"Bearer {connection.token}"
    elif connection.user:
        pair = f"{connection.user}:{connection.password}".encode()  # requests would take Latin-1
        session.headers["Authorization"] = f"Basic {b64encode(pair).decode()}"
    return session


def _check(response: requests.Response) -> None:
    """Raises for every status that brings nothing."""
    status = response.status_code
    if status in (200, 204, 206):
        return
    response.close()
    if status in ABSENT:
        raise Absent
    if status in BUSY:
        raise Broken(str(status), _asked_wait_s(response.headers.get("Retry-After", "")))
    if status in REFUSED:
        message = f"the archive refuses access ({status}); check token, user and password of its host in {FILE}"
        raise Unexpected(message)
    if status in UNWANTED:
        raise Unwanted(f"the archive does not take the request ({status}); check the matching keys of the address")
    raise Unexpected(f"the archive answered {status}, expected 200; check the address")


def _asked_wait_s(text: str) -> float | None:
    """Retry-After: seconds, or a date."""
    if text.strip().isdigit():
        return float(text.strip()[:9])
    try:
        return max(0.0, (parsedate_to_datetime(text) - datetime.now(UTC)).total_seconds())
    except (ValueError, TypeError, OverflowError):
        return None


def _follow(response: requests.Response, url: str) -> str:
    """Where a redirect leads, on the same host. Raises Unexpected: credentials go nowhere else."""
    response.close()
    target = urljoin(url, response.headers.get("Location", ""))
    if urlsplit(target)[:2] != urlsplit(url)[:2]:
        raise Unexpected("the archive redirects to another host; give that address if it is right")
    return target


def _cause(error: BaseException) -> str:
    """What was wrong with a connection, in words that name no host."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, socket.gaierror | urllib3.exceptions.NameResolutionError):
            return "its host is not known here; check the address"
        if isinstance(cause, ConnectionRefusedError):
            return "nobody listens at its port; check the address"
        cause = next((arg for arg in cause.args if isinstance(arg, BaseException)), None) or cause.__context__
    return "time-out" if isinstance(error, requests.Timeout) else "connection"


def _raise_for_tls(error: BaseException) -> NoReturn:
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLEOFError | ssl.SSLZeroReturnError):
            raise Broken("connection") from None
        cause = cause.__cause__ or cause.__context__
    message = f"no trusted connection to the archive (TLS); check the fields ca, cert and key of its host in {FILE}"
    raise SourceError(message) from None


def _parse(read: Callable[[int], bytes]) -> Any:
    data = bytearray()
    while block := read(BLOCK):
        data += block
        if len(data) > MAX_JSON:
            raise Unexpected("the archive's answer is over 256 MiB; narrow the matching keys of the address")
    try:
        return json.loads(data)
    except (ValueError, RecursionError):  # often one that was cut off
        raise Broken("unreadable JSON") from None
