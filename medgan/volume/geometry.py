"""Where a volume lies in the patient.

Positions are DICOM's: millimetres, x to the patient's left, y to the back, z to the head (LPS).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import permutations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medgan.errors import Reason, StudyRejected

ORTHOGONAL = 1e-3  # largest cosine between two axes that are taken for perpendicular
Vector = tuple[float, float, float]

HEAD_BACK_LEFT: tuple[Vector, Vector, Vector] = ((0, 0, 1), (0, 1, 0), (1, 0, 0))
# rows downward and columns rightward of a picture as it is shown, by the plane's dominant normal (x, y, z)
SHOWN: tuple[tuple[Vector, Vector], ...] = (
    ((0, 0, -1), (0, 1, 0)),  # sagittal
    ((0, 0, -1), (1, 0, 0)),  # coronal
    ((0, 1, 0), (1, 0, 0)),  # axial
)


@dataclass(frozen=True, slots=True)
class Geometry:
    """Grid of a volume: array axes are slice, row, column; `axes` holds their unit vectors in LPS.

    Raises StudyRejected (no_position) when spacing, origin or axes cannot place a voxel.
    """

    shape: tuple[int, int, int]
    spacing_mm: Vector
    origin_mm: Vector  # centre of the first voxel
    axes: tuple[Vector, Vector, Vector]

    def __post_init__(self) -> None:
        matrix = np.array(self.axes, dtype=float)
        numbers = [*self.spacing_mm, *self.origin_mm, *matrix.ravel()]
        if not all(math.isfinite(number) for number in numbers) or min(self.spacing_mm) <= 0 or min(self.shape) < 1:
            raise StudyRejected(Reason.NO_POSITION, detail="spacing, origin and axes must be finite, spacing above 0")
        if np.abs(matrix @ matrix.T - np.eye(3)).max() > 4 * ORTHOGONAL:
            raise StudyRejected(Reason.NO_POSITION, detail="the axes of a volume must be perpendicular unit vectors")

    @property
    def affine(self) -> NDArray[np.float64]:
        """[4, 4]: voxel index (slice, row, column) to millimetres (x, y, z)."""
        matrix = np.eye(4)
        matrix[:3, :3] = (np.array(self.axes) * np.array(self.spacing_mm)[:, None]).T
        matrix[:3, 3] = self.origin_mm
        return matrix


def unit(vector: Any) -> Vector:
    """A vector of length 1. Raises StudyRejected (no_position) for a null or infinite one."""
    length = float(np.linalg.norm(vector))
    if not math.isfinite(length) or length < 1e-6:
        raise StudyRejected(Reason.NO_POSITION, detail="an orientation cosine triple has no direction")
    x, y, z = (float(component) / length for component in vector)
    return x, y, z


def cross(a: Vector, b: Vector) -> Vector:
    return a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]


def dot(a: Vector, b: Vector) -> float:
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


def plane_axes(orientation: tuple[float, ...]) -> tuple[Vector, Vector, Vector]:
    """Unit vectors (normal, down the rows, along the columns) from Image Orientation (Patient).

    The six cosines are rounded text: they are normalised, and the column direction is made perpendicular.
    Raises StudyRejected when they are not those of two perpendicular directions.
    """
    along, down = unit(orientation[:3]), unit(orientation[3:])
    slip = dot(along, down)
    if abs(slip) > ORTHOGONAL:
        raise StudyRejected(Reason.NO_POSITION, detail="row and column directions are not perpendicular")
    down = unit([d - slip * a for d, a in zip(down, along, strict=True)])
    return cross(along, down), down, along


def alignment(axes: tuple[Vector, ...], wanted: tuple[Vector, ...]) -> tuple[tuple[int, ...], tuple[bool, ...]]:
    """Which of `axes` comes closest to each of `wanted`, and which of those must be flipped."""
    cosines = np.array(axes, dtype=float) @ np.array(wanted, dtype=float).T
    order = max(
        permutations(range(len(axes))),
        key=lambda some: (sum(abs(cosines[axis, place]) for place, axis in enumerate(some)), some),
    )
    return order, tuple(bool(cosines[axis, place] < 0) for place, axis in enumerate(order))


def turned(array: NDArray[Any], order: tuple[int, ...], flips: tuple[bool, ...]) -> NDArray[Any]:
    """A view of `array` with its axes in `order`, those in `flips` reversed."""
    return array.transpose(order)[tuple(slice(None, None, -1) if flip else slice(None) for flip in flips)]


def shown_order(down: Vector, along: Vector) -> tuple[tuple[int, ...], tuple[bool, ...]]:
    """How to turn a slice [H, W] so that head or front is up and the patient's left on the right."""
    normal = cross(along, down)
    plane = max(range(3), key=lambda axis: abs(normal[axis]))
    return alignment((down, along), SHOWN[plane])


def reoriented(geometry: Geometry) -> tuple[Geometry, tuple[int, ...], tuple[bool, ...]]:
    """The same voxels with axes nearest to (head, back, left), so that volumes of one cohort agree; and how an array
    is `turned` to it.
    """
    order, flips = alignment(geometry.axes, HEAD_BACK_LEFT)
    origin = np.array(geometry.origin_mm)
    for axis, flip in zip(order, flips, strict=True):
        if flip:
            origin = origin + np.array(geometry.axes[axis]) * geometry.spacing_mm[axis] * (geometry.shape[axis] - 1)
    axes = [tuple(-c if flip else c for c in geometry.axes[axis]) for axis, flip in zip(order, flips, strict=True)]
    placed = Geometry(
        shape=tuple(geometry.shape[axis] for axis in order),  # type: ignore[arg-type]
        spacing_mm=tuple(geometry.spacing_mm[axis] for axis in order),  # type: ignore[arg-type]
        origin_mm=tuple(float(c) for c in origin),  # type: ignore[arg-type]
        axes=tuple(axes),  # type: ignore[arg-type]
    )
    return placed, order, flips


def regridded(geometry: Geometry, shape: tuple[int, int, int]) -> Geometry:
    """The grid of `shape` over the same extent: spacing and origin follow."""
    spacing = [old * n / m for old, n, m in zip(geometry.spacing_mm, geometry.shape, shape, strict=True)]
    origin = np.array(geometry.origin_mm)
    for axis, old, new in zip(geometry.axes, geometry.spacing_mm, spacing, strict=True):
        origin = origin + np.array(axis) * (new - old) / 2
    x, y, z = (float(c) for c in origin)
    return Geometry(shape, (spacing[0], spacing[1], spacing[2]), (x, y, z), geometry.axes)


def shape_at(geometry: Geometry, spacing_mm: float) -> tuple[int, int, int]:
    """How many voxels of `spacing_mm` come nearest to the extent of `geometry`."""
    depth, height, width = (
        max(1, round(n * step / spacing_mm)) for n, step in zip(geometry.shape, geometry.spacing_mm, strict=True)
    )
    return depth, height, width
