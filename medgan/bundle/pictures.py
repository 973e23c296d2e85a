"""Arrays of pictures as what a page can show: grey PNG data URIs, a few of each class, nearest pairs."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

SIDE = 16  # pixels a side at which pictures are compared


def planar(images: NDArray[Any]) -> NDArray[np.uint8]:
    """Stored integers [N, C, D, H, W] to uint8 [N, H, W]: the first channel's middle slice."""
    middle = images[:, 0, images.shape[2] // 2]
    if middle.dtype == np.uint8:
        return middle.astype(np.uint8)
    return (middle.astype(np.float32) * (255.0 / np.iinfo(middle.dtype).max) + 0.5).astype(np.uint8)


def data_uri(picture: NDArray[np.uint8]) -> str:
    """One picture, uint8 [H, W], as a PNG that needs no file."""
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "PNG", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def by_class(labels: NDArray[np.integer], classes: Sequence[str], most: int) -> dict[str, NDArray[np.intp]]:
    """Up to `most` row numbers of each class that occurs, evenly spread over the cohort."""
    picked = {}
    for number, name in enumerate(classes):
        rows = np.flatnonzero(labels == number)
        if len(rows):
            picked[name] = rows[np.linspace(0, len(rows) - 1, min(most, len(rows))).astype(np.intp)]
    return picked


def nearest(synthetic: NDArray[np.uint8], real: NDArray[np.uint8], most: int) -> list[tuple[int, int, float]]:
    """The `most` synthetic pictures [N, H, W] nearest to a real one: (synthetic row, real row, correlation).

    Correlation at a coarse grid, without alignment: for the eye, not a privacy test.
    """
    if not len(synthetic) or not len(real):
        return []
    closeness = _coarse(synthetic) @ _coarse(real).T
    best = closeness.argmax(axis=1)
    value = closeness[np.arange(len(best)), best]
    order = np.argsort(-value, kind="stable")[:most]
    return [(int(row), int(best[row]), float(value[row])) for row in order]


def _coarse(pictures: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Unit vectors [N, SIDE * SIDE] of block means about their own mean."""
    small = np.stack(
        [np.asarray(Image.fromarray(p).resize((SIDE, SIDE), Image.Resampling.BOX), np.float32) for p in pictures]
    ).reshape(len(pictures), -1)
    small -= small.mean(axis=1, keepdims=True)
    return small / np.maximum(np.linalg.norm(small, axis=1, keepdims=True), 1e-6)
