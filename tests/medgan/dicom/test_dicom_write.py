"""A synthetic image as DICOM: readable, valid for its IOD, marked, and without anyone's identity."""

from __future__ import annotations

from io import BytesIO

import numpy as np
import pytest
from highdicom._standard_utils import check_required_attributes, get_iod_module_map, get_sop_class_iod_map
from pydicom import dcmread
from pydicom.dataset import FileDataset

from medgan.dicom.write import NOTICE, Origin, dicom_bytes, identity

SECRET = b"s" * 32
ORIGIN = Origin(model="medgan residual", version="0123456789abcdef", body_part="CHEST")
SHAPES = {
    "picture": np.zeros((1, 4, 4), np.uint8),
    "odd number of bytes": np.zeros((1, 3, 3), np.uint8),
    "deep picture": np.zeros((1, 4, 4), np.uint16),
    "volume": np.zeros((3, 4, 5), np.uint8),
    "deep volume": np.zeros((3, 4, 5), np.uint16),
}


def read(pixels: np.ndarray, index: int = 0, **more: object) -> FileDataset:
    return dcmread(BytesIO(dicom_bytes(pixels, identity(SECRET, "c" * 64, 0, index), ORIGIN, **more)))


def filled(shape: np.ndarray) -> np.ndarray:
    top = np.iinfo(shape.dtype).max
    return np.random.default_rng(0).integers(0, top, shape.shape, shape.dtype, endpoint=True)


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_pixels_survive_the_round_trip(shape: np.ndarray) -> None:
    pixels = filled(shape)
    np.testing.assert_array_equal(read(pixels).pixel_array, pixels.squeeze(0) if len(pixels) == 1 else pixels)


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_every_mandatory_module_has_its_required_attributes(shape: np.ndarray) -> None:
    dataset = read(shape)
    modules = get_iod_module_map()[get_sop_class_iod_map()[dataset.SOPClassUID]]
    mandatory = [module["key"] for module in modules if module["usage"] == "M"]
    assert len(mandatory) > 8
    for module in mandatory:
        check_required_attributes(dataset, module)


def test_a_frame_of_a_volume_has_its_place() -> None:
    dataset = read(np.zeros((3, 4, 5), np.uint8))
    assert dataset.NumberOfFrames == 3
    assert dataset[dataset.FrameIncrementPointer].keyword == "SliceLocationVector"
    assert len(dataset.SliceLocationVector) == 3


def test_the_object_says_in_every_place_that_it_is_synthetic() -> None:
    dataset = read(np.zeros((1, 4, 4), np.uint8), label="nodule")
    assert dataset.SyntheticData == "YES"
    assert list(dataset.ImageType) == ["DERIVED", "SECONDARY"]
    assert dataset.SeriesDescription == NOTICE
    assert dataset.ImageComments == f"{NOTICE}; label: nodule"
    assert dataset.PatientIdentityRemoved == "YES"
    assert dataset.BurnedInAnnotation == "NO"
    assert "SourceImageSequence" not in dataset
    assert dataset.ContributingEquipmentSequence[0].SoftwareVersions == "0123456789abcdef"


def test_no_private_or_device_attribute_is_written() -> None:
    dataset = read(np.zeros((3, 4, 4), np.uint8), label="nodule")

    elements = list(dataset.iterall())
    keywords = {element.keyword for element in elements}
    assert "CodeValue" in keywords  # sequences were entered
    assert not [element.tag for element in elements if element.tag.is_private]
    assert not keywords & {"InstitutionName", "DeviceSerialNumber", "StationName", "OperatorsName"}
    assert dataset.preamble == b"\0" * 128


def test_a_label_in_any_script_is_kept() -> None:
    assert read(np.zeros((1, 2, 2), np.uint8), label="结节").ImageComments.endswith("结节")


def test_identities_are_repeatable_and_differ_by_everything_that_makes_them() -> None:
    one = identity(SECRET, "c" * 64, 0, 0)
    assert one == identity(SECRET, "c" * 64, 0, 0)
    others = [
        identity(b"t" * 32, "c" * 64, 0, 0),
        identity(SECRET, "d" * 64, 0, 0),
        identity(SECRET, "c" * 64, 1, 0),
        identity(SECRET, "c" * 64, 0, 1),
    ]
    seen = [
        value for who in (one, *others) for value in (who.patient_id, who.study_uid, who.series_uid, who.instance_uid)
    ]
    assert len(set(seen)) == len(seen)


def test_uids_are_valid_and_no_longer_than_the_standard_allows() -> None:
    for index in range(200):
        who = identity(SECRET, "c" * 64, 0, index)
        for uid in (who.study_uid, who.series_uid, who.instance_uid):
            assert len(uid) <= 64
            assert uid.startswith("2.25.")
            assert str(int(uid.removeprefix("2.25."))) == uid.removeprefix("2.25.")


def test_the_same_image_gives_the_same_bytes() -> None:
    pixels = filled(SHAPES["picture"])
    who = identity(SECRET, "c" * 64, 0, 0)
    assert dicom_bytes(pixels, who, ORIGIN) == dicom_bytes(pixels, who, ORIGIN)


@pytest.mark.parametrize(
    "pixels", [np.zeros((4, 4), np.uint8), np.zeros((1, 4, 4), np.float32)], ids=["two axes", "floats"]
)
def test_what_is_no_stored_image_is_refused(pixels: np.ndarray) -> None:
    with pytest.raises(ValueError, match="expected uint8 or uint16"):
        read(pixels)
