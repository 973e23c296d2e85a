"""Labels onto another grid: the nearest voxel's, never a mixture; and what was lost on the way."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from medgan.volume.geometry import Geometry

KEPT = 0.5  # of a label's volume that must be found again: a grid may be coarser, a label may not go
GROWN, SWOLLEN = 1.5, 2.0  # times its volume: beyond the first it is told, beyond the second the mask is unfit


def nearest(labels: NDArray[np.uint16], there: Geometry, onto: Geometry) -> NDArray[np.uint16]:
    """labels [D, H, W] on the grid `onto`, however the two lie in the patient; 0 where the labels' own grid ends."""
    step = np.linalg.inv(there.affine) @ onto.affine
    moved: NDArray[np.uint16] = ndimage.affine_transform(
        labels, step[:3, :3], step[:3, 3], output_shape=onto.shape, order=0, mode="grid-constant", cval=0
    )
    return moved


def volumes_mm3(labels: NDArray[np.uint16], geometry: Geometry) -> dict[int, float]:
    """The volume of each label but 0."""
    found, counts = np.unique(labels[labels > 0], return_counts=True)
    voxel = float(np.prod(geometry.spacing_mm))
    return {int(label): int(count) * voxel for label, count in zip(found, counts, strict=True)}


def lost_labels(before: dict[int, float], after: dict[int, float]) -> list[int]:
    """Labels of which less than KEPT of the volume is left."""
    return [label for label, volume in before.items() if after.get(label, 0.0) < KEPT * volume]


def grown_labels(before: dict[int, float], after: dict[int, float], times: float = GROWN) -> list[int]:
    """Labels that have more than `times` of their volume: what is thinner than a voxel may win the whole of it."""
    return [label for label, volume in before.items() if after.get(label, 0.0) > times * volume]


def unfit_labels(before: dict[int, float], after: dict[int, float]) -> list[int]:
    """Labels that the new grid cannot show: less than KEPT of the volume is left, or more than SWOLLEN of it is there.

    Of a thin label the nearest voxels are all or nothing, as chance has it: two grids give two answers.
    """
    return sorted({*lost_labels(before, after), *grown_labels(before, after, SWOLLEN)})
