"""Multi-part answers in every shape that archives send, in blocks of every size."""

import io
import random
from pathlib import Path

import pytest

from medgan.errors import SourceError
from medgan.sources.multipart import Malformed, boundary_of, read_parts, read_single

BOUNDARY = b"b-1'()+_,./:=?"
PARTS = [b"one", b"", b"\r\n--b-1 is no boundary", bytes(range(256)) * 9, b"--", b"\r\n"]


def body(parts: list[bytes], *, lengths: bool, before: bytes = b"", after: bytes = b"\r\n") -> bytes:
    written = before
    for part in parts:
        length = b"CONTENT-length:  %d\r\n" % len(part) if lengths else b""
        written += b"--" + BOUNDARY + b"\r\nContent-Type: application/dicom\r\n" + length + b"\r\n" + part + b"\r\n"
    return written + b"--" + BOUNDARY + b"--" + after


def reader(data: bytes, block: int):
    stream = io.BytesIO(data)
    return lambda size: stream.read(min(size, block))


def contents(data: bytes, landing: Path, *, block: int = 1 << 20, max_bytes: int = 1 << 20) -> list[bytes]:
    return [part.path.read_bytes() for part in read_parts(reader(data, block), BOUNDARY, landing, max_bytes=max_bytes)]


SHAPES = {
    "lengths": {"lengths": True},
    "no lengths": {"lengths": False},
    "preamble": {"lengths": True, "before": b"This is DICOM.\r\n"},
    "preamble without lengths": {"lengths": False, "before": b"This is DICOM.\r\n"},
    "empty line first": {"lengths": True, "before": b"\r\n"},
    "LF at the end": {"lengths": True, "after": b"\n"},
    "nothing after the end": {"lengths": False, "after": b""},
    "epilogue": {"lengths": True, "after": b"\r\nbye\r\n"},
}


@pytest.mark.parametrize("block", [1, 2, 7, 64, 1 << 20])
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_every_part_arrives_byte_for_byte(shape: dict, block: int, tmp_path: Path) -> None:
    assert contents(body(PARTS, **shape), tmp_path, block=block) == PARTS


def test_parts_larger_than_a_block_arrive_whole(tmp_path: Path) -> None:
    large = [random.Random(1).randbytes(3 * (1 << 20) + 5), b"small", random.Random(2).randbytes((1 << 20) + 1)]
    for lengths in (True, False):
        assert contents(body(large, lengths=lengths), tmp_path, max_bytes=1 << 23) == large


def test_an_answer_without_parts_has_none(tmp_path: Path) -> None:
    assert contents(body([], lengths=True), tmp_path) == []


@pytest.mark.parametrize("lengths", [True, False])
def test_an_answer_that_ends_early_gives_the_parts_before_and_leaves_nothing_else(
    lengths: bool, tmp_path: Path
) -> None:
    whole = body([b"a" * 300, b"b" * 300, b"c" * 300], lengths=lengths, after=b"")
    for end in range(0, len(whole) - 2 * lengths, 11):
        got = []
        with pytest.raises(Malformed):
            for part in read_parts(reader(whole[:end], 64), BOUNDARY, tmp_path, max_bytes=1000):
                got.append(part.path.read_bytes())
                part.path.unlink()
        assert got == [b"a" * 300, b"b" * 300, b"c" * 300][: len(got)]
        assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "data",
    [
        b"<html>please log in</html>",
        body([b"x"], lengths=True).replace(BOUNDARY, b"another"),
        b"x" * (1 << 20),
        body([b"12345"], lengths=True).replace(b": application", b"x" * 100_000),
        body([b"12345", b"x"], lengths=True).replace(b"length:  5", b"length:  4"),
        body([b"12345", b"x"], lengths=True).replace(b"length:  5", b"length:  7"),
    ],
    ids=["html", "another boundary", "no boundary", "endless header", "length too short", "length too long"],
)
def test_what_is_no_multipart_answer_is_malformed(data: bytes, tmp_path: Path) -> None:
    with pytest.raises(Malformed):
        contents(data, tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("lengths", [True, False])
def test_a_part_over_the_size_is_cut_one_byte_above_and_is_the_last(lengths: bool, tmp_path: Path) -> None:
    data = body([b"a" * 100, b"b" * 101, b"c"], lengths=lengths)
    parts = list(read_parts(reader(data, 64), BOUNDARY, tmp_path, max_bytes=100))
    assert [(part.path.stat().st_size, part.cut) for part in parts] == [(100, False), (101, True)]


def test_an_endless_part_ends(tmp_path: Path) -> None:
    start = io.BytesIO(b"--" + BOUNDARY + b"\r\n\r\n")
    (part,) = read_parts(lambda size: start.read(size) or b"x" * size, BOUNDARY, tmp_path, max_bytes=5 << 20)
    assert part.cut and part.path.stat().st_size == (5 << 20) + 1


def test_an_answer_of_one_file_is_that_file(tmp_path: Path) -> None:
    assert read_single(reader(b"abc" * 1000, 64), tmp_path, max_bytes=3000).path.read_bytes() == b"abc" * 1000
    assert read_single(reader(b"abc" * 1000, 64), tmp_path, max_bytes=2999).cut


def test_names_of_files_are_new_each_time(tmp_path: Path) -> None:
    for _ in range(2):
        contents(body(PARTS, lengths=True), tmp_path)
    assert len(list(tmp_path.iterdir())) == 2 * len(PARTS)


@pytest.mark.parametrize(
    ("content_type", "boundary"),
    [
        ('multipart/related; type="application/dicom"; boundary=abc', b"abc"),
        ('Multipart/Related; boundary="a b;c"; type="application/dicom"', b"a b;c"),
        ("multipart/related;BOUNDARY=abc;type=x", b"abc"),
        ("multipart/related ; boundary = abc", b"abc"),
    ],
)
def test_the_boundary_is_found(content_type: str, boundary: bytes) -> None:
    assert boundary_of(content_type) == boundary


@pytest.mark.parametrize("content_type", ["", "text/html", "multipart/related", "text/html; boundary=abc"])
def test_another_format_is_a_source_error(content_type: str) -> None:
    with pytest.raises(SourceError, match="another format"):
        boundary_of(content_type)
