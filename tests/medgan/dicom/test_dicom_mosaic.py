"""Siemens mosaics: tiles become slices with places of their own, or the picture stays what it is."""

import random
import shutil
import struct
import subprocess
import sys
import warnings
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pydicom
import pytest
from dicom_series import ct_slice, write
from pydicom import dcmread
from pydicom.dataset import Dataset
from test_dicom_header_pass import by_walk, damaged, outcome

from medgan.dicom.csa import _items
from medgan.dicom.pixels import stored_values
from medgan.dicom.read import planes_by_pydicom, planes_of, read_planes
from medgan.dicom.series import sort_planes
from medgan.errors import Reason

REAL = Path(__file__).resolve().parents[4] / "shared" / "data" / "dicom_multivendor.zip"
SAGITTAL = (0.0, 1.0, 0.0, 0.0, 0.0, -1.0)
SIDE, STEP = 4, 2.5


def csa(**tags: Sequence[object]) -> bytes:
    """A CSA header, version 2: names, representations and items of text."""
    out = b"SV10\4\3\2\1" + struct.pack("<2I", len(tags), 77)
    for name, items in tags.items():
        out += struct.pack("<64si4siii", name.encode(), len(items), b"FD", 4, len(items), 77)
        for item in items:
            text = str(item).encode() + b"\0"
            out += struct.pack("<4i", len(text), len(text), 77, len(text)) + text + bytes(-len(text) % 4)
    return out


