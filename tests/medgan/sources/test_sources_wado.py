"""A study is fetched whole from an archive that breaks off, is busy, or answers in its own way."""

from __future__ import annotations

import json
import logging
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from factories import dicom_bytes
from faulty_archive import BOUNDARY, Answer, Archive, change, cut_in_part, faulty_archive, other, status, well

from medgan.errors import SourceError
from medgan.sources.connection import Connection
from medgan.sources.dicomweb import Dicomweb, open_dicomweb
from medgan.sources.entry import Limits
from medgan.sources.wado import instance_of

STUDY = "1.2.9"
BREAK = cut_in_part(3)


@pytest.fixture
def archive() -> Iterator[Archive]:
    with faulty_archive() as archive:
        archive.fill(STUDY, series=2, instances=4)
        yield archive


def open_it(archive: Archive, slept: list[float] | None = None) -> Dicomweb:
    sleep = slept.append if slept is not None else lambda _: None
    return open_dicomweb(archive.address, Connection(), sleep=sleep, chance=lambda: 1.0)


def fetch(
    archive: Archive,
    landing: Path,
    *,
    has: Callable[[str], bool] = lambda _: False,
    limits: Limits | None = None,
    slept: list[float] | None = None,
) -> list[bytes]:
    """The contents of what arrives; nothing else may stay behind."""
    found = []
    for path in open_it(archive, slept).fetch(STUDY, landing, limits or Limits(), has):
        found.append(path.read_bytes())
        path.unlink()
    assert not list(landing.iterdir())
    return found


def everything(archive: Archive) -> list[bytes]:
    return sorted(archive.files.values())


def short_list(answer: Answer) -> None:
    """The archive cuts the list of instances and does not say so."""
    answer.archive.pages = False
    answer.body = json.dumps(json.loads(answer.body)[:4]).encode()


TABLE: dict[str, tuple[dict[str, list[Callable[[Answer], None]]], list[str]]] = {
    "nothing wrong": ({}, []),
    "no lengths": ({"study": [change(lengths=False)]}, []),
    "quoted boundary": ({"study": [change(kind=f'multipart/related; boundary="{BOUNDARY}"; type=x')]}, []),
    "preamble and LF": ({"study": [change(before=b"Hello\r\n", after=b"\n")]}, []),
    "chunked": ({"study": [change(chunked=True)]}, []),
    "chunked without lengths": ({"study": [change(chunked=True, lengths=False)]}, []),
    "breaks in part 3": ({"study": [BREAK]}, ["series"]),
    "breaks in part 3 without lengths": ({"study": [cut_in_part(3, lengths=False)]}, ["series"]),
    "breaks in part 3, chunked": ({"study": [cut_in_part(3, chunked=True)]}, ["series"]),
    "breaks in part 8": ({"study": [cut_in_part(8)]}, ["instance"]),
    "breaks twice": ({"study": [cut_in_part(8)], "instance": [cut_in_part(1)]}, ["instance"] * 2),
    "breaks in the first part, always": ({"study": [cut_in_part(1)], "series": [cut_in_part(1)] * 9}, ["instance"] * 8),
    "closing boundary is missing": ({"study": [change(send_at_most=1)]}, ["instance"]),
    "503, then well": ({"study": [status(503)]}, ["instance"] * 8),
    "429, then well": ({"study": [status(429, Retry_After="7")]}, ["instance"] * 8),
    "another boundary": ({"study": [change(sent_boundary="another")]}, ["instance"] * 8),
    "some are left out (206)": ({"study": [lambda answer: change(status=206, parts=answer.parts[:5])(answer)]}, []),
    "nothing in the answer": (
        {"study": [other(f"multipart/related; boundary={BOUNDARY}", b"--%b--" % b"between-7f3a")]},
        [],
    ),
    "a series comes without one that is listed": (
        {"study": [BREAK], "series": [lambda answer: change(parts=answer.parts[:3])(answer)]},
        ["series", "series", "instance"],
    ),
    "an instance is refused twice": (
        {"study": [cut_in_part(1)], "instance": [status(500), status(500)]},
        ["instance"] * 10,
    ),
    "the study cannot be sent as a whole": ({"study": [status(404)]}, ["instance"] * 8),
    "no list while it breaks": ({"study": [BREAK], "list": [well, status(502), other("application/json", b"[{")]}, []),
    "short list": ({"study": [BREAK], "list": [short_list] * 9}, []),
    "no list at first": ({"list": [other("text/html", b"")]}, []),
    "asked for any syntax": ({"study": [status(406)]}, []),
    "asked for any syntax, 400": ({"study": [status(400)]}, []),
    "one file, not multi-part": (
        {"study": [cut_in_part(1)], "instance": [lambda a: other("application/dicom", a.parts[0])(a)] * 8},
        ["instance"] * 8,
    ),
}


