"""Segmentations of a series: DICOM SEG objects as label volumes, with their place in the patient."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from medgan.dicom.pixels import UNREADABLE
from medgan.errors import Reason, StudyRejected
from medgan.volume.geometry import Geometry, unit


@dataclass(frozen=True, slots=True)
class Mask:
    """labels uint16 [D, H, W], 0 for nothing, where they lie, and the series they were drawn on."""

    labels: NDArray[np.uint16]
    geometry: Geometry
    frame_of_reference: str
    series: str


def read_mask(file: Path) -> Mask:
    """The segments of one SEG object in one label volume; slices without a segment between others are empty.

    Raises StudyRejected (mask_unfit) where segments overlap, slices are not one step apart, or nothing says which
    series it was drawn on; unreadable where it is no SEG.
    """
    import highdicom as hd  # slow to import, and few studies have a mask

    try:
        segmentation = hd.seg.segread(file)
        series = str(segmentation.ReferencedSeriesSequence[0].SeriesInstanceUID)
    except UNREADABLE:
        raise StudyRejected(Reason.UNREADABLE, detail="a mask could not be parsed as DICOM SEG") from None
    try:
        volume = segmentation.get_volume(combine_segments=True, rescale_fractional=True)
    except UNREADABLE:
        raise StudyRejected(
            Reason.MASK_UNFIT, detail="the segments of a mask overlap, or its slices are not one step apart"
        ) from None
    labels = np.asarray(volume.array).astype(np.uint16)
    affine = np.asarray(volume.affine, dtype=float)
    geometry = Geometry(
        shape=labels.shape,
        spacing_mm=tuple(float(np.linalg.norm(affine[:3, n])) for n in range(3)),  # type: ignore[arg-type]
        origin_mm=tuple(float(c) for c in affine[:3, 3]),  # type: ignore[arg-type]
        axes=tuple(unit(affine[:3, n]) for n in range(3)),  # type: ignore[arg-type]
    )
    return Mask(labels, geometry, str(segmentation.FrameOfReferenceUID), series)
