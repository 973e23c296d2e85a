"""What the pictures of a cohort were made of, and how much of the grid that fills: figures beside those of `quality`.

A figure that a picture does not have (a film has no slices) is not a number.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple, dataclass

import numpy as np
from numpy.typing import NDArray

from medgan.cohort.quality import Figure

NONE = float("nan")
FIGURES = (
    Figure("spacing", "millimetres between pixels in the plane, the larger of the two", "high", 0.05),
    Figure("step", "millimetres between slices", "high", 0.25),
    Figure("slices", "number of slices of the series", "low", 2.0),
    Figure("anisotropy", "largest over smallest distance between voxels", "high", 0.25),
    Figure("padding", "share of the grid that no source pixel fills", "high", 0.02),
    Figure("cut_off", "share of the source that lies outside the grid", "high", 0.02),
)


@dataclass(frozen=True, slots=True)
class Source:
    """Of one picture, in the order of FIGURES; all of the series that it is made of but padding and cut_off.

    step and slices are those of the series, also of a picture of one slice.
    """

    spacing: float = NONE
    step: float = NONE
    slices: float = NONE
    anisotropy: float = NONE
    padding: float = NONE
    cut_off: float = NONE


def source_of(
    spacing_mm: Sequence[float] | None, slices: int | None, *, padding: float = 0.0, cut_off: float = 0.0
) -> Source:
    """spacing_mm: in the plane, or between slices, rows and columns; None where millimetres are not known."""
    count = NONE if slices is None else float(slices)
    if spacing_mm is None:
        return Source(slices=count, padding=padding, cut_off=cut_off)
    return Source(
        spacing=max(spacing_mm[-2:]),
        step=spacing_mm[0] if len(spacing_mm) == 3 else NONE,
        slices=count,
        anisotropy=max(spacing_mm) / min(spacing_mm),
        padding=padding,
        cut_off=cut_off,
    )


def rows_of(sources: Sequence[Source]) -> NDArray[np.float32]:
    """float32 [N, figures]."""
    return np.array([astuple(one) for one in sources], np.float32).reshape(-1, len(FIGURES))


def columns_of(rows: NDArray[np.float32] | None, names: Sequence[str]) -> dict[str, NDArray[np.float64]]:
    """float64 [N] by name, of rows [N, figures] whose figures are `names`: those that are known here and of which
    some picture has a value.
    """
    if rows is None:
        return {}
    known = {figure.name for figure in FIGURES}
    columns = {name: rows[:, place].astype(np.float64) for place, name in enumerate(names) if name in known}
    return {name: column for name, column in columns.items() if np.isfinite(column).any()}


def unfit(sources: Sequence[Source], *, max_padding: float, max_spacing_mm: float | None) -> NDArray[np.bool_]:
    """bool [N]: which pictures fill too little of the grid, or come from voxels that are too long.

    A picture whose millimetres are not known is not refused for them.
    """
    longest = np.inf if max_spacing_mm is None else max_spacing_mm
    # a comparison with what is not a number is false
    out = [one.padding > max_padding or one.spacing > longest or one.step > longest for one in sources]
    return np.array(out, bool)
