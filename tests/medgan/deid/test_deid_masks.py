"""A SEG goes through gate 1 like any object; only binary masks of clean slices are not searched for letters."""

import io

import numpy as np
import pytest
from burned import Case, planted
from dicom_series import ct_slice
from pydicom import dcmread, dcmwrite
from pydicom.dataset import Dataset
from segmentations import LUNG, segment, segmentation

from medgan.deid.draft import Draft, Written, open_draft
from medgan.deid.pixels.look import look
from medgan.errors import Reason
from medgan.recipes import DeidentifyRecipe
from medgan.stages.gate_one import prepare, profile_of, settle

SIDE = 160


def as_bytes(dataset: Dataset) -> bytes:
    file = io.BytesIO()
    dcmwrite(file, dataset, enforce_file_format=True)
    return file.getvalue()


def scan(texts: tuple[int, ...] = ()) -> list[Dataset]:
    """Three smooth slices; letters stand in those of `texts`."""
    y, x = np.mgrid[:SIDE, :SIDE] / SIDE
    plain = 0.3 + 0.3 * np.exp(-((x - 0.5) ** 2 + (y - 0.5) ** 2) / 0.1)
    case = Case.drawn(1, "look", 0, heights=(16,), side=SIDE)
    case = Case(**{**case.__dict__, "text": "DOE JANE", "font": "DejaVuSans", "angle": 0.0})
    written = planted(plain, case, np.random.default_rng(3))[0]
    pixels = [((written if i in texts else plain) * 2000).astype("<u2").tobytes() for i in range(3)]
    return [ct_slice(i, side=SIDE, PixelData=page) for i, page in enumerate(pixels)]


def ribs(slices: list[Dataset], **more: object) -> Dataset:
    """Outlines that the detector takes for letters, and the letters of what is above a threshold in the slices."""
    import cv2

    page = np.zeros((SIDE, SIDE), np.uint8)
    cv2.putText(page, "DOE JANE", (20, 80), cv2.FONT_HERSHEY_SIMPLEX, 0.7, 1, 2)
    return segmentation(slices, np.stack([page] * 3).astype(int), **more)


def looked_at(*datasets: Dataset) -> Draft:
    draft = open_draft({f"{n:02d}": as_bytes(one) for n, one in enumerate(datasets)}, "ab" * 16)
    look([draft], 1024)
    return draft


def test_a_binary_mask_of_clean_slices_is_not_searched() -> None:
    *_, mask = looked_at(*scan(), ribs(scan())).instances
    assert mask.reason is None and not mask.looked and not any(mask.boxes)


