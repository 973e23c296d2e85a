"""The planes of a series, decoded one after the other, onto another grid: what single pictures and volumes share."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medgan.dicom.pixels import PALETTE, padding_of, stored_values
from medgan.dicom.read import Plane, values
from medgan.dicom.series import Stack
from medgan.dicom.suv import suv_factor
from medgan.errors import Reason, StudyRejected
from medgan.volume.geometry import Geometry
from medgan.volume.intensity import grey
from medgan.volume.resample import Regrid, Shape, Stored

FARTHEST = 1 << 33  # beyond all that 32 bits hold


@dataclass(frozen=True, slots=True)
class Unit:
    """Of a stack's rescaled values times `factor`: HU, SUV (by body weight, g/mL), or arbitrary; why a PET has none."""

    name: str
    factor: float = 1.0
    no_suv: str = ""


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
    """A stack's `extent` on a grid of `shape` along its own axes, and what is padding. Raises StudyRejected.

    Of wide integers and doubles the result is float64 where float32 is asked for.
    """
    middle = _middle(stack.planes[len(stack.planes) // 2])
    grid, margins = Regrid(extent(stack).shape, shape, _about(stored, middle)), _margins(stack)
    _, down_mm, along_mm = stack.geometry.spacing_mm
    kind = stack.planes[0].pixels.dtype
    # a plane is read over the one before: fresh memory costs more than reading
    room = None if kind is None else np.empty(stack.planes[0].size, kind)
    for number, plane in enumerate(stack.planes):
        found = _lowered(decoded(plane, room if plane.pixels.dtype == kind else None), middle)
        if stack.shear != (0.0, 0.0):
            found = _widened(found, margins)
        slip = (number * stack.shear[0] / down_mm, number * stack.shear[1] / along_mm)
        grid.add(found.raw, slope=found.slope, intercept=found.intercept, outside=found.outside, slip=slip)
    return _raised(*grid.finished(), stored, middle)


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


def picture_on_grid(plane: Plane, size: tuple[int, int]) -> tuple[NDArray[Any], NDArray[np.bool_] | None]:
    """One plane on [h, w] pixels, float32 (float64 where that would round); and what is padding.

    Raises StudyRejected.
    """
    middle = _middle(plane)
    found = _lowered(decoded(plane), middle)
    grid = Regrid((1, *found.raw.shape), (1, *size), _about(Stored(), middle))
    grid.add(found.raw, slope=found.slope, intercept=found.intercept, outside=found.outside)
    picture, outside = _raised(*grid.finished(), Stored(), middle)
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


def _wide(kind: np.dtype[Any]) -> bool:
    """Whether stored values have more digits than the filter's 32-bit floats."""
    return kind.itemsize == 8 or (kind.itemsize == 4 and kind.kind in "iu")


def _middle(plane: Plane) -> float:
    """The value in the middle of what a plane shows where values are wide, else 0: the filter works on differences
    from it, and is exact up to 2**24 stored steps away from it.
    """
    if plane.pixels.allocated < 32 or plane.pixels.keyword == "FloatPixelData":
        return 0.0
    found = decoded(plane)
    seen = found.raw if found.outside is None else found.raw[~found.outside]
    if not _wide(found.raw.dtype) or not seen.size:
        return 0.0
    middle = float(np.median(seen)) * found.slope + found.intercept
    return middle if math.isfinite(middle) else 0.0


def _about(stored: Stored, middle: float) -> Stored:
    """How differences from `middle` are stored; of floats, differences."""
    whole = stored.dtype != "float32"
    return replace(stored, offset=stored.offset + (middle * stored.scale if whole else 0.0), fill=stored.fill - middle)


def _lowered(found: Linear, middle: float) -> Linear:
    """The plane as differences from `middle`, taken on stored values before they are rounded to 32 bits."""
    if not _wide(found.raw.dtype):
        return replace(found, intercept=found.intercept - middle) if middle else found
    base = (middle - found.intercept) / found.slope if found.slope else 0.0
    lowered: NDArray[Any]
    if found.raw.dtype.kind == "f":
        lowered = found.raw - base
    else:
        base = min(max(round(base), -FARTHEST), FARTHEST)
        lowered = found.raw.astype(np.int64) - base
    with np.errstate(over="ignore"):  # what does not fit is not finite, and refused as such
        raw = lowered.astype(np.float32)
    return replace(found, raw=raw, intercept=found.intercept + found.slope * base - middle)


def _raised(
    result: NDArray[Any], outside: NDArray[np.bool_] | None, stored: Stored, middle: float
) -> tuple[NDArray[Any], NDArray[np.bool_] | None]:
    """Floats as what they were before `_lowered`."""
    if not middle or stored.dtype != "float32":
        return result, outside
    raised = result + np.float64(middle * stored.scale)
    if outside is not None:
        raised[outside] = stored.fill * stored.scale + stored.offset
    return raised, outside


def unit_of(stack: Stack) -> Unit:
    """What a stack's values are; of a PET the header of each file is opened."""
    plane = stack.planes[0]
    if in_hu(plane):
        return Unit("HU")
    if not is_pet(plane):
        return Unit("arbitrary")
    factor, why = suv_factor(stack.planes)
    return Unit("arbitrary", no_suv=str(why)) if factor is None else Unit("SUV", factor)


def is_pet(plane: Plane) -> bool:
    """Whether a plane's values may have an SUV: a picture of a PET slice has none."""
    return plane.modality == "PT" and not plane.picture


def in_hu(plane: Plane) -> bool:
    """Whether a plane's rescaled values are Hounsfield units."""
    return plane.modality == "CT" and not plane.picture
