import contextlib
import hashlib
import io
import logging
import os
import shutil
import signal
import socket
import ssl
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from certificates import authority
from factories import CT, dicom, dicom_bytes
from orthanc_server import unavailable
from pydicom import dcmread
from pydicom.uid import ImplicitVRLittleEndian, RLELossless
from pynetdicom import AE
from pynetdicom.association import Association

from medgan.dicom.index import content_digest, read_header
from medgan.errors import SourceError, UsageError
from medgan.sources.connection import Connection
from medgan.sources.reception import Reception

ROOT = Path(__file__).resolve().parents[3]
VERIFICATION = "1.2.840.10008.1.1"
CANARY = "Canaryson^Tweety"
pytestmark = pytest.mark.filterwarnings("error::pytest.PytestUnhandledThreadExceptionWarning")


def sender_of(title: str) -> str:
    return hashlib.sha256(title.encode()).hexdigest()[:16]


@contextlib.contextmanager
def reception(inbox: Path, **more) -> Iterator[Reception]:
    given = {"ae_title": "MEDGAN", "port": 0, "allowed": frozenset({"SCANNER"}), "sender_of": sender_of, **more}
    door = Reception(inbox, **given)
    door.start()
    try:
        yield door
    finally:
        door.stop()


@pytest.fixture(scope="module")
def dcmtk() -> None:
    if not shutil.which("storescu") and (why := unavailable()):
        pytest.skip(why)


def call(program: str, door: Reception, *words: object, title: str = "SCANNER", called: str = "MEDGAN"):
    command = [program, "-aet", title, "-aec", called, *map(str, words[:-1]), "localhost", str(door.port)]
    command += [str(word) for word in words[-1:] if word]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


def associate(door: Reception, title: str = "SCANNER", called: str = "MEDGAN", syntaxes=None) -> Association:
    entity = AE(title)
    entity.add_requested_context(VERIFICATION)
    entity.add_requested_context(CT, syntaxes)
    return entity.associate("127.0.0.1", door.port, ae_title=called)


def is_answering(door: Reception) -> bool:
    association = associate(door)
    status = association.send_c_echo().Status if association.is_established else None
    association.release()
    return status == 0


