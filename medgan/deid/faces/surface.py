"""Where a head's face is, told from the inside of its skull alone, so that nothing of the face shapes the cut.

Millimetres in the patient's axes (LPS: x to the left, y to the back, z to the head).

1. The volume is sampled on a grid of 3 mm that knows neither tilt, spacing nor direction of its slices.
2. The brain is the largest soft, solid body in it; in CT one that bone encloses.
3. The face is what lies in front of and below the brain, more than MARGIN_MM from its convex hull: from the brow to
   below the chin, as far back as the middle of the brain, and at its sides the ears.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

STEP_MM = 3.0
MARGIN_MM = 10.0  # of skull and skin that stays around the brain's convex hull
BROW_MM = 24.0  # the cut begins so far above the underside of the frontal lobes
CHIN_MM = 170.0  # and ends so far below its beginning
EARS_MM = 100.0
MIDDLE, BEHIND_EARS = 0.5, 0.75  # of the brain's length, from its front
FRONTAL = 0.2  # of its length: there nothing but frontal lobes
ORBITS = 0.15  # of its length: what lies below the lobes there is orbit; temporal lobes begin farther back
AHEAD_MM, ASIDE_MM = 120.0, 60.0  # space before and beside the brain that counts as face: a nose, and some movement
DIRECTIONS = 240
OPENINGS_MM = (5.0, 8.0, 12.0)  # wider passages out of the skull are cut by the next
CLOSING_MM = 9.0
# an infant's to a large adult's brain with its coverings: width, length, height; a slab may be lower
SMALLEST_MM, LARGEST_MM = (80.0, 90.0, 45.0), (180.0, 215.0, 190.0)
SMALLEST_ML, LARGEST_ML = 300.0, 2300.0
LEAK = 1.2  # what is so much larger than after a wider opening reached out of the skull
COVER_MM = 5.0  # of skull and skin over nine tenths of a brain in MR: a whole head has none
SOLID, ABOUT = 0.8, 0.04  # share of its convex hull that a brain fills
CANAL = 0.08  # of a brain's largest area from above: a neck's soft core
TALLEST_MM = 330.0  # from the top of what is seen: a head and neck
ENCLOSED = 0.5  # share of a brain's surface that has bone near it; a liver's has a fifth
BONE_HU, SOFT_HU, AIR_HU = 200.0, (-20.0, 110.0), -300.0
SOFT_SHARE = (0.45, 2.5)  # of the signal amid the head
BONE_MM = 9.0
BOUNDED = 0.3  # share of a brain's surface that is not where the slices end
Array = NDArray[np.floating[Any]]
Axes = tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]  # x, y, z of a grid


@dataclass(frozen=True, slots=True)
class Slices:
    """Parallel slices of one patient in order along their normal; they may be sheared and unevenly spaced."""

    values: Array  # [D, H, W]: HU of a CT, any linear unit of another modality
    origins_mm: Array  # [D, 3]: centre of each slice's first pixel
    along: Array  # [3]: direction of a row
    down: Array  # [3]: direction of a column
    spacing_mm: tuple[float, float]  # between rows, between columns

    @property
    def normal(self) -> Array:
        return np.cross(self.along, self.down)

    def places(self, points: Array) -> Array:
        """Indices [3, ...] (slice, row, column) of `points` [..., 3], outside of the slices too."""
        heights = self.origins_mm @ self.normal
        height = points @ self.normal
        number = np.interp(height, heights, np.arange(len(heights)))
        step = np.median(np.diff(heights))
        number = number + np.minimum(height - heights[0], 0) / step + np.maximum(height - heights[-1], 0) / step
        origin = np.stack([np.interp(height, heights, self.origins_mm[:, n]) for n in range(3)], -1)
        row, column = (points - origin) @ self.down, (points - origin) @ self.along
        return np.stack([number, row / self.spacing_mm[0], column / self.spacing_mm[1]])


@dataclass(frozen=True, slots=True)
class Zone:
    """The face as a region of space: `depth_mm` [z, y, x] is above 0 in it, and `brain_mm` 0 or less in the brain."""

    origin_mm: Array  # [3], x, y, z of the first point
    depth_mm: NDArray[np.float32]
    brain_mm: NDArray[np.float32]  # distance to the brain's convex hull

    def depth_at(self, points: Array) -> NDArray[np.float32]:
        """How deep in the face `points` [..., 3] lie, mm; below 0 outside."""
        return _at(self.depth_mm, self._indices(points), -STEP_MM)

    def near_brain(self, points: Array) -> NDArray[np.bool_]:
        """Whether `points` [..., 3] lie within MARGIN_MM of the brain's convex hull."""
        return _at(self.brain_mm, self._indices(points), 1e3) <= MARGIN_MM

    def corners(self) -> Array:
        """[8, 3]"""
        size = STEP_MM * (np.array(self.depth_mm.shape[::-1]) - 1)
        return np.array([self.origin_mm + size * corner for corner in product((0, 1), repeat=3)])

    def _indices(self, points: Array) -> Array:
        return np.moveaxis((points - self.origin_mm) / STEP_MM, -1, 0)[::-1]


