"""The same picture under two patients on two sides of the split: found, whatever was lightly done to it.

A picture becomes a small grid of local contrast. Two projections of it are fitted on the cohort itself (all parts
alike): they weigh what differs between pictures against what a nuisance does to one. The first takes shifts and
crops into account and finds candidates by one matrix product; the second is sharper and judges them, each tried
shifted and scaled. Mirrored and turned copies are not looked for.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import linalg, ndimage

from medgan.cohort.duplicates import cells

GRID, REACH = 16, 7  # cells a side; cells a side of the neighbourhood that contrast is relative to
FAINT = 12.0  # grey levels of 255: contrast below it counts little
LEAST = 0.5  # length of a grid of contrasts below which a picture is blank
MARGIN = 0.06  # of the side, left out all round so that a shifted picture still fills the grid
SLABS = 3  # mean pictures that stand for a volume
FITTED = 2048  # pictures that a projection is fitted on
FEW = 16  # pictures of no structure that join the mean: of two copies alone, the mean would be the picture
RIDGE = 0.03  # of the mean variance; more when there are fewer pictures than cells
CLOSEST = 6  # candidates of a picture
CANDIDATE, PROMISING, SAME = 0.5, 0.65, 0.85  # likeness to be tried, to be tried finely, and to be a near duplicate
BLOCK = 256
Floats = NDArray[np.float32]
Move = tuple[float, float, float]  # scale, shift down and along in sides of the picture
STILL: Move = (1.0, 0.0, 0.0)


@dataclass(frozen=True, slots=True)
class Match:
    """A picture and the one of an earlier part that it nearly duplicates: rows, and likeness up to 1."""

    row: int
    like: int
    likeness: float


@dataclass(frozen=True, slots=True)
class Nuisance:
    """What one picture may suffer: a shift in sides, a change of scale, noise in grey levels."""

    shift: float
    scale: float
    noise: float

    @property
    def moves(self) -> list[Move]:
        scales, shifts = (1 - self.scale, 1 + self.scale), (-self.shift, self.shift)
        return [*itertools.product(scales, shifts, shifts)]


@dataclass(frozen=True, slots=True)
class Projection:
    """Mean [G] and axes [G, K] of grids."""

    mean: Floats
    axes: Floats

    def __call__(self, pages: Floats, move: Move = STILL) -> Floats:
        """Unit vectors float32 [N, K] of moved pages [N, P, H, W]; zeros for a blank one."""
        grids = _grids(pages, move)
        apart = (grids - self.mean) * grids.any(axis=1, keepdims=True)
        return _unit(np.asarray(apart @ self.axes, np.float32))


SEARCH, JUDGE = (Nuisance(0.02, 0.04, 6.0), 64), (Nuisance(0.01, 0.015, 12.0), 128)
COARSE: list[Move] = [STILL, *itertools.product((0.95, 1.05), (-0.02, 0.02), (-0.02, 0.02))]
FINE: list[Move] = [
    *itertools.product((0.92, 0.96, 1.0, 1.04, 1.08), (-0.04, -0.02, 0.0, 0.02, 0.04), (-0.04, -0.02, 0.0, 0.02, 0.04))
]


def matches(images: NDArray[Any], part: NDArray[np.integer]) -> list[Match]:
    """For each row that nearly duplicates a row of an earlier part, the one it is most like.

    images: stored integers [N, C, D, H, W]; part: [N], of which a patient has one, so that every match is between
    two patients. 100,000 pictures take about a minute on one core.
    """
    if len(set(np.asarray(part).tolist())) < 2:
        return []
    pages = _pages(images)
    search, judge = (_fitted(pages, nuisance, keep) for nuisance, keep in (SEARCH, JUDGE))
    near, exact = _projected(search, pages), _projected(judge, pages)
    found = []
    for late, rows in enumerate(np.flatnonzero(part == one) for one in np.unique(part)):
        earlier = np.flatnonzero(part < part[rows[0]]) if late else rows[:0]
        for some, others in _candidates(near, rows, earlier):
            found += _judged(pages, exact, judge, some, others)
    return sorted(found, key=lambda match: match.row)


def _candidates(near: Floats, rows: NDArray[Any], earlier: NDArray[Any]) -> Iterator[tuple[NDArray[Any], NDArray[Any]]]:
    """Blocks of rows [B] with the rows [B, K] of `earlier` that lie nearest to each; those without one are out."""
    targets = np.ascontiguousarray(near[earlier].T)
    for start in range(0, len(rows) if len(earlier) else 0, BLOCK):
        block = rows[start : start + BLOCK]
        likeness = near[block] @ targets
        each, picked = np.arange(len(block)), []
        close = likeness.max(axis=1) >= CANDIDATE
        for _ in range(min(CLOSEST, len(earlier))):
            best = likeness.argmax(axis=1)
            picked.append(earlier[best])
            likeness[each, best] = -2
        if close.any():
            yield block[close], np.stack(picked, axis=1)[close]


def _judged(
    pages: NDArray[Any], exact: Floats, judge: Projection, rows: NDArray[Any], others: NDArray[Any]
) -> list[Match]:
    coarse = _aligned(_floats(pages[rows]), exact[others], judge, COARSE)
    best = coarse.argmax(axis=1)
    promising = coarse.max(axis=1) >= PROMISING
    rows, others = rows[promising], others[promising, best[promising]]
    fine = _aligned(_floats(pages[rows]), exact[others][:, None], judge, FINE)[:, 0]
    return [
        Match(int(row), int(like), float(value))
        for row, like, value in zip(rows, others, fine, strict=True)
        if value >= SAME
    ]


def _aligned(pages: Floats, others: Floats, judge: Projection, moves: list[Move]) -> Floats:
    """Likeness [B, K] of pages [B, P, H, W] to the projected others [B, K, A], each at its best move."""
    best = np.full(others.shape[:2], -1, np.float32)
    for move in moves if len(pages) else ():
        np.maximum(best, np.einsum("bka,ba->bk", others, judge(pages, move)), out=best)
    return best


def _fitted(pages: NDArray[Any], nuisance: Nuisance, keep: int) -> Projection:
    """The axes with most variance between pictures for what the nuisance does, each weighed by its share of it."""
    some = _floats(pages[np.linspace(0, len(pages) - 1, min(FITTED, len(pages))).astype(np.intp)])
    chance = np.random.default_rng(0)  # the same cohort gives the same axes
    grids = _grids(some, STILL)
    size = grids.shape[1]
    mean = np.asarray(grids.sum(axis=0) / (len(some) + FEW), np.float32)
    within = np.zeros((size, size))
    for move in nuisance.moves:
        noisy = np.clip(some + chance.normal(0, nuisance.noise, some.shape).astype(np.float32), 0, 255)
        change = (_grids(noisy, move) - grids).astype(np.float64)
        within += change.T @ change / (len(some) * len(nuisance.moves))
    spread = (grids - mean).astype(np.float64)
    total = _ridged(spread.T @ spread / len(some), RIDGE * max(1.0, size / len(some)))
    gain, axes = linalg.eigh(total, _ridged(within, 1e-3), subset_by_index=(max(0, size - keep), size - 1))
    axes /= np.sqrt((axes * (total @ axes)).sum(axis=0))
    return Projection(mean, (axes * (gain / (1 + gain))).astype(np.float32))


def _ridged(covariance: NDArray[np.float64], share: float) -> NDArray[np.float64]:
    size = len(covariance)
    return covariance + np.eye(size) * (share * np.trace(covariance) / size + 1e-12)


def _projected(projection: Projection, pages: NDArray[Any]) -> Floats:
    return np.concatenate([projection(_floats(pages[i : i + BLOCK])) for i in range(0, len(pages), BLOCK)])


def _pages(images: NDArray[Any]) -> NDArray[Any]:
    """[N, P, H, W] of one channel: the picture itself, or the mean pictures of a volume's slabs as uint8."""
    if images.shape[2] == 1:
        return images[:, 0]
    bounds = np.linspace(0, images.shape[2], min(SLABS, images.shape[2]) + 1).astype(int)
    scale = 255 / np.iinfo(images.dtype).max
    means = [images[:, 0, low:high].mean(axis=1, dtype=np.float32) for low, high in itertools.pairwise(bounds)]
    return np.rint(np.stack(means, axis=1) * scale).astype(np.uint8)


