import contextlib
import datetime
import io
import itertools
import logging
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from certificates import authority
from factories import CT, dicom, dicom_bytes
from orthanc_server import DICOM_PORT, Orthanc, orthanc, unavailable
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import ImplicitVRLittleEndian, JPEG2000Lossless, RLELossless
from pynetdicom import AE, evt
from pynetdicom.association import Association

from medgan.dicom.index import content_digest, read_header
from medgan.errors import SourceError, UsageError
from medgan.sources.association import Pulse
from medgan.sources.connection import Connection
from medgan.sources.dimse import Dimse, open_dimse
from medgan.sources.dimse_plan import SAMPLE
from medgan.sources.dimse_retrieval import Delivery, Outcome
from medgan.sources.entry import Limits
from medgan.sources.peer import find as find_all
from medgan.sources.peer import query, release

MR, US, SR = "1.2.840.10008.5.1.4.1.1.4", "1.2.840.10008.5.1.4.1.1.6.1", "1.2.840.10008.5.1.4.1.1.88.11"
FIND, MOVE, GET = (f"1.2.840.10008.5.1.4.1.2.2.{n}" for n in (1, 2, 3))
CANARY = "Canaryson^Tweety"
pytestmark = pytest.mark.filterwarnings("error::pytest.PytestUnhandledThreadExceptionWarning")
both_ways = pytest.mark.parametrize("retrieve", ["get", "move"])


def is_new(_: str) -> bool:
    return False


def written(dataset: Dataset) -> bytes:
    file = io.BytesIO()
    dataset.save_as(file, enforce_file_format=True)
    return file.getvalue()


def compressed(instance: str, syntax: str, **more) -> bytes:
    dataset = dicom(instance, Rows=64, Columns=64, **more)
    dataset.add_new(0x7FE00010, "OW", np.random.default_rng(1).integers(0, 4096, (64, 64), "<u2").tobytes())
    dataset.compress(syntax, generate_instance_uid=False)
    return written(dataset)


@contextlib.contextmanager
def opened(address: str, connection: Connection | None = None, **more) -> Iterator[Dimse]:
    server = open_dimse(address, connection or Connection())
    server.sleep = lambda _: None
    for name, value in more.items():
        setattr(server, name, value)
    try:
        yield server
    finally:
        server.close()


def fetched(server: Dimse, landing: Path, study: str = "1.2.3", has: Callable[[str], bool] = is_new) -> list[Path]:
    landing.mkdir(exist_ok=True)
    paths = list(server.fetch(study, landing, Limits(), has))
    assert sorted(paths) == sorted(landing.iterdir())
    return paths


def contents(paths: list[Path]) -> dict[str, str]:
    """Content digest -> transfer syntax."""
    return {content_digest(path.read_bytes()): syntax(path.read_bytes()) for path in paths}


def syntax(data: bytes) -> str:
    return str(dcmread(io.BytesIO(data), stop_before_pixels=True).file_meta.TransferSyntaxUID)


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Orthanc]:
    if why := unavailable():
        pytest.skip(why)
    with orthanc(tmp_path_factory.mktemp("orthanc"), OverwriteInstances=True) as running:
        yield running


@pytest.fixture
def empty(archive: Orthanc) -> Iterator[Orthanc]:
    yield archive
    for study in archive.get("/studies"):
        archive.delete(f"/studies/{study}")


def test_every_study_is_listed_with_its_count_and_whether_it_is_settled(empty: Orthanc) -> None:
    for i in range(1, 4):
        empty.put(dicom_bytes(f"1.2.3.{i}", StudyDate="20260110"))
    empty.put(dicom_bytes("1.2.4.1", StudyInstanceUID="1.2.4", StudyDate="20260109"))
    empty.put(dicom_bytes("1.2.5.1", StudyInstanceUID="1.2.5"))
    with opened(empty.dimse, today=lambda: datetime.date(2026, 1, 12)) as server:
        poll = server.poll("", whole=False)
    assert (poll.whole, poll.cursor) == (True, "")
    assert {(h.study_uid, h.expected, h.settled) for h in poll.holdings} == {
        ("1.2.3", 3, False),
        ("1.2.4", 1, True),
        ("1.2.5", 1, False),
    }


