"""What an archive holds and what changed in it: asked of a real Orthanc, and of servers that know less."""

from __future__ import annotations

import io
import shutil
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
import requests
from factories import dicom, dicom_bytes
from faulty_archive import Answer, change, faulty_archive, other, status
from orthanc_server import Orthanc, orthanc, unavailable
from pydicom.filewriter import dcmwrite
from pydicom.uid import RLELossless

from medgan.errors import SourceError, UsageError
from medgan.sources.connection import Connection
from medgan.sources.dicomweb import Dicomweb, open_dicomweb
from medgan.sources.entry import Limits
from medgan.sources.server import Poll


@pytest.fixture(scope="module")
def place() -> None:
    if reason := unavailable():
        pytest.skip(reason)


@pytest.fixture(scope="module")
def running(place: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Orthanc]:
    with orthanc(tmp_path_factory.mktemp("orthanc"), OverwriteInstances=True, StableAge=60) as archive:
        yield archive


@pytest.fixture
def archive(running: Orthanc) -> Orthanc:
    """Empty, but with a past."""
    for study in running.get("/studies"):
        running.delete(f"/studies/{study}")
    return running


def image(study: int, instance: int, *, patient: str = "", **more: object) -> bytes:
    uid = f"1.2.{study}"
    return dicom_bytes(
        f"{uid}.1.{instance}",
        StudyInstanceUID=uid,
        SeriesInstanceUID=f"{uid}.1",
        PatientID=patient or f"P{study}",
        StudyDate="20200101",
        **more,
    )


def fill(archive: Orthanc, studies: int, instances: int = 2) -> None:
    for study in range(1, studies + 1):
        for instance in range(1, instances + 1):
            archive.put(image(study, instance))


def open_it(archive: Orthanc, query: str = "", **more: int) -> Dicomweb:
    return open_dicomweb(archive.dicomweb + query, Connection(), sleep=lambda _: None, **more)


def uids(poll: Poll) -> list[str]:
    return sorted(holding.study_uid for holding in poll.holdings)


def ageless(poll: Poll) -> Poll:
    """Without ages, which grow from one poll to the next."""
    return replace(poll, holdings=tuple(replace(holding, age_s=None) for holding in poll.holdings))


def stamps(poll: Poll) -> dict[str, str]:
    return {holding.study_uid: holding.stamp for holding in poll.holdings}


def delete(archive: Orthanc, uid: str) -> None:
    found = requests.post(f"{archive.url}/tools/lookup", data=uid, timeout=60).json()
    archive.delete(found[0]["Path"])


def test_the_first_poll_lists_everything_and_the_next_nothing(archive: Orthanc) -> None:
    fill(archive, 3)
    server = open_it(archive)
    first = server.poll("", whole=False)
    assert first.whole and uids(first) == ["1.2.1", "1.2.2", "1.2.3"]
    assert {holding.expected for holding in first.holdings} == {2}
    assert all(holding.age_s is not None and 0 <= holding.age_s < 300 for holding in first.holdings)
    assert not any(holding.settled for holding in first.holdings)
    second = server.poll(first.cursor, whole=False)
    assert second == Poll((), whole=False, cursor=first.cursor)


def test_an_empty_archive_is_followed_from_its_first_study_on(archive: Orthanc) -> None:
    server = open_it(archive)
    empty = server.poll("", whole=False)
    assert empty.whole and not empty.holdings
    assert server.poll(empty.cursor, whole=False) == Poll((), whole=False, cursor=empty.cursor)
    fill(archive, 1)
    then = server.poll(empty.cursor, whole=False)
    assert not then.whole and uids(then) == ["1.2.1"]


def test_a_late_instance_changes_the_stamp_of_its_study_alone(archive: Orthanc) -> None:
    fill(archive, 3)
    server = open_it(archive)
    first = server.poll("", whole=False)
    archive.put(image(2, 3))
    changed = server.poll(first.cursor, whole=False)
    assert not changed.whole and uids(changed) == ["1.2.2"]
    assert changed.holdings[0].expected == 3
    assert changed.holdings[0].stamp != stamps(first)["1.2.2"]
    everything = server.poll("", whole=True)
    assert stamps(everything) == {**stamps(first), **stamps(changed)}  # however a study is found, its stamp is one


