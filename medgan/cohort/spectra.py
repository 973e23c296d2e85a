"""Blur, noise and grids, seen without any network: sliced Wasserstein distance and radial log power, 2-D and 3-D."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from medgan.cohort.features import ROUNDING

Pictures = NDArray[np.float32]  # [N, C, D, H, W] in [-1, 1]
DIRECTIONS = 128
DETAILS = 2  # levels of detail above the coarse picture
COARSEST = 4  # pixels a side that a coarse picture keeps
AT_ONCE = 1 << 24  # numbers in directions held at one time


def log_power(images: Pictures) -> NDArray[np.float64]:
    """Mean log power of each picture in rings (shells) of equal width [N, rings], of frequencies to 1/2 a voxel.

    As many rings as a quarter of the longest side; the level of a picture is no part of it.
    """
    rings, count = _rings(images.shape[2:])
    out = np.empty((len(images), count))
    for index, picture in enumerate(images):
        flat = picture.mean(axis=0, dtype=np.float64)
        power = np.abs(fft.rfftn(flat - flat.mean())) ** 2 / flat.size
        means = np.bincount(rings, power.ravel(), minlength=count + 1) / np.maximum(np.bincount(rings), 1)
        out[index] = np.log(means[:count] + ROUNDING)
    return out


def power_distance(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """Mean difference over the rings between mean log powers [N, rings], in nats."""
    return float(np.abs(a.mean(axis=0) - b.mean(axis=0)).mean())


def levels(images: Pictures) -> list[Pictures]:
    """Details from fine to coarse, and the coarse picture last: each what halving loses, float32 [N, voxels]."""
    found, level = [], np.asarray(images, np.float32)
    for _ in range(DETAILS):
        halved = _halved(level)
        if halved.shape == level.shape:
            break
        found.append((level - _doubled(halved, level.shape)).reshape(len(images), -1))
        level = halved
    return [*found, level.reshape(len(images), -1)]


def projected(images: Pictures, *, seed: int) -> list[NDArray[np.float64]]:
    """Each level on 128 random directions of length one: [N, 128] for each level. The same seed, the same ones."""
    return [_onto(level, np.random.default_rng([seed, index])) for index, level in enumerate(levels(images))]


def sliced_distance(
    a: Sequence[NDArray[np.float64]], b: Sequence[NDArray[np.float64]], spread: Sequence[float]
) -> float:
    """Mean L1 distance of sorted projections, [N, 128] of equal N for each level, each in units of its `spread`."""
    apart = [np.abs(np.sort(x, axis=0) - np.sort(y, axis=0)).mean() for x, y in zip(a, b, strict=True)]
    return float(np.mean([one / max(of, 1e-9) for one, of in zip(apart, spread, strict=True)]))


def _onto(level: Pictures, rng: np.random.Generator) -> NDArray[np.float64]:
    size = level.shape[1]
    few = max(1, min(DIRECTIONS, AT_ONCE // size))
    parts = []
    for start in range(0, DIRECTIONS, few):
        directions = rng.standard_normal((min(few, DIRECTIONS - start), size), dtype=np.float32)
        directions /= np.linalg.norm(directions, axis=1, keepdims=True)
        parts.append(level @ directions.T)
    return np.concatenate(parts, axis=1).astype(np.float64)


def _rings(shape: tuple[int, ...]) -> tuple[NDArray[np.intp], int]:
    """The ring of each value of rfftn, flat, and their number; what lies beyond 1/2 in a corner is in none of them."""
    axes = [fft.fftfreq(side) for side in shape[:-1]] + [fft.rfftfreq(shape[-1])]
    radius = np.sqrt(sum(axis**2 for axis in np.meshgrid(*axes, indexing="ij")))
    count = max(4, max(shape) // 4)
    ring = np.minimum((radius * 2 * count).astype(np.intp), count)
    ring[radius == 0] = count
    return ring.ravel(), count


def _halved(level: Pictures) -> Pictures:
    for axis in (2, 3, 4):
        side = level.shape[axis] // 2
        if side >= COARSEST:
            even = level.take(range(2 * side), axis=axis)
            shape = (*level.shape[:axis], side, 2, *level.shape[axis + 1 :])
            level = even.reshape(shape).mean(axis=axis + 1, dtype=np.float32)
    return level


def _doubled(level: Pictures, shape: tuple[int, ...]) -> Pictures:
    for axis in (2, 3, 4):
        if level.shape[axis] != shape[axis]:
            index = np.minimum(np.arange(shape[axis]) // 2, level.shape[axis] - 1)
            level = level.take(index, axis=axis)
    return level
