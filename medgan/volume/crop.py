"""Which part of an array, and how it is squared."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

CENTRAL = 0.6  # share of a volume, along its normal, from which single slices are taken


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


def evenly(count: int, wanted: int, share: float = CENTRAL) -> list[int]:
    """At most `wanted` different indices out of `count`, spread over the central `share`."""
    start = (1 - share) / 2
    return sorted({min(count - 1, int(count * (start + share * (i + 0.5) / wanted))) for i in range(wanted)})