def test_changes_are_read_in_pages_and_looked_up_alone_where_need_be(archive: Orthanc) -> None:
    server = open_it(archive)
    first = server.poll("", whole=False)
    orthanc = server._find_orthanc()
    assert orthanc is not None
    fill(archive, 3)
    orthanc.page = 2
    changed = server.poll(first.cursor, whole=False)
    orthanc._whole = False  # as before Orthanc 1.9.4
    assert ageless(server.poll(first.cursor, whole=False)) == ageless(changed)
    assert not changed.whole and stamps(changed) == stamps(server.poll("", whole=True))


def test_a_stable_study_is_settled(place: None, tmp_path: Path) -> None:
    with orthanc(tmp_path / "archive", StableAge=1) as archive:
        fill(archive, 1)
        server = open_it(archive)
        first = server.poll("", whole=False)
        deadline = time.monotonic() + 30
        while not (now := server.poll(first.cursor, whole=False)).holdings and time.monotonic() < deadline:
            time.sleep(0.1)
        assert [holding.settled for holding in now.holdings] == [True]
        assert stamps(now) == stamps(first)  # that it is stable is no change of content


@pytest.mark.parametrize("uid", ["1.2.2", "1.2.3"], ids=["older", "newest"])
def test_a_deletion_is_found_by_a_whole_listing(uid: str, archive: Orthanc) -> None:
    fill(archive, 3)
    server = open_it(archive)
    first = server.poll("", whole=False)
    delete(archive, uid)
    whole = server.poll(first.cursor, whole=True)
    assert whole.whole and uids(whole) == sorted({"1.2.1", "1.2.2", "1.2.3"} - {uid})
    assert not server.poll(whole.cursor, whole=False).whole


def test_an_overwritten_instance_changes_the_stamp(archive: Orthanc) -> None:
    fill(archive, 2)
    server = open_it(archive)
    first = server.poll("", whole=False)
    time.sleep(1.1)  # Orthanc's clock of changes counts seconds
    archive.put(image(1, 1, SliceThickness="3"))
    changed = server.poll(first.cursor, whole=False)
    assert stamps(changed)["1.2.1"] != stamps(first)["1.2.1"]
    assert stamps(server.poll("", whole=True))["1.2.1"] == stamps(changed)["1.2.1"]


@pytest.mark.parametrize("studies", [1, 6], ids=["smaller", "larger"])
def test_a_rebuilt_index_is_listed_whole(studies: int, place: None, tmp_path: Path) -> None:
    with orthanc(tmp_path / "archive", StableAge=60) as archive:
        fill(archive, 3)
        cursor = open_it(archive).poll("", whole=False).cursor
    shutil.rmtree(tmp_path / "archive")
    with orthanc(tmp_path / "archive", StableAge=60) as archive:
        for study in range(11, 11 + studies):
            archive.put(image(study, 1))
        poll = open_it(archive).poll(cursor, whole=False)
        assert poll.whole and len(poll.holdings) == studies


def test_an_archive_that_was_restarted_goes_on(place: None, tmp_path: Path) -> None:
    with orthanc(tmp_path / "archive", StableAge=60) as archive:
        fill(archive, 3)
        cursor = open_it(archive).poll("", whole=False).cursor
    with orthanc(tmp_path / "archive", StableAge=60) as archive:
        archive.put(image(4, 1))
        poll = open_it(archive).poll(cursor, whole=False)
        assert not poll.whole and uids(poll) == ["1.2.4"]


def test_a_log_that_was_cleared_is_made_good_by_a_whole_listing(archive: Orthanc) -> None:
    fill(archive, 2)
    server = open_it(archive)
    first = server.poll("", whole=False)
    archive.put(image(3, 1))
    archive.delete("/changes")
    archive.put(image(4, 1))
    second = server.poll(first.cursor, whole=False)
    assert second.whole and uids(second) == ["1.2.1", "1.2.2", "1.2.3", "1.2.4"]
    archive.delete("/changes")
    third = server.poll("", whole=True)
    assert server.poll(third.cursor, whole=False) == Poll((), whole=False, cursor=third.cursor)
    archive.put(image(5, 1))
    fourth = server.poll(third.cursor, whole=False)
    assert not fourth.whole and uids(fourth) == ["1.2.5"]
    archive.put(image(6, 1))
    archive.delete("/changes")
    assert server.poll(third.cursor, whole=False).whole  # what lay between is not known any more