@pytest.mark.parametrize(("faults", "then"), TABLE.values(), ids=TABLE)
def test_everything_arrives_once(
    faults: dict[str, list[Callable[[Answer], None]]], then: list[str], archive: Archive, tmp_path: Path
) -> None:
    archive.faults.update(faults)
    assert sorted(fetch(archive, tmp_path)) == everything(archive)
    assert [kind for kind in archive.kinds() if kind in ("series", "instance")][: len(then)] == then


def test_what_came_before_a_break_is_not_asked_for_again(archive: Archive, tmp_path: Path) -> None:
    archive.faults["study"] = [cut_in_part(6)]  # 5 of 8 came; of the second series 1 of 4
    slept: list[float] = []
    assert sorted(fetch(archive, tmp_path, slept=slept)) == everything(archive)
    assert archive.kinds() == ["list", "study", "list", "list", "studies", "series"] and slept == [1.0]


def test_only_what_is_not_there_yet_is_fetched(archive: Archive, tmp_path: Path) -> None:
    there = {f"{STUDY}.1.{i}" for i in (1, 2, 3, 4)} | {f"{STUDY}.2.{i}" for i in (1, 2, 3)}
    assert fetch(archive, tmp_path, has=there.__contains__) == [archive.files[STUDY, f"{STUDY}.2", f"{STUDY}.2.4"]]
    archive.asked.clear()
    assert fetch(archive, tmp_path, has=lambda _: True) == []
    assert set(archive.kinds()) == {"list", "studies"}


def test_waits_grow_and_are_as_long_as_the_archive_asks(archive: Archive, tmp_path: Path) -> None:
    slept: list[float] = []
    archive.faults["study"] = [status(503)]
    archive.faults["instance"] = [status(503), status(429, Retry_After="20"), status(503, Retry_After="900")]
    fetch(archive, tmp_path, slept=slept)
    assert slept == [1.0, 2.0, 20.0, 300.0]


def test_an_archive_that_refused_a_request_is_not_asked_that_way_again(archive: Archive, tmp_path: Path) -> None:
    archive.faults.update({"study": [status(406), BREAK]})
    assert sorted(fetch(archive, tmp_path)) == everything(archive)
    asked = [headers["Accept"] for headers in archive.headers if "multipart" in headers["Accept"]]
    assert ["transfer-syntax=*" in accept for accept in asked] == [True] + [False] * (len(asked) - 1)
    assert len(asked) > 2


def test_instances_without_a_file_meta_group_arrive(archive: Archive, tmp_path: Path) -> None:
    archive.files = {uids: data[132:] for uids, data in archive.files.items()}
    archive.faults["study"] = [BREAK]
    assert set(fetch(archive, tmp_path)) == set(everything(archive))


def test_a_study_that_vanished_is_nothing(archive: Archive, tmp_path: Path) -> None:
    archive.files.clear()
    assert fetch(archive, tmp_path) == []


def test_an_instance_that_vanished_is_left_out(archive: Archive, tmp_path: Path) -> None:
    archive.faults.update({"study": [cut_in_part(1)], "instance": [status(404)]})
    assert len(fetch(archive, tmp_path)) == 7


def test_an_instance_over_the_limit_is_cut_and_the_others_come(archive: Archive, tmp_path: Path) -> None:
    large = dicom_bytes(f"{STUDY}.1.2", StudyInstanceUID=STUDY, SeriesInstanceUID=f"{STUDY}.1", PixelData=b"x" * 50_000)
    archive.files[STUDY, f"{STUDY}.1", f"{STUDY}.1.2"] = large
    for lengths in (True, False):
        archive.faults["study"] = [change(lengths=lengths)]
        sizes = sorted(len(data) for data in fetch(archive, tmp_path, limits=Limits(max_bytes=10_000)))
        assert sizes[-1] == 10_001 and len(sizes) == 8 and sizes[-2] < 1000


def test_a_limit_that_nothing_meets_ends(archive: Archive, tmp_path: Path) -> None:
    sizes = [len(data) for data in fetch(archive, tmp_path, limits=Limits(max_bytes=100))]
    assert set(sizes) == {101} and len(sizes) >= 8  # which one the first was, 101 bytes do not tell


