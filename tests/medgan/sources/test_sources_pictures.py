"""Pictures and volumes become DICOM at the door."""

from __future__ import annotations

import gzip
import io

import nibabel
import numpy as np
import pytest
from PIL import Image
from pydicom import dcmread

from medgan.dicom.index import read_header
from medgan.errors import InputRejected, Reason
from medgan.sources.entry import Limits
from medgan.sources.labels import Hints
from medgan.sources.pictures import picture_to_dicom
from medgan.sources.reading import read
from medgan.sources.source import open_source
from medgan.sources.volumes import volume_to_dicom


def picture(pixels: np.ndarray, kind: str = "PNG", **more) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind, **more)
    return file.getvalue()


def volume(values: np.ndarray, affine: np.ndarray | None = None) -> bytes:
    return gzip.compress(nibabel.Nifti1Image(values, np.eye(4) if affine is None else affine).to_bytes(), mtime=0)


def images(data: bytes, hints: Hints | None = None, limits: Limits | None = None):
    made = volume_to_dicom(data, hints or Hints(), limits or Limits())
    return [dcmread(io.BytesIO(image)) for image, _ in made]


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_a_picture_keeps_every_grey_value(dtype):
    pixels = (np.arange(35).reshape(5, 7) * (7 if dtype == "uint8" else 1800)).astype(dtype)
    data, header = picture_to_dicom(picture(pixels), Hints())
    dataset = dcmread(io.BytesIO(data))
    assert np.array_equal(dataset.pixel_array, pixels)
    assert (dataset.Modality, dataset.PhotometricInterpretation) == ("OT", "MONOCHROME2")
    assert read_header(data) == header


def test_colours_become_grey_and_loss_is_said():
    data, _ = picture_to_dicom(picture(np.full((8, 8, 3), (255, 0, 0), np.uint8), "JPEG"), Hints())
    dataset = dcmread(io.BytesIO(data))
    assert dataset.pixel_array.shape == (8, 8)
    assert dataset.LossyImageCompression == "01"


def test_the_same_picture_is_the_same_image_and_another_is_not():
    one, two = (picture(np.full((4, 4), n, np.uint8)) for n in (1, 2))
    assert picture_to_dicom(one, Hints()) == picture_to_dicom(one, Hints())
    a, b = (picture_to_dicom(data, Hints())[1] for data in (one, two))
    assert {a.sop_instance_uid, a.study_uid, a.patient_id}.isdisjoint({b.sop_instance_uid, b.study_uid, b.patient_id})


def test_what_the_table_says_is_written_and_the_label_is_not():
    hints = Hints("COVID-19", "p7", modality="cr", sex="m", age="61.0", view="pa", body_part="chest")
    dataset = dcmread(io.BytesIO(picture_to_dicom(picture(np.zeros((4, 4), np.uint8)), hints)[0]))
    assert (dataset.PatientID, dataset.Modality, dataset.PatientSex, dataset.PatientAge) == ("p7", "CR", "M", "061Y")
    assert (dataset.ViewPosition, dataset.BodyPartExamined) == ("PA", "CHEST")
    assert "COVID" not in str(dataset)


def test_a_patient_id_of_any_script_or_shape_is_written(recwarn):
    for patient_id in ("Jürgen 7", "患者七", "a/b"):
        data, header = picture_to_dicom(picture(np.zeros((4, 4), np.uint8)), Hints(patient_id=patient_id))
        assert header.patient_id == read_header(data).patient_id == patient_id
    assert [str(warning.message) for warning in recwarn] == []


@pytest.mark.parametrize("data", [b"\x89PNG\r\n\x1a\n", b"hello", picture(np.zeros((64, 64), np.uint8))[:60]])
def test_a_broken_picture_is_refused(data):
    with pytest.raises(InputRejected) as caught:
        picture_to_dicom(data, Hints())
    assert caught.value.reason == Reason.UNREADABLE_PICTURE


def test_a_picture_of_enormous_size_is_refused_before_it_is_decoded():
    bomb = picture(np.zeros((1 << 14, 1 << 13), np.uint8))
    with pytest.raises(InputRejected) as caught:
        picture_to_dicom(bomb, Hints())
    assert caught.value.reason == Reason.UNSAFE_FILE


