"""How good each picture of a cohort is: figures of the stored grid, none of which knows what the picture shows.

Each figure is the same for a picture that is mirrored or turned by a quarter. Of a volume, the slices across the
first axis are looked at and pooled.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

LIT = 0.1  # of the span between the percentiles: above it lies the foreground
LEAST_SPAN = 0.02  # of the stored range: below it a picture holds nothing
LOW, DARK, BRIGHT, HIGH = 0.5, 5.0, 95.0, 99.5  # percentiles
GRAIN = 1 / (255 * 12**0.5)  # noise of rounding to 8 bits
REACH = 9  # pixels of the low-pass in Crété's figure
AT_ONCE = 1 << 21  # pixels looked at together
NORMAL = 1.4826  # standard deviations of a normal distribution in one median absolute deviation
Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Figure:
    """One figure of a picture: its name, in words, which side of the usual is worse, and the least spread counted."""

    name: str
    text: str
    worse: Literal["low", "high", "either"]
    grain: float


@dataclass(frozen=True, slots=True)
class Outlier:
    """A picture that stands apart from its cohort: its row, in which figure, the value, and how far (robust z)."""

    row: int
    figure: str
    value: float
    z: float


FIGURES = (
    Figure("foreground", "share of pixels above a tenth of the grey span", "either", 0.02),
    Figure("blank", "share of pixels that equal all their neighbours", "high", 0.02),
    Figure("clipped", "share of pixels at an end of the grey scale, dark background apart", "high", 0.005),
    Figure("contrast", "5th to 95th percentile, as a share of the grey scale", "low", 0.02),
    Figure("snr", "mean of the foreground above black over the noise, in dB", "low", 1.0),
    Figure("blur", "how little a low-pass would change: 0 sharp, 1 blurred", "high", 0.01),
)


def measure(images: NDArray[Any]) -> dict[str, NDArray[np.float64]]:
    """float64 [N] by name of FIGURES, for images [N, C, D, H, W], stored integers of which the whole range is used."""
    rows = max(1, AT_ONCE // max(1, int(np.prod(images.shape[1:]))))
    blocks = [_measured(images[start : start + rows]) for start in range(0, len(images), rows)]
    return {
        figure.name: np.concatenate([block[figure.name] for block in blocks] or [np.empty(0)]) for figure in FIGURES
    }


def unusable(images: NDArray[Any], *, min_foreground: float, max_clipped: float) -> NDArray[np.bool_]:
    """bool [N]: which of images [N, C, D, H, W] hold next to nothing, or are clipped beyond use."""
    pages = images.reshape(len(images), -1, *images.shape[-2:])
    return np.asarray((_mean(_lit(pages)) < min_foreground) | (_mean(_clipped(pages)) > max_clipped), bool)


def outliers(
    columns: Mapping[str, NDArray[np.float64]], most_z: float, figures: Sequence[Figure] = FIGURES
) -> list[Outlier]:
    """Pictures further than `most_z` from the median of a figure on its worse side, the furthest first.

    A picture without the figure (not a number) never stands apart in it.
    """
    found = []
    for figure in figures:
        z = robust_z(columns[figure.name], figure.grain)
        sided = {"low": -z, "high": z, "either": np.abs(z)}[figure.worse]
        for row in np.flatnonzero(sided > most_z).tolist():
            found.append(Outlier(row, figure.name, float(columns[figure.name][row]), float(z[row])))
    return sorted(found, key=lambda one: (-abs(one.z), one.row, one.figure))


def limits(column: NDArray[np.float64], figure: Figure, most_z: float) -> tuple[float | None, float | None]:
    """Below and above which values a picture is an outlier; None on a side that is never too far."""
    middle, spread = _middle(column, figure.grain)
    low, high = middle - most_z * spread, middle + most_z * spread
    return None if figure.worse == "high" else low, None if figure.worse == "low" else high


def robust_z(column: NDArray[np.float64], grain: float) -> NDArray[np.float64]:
    """Distances from the median in robust standard deviations; a spread below `grain` counts as `grain`.

    After Iglewicz and Hoaglin (1993); without the floor, a column of nearly equal values has nothing but outliers.
    """
    middle, spread = _middle(column, grain)
    return np.asarray((column - middle) / spread, np.float64)


def _middle(column: NDArray[np.float64], grain: float) -> tuple[float, float]:
    column = column[np.isfinite(column)]
    if not len(column):
        return 0.0, grain
    middle = float(np.median(column))
    return middle, max(NORMAL * float(np.median(np.abs(column - middle))), grain)


def _measured(images: NDArray[Any]) -> dict[str, NDArray[np.float64]]:
    top = np.iinfo(images.dtype).max
    pages = images.reshape(len(images), -1, *images.shape[-2:])
    shares = pages.astype(np.float32) / np.float32(top)
    lit = _lit(pages)
    dark, bright = _percentiles(pages, (DARK, BRIGHT))
    return {
        "foreground": _mean(lit),
        "blank": _mean(_flat(pages)),
        "clipped": _mean(_clipped(pages)),
        "contrast": (bright - dark) / top,
        "snr": _signal_to_noise(pages, lit & (pages > 0) & (pages < top)),
        "blur": np.maximum(_blur(shares, -1), _blur(shares, -2)),
    }


def _lit(pages: NDArray[Any]) -> NDArray[np.bool_]:
    """The foreground of pages [N, P, H, W], one threshold a picture."""
    low, high = _percentiles(pages, (LOW, HIGH))
    least = low + np.maximum(LIT * (high - low), LEAST_SPAN * np.iinfo(pages.dtype).max)
    return np.asarray(pages > np.floor(least).astype(np.int64)[:, None, None, None], bool)


def _percentiles(pages: NDArray[Any], wanted: tuple[float, ...]) -> NDArray[np.float64]:
    """Stored values [len(wanted), N] that at least this percentage of a picture does not exceed."""
    flat = pages.reshape(len(pages), -1)
    places = np.array(wanted) / 100 * flat.shape[1]
    found = [np.searchsorted(np.cumsum(np.bincount(one)), places) for one in flat]
    return np.asarray(found, np.float64).reshape(-1, len(wanted)).T


def _clipped(pages: NDArray[Any]) -> NDArray[np.bool_]:
    return np.asarray((pages == np.iinfo(pages.dtype).max) | _holes(pages == 0), bool)


def _signal_to_noise(pages: NDArray[Any], where: NDArray[np.bool_]) -> NDArray[np.float64]:
    """20 log10 of the foreground's mean above black over its noise, nothing below 0; 0 without foreground."""
    (black,) = _percentiles(pages, (LOW,))
    mean = (pages * where).sum(axis=(1, 2, 3), dtype=np.float64) / np.maximum(where.sum(axis=(1, 2, 3)), 1)
    floor = GRAIN * np.iinfo(pages.dtype).max
    ratio = np.maximum(mean - black, 1e-9) / np.maximum(_noise(pages, where), floor)
    return np.asarray(np.maximum(20 * np.log10(ratio), 0), np.float64)