def mosaic(count: int, normal: Sequence[float] = (0, 0, 1), **more: Any) -> Dataset:
    """`count` slices of 4 x 4 pixels, each of its own number, the rest of the square empty."""
    grid = int(np.ceil(np.sqrt(count)))
    picture = np.zeros((grid * SIDE, grid * SIDE), "<u2")
    for n in range(count):
        picture[n // grid * SIDE :, n % grid * SIDE :][:SIDE, :SIDE] = n + 1
    values: dict[str, Any] = {
        "Modality": "MR",
        "ImageType": ["ORIGINAL", "PRIMARY", "M", "MOSAIC"],
        "Rows": grid * SIDE,
        "Columns": grid * SIDE,
        "PixelSpacing": [2.0, 3.0],
        "SpacingBetweenSlices": STEP,
        "PixelData": picture.tobytes(),
    }
    dataset = ct_slice(0, **{**values, **more})
    block = dataset.private_block(0x0029, "SIEMENS CSA HEADER", create=True)
    block.add_new(0x10, "OB", csa(NumberOfImagesInMosaic=[count], SliceNormalVector=normal))
    return dataset


@pytest.mark.parametrize("count", [2, 4, 5, 9, 10])
def test_tiles_are_slices_along_their_normal(tmp_path: Path, count: int) -> None:
    planes = planes_of(write(tmp_path, [mosaic(count)])[0])
    assert [set(stored_values(plane.pixels, 0).ravel()) for plane in planes] == [{n + 1} for n in range(count)]
    assert {plane.size for plane in planes} == {(SIDE, SIDE)}
    assert all("MOSAIC" not in plane.image_type for plane in planes)
    places = np.array([plane.position_mm for plane in planes])
    assert np.allclose(np.diff(places, axis=0), (0, 0, STEP))


@pytest.mark.parametrize(("cosines", "normal"), [((1, 0, 0, 0, 1, 0), (0, 0, -1)), (SAGITTAL, (-1, 0, 0))])
def test_the_picture_and_its_first_slice_have_one_centre(
    tmp_path: Path, cosines: Sequence[float], normal: Sequence[float]
) -> None:
    dataset = mosaic(9, normal, ImageOrientationPatient=list(cosines), ImagePositionPatient=[10.0, 20.0, 30.0])
    planes = planes_of(write(tmp_path, [dataset])[0])
    along, down = np.array(cosines[:3]) * 3.0, np.array(cosines[3:]) * 2.0
    centre = [10, 20, 30] + (along + down) * (3 * SIDE - 1) / 2
    assert np.allclose(np.array(planes[0].position_mm) + (along + down) * (SIDE - 1) / 2, centre)
    assert np.allclose(np.array(planes[8].position_mm) - planes[0].position_mm, 8 * STEP * np.array(normal))


@pytest.mark.parametrize(
    "break_it",
    [
        lambda ds: ds.__delitem__((0x0029, 0x1010)),
        lambda ds: setattr(ds, "SpacingBetweenSlices", None),
        lambda ds: setattr(ds, "ImageOrientationPatient", [1, 0, 0, 0, 0, 1]),
        lambda ds: setattr(ds[0x0029, 0x1010], "value", b"SV10" + bytes(40)),
        lambda ds: setattr(ds[0x0029, 0x1010], "value", csa(NumberOfImagesInMosaic=[17], SliceNormalVector=[0, 0, 1])),
        lambda ds: setattr(ds[0x0029, 0x1010], "value", csa(NumberOfImagesInMosaic=[9])),
    ],
    ids=["no header", "no step", "another normal", "a broken header", "more tiles than fit", "no normal"],
)
def test_a_mosaic_that_nothing_places_is_refused_as_one(tmp_path: Path, break_it: Any) -> None:
    dataset = mosaic(9)
    break_it(dataset)
    planes, _ = read_planes(write(tmp_path, [dataset]))
    assert len(planes) == 1 and planes[0].size == (3 * SIDE, 3 * SIDE)
    assert sort_planes(planes).refused == {Reason.MOSAIC: 1}


def test_time_points_of_mosaics_are_told_apart(tmp_path: Path) -> None:
    files = write(tmp_path, [mosaic(9, SOPInstanceUID=f"1.2.{n}", AcquisitionNumber=n + 1) for n in range(3)])
    planes, _ = read_planes(files)
    assert sorted({plane.phase for plane in planes}) == [planes_of(file)[0].phase for file in files]
    assert len({plane.phase for plane in planes}) == 3


def test_tiles_of_compressed_mosaics_are_the_same(tmp_path: Path) -> None:
    dataset = mosaic(9)
    plain = [stored_values(plane.pixels, 0) for plane in planes_of(write(tmp_path / "a", [dataset])[0])]
    dataset.compress("1.2.840.10008.1.2.5", generate_instance_uid=False)
    packed = [stored_values(plane.pixels, 0) for plane in planes_of(write(tmp_path / "b", [dataset])[0])]
    assert np.array_equal(plain, packed)


@pytest.mark.skipif(not REAL.exists(), reason="the real series are not here")
def test_voxels_of_real_mosaics_lie_where_dcm2niix_puts_them(tmp_path: Path) -> None:
    converter = shutil.which("dcm2niix", path=str(Path(sys.executable).parent))
    if converter is None:
        pytest.skip("dcm2niix is not here")
    with zipfile.ZipFile(REAL) as zipped:
        zipped.extractall(tmp_path, [name for name in zipped.namelist() if "20180918Si" in name])
    sources = sorted(tmp_path.rglob("*-00001.dcm"))
    assert len(sources) == 4
    for number, source in enumerate(sources):
        folder = tmp_path / f"one{number}"
        folder.mkdir()
        shutil.copy(source, folder)
        subprocess.run([converter, "-z", "n", "-o", folder, folder], check=True, capture_output=True)
        image = nibabel.load(next(folder.glob("*.nii")))  # type: ignore[attr-defined]
        theirs, to_theirs = np.asarray(image.dataobj), np.linalg.inv(image.affine)  # type: ignore[attr-defined]
        planes = planes_of(source)
        assert len(planes) == theirs.shape[2] == int(dcmread(source)[0x0019, 0x100A].value)
        for plane in planes:
            along, down = np.array(plane.orientation).reshape(2, 3) * np.array(plane.spacing_mm)[::-1, None]
            for row, column in ((0, 0), (5, 60), (71, 3)):
                place = (np.array(plane.position_mm) + column * along + row * down) * (-1, -1, 1)
                voxel = to_theirs[:3, :3] @ place + to_theirs[:3, 3]
                assert np.abs(voxel - np.rint(voxel)).max() < 1e-4
                assert theirs[tuple(np.rint(voxel).astype(int))] == stored_values(plane.pixels, 0)[row, column]


# Siemens' protocol: text in the series' header
def protocol(centres: Sequence[Sequence[float]], *more: str) -> bytes:
    """Says where the centre of each slice is to be, as a scanner does: nothing of what is zero."""
    lines = [f"sSliceArray.lSize\t = \t{len(centres)}", *more]
    for n, centre in enumerate(centres):
        for axis, value in zip(("Sag", "Cor", "Tra"), centre, strict=True):
            lines += [f"sSliceArray.asSlice[{n}].sPosition.d{axis}\t = \t{value}"] if value else []
    text = "\n".join(["### ASCCONV BEGIN ###", "lScanTimeSec\t = \t3", *lines, "sTXSPEC.lNoOfTraPulses\t = \t1"])
    return csa(MrPhoenixProtocol=[text + "\n### ASCCONV END ###"])


def of_series(count: int, *, start: Sequence[float] = (0.0, 0.0, 0.0), **more: Any) -> Dataset:
    """A mosaic whose series alone has a header; the centre of its first slice lies at `start`."""
    grid = int(np.ceil(np.sqrt(count)))
    corner = np.array(start) - np.array([3.0, 2.0, 0.0]) * SIDE * grid / 2
    dataset = mosaic(count, ImagePositionPatient=[float(part) for part in corner], **more)
    row = [(start[0], start[1], start[2] + STEP * n) for n in range(count)]
    dataset[0x0029, 0x1020] = pydicom.DataElement(0x00291020, "OB", protocol(row))
    return dataset


def test_the_protocol_places_slices_as_the_header_of_the_image_does(tmp_path: Path) -> None:
    for count, start in ((2, (0.0, 0.0, 0.0)), (9, (1.5, -20.0, -10.0)), (10, (3.0, 4.0, 5.25))):
        dataset = of_series(count, start=start)
        (file,) = write(tmp_path, [dataset])
        both = [plane.position_mm for plane in planes_of(file)]
        del dataset[0x0029, 0x1010]
        for creator in (True, False):  # a de-identifier may have removed the creator
            if not creator:
                del dataset[0x0029, 0x0010]
            (file,) = write(tmp_path, [dataset])
            planes = planes_of(file)
            assert np.allclose([plane.position_mm for plane in planes], both) and len(planes) == count
            assert planes == planes_by_pydicom(file) and by_walk(file)


def _rows(count: int) -> list[list[float]]:
    return [[0.0, 0.0, STEP * n] for n in range(count)]


@pytest.mark.parametrize(
    "said",
    [
        protocol(_rows(9)[::-1]),
        protocol(_rows(9), "sSliceArray.ucImageNumbTra\t = \t0x1"),
        protocol(_rows(9), "sSliceArray.asSlice[3].sPosition.dSag\t = \tnone"),
        protocol([[0.0, 0.0, 2 * STEP * n] for n in range(9)]),
        protocol([*_rows(8), [0.0, 0.0, 9 * STEP]]),
        protocol([*_rows(8), [1.0, 0.0, 8 * STEP]]),
        protocol([[0.0, STEP * n, 0.0] for n in range(9)]),
        protocol([[0.0, 0.0, 1.0 + STEP * n] for n in range(9)]),
        protocol(_rows(9)).replace(b"17.5", b"0x11"),
        protocol(_rows(9)).replace(b"lSize", b"lSiez"),
        protocol(_rows(9)) + protocol(_rows(9)),
        protocol(_rows(17)),
    ],
    ids=[
        *(
            "against",
            "numbered against",
            "a word",
            "other step",
            "a gap",
            "a bend",
            "another way",
            "another start",
            "no number",
        ),
        *("no size", "two of them", "more than fit"),
    ],
)
def test_a_protocol_that_does_not_fit_the_picture_places_nothing(tmp_path: Path, said: bytes) -> None:
    dataset = of_series(9)
    for creator in (True, False):
        dataset[0x0029, 0x1020].value = said + bytes(len(said) % 2)
        if (0x0029, 0x1010) in dataset:
            del dataset[0x0029, 0x1010]
        if not creator:
            del dataset[0x0029, 0x0010]
        (file,) = write(tmp_path, [dataset])
        assert len(planes_of(file)) == 1 and planes_of(file) == planes_by_pydicom(file)


def test_bytes_where_nobody_reserved_them_are_no_header(tmp_path: Path) -> None:
    dataset = of_series(9)
    del dataset[0x0029, 0x1010], dataset[0x0029, 0x0010]
    assert len(planes_of(write(tmp_path, [dataset])[0])) == 9
    dataset[0x0029, 0x1020].value = b"DATA" + dataset[0x0029, 0x1020].value[4:]
    (file,) = write(tmp_path, [dataset])
    assert len(planes_of(file)) == 1 and planes_of(file) == planes_by_pydicom(file)


def test_tags_of_a_csa_header_are_those_that_nibabel_finds() -> None:
    with warnings.catch_warnings(action="ignore"):
        from nibabel.nicom import csareader
    data = csa(Odd=[10**n for n in range(7)], SliceNormalVector=[0.1, "-0.2", "3e-1"], NumberOfImagesInMosaic=[48])
    theirs = csareader.read(data)
    assert list(_items(data, b"SliceNormalVector\0", 3)) == list(csareader.get_vector(theirs, "SliceNormalVector", 3))
    assert _items(data, b"NumberOfImagesInMosaic\0", 1) == (csareader.get_n_mosaic(theirs),)
    assert _items(data, b"SliceNormal\0", 3) == () == _items(data, b"SliceNormalVector\0", 2)


def test_a_csa_header_of_the_first_form_is_read(tmp_path: Path) -> None:
    """Lengths count from the number of items of the first tag (as SPM reads it)."""
    items, first = {"First": ["ab", "c"], "NumberOfImagesInMosaic": [9], "SliceNormalVector": [0, 0, 1]}, 2
    data = struct.pack("<2I", len(items), 77)
    for name, some in items.items():
        data += struct.pack("<64si4siii", name.encode(), len(some), b"FD", 4, len(some), 77)
        for one in some:
            text = str(one).encode() + b"\0"
            data += struct.pack("<4i", len(text) + first, 9999, 77, 0) + text + bytes(-len(text) % 4)
    dataset = mosaic(9)
    dataset[0x0029, 0x1010].value = data
    assert len(planes_of(write(tmp_path, [dataset])[0])) == 9


def test_a_damaged_csa_header_reads_nothing_outside_it() -> None:
    rng = random.Random(3)
    good = csa(Odd=["x"] * 5, SliceNormalVector=[0, 0, 1], NumberOfImagesInMosaic=[48])
    for _ in range(3000):
        data = bytearray(good[: rng.randrange(len(good) + 1)])
        for _ in range(rng.randrange(4)):
            if data:
                data[rng.randrange(len(data))] = rng.choice([0, 1, 127, 128, 255])
        found = _items(bytes(data), b"SliceNormalVector\0", 3)
        assert len(found) <= 3


def test_both_roads_say_the_same_of_damaged_mosaics(tmp_path: Path) -> None:
    rng, tiled = random.Random(11), 0
    dataset = of_series(9)
    file = tmp_path / "f"
    for image in (True, False):
        if not image:
            del dataset[0x0029, 0x1010]
        (good,) = write(tmp_path / "good", [dataset])
        for _ in range(150):
            file.write_bytes(damaged(good.read_bytes(), rng))
            one, other = outcome(planes_of, file), outcome(planes_by_pydicom, file)
            assert one == other or not (isinstance(one, list) or isinstance(other, list))
            tiled += isinstance(one, list) and len(one) == 9
    assert tiled > 20


@pytest.mark.skipif(not REAL.exists(), reason="the real series are not here")
def test_the_protocol_of_real_mosaics_places_them_as_their_image_header_does(tmp_path: Path) -> None:
    with zipfile.ZipFile(REAL) as zipped:
        zipped.extractall(tmp_path, [name for name in zipped.namelist() if "20180918Si" in name])
    for source in sorted(tmp_path.rglob("*-00001.dcm")):
        planes = planes_of(source)
        dataset = dcmread(source)
        del dataset[0x0029, 0x1010]
        dataset.save_as(tmp_path / "f")
        found = planes_of(tmp_path / "f")
        assert len(found) == len(planes) == 5
        assert np.allclose([plane.position_mm for plane in found], [plane.position_mm for plane in planes])
