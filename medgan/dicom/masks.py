"""Segmentations of a series: DICOM SEG objects as label volumes, with their place in the patient.

A SEG whose references are gone (some de-identification profiles remove them) is of the series that lies on its grid.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.pixels import iter_pixels

from medgan.dicom.dictionary import SEGMENTATION
from medgan.dicom.pixels import UNREADABLE
from medgan.dicom.read import Plane
from medgan.dicom.segments import code_of
from medgan.dicom.series import Stack
from medgan.errors import Reason, StudyRejected
from medgan.volume.geometry import Geometry, plane_axes

MODALITY = "SEG"
SAME = 1e-3  # cosines, and shares of a spacing
OFF_PLACE = 0.05  # of a step, or of a pixel: how far a frame may lie from its place
APART_MM = 0.01  # what lies closer together is one plane
MOST_VOXELS = 1 << 29  # of one label volume; more is taken for an attack


@dataclass(frozen=True, slots=True)
class Mask:
    """labels uint16 [D, H, W], 0 for nothing and else a segment's number; and where they lie."""

    labels: NDArray[np.uint16]
    geometry: Geometry


class _Frame(NamedTuple):
    """One frame of a SEG: its place in the file, its segment, and where in the patient it lies."""

    place: int
    segment: int
    position: tuple[float, ...]
    orientation: tuple[float, ...]
    spacing: tuple[float, ...]


@dataclass(frozen=True, slots=True, repr=False)
class Segmentation:
    """One SEG object, its frames still packed. codes: number of a segment -> what it shows (see segments.py).

    series and instances: the UIDs of what it was drawn on; empty where the references are gone.
    """

    dataset: Dataset
    frames: tuple[_Frame, ...]
    codes: dict[int, str]
    frame_of_reference: str
    series: frozenset[str]
    instances: frozenset[str]

    def drawn_on(self, stack: Stack) -> bool:
        """Whether it is of this volume: by its references, else by its frame of reference and grid."""
        first = stack.planes[0]
        if first.frame_of_reference != self.frame_of_reference:
            return False
        if not self.series:
            return bool(self.frame_of_reference) and self._lies_on(stack)
        among = not self.instances or any(plane.instance in self.instances for plane in stack.planes)
        return stack.series in self.series and among

    def labels(self, numbers: Collection[int] | None = None, *, step_mm: float = 0.0) -> Mask:
        """These segments, or all, in one label volume; slices without a frame between others are empty.

        step_mm: between the slices it was drawn on. What is at least half of a segment counts as it. Raises
        StudyRejected (mask_unfit) where segments overlap or slices are not one step apart.
        """
        geometry, places = _placed(self.dataset, self.frames, step_mm)
        labels = np.zeros(geometry.shape, np.uint16)
        taken = [frame for frame in self.frames if numbers is None or frame.segment in numbers]
        try:
            for frame, on in zip(taken, _decoded(self.dataset, [frame.place for frame in taken]), strict=True):
                page = labels[places[frame.place]]
                if np.any(on & (page != 0) & (page != frame.segment)):
                    raise _unfit("segments of a mask overlap")
                page[on] = frame.segment
        except UNREADABLE:
            raise StudyRejected(Reason.DECODE_FAILED, detail="the frames of a mask could not be decoded") from None
        return Mask(labels, geometry)

    def _lies_on(self, stack: Stack) -> bool:
        first, size = self.frames[0], (int(self.dataset.Rows), int(self.dataset.Columns))
        steps = zip(first.spacing, stack.geometry.spacing_mm[1:], strict=True)
        return size == stack.planes[0].size and all(abs(a - b) <= SAME * b for a, b in steps)


def is_mask(plane: Plane) -> bool:
    """Whether a plane is of a mask: it is no picture, and belongs to no series of pictures."""
    return plane.modality == MODALITY


def read_segmentation(file: Path) -> Segmentation:
    """One SEG object. Raises StudyRejected: unreadable where it is none, mask_unfit where its frames have no place."""
    try:
        dataset = dcmread(file)
        if dataset.SOPClassUID != SEGMENTATION or dataset.Rows * dataset.Columns > MOST_VOXELS:
            raise ValueError
        drawn = dataset.get("ReferencedSeriesSequence") or ()
        return Segmentation(
            dataset=dataset,
            frames=tuple(_frames(dataset)),
            codes={int(segment.SegmentNumber): code_of(segment) for segment in dataset.SegmentSequence},
            frame_of_reference=str(dataset.get("FrameOfReferenceUID") or ""),
            series=frozenset(str(item.SeriesInstanceUID) for item in drawn),
            instances=frozenset(_instances(drawn)),
        )
    except UNREADABLE:
        raise StudyRejected(Reason.UNREADABLE, detail="a mask could not be parsed as DICOM SEG") from None


def _unfit(detail: str) -> StudyRejected:
    return StudyRejected(Reason.MASK_UNFIT, detail=detail)


def _instances(drawn: Iterable[Dataset]) -> Iterator[str]:
    for item in drawn:
        for reference in item.get("ReferencedInstanceSequence") or ():
            yield str(reference.ReferencedSOPInstanceUID)


