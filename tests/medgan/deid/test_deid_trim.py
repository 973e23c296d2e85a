"""Around the pixels nothing stays, and the pixels stay: natively stored, and in every kind of stream."""

import io
import struct
from dataclasses import replace

import numpy as np
import pytest
from factories import dicom
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from pydicom.encaps import encapsulate, generate_frames
from pydicom.filewriter import dcmwrite
from pydicom.uid import JPEG2000Lossless, JPEGLSLossless, RLELossless

from medgan.deid.scrub.streams import without_comments, without_tail
from medgan.deid.scrub.tree import Element, Inside, read
from medgan.deid.scrub.trim import Layout, Unfit, trimmed

LAYOUT = Layout(4, 4, 1, 1, 16, 12, 11, False, "MONOCHROME2", True, "1.2.840.10008.1.2.1")
SECRET = b"Doe^Jane was here"


def native(value: bytes, layout: Layout = LAYOUT) -> bytes:
    return trimmed(Element(0x7FE00010, "OW", value), layout).value


def streamed(streams: list[bytes], layout: Layout) -> list[bytes]:
    element = Element(0x7FE00010, "OB", encapsulate(streams), None, Inside.FRAGMENTS)
    return list(generate_frames(trimmed(element, layout).value, number_of_frames=layout.frames))


@given(st.lists(st.integers(0, 4095), min_size=16, max_size=16), st.binary(max_size=40))
def test_pixels_within_their_bits_stay_and_what_follows_goes(values: list[int], tail: bytes) -> None:
    pixels = np.array(values, "<u2").tobytes()
    assert native(pixels + tail) == pixels


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("signed", [False, True])
def test_bits_above_the_stored_ones_become_the_sign(order: str, signed: bool) -> None:
    layout = replace(LAYOUT, signed=signed, little=order == "<")
    pixels = np.arange(-8, 8) * 100 if signed else np.arange(16) * 100
    hidden = pixels & 0xFFF | np.resize([0x5000, 0xA000], 16)
    found = np.frombuffer(native(hidden.astype(f"{order}u2").tobytes(), layout), f"{order}{'i' if signed else 'u'}2")
    assert np.array_equal(found, pixels)
    clean = found.tobytes()
    assert native(clean, layout) is clean


def test_bits_that_nobody_can_place_are_refused() -> None:
    shifted = replace(LAYOUT, high_bit=15)
    pixels = (np.arange(16, dtype="<u2") << 4).tobytes()
    assert native(pixels, shifted) == pixels
    with pytest.raises(Unfit):
        native((np.arange(16, dtype="<u2") << 4 | 1).tobytes(), shifted)


def test_single_bits_floats_and_odd_lengths_end_where_they_must() -> None:
    assert native(b"\xff" * 9, replace(LAYOUT, rows=3, columns=3, allocated=1, stored=1, high_bit=0)) == b"\xff\xff"
    odd = replace(LAYOUT, rows=3, columns=1, allocated=8, stored=8, high_bit=7)
    assert native(b"123X", odd) == b"123\0" and native(b"123", odd) == b"123"
    floats = Element(0x7FE00008, "OF", bytes(range(64)) + SECRET)
    assert trimmed(floats, replace(LAYOUT, allocated=32, stored=32)).value == bytes(range(64))


def compressed(syntax: str, frames: int = 2) -> tuple[Layout, list[bytes], NDArray[np.generic]]:
    ds = dicom()
    ds.Rows, ds.Columns, ds.NumberOfFrames = 64, 48, frames
    rng = np.random.default_rng(7)
    ds.PixelData = np.sort(rng.integers(0, 4096, (frames, 64, 48)).astype("<u2"), axis=2).tobytes()
    ds.compress(syntax, generate_instance_uid=False)
    out = io.BytesIO()
    dcmwrite(out, ds, enforce_file_format=True)
    found = read(out.getvalue())
    layout = Layout.of(found.elements, little=True, syntax=found.syntax)
    return layout, list(generate_frames(ds.PixelData, number_of_frames=frames)), ds.pixel_array


def decoded(syntax: str, streams: list[bytes]) -> NDArray[np.generic]:
    ds = dicom()
    ds.Rows, ds.Columns, ds.NumberOfFrames = 64, 48, len(streams)
    ds.PixelData = encapsulate(streams)
    ds.file_meta.TransferSyntaxUID = syntax
    ds["PixelData"].is_undefined_length = True
    return ds.pixel_array


def segment(marker: int, content: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(content) + 2) + content


