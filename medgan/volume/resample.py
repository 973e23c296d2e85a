"""The planes of a volume, one after the other, onto another grid: memory is that of the result and a few planes.

The filter is a triangle as wide as the coarser of the two grids: shrinking is anti-aliased, growing linear. Both
grids cover the same extent (edges coincide, as in `scipy.ndimage.zoom(grid_mode=True)`), so n pixels of p mm become m
pixels of p*n/m mm. A plane goes through both directions of the filter while it is in the cache, is scaled by its own
slope and intercept, and is added to the planes of the result that it touches; a plane to which nothing more comes is
stored.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from medgan.errors import Reason, StudyRejected
from medgan.volume.kernels import TAPS, add_plane, filter_rows, store_plane

COVERED = 0.5  # share of a new pixel's weight that must not be padding
PLAIN = frozenset(map(np.dtype, ("uint8", "int16", "uint16", "float32")))  # types that the loops are compiled for
Shape = tuple[int, int, int]
Filter = tuple[NDArray[np.int64], NDArray[np.float32]]
Plane = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Stored:
    """How values become stored numbers: value * scale + offset, rounded and clamped to `dtype` (float32: as it is)."""

    dtype: str = "float32"
    scale: float = 1.0
    offset: float = 0.0
    fill: float = 0.0  # the value of what is padding


class Regrid:
    """Planes [H, W] of a volume of shape `before` (planes, rows, columns), in order, onto a grid of shape `after`."""

    def __init__(self, before: Shape, after: Shape, stored: Stored) -> None:
        self.before, self.after, self.stored = before, after, stored
        self.result: NDArray[Any] = np.empty(after, stored.dtype)
        self.padding: NDArray[np.bool_] | None = None
        self._touched, self._last = _depth(before[0], after[0])
        self._open: dict[int, _Sum] = {}
        self._through = _Through(before[1:], after[1:]), _Through(before[1:], after[1:])  # of values, and of cover
        self._spare: list[Plane] = []
        self._numbers: NDArray[Any] = np.empty((after[2], after[1]), stored.dtype)
        self._number = 0

    def add(
        self,
        raw: NDArray[Any],
        *,
        slope: float = 1.0,
        intercept: float = 0.0,
        outside: NDArray[np.bool_] | None = None,
        slip: tuple[float, float] = (0.0, 0.0),
    ) -> None:
        """The next plane: stored values [H, W] of any real type, what of them is padding, and how many pixels down
        the rows and along the columns it lies off its place in the volume.

        Raises StudyRejected (blank) for values that are not finite, unless they are padding.
        """
        if raw.shape != self.before[1:]:
            raise ValueError(f"a plane of {raw.shape} where {self.before[1:]} was announced")
        if raw.dtype.kind == "f" and not _finite(raw, outside):
            raise StudyRejected(Reason.BLANK, detail="values that are not finite")
        plane, cover = self._filtered(raw, outside, slip)
        for number, weight in self._touched[self._number]:
            if number not in self._open:
                self._open[number] = _Sum(self._spare.pop() if self._spare else np.empty_like(plane))
            self._open[number].add(plane, cover, slope * weight, intercept * weight, weight)
            if self._last[number] == self._number:
                self._store(number, self._open.pop(number))
        self._number += 1

    def finished(self) -> tuple[NDArray[Any], NDArray[np.bool_] | None]:
        """The result [d, h, w], and what of it is padding. Raises ValueError when planes are missing."""
        if self._number != self.before[0]:
            raise ValueError(f"{self._number} planes came where {self.before[0]} were announced")
        return self.result, self.padding

    def _filtered(
        self, raw: NDArray[Any], outside: NDArray[np.bool_] | None, slip: tuple[float, float]
    ) -> tuple[Plane, Plane | None]:
        """The plane on the new grid, transposed, and its covered share (None: all of it)."""
        values, covers = self._through
        if outside is None and slip == (0.0, 0.0):
            return values.filtered(raw, slip), None
        kept = np.ones(raw.shape, np.uint8) if outside is None else (~outside).view(np.uint8)
        # not multiplied by 0: what is not finite would stay so
        seen = raw if outside is None else np.where(outside, raw.dtype.type(0), raw)
        return values.filtered(seen, slip), covers.filtered(kept, slip)

    def _store(self, number: int, done: _Sum) -> None:
        total = done.total
        if done.cover is not None:
            empty = done.cover < COVERED
            total = np.where(empty, np.float32(self.stored.fill), total / np.maximum(done.cover, np.float32(COVERED)))
            if empty.any():
                self.padding = np.zeros(self.after, bool) if self.padding is None else self.padding
                self.padding[number] = empty.T
        cv2.transpose(self._kept(total, done.base), self.result[number])
        self._spare.append(done.total)

    def _kept(self, total: Plane, base: float) -> NDArray[Any]:
        scale, offset = np.float32(self.stored.scale), np.float32(self.stored.offset + base * self.stored.scale)
        if self.stored.dtype == "float32":
            return np.asarray(total * scale + offset)
        limits = np.iinfo(self._numbers.dtype)
        store_plane(total, scale, offset, np.float32(limits.min), np.float32(limits.max), self._numbers)
        return self._numbers


def _finite(raw: NDArray[Any], outside: NDArray[np.bool_] | None) -> bool:
    """Whether all that is not padding is a finite number, also in the 32 bits that the filter has."""
    with np.errstate(over="ignore"):
        finite = np.isfinite(raw.astype(np.float32, copy=False))
    return bool((finite if outside is None else finite | outside).all())


def resample(planes: Iterable[NDArray[Any]], before: Shape, after: Shape, stored: Stored | None = None) -> NDArray[Any]:
    """Planes [H, W] without padding, in order, as [d, h, w]; float32 unless told otherwise."""
    grid = Regrid(before, after, stored or Stored())
    for plane in planes:
        grid.add(plane)
    return grid.finished()[0]


class _Sum:
    """What one new plane has got so far: `total` [w, h], transposed as the filter leaves it, and `base`, which all of
    it has more; with padding the covered weight of each pixel, without one number for all.
    """

    def __init__(self, total: Plane) -> None:
        self.total, self.base, self.weight = total, 0.0, 0.0
        self.cover: Plane | None = None
        self._begun = False

    def add(self, plane: Plane, cover: Plane | None, factor: float, intercept: float, weight: float) -> None:
        if self._begun:
            add_plane(self.total, plane, np.float32(factor))
        else:
            np.multiply(plane, np.float32(factor), out=self.total)
            self._begun = True
        if cover is None and self.cover is None:
            self.base += intercept
            self.weight += weight
            return
        if self.cover is None:
            self.cover = np.full(plane.shape, self.weight, np.float32)
            self.total += np.float32(self.base)
            self.base = 0.0
        whole = np.ones_like(plane) if cover is None else cover
        add_plane(self.total, whole, np.float32(intercept))
        add_plane(self.cover, whole, np.float32(weight))


class _Through:
    """Both directions of the filter for planes of one shape; its result is transposed, and gone at the next call.

    Memory is used again: fresh pages cost more than the sums.
    """

    def __init__(self, before: tuple[int, int], after: tuple[int, int]) -> None:
        self.before, self.after = before, after
        self._lines = np.empty((after[0], before[1]), np.float32)
        self._turned = np.empty((before[1], after[0]), np.float32)
        self._out = np.empty((after[1], after[0]), np.float32)
        self._unmoved = self._taps((0.0, 0.0))

    def filtered(self, raw: NDArray[Any], slip: tuple[float, float]) -> Plane:
        plain = raw if raw.dtype in PLAIN else raw.astype(np.float32)
        down, along = self._unmoved if slip == (0.0, 0.0) else self._taps(slip)
        filter_rows(_readable(plain, down), *down, self._lines)
        cv2.transpose(self._lines, self._turned)
        filter_rows(_readable(self._turned, along), *along, self._out)
        return self._out

    def _taps(self, slip: tuple[float, float]) -> tuple[Filter, Filter]:
        return taps(self.before[0], self.after[0], slip[0]), taps(self.before[1], self.after[1], slip[1])


@lru_cache(maxsize=4096)
def taps(before: int, after: int, slip: float = 0.0) -> Filter:
    """(first int64 [after], weights float32 [after, 3 n]): of which old pixels each new one is made.

    Each row adds up to 1, or to less where a plane that lies `slip` pixels further on leaves the new one uncovered.
    """
    ratio = before / after
    reach = max(ratio, 1.0)
    centres = (np.arange(after) + 0.5) * ratio - 0.5
    count = TAPS * -(-(int(2 * reach) + 1) // TAPS)
    first = np.clip(np.ceil(centres - slip - reach).astype(np.int64), 0, max(0, before - count))
    distance = np.abs(first[:, None] + np.arange(count) - centres[:, None] + slip) / reach
    distance[first[:, None] + np.arange(count) >= before] = 1.0
    matrix = np.maximum(0.0, 1.0 - distance)
    # beyond the first and last centre the edge pixel is held; not beyond the edge of a plane that slipped
    whole = _whole(centres, before, reach) if slip else matrix.sum(axis=1)
    return first, (matrix / whole[:, None]).astype(np.float32)


def _whole(centres: NDArray[Any], before: int, reach: float) -> NDArray[np.float64]:
    """The weight that each new pixel has where a plane has not slipped."""
    places = np.arange(before)
    whole: NDArray[np.float64] = np.maximum(0.0, 1.0 - np.abs(places - centres[:, None]) / reach).sum(axis=1)
    return whole


def _depth(before: int, after: int) -> tuple[list[list[tuple[int, float]]], list[int]]:
    """For each old plane the new ones it touches, with weights; for each new plane the last old one."""
    first, matrix = taps(before, after)
    touched: list[list[tuple[int, float]]] = [[] for _ in range(before)]
    last = [0] * after
    for number, (start, row) in enumerate(zip(first.tolist(), matrix.tolist(), strict=True)):
        for place, weight in enumerate(row, start=start):
            if weight > 0:
                touched[place].append((number, weight))
                last[number] = place
    return touched, last


def _readable(rows: NDArray[Any], through: Filter) -> NDArray[Any]:
    """Contiguous and read-only, so that one compiled loop serves all; empty rows where there are fewer than taps."""
    lacking = through[1].shape[1] - len(rows)
    rows = np.ascontiguousarray(rows) if lacking <= 0 else np.pad(rows, ((0, lacking), (0, 0)))
    view = rows[:]
    view.setflags(write=False)
    return view