@pytest.mark.parametrize("cursor", ["orthanc:1", "orthanc:9999999:0123456789abcdef", "x", "orthanc:0:-", "orthanc:3:-"])
def test_a_cursor_of_another_life_is_answered_with_everything(cursor: str, archive: Orthanc) -> None:
    fill(archive, 2)
    archive.delete("/changes")
    archive.put(image(3, 1))
    assert open_it(archive).poll(cursor, whole=False).whole


def test_only_studies_that_match_are_listed(archive: Orthanc) -> None:
    fill(archive, 1)
    archive.put(image(2, 1, Modality="MR"))
    server = open_it(archive, "?ModalitiesInStudy=MR&StudyDate=20200101-&connections=7")
    first = server.poll("", whole=False)
    assert uids(first) == ["1.2.2"] and server.connections == 7
    archive.put(image(3, 1))
    archive.put(image(4, 1, Modality="MR"))
    changed = server.poll(first.cursor, whole=False)
    assert not changed.whole and uids(changed) == ["1.2.4"]
    assert uids(open_it(archive, "?StudyInstanceUID=1.2.3").poll("", whole=False)) == ["1.2.3"]


def test_a_list_of_several_pages_is_whole(archive: Orthanc) -> None:
    fill(archive, 8, instances=1)
    assert uids(open_it(archive, page=3).poll("", whole=True)) == [f"1.2.{study}" for study in range(1, 9)]


def test_a_log_of_changes_need_not_be_read(archive: Orthanc) -> None:
    fill(archive, 2)
    poll = open_it(archive, "?changes=no").poll("", whole=False)
    assert poll.whole and poll.cursor == "" and uids(poll) == ["1.2.1", "1.2.2"]
    assert all(holding.settled and holding.age_s is None for holding in poll.holdings)  # by the study's date


def test_one_uid_under_two_patients_is_one_study_with_all_its_instances(archive: Orthanc, tmp_path: Path) -> None:
    """Orthanc refuses to send such a study as a whole."""
    archive.put(image(1, 1))
    server = open_it(archive)
    cursor = server.poll("", whole=False).cursor
    archive.put(image(1, 2, patient="Q"))
    changed = server.poll(cursor, whole=False)
    assert uids(changed) == ["1.2.1"] and changed.holdings[0].expected == 2
    assert stamps(changed) == stamps(server.poll("", whole=True))
    assert contents(server, "1.2.1", tmp_path) == sorted([image(1, 1), image(1, 2, patient="Q")])


def contents(server: Dicomweb, uid: str, landing: Path) -> list[bytes]:
    return sorted(path.read_bytes() for path in server.fetch(uid, landing, Limits(), lambda _: False))


def test_studies_come_as_they_were_put_also_several_at_once(archive: Orthanc, tmp_path: Path) -> None:
    fill(archive, 6, instances=5)
    large = image(1, 6, Rows=1100, Columns=1100, PixelData=bytes(range(256)) * 9454 + bytes(776))
    archive.put(large)
    assert len(large) > 2 << 20
    expected = {f"1.2.{s}": sorted(image(s, i) for i in range(1, 6)) for s in range(1, 7)}
    expected["1.2.1"] = sorted([*expected["1.2.1"], large])
    server = open_it(archive)
    for study in expected:
        (tmp_path / study).mkdir()
    with ThreadPoolExecutor(server.connections) as pool:
        found = dict(zip(expected, pool.map(lambda uid: contents(server, uid, tmp_path / uid), expected), strict=True))
    assert found == expected
    server.close()


def test_compressed_images_come_compressed(archive: Orthanc, tmp_path: Path) -> None:
    dataset = dicom("1.2.9.1.1", StudyInstanceUID="1.2.9", PixelData=bytes(96))
    dataset.compress(RLELossless)
    file = io.BytesIO()
    dcmwrite(file, dataset, enforce_file_format=True)
    archive.put(file.getvalue())
    assert contents(open_it(archive), "1.2.9", tmp_path) == [file.getvalue()]


