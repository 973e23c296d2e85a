"""Which part of an array, and how it is squared."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def inside_square(height_mm: float, width_mm: float, size: int) -> tuple[int, int]:
    """Pixels of a picture of this extent inside a square of `size` pixels, its longer side filled."""
    longer = max(height_mm, width_mm)
    return max(1, round(size * height_mm / longer)), max(1, round(size * width_mm / longer))


def pad_square(picture: NDArray[np.float32], size: int, fill: float) -> NDArray[np.float32]:
    """[H, W] in the middle of [size, size]."""
    height, width = picture.shape
    if (height, width) == (size, size):
        return picture
    square = np.full((size, size), fill, dtype=np.float32)
    top, left = (size - height) // 2, (size - width) // 2
    square[top : top + height, left : left + width] = picture
    return square


def centre_of(body: NDArray[np.bool_]) -> tuple[int, ...]:
    """The voxel in the middle of what is body in [D, H, W]: its centre of mass; of the grid where there is none."""
    counts = [
        np.count_nonzero(body, axis=tuple(other for other in range(body.ndim) if other != axis))
        for axis in range(body.ndim)
    ]
    return tuple(
        round(float(np.average(np.arange(n), weights=count))) if count.any() else n // 2
        for n, count in zip(body.shape, counts, strict=True)
    )


def cut(array: NDArray[Any], centre: tuple[int, ...], shape: tuple[int, ...], fill: float) -> NDArray[Any]:
    """The block of `shape` around a voxel, which comes to lie at its middle; `fill` where the array ends.

    Where an array is longer than the block, the block stays inside it.
    """
    block = np.full(shape, fill, array.dtype)
    there, here = [], []
    for n, wanted, middle in zip(array.shape, shape, centre, strict=True):
        start = min(max(0, middle - wanted // 2), n - wanted) if n > wanted else -((wanted - n) // 2)
        there.append(slice(max(0, start), min(n, start + wanted)))
        here.append(slice(there[-1].start - start, there[-1].stop - start))
    block[tuple(here)] = array[tuple(there)]
    return block


def evenly(count: int, wanted: int, share: float) -> list[int]:
    """At most `wanted` different indices out of `count`, spread over the central `share`."""
    start = (1 - share) / 2
    return sorted({min(count - 1, int(count * (start + share * (i + 0.5) / wanted))) for i in range(wanted)})