def test_a_stamp_changes_with_what_the_archive_tells_and_only_then(empty: Orthanc) -> None:
    with opened(empty.dimse) as server:

        def stamp() -> str:
            return server.poll("", whole=True).holdings[0].stamp

        empty.put(dicom_bytes("1.2.3.1"))
        first = stamp()
        assert stamp() == first
        empty.put(dicom_bytes("1.2.3.2"))
        assert stamp() != first
        study = empty.get("/studies")[0]
        empty.delete(f"/instances/{empty.get(f'/studies/{study}/instances')[0]['ID']}")
        assert stamp() == first
        empty.delete(f"/studies/{study}")
        assert server.poll("", whole=True).holdings == ()


@pytest.mark.parametrize(
    ("query", "studies"),
    [
        ("?ModalitiesInStudy=CT", {"1.2.3"}),
        ("?ModalitiesInStudy=CT&ModalitiesInStudy=MR", {"1.2.3", "1.2.4"}),
        ("?StudyDate=20250101-&connections=4", {"1.2.4"}),
        ("?PatientID=Nobody", set()),
    ],
)
def test_the_address_says_which_studies_are_meant(empty: Orthanc, query: str, studies: set[str]) -> None:
    empty.put(dicom_bytes("1.2.3.1", StudyDate="20240101"))
    empty.put(dicom_bytes("1.2.4.1", StudyInstanceUID="1.2.4", SOPClassUID=MR, Modality="MR", StudyDate="20250601"))
    with opened(empty.dimse + query) as server:
        assert {holding.study_uid for holding in server.poll("", whole=True).holdings} == studies


@both_ways
def test_a_study_of_several_modalities_comes_as_it_is_stored(empty: Orthanc, tmp_path: Path, retrieve: str) -> None:
    implicit = dicom("1.2.3.3", SeriesInstanceUID="1.2.3.2", SOPClassUID=MR, Modality="MR")
    implicit.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    report = dicom("1.2.3.6", SeriesInstanceUID="1.2.3.4", SOPClassUID=SR, Modality="SR", drop=("PixelData",))
    sent = [
        *(dicom_bytes(f"1.2.3.{i}") for i in (1, 2)),
        written(implicit),
        compressed("1.2.3.4", RLELossless, SeriesInstanceUID="1.2.3.3", SOPClassUID=US, Modality="US"),
        compressed("1.2.3.5", JPEG2000Lossless),
        written(report),
    ]
    for data in sent:
        empty.put(data)
    with opened(f"{empty.dimse}?retrieve={retrieve}") as server:
        paths = fetched(server, tmp_path / "landing")
    assert contents(paths) == {content_digest(data): syntax(data) for data in sent}
    assert len({syntax(data) for data in sent}) == 4
    assert {
        read_header(path.read_bytes()).study_uid for path in paths if "88.11" not in str(dcmread(path).SOPClassUID)
    } == {"1.2.3"}
    assert not [path.name for path in paths if "1.2.3" in path.name]


@both_ways
@pytest.mark.parametrize(
    "here", [{"1.2.3.1"}, {"1.2.3.1", "1.2.3.2", "1.2.3.3"}, {"1.2.3.5"}, {f"1.2.3.{i}" for i in range(1, 7)}]
)
def test_what_is_here_already_is_left_out(empty: Orthanc, tmp_path: Path, retrieve: str, here: set[str]) -> None:
    for i in range(1, 7):
        empty.put(
            dicom_bytes(
                f"1.2.3.{i}", SeriesInstanceUID=f"1.2.3.{100 + (i - 1) // 3}", InstanceNumber=str((i - 1) % 3 + 1)
            )
        )
    with opened(f"{empty.dimse}?retrieve={retrieve}") as server:
        paths = fetched(server, tmp_path / "landing", has=here.__contains__)
    came = {str(dcmread(path).SOPInstanceUID) for path in paths}
    # a study of which nothing seems to be here is not looked at instance by instance
    assert {f"1.2.3.{i}" for i in range(1, 7)} - here <= came
    assert came & here <= {"1.2.3.5"}


