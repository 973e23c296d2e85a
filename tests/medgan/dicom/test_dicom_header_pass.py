"""Our own walk over headers against pydicom's reader: equal planes or the same refusal, whatever the file."""

import io
import random
import tracemalloc
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pydicom.data
import pytest
from dicom_series import ct_slice, film, write
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.filewriter import dcmwrite
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

from medgan.dicom.attributes import Odd
from medgan.dicom.pixels import UNREADABLE
from medgan.dicom.read import Plane, _Reader, planes_by_pydicom, planes_of, read_planes
from medgan.dicom.walk import Walk
from medgan.errors import Reason, StudyRejected

REAL = Path(__file__).resolve().parents[4] / "shared" / "data"
NO_DICOM = {".py", ".pyc", ".json", ".md", ".txt", ".nii", ".gz"}


def outcome(read: Callable[[Path], list[Plane]], file: Path) -> list[Plane] | Reason:
    try:
        return read(file)
    except StudyRejected as error:
        return error.reason


def package_files(name: str) -> list[Path]:
    package = pytest.importorskip(name)
    (place, *_) = package.__path__
    files = sorted((Path(place) / "data").rglob("*"))
    return [file for file in files if file.is_file() and file.suffix not in NO_DICOM]


def walks(file: Path) -> bool:
    try:
        Walk()(file)
    except (Odd, StudyRejected):
        return False
    return True


def by_walk(file: Path) -> bool:
    """Whether planes, or the reason why there are none, are known without pydicom."""
    reader = _Reader()
    try:
        reader._planes(file, reader._walk(file))
    except (Odd, *UNREADABLE):
        return False
    except StudyRejected:
        return True
    return True


@pytest.mark.parametrize("package", ["pydicom", "data_store"])
def test_both_roads_say_the_same_of_every_file_of_a_package(package: str) -> None:
    files = package_files(package)
    read, refused = read_planes(files)
    slow = [outcome(planes_by_pydicom, file) for file in files]
    assert read == [plane for planes in slow if isinstance(planes, list) for plane in planes]
    assert refused.total() == sum(not isinstance(planes, list) for planes in slow)
    assert sum(walks(file) for file in files) > len(files) / 4


@pytest.mark.parametrize("archive", ["dicom_ct_head", "dicom_multivendor", "ct_totalsegmentator_example"])
def test_both_roads_say_the_same_of_real_series(archive: str, tmp_path: Path) -> None:
    if not (REAL / f"{archive}.zip").exists():
        pytest.skip("the real series are not here")
    with zipfile.ZipFile(REAL / f"{archive}.zip") as zipped:
        zipped.extractall(tmp_path)
    files = [file for file in sorted(tmp_path.rglob("*")) if file.is_file() and file.suffix not in NO_DICOM]
    read, refused = read_planes(files)
    slow = [outcome(planes_by_pydicom, file) for file in files]
    assert read == [plane for planes in slow if isinstance(planes, list) for plane in planes]
    assert refused.total() == sum(not isinstance(planes, list) for planes in slow)


def headers() -> Iterator[Dataset]:
    """Slices of three series that differ in their attributes, some deeper than one window."""
    for index in range(8):
        yield ct_slice(index)
        yield ct_slice(index, series="1.2.3.2", RescaleSlope=1 + index / 10, AcquisitionTime=f"1200{index:02d}.5")
        nested = Dataset()
        nested.CodeValue, nested.CodeMeaning = "X", "a" * (700 * index)
        one = ct_slice(
            index, series="1.2.3.3", EchoTime=12.5, AnatomicRegionSequence=[nested], ImageComments="c" * 9000
        )
        one["AnatomicRegionSequence"].is_undefined_length = True
        yield one


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
def test_files_of_several_series_in_any_order_are_read_as_each_alone(tmp_path: Path, syntax: str) -> None:
    files = []
    for number, dataset in enumerate(headers()):
        dataset.file_meta.TransferSyntaxUID = syntax
        dataset.add_new("PixelPaddingValue", "US", 65535)
        files.append(tmp_path / f"{number}")
        dcmwrite(files[-1], dataset, enforce_file_format=True, implicit_vr=syntax == ImplicitVRLittleEndian)
    assert all(walks(file) for file in files)
    for seed in range(3):
        random.Random(seed).shuffle(files)
        planes, refused = read_planes(files)
        assert planes == [plane for file in files for plane in planes_by_pydicom(file)] and not refused
        assert planes == [plane for file in files for plane in planes_of(file)]


def damaged(data: bytes, rng: random.Random) -> bytes:
    """A few bytes of the header replaced, lost, added, or the rest cut off."""
    some = bytearray(data)
    for _ in range(rng.choice([1, 1, 2, 5])):
        at, kind = rng.randrange(128, max(129, min(len(some) - 1, 2000))), rng.random()
        if kind < 0.7:
            some[at : at + 1] = bytes([rng.choice([rng.randrange(256), *rb" \.,0A-"])])
        elif kind < 0.8:
            del some[at]
        elif kind < 0.95:
            some.insert(at, rng.randrange(256))
        else:
            del some[at:]
    return bytes(some)


@pytest.mark.parametrize("name", ["CT_small.dcm", "MR_small_implicit.dcm"])
def test_both_roads_say_the_same_of_damaged_headers(tmp_path: Path, name: str) -> None:
    rng = random.Random(5)
    good = Path(pydicom.data.get_testdata_file(name, download=False))
    files = []
    for number in range(250):
        files += [good, tmp_path / f"{number}"]
        files[-1].write_bytes(damaged(good.read_bytes(), rng))
    slow = [outcome(planes_by_pydicom, file) for file in files]
    assert read_planes(files)[0] == [plane for planes in slow if isinstance(planes, list) for plane in planes]
    assert read_planes(files)[1].total() == sum(not isinstance(planes, list) for planes in slow)