def find_zone(slices: Slices, modality: str) -> Zone | None:
    """The face of a head that `slices` show; None when no brain is found in them."""
    values, seen, origin = sampled(slices)
    brain = brain_of_ct(values, seen) if modality == "CT" else brain_of_mr(values, seen)
    return None if brain is None else zone_of(brain, origin)


def sampled(slices: Slices) -> tuple[NDArray[np.float32], NDArray[np.bool_], Array]:
    """Values on a grid [z, y, x] of STEP_MM, where the slices have any, and the grid's origin (x, y, z)."""
    low, high = _bounds(slices)
    low[2] = max(low[2], high[2] - TALLEST_MM)
    number, row, column = slices.places(_points(_axes(low, high)))
    depth, height, width = slices.values.shape
    seen = (number > -0.6) & (number < depth - 0.4) & (row >= 0) & (row <= height - 1)
    seen &= (column >= 0) & (column <= width - 1)
    indices = [number, row, column]
    values = ndimage.map_coordinates(slices.values, indices, order=1, mode="nearest", output=np.float32)
    return values, seen, low


def brain_of_ct(hu: NDArray[np.float32], seen: NDArray[np.bool_]) -> NDArray[np.bool_] | None:
    """The inside of the skull [z, y, x]; None without one."""
    soft = seen & (hu > SOFT_HU[0]) & (hu < SOFT_HU[1])
    bone = seen & (hu > BONE_HU)
    if not bone.any():
        return None
    inner, near = _depth(seen) > BONE_MM, ndimage.distance_transform_edt(~bone, sampling=STEP_MM) <= BONE_MM
    return _first_solid(body for body in _bodies(soft, inner) if near[_shell(body) & inner].mean() >= ENCLOSED)


def brain_of_mr(signal: NDArray[np.float32], seen: NDArray[np.bool_]) -> NDArray[np.bool_] | None:
    """The brain [z, y, x] in any contrast in which skull is dark; None without one."""
    signal = np.clip(signal, 0, np.percentile(signal[seen], 99.5) if seen.any() else 0)
    head = _largest(seen & (signal > 0.5 * _between(signal[seen])))
    if head is None:
        return None
    deep = _depth(_closed(head, 3 * STEP_MM))
    usual = float(np.median(signal[(deep > 0.6 * deep.max()) & seen]))
    soft = seen & (signal > SOFT_SHARE[0] * usual) & (signal < SOFT_SHARE[1] * usual)
    inner = _depth(seen) > BONE_MM
    return _first_solid(b for b in _bodies(soft, inner) if np.percentile(deep[_shell(b) & inner], 10) >= COVER_MM)


def zone_of(brain: NDArray[np.bool_], origin: Array) -> Zone:
    """The face of a head from its brain [z, y, x] on a grid of STEP_MM from `origin`."""
    shell = _places(_shell(brain)) + origin
    floor = _floor(brain) + origin[2]
    front = shell[shell[:, 2] > floor, 1].min()
    length = shell[:, 1].max() - front
    orbits = (shell[:, 1] < front + ORBITS * length) & (shell[:, 2] < floor - 2 * STEP_MM)
    return _cut(shell[~orbits], front, length, floor + BROW_MM)


