"""Siemens mosaics: tiles become slices with places of their own, or the picture stays what it is."""

import shutil
import struct
import subprocess
import sys
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from dicom_series import ct_slice, write
from pydicom import dcmread
from pydicom.dataset import Dataset

from medgan.dicom.pixels import stored_values
from medgan.dicom.read import planes_of, read_planes
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