def _frames(dataset: Dataset) -> Iterator[_Frame]:
    """Raises one of UNREADABLE, and StudyRejected."""
    shared = (dataset.get("SharedFunctionalGroupsSequence") or (Dataset(),))[0]
    each = dataset.PerFrameFunctionalGroupsSequence
    if len(each) != int(dataset.NumberOfFrames):
        raise ValueError
    for index, own in enumerate(each):
        position = _said(own, shared, "PlanePositionSequence", "ImagePositionPatient")
        orientation = _said(own, shared, "PlaneOrientationSequence", "ImageOrientationPatient")
        spacing = _said(own, shared, "PixelMeasuresSequence", "PixelSpacing")
        (number,) = _said(own, shared, "SegmentIdentificationSequence", "ReferencedSegmentNumber") or (0,)
        if (len(position), len(orientation), len(spacing)) != (3, 6, 2) or not 0 < number < 1 << 16:
            raise _unfit("the frames of a mask do not say where in the patient they lie, or of which segment they are")
        yield _Frame(index, int(number), position, orientation, spacing)


def _said(own: Dataset, shared: Dataset, group: str, keyword: str) -> tuple[float, ...]:
    """The numbers of a functional group, a frame's own first; none where neither says it."""
    found = next((some[group][0].get(keyword) for some in (own, shared) if some.get(group)), None)
    if found is None:
        return ()
    return tuple(map(float, found)) if isinstance(found, Iterable) else (float(found),)


def _placed(dataset: Dataset, frames: tuple[_Frame, ...], step_mm: float) -> tuple[Geometry, NDArray[np.int64]]:
    """The grid of all frames, and the slice of each. Raises StudyRejected."""
    first = frames[0]
    alike = all(np.allclose(one.orientation, first.orientation, rtol=0, atol=SAME) for one in frames)
    if not alike or not all(np.allclose(one.spacing, first.spacing, rtol=SAME, atol=0) for one in frames):
        raise _unfit("the frames of a mask differ in direction or spacing")
    axes = plane_axes(first.orientation)
    positions = np.array([frame.position for frame in frames])
    depths, *beside = (np.array(axes) @ (positions - positions[0]).T).tolist()
    if any(np.ptp(off) > max(APART_MM, OFF_PLACE * min(first.spacing)) for off in beside):
        raise _unfit("the frames of a mask are shifted against each other")
    offsets = np.array(depths) - min(depths)
    likely = (step_mm, _measure(dataset, "SpacingBetweenSlices"))
    step = _step(offsets, likely, _measure(dataset, "SliceThickness"))
    places = np.rint(offsets / step).astype(np.int64)
    shape = (int(places.max()) + 1, int(dataset.Rows), int(dataset.Columns))
    if shape[0] * shape[1] * shape[2] > MOST_VOXELS:
        raise StudyRejected(Reason.UNSAFE_FILE, detail="a mask asks for more memory than any picture")
    origin = positions[int(np.argmin(offsets))].tolist()
    return Geometry(shape, (step, *first.spacing), tuple(origin), axes), places  # type: ignore[arg-type]


def _measure(dataset: Dataset, keyword: str) -> float:
    """What all frames share of their measures in mm; 0 where it is unsaid."""
    shared = (dataset.get("SharedFunctionalGroupsSequence") or (Dataset(),))[0]
    return (*_said(Dataset(), shared, "PixelMeasuresSequence", keyword), 0.0)[0]


def _step(offsets: NDArray[np.float64], likely: tuple[float, ...], thickness_mm: float) -> float:
    """One distance of which all offsets from the first plane are multiples. Raises StudyRejected."""
    gaps = np.diff(np.sort(offsets))
    gaps = gaps[gaps > APART_MM]
    if not len(gaps):
        step = next((step for step in (*likely, thickness_mm) if step > 0), 0.0)
        if not step:
            raise _unfit("a mask of one slice does not say how thick it is")
        return step
    last = float(offsets.max())
    for step in (*likely, float(gaps.min())):
        count = round(last / step) if step > 0 else 0
        even = last / count if count else 1.0  # positions and steps are rounded text
        if count and np.abs(offsets / even - np.rint(offsets / even)).max() <= OFF_PLACE:
            return even
    raise _unfit("the slices of a mask are not one step apart")


def _decoded(dataset: Dataset, indices: list[int]) -> Iterator[NDArray[np.bool_]]:
    """What is in the segment, bool [H, W] a frame. Raises one of UNREADABLE."""
    syntax = dataset.file_meta.TransferSyntaxUID
    if dataset.BitsAllocated == 1 and syntax.is_little_endian and not syntax.is_encapsulated:
        yield from _bits(dataset, indices)
        return
    fractional = str(dataset.SegmentationType).upper() == "FRACTIONAL"
    full = int(dataset.MaximumFractionalValue) if fractional else 1
    for frame in iter_pixels(dataset, indices=indices, raw=True) if indices else ():
        yield 2 * frame.astype(np.int64) >= full


def _bits(dataset: Dataset, indices: list[int]) -> Iterator[NDArray[np.bool_]]:
    """Frames of single bits follow each other without a gap: most begin inside a byte (PS3.5 8.1.1)."""
    rows, columns, packed = int(dataset.Rows), int(dataset.Columns), np.frombuffer(dataset.PixelData, np.uint8)
    size = rows * columns
    for index in indices:
        start, skip = divmod(index * size, 8)
        bits = np.unpackbits(packed[start : start + (skip + size + 7) // 8], bitorder="little")
        yield bits[skip : skip + size].reshape(rows, columns).astype(bool)