def _cut(shell: Array, front: float, length: float, top: float) -> Zone:
    """The zone before and beside the brain's surface [N, 3], below `top`; all mm."""
    low, high = shell.min(axis=0), shell.max(axis=0)
    start = np.array([low[0] - ASIDE_MM, front - AHEAD_MM, top - CHIN_MM - STEP_MM])
    stop = np.array([high[0] + ASIDE_MM, front + (BEHIND_EARS + 0.1) * length, max(top, high[2]) + 2 * STEP_MM])
    axes = _axes(start, stop)
    y, z = axes[1][:, None], axes[2][:, None, None]
    distance = _outside(axes, shell, _directions())
    turns = np.linspace(0, 2 * np.pi, 48, endpoint=False)
    beside = _outside(axes, shell, np.stack([np.cos(turns), np.sin(turns), 0 * turns], -1))
    face = np.minimum(front + MIDDLE * length - y, z - (top - CHIN_MM))
    ears = np.minimum(np.minimum(front + BEHIND_EARS * length - y, z - (top - EARS_MM)), beside)
    depth = np.minimum(np.minimum(distance - MARGIN_MM, top - z), np.maximum(face, ears))
    return Zone(start, depth.astype(np.float32), distance)


def _floor(brain: NDArray[np.bool_]) -> float:
    """The usual height of the underside of the frontal lobes, mm from the grid's origin.

    A body that reaches into an orbit on its way out of the skull changes it little.
    """
    middle = int(np.argwhere(brain)[:, 0].mean())
    along = np.flatnonzero(brain[middle:].any(axis=(0, 2)))
    lobes = brain[:, along[0] : along[0] + max(1, int(FRONTAL * along.size))]
    return float(np.median(lobes.argmax(axis=0)[lobes.any(axis=0)])) * STEP_MM


def _bodies(soft: NDArray[np.bool_], inner: NDArray[np.bool_]) -> Iterator[NDArray[np.bool_]]:
    """Bodies of a brain's size in `soft`, each cut off at wider passages than the last; `inner`: off the ends."""
    deep = _depth(soft)
    for opening in OPENINGS_MM:
        core = _largest(deep > opening)
        if core is None:
            return
        box = _box(core, opening + CLOSING_MM + STEP_MM)
        near = ndimage.distance_transform_edt(~core[box], sampling=STEP_MM) <= opening + STEP_MM
        body = np.zeros_like(soft)
        body[box] = _without_neck(ndimage.binary_fill_holes(_closed(soft[box] & near, CLOSING_MM)))
        if _fits(body) and inner[_shell(body)].mean() >= BOUNDED:
            yield body


