"""Separable resampling by matrix products: a triangle filter as wide as the coarser of the two grids.

Down-sampling is anti-aliased, up-sampling linear. Both grids cover the same extent (edges coincide, as in
`scipy.ndimage.zoom(grid_mode=True)`), so n pixels of p mm become m pixels of p*n/m mm.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medgan.volume.geometry import Geometry, Volume

COVERED = 0.5  # share of a new pixel's weight that must not be padding


@lru_cache(maxsize=512)
def weights(before: int, after: int) -> NDArray[np.float32]:
    """[after, before]: each row adds up to 1."""
    ratio = before / after
    centres = (np.arange(after) + 0.5) * ratio - 0.5
    distance = np.abs(np.arange(before)[None, :] - centres[:, None]) / max(ratio, 1.0)
    matrix = np.maximum(0.0, 1.0 - distance)
    # up-sampling at the edge: beyond the first and last centre the edge pixel is held
    matrix /= matrix.sum(axis=1, keepdims=True)
    return matrix.astype(np.float32)


def resize(pictures: NDArray[np.float32], height: int, width: int) -> NDArray[np.float32]:
    """float32 [..., H, W] -> [..., height, width]."""
    if pictures.shape[-1] != width:
        pictures = pictures @ weights(pictures.shape[-1], width).T
    if pictures.shape[-2] != height:
        pictures = weights(pictures.shape[-2], height) @ pictures
    return pictures


def resize_depth(voxels: NDArray[np.float32], depth: int) -> NDArray[np.float32]:
    """float32 [D, H, W] -> [depth, H, W]."""
    if voxels.shape[0] == depth:
        return voxels
    flat = weights(voxels.shape[0], depth) @ voxels.reshape(voxels.shape[0], -1)
    return flat.reshape(depth, *voxels.shape[1:])


def resize_padded(
    picture: NDArray[np.float32], padding: NDArray[np.bool_] | None, height: int, width: int
) -> tuple[NDArray[np.float32], NDArray[np.bool_] | None]:
    """Resize [H, W] so that padding never mixes into what is kept; the new padding is what it mostly covers."""
    if padding is None or not padding.any():
        return resize(picture, height, width), None
    kept = (~padding).astype(np.float32)
    cover = resize(kept, height, width)
    values = resize(np.where(padding, np.float32(0), picture), height, width)
    outside = cover < COVERED
    return np.where(outside, np.float32(0), values / np.maximum(cover, np.float32(COVERED))), outside


def resample(volume: Volume, shape: tuple[int, int, int]) -> Volume:
    """The whole volume on a grid of `shape` that covers the same extent; origin and spacing follow."""
    depth, height, width = shape
    voxels = resize_depth(resize(_filled(volume), height, width), depth)
    padding = None
    if volume.padding is not None:
        cover = resize_depth(resize((~volume.padding).astype(np.float32), height, width), depth)
        padding = cover < COVERED
        voxels = np.where(padding, np.float32(0), voxels / np.maximum(cover, np.float32(COVERED)))
    return Volume(np.ascontiguousarray(voxels), regridded(volume.geometry, shape), padding)


def regridded(geometry: Geometry, shape: tuple[int, int, int]) -> Geometry:
    """The grid of `shape` over the same extent."""
    spacing = [old * n / m for old, n, m in zip(geometry.spacing_mm, geometry.shape, shape, strict=True)]
    origin = np.array(geometry.origin_mm)
    for axis, old, new in zip(geometry.axes, geometry.spacing_mm, spacing, strict=True):
        origin = origin + np.array(axis) * (new - old) / 2
    return Geometry(shape, _three(spacing), _three(origin), geometry.axes)


def shape_at(geometry: Geometry, spacing_mm: float) -> tuple[int, int, int]:
    """How many voxels of `spacing_mm` come nearest to the extent of `geometry`."""
    depth, height, width = (
        max(1, round(n * step / spacing_mm)) for n, step in zip(geometry.shape, geometry.spacing_mm, strict=True)
    )
    return depth, height, width


def _filled(volume: Volume) -> NDArray[np.float32]:
    if volume.padding is None:
        return volume.voxels
    return np.where(volume.padding, np.float32(0), volume.voxels)


def _three(numbers: Any) -> tuple[float, float, float]:
    a, b, c = (float(number) for number in numbers)
    return a, b, c