def left_over() -> list[str]:
    """Threads of associations that have not ended, after a moment."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        names = [thread.name for thread in threading.enumerate() if "Acceptor" in thread.name]
        if not names:
            break
        time.sleep(0.02)
    return names


def received(inbox: Path) -> list[Path]:
    return sorted(inbox.glob("*/*.dcm"))


def test_what_a_scanner_sends_lies_in_the_inbox_as_it_came(tmp_path: Path, dcmtk: None) -> None:
    sent = {}
    for i, syntax in enumerate((None, ImplicitVRLittleEndian, RLELossless)):
        dataset = dicom(f"1.2.3.{i + 1}")
        if syntax == RLELossless:
            dataset["PixelData"].VR = "OW"
            dataset.compress(RLELossless, generate_instance_uid=False)
        elif syntax:
            dataset.file_meta.TransferSyntaxUID = syntax
        file = io.BytesIO()
        dataset.save_as(file, enforce_file_format=True)
        data = file.getvalue()
        (tmp_path / f"{i}.dcm").write_bytes(data)
        sent[content_digest(data)] = read_header(data).transfer_syntax
    with reception(tmp_path / "inbox") as door:
        for i, option in enumerate(("-xe", "-xi", "-xr")):
            assert call("storescu", door, option, tmp_path / f"{i}.dcm").returncode == 0
        counts = door.counts
    found = {content_digest(path.read_bytes()): path for path in received(tmp_path / "inbox")}
    assert {digest: read_header(path.read_bytes()).transfer_syntax for digest, path in found.items()} == sent
    assert all(path.parent.name == sender_of("SCANNER") for path in found.values())
    assert all(path.stem == hashlib.sha256(path.read_bytes()).hexdigest() for path in found.values())
    assert dcmread(next(iter(found.values()))).PatientID == "P1"
    assert (counts.received, counts.repeated, counts.refused) == (3, 0, {})


def test_an_echo_is_answered(tmp_path: Path, dcmtk: None) -> None:
    with reception(tmp_path) as door:
        assert call("echoscu", door, "").returncode == 0


def test_what_comes_twice_is_kept_once(tmp_path: Path) -> None:
    with reception(tmp_path) as door:
        association = associate(door)
        assert [association.send_c_store(dicom()).Status for _ in range(3)] == [0, 0, 0]
        association.release()
        assert (door.counts.received, door.counts.repeated) == (1, 2)
    assert len(received(tmp_path)) == 1


@pytest.mark.parametrize(
    ("title", "called", "why"),
    [("STRANGER", "MEDGAN", "unknown_sender"), ("SCANNER", "OTHER", "wrong_title")],
)
def test_who_is_not_expected_is_not_let_in(tmp_path: Path, title: str, called: str, why: str) -> None:
    with reception(tmp_path) as door:
        association = associate(door, title, called)
        assert association.is_rejected
        assert is_answering(door)
        assert door.counts.refused == {why: 1}
    assert received(tmp_path) == []


def test_one_association_too_many_is_turned_away_and_the_others_go_on(tmp_path: Path) -> None:
    with reception(tmp_path, max_associations=2) as door:
        first, second, third = (associate(door) for _ in range(3))
        assert (first.is_established, second.is_established, third.is_rejected) == (True, True, True)
        assert first.send_c_store(dicom()).Status == 0
        first.release()
        assert is_answering(door)
        second.release()
        assert door.counts.refused == {"too_many": 1}


@pytest.mark.parametrize(
    ("more", "why"),
    [({"room": lambda: False}, "no_room"), ({"max_bytes": 100}, "too_large")],
)
def test_what_there_is_no_room_for_is_refused_for_now(tmp_path: Path, more: dict, why: str) -> None:
    with reception(tmp_path, **more) as door:
        association = associate(door)
        assert association.send_c_store(dicom()).Status == 0xA700
        assert association.send_c_echo().Status == 0
        association.release()
        assert door.counts.refused == {why: 1}
    assert list(tmp_path.rglob("*.*")) == []


def test_a_disk_that_fails_is_no_success(tmp_path: Path) -> None:
    with reception(tmp_path) as door:
        shutil.rmtree(tmp_path / sender_of("SCANNER"))
        association = associate(door)
        assert association.send_c_store(dicom()).Status == 0xA700
        association.release()
        assert door.counts.refused == {"disk": 1}
    assert list(tmp_path.rglob("*.*")) == []


def test_much_too_large_a_message_does_not_fill_the_memory(tmp_path: Path) -> None:
    with reception(tmp_path, max_bytes=1000) as door:
        seen = []
        take = door._store
        door.listener.bind(
            *_store_event(lambda event: (seen.append(len(event.request.DataSet.getvalue())), take(event))[1])
        )
        association = associate(door)
        big = dicom(Rows=2000, Columns=2000, PixelData=bytes(8_000_000))
        assert association.send_c_store(big).Status == 0xA700
        association.release()
    assert seen == [1001]


def _store_event(handler):
    from pynetdicom import evt

    return evt.EVT_C_STORE, handler


def test_a_sender_is_held_to_its_pace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []
    with reception(tmp_path, max_per_second=0.5) as door:
        monkeypatch.setattr("medgan.sources.reception.time", _Clock(waits))
        association = associate(door)
        assert all(association.send_c_store(dicom(f"1.2.{i}")).Status == 0 for i in range(1, 4))
        association.release()
    assert waits == [0.0, 2.0, 4.0]


class _Clock:
    """A clock that stands still, and notes how long one was asked to sleep."""

    def __init__(self, waits: list[float]) -> None:
        self.waits = waits

    def monotonic(self) -> float:
        return 1000.0

    def sleep(self, seconds: float) -> None:
        self.waits.append(seconds)


def test_what_a_crash_cut_off_is_swept_at_the_start(tmp_path: Path) -> None:
    (tmp_path / ".part-0123").write_bytes(b"half")
    kept = tmp_path / sender_of("SCANNER") / "0.dcm"
    kept.parent.mkdir()
    kept.write_bytes(b"whole")
    with reception(tmp_path):
        assert not (tmp_path / ".part-0123").exists()
        assert kept.exists()


@pytest.mark.parametrize(
    "more",
    [
        {"allowed": frozenset()},
        {"allowed": frozenset({"A\\B"})},
        {"ae_title": ""},
        {"ae_title": "seventeen letters"},
        {"sender_of": lambda title: f"../{title}"},
        {"max_pdu": 0},
        {"tls": Connection(ca="ca.pem")},
    ],
    ids=lambda more: next(iter(more)),
)
def test_wrong_settings_are_said_at_once(tmp_path: Path, more: dict) -> None:
    with pytest.raises(UsageError) as caught, reception(tmp_path, **more):
        pass
    assert "A\\B" not in str(caught.value)


def test_a_port_that_is_taken_is_said(tmp_path: Path) -> None:
    with reception(tmp_path / "one") as door, pytest.raises(SourceError), reception(tmp_path / "two", port=door.port):
        pass


def request_pdu(title: bytes = b"SCANNER", *, length: int | None = None, items: bytes = b"") -> bytes:
    body = struct.pack(">HH16s16s32x", 1, 0, b"MEDGAN".ljust(16), title.ljust(16)) + items
    return struct.pack(">BxI", 1, len(body) if length is None else length) + body


MALFORMED = {
    "nothing": b"",
    "http": b"GET / HTTP/1.1\r\n\r\n",
    "unknown kind": struct.pack(">BxI", 0x42, 4) + b"abcd",
    "length of 4 GiB": struct.pack(">BxI", 4, 0xFFFFFFFF) + b"x" * 1000,
    "half a request": request_pdu()[:40],
    "items cut short": request_pdu(items=b"\x10\x00\xff\xff1.2.840"),
    "items of noise": request_pdu(items=os.urandom(200)),
    "no ASCII in the title": request_pdu(b"\xff\xfe\x00\x80"),
    "no context": request_pdu(items=b"\x10\x00\x00\x151.2.840.10008.3.1.1.1"),
    "data before association": struct.pack(">BxIIBB", 4, 6, 2, 1, 3),
    "release before association": struct.pack(">BxI4x", 5, 4),
}


@pytest.mark.parametrize("data", MALFORMED.values(), ids=MALFORMED.keys())
def test_a_malformed_pdu_stops_nobody_else(tmp_path: Path, data: bytes) -> None:
    with reception(tmp_path, max_associations=2) as door:
        with socket.create_connection(("127.0.0.1", door.port)) as bad:
            bad.sendall(data)
            assert is_answering(door)
        with socket.create_connection(("127.0.0.1", door.port)) as bad, contextlib.suppress(OSError):
            bad.sendall(data)
            bad.shutdown(socket.SHUT_WR)
            bad.settimeout(10)
            while bad.recv(4096):  # it is closed from the other side, too
                pass
        assert is_answering(door)
    assert not left_over()


def accepted(door: Reception) -> socket.socket:
    """A raw connection with an established association: context 1, CT, explicit."""
    syntax = b"\x30\0\0\x19" + CT.encode() + b"\x40\0\0\x13" + b"1.2.840.10008.1.2.1"
    context = b"\x20\0" + struct.pack(">HBxxx", len(syntax) + 4, 1) + syntax
    user = b"\x51\0\0\x04\0\0\x40\0" + b"\x52\0\0\x031.2"
    items = b"\x10\0\0\x151.2.840.10008.3.1.1.1" + context + b"\x50\0" + struct.pack(">H", len(user)) + user
    raw = socket.create_connection(("127.0.0.1", door.port))
    raw.sendall(request_pdu(items=items))
    raw.settimeout(10)
    assert raw.recv(1) == b"\x02"
    return raw


def data_pdu(value: bytes, control: int, context: int = 1) -> bytes:
    return struct.pack(">BxIIBB", 4, len(value) + 6, len(value) + 2, context, control) + value


MESSAGES = {
    "a command that is none": data_pdu(b"\xff" * 50, 3),
    "an empty command": data_pdu(b"", 3),
    "an unknown command": data_pdu(struct.pack("<HHIHHHIH", 0, 0x0100, 2, 0x7777, 0, 0x0800, 2, 0x0101), 3),
    "a data set before its command": data_pdu(b"abcdefgh", 2),
    "a context that was not agreed on": data_pdu(b"abcdefgh", 3, context=99),
    "a PDV longer than its PDU": struct.pack(">BxIIBB", 4, 6, 4000, 1, 3),
    "an endless command": b"".join(data_pdu(bytes(16000), 1) for _ in range(30)),
}


@pytest.mark.parametrize("data", MESSAGES.values(), ids=MESSAGES.keys())
def test_a_malformed_message_ends_its_own_association_only(tmp_path: Path, data: bytes) -> None:
    with reception(tmp_path) as door:
        with accepted(door) as raw, contextlib.suppress(OSError):
            raw.sendall(data)
            raw.shutdown(socket.SHUT_WR)
            while raw.recv(4096):
                pass
        assert is_answering(door)
    assert received(tmp_path) == []


def test_a_pdu_longer_than_agreed_on_is_not_waited_for(tmp_path: Path) -> None:
    with reception(tmp_path) as door, accepted(door) as raw:
        raw.sendall(struct.pack(">BxI", 4, 1 << 30) + bytes(1000))
        with contextlib.suppress(ConnectionResetError):
            while raw.recv(4096):  # times out where it is
                pass
        assert is_answering(door)


def test_silent_clients_do_not_keep_others_out(tmp_path: Path) -> None:
    with reception(tmp_path, max_associations=1) as door, contextlib.ExitStack() as silent:
        for _ in range(20):
            silent.enter_context(socket.create_connection(("127.0.0.1", door.port)))
        half = silent.enter_context(socket.create_connection(("127.0.0.1", door.port)))
        half.sendall(request_pdu()[:20])
        association = associate(door)
        assert association.send_c_store(dicom()).Status == 0
        association.release()
        listener = door.listener
        listener.most = 5  # connections at a time: one more is closed at once
        with socket.create_connection(("127.0.0.1", door.port)) as more:
            more.settimeout(10)
            assert more.recv(1) == b""


def test_stopping_does_not_wait_for_a_client_that_says_no_more(tmp_path: Path) -> None:
    with reception(tmp_path) as door:
        raw = accepted(door)
        raw.sendall(data_pdu(bytes(1000), 1)[:500])
    raw.close()
    assert not left_over()


def test_over_tls_only_known_certificates_come_in(tmp_path: Path, dcmtk: None) -> None:
    ours, theirs = authority(tmp_path / "ours"), authority(tmp_path / "theirs")
    cert, key = ours.issue("reception")
    (tmp_path / "one.dcm").write_bytes(dicom_bytes())
    with reception(tmp_path / "inbox", tls=Connection(ca=ours.ca, cert=cert, key=key)) as door:
        with socket.create_connection(("127.0.0.1", door.port)):  # shakes no hand, and holds nobody up
            for who, code in ((theirs, False), (ours, True)):
                scanner, scanner_key = who.issue("scanner")
                words = ("-ts", 10, "-ta", 10, "+tls", scanner_key, scanner, "+cf", ours.ca, tmp_path / "one.dcm")
                assert (call("storescu", door, *words).returncode == 0) is code
        assert call("storescu", door, tmp_path / "one.dcm").returncode != 0  # without TLS
        context = ssl.create_default_context(cafile=ours.ca)
        with (
            socket.create_connection(("127.0.0.1", door.port)) as plain,
            pytest.raises(OSError),
            context.wrap_socket(plain, server_hostname="127.0.0.1") as secured,
        ):
            secured.sendall(request_pdu())  # without a certificate
            if not secured.recv(1):
                raise ConnectionResetError
    assert len(received(tmp_path / "inbox")) == 1


SUBPROCESS = """
import sys, time
from pathlib import Path
from medgan.sources.reception import Reception
door = Reception(Path(sys.argv[1]), ae_title="MEDGAN", port=0, allowed=frozenset({"SCANNER"}), sender_of=lambda t: "s")
door.start()
print(door.port, flush=True)
time.sleep(600)
"""


def test_whatever_was_acknowledged_survives_a_kill(tmp_path: Path, dcmtk: None) -> None:
    folder, inbox = tmp_path / "sent", tmp_path / "inbox"
    folder.mkdir()
    for i in range(200):
        (folder / f"{i:03}.dcm").write_bytes(dicom_bytes(f"1.2.3.{i + 1}", Rows=64, Columns=64, PixelData=bytes(8192)))
    words = [sys.executable, "-c", SUBPROCESS, str(inbox)]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, cwd=ROOT, text=True)
    assert process.stdout is not None
    port = process.stdout.readline().strip()
    storescu = ["storescu", "-v", "-aet", "SCANNER", "-aec", "MEDGAN", "+sd", "localhost", port, str(folder)]
    with (tmp_path / "log").open("wb") as log:
        pushing = subprocess.Popen(storescu, stdout=log, stderr=log)
        deadline = time.monotonic() + 60
        while len(received(inbox)) < 20 and time.monotonic() < deadline:
            time.sleep(0.002)
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
        pushing.wait(60)
    acknowledged, current = [], Path()
    for line in (tmp_path / "log").read_text().splitlines():
        if "Sending file: " in line:
            current = Path(line.split("Sending file: ")[1].strip())
        elif "Received Store Response (Success)" in line:
            acknowledged.append(content_digest(current.read_bytes()))
    assert 0 < len(acknowledged) < 200
    whole = {content_digest(path.read_bytes()) for path in received(inbox)}
    assert set(acknowledged) <= whole
    assert all(path.stem == hashlib.sha256(path.read_bytes()).hexdigest() for path in received(inbox))
    with reception(inbox, sender_of=lambda title: "s"):
        assert not list(inbox.glob(".part-*"))


def test_nothing_of_a_patient_is_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd) -> None:
    caplog.set_level(logging.DEBUG)
    with reception(tmp_path) as door:
        for more in ({}, {"AccessionNumber": CANARY * 3}):
            association = associate(door)
            dataset = dicom(PatientName=CANARY, PatientID=CANARY, **more)
            dataset.StudyInstanceUID = f"not a UID: {CANARY}"
            assert association.send_c_store(dataset).Status == 0
            association.release()
        refused = associate(door, title="CANARYSON")
        assert refused.is_rejected
    said = capfd.readouterr()
    assert "anaryson" not in (caplog.text + said.out + said.err).lower()
