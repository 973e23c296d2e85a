"""A SEG as labels in space: every rule of it, and highdicom as a second reader."""

from pathlib import Path

import highdicom as hd
import numpy as np
import pytest
from dicom_series import ct_slice, write
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence as Items
from segmentations import LEFT, LUNG, coded, segment, segmentation

from medgan.dicom.masks import Mask, read_segmentation
from medgan.dicom.read import read_planes
from medgan.dicom.segments import code_of, meaning_of, wanted_as
from medgan.dicom.series import Stack, sort_planes
from medgan.errors import Reason, StudyRejected

SHAPE = (6, 13, 11)  # frames that begin inside a byte
SLICES = [ct_slice(i) for i in range(6)]


def blocks(shape: tuple[int, int, int] = SHAPE) -> np.ndarray:
    """Segments 1 and 2 without order, and two slices in which there is nothing."""
    marked = np.random.default_rng(3).integers(0, 3, shape)
    marked[[2, 3]] = 0
    return marked


def read(folder: Path, dataset: Dataset, **more: float) -> Mask:
    return read_segmentation(write(folder, [dataset])[0]).labels(**more)


def reason(folder: Path, dataset: Dataset) -> Reason:
    with pytest.raises(StudyRejected) as caught:
        read(folder, dataset)
    return caught.value.reason


def test_labels_are_where_they_were_drawn_also_in_frames_that_begin_inside_a_byte(tmp_path: Path) -> None:
    mask = read(tmp_path, segmentation(SLICES, blocks(), origin=[1.0, 2.0, -3.0], spacing=[0.5, 0.75]))
    assert np.array_equal(mask.labels, blocks())
    assert mask.geometry.origin_mm == (1.0, 2.0, -3.0) and mask.geometry.spacing_mm == (2.0, 0.5, 0.75)


def test_highdicom_reads_the_same(tmp_path: Path) -> None:
    tilted = [0.0, 1.0, 0.0, 0.6, 0.0, -0.8]
    normal = np.cross(tilted[:3], tilted[3:])
    made = segmentation(SLICES, blocks(), orientation=tilted, step=-1.5 * normal, origin=[5.0, -7.0, 30.0])
    mask = read(tmp_path, made)
    volume = hd.seg.segread(tmp_path / next(tmp_path.iterdir()).name).get_volume(combine_segments=True)
    at = np.argwhere(volume.array > 0)
    there = (mask.labels > 0).sum()
    places = np.linalg.inv(mask.geometry.affine) @ volume.affine @ np.c_[at, np.ones(len(at))].T
    found = np.rint(places[:3]).astype(int)
    assert there == len(at) and np.abs(places[:3] - found).max() < 1e-4
    assert np.array_equal(mask.labels[tuple(found)], volume.array[tuple(at.T)])


def test_slices_that_are_missing_at_regular_distances_are_empty_when_the_series_tells_its_step(tmp_path: Path) -> None:
    marked = np.zeros(SHAPE, int)
    marked[[0, 4]] = 1
    assert read(tmp_path / "a", segmentation(SLICES, marked), step_mm=2.0).labels.any((1, 2)).tolist() == [
        *(True, False, False, False, True)
    ]
    assert len(read(tmp_path / "b", segmentation(SLICES, marked)).labels) == 2


def test_one_slice_is_as_thick_as_it_says(tmp_path: Path) -> None:
    marked = np.zeros(SHAPE, int)
    marked[3, 2:5] = 1
    made = segmentation(SLICES, marked)
    assert read(tmp_path, made).geometry.spacing_mm[0] == 2.0
    del made.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0].SliceThickness
    assert reason(tmp_path, made) == Reason.MASK_UNFIT
    assert read(tmp_path, made, step_mm=2.5).geometry.spacing_mm[0] == 2.5


def test_at_least_half_of_a_fraction_counts(tmp_path: Path) -> None:
    marked = np.zeros(SHAPE)
    marked[:, 0, :4] = (99, 100, 101, 200)
    found = read(tmp_path, segmentation(SLICES, marked, fractional=200)).labels[:, 0, :5]
    assert (found == [0, 1, 1, 1, 0]).all()


def test_only_the_segments_asked_for_may_not_overlap(tmp_path: Path) -> None:
    marked = (blocks() == 1).astype(int)
    made = segmentation(SLICES, marked, overlap={2: marked > 0})
    assert reason(tmp_path, made) == Reason.MASK_UNFIT
    (file,) = tmp_path.iterdir()
    assert np.array_equal(read_segmentation(file).labels([2]).labels, 2 * marked)


def shifted(dataset: Dataset, frame: int, by: tuple[float, float, float]) -> Dataset:
    position = dataset.PerFrameFunctionalGroupsSequence[frame].PlanePositionSequence[0]
    position.ImagePositionPatient = [a + b for a, b in zip(position.ImagePositionPatient, by, strict=True)]
    return dataset


def without(dataset: Dataset, group: str) -> Dataset:
    for frame in dataset.PerFrameFunctionalGroupsSequence:
        delattr(frame, group)
    return dataset