DOUBTFUL = {
    "slices with letters, of another size": lambda: [*scan((1,)), ribs(scan(), Rows=SIDE // 2, Columns=2 * SIDE)],
    "slices that are not there": lambda: [ribs(scan())],
    "no word on what it was drawn on": lambda: [*scan(), ribs(scan(), references=False)],
}


@pytest.mark.parametrize("name", DOUBTFUL)
def test_where_it_may_hold_letters_it_is_searched_and_set_aside(name: str) -> None:
    *_, mask = looked_at(*DOUBTFUL[name]()).instances
    assert mask.reason == Reason.TEXT_UNCLEAR


def bits(mask: Dataset) -> np.ndarray:
    return np.unpackbits(np.frombuffer(mask.PixelData, np.uint8), bitorder="little").reshape(-1, SIDE, SIDE)


def test_what_was_blanked_in_a_slice_is_cleared_in_its_mask_and_nowhere_else() -> None:
    full = segmentation(scan(), np.ones((3, SIDE, SIDE), int))
    written, draft = through("research", *scan((1,)), full)
    assert not draft.refused()
    *_, mask = draft.instances
    (box,) = mask.boxes[1]
    expected = bits(full).copy()
    expected[1, box.top : box.bottom, box.left : box.right] = 0
    results = [dcmread(io.BytesIO(data)) for data in written.files.values()]
    (found,) = (one for one in results if one.Modality == "SEG")
    assert mask.boxes[0] == mask.boxes[2] == [] and np.array_equal(bits(found), expected)
    assert (box.bottom - box.top) * (box.right - box.left) > 500


def test_letters_in_frames_that_begin_inside_a_byte_cannot_be_cleared() -> None:
    odd = [ct_slice(i, side=SIDE) for i in range(3)]
    for one, other in zip(odd, scan((1,)), strict=True):
        one.Rows, one.Columns, one.PixelData = SIDE - 1, SIDE - 1, other.pixel_array[1:, 1:].tobytes()
        one.PixelData += bytes(len(one.PixelData) % 2)
    *_, mask = looked_at(*odd, segmentation(odd, np.ones((3, SIDE - 1, SIDE - 1), int))).instances
    assert mask.reason == Reason.TEXT_UNCLEAR


def test_a_mask_of_shades_is_searched_and_cleaned() -> None:
    binary = ribs(scan())
    shades = np.unpackbits(np.frombuffer(binary.PixelData, np.uint8), bitorder="little").reshape(3, SIDE, SIDE) * 255.0
    *_, mask = looked_at(*scan(), segmentation(scan(), shades, fractional=255)).instances
    assert mask.looked and mask.repainted and mask.reason is None


def through(profile: str, *datasets: Dataset) -> tuple[Written, Draft]:
    applied = profile_of(DeidentifyRecipe(profile=profile))
    draft = open_draft({f"{n:02d}": as_bytes(one) for n, one in enumerate(datasets)}, "ab" * 16)
    prepare([draft], applied, 1024)
    return settle(draft, applied, b"k" * 32, 1825)[0], draft


@pytest.mark.parametrize("profile", ["research", "basic"])
def test_nothing_that_names_stays_in_a_mask_and_references_follow(profile: str) -> None:
    slices = [ct_slice(i, PatientName="Doe^Jane", PatientID="P-7741") for i in range(3)]
    named = segment(1, LUNG, SegmentLabel="lung Doe", SegmentDescription="seen by Zanzibarius", TrackingID="Doe-1")
    named.TrackingUID, named.SegmentedPropertyTypeCodeSequence[0].CodeMeaning = "1.2.3.99.5", "Lung of Jane Doe"
    made = segmentation(slices, np.ones((3, 16, 16), int), [named], ContentCreatorName="Readerman^Quentin")
    made.ContentDescription, made.SeriesDescription = "P-7741 lung", "mask P-7741"
    written, draft = through(profile, *slices, made)
    assert not draft.refused() and len(written.files) == 4
    everything = b"".join(written.files.values())
    for secret in (b"Doe", b"DOE", b"Jane", b"7741", b"Zanzibar", b"Readerman", b"1.2.3.99.5", b"1.2.3.1\0"):
        assert secret not in everything
    found = {uid: dcmread(io.BytesIO(data)) for uid, data in written.files.items()}
    (mask,) = (one for one in found.values() if one.Modality == "SEG")
    images = [one for one in found.values() if one.Modality == "CT"]
    assert mask.FrameOfReferenceUID == images[0].FrameOfReferenceUID
    assert mask.StudyInstanceUID == images[0].StudyInstanceUID != made.StudyInstanceUID
    assert mask.PixelData == made.PixelData and mask.SegmentSequence[0].SegmentedPropertyTypeCodeSequence[0].CodeValue
    if profile == "research":
        (series,) = mask.ReferencedSeriesSequence
        referred = {one.ReferencedSOPInstanceUID for one in series.ReferencedInstanceSequence}
        assert series.SeriesInstanceUID == images[0].SeriesInstanceUID
        assert referred == {one.SOPInstanceUID for one in images}
        source = mask.PerFrameFunctionalGroupsSequence[0].DerivationImageSequence[0].SourceImageSequence[0]
        assert source.ReferencedSOPInstanceUID in referred
    else:
        assert "ReferencedSeriesSequence" not in mask
