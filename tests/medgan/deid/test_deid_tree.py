"""Bytes to a tree and back: nothing is lost, nothing is read beyond its end, and what does not parse is refused."""

import io
import struct
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom import dcmread
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset
from pydicom.filewriter import dcmwrite
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from medgan.deid.scrub import tree, tree_write
from medgan.deid.scrub.tree import Element, Inside, opened, read

FILES = (
    *("CT_small.dcm", "MR_small_implicit.dcm", "MR_small_bigendian.dcm", "MR_small_RLE.dcm", "rtplan.dcm"),
    *("rtstruct.dcm", "test-SR.dcm", "image_dfl.dcm", "JPEG2000.dcm", "UN_sequence.dcm"),
    *("waveform_ecg.dcm", "eCT_Supplemental.dcm", "examples_ybr_color.dcm", "ExplVR_LitEndNoMeta.dcm", "priv_SQ.dcm"),
)  # fmt: skip
PN, SEQUENCE = 0x00100010, 0x00400275  # PatientName, RequestAttributesSequence


def content(name: str) -> bytes:
    path = get_testdata_file(name, download=False)
    if path is None:
        pytest.skip("not in this version of pydicom")
    return Path(str(path)).read_bytes()


def back(found: tree.Tree) -> bytes:
    meta = {tag: element for tag, element in found.meta.items() if tag != 0x00020000}
    if found.syntax == tree.DEFLATED:
        meta[0x00020010] = Element(0x00020010, "UI", tree.EXPLICIT.encode())
    return tree_write.write(meta, found.elements, explicit=found.explicit, little=found.little)


def file(elements: bytes, syntax: str = ExplicitVRLittleEndian) -> bytes:
    """A file of these bytes, which stand in for a data set."""
    head = struct.pack("<HH2sH", 2, 0x10, b"UI", 22) + syntax.encode().ljust(22, b"\0")
    return bytes(128) + b"DICM" + head + elements


def short(tag: int, vr: bytes, value: bytes) -> bytes:
    return struct.pack("<HH2sH", tag >> 16, tag & 0xFFFF, vr, len(value)) + value


def long(tag: int, vr: bytes, value: bytes, length: int | None = None) -> bytes:
    size = len(value) if length is None else length
    return struct.pack("<HH2sHI", tag >> 16, tag & 0xFFFF, vr, 0, size) + value


def item(value: bytes, length: int | None = None) -> bytes:
    return struct.pack("<HHI", 0xFFFE, 0xE000, len(value) if length is None else length) + value


@pytest.mark.parametrize("name", FILES)
def test_a_file_comes_back_with_every_value(name: str) -> None:
    data = content(name)
    found = read(data)
    again = read(back(found))
    assert again.elements.keys() == found.elements.keys() and not again.tail and back(again) == back(found)
    if found.syntax != tree.DEFLATED and data[128:132] == b"DICM":
        before, after = (dcmread(io.BytesIO(each)) for each in (data, back(found)))
        assert list(before.keys()) == list(after.keys())
        assert all(str(one.value) == str(other.value) for one, other in zip(before, after, strict=True))


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian])
def test_both_kinds_of_length_give_the_same_items(syntax: str) -> None:
    def made(*, undefined: bool) -> bytes:
        inner, ds = Dataset(), Dataset()
        inner.StudyID, inner.Rows = "7", 513
        ds.SOPClassUID = "1.2.840.10008.5.1.4.1.1.7"
        ds.RequestAttributesSequence = [inner]
        ds["RequestAttributesSequence"].is_undefined_length = undefined
        inner.is_undefined_length_sequence_item = undefined
        out = io.BytesIO()
        dcmwrite(out, ds, implicit_vr=syntax == ImplicitVRLittleEndian, little_endian=syntax != ExplicitVRBigEndian)
        return file(out.getvalue(), syntax)

    one, other = (read(made(undefined=undefined)).elements[SEQUENCE] for undefined in (True, False))
    assert one == other and one.items is not None and tree.text(one.items[0], 0x00200010) == "7"


@pytest.mark.parametrize("big", [False, True])
def test_a_sequence_sent_as_un_is_implicit_little_endian_in_any_file(big: bool) -> None:
    rows = struct.pack("<HHI", 0x0028, 0x0010, 2) + struct.pack("<H", 513)
    for length in (None, tree.UNDEFINED):
        end = struct.pack("<HHI", 0xFFFE, 0xE0DD, 0) if length else b""
        value = item(rows) + end
        if big:
            size = len(value) if length is None else length
            sequence = struct.pack(">HH2sHI", SEQUENCE >> 16, SEQUENCE & 0xFFFF, b"UN", 0, size)
            end = struct.pack(">HHI", 0xFFFE, 0xE0DD, 0) if length else b""
            elements = sequence + value
        else:
            elements = long(SEQUENCE, b"UN", value, length)
        found = read(file(elements, ExplicitVRBigEndian if big else ExplicitVRLittleEndian)).elements[SEQUENCE]
        assert found.vr == "SQ" and found.items is not None
        assert int.from_bytes(found.items[0][0x00280010].value, "big" if big else "little") == 513