def turned(dataset: Dataset) -> Dataset:
    shared = dataset.SharedFunctionalGroupsSequence[0].PlaneOrientationSequence
    dataset.PerFrameFunctionalGroupsSequence[1].PlaneOrientationSequence = Items(
        [Dataset.from_json(shared[0].to_json())]
    )
    own = dataset.PerFrameFunctionalGroupsSequence[1].PlaneOrientationSequence[0]
    own.ImageOrientationPatient = [0, 1, 0, 1, 0, 0]
    return dataset


UNFIT = {
    "a slice off its step": (lambda: shifted(segmentation(SLICES, blocks()), 1, (0, 0, 0.7)), Reason.MASK_UNFIT),
    "a slice beside the others": (lambda: shifted(segmentation(SLICES, blocks()), 1, (0.5, 0, 0)), Reason.MASK_UNFIT),
    "a slice in another direction": (lambda: turned(segmentation(SLICES, blocks())), Reason.MASK_UNFIT),
    "no place": (lambda: without(segmentation(SLICES, blocks()), "PlanePositionSequence"), Reason.MASK_UNFIT),
    "a slice a kilometre away": (lambda: shifted(segmentation(SLICES, blocks()), 1, (0, 0, 1e9)), Reason.UNSAFE_FILE),
    "a CT": (lambda: ct_slice(0), Reason.UNREADABLE),
    "too few frames": (lambda: segmentation(SLICES, blocks(), NumberOfFrames=3), Reason.UNREADABLE),
    "cut pixels": (lambda: segmentation(SLICES, blocks(), PixelData=bytes(8)), Reason.DECODE_FAILED),
}


@pytest.mark.parametrize("name", UNFIT)
def test_what_is_no_volume_of_labels_is_refused(tmp_path: Path, name: str) -> None:
    make, expected = UNFIT[name]
    assert reason(tmp_path, make()) == expected


def stack_of(folder: Path, slices: list[Dataset]) -> Stack:
    (stack,) = sort_planes(read_planes(write(folder, slices))[0]).stacks
    return stack


def test_a_mask_belongs_to_the_series_it_refers_to(tmp_path: Path) -> None:
    marked = (blocks((6, 16, 16)) > 0).astype(int)
    stack = stack_of(tmp_path / "ct", SLICES)
    other = stack_of(tmp_path / "other", [ct_slice(i, series="1.2.3.2") for i in range(6)])
    moved = stack_of(tmp_path / "moved", [ct_slice(i, FrameOfReferenceUID="1.2.3.10") for i in range(6)])
    again = stack_of(tmp_path / "again", [ct_slice(i, SOPInstanceUID=f"1.2.9.{i}") for i in range(6)])
    (file,) = write(tmp_path / "seg", [segmentation(SLICES, marked)])
    found = read_segmentation(file)
    assert [found.drawn_on(one) for one in (stack, other, moved, again)] == [True, False, False, False]
    made = segmentation(SLICES, marked)
    del made.ReferencedSeriesSequence[0].ReferencedInstanceSequence
    whole = read_segmentation(write(tmp_path / "series", [made])[0])
    assert [whole.drawn_on(one) for one in (stack, other, moved, again)] == [True, False, False, True]


def test_without_references_it_belongs_to_what_lies_on_its_grid(tmp_path: Path) -> None:
    marked = (blocks((6, 16, 16)) > 0).astype(int)
    stack = stack_of(tmp_path / "ct", SLICES)
    fine = stack_of(tmp_path / "fine", [ct_slice(i, PixelSpacing=[0.5, 0.5]) for i in range(6)])
    moved = stack_of(tmp_path / "moved", [ct_slice(i, FrameOfReferenceUID="1.2.3.10") for i in range(6)])
    (file,) = write(tmp_path / "seg", [segmentation(SLICES, marked, references=False)])
    found = read_segmentation(file)
    assert [found.drawn_on(one) for one in (stack, fine, moved)] == [True, False, False]


def test_a_code_says_what_a_segment_shows_and_free_text_never_does() -> None:
    left = code_of(segment(1, LUNG, LEFT))
    assert left == "SCT:39607008+SCT:7771000" and meaning_of(left) == "Lung, Left"
    assert code_of(segment(1, ("T-28000", "SRT", "Doe^Jane"))) == "SCT:39607008"
    for odd in (("1", "99DOE", "x"), ("Doe Jane", "SCT", "x"), ("", "SCT", "x"), ("T-28000X", "SRT", "x")):
        assert code_of(segment(1, odd)) == ""
    bare = segment(1, LUNG)
    bare.SegmentedPropertyTypeCodeSequence = Items([])
    assert code_of(bare) == "" and meaning_of("SCT:1") == "" and coded(LUNG)


def test_a_wanted_code_without_a_side_means_both() -> None:
    lung, left = "SCT:39607008", "SCT:39607008+SCT:7771000"
    assert [wanted_as(left, wanted) for wanted in ((), (lung,), (left, lung), ("SCT:1",))] == [left, lung, left, ""]
    assert wanted_as(lung, (left,)) == "" and wanted_as("", ()) == ""