FINAL: dict[str, tuple[dict[str, list[Callable[[Answer], None]]], str]] = {
    "401": ({"study": [status(401)]}, "refuses access .401.; check token, user and password"),
    "403": ({"study": [status(403)]}, "refuses access .403."),
    "another host": ({"study": [status(302, Location="http://elsewhere.example/x")]}, "redirects to another host"),
    "circle": ({"study": [status(307, Location="/dicom-web/studies/1.2.9")] * 9}, "redirects in a circle"),
    "418": ({"study": [status(418)]}, "answered 418, expected 200"),
    "501": ({"study": [status(501)]}, "answered 501"),
    "log-in page": ({"study": [other("text/html", b"<html>Doe^Jane</html>")]}, "another format"),
    "takes no syntax": ({"study": [status(406)] * 2}, "does not take the request .406."),
    "always 500": ({"study": [status(500)] * 9, "instance": [status(500)] * 9}, "does not answer .500.; run again"),
    "always breaks": ({"study": [cut_in_part(1)] * 9, "instance": [cut_in_part(1)] * 9}, "does not answer"),
    "no list": ({"study": [BREAK], "list": [well] + [status(503)] * 9}, "does not answer .503."),
    "list is no JSON": (
        {"study": [BREAK], "list": [well, *[other("application/json", b"<")] * 9]},
        "does not answer .unreadable JSON.",
    ),
    "list is a page": (
        {"study": [BREAK], "list": [well, other("text/html", b"<html>Doe^Jane")]},
        "another format than JSON",
    ),
    "short list and no whole study": ({"study": [status(404)], "list": [short_list] * 9}, "lists fewer instances"),
    "list is no list": (
        {"study": [BREAK], "list": [well, other("application/json", b'{"a": 1}')]},
        "other JSON than a list",
    ),
}


@pytest.mark.parametrize(("faults", "message"), FINAL.values(), ids=FINAL)
def test_what_cannot_be_had_is_a_source_error_without_values(
    faults: dict[str, list[Callable[[Answer], None]]],
    message: str,
    archive: Archive,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    archive.faults.update(faults)
    caplog.set_level(logging.DEBUG)
    with pytest.raises(SourceError, match=message) as caught:
        list(open_it(archive).fetch(STUDY, tmp_path, Limits(), lambda _: False))
    for said in ("".join(traceback.format_exception(caught.value)), caplog.text):
        assert not [value for value in (STUDY, "Doe", "127.0.0.1", "elsewhere", str(tmp_path)) if value in said]


def test_a_poisoned_instance_does_not_keep_the_others_back(archive: Archive, tmp_path: Path) -> None:
    def refuse(answer: Answer) -> None:
        if answer.handler.path.endswith(f"{STUDY}.1.2"):
            status(500)(answer)

    archive.faults.update({"study": [status(500)] * 9, "instance": [refuse] * 50})
    arrived = 0
    with pytest.raises(SourceError, match="does not answer"):
        for _ in open_it(archive).fetch(STUDY, tmp_path, Limits(), lambda _: False):
            arrived += 1
    assert arrived == 7


def test_a_redirect_on_the_same_host_is_followed(archive: Archive, tmp_path: Path) -> None:
    archive.faults["study"] = [status(307, Location=f"/dicom-web/studies/{STUDY}")]
    assert sorted(fetch(archive, tmp_path)) == everything(archive)


def test_a_reader_that_stops_leaves_nothing_half_written(archive: Archive, tmp_path: Path) -> None:
    paths = open_it(archive).fetch(STUDY, tmp_path, Limits(), lambda _: False)
    first = next(paths)
    paths.close()
    assert list(tmp_path.iterdir()) == [first]


def test_credentials_go_with_every_request(archive: Archive, tmp_path: Path) -> None:
    for connection, sent in (
        (Connection(token="t0p"), "Bearer t0p"),
        (Connection(user="jané", password="pw"), "Basic amFuw6k6cHc="),
    ):
        archive.headers.clear()
        server = open_dicomweb(archive.address, connection)
        assert len(list(server.fetch(STUDY, tmp_path, Limits(), lambda _: False))) == 8
        assert {headers["Authorization"] for headers in archive.headers} == {sent}
        assert {headers["Accept-Encoding"] for headers in archive.headers} == {"identity"}
        server.close()


@pytest.mark.parametrize("uid", ["../1.2", "1.2/3", "", "1.2.", "1." + "2" * 64, "1.2\n", "1.٢"])
def test_a_uid_against_the_grammar_is_not_put_into_an_address(uid: str, archive: Archive, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="without a valid UID"):
        list(open_it(archive).fetch(uid, tmp_path, Limits(), lambda _: False))
    assert not archive.asked


def test_the_instance_is_read_from_the_file_meta_group() -> None:
    data = dicom_bytes("1.2.3.4.5")
    assert instance_of(data) == instance_of(data[:400]) == "1.2.3.4.5"
    assert [instance_of(head) for head in (data[:200], data[132:], b"", b"x" * 500)] == [""] * 4