def _noise(pages: NDArray[Any], where: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Standard deviation of the noise in stored units: sqrt(pi/2)/6 of the mean response to [1 -2 1; -2 4 -2; 1 -2 1].

    Immerkaer (1996), on the half of the foreground with the least Sobel gradient as in Tai and Yang (2008): of white
    noise the two responses are independent, of an edge they are not. In whole numbers, so that ties stay ties.
    """
    whole = pages.astype(np.int32)
    second = np.abs(_along(whole, (1, -2, 1), (1, -2, 1))).reshape(len(pages), -1)
    steep = np.abs(_along(whole, (1, 2, 1), (-1, 0, 1))) + np.abs(_along(whole, (-1, 0, 1), (1, 2, 1)))
    steep = np.where(where, steep, np.iinfo(np.int32).max).reshape(len(pages), -1)
    half = (where.sum(axis=(1, 2, 3)) - 1).clip(0) // 2
    limit = np.take_along_axis(np.sort(steep, axis=1), half[:, None], axis=1)
    calm = where.reshape(steep.shape) & (steep <= limit)
    response = (second * calm).sum(axis=1, dtype=np.float64) / np.maximum(calm.sum(axis=1), 1)
    return np.asarray(np.sqrt(np.pi / 2) / 6 * response, np.float64)


def _along(whole: NDArray[np.int32], down: tuple[int, ...], across: tuple[int, ...]) -> NDArray[np.int32]:
    """A separable mask, in the plane alone: ndimage.sobel would smooth across pictures too."""
    return np.asarray(ndimage.correlate1d(ndimage.correlate1d(whole, down, axis=-2), across, axis=-1), np.int32)


def _blur(shares: Floats, axis: int) -> NDArray[np.float64]:
    """Which part of the differences along an axis a low-pass of 9 pixels leaves: Crété-Roffet et al. (2007)."""
    soft = ndimage.uniform_filter1d(shares, REACH, axis=axis, mode="nearest")
    before, after = np.abs(np.diff(shares, axis=axis)), np.abs(np.diff(soft, axis=axis))
    total = before.sum(axis=(1, 2, 3), dtype=np.float64)
    lost = np.maximum(before - after, 0).sum(axis=(1, 2, 3), dtype=np.float64)
    return np.asarray(np.where(total > 0, (total - lost) / np.maximum(total, 1e-12), 1.0), np.float64)


def _flat(pages: NDArray[Any]) -> NDArray[np.bool_]:
    size = (1, 1, 3, 3)
    return np.asarray(ndimage.maximum_filter(pages, size) == ndimage.minimum_filter(pages, size), bool)


def _holes(dark: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Dark pixels that no run of dark ones joins to the edge, along their row or column."""
    seen = np.zeros_like(dark)
    for axis in (-1, -2):
        seen |= np.logical_and.accumulate(dark, axis=axis)
        seen |= np.flip(np.logical_and.accumulate(np.flip(dark, axis), axis=axis), axis)
    return dark & ~seen


def _mean(mask: NDArray[np.bool_]) -> NDArray[np.float64]:
    return np.asarray(mask.mean(axis=(1, 2, 3)), np.float64)