@pytest.mark.parametrize("query", ["", "?ModalitiesInStudy=CT"])
def test_an_archive_that_cuts_its_lists_is_still_listed_whole(query: str, place: None, tmp_path: Path) -> None:
    """With LimitFindResults Orthanc leaves studies out and does not say so: they would look deleted."""
    with orthanc(tmp_path / "archive", LimitFindResults=3, LimitFindInstances=3) as archive:
        fill(archive, 8)
        archive.put(image(9, 1, Modality="MR"))
        poll = open_it(archive, query).poll("", whole=True)
        assert len(poll.holdings) == (8 if query else 9)


def test_only_instances_that_are_not_there_are_fetched(archive: Orthanc, tmp_path: Path) -> None:
    fill(archive, 1, instances=5)
    there = {f"1.2.1.1.{i}" for i in range(1, 5)}
    (path,) = open_it(archive).fetch("1.2.1", tmp_path, Limits(), there.__contains__)
    assert path.read_bytes() == image(1, 5)
    assert not list(open_it(archive).fetch("1.2.77", tmp_path, Limits(), there.__contains__))


# servers that know less than Orthanc


def test_an_archive_without_a_log_is_listed_whole_each_time() -> None:
    with faulty_archive() as archive:
        for study in range(1, 8):
            archive.fill(f"1.2.{study}", instances=2)
        server = open_dicomweb(archive.address, Connection(), page=3)
        first = server.poll("", whole=False)
        assert first.whole and first.cursor == "" and len(first.holdings) == 7
        assert {(holding.expected, holding.age_s, holding.settled) for holding in first.holdings} == {(2, None, True)}
        assert server.poll("", whole=False) == first
        archive.fill("1.2.3", instances=3)
        changed = stamps(server.poll("", whole=False))
        assert [uid for uid, stamp in stamps(first).items() if changed[uid] != stamp] == ["1.2.3"]


def test_a_study_of_yesterday_is_not_settled_by_its_date() -> None:
    def yesterday(answer: Answer) -> None:
        answer.body = answer.body.replace(b"20200101", time.strftime("%Y%m%d").encode())

    with faulty_archive() as archive:
        archive.fill()
        archive.faults["studies"] = [yesterday] * 9
        assert [h.settled for h in open_dicomweb(archive.address, Connection()).poll("", whole=True).holdings] == [
            False
        ]


def test_an_archive_that_knows_no_pages_is_listed_whole() -> None:
    with faulty_archive() as archive:
        archive.pages = False
        for study in range(1, 8):
            archive.fill(f"1.2.{study}", instances=1)
        for page in (3, 100):
            assert len(open_dicomweb(archive.address, Connection(), page=page).poll("", whole=True).holdings) == 7
        with pytest.raises(SourceError, match="repeats the first page"):
            open_dicomweb(archive.address, Connection(), page=7).poll("", whole=True)


def test_a_deletion_between_two_pages_hides_no_study() -> None:
    with faulty_archive() as archive:
        for study in range(1, 8):
            archive.fill(f"1.2.{study}", instances=1)
        server = open_dicomweb(archive.address, Connection(), page=3)

        def delete_two(_: Answer) -> None:
            for study in (1, 2):
                archive.files.pop((f"1.2.{study}", f"1.2.{study}.1", f"1.2.{study}.1.1"))

        archive.faults["studies"] = [delete_two]
        assert set(uids(server.poll("", whole=True))) >= {f"1.2.{study}" for study in range(3, 8)}


def test_rows_without_a_valid_uid_are_counted_and_left_out(caplog: pytest.LogCaptureFixture) -> None:
    with faulty_archive() as archive:
        archive.fill("1.2.3")
        archive.files["../1.2.4", "1.2.4.1", "1.2.4.1.1"] = b"x"
        poll = open_dicomweb(archive.address, Connection()).poll("", whole=True)
    assert uids(poll) == ["1.2.3"]
    assert "1 rows of the archive's list have no valid UID" in caplog.text and "1.2.4" not in caplog.text