@pytest.mark.parametrize(
    ("keyword", "vr", "raw"),
    [
        ("ImagePositionPatient", "DS", b"1,5\\0\\00"),
        ("PixelSpacing", "DS", b"0.5\\xx"),
        ("InstanceNumber", "IS", b"1.5 "),
        ("PatientID", "LO", b"\x1b$)C\x0ea"),
        ("SpecificCharacterSet", "CS", b"I\0O_IR 100"),
    ],
)
def test_a_value_that_could_mean_two_things_is_left_to_pydicom(
    tmp_path: Path, keyword: str, vr: str, raw: bytes
) -> None:
    dataset = ct_slice(0)
    dataset.add_new(keyword, "LO", "@" * len(raw))
    file = write(tmp_path, [dataset])[0]
    length = len(raw).to_bytes(2, "little")
    data = file.read_bytes().replace(b"LO" + length + b"@" * len(raw), vr.encode() + length + raw)
    assert raw in data
    file.write_bytes(data)
    assert outcome(planes_of, file) == outcome(planes_by_pydicom, file)


def as_file(dataset: Dataset) -> bytes:
    out = io.BytesIO()
    dcmwrite(out, dataset, enforce_file_format=True)
    return out.getvalue()


def same_by_both(files: list[Path]) -> bool:
    return read_planes(files)[0] == [plane for file in files for plane in planes_by_pydicom(file)]


def test_a_header_is_read_the_same_wherever_a_window_ends(tmp_path: Path) -> None:
    begin = 8192 - (as_file(ct_slice(0, ImageComments="c" * 1000)).index(b"-1024") - 1000)
    datasets = [ct_slice(n, ImageComments="c" * (begin // 2 * 2 + 2 * n - 60)) for n in range(60)]
    files = write(tmp_path, datasets)
    assert all(walks(file) for file in files) and same_by_both(files)
    assert all(planes_of(file) == planes_by_pydicom(file) for file in files)


def test_an_attribute_that_only_some_slices_have_is_not_taken_over(tmp_path: Path) -> None:
    more: list[dict[str, Any]] = [
        {"AcquisitionTime": f"12{n:04d}"} if n % 3 else {"SeriesTime": f"13{n:04d}"} for n in range(12)
    ]
    datasets = [ct_slice(n, **more[n]) for n in (1, 2, 4, 3, 0, 5, 6, 7)]
    assert same_by_both(write(tmp_path, datasets))
    files = sorted(write(tmp_path, datasets), key=lambda file: float(dcmread(file).get("AcquisitionTime", "inf")))
    assert same_by_both(files) and [plane.phase[-1] for plane in read_planes(files)[0]][-3:] == ["", "", ""]


def test_an_attribute_that_stands_twice_is_left_to_pydicom(tmp_path: Path) -> None:
    (file,) = write(tmp_path, [ct_slice(0, InstanceNumber=17)])
    once = b"\x20\0\x13\0IS\x02\x0017"
    data = file.read_bytes()
    assert data.count(once) == 1
    file.write_bytes(data.replace(once, once + once.replace(b"17", b"18")))
    assert not walks(file) and planes_of(file)[0].number == 18


def test_padding_of_an_implicit_file_has_the_sign_of_its_pixels(tmp_path: Path) -> None:
    for sign in (0, 1):
        dataset = ct_slice(0, PixelRepresentation=sign, BitsStored=16, HighBit=15)
        dataset.add_new("PixelPaddingValue", "SS", -2000)
        dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
        dcmwrite(tmp_path / "f", dataset, enforce_file_format=True, implicit_vr=True)
        (plane,) = planes_of(tmp_path / "f")
        assert walks(tmp_path / "f") and plane.pixels.padding == ((-2000, -2000) if sign else (63536, 63536))
        assert [plane] == planes_by_pydicom(tmp_path / "f")


def test_a_plane_costs_less_than_two_kibibytes_and_shares_what_repeats(tmp_path: Path) -> None:
    files = write(tmp_path, [ct_slice(index, AcquisitionTime=f"12{index:04d}") for index in range(400)])
    read_planes(files[:2])
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    planes, _ = read_planes(files)
    cost = (tracemalloc.get_traced_memory()[0] - before) / len(files)
    tracemalloc.stop()
    assert len(planes) == 400 and cost < 2048
    assert planes[3].series is planes[300].series and planes[3].orientation is planes[300].orientation


@pytest.mark.parametrize(
    ("more", "unit"),
    [
        ({}, "HU"),
        ({"RescaleIntercept": None}, ""),
        ({"Modality": "PT", "Units": "BQML"}, "BQML"),
        ({"Modality": "MR", "Units": "BQML"}, ""),
    ],
)
def test_a_plane_says_the_unit_of_its_values(tmp_path: Path, more: dict[str, Any], unit: str) -> None:
    (plane,) = planes_of(write(tmp_path, [ct_slice(0, **more)])[0])
    assert plane.unit == unit


def test_every_frame_of_a_file_without_functional_groups_is_a_plane(tmp_path: Path) -> None:
    pixels = np.arange(48, dtype=np.uint8).reshape(3, 4, 4)
    (file,) = write(tmp_path, [film("x", pixels[0], NumberOfFrames=3, PixelData=pixels.tobytes())])
    assert walks(file) and [plane.frame for plane in planes_of(file)] == [0, 1, 2]
    assert dcmread(file).NumberOfFrames == 3
