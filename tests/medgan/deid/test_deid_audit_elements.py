"""The audit's own walk over the bytes: it agrees with pydicom on real files, and gives up on what it cannot follow."""

import contextlib
import io
import struct
from pathlib import Path

import pytest
from factories import dicom, dicom_bytes
from pydicom import dcmread
from pydicom.data import get_testdata_files
from pydicom.dataset import Dataset
from pydicom.filewriter import dcmwrite
from pydicom.sequence import Sequence
from pydicom.uid import UID, DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian, ImplicitVRLittleEndian

from medgan.deid.audit.elements import DEEPEST, Parsed, parse
from medgan.deid.audit.required import sequence_tags

REAL = ["CT_small.dcm", "MR_small_bigendian.dcm", "rtplan.dcm", "test-SR.dcm", "image_dfl.dcm", "nested_priv_SQ.dcm"]


def walked(data: bytes) -> Parsed:
    return parse(data, sequence_tags())


def standard_tags(ds: Dataset) -> list[int]:
    return [int(e.tag) for e in ds.iterall() if not e.tag.is_private]


@pytest.mark.parametrize("name", REAL)
def test_real_files_have_the_elements_that_pydicom_sees(name: str) -> None:
    path = next(p for p in map(Path, get_testdata_files(name)) if p.name == name)
    parsed = walked(path.read_bytes())
    mine = [
        e.tag for e in parsed.elements if not e.tag & 0x10000 and not any(t & 0x10000 for t in parsed.paths[e.home])
    ]
    ds = dcmread(path)
    assert sorted(mine) == sorted(tag for tag in standard_tags(ds))
    assert parsed.tail == 0 or name == "image_dfl.dcm"


def nested(depth: int) -> Dataset:
    inner = Dataset()
    inner.PatientComments = "x"
    for _ in range(depth):
        outer = Dataset()
        outer.RequestAttributesSequence = Sequence([inner])
        inner = outer
    ds = dicom()
    ds.RequestAttributesSequence = Sequence([inner])
    return ds


def written(ds: Dataset, syntax: str) -> bytes:
    ds.file_meta.TransferSyntaxUID = UID(syntax)
    file = io.BytesIO()
    implicit, little = syntax == ImplicitVRLittleEndian, syntax != ExplicitVRBigEndian
    dcmwrite(file, ds, enforce_file_format=True, implicit_vr=implicit, little_endian=little)
    return file.getvalue()


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian])
def test_depth_and_path_are_those_of_the_sequences(syntax: str) -> None:
    parsed = walked(written(nested(3), syntax))
    (deep,) = [e for e in parsed.elements if e.tag == 0x00104000]
    assert deep.depth == 4 and parsed.paths[deep.home] == (0x00400275,) * 4 and deep.value.strip() == b"x"


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRBigEndian])
def test_what_is_too_deep_is_refused(syntax: str) -> None:
    with pytest.raises(ValueError, match="deep"):
        walked(written(nested(DEEPEST + 2), syntax))


@pytest.mark.parametrize("cut", range(140, 500, 37))
def test_a_cut_file_does_not_parse_or_has_a_tail(cut: int) -> None:
    whole = dicom_bytes()
    assert not walked(whole).tail
    with contextlib.suppress(ValueError):
        assert walked(whole[:cut]).tail or len(walked(whole[:cut]).elements) < len(walked(whole).elements)


def test_a_file_cut_inside_a_sequence_does_not_parse() -> None:
    whole = written(nested(2), "1.2.840.10008.1.2.1")
    place = whole.index(b"\x10\x00\x00\x40LT")
    with pytest.raises(ValueError, match="cut|beyond|parsable"):
        walked(whole[:place])


def in_un(value: bytes, mark: str = "<") -> bytes:
    """A file with RequestAttributesSequence sent as UN."""
    syntax = ExplicitVRBigEndian if mark == ">" else "1.2.840.10008.1.2.1"
    head = written(dicom(drop=("PixelData",)), syntax)
    return head + struct.pack(mark + "HH2sHI", 0x0040, 0x0275, b"UN", 0, len(value)) + value


@pytest.mark.parametrize("mark", ["<", ">"])
def test_a_sequence_in_un_is_implicit_little_endian_whatever_the_file_is(mark: str) -> None:
    element = struct.pack("<HHI", 0x0010, 0x4000, 4) + b"Jane"
    parsed = walked(in_un(struct.pack("<HHI", 0xFFFE, 0xE000, len(element)) + element, mark))
    assert parsed.elements[-1].value == b"Jane" and parsed.paths[parsed.elements[-1].home] == (0x00400275,)


@pytest.mark.parametrize("value", [b"\1\2no items", b"\xfe\xff\x00\xe0\xff\xff\x00\x00", b"1234567"])
def test_what_is_no_sequence_in_un_stays_bytes(value: bytes) -> None:
    parsed = walked(in_un(value))
    assert parsed.elements[-1][:3] == (0x00400275, b"UN", value) and not parsed.tail


def test_endless_items_end() -> None:
    item = struct.pack("<HHI", 0xFFFE, 0xE000, 0xFFFFFFFF)
    with pytest.raises(ValueError, match="deep"):
        walked(in_un(item * 100_000))