def test_what_says_nothing_of_the_content_changes_no_stamp() -> None:
    def row(url: str, modalities: str) -> bytes:
        return (
            '[{"0020000D": {"vr": "UI", "Value": ["1.2.9"]}, "00081190": {"vr": "UR", "Value": ["URL"]},'
            '"00080061": {"vr": "CS", "Value": [MODALITIES]}}]'.replace("URL", url).replace("MODALITIES", modalities)
        ).encode()

    with faulty_archive() as archive:
        bodies = [row("http://a/", '"CT", "SR"'), row("http://b/", '"SR", "CT"'), row("http://b/", '"SR"')]
        found = []
        for body in bodies:
            archive.faults["studies"] = [other("application/json", body)]
            found.append(stamps(open_dicomweb(archive.address, Connection()).poll("", whole=True))["1.2.9"])
    assert found[0] == found[1] != found[2]


def test_no_content_is_an_empty_archive() -> None:
    with faulty_archive() as archive:
        archive.faults["studies"] = [change(status=204, body=b"")]
        assert open_dicomweb(archive.address, Connection()).poll("", whole=True).holdings == ()


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (status(404), "no DICOMweb service at this address"),
        (status(401), "refuses access .401."),
        (status(400), "check the matching keys"),
        (status(302, Location="https://elsewhere.example/"), "another host"),
        (other("application/json", b'["x"]'), "other JSON than a list"),
    ],
)
def test_an_address_that_is_no_service_is_a_source_error(fault: object, message: str) -> None:
    with faulty_archive() as archive:
        archive.faults["studies"] = [fault]
        with pytest.raises(SourceError, match=message):
            open_dicomweb(archive.address, Connection()).poll("", whole=True)


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("http://h/dicom-web", "is not like"),
        ("dicomweb+http:///dicom-web", "is not like"),
        ("dicomweb+http://h:99999/dicom-web", "is not like"),
        ("dicomweb+http://[h/dicom-web", "is not like"),
        ("dicomweb+https://h/dicom-web#x", "is not like"),
        ("dicomweb+https://jane:s3cret@h/dicom-web", "credentials do not belong"),
        ("dicomweb+https://h/dicom-web?connections=17", "from 1 to 16"),
        ("dicomweb+https://h/dicom-web?connections=x", "from 1 to 16"),
        ("dicomweb+https://h/dicom-web?changes=maybe", "yes or no"),
        ("dicomweb+https://h/dicom-web?StudyDate=2020&ModalitiesInStudie=CT", "part 2 after the [?]"),
        ("dicomweb+https://h/dicom-web?limit=5", "part 1 after the [?]"),
    ],
)
def test_a_wrong_address_is_a_usage_error(address: str, message: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        open_dicomweb(address, Connection())
    assert "s3cret" not in str(caught.value)


def test_the_address_says_where_and_what() -> None:
    server = open_dicomweb("dicomweb+https://h/a/dicom-web/?PatientID=P%261&00080060=CT", Connection())
    assert (server.url, server.connections) == ("https://h:443/a/dicom-web", 4)
    assert server.matching == [("PatientID", "P&1"), ("00080060", "CT")]
    assert server.name == "dicomweb+https://h:443/a/dicom-web?00080060=CT&PatientID=P%261"
    assert open_dicomweb("dicomweb+http://[::1]/x", Connection()).url == "http://[::1]:80/x"


def test_how_an_archive_is_asked_does_not_make_another_place_of_it() -> None:
    plain = open_dicomweb("dicomweb+https://h/x?Modality=CT", Connection()).name
    assert open_dicomweb("dicomweb+https://h:443/x/?connections=2&changes=no&Modality=CT", Connection()).name == plain
    assert open_dicomweb("dicomweb+https://h/x", Connection()).name != plain


@pytest.mark.parametrize("secret", [Connection(token="s3cret"), Connection(user="u", password="s3cret")])
def test_a_secret_goes_over_plain_http_only_to_this_machine(secret: Connection) -> None:
    with pytest.raises(UsageError, match="plain http"):
        open_dicomweb("dicomweb+http://pacs.example/x", secret)
    for here in ("localhost", "127.0.0.1", "[::1]"):
        assert open_dicomweb(f"dicomweb+http://{here}:8042/x", secret)
