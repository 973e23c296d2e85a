"""The planes of a series, decoded one after the other, onto another grid: what single pictures and volumes share."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medgan.dicom.pixels import PALETTE, padding_of, stored_values
from medgan.dicom.read import Plane, values
from medgan.dicom.series import Stack
from medgan.errors import Reason, StudyRejected
from medgan.volume.geometry import Geometry
from medgan.volume.intensity import grey
from medgan.volume.resample import Regrid, Shape, Stored


@dataclass(frozen=True, slots=True)
class Linear:
    """A decoded plane: value = raw * slope + intercept, raw [H, W]; and what of it is padding, or None."""

    raw: NDArray[Any]
    slope: float
    intercept: float
    outside: NDArray[np.bool_] | None


def extent(stack: Stack) -> Geometry:
    """The upright grid that all planes of a stack lie in: a tilted stack needs more rows than any of its planes."""
    geometry, (above, beside) = stack.geometry, _margins(stack)
    origin = np.array(geometry.origin_mm)
    for axis, margin in ((1, above), (2, beside)):
        origin = origin - np.array(geometry.axes[axis]) * geometry.spacing_mm[axis] * margin[0]
    rows, columns = geometry.shape[1] + sum(above), geometry.shape[2] + sum(beside)
    x, y, z = (float(c) for c in origin)
    return Geometry((geometry.shape[0], rows, columns), geometry.spacing_mm, (x, y, z), geometry.axes)


def on_grid(stack: Stack, shape: Shape, stored: Stored) -> tuple[NDArray[Any], NDArray[np.bool_] | None]:
    """A stack's `extent` on a grid of `shape` along its own axes, and what is padding. Raises StudyRejected."""
    grid, margins = Regrid(extent(stack).shape, shape, stored), _margins(stack)
    _, down_mm, along_mm = stack.geometry.spacing_mm
    kind = stack.planes[0].pixels.dtype
    # a plane is read over the one before: fresh memory costs more than reading
    room = None if kind is None else np.empty(stack.planes[0].size, kind)
    for number, plane in enumerate(stack.planes):
        found = decoded(plane, room if plane.pixels.dtype == kind else None)
        if stack.shear != (0.0, 0.0):
            found = _widened(found, margins)
        slip = (number * stack.shear[0] / down_mm, number * stack.shear[1] / along_mm)
        grid.add(found.raw, slope=found.slope, intercept=found.intercept, outside=found.outside, slip=slip)
    return grid.finished()


def _margins(stack: Stack) -> tuple[tuple[int, int], tuple[int, int]]:
    """Pixels (before, after) by which planes leave the first one, down the rows and along the columns."""
    steps = len(stack.planes) - 1
    off = [steps * shear / mm for shear, mm in zip(stack.shear, stack.geometry.spacing_mm[1:], strict=True)]
    down, along = ((math.ceil(max(0.0, -pixels)), math.ceil(max(0.0, pixels))) for pixels in off)
    return down, along


def _widened(found: Linear, margins: tuple[tuple[int, int], tuple[int, int]]) -> Linear:
    outside = np.zeros(found.raw.shape, bool) if found.outside is None else found.outside
    return Linear(
        np.pad(found.raw, margins), found.slope, found.intercept, np.pad(outside, margins, constant_values=True)
    )


def picture_on_grid(plane: Plane, size: tuple[int, int]) -> tuple[NDArray[np.float32], NDArray[np.bool_] | None]:
    """One plane on [h, w] pixels, float32; and what is padding. Raises StudyRejected."""
    found = decoded(plane)
    grid = Regrid((1, *found.raw.shape), (1, *size), Stored())
    grid.add(found.raw, slope=found.slope, intercept=found.intercept, outside=found.outside)
    picture, outside = grid.finished()
    return picture[0], None if outside is None else outside[0]


def decoded(plane: Plane, out: NDArray[Any] | None = None) -> Linear:
    """Pixels in which more is brighter (in HU for CT); `out` may come to hold them. Raises StudyRejected."""
    if in_hu(plane) and not plane.rescaled:
        raise StudyRejected(Reason.MISSING_ATTRIBUTE, detail="a CT slice does not say how its values become HU")
    if plane.pixels.samples > 1 or plane.pixels.photometric == PALETTE or plane.pixels.lut:
        picture, outside, top = values(plane)
        found = Linear(grey(picture, top) if picture.ndim == 3 else picture, 1.0, 0.0, outside)
    else:
        raw = stored_values(plane.pixels, plane.frame, out)
        found = Linear(raw, plane.slope, plane.intercept, padding_of(raw, plane.pixels))
    if plane.pixels.photometric == "MONOCHROME1" and not in_hu(plane):
        return Linear(found.raw, -found.slope, -found.intercept, found.outside)
    return found


def in_hu(plane: Plane) -> bool:
    """Whether a plane's rescaled values are Hounsfield units."""
    return plane.modality == "CT" and not plane.picture
