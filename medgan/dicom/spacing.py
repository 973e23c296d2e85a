"""How planes lie one after another: one step along their normal, one drift beside it, or a refusal.

Slice thickness and spacing between slices are never asked: positions alone say where a plane is.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medgan.dicom.read import Plane
from medgan.errors import Reason, StudyRejected
from medgan.volume.geometry import Vector

STEP_MM, STEP_SHARE = 0.0101, 0.01  # a step, and a plane's place, may be off by the larger: text is often of 0.01 mm
ROUNDED_MM, ROUNDED_SHARE = 0.1, 0.25  # where every coordinate is a multiple of it; of a step, at most
SIDEWAYS_MM = 0.1  # of a plane, off the line on which its neighbours drift
UPRIGHT = 0.002  # mm beside the normal for each mm along it: cosines are rounded text; a tilt of 0.1 degrees
STEEPEST_DEG = 45.0  # gantries tilt by up to 30
TILT_DEG = 0.5  # between a declared tilt and the one that positions show
FEWEST_SLICES = 3  # two steps: with fewer, no gap can be seen
Axes = tuple[Vector, Vector, Vector]
Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Row:
    """Planes in order along their normal, `step_mm` apart, each shifted from the last by `shear_mm` (down, along)."""

    planes: tuple[Plane, ...]
    step_mm: float
    shear_mm: tuple[float, float]
    rounded: bool  # steps differ, by no more than the rounding of their positions explains


def row(planes: Sequence[Plane], axes: Axes) -> Row:
    """Planes, in order, as one row. Raises StudyRejected: too_few_slices, missing_slice, uneven_step or sheared."""
    _enough(planes)
    positions = np.array([plane.position_mm for plane in planes], float)
    places = positions @ np.array(axes[0])
    rounded = not _even(places)
    if rounded and not _rounded(positions, places):
        raise _gap(np.diff(places))
    step = float(places[-1] - places[0]) / (len(places) - 1)
    shear = _drift(positions, axes, step)
    _check_declared(planes, axes[0], math.degrees(math.atan2(math.hypot(*shear), step)))
    return Row(tuple(planes), step, shear, rounded)


def rows(planes: Sequence[Plane], axes: Axes) -> list[Row]:
    """One row, or two where the step changes once and cleanly, as from the base of a head to its vertex.

    Raises StudyRejected as `row` does.
    """
    try:
        return [row(planes, axes)]
    except StudyRejected as error:
        if error.reason not in (Reason.MISSING_SLICE, Reason.UNEVEN_STEP):
            raise
        places = np.array([plane.position_mm for plane in planes], float) @ np.array(axes[0])
        first = _change(np.diff(places))
        if not first:
            raise
        return [row(planes[:first], axes), row(planes[first:], axes)]


def _enough(planes: Sequence[Plane]) -> None:
    if len(planes) < FEWEST_SLICES:
        raise StudyRejected(Reason.TOO_FEW_SLICES, detail=f"{len(planes)} slices, expected {FEWEST_SLICES} or more")


def _slack(step: float) -> float:
    return max(STEP_MM, STEP_SHARE * step)


def _even(places: Array) -> bool:
    """Whether steps are one step, and small differences do not add up along the row."""
    steps = np.diff(places)
    usual = float(np.median(steps))
    on_grid = np.linspace(places[0], places[-1], len(places))
    return bool(max(np.abs(steps - usual).max(), np.abs(places - on_grid).max()) <= _slack(usual))


def _rounded(positions: Array, places: Array) -> bool:
    """Whether coordinates were rounded to 0.1 mm, and that explains how far planes lie off an even grid.

    A missing slice moves some plane by half a step, so that a quarter is never one.
    """
    tenths = positions / ROUNDED_MM
    if np.abs(tenths - np.rint(tenths)).max() > 1e-4:
        return False
    on_grid = np.linspace(places[0], places[-1], len(places))
    step = on_grid[1] - on_grid[0]
    return bool(np.abs(places - on_grid).max() <= min(ROUNDED_MM, ROUNDED_SHARE * step) + 1e-6)


def _gap(steps: Array) -> StudyRejected:
    usual = float(np.median(steps))
    odd = steps[np.abs(steps - usual) > _slack(usual)]
    times = np.rint(odd / usual)
    whole = (times >= 2) & (np.abs(odd - times * usual) <= times * _slack(usual))
    if whole.any():
        return StudyRejected(Reason.MISSING_SLICE, detail=f"a gap of {odd[whole][0]:.2f} mm, expected {usual:.2f}")
    worst = float(odd[0]) if odd.size else usual
    return StudyRejected(Reason.UNEVEN_STEP, detail=f"steps of {worst:.2f} and {usual:.2f} mm, expected one")


def _change(steps: Array) -> int:
    """How many planes lie before the one change from one step to another, 0 when there is no such change.

    At the change itself one distance may be any. Both parts need planes enough; equal steps are a gap, no change.
    """
    first, last = float(steps[0]), float(steps[-1])
    if abs(first - last) <= _slack(max(first, last)):
        return 0
    before = _leading(np.abs(steps - first) <= _slack(first))
    after = _leading(np.abs(steps[::-1] - last) <= _slack(last))
    head, tail = before + 1, len(steps) - before
    return head if before + after >= len(steps) - 1 and min(head, tail) >= FEWEST_SLICES else 0


def _leading(true: NDArray[Any]) -> int:
    return int(np.argmin(true)) if not true.all() else len(true)


def _drift(positions: Array, axes: Axes, step: float) -> tuple[float, float]:
    """Millimetres (down, along) by which each plane is shifted from the last; (0, 0) for upright ones.

    Raises StudyRejected (sheared) when planes do not lie on one line, or on one that no gantry makes.
    """
    beside = (positions - positions[0]) @ np.array(axes[1:]).T
    shear = beside[-1] / (len(beside) - 1)
    off = float(np.hypot(*(beside - np.arange(len(beside))[:, None] * shear).T).max())
    if off > SIDEWAYS_MM:
        raise StudyRejected(Reason.SHEARED, detail=f"slices lie {off:.2f} mm off one line, expected a constant drift")
    length = math.hypot(*shear)
    if length > step * math.tan(math.radians(STEEPEST_DEG)):
        raise StudyRejected(Reason.SHEARED, detail=f"slices drift by {length:.2f} mm in steps of {step:.2f} mm")
    upright = length <= UPRIGHT * step or length * (len(beside) - 1) <= SIDEWAYS_MM
    return (0.0, 0.0) if upright else (float(shear[0]), float(shear[1]))


def _check_declared(planes: Sequence[Plane], normal: Vector, sheared_deg: float) -> None:
    """Raises StudyRejected (sheared) when a gantry tilt is declared that the planes do not show.

    Vendors differ in its sign. Derived planes repeat the tilt of their source, and lie where they say.
    """
    shown = sheared_deg or math.degrees(math.acos(min(1.0, abs(normal[2]))))
    for plane in planes:
        reformatted = plane.image_type[:2] == ("DERIVED", "SECONDARY")
        if plane.tilt_deg and not reformatted and abs(abs(plane.tilt_deg) - shown) > TILT_DEG:
            raise StudyRejected(Reason.SHEARED, detail=f"slices show a tilt of {shown:.1f} degrees, not the declared")