def _without_neck(body: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """A body down to where it is no wider than a spinal canal."""
    areas = np.count_nonzero(body, axis=(1, 2))
    narrow = np.flatnonzero(areas[: areas.argmax()] < CANAL * areas.max())
    kept = body.copy()
    kept[: narrow[-1] + 1 if narrow.size else 0] = False
    return kept


def _first_solid(bodies: Iterable[NDArray[np.bool_]]) -> NDArray[np.bool_] | None:
    """The least eroded of the bodies that are about as solid as any and as large as the last; None if none is solid."""
    found = [(_solidity(body), body) for body in bodies]
    best = max((solidity for solidity, _ in found), default=0.0)
    most = LEAK * np.count_nonzero(found[-1][1]) if found else 0
    likely = (body for solidity, body in found if solidity > best - ABOUT and np.count_nonzero(body) <= most)
    return next(likely, None) if best > SOLID else None


def _fits(body: NDArray[np.bool_]) -> bool:
    """Whether a body has the size of a brain."""
    size = [STEP_MM * (int(s.stop) - int(s.start)) for s in ndimage.find_objects(body.astype(np.int8))[0]]
    fits = all(low <= mm <= high for low, mm, high in zip(SMALLEST_MM, size[::-1], LARGEST_MM, strict=True))
    return bool(fits and SMALLEST_ML <= np.count_nonzero(body) * STEP_MM**3 / 1e3 <= LARGEST_ML)


def _solidity(body: NDArray[np.bool_]) -> float:
    """The share of its convex hull that a body fills."""
    shell = _places(_shell(body))
    axes = _axes(shell.min(axis=0), shell.max(axis=0), 2 * STEP_MM)
    hull = int(np.count_nonzero(_outside(axes, shell, _directions()) <= 0))
    return np.count_nonzero(body) / (8 * max(1, hull))


def _shell(body: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """A body's surface [z, y, x]."""
    return np.asarray(body & ~ndimage.binary_erosion(body))


def _places(mask: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Where a mask is true, [N, 3] (x, y, z) in mm from its grid's origin."""
    return np.argwhere(mask)[:, ::-1].astype(np.float64) * STEP_MM


def _outside(axes: Axes, points: Array, directions: Array) -> NDArray[np.float32]:
    """Distance [z, y, x] of a grid's points to the convex hull of `points`, mm: the largest over some directions."""
    x, y, z = axes
    found = np.full((z.size, y.size, x.size), -np.inf, np.float32)
    reaches = (points @ directions.T).max(axis=0)
    for (a, b, c), reach in zip(directions.astype(np.float32), reaches.astype(np.float32), strict=True):
        np.maximum(found, (c * z - reach)[:, None, None] + ((b * y)[:, None] + a * x), out=found)
    return found


def _directions() -> Array:
    """Unit vectors spread evenly: a spiral over the sphere."""
    number = np.arange(DIRECTIONS) + 0.5
    z = 1 - 2 * number / DIRECTIONS
    turn = np.pi * (1 + 5**0.5) * number
    return np.stack([np.sqrt(1 - z * z) * np.cos(turn), np.sqrt(1 - z * z) * np.sin(turn), z], -1)


def _closed(mask: NDArray[np.bool_], reach_mm: float) -> NDArray[np.bool_]:
    pad = int(np.ceil(reach_mm / STEP_MM)) + 1
    wide = np.pad(mask, pad)
    grown = ndimage.distance_transform_edt(~wide, sampling=STEP_MM) <= reach_mm
    kept = ndimage.distance_transform_edt(grown, sampling=STEP_MM) > reach_mm
    inner = (slice(pad, -pad),) * 3
    return np.asarray(kept[inner] | mask)


def _box(mask: NDArray[np.bool_], around_mm: float) -> tuple[slice, ...]:
    pad = int(np.ceil(around_mm / STEP_MM)) + 1
    return tuple(slice(max(0, s.start - pad), s.stop + pad) for s in ndimage.find_objects(mask.astype(np.int8))[0])


def _depth(mask: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Distance of each place of `mask` to the next outside it, mm; beyond the grid nothing is of it."""
    padded = ndimage.distance_transform_edt(np.pad(mask, 1), sampling=STEP_MM)
    return np.asarray(padded[1:-1, 1:-1, 1:-1])


def _largest(mask: NDArray[np.bool_]) -> NDArray[np.bool_] | None:
    labels, count = ndimage.label(mask)
    if not count:
        return None
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    return np.asarray(labels == sizes.argmax())


def _between(values: Array) -> float:
    """A threshold midway between the means of what lies below and above it."""
    threshold = float(values.mean())
    for _ in range(20):
        above = values > threshold
        if above.all() or not above.any():
            break
        threshold = 0.5 * float(values[above].mean() + values[~above].mean())
    return threshold


def _bounds(slices: Slices) -> tuple[Array, Array]:
    """Lowest and highest x, y, z of the slices' corners."""
    down = slices.down * slices.spacing_mm[0] * (slices.values.shape[1] - 1)
    along = slices.along * slices.spacing_mm[1] * (slices.values.shape[2] - 1)
    ends = slices.origins_mm[[0, -1]]
    corners = np.concatenate([ends + i * down + j * along for i, j in product((0, 1), repeat=2)])
    return corners.min(axis=0), corners.max(axis=0)


def _axes(low: Array, high: Array, step_mm: float = STEP_MM) -> Axes:
    counts = np.ceil((high - low) / step_mm).astype(int) + 1
    x, y, z = (np.float32(start) + np.float32(step_mm) * np.arange(n) for start, n in zip(low, counts, strict=True))
    return x.astype(np.float32), y.astype(np.float32), z.astype(np.float32)


def _points(axes: Axes) -> NDArray[np.float32]:
    """[z, y, x, 3]"""
    x, y, z = axes
    return np.stack(np.broadcast_arrays(x, y[:, None], z[:, None, None]), -1)


def _at(field: NDArray[np.float32], indices: Array, beyond: float) -> NDArray[np.float32]:
    found: NDArray[np.float32] = ndimage.map_coordinates(
        field, indices, order=1, mode="constant", cval=beyond, output=np.float32
    )
    return found