@both_ways
def test_a_late_instance_comes_alone(empty: Orthanc, tmp_path: Path, retrieve: str) -> None:
    with opened(f"{empty.dimse}?retrieve={retrieve}") as server:
        empty.put(dicom_bytes("1.2.3.1", InstanceNumber="1"))
        assert len(fetched(server, tmp_path / "first")) == 1
        empty.put(dicom_bytes("1.2.3.2", InstanceNumber="2"))
        late = fetched(server, tmp_path / "second", has={"1.2.3.1"}.__contains__)
    assert [str(dcmread(path).SOPInstanceUID) for path in late] == ["1.2.3.2"]


@both_ways
def test_a_study_that_is_gone_yields_nothing(empty: Orthanc, tmp_path: Path, retrieve: str) -> None:
    with opened(f"{empty.dimse}?retrieve={retrieve}") as server:
        assert fetched(server, tmp_path / "landing", "1.2.99") == []


@both_ways
def test_studies_fetched_at_the_same_time_do_not_mix(empty: Orthanc, tmp_path: Path, retrieve: str) -> None:
    for study, i in itertools.product((3, 4, 5), range(1, 9)):
        empty.put(dicom_bytes(f"1.2.{study}.{i}", StudyInstanceUID=f"1.2.{study}", SeriesInstanceUID=f"1.2.{study}.0"))
    found: dict[str, set[str]] = {}
    with opened(f"{empty.dimse}?retrieve={retrieve}&connections=3") as server:

        def fetch(study: str) -> None:
            paths = fetched(server, tmp_path / study, study)
            found[study] = {str(dcmread(path).StudyInstanceUID) for path in paths if len(paths) == 8}

        threads = [threading.Thread(target=fetch, args=(f"1.2.{study}",)) for study in (3, 4, 5)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert found == {f"1.2.{study}": {f"1.2.{study}"} for study in (3, 4, 5)}


@both_ways
def test_too_large_an_instance_is_cut_one_byte_above(empty: Orthanc, tmp_path: Path, retrieve: str) -> None:
    empty.put(dicom_bytes("1.2.3.1"))
    empty.put(dicom_bytes("1.2.3.2", Rows=200, Columns=200, PixelData=bytes(80_000)))
    with opened(f"{empty.dimse}?retrieve={retrieve}") as server:
        paths = list(server.fetch("1.2.3", tmp_path, Limits(max_bytes=5000), is_new))
    assert sorted(path.stat().st_size > 5000 for path in paths) == [False, True]
    assert max(path.stat().st_size for path in paths) == 5001


@both_ways
def test_a_reader_that_is_slow_or_leaves_early_costs_nothing(
    empty: Orthanc, tmp_path: Path, retrieve: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("medgan.sources.dimse_retrieval.ROOM", 1)  # the archive waits for every single one
    for i in range(1, 21):
        empty.put(dicom_bytes(f"1.2.3.{i}"))
    with opened(f"{empty.dimse}?retrieve={retrieve}") as server:
        leaving = server.fetch("1.2.3", tmp_path, Limits(), is_new)
        first = [next(leaving) for _ in range(3)]
        leaving.close()
        assert sorted(tmp_path.iterdir()) == sorted(first)
        assert len(fetched(server, tmp_path / "landing")) == 20


@contextlib.contextmanager
def cutting(to: int, *after: int) -> Iterator[tuple[int, list[int]]]:
    """A port that forwards to another, and cuts its nth connection after so many bytes from there (0: not at all)."""
    door = socket.create_server(("127.0.0.1", 0))
    cuts, lengths = iter(after), []

    def carry(source: socket.socket, drain: socket.socket, limit: int) -> None:
        count = 0
        with contextlib.suppress(OSError):
            while (data := source.recv(65536)) and not (limit and count + len(data) > limit):
                drain.sendall(data)
                count += len(data)
        lengths.append(count)
        for end in (source, drain):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def serve() -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = door.accept()
                server = socket.create_connection(("127.0.0.1", to))
                limit = next(cuts, 0)
                threading.Thread(target=carry, args=(client, server, 0), daemon=True).start()
                threading.Thread(target=carry, args=(server, client, limit), daemon=True).start()

    threading.Thread(target=serve, daemon=True).start()
    try:
        yield door.getsockname()[1], lengths
    finally:
        door.shutdown(socket.SHUT_RDWR)
        door.close()


def test_a_broken_connection_is_taken_up_again_inside_the_study(empty: Orthanc, tmp_path: Path) -> None:
    sent = {}
    for i in range(1, 31):
        data = dicom_bytes(f"1.2.3.{i}", Rows=100, Columns=100, PixelData=bytes(20_000), InstanceNumber=str(i))
        sent[content_digest(data)] = syntax(data)
        empty.put(data)
    # each second connection is a query; the files come over the others: cut inside the 5th, the 10th, and so on
    with (
        cutting(DICOM_PORT, 0, 100_000, 0, 100_000, 0, 150_000) as (port, _),
        opened(f"dimse://ORTHANC@127.0.0.1:{port}") as server,
    ):
        assert contents(fetched(server, tmp_path / "landing")) == sent


def test_an_archive_that_breaks_off_again_and_again_is_given_up(empty: Orthanc, tmp_path: Path) -> None:
    empty.put(dicom_bytes("1.2.3.1", InstanceNumber="1"))
    waits: list[float] = []
    with (
        cutting(DICOM_PORT, *[10] * 50) as (port, _),
        opened(f"dimse://ORTHANC@127.0.0.1:{port}", sleep=waits.append) as server,
        pytest.raises(SourceError, match="stopped answering"),
    ):
        fetched(server, tmp_path / "landing")
    assert len(waits) == 4
    assert waits[-1] > waits[0]


def test_an_archive_that_is_not_there_is_said(archive: Orthanc) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    for host in ("127.0.0.1", "no-such-host.invalid"):
        with opened(f"dimse://ORTHANC@{host}:{port}") as server, pytest.raises(SourceError) as caught:
            server.poll("", whole=True)
        assert host not in str(caught.value)


def test_only_the_archive_may_deliver_and_only_what_was_asked_for(tmp_path: Path) -> None:
    with opened("dimse://ORTHANC@127.0.0.1:9?retrieve=move&listen=0") as server:
        assert server.mover is not None
        server.mover._listen()
        assert server.mover.listener is not None
        port = server.mover.listener.server_address[1]
        delivery = server.mover.deliveries[7] = Delivery("1.2.3", tmp_path, Limits())
        stranger, archive = (AE(title) for title in ("STRANGER", "ORTHANC"))
        for entity in (stranger, archive):
            entity.add_requested_context(CT)
        assert stranger.associate("127.0.0.1", port).is_rejected
        association = archive.associate("127.0.0.1", port)
        other = dicom("1.2.9.1", StudyInstanceUID="1.2.9")
        assert association.send_c_store(other).Status == 0x0124  # never asked for
        assert association.send_c_store(other, originator_aet="MEDGAN", originator_id=7).Status == 0  # by its number
        assert association.send_c_store(dicom("1.2.3.1")).Status == 0  # not numbered, but of the study
        delivery.put(Outcome(0))
        assert association.send_c_store(dicom("1.2.3.2")).Status == 0xA700  # too late
        association.release()
        assert [uid for uid, _ in delivery.items(Pulse())] == ["1.2.9.1", "1.2.3.1"]


def test_a_wrong_title_is_said(tmp_path: Path) -> None:
    if why := unavailable():
        pytest.skip(why)
    with (
        orthanc(tmp_path, DicomCheckCalledAet=True),
        opened(f"dimse://OTHER@127.0.0.1:{DICOM_PORT}") as server,
        pytest.raises(SourceError, match="AE title"),
    ):
        server.poll("", whole=True)


def test_over_tls_both_sides_are_verified(tmp_path: Path) -> None:
    if why := unavailable():
        pytest.skip(why)
    ours, theirs = authority(tmp_path / "ours"), authority(tmp_path / "theirs")
    (cert, key), (own, own_key), (wrong, wrong_key) = (ours.issue("archive"), ours.issue("me"), theirs.issue("me"))
    more = {"DicomTlsEnabled": True, "DicomTlsCertificate": cert, "DicomTlsPrivateKey": key}
    with orthanc(tmp_path / "orthanc", DicomTlsTrustedCertificates=ours.ca, **more) as archive:
        archive.put(dicom_bytes("1.2.3.1"))
        with opened(archive.dimse, Connection(ca=ours.ca, cert=own, key=own_key)) as server:
            assert len(server.poll("", whole=True).holdings) == 1
            assert len(fetched(server, tmp_path / "landing")) == 1
        for bad in (
            Connection(ca=theirs.ca, cert=own, key=own_key),
            Connection(ca=ours.ca, cert=wrong, key=wrong_key),
            Connection(ca=ours.ca),
        ):
            with opened(archive.dimse, bad) as server, pytest.raises(SourceError, match="TLS"):
                server.poll("", whole=True)


@contextlib.contextmanager
def small_archive(**handlers: Callable) -> Iterator[str]:
    """An archive with ways of its own; yields its address."""
    entity = AE("SMALL")
    entity.add_supported_context(FIND)
    if "get" in handlers:
        entity.add_supported_context(GET)
        entity.add_supported_context(CT, scu_role=True, scp_role=True)
    if "move" in handlers:
        entity.add_supported_context(MOVE)
    events = {"find": evt.EVT_C_FIND, "get": evt.EVT_C_GET, "move": evt.EVT_C_MOVE}
    on = [(events[name], handler) for name, handler in handlers.items()]
    server = entity.start_server(("127.0.0.1", 0), block=False, evt_handlers=on)
    try:
        yield f"dimse://SMALL@127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()


def row(**keys: str) -> Dataset:
    dataset = Dataset()
    for keyword, value in keys.items():
        setattr(dataset, keyword, value)
    return dataset


@pytest.mark.parametrize(("status", "says"), [(0xA700, "narrow"), (0xA900, "status 0xA900"), (0xC001, "status 0xC001")])
def test_a_query_that_is_refused_is_said(status: int, says: str) -> None:
    def find(_: evt.Event) -> Iterator:
        yield 0xFF00, row(StudyInstanceUID="1.2.3", PatientID=CANARY)
        refusal = row(ErrorComment=CANARY)
        refusal.Status = status
        yield refusal, None

    with small_archive(find=find) as address, opened(address) as server, pytest.raises(SourceError) as caught:
        server.poll("", whole=True)
    assert says in str(caught.value)
    assert CANARY not in str(caught.value)


def test_a_study_without_a_valid_uid_is_left_out_and_counted(caplog: pytest.LogCaptureFixture) -> None:
    def find(_: evt.Event) -> Iterator:
        for uid in ("1.2.3", "../../etc", "1.2.3", ""):
            yield 0xFF00, row(StudyInstanceUID=uid)

    with small_archive(find=find) as address, opened(address) as server:
        holdings = server.poll("", whole=True).holdings
        assert [(holding.study_uid, holding.expected) for holding in holdings] == [("1.2.3", None)]
        with pytest.raises(SourceError):
            next(server.fetch("../../etc", Path(), Limits(), is_new))
    assert "2 studies" in caplog.text
    assert "/etc" not in caplog.text


def test_an_archive_that_lists_no_instances_is_believed_by_its_counts(tmp_path: Path) -> None:
    rounds = itertools.count()

    def find(event: evt.Event) -> Iterator:
        if event.identifier.QueryRetrieveLevel != "STUDY":
            yield 0xA900, None
        else:
            yield 0xFF00, row(StudyInstanceUID="1.2.3")

    def get(_: evt.Event) -> Iterator:
        uids = ["1.2.3.1", "1.2.3.2", "1.2.3.3"]
        yield len(uids)
        again = next(rounds)
        for uid in uids:
            dataset = dicom(uid)
            if uid == "1.2.3.2" and again == 0:
                dataset.SOPClassUID = MR  # nothing was agreed on for it: this one fails
            yield 0xFF00, dataset

    with small_archive(find=find, get=get) as address, opened(address) as server:
        paths = fetched(server, tmp_path / "landing")
    assert sorted(str(dcmread(path).SOPInstanceUID) for path in paths) == ["1.2.3.1", "1.2.3.2", "1.2.3.3"]
    assert next(rounds) == 2


def test_an_archive_that_keeps_something_back_is_given_up_after_what_it_gave(tmp_path: Path) -> None:
    asked: list[list[str]] = []

    def find(event: evt.Event) -> Iterator:
        level = event.identifier.QueryRetrieveLevel
        if level == "STUDY":
            yield 0xFF00, row(StudyInstanceUID="1.2.3", NumberOfStudyRelatedInstances="3", SOPClassesInStudy=CT)
        elif level == "SERIES":
            yield 0xFF00, row(StudyInstanceUID="1.2.3", SeriesInstanceUID="1.2.3.0")
        else:
            for i in range(1, 4):
                yield 0xFF00, row(SOPInstanceUID=f"1.2.3.{i}", SOPClassUID=CT)

    def get(event: evt.Event) -> Iterator:
        uids = event.identifier.get("SOPInstanceUID", [])
        asked.append([uids] if isinstance(uids, str) else list(uids))
        yield 1
        yield 0xFF00, dicom("1.2.3.1")

    with small_archive(find=find, get=get) as address, opened(address) as server:
        coming = server.fetch("1.2.3", tmp_path, Limits(), is_new)
        assert str(dcmread(next(coming)).SOPInstanceUID) == "1.2.3.1"
        with pytest.raises(SourceError, match="keeps something back"):
            next(coming)
    assert asked[:2] == [[], ["1.2.3.2", "1.2.3.3"]]  # the study, then what it left out
    assert asked[2:4] == [["1.2.3.2"], ["1.2.3.3"]]  # one by one: an archive may not understand lists
    assert len(list(tmp_path.iterdir())) == 1


def test_an_archive_without_c_get_is_said(tmp_path: Path) -> None:
    def find(_: evt.Event) -> Iterator:
        yield (
            0xFF00,
            row(StudyInstanceUID="1.2.3", SeriesInstanceUID="1.2.3.1", SOPInstanceUID="1.2.3.4", SOPClassUID=CT),
        )

    with (
        small_archive(find=find) as address,
        opened(address) as server,
        pytest.raises(SourceError, match="does not offer"),
    ):
        fetched(server, tmp_path / "landing")


def test_a_move_to_a_place_that_the_archive_does_not_know_is_said(tmp_path: Path) -> None:
    one = row(StudyInstanceUID="1.2.3", SeriesInstanceUID="1.2.3.1", SOPInstanceUID="1.2.3.4", SOPClassUID=CT)

    def find(_: evt.Event) -> Iterator:
        yield 0xFF00, one

    def move(_: evt.Event) -> Iterator:
        yield None, None  # status 0xA801

    with (
        small_archive(find=find, move=move) as address,
        opened(f"{address}?retrieve=move&listen=0") as server,
        pytest.raises(SourceError, match="register"),
    ):
        fetched(server, tmp_path / "landing")


def test_answers_are_not_lost_between_the_threads_of_an_association(monkeypatch: pytest.MonkeyPatch) -> None:
    """pynetdicom's own thread is made slow between saying that it waits and waiting."""

    def find(event: evt.Event) -> Iterator:
        for i in range(int(event.identifier.PatientID)):
            yield 0xFF00, row(StudyInstanceUID=f"1.2.{i}")

    def pause(association: Association, value: bool) -> None:
        if not value and association.is_requestor:
            time.sleep(0.005)
        association.__dict__["_is_paused"] = value

    said = property(lambda association: association.__dict__["_is_paused"], pause)
    monkeypatch.setattr(Association, "_is_paused", said, raising=False)
    with small_archive(find=find) as address, opened(address) as server:
        association = query(server.peer)
        counts = [len(list(find_all(association, "STUDY", {"PatientID": str(n % 3)}))) for n in range(30)]
        release(association)
    assert counts == [n % 3 for n in range(30)]


def test_studies_of_many_series_are_sampled(empty: Orthanc, tmp_path: Path) -> None:
    for i in range(1, 3 * SAMPLE):
        empty.put(dicom_bytes(f"1.2.3.{i}", SeriesInstanceUID=f"1.2.3.{1000 + i}", InstanceNumber="1"))
    looked: list[str] = []

    def has(uid: str) -> bool:
        looked.append(uid)
        return False

    with opened(empty.dimse) as server:
        assert len(fetched(server, tmp_path / "landing", has=has)) == 3 * SAMPLE - 1
    assert 0 < len(looked) <= SAMPLE


@pytest.mark.parametrize(
    "address",
    [
        "dimse://127.0.0.1:104",
        "dimse://ORTHANC@",
        "dimse://ORTHANC@127.0.0.1:port",
        "dimse://ORTHANC@127.0.0.1/path",
        "dimse://ORTHANC:canaryson@127.0.0.1",
        "dimse://SEVENTEENLETTERS1@127.0.0.1",
        "http://ORTHANC@127.0.0.1",
        "dimse://ORTHANC@127.0.0.1?Canaryson=1",
        "dimse://ORTHANC@127.0.0.1?connections=0",
        "dimse://ORTHANC@127.0.0.1?connections=many",
        "dimse://ORTHANC@127.0.0.1?listen=65536",
        "dimse://ORTHANC@127.0.0.1?retrieve=canaryson",
        "dimse://ORTHANC@127.0.0.1?calling=canaryson%5Ctweety",
    ],
)
def test_a_wrong_address_is_said_without_quoting_it(address: str) -> None:
    with pytest.raises(UsageError) as caught:
        open_dimse(address, Connection())
    assert "anaryson" not in str(caught.value)


def test_the_address_overrides_the_connection() -> None:
    connection = Connection(calling="FILE", retrieve="move", listen=1)
    server = open_dimse("dimse://A%20B@[::1]:4242?calling=ADDRESS&listen=2&connections=7&StudyDate=2026", connection)
    assert server.mover is not None
    assert (server.peer.title, server.peer.host, server.peer.port, server.peer.calling) == (
        "A B",
        "::1",
        4242,
        "ADDRESS",
    )
    assert (server.mover.port, server.connections, server.keys) == (2, 7, {"StudyDate": "2026"})
    assert open_dimse("dimse://A@b", Connection()).mover is None


@both_ways
def test_nothing_of_a_patient_is_logged(
    empty: Orthanc, tmp_path: Path, retrieve: str, caplog: pytest.LogCaptureFixture, capfd
) -> None:
    caplog.set_level(logging.DEBUG)
    empty.put(dicom_bytes(PatientName=CANARY, PatientID=CANARY, AccessionNumber=CANARY))
    with opened(f"{empty.dimse}?retrieve={retrieve}&PatientID=Canaryson*") as server:
        assert len(server.poll("", whole=True).holdings) == 1
        assert len(fetched(server, tmp_path / "landing")) == 1
    said = capfd.readouterr()
    assert "anaryson" not in caplog.text + said.out + said.err
