"""Which frames of an original series are read, at the cost of a few: text stands still, or it is new in a frame.

Thin structures are what a median takes away: letters, vessels and noise, but no edge of an organ. Their amount in
each cell of a frame, compared with the slices beside it, says where something was drawn. It only ranks the frames:
the detector decides, and is asked on until it has found nothing for a while.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from medgan.deid.pixels.render import extremes, window

Cells = NDArray[np.float32]

SEGMENTATION = "1.2.840.10008.5.1.4.1.1.66.4"
VOLUME_MODALITIES = ("CT", "MR", "PT")
SMALL_SIDE = 128  # frames up to this cost so little that all are looked at
NARROW = 32  # pixels; there are no cells to speak of in such frames
CELL = 8  # pixels
LINE = 4  # cells that a short word takes
FINE_SIDE = 384  # larger frames are halved first
MEDIAN = 5  # pixels: takes away strokes up to 2 wide, and up to 4 in a halved picture
SAMPLE_STEP = 8  # pixels
BULK = (1.0, 99.0)  # percent of the histogram


def every_frame(ds: Dataset) -> bool:
    """Whether each frame must be read in full: all but original CT, MR and PET slices of some size."""
    sides = int(ds.get("Rows") or 0), int(ds.get("Columns") or 0)
    return not _is_slice(ds) or max(sides) <= SMALL_SIDE or min(sides) < NARROW


def _is_slice(ds: Dataset) -> bool:
    """Whether the frames are original CT, MR or PET slices that do not admit to text."""
    kind = [str(v) for v in ds.get("ImageType") or []]
    return (
        str(ds.get("Modality", "")) in VOLUME_MODALITIES
        and kind[:2] == ["ORIGINAL", "PRIMARY"]
        and str(ds.get("BurnedInAnnotation", "")) != "YES"
        and int(ds.get("SamplesPerPixel") or 1) == 1
    )


def binary_mask(ds: Dataset) -> bool:
    """Whether the frames are segments of slices in single bits: a text in them can only be one of those slices."""
    if str(ds.get("SOPClassUID", "")) != SEGMENTATION or str(ds.get("SegmentationType", "")) != "BINARY":
        return False
    groups = [*(ds.get("SharedFunctionalGroupsSequence") or ()), *(ds.get("PerFrameFunctionalGroupsSequence") or ())]
    return int(ds.get("BitsAllocated") or 0) == 1 and any("PlanePositionSequence" in group for group in groups)


def drawn_on(ds: Dataset) -> set[str]:
    """The series that a mask refers to."""
    return {str(item.get("SeriesInstanceUID", "")) for item in ds.get("ReferencedSeriesSequence") or ()}


def positions(ds: Dataset) -> list[tuple[float, ...]]:
    """Where each frame of a mask lies, or the one of a slice; empty where a frame does not say."""
    groups = ds.get("PerFrameFunctionalGroupsSequence") or ()
    items = [(group.get("PlanePositionSequence") or [Dataset()])[0] for group in groups] or [ds]
    return [tuple(round(float(v), 2) for v in item.get("ImagePositionPatient") or ()) for item in items]


def place(ds: Dataset, frame: int) -> tuple[float, float, int]:
    """Where a frame stands in its series: along the normal of the slices, else by its number."""
    try:
        across, down = np.reshape([float(v) for v in ds.ImageOrientationPatient], (2, 3))
        along = float(np.cross(across, down) @ [float(v) for v in ds.ImagePositionPatient])
    except (AttributeError, TypeError, ValueError):
        along = 0.0
    try:
        number = float(ds.get("InstanceNumber") or 0)
    except (TypeError, ValueError):
        number = 0.0
    return along, number, frame


def thin_structures(frame: NDArray[Any]) -> Cells:
    """The amount of thin structures in each cell of a frame, float32 [H / CELL, W / CELL]."""
    size = max(1, frame.shape[1] // CELL), max(1, frame.shape[0] // CELL)
    picture = _shown(_halved(frame.astype(np.float32)) if max(frame.shape) > FINE_SIDE else frame)
    amounts = [cv2.absdiff(p, cv2.medianBlur(p, MEDIAN)) for p in (picture, _halved(picture))]
    shrunk = [cv2.resize(a, size, interpolation=cv2.INTER_AREA) for a in amounts]
    return shrunk[0].astype(np.float32) + shrunk[1]


def novelty(cells: Sequence[Cells]) -> list[Cells]:
    """By how much the cells of each frame exceed those of the frame before or after it, in runs of LINE cells.

    Of two frames at least.
    """
    near = [cv2.dilate(c, np.ones((3, 3), np.uint8)) for c in cells]
    found = []
    for n, c in enumerate(cells):
        before, after = (n - 1 if n else 1), (n + 1 if n + 1 < len(cells) else n - 1)
        beside = np.minimum(near[before], near[after])
        new = np.maximum(c - beside, 0)
        found.append(np.maximum(cv2.blur(new, (LINE, 1)), cv2.blur(new, (1, LINE))).astype(np.float32))
    return found


def projections(stack: Sequence[NDArray[Any]]) -> NDArray[np.uint8]:
    """Minimum, maximum and spread over the frames of a series as [H, W, 3]: text stands still, anatomy moves."""
    first = np.array(stack[0], np.float32)
    low, high, total, squares = first.copy(), first.copy(), np.zeros_like(first), np.zeros_like(first)
    for frame in stack:
        values = frame.astype(np.float32)
        cv2.min(low, values, dst=low)
        cv2.max(high, values, dst=high)
        moved = cv2.subtract(values, first)  # sums of differences are small enough for 32 bits
        cv2.accumulate(moved, total)
        cv2.accumulateSquare(moved, squares)
    spread = np.sqrt(np.maximum(squares / len(stack) - (total / len(stack)) ** 2, 0))
    return np.stack([window(plane, *extremes(plane)) for plane in (low, high, spread)], axis=-1)


def _halved(picture: NDArray[Any]) -> NDArray[Any]:
    half: NDArray[Any] = cv2.resize(picture, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
    return half


def _shown(frame: NDArray[Any]) -> NDArray[np.uint8]:
    sample = np.sort(frame[::SAMPLE_STEP, ::SAMPLE_STEP], axis=None)
    low, high = (float(sample[int(share / 100 * (sample.size - 1))]) for share in BULK)
    low, high = (low, high) if high > low else (float(frame.min()), float(frame.max()))
    return window(frame.astype(np.float32), low, high)