def _floats(pages: NDArray[Any]) -> Floats:
    """Grey levels of 0..255, whatever the stored range."""
    return pages.astype(np.float32) * np.float32(255 / np.iinfo(pages.dtype).max)


def _grids(pages: Floats, move: Move) -> Floats:
    """Unit vectors [N, P * GRID * GRID] of moved pages: each cell less its neighbourhood's mean, over its spread.

    Zeros for a page that is blank, or so nearly that only rounding would be compared.
    """
    down, along = (_window(side, move[0], shift) for side, shift in zip(pages.shape[-2:], move[1:], strict=True))
    grid = np.matmul(np.matmul(down, pages), along.T)
    size = (0, 0, REACH, REACH)
    grid -= ndimage.uniform_filter(grid, size, mode="nearest")
    power = ndimage.uniform_filter(grid * grid, size, mode="nearest")
    grid /= np.sqrt(np.maximum(power, 0)) + np.float32(FAINT)  # a running sum can fall below 0
    flat = grid.reshape(len(grid), -1)
    flat = flat - flat.mean(axis=1, keepdims=True)
    return _unit(flat * (np.linalg.norm(flat, axis=1, keepdims=True) > LEAST))


def _window(side: int, scale: float, shift: float) -> Floats:
    half = (0.5 - MARGIN) * scale
    return cells(side, GRID, low=0.5 + shift - half, high=0.5 + shift + half)


def _unit(rows: Floats) -> Floats:
    return np.asarray(rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-6), np.float32)
