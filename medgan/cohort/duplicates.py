"""Near-identical pictures of a source without patient ids: joined into one unit before the split.

Otherwise a picture and its copy could end on both sides, and every privacy figure would be wrong.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

NEAR_BITS = 4  # of the 64-bit difference hash
NEAR_GREY = 6.0  # mean difference of 16x16 thumbnails, in grey levels of 255
THUMB = 16
BLOCK = 512


def units(images: NDArray[np.integer]) -> NDArray[np.int64]:
    """For images [N, ...] stored integers: the index of the first picture of each one's unit, int64 [N]."""
    first = np.arange(len(images))
    if len(images) < 2:
        return first
    thumbs = _thumbnails(images)
    for a, b in _pairs(_hashes(thumbs)):
        if np.abs(thumbs[a] - thumbs[b]).mean() <= NEAR_GREY:
            root_a, root_b = _root(first, a), _root(first, b)
            first[max(root_a, root_b)] = min(root_a, root_b)
    return np.array([_root(first, index) for index in range(len(first))])


def _pairs(hashes: NDArray[np.uint64]) -> list[tuple[int, int]]:
    """Indices a < b of hashes that differ in few bits."""
    pairs: list[tuple[int, int]] = []
    for start in range(0, len(hashes), BLOCK):
        block = hashes[start : start + BLOCK, None]
        near = np.bitwise_count(block ^ hashes[None, start:]) <= NEAR_BITS
        rows, columns = np.nonzero(near)
        ahead = columns > rows
        pairs += zip((rows[ahead] + start).tolist(), (columns[ahead] + start).tolist(), strict=True)
    return pairs


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
    down = _cells(picture.shape[0], rows)
    along = _cells(picture.shape[1], columns)
    return down @ picture @ along.T


def _cells(before: int, after: int) -> NDArray[np.float32]:
    """[after, before]: the share of each pixel in each cell, rows adding up to 1."""
    edges = np.linspace(0, before, after + 1)
    pixels = np.arange(before)
    overlap = np.minimum(edges[1:, None], pixels + 1) - np.maximum(edges[:-1, None], pixels)
    cells = np.maximum(overlap, 0)
    return (cells / cells.sum(axis=1, keepdims=True)).astype(np.float32)


def _root(first: NDArray[np.int64], index: int) -> int:
    while first[index] != index:
        first[index] = first[first[index]]
        index = int(first[index])
    return index
