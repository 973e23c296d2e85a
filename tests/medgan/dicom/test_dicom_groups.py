"""Our own walk over functional groups says of every frame what pydicom's reader says."""

import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from dicom_series import ct_slice, write
from enhanced_files import META, SYNTAXES, enhanced, item, save
from pydicom.dataset import Dataset
from pydicom.filewriter import dcmwrite
from test_dicom_header_pass import by_walk, damaged, outcome

from medgan.dicom import walk
from medgan.dicom.read import _Reader, planes_by_pydicom, planes_of, read_planes
from medgan.errors import Reason, StudyRejected

PLACE = b"\x20\0\x13\x91SQ\0\0"  # Plane Position Sequence


def same_by_both(file: Path) -> bool:
    return outcome(planes_of, file) == outcome(planes_by_pydicom, file)


@pytest.mark.parametrize("undefined", [True, False], ids=["undefined", "defined"])
@pytest.mark.parametrize("encoding", SYNTAXES)
def test_frames_are_read_without_pydicom_in_every_encoding(tmp_path: Path, encoding: str, undefined: bool) -> None:
    file = save(tmp_path / "f", enhanced(6), encoding, undefined=undefined)
    planes = planes_of(file)
    assert by_walk(file) and planes == planes_by_pydicom(file)
    assert [plane.position_mm for plane in planes] == [(0.0, 1.5, 2.0 * n) for n in range(6)]
    assert {plane.spacing_mm for plane in planes} == {(0.5, 0.75)}
    assert {(plane.slope, plane.intercept) for plane in planes} == {(2.0, -7.0)}
    assert {plane.image_type for plane in planes} == {("ORIGINAL", "PRIMARY", "DIFFUSION", "NONE")}
    assert [plane.phase[:3] for plane in planes] == [("1", 1.0 + n // 2, 12.5 + n) for n in range(6)]
    assert planes[0].phase != planes[1].phase and len({plane.phase[6] for plane in planes}) == 2


@pytest.mark.parametrize(
    ("change", "shown"),
    [
        (lambda ds, own: own.update({"PixelMeasuresSequence": [item(PixelSpacing=[3.0, 4.0])]}), (3.0, 4.0)),
        (lambda ds, own: own.update({"PixelMeasuresSequence": [item(PixelSpacing=None)]}), None),
        (lambda ds, own: own.update({"PixelMeasuresSequence": [item(SliceThickness=1)]}), (0.5, 0.75)),
        (lambda ds, own: own.update({"PixelMeasuresSequence": [Dataset()]}), (0.5, 0.75)),
        (lambda ds, own: own.update({"PixelMeasuresSequence": []}), (0.5, 0.75)),
        (lambda ds, own: ds.update({"PixelSpacing": [9.0, 9.0]}), (0.5, 0.75)),
        (
            lambda ds, own: own.update(
                {"PixelMeasuresSequence": [item(PixelSpacing=[3.0, 4.0]), item(PixelSpacing=[5.0, 6.0])]}
            ),
            (3.0, 4.0),
        ),
    ],
    ids=["own", "own but empty", "own without", "own of nothing", "own sequence of nothing", "top", "two items"],
)
def test_a_frames_own_group_comes_before_the_shared_one(
    tmp_path: Path, change: Callable[[Dataset, Dataset], None], shown: tuple[float, float] | None
) -> None:
    dataset = enhanced(3)
    change(dataset, dataset.PerFrameFunctionalGroupsSequence[1])
    for undefined in (True, False):
        file = save(tmp_path / "f", dataset, undefined=undefined)
        assert by_walk(file) and same_by_both(file)
        assert planes_of(file)[1].spacing_mm == shown and planes_of(file)[2].spacing_mm == (0.5, 0.75)


def test_a_frame_type_of_the_frame_comes_before_a_shared_one_of_another_modality(tmp_path: Path) -> None:
    dataset = enhanced(4)
    for n, name in enumerate(("PETFrameTypeSequence", "CTImageFrameTypeSequence", "MRImageFrameTypeSequence")):
        setattr(dataset.PerFrameFunctionalGroupsSequence[n], name, [item(FrameType=["DERIVED", str(n)])])
    dataset.PerFrameFunctionalGroupsSequence[3].CTImageFrameTypeSequence = [item(PixelPresentation="MONOCHROME")]
    file = save(tmp_path / "f", dataset)
    assert by_walk(file) and same_by_both(file)
    assert [plane.image_type for plane in planes_of(file)] == [("DERIVED", str(n)) for n in range(3)] + [()]


@pytest.mark.parametrize(
    "keyword", ["SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"], ids=["none shared", "no frame's"]
)
@pytest.mark.parametrize("left", [None, []], ids=["missing", "empty"])
def test_one_of_the_two_sequences_is_enough(tmp_path: Path, keyword: str, left: list[Dataset] | None) -> None:
    dataset = enhanced(3)
    delattr(dataset, keyword)
    if left is not None:
        setattr(dataset, keyword, left)
    file = save(tmp_path / "f", dataset)
    assert by_walk(file) and same_by_both(file) and len(planes_of(file)) == 3


def _two_of_a_kind(data: bytes) -> bytes:
    """The shared groups stand twice; what is written last counts for pydicom."""
    begin, end = data.index(b"\0\x52\x29\x92SQ"), data.index(b"\0\x52\x30\x92SQ")
    return data[:end] + data[begin:end].replace(b"0.75", b"0.25") + data[end:]


ODD: dict[str, Callable[[bytes], bytes]] = {
    "groups twice": _two_of_a_kind,
    "a group of another VR": lambda data: data.replace(PLACE, PLACE.replace(b"SQ", b"UN"), 1),
    "an item longer than its sequence": lambda data: _changed(data, PLACE + b"\x1c", PLACE + b"\x14"),
    "an attribute longer than its item": lambda data: _shorter(data, data.index(b"\0\x52\x30\x92") + 16),
    "no item": lambda data: _changed(data, b"\xfe\xff\0\xe0", b"\xfe\xff\1\xe0"),
    "a value of another VR": lambda data: _changed(data, b"\x18\0\x82\x90FD", b"\x18\0\x82\x90FL"),
}


def _shorter(data: bytes, at: int) -> bytes:
    length = int.from_bytes(data[at : at + 4], "little") - 4
    return data[:at] + length.to_bytes(4, "little") + data[at + 4 :]


def _changed(data: bytes, old: bytes, new: bytes) -> bytes:
    at = data.index(b"\0\x52\x30\x92")
    assert old in data[at:]
    return data[:at] + data[at:].replace(old, new, 1)


@pytest.mark.parametrize(
    ("old", "new", "place"),
    [(b"1.5", b"9.5", (0.0, 9.5, 0.0)), (b"\x20\0\x32\0", b"\x20\0\x31\0", (0.0, 0.0, 0.0))],
    ids=["another place", "no place"],
)
def test_a_group_that_stands_twice_is_left_to_pydicom(
    tmp_path: Path, old: bytes, new: bytes, place: tuple[float, float, float]
) -> None:
    file = save(tmp_path / "f", enhanced(3), undefined=True)
    data = file.read_bytes()
    begin = data.index(PLACE)
    end = data.index(b"\xfe\xff\xdd\xe0\0\0\0\0", begin) + 8
    file.write_bytes(data[:end] + data[begin:end].replace(old, new) + data[end:])
    assert not by_walk(file) and same_by_both(file)
    assert [plane.position_mm or (0.0, 0.0, 0.0) for plane in planes_of(file)] == [
        place,
        (0.0, 1.5, 2.0),
        (0.0, 1.5, 4.0),
    ]


@pytest.mark.parametrize("kind", ODD)
def test_what_could_be_read_in_two_ways_is_left_to_pydicom(tmp_path: Path, kind: str) -> None:
    file = save(tmp_path / "f", enhanced(3))
    file.write_bytes(ODD[kind](file.read_bytes()))
    assert not by_walk(file) and same_by_both(file)


def _region(file: Path, encoding: str) -> bytes:
    """A file with a sequence of undefined length, its item of defined one."""
    dataset = ct_slice(0, AnatomicRegionSequence=[item(CodeValue="1", CodeMeaning="chest ")])
    save(file, dataset, encoding)
    dataset["AnatomicRegionSequence"].is_undefined_length = True
    dcmwrite(file, dataset, implicit_vr=encoding == "implicit", little_endian=True, enforce_file_format=True)
    return file.read_bytes()


def test_sequences_of_undefined_length_are_stepped_over_only_where_they_fit(tmp_path: Path) -> None:
    for encoding, head in (("explicit", 12), ("implicit", 8)):
        data = _region(tmp_path / "f", encoding)
        at = data.index(b"\x08\0\x18\x22") + head
        assert by_walk(tmp_path / "f") and data[at : at + 4] == b"\xfe\xff\0\xe0"
        (tmp_path / "f").write_bytes(_shorter(data, at + 4))
        assert not by_walk(tmp_path / "f") and same_by_both(tmp_path / "f")


def test_what_an_implicit_file_does_not_call_a_sequence_is_none(tmp_path: Path) -> None:
    file = tmp_path / "f"
    data = _region(file, "implicit")
    file.write_bytes(data.replace(b"\x08\0\x18\x22\xff", b"\x08\0\x11\x21\xff"))  # Derivation Description
    assert not by_walk(file) and same_by_both(file)


def test_attributes_out_of_order_are_found(tmp_path: Path) -> None:
    (file,) = write(tmp_path, [ct_slice(0, InstanceNumber=17)])
    data, last = file.read_bytes(), b"\x20\0\x13\0IS\x02\x0017"
    begin = META + 12 + int.from_bytes(data[META + 8 : META + 12], "little")
    file.write_bytes(data[:begin] + last + data[begin:].replace(last, b""))
    assert by_walk(file) and same_by_both(file) and planes_of(file)[0].number == 17


def test_groups_of_fewer_frames_than_there_are_refuse_the_file(tmp_path: Path) -> None:
    dataset = enhanced(3)
    del dataset.PerFrameFunctionalGroupsSequence[2]
    file = save(tmp_path / "f", dataset)
    assert not by_walk(file) and outcome(planes_of, file) == Reason.MISSING_ATTRIBUTE == outcome(
        planes_by_pydicom, file
    )


@pytest.mark.parametrize("undefined", [True, False], ids=["undefined", "defined"])
@pytest.mark.parametrize("encoding", ["explicit", "implicit", "big"])
def test_both_roads_say_the_same_of_damaged_groups(tmp_path: Path, encoding: str, undefined: bool) -> None:
    rng, read = random.Random(7), 0
    good = save(tmp_path / "good", enhanced(3), encoding, undefined=undefined).read_bytes()
    file, reader = tmp_path / "f", _Reader()
    begin = good.index(b"\x52\0" if encoding == "big" else b"\0\x52\x29\x92") - 200
    for _ in range(120):
        file.write_bytes(good[:begin] + damaged(bytes(128) + good[begin:-96], rng)[128:] + good[-96:])
        one, other = outcome(reader.planes_of, file), outcome(planes_by_pydicom, file)
        assert one == other or not (isinstance(one, list) or isinstance(other, list))
        read += by_walk(file)
    assert read > 10


@pytest.mark.parametrize("written", [None, "", 800.0], ids=["no group's", "empty in the group", "the group's"])
def test_a_vendors_b_value_counts_where_the_groups_say_none(tmp_path: Path, written: float | str | None) -> None:
    dataset = enhanced(3)
    for groups in dataset.PerFrameFunctionalGroupsSequence:
        groups.MRDiffusionSequence = [Dataset() if written is None else item(DiffusionBValue=written or None)]
    dataset.private_block(0x0019, "SIEMENS MR HEADER", create=True).add_new(0x0C, "IS", 700)
    file = save(tmp_path / "f", dataset)
    assert by_walk(file) and same_by_both(file)
    assert {plane.phase[5] for plane in planes_of(file)} == {written or 700}


def test_many_frames_deeper_than_a_window_are_read(tmp_path: Path) -> None:
    for undefined in (True, False):
        file = save(tmp_path / "f", enhanced(100, ImageComments="c" * 9000), undefined=undefined)
        assert by_walk(file) and same_by_both(file) and len(planes_of(file)) == 100


def test_a_table_of_the_modality_is_seen_by_the_walk(tmp_path: Path) -> None:
    table = item(LUTDescriptor=[4, 0, 16], ModalityLUTType="US")
    table.add_new("LUTData", "US", [3, 2, 1, 0])
    for undefined in (True, False):
        file = save(tmp_path / "f", ct_slice(0, ModalityLUTSequence=[table]), undefined=undefined)
        assert by_walk(file) and same_by_both(file) and planes_of(file)[0].pixels.lut
    assert not planes_of(save(tmp_path / "f", ct_slice(0)))[0].pixels.lut


@pytest.mark.parametrize("encoding", SYNTAXES)
def test_planes_of_every_encoding_are_the_same(tmp_path: Path, encoding: str) -> None:
    dataset = ct_slice(3, TemporalPositionIndex=7, ImageComments="c" * 20_000)
    dataset.add_new("PixelPaddingValue", "US", 0x0102)
    file = save(tmp_path / "f", dataset, encoding)
    (plane,) = planes_of(file)
    assert by_walk(file) and [plane] == planes_by_pydicom(file)
    assert plane.pixels.padding == (0x0102, 0x0102) and plane.phase[1] == 7 and plane.size == (16, 16)


def test_a_file_that_inflates_to_too_much_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = save(tmp_path / "f", ct_slice(3, ImageComments="c" * 100_000), "deflated")
    assert len(planes_of(file)) == 1
    monkeypatch.setattr(walk, "MOST_INFLATED", 90_000)
    assert outcome(planes_of, file) == Reason.UNSAFE_FILE


def test_a_deflated_file_that_is_cut_or_damaged_is_refused(tmp_path: Path) -> None:
    file = save(tmp_path / "f", ct_slice(3), "deflated")
    data = file.read_bytes()
    begin = META + 12 + int.from_bytes(data[META + 8 : META + 12], "little")
    for wrong in (data[:-20], data[:begin] + b"\7" + data[begin + 1 :]):  # cut; a block of a kind that is none
        file.write_bytes(wrong)
        assert outcome(planes_of, file) == Reason.UNREADABLE == outcome(planes_by_pydicom, file)


def test_a_file_without_pixels_is_refused_without_pydicom(tmp_path: Path) -> None:
    dataset = ct_slice(0)
    del dataset.PixelData
    (file,) = write(tmp_path, [dataset])
    with pytest.raises(StudyRejected) as raised:
        walk.Walk()(file)
    assert raised.value.reason == Reason.NO_PIXELS == outcome(planes_by_pydicom, file)


def test_compiled_loops_work_when_they_come_from_the_disk(tmp_path: Path) -> None:
    """Where a compiled function calls itself, the first process is right and the next one dies."""
    file = save(tmp_path / "f", enhanced(3), undefined=True)
    assert len(read_planes([file])[0]) == 3
    words = [sys.executable, "-c", f"from medgan.dicom.read import *; print(len(planes_of(Path({str(file)!r}))))"]
    assert subprocess.run(words, capture_output=True, text=True, check=True).stdout.strip() == "3"