@pytest.mark.parametrize(
    ("syntax", "place", "extra"),
    [
        pytest.param(JPEGLSLossless, 2, segment(0xFE, SECRET), id="a JPEG-LS comment"),
        pytest.param(JPEGLSLossless, 2, segment(0xE3, SECRET), id="application data"),
        pytest.param(JPEG2000Lossless, "siz", segment(0x64, b"\0\1" + SECRET), id="a JPEG 2000 comment"),
        pytest.param(JPEGLSLossless, "end", SECRET, id="after a JPEG-LS"),
        pytest.param(JPEG2000Lossless, "end", SECRET + b"\xff\xd9", id="after a JPEG 2000, with an end of its own"),
        pytest.param(RLELossless, "end", SECRET, id="after an RLE frame"),
    ],
)
def test_a_stream_loses_what_hid_in_it_and_no_pixel(syntax: str, place: int | str, extra: bytes) -> None:
    layout, streams, before = compressed(syntax)
    first = streams[0].rstrip(b"\0") if syntax != RLELossless else streams[0]
    at = {"end": len(first), "siz": first.find(b"\xff\x52")}.get(str(place), place)
    spoilt = first[: int(at)] + extra + first[int(at) :]
    found = streamed([spoilt + b"\0" * (len(spoilt) & 1), *streams[1:]], layout)
    assert not any(SECRET in stream for stream in found)
    assert np.array_equal(decoded(syntax, found), before)


@pytest.mark.parametrize("syntax", [JPEGLSLossless, JPEG2000Lossless, RLELossless])
@pytest.mark.parametrize("table", [True, False])
def test_a_clean_stream_stays_byte_for_byte(syntax: str, table: bool) -> None:
    layout, streams, before = compressed(syntax)
    clean = streamed(streams, layout)  # without the encoder's own comment
    assert np.array_equal(decoded(syntax, clean), before) and (syntax == JPEG2000Lossless or clean == streams)
    element = Element(0x7FE00010, "OB", encapsulate(clean, has_bot=table), None, Inside.FRAGMENTS)
    assert trimmed(element, layout) is element


def test_an_offset_table_that_says_something_else_is_written_anew() -> None:
    layout, streams, _ = compressed(RLELossless)
    fragments = b"".join(struct.pack("<HHI", 0xFFFE, 0xE000, len(s)) + s for s in streams)
    table = struct.pack("<HHI", 0xFFFE, 0xE000, 8) + b"Doe^Jane"
    value = trimmed(Element(0x7FE00010, "OB", table + fragments, None, Inside.FRAGMENTS), layout).value
    assert b"Doe" not in value and list(generate_frames(value, number_of_frames=2)) == streams


def test_a_jpeg_keeps_what_a_decoder_needs_and_loses_its_thumbnail() -> None:
    scan = segment(0xDA, bytes(6)) + b"\x12\xff\x00\xff\xd0\x34"
    jfif, adobe = b"JFIF\0" + bytes(9), b"Adobe" + bytes(7)
    stream = b"\xff\xd8" + segment(0xE0, jfif + SECRET) + segment(0xEE, adobe) + scan
    found = without_comments(stream + segment(0xFE, SECRET) + scan + b"\xff\xd9" + SECRET)
    assert SECRET not in found and found.endswith(b"\xff\xd9") and found.count(scan) == 2
    assert jfif in found and adobe in found


def test_the_boxes_around_a_codestream_go() -> None:
    _, streams, _ = compressed(JPEG2000Lossless, 1)
    boxed = b"\0\0\0\x0cjP  \r\n\x87\n" + struct.pack(">I4s", 8 + len(SECRET), b"xml ") + SECRET + streams[0]
    assert without_comments(boxed) == without_comments(streams[0])


def test_frames_that_cannot_be_counted_are_refused() -> None:
    layout, streams, _ = compressed(RLELossless)
    with pytest.raises(Unfit):
        streamed(streams, replace(layout, frames=3))


@pytest.mark.parametrize("stream", [b"\xff\xd8" + b"nonsense", b"\xff\x4f\xff\x51\0\x04\0\0nonsense"])
def test_a_stream_that_cannot_be_walked_is_refused(stream: bytes) -> None:
    with pytest.raises(Unfit):
        streamed([stream], replace(LAYOUT, syntax=str(JPEG2000Lossless)))


@pytest.mark.parametrize("stream", [b"short", bytes(64), struct.pack("<16I", 1, 64, *[0] * 14) + b"\x7f1"])
def test_an_rle_frame_that_ends_too_soon_is_refused(stream: bytes) -> None:
    with pytest.raises((ValueError, IndexError, struct.error)):
        without_tail(stream, 16)


def test_pixels_without_a_description_are_refused() -> None:
    with pytest.raises(Unfit):
        Layout.of({}, little=True, syntax="")
