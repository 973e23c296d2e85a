from pathlib import Path

import highdicom as hd
import numpy as np
import pytest
from dicom_series import ct_slice, film, write
from pydicom.dataset import Dataset

from medgan.cohort.volumes import read_volume
from medgan.errors import SourceError
from medgan.stages.volumes import Grid, preprocess_volumes


def test_a_series_becomes_a_volume_of_cubes_in_hu(tmp_path: Path) -> None:
    feet_first = [ct_slice(i, ImagePositionPatient=[0, 0, -2.0 * i], PixelSpacing=[0.5, 0.5]) for i in range(10)]
    write(tmp_path / "src", [*feet_first, film("f", np.eye(8, dtype=np.uint8))])
    report = preprocess_volumes(tmp_path / "src", tmp_path / "dst", Grid(1.0))
    assert report["films"] == 1 and not report["refused"]
    array, about = read_volume(tmp_path / "dst" / "0000.ome.zarr")
    assert array.shape == (20, 8, 8) and array.dtype == np.int16
    assert about["spacing_mm"] == [1.0, 1.0, 1.0] and about["values"] == "HU"
    column = array[:, 4, 4]
    assert column[0] == 90 and column[-1] == 0 and (np.diff(column) <= 0).all()
    assert np.array(about["affine_lps"])[2, 3] == -18.5


def test_padding_holds_air_and_does_not_bleed(tmp_path: Path) -> None:
    slices = []
    for i in range(6):
        pixels = np.full((16, 16), 1024, "<i2")
        pixels[:, :8] = -2000
        one = ct_slice(i, PixelData=pixels.tobytes(), PixelRepresentation=1, BitsStored=16, HighBit=15)
        one.add_new("PixelPaddingValue", "SS", -2000)
        slices.append(one)
    write(tmp_path / "src", slices)
    preprocess_volumes(tmp_path / "src", tmp_path / "dst", Grid(2.0))
    array, _ = read_volume(tmp_path / "dst" / "0000.ome.zarr")
    assert set(np.unique(array[:])) == {-1024, 0}


def test_a_folder_without_a_volume_is_an_error(tmp_path: Path) -> None:
    write(tmp_path / "src", [film("f", np.eye(8, dtype=np.uint8))])
    with pytest.raises(SourceError, match="no volume in 1 files; 1 films, refused: none"):
        preprocess_volumes(tmp_path / "src", tmp_path / "dst", Grid(1.0))


def test_a_window_makes_bytes_whose_meaning_is_told(tmp_path: Path) -> None:
    write(tmp_path / "src", [ct_slice(i) for i in range(8)])
    preprocess_volumes(tmp_path / "src", tmp_path / "dst", Grid(2.0, (0.0, 100.0)))
    array, about = read_volume(tmp_path / "dst" / "0000.ome.zarr")
    assert array.dtype == np.uint8
    there = array[:, 4, 4] * about["scale"] + about["offset"]
    assert np.abs(there - np.arange(0, 80, 10)).max() <= 100 / 255


def test_a_tilted_gantry_becomes_upright(tmp_path: Path) -> None:
    """A column of metal along the patient's z stays where it is, though every slice is shifted against the last."""
    slices = []
    for i in range(12):
        pixels = np.full((32, 32), 1024, "<u2")
        pixels[4 + i : 8 + i, 10:20] = 2024  # at y = 4 to 8 mm once the slice's own shift of -i mm is added
        slices.append(ct_slice(i, side=32, ImagePositionPatient=[0.0, -1.0 * i, 2.0 * i], PixelData=pixels.tobytes()))
    write(tmp_path / "src", slices)
    report = preprocess_volumes(tmp_path / "src", tmp_path / "dst", Grid(1.0))
    assert report["corrected"] == {"tilt_removed": 1}
    array, about = read_volume(tmp_path / "dst" / "0000.ome.zarr")
    bright = np.argwhere(array > 500)
    y_mm = bright[:, 1] + np.array(about["affine_lps"])[1, 3]
    assert y_mm.min() == 4 and y_mm.max() == 7