def test_a_standard_attribute_sent_as_un_has_its_own_vr_and_noise_stays_un() -> None:
    found = read(file(long(PN, b"UN", b"Doe^Jane") + long(SEQUENCE, b"UN", b"noise that is no item.."))).elements
    assert found[PN].vr == "PN" and found[PN].value == b"Doe^Jane"
    assert found[SEQUENCE].vr == "UN" and opened(found[SEQUENCE], little=True, depth=0) is None


def test_a_private_sequence_is_read_only_when_asked_for() -> None:
    value = item(short(0x00100020, b"LO", b"P1"))
    found = read(file(long(0x00191001, b"SQ", value) + long(0x00191002, b"SQ", b"no items"))).elements
    assert found[0x00191001].items is None and found[0x00191001].inside is Inside.EXPLICIT
    items = opened(found[0x00191001], little=True, depth=0)
    assert items is not None and tree.text(items[0], 0x00100020) == "P1"
    assert opened(found[0x00191002], little=True, depth=0) is None


@pytest.mark.parametrize(
    "elements",
    [
        pytest.param(short(PN, b"PN", b"Doe^Jane")[:-2], id="cut in a value"),
        pytest.param(short(PN, b"PN", b"Doe^Jane") + b"\x10\x00\x20\x00LO\x04\x00", id="cut after a header"),
        pytest.param(short(PN, b"\x01\x02", b"Doe^Jane"), id="no VR"),
        pytest.param(short(PN, b"PN", b"A ") + short(PN, b"PN", b"B "), id="the same attribute twice"),
        pytest.param(long(SEQUENCE, b"SQ", item(short(PN, b"PN", b"Doe^Jane"), 99)), id="an item beyond its sequence"),
        pytest.param(long(SEQUENCE, b"SQ", item(b"", tree.UNDEFINED), tree.UNDEFINED), id="no delimiters"),
        pytest.param(long(0x7FE00010, b"OB", item(b"1234"), tree.UNDEFINED), id="fragments without an end"),
        pytest.param(long(0x7FE00010, b"OW", b"12") + bytes(128) + b"DICM", id="another file behind"),
    ],
)
def test_what_does_not_parse_to_its_end_is_refused(elements: bytes) -> None:
    with pytest.raises(ValueError):
        read(file(elements))


@pytest.mark.parametrize("tail", [bytes(7), bytes(64), b"Doe^Jane was here"])
def test_bytes_behind_the_pixels_are_counted_and_dropped(tail: bytes) -> None:
    found = read(file(long(0x7FE00010, b"OW", b"12") + tail))
    assert found.tail == len(tail) and list(found.elements) == [0x7FE00010]
    assert b"Doe" not in back(found)


def test_depth_number_and_inflated_size_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    inner = b""
    for _ in range(tree.DEEPEST + 2):
        inner = long(SEQUENCE, b"SQ", item(inner))
    with pytest.raises(tree.TooDeep):
        read(file(inner))
    monkeypatch.setattr(tree, "MOST_ELEMENTS", 3)
    with pytest.raises(tree.TooLarge):
        read(file(b"".join(short(PN + n, b"PN", b"A ") for n in range(4))))
    monkeypatch.setattr(tree, "MOST_INFLATED", 1000)
    with pytest.raises(tree.TooLarge):
        read(content("image_dfl.dcm"))


@settings(max_examples=150, deadline=None)
@given(place=st.integers(0, 4000), byte=st.binary(min_size=1, max_size=6))
def test_damage_is_refused_or_comes_back_whole(place: int, byte: bytes) -> None:
    data = bytearray(content("rtstruct.dcm"))
    place = 132 + place % (len(data) - 140)
    data[place : place + len(byte)] = byte
    try:
        found = read(bytes(data))
        again = read(back(found))
    except ValueError:
        return
    assert again.elements.keys() == found.elements.keys()


def test_a_value_too_long_for_its_vr_is_not_written() -> None:
    with pytest.raises(ValueError):
        tree_write.write({}, {PN: Element(PN, "PN", b"x" * 70000)}, explicit=True, little=True)
    assert len(tree_write.write({}, {PN: Element(PN, "PN", b"x" * 70000)}, explicit=False, little=True)) > 70000


def test_values_of_odd_length_are_padded_as_their_vr_asks() -> None:
    elements = {PN: Element(PN, "PN", b"Doe"), 0x00200052: Element(0x00200052, "UI", b"1.2.3")}
    data = tree_write.write({}, elements, explicit=True, little=True)
    assert data.endswith(short(PN, b"PN", b"Doe ") + short(0x00200052, b"UI", b"1.2.3\0")) and not len(data) & 1