@pytest.mark.parametrize("codes", ["RAS", "LPS", "PIR", "SAL"])
def test_a_volume_keeps_its_place_in_the_patient_whatever_its_axes(codes):
    values = np.arange(2 * 3 * 4, dtype=np.int16).reshape(2, 3, 4)
    ras = np.array([[2.0, 0, 0, -10], [0, 3.0, 0, -20], [0, 0, 4.0, 30], [0, 0, 0, 1]])
    image = nibabel.Nifti1Image(values, ras)
    turn = nibabel.orientations.ornt_transform(
        nibabel.io_orientation(ras), nibabel.orientations.axcodes2ornt(tuple(codes))
    )
    turned = image.as_reoriented(turn)
    slices = images(gzip.compress(nibabel.Nifti1Image(turned.dataobj, turned.affine).to_bytes()))
    assert len(slices) == 4
    for dataset in slices:
        position, orientation = np.array(dataset.ImagePositionPatient), np.array(dataset.ImageOrientationPatient)
        assert orientation.tolist() == [1, 0, 0, 0, 1, 0]
        for row in range(3):
            for column in range(2):
                lps = position + orientation[:3] * dataset.PixelSpacing[1] * column
                lps = lps + orientation[3:] * dataset.PixelSpacing[0] * row
                i, j, k, _ = np.rint(np.linalg.inv(ras) @ [-lps[0], -lps[1], lps[2], 1]).astype(int)
                assert dataset.pixel_array[row, column] == values[i, j, k]


def test_fractions_survive_to_a_thousandth_of_the_range():
    values = np.linspace(-3.3, 81.7, 60, dtype=np.float32).reshape(3, 4, 5)
    slices = images(volume(values, np.diag([-1.0, -1, 1, 1])))
    back = np.stack([s.pixel_array * float(s.RescaleSlope) + float(s.RescaleIntercept) for s in slices], axis=-1)
    assert np.abs(back.transpose(1, 0, 2) - values).max() < 85 / 1000


def test_ct_numbers_are_told_by_air_and_kept_exact():
    values = np.full((3, 3, 2), -1000, np.int16)
    values[1] = 55
    dataset = images(volume(values))[0]
    assert (dataset.Modality, dataset.RescaleSlope, dataset.RescaleIntercept) == ("CT", 1, 0)
    assert dataset.pixel_array.min() == -1000


BAD = [
    (lambda: b"not a volume", Reason.UNREADABLE_PICTURE, "no NIfTI"),
    (lambda: volume(np.zeros((3, 3, 3), np.int16))[:-9], Reason.UNREADABLE_PICTURE, "cut gzip"),
    (lambda: nibabel.Nifti1Image(np.zeros((9, 9, 9), np.int16), np.eye(4)).to_bytes()[:-99], None, "cut volume"),
    (lambda: volume(np.zeros((3, 3, 3, 2), np.int16)), Reason.UNREADABLE_PICTURE, "two volumes in one"),
    (lambda: volume(np.full((3, 3, 3), np.nan, np.float32)), Reason.UNREADABLE_PICTURE, "not finite"),
    (
        lambda: volume(
            np.zeros((3, 3, 3), np.int16), np.array([[1, 0.3, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
        ),
        Reason.SHEARED,
        "sheared",
    ),
    (lambda: gzip.compress(bytes(16 << 20)), Reason.UNSAFE_FILE, "gzip bomb"),
]


@pytest.mark.parametrize(("make", "expected"), [row[:2] for row in BAD], ids=[row[2] for row in BAD])
def test_a_volume_that_cannot_be_used_is_refused(make, expected):
    with pytest.raises(InputRejected) as caught:
        images(make())
    assert caught.value.reason == expected or expected is None


def test_pictures_without_patients_are_units_of_their_own(tmp_path):
    for n in range(3):
        (tmp_path / f"{n}.png").write_bytes(picture(np.full((4, 4), n, np.uint8)))
    source = open_source(str(tmp_path))
    assert source.unit == "image"
    found = [read(item.task(tmp_path / item.locator[0], Limits())) for item in source]
    assert len({reading.header.patient_id for reading in found}) == 3


def test_pictures_with_a_table_belong_to_its_patients(tmp_path):
    for n in range(3):
        (tmp_path / f"{n}.png").write_bytes(picture(np.full((4, 4), n, np.uint8)))
    (tmp_path / "labels.csv").write_text("file,label,patient_id\n0.png,a,7\n1.png,b,7\n2.png,,8\n")
    source = open_source(str(tmp_path))
    readings = [(item.hints.label, read(item.task(tmp_path / item.locator[0], Limits()))) for item in source]
    found = [(label, reading.header.patient_id, reading.unit) for label, reading in readings]
    assert source.unit == "patient"
    assert found == [("a", "7", "patient"), ("b", "7", "patient"), (None, "8", "patient")]
