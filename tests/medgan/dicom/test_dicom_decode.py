"""Our decoders against pydicom's and against what was encoded; code streams that lie are not believed."""

import struct
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest
from dicom_series import film, write
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.uid import (
    HTJ2K,
    ExplicitVRLittleEndian,
    HTJ2KLossless,
    JPEG2000Lossless,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

from medgan.dicom import decode
from medgan.dicom.fragments import frame_bytes
from medgan.dicom.pixels import stored_values
from medgan.dicom.read import planes_of
from medgan.errors import StudyRejected

ENCODERS = {
    JPEG2000Lossless: lambda page: imagecodecs.jpeg2k_encode(page, codecformat="J2K", level=0),
    HTJ2KLossless: imagecodecs.htj2k_encode,
    HTJ2K: imagecodecs.htj2k_encode,
    JPEGLSLossless: lambda page: imagecodecs.jpegls_encode(page.view(f"u{page.itemsize}")),
    JPEGLossless: lambda page: imagecodecs.ljpeg_encode(page.view("u2"), bitspersample=16),
    JPEGLosslessSV1: lambda page: imagecodecs.ljpeg_encode(page.view("u2"), bitspersample=16),
}


def noise(shape: tuple[int, ...], dtype: str, low: int, top: int) -> np.ndarray:
    return np.random.default_rng(3).integers(low, top, shape).astype(dtype)


def encoded(folder: Path, pages: np.ndarray, syntax: str, **more: Any) -> Path:
    """A file of these frames, with an offset table."""
    bits = 8 * pages.itemsize
    values = {"BitsStored": bits, "HighBit": bits - 1, "PixelRepresentation": int(pages.dtype.kind == "i")}
    dataset = film("x", pages[0], NumberOfFrames=len(pages), **{**values, **more})
    if syntax == RLELossless:
        dataset.PixelData = pages.tobytes()
        dataset.compress(RLELossless, generate_instance_uid=False)
    else:
        dataset.PixelData = encapsulate([ENCODERS[syntax](page) for page in pages])
        dataset["PixelData"].VR = "OB"
        dataset.file_meta.TransferSyntaxUID = syntax
    return write(folder, [dataset])[0]


@pytest.mark.parametrize("syntax", [*ENCODERS, RLELossless], ids=lambda uid: uid.rsplit(".", 3)[-1])
@pytest.mark.parametrize("kind", ["<u2", "<i2", "u1"])
@pytest.mark.parametrize("frames", [1, 3])
def test_frames_come_back_as_they_were(tmp_path: Path, syntax: str, kind: str, frames: int) -> None:
    if kind == "u1" and syntax in (JPEGLossless, JPEGLosslessSV1):
        pytest.skip("no encoder of 8 bits here")
    limits = np.iinfo(kind)
    pages = noise((frames, 33, 40), kind, limits.min, limits.max + 1)
    planes = planes_of(encoded(tmp_path, pages, syntax))
    out = np.empty(pages.shape[1:], kind)
    for plane, page in zip(planes, pages, strict=True):
        assert np.array_equal(stored_values(plane.pixels, plane.frame), page)
        assert stored_values(plane.pixels, plane.frame).dtype == pages.dtype
        assert np.array_equal(stored_values(plane.pixels, plane.frame, out), page)


def test_what_the_codecs_decode_does_not_reach_pydicom(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr("medgan.dicom.pixels._by_pydicom")
    for number, syntax in enumerate([*ENCODERS, RLELossless]):
        pages = noise((2, 33, 40), "<i2", -2000, 2000)
        for plane, page in zip(planes_of(encoded(tmp_path / str(number), pages, syntax)), pages, strict=True):
            assert np.array_equal(stored_values(plane.pixels, plane.frame), page)


@pytest.mark.parametrize("syntax", [JPEG2000Lossless, HTJ2KLossless, JPEGLSLossless, JPEGLosslessSV1, RLELossless])
def test_a_code_stream_of_another_size_is_refused(tmp_path: Path, syntax: str) -> None:
    pages = noise((1, 32, 40), "<u2", 0, 4096)
    for number, (rows, columns) in enumerate([(40, 32), (32, 41), (64, 40)]):
        file = encoded(tmp_path / str(number), pages, syntax)
        dataset = dcmread(file)
        dataset.Rows, dataset.Columns = rows, columns
        (plane,) = planes_of(write(tmp_path / f"{number} lying", [dataset])[0])
        if syntax == RLELossless and rows * columns == 32 * 40:
            continue  # run lengths know no rows
        with pytest.raises(StudyRejected, match="decode_failed"):
            stored_values(plane.pixels, 0)


def test_a_sign_that_only_the_header_knows_is_carried_up(tmp_path: Path) -> None:
    page = noise((1, 16, 16), "<i2", -2048, 2048)
    twelve = (page[0] & 0x0FFF).astype("<u2")
    stream = imagecodecs.jpegls_encode(twelve)
    dataset = film("x", page[0], BitsStored=12, HighBit=11, PixelRepresentation=1, PixelData=encapsulate([stream]))
    dataset["PixelData"].VR, dataset.file_meta.TransferSyntaxUID = "OB", JPEGLSLossless
    (plane,) = planes_of(write(tmp_path, [dataset])[0])
    assert np.array_equal(stored_values(plane.pixels, 0), page[0])


def test_a_sign_that_jpeg_2000_lacks_is_carried_up(tmp_path: Path) -> None:
    page = noise((16, 16), "<i2", -2048, 2048)
    stream = imagecodecs.jpeg2k_encode(
        (page & 0x0FFF).astype("<u2"), codecformat="J2K", level=0, reversible=True, bitspersample=12
    )
    dataset = film("x", page, BitsStored=12, HighBit=11, PixelRepresentation=1, PixelData=encapsulate([stream]))
    dataset["PixelData"].VR, dataset.file_meta.TransferSyntaxUID = "OB", JPEG2000Lossless
    (plane,) = planes_of(write(tmp_path, [dataset])[0])
    assert np.array_equal(stored_values(plane.pixels, 0), page)


def test_bits_above_unsigned_pixels_are_cleared_and_a_file_cut_since_is_refused(tmp_path: Path) -> None:
    page = noise((16, 12), "<u2", 0, 4096)
    (file,) = write(tmp_path, [film("x", (page | 0xA000).astype("<u2"), BitsStored=12, HighBit=11)])
    (plane,) = planes_of(file)
    assert np.array_equal(stored_values(plane.pixels, 0), page)
    file.write_bytes(file.read_bytes()[:-50])
    with pytest.raises(StudyRejected, match="decode_failed"):
        stored_values(plane.pixels, 0)


def fragmented(fragments: list[bytes], table: bytes) -> bytes:
    parts = [b"\xfe\xff\x00\xe0" + struct.pack("<I", len(part)) + part for part in (table, *fragments)]
    return b"".join(parts) + b"\xfe\xff\xdd\xe0\0\0\0\0"


def test_frames_in_several_fragments_are_joined_by_the_offset_table(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"head" + fragmented([b"aa", b"bb", b"cc", b"dd"], struct.pack("<2I", 0, 30)))
    assert bytes(frame_bytes(tmp_path / "f", 4, frame=0, frames=2) or b"") == b"aabbcc"
    assert bytes(frame_bytes(tmp_path / "f", 4, frame=1, frames=2) or b"") == b"dd"
    (tmp_path / "f").write_bytes(b"head" + fragmented([b"aa", b"bb"], b""))
    assert bytes(frame_bytes(tmp_path / "f", 4, frame=0, frames=1) or b"") == b"aabb"
    assert bytes(frame_bytes(tmp_path / "f", 4, frame=1, frames=2) or b"") == b"bb"


@pytest.mark.parametrize("table", [struct.pack("<2I", 0, 11), struct.pack("<2I", 10, 0), struct.pack("<2I", 10, 20)])
def test_offsets_that_lie_are_not_followed(tmp_path: Path, table: bytes) -> None:
    (tmp_path / "f").write_bytes(fragmented([b"aa", b"bb", b"cc"], table))
    assert frame_bytes(tmp_path / "f", 0, frame=0, frames=2) is None


def test_a_file_cut_short_gives_no_frame(tmp_path: Path) -> None:
    whole = fragmented([b"aa", b"bb"], b"")
    for end in range(len(whole) - 8):
        (tmp_path / "f").write_bytes(whole[:end])
        assert frame_bytes(tmp_path / "f", 0, frame=1, frames=2) is None
    assert decode.decoded(RLELossless, memoryview(b"\2\0\0\0" + bytes(70)), decode.Form(4, 4, 16, False)) is None


def test_memory_of_the_caller_is_used_and_has_to_fit(tmp_path: Path) -> None:
    page = noise((16, 12), "<u2", 0, 4096)
    dataset: Dataset = film("x", page, BitsStored=12, HighBit=11)
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    (plane,) = planes_of(write(tmp_path, [dataset])[0])
    out = np.empty((16, 12), np.uint16)
    assert stored_values(plane.pixels, 0, out) is out or np.shares_memory(stored_values(plane.pixels, 0, out), out)
    assert np.array_equal(out, page)
    for wrong in (np.empty((12, 16), np.uint16), np.empty((16, 12), np.int16), np.empty((12, 16), np.uint16).T):
        with pytest.raises(ValueError, match="expected uint16"):
            stored_values(plane.pixels, 0, wrong)