def test_each_phase_is_a_volume(tmp_path: Path) -> None:
    both = [
        ct_slice(i, SOPInstanceUID=f"1.2.{phase}.{i}", AcquisitionNumber=phase, RescaleIntercept=-1024 + 100 * phase)
        for i in range(5)
        for phase in (1, 2)
    ]
    write(tmp_path / "src", both)
    report = preprocess_volumes(tmp_path / "src", tmp_path / "dst", Grid(2.0))
    assert len(report["volumes"]) == 2 and report["corrected"] == {"multi_phase_split": 1}
    first, second = (read_volume(tmp_path / "dst" / f"{n:04d}.ome.zarr")[0] for n in range(2))
    assert (second - first == 100).all()


def segmented(folder: Path, slices: list[Dataset], marked: np.ndarray) -> None:
    """A DICOM SEG of one segment on these slices."""
    code = hd.sr.CodedConcept("39607008", "SCT", "Lung")
    segment = hd.seg.SegmentDescription(
        segment_number=1,
        segment_label="lung",
        segmented_property_category=hd.sr.CodedConcept("123037004", "SCT", "Anatomical Structure"),
        segmented_property_type=code,
        algorithm_type=hd.seg.SegmentAlgorithmTypeValues.MANUAL,
    )
    mask = hd.seg.Segmentation(
        source_images=slices,
        pixel_array=marked,
        segmentation_type=hd.seg.SegmentationTypeValues.BINARY,
        segment_descriptions=[segment],
        series_instance_uid="1.2.3.77",
        series_number=9,
        sop_instance_uid="1.2.3.77.1",
        instance_number=1,
        manufacturer="nobody",
        manufacturer_model_name="none",
        software_versions="0",
        device_serial_number="0",
    )
    mask.save_as(folder / "mask.dcm")


def whole_slices(count: int) -> list[Dataset]:
    more = {"PatientBirthDate": "", "PatientSex": "", "StudyDate": "", "StudyTime": "", "AccessionNumber": ""}
    return [ct_slice(i, StudyID="", ReferringPhysicianName="", SliceThickness=2.0, **more) for i in range(count)]


def test_a_mask_comes_along_on_the_same_grid(tmp_path: Path) -> None:
    slices = whole_slices(8)
    write(tmp_path / "src", slices)
    marked = np.zeros((8, 16, 16), np.uint8)
    marked[2:6, 4:12, 6:10] = 1
    segmented(tmp_path / "src", slices, marked)
    report = preprocess_volumes(tmp_path / "src", tmp_path / "dst", Grid(1.0))
    assert [row["name"] for row in report["volumes"]] == ["0000", "0000.mask-0"] and not report["refused"]
    image, about = read_volume(tmp_path / "dst" / "0000.ome.zarr")
    labels, said = read_volume(tmp_path / "dst" / "0000.mask-0.ome.zarr")
    assert labels.shape == image.shape and said["affine_lps"] == about["affine_lps"] and said["labels"] == [1]
    found = np.argwhere(labels)
    assert found.min(axis=0).tolist() == [4, 4, 6] and found.max(axis=0).tolist() == [11, 11, 9]


def test_a_mask_that_the_grid_would_lose_is_refused(tmp_path: Path) -> None:
    slices = whole_slices(8)
    write(tmp_path / "src", slices)
    marked = np.zeros((8, 16, 16), np.uint8)
    marked[3, 7, 7] = 1
    segmented(tmp_path / "src", slices, marked)
    report = preprocess_volumes(tmp_path / "src", tmp_path / "dst", Grid(4.0))
    assert report["refused"] == {"mask_unfit": 1} and len(report["volumes"]) == 1


def test_a_mask_that_grows_is_told_and_one_that_more_than_doubles_is_refused(tmp_path: Path) -> None:
    """A sheet of one pixel of 1 mm, which wins a voxel of 16/9 mm, then one of 3.2 mm."""
    slices = whole_slices(8)
    for folder, column in (("some", 6), ("much", 4)):
        write(tmp_path / folder, slices)
        marked = np.zeros((8, 16, 16), np.uint8)
        marked[:, :, column] = 1
        segmented(tmp_path / folder, slices, marked)
    report = preprocess_volumes(tmp_path / "some", tmp_path / "told", Grid(1.75))
    assert report["volumes"][1]["grown"] == [1] and "grown" not in report["volumes"][0] and not report["refused"]
    report = preprocess_volumes(tmp_path / "much", tmp_path / "refused", Grid(3.2))
    assert report["refused"] == {"mask_unfit": 1} and len(report["volumes"]) == 1
