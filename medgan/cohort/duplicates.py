"""Near-identical pictures of a source without patient ids: joined into one unit before the split.

Otherwise a picture and its copy could end on both sides, and every privacy figure would be wrong.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

NEAR_BITS = 4  # of the 64-bit difference hash
NEAR_GREY = 6.0  # mean difference of 16x16 thumbnails, in grey levels of 255
THUMB = 16
BLOCK, PAIRS = 512, 8192  # rows of the table of differences, and pairs, looked at in one go


def units(images: NDArray[np.integer]) -> NDArray[np.int64]:
    """For images [N, ...] stored integers: the index of the first picture of each one's unit, int64 [N]."""
    first = np.arange(len(images))
    if len(images) < 2:
        return first
    thumbs = _thumbnails(images)
    for one, other in _candidates(_hashes(thumbs)):
        apart = first[one] != first[other]  # a thousand copies of one picture are half a million pairs
        one, other = one[apart], other[apart]
        near = np.abs(thumbs[one] - thumbs[other]).mean(axis=(1, 2)) <= NEAR_GREY
        for a, b in zip(one[near].tolist(), other[near].tolist(), strict=True):
            root_a, root_b = _root(first, a), _root(first, b)
            first[max(root_a, root_b)] = min(root_a, root_b)
        while (first != first[first]).any():
            first = first[first]
    return first


def cells(before: int, after: int, *, low: float = 0.0, high: float = 1.0) -> NDArray[np.float32]:
    """[after, before]: the share of each of `before` pixels in each cell, rows adding up to 1.

    The cells divide the stretch from `low` to `high`, in sides of the picture, which may reach a little beyond it.
    """
    edges = np.linspace(low * before, high * before, after + 1)
    pixels = np.arange(before)
    overlap = np.minimum(edges[1:, None], pixels + 1) - np.maximum(edges[:-1, None], pixels)
    some = np.maximum(overlap, 0)
    return (some / np.maximum(some.sum(axis=1, keepdims=True), 1e-9)).astype(np.float32)


def _candidates(hashes: NDArray[np.uint64]) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Indices a < b of hashes that differ in few bits, some thousand pairs at a time."""
    for start in range(0, len(hashes), BLOCK):
        block = hashes[start : start + BLOCK, None]
        rows, columns = np.nonzero(np.bitwise_count(block ^ hashes[None, start:]) <= NEAR_BITS)
        ahead = columns > rows
        one, other = rows[ahead] + start, columns[ahead] + start
        for some in range(0, len(one), PAIRS):
            yield one[some : some + PAIRS], other[some : some + PAIRS]


def _thumbnails(images: NDArray[np.integer]) -> NDArray[np.float32]:
    """float32 [N, 16, 16] of the middle slice, area means, each stretched to 0..255."""
    middle = images.reshape(len(images), -1, *images.shape[-2:])
    middle = middle[:, middle.shape[1] // 2]
    thumbs = np.stack([_means(picture.astype(np.float32), THUMB, THUMB) for picture in middle])
    low: NDArray[np.float32] = thumbs.min(axis=(1, 2), keepdims=True)
    spread = np.maximum(thumbs.max(axis=(1, 2), keepdims=True) - low, 1e-6)
    return np.asarray((thumbs - low) * (255 / spread), dtype=np.float32)


def _hashes(thumbs: NDArray[np.float32]) -> NDArray[np.uint64]:
    """The difference hash: is a cell darker than its right neighbour, on 8 rows of 9 cells."""
    cells = np.stack([_means(thumb, 8, 9) for thumb in thumbs])
    bits = (cells[:, :, :-1] < cells[:, :, 1:]).reshape(len(cells), 64)
    return np.packbits(bits, axis=1).view(np.uint64).ravel()


def _means(picture: NDArray[np.float32], rows: int, columns: int) -> NDArray[np.float32]:
    """Area means on a coarser grid whose cells may share pixels."""
    down = cells(picture.shape[0], rows)
    along = cells(picture.shape[1], columns)
    return np.asarray(down @ picture @ along.T, dtype=np.float32)


def _root(first: NDArray[np.int64], index: int) -> int:
    while first[index] != index:
        first[index] = first[first[index]]
        index = int(first[index])
    return index
