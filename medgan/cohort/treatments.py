"""What a copy may have gone through before it is offered as new: the treatments of the gate's controls.

Their parameters are continuous and wider than the grid that alignment.py searches, and warps, noise, blur and
re-compression are not searched at all: a control that used the search's own moves would flatter the gate.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy import fft, ndimage

Picture = NDArray[np.float32]  # [C, D, H, W] in [-1, 1]
BLOCK = 8  # pixels a side of the transform blocks of lossy compression


def treated(images: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    """Each picture of float32 [N, C, D, H, W] in [-1, 1] after one treatment, or two or three combined."""
    out = np.empty_like(images)
    for index, picture in enumerate(images):
        count = int(rng.choice([1, 2, 3], p=[0.4, 0.4, 0.2]))
        for kind in rng.choice(len(KINDS), size=count, replace=False):
            picture = KINDS[kind](picture, rng)
        out[index] = np.clip(picture, -1, 1)
    return out


def shrunk(images: NDArray[np.float32], share: float) -> NDArray[np.float32]:
    """Pictures moved towards their common mean, as a weak generator would make them."""
    mean = images.mean(axis=0, keepdims=True)
    moved: NDArray[np.float32] = (mean + (images - mean) * np.float32(1 - share)).astype(np.float32)
    return moved


def moved(picture: Picture, rng: np.random.Generator) -> Picture:
    """Rotated, cropped, shifted, and one time in four mirrored."""
    angle, zoom = np.deg2rad(rng.uniform(-8, 8)), rng.uniform(0.86, 1.04)
    mirror = -1.0 if rng.random() < 0.25 else 1.0
    matrix = zoom * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    matrix[:, 1] *= mirror
    size = np.array(picture.shape[-2:])
    centre, shift = (size - 1) / 2, rng.uniform(-0.05, 0.05, 2) * size
    rows, columns = np.indices(picture.shape[-2:]).astype(np.float64)
    y, x = rows - centre[0], columns - centre[1]
    return _sampled(
        picture,
        matrix[0, 0] * y + matrix[0, 1] * x + centre[0] + shift[0],
        matrix[1, 0] * y + matrix[1, 1] * x + centre[1] + shift[1],
    )


def warped(picture: Picture, rng: np.random.Generator) -> Picture:
    """Bent by a smooth random field of up to about 3 % of the side."""
    size = picture.shape[-1]
    field = [ndimage.gaussian_filter(rng.normal(size=picture.shape[-2:]), size / 8) for _ in range(2)]
    rows, columns = np.indices(picture.shape[-2:]).astype(np.float64)
    dy, dx = (f / (np.abs(f).max() + 1e-9) * 0.03 * size for f in field)
    return _sampled(picture, rows + dy, columns + dx)


def rewindowed(picture: Picture, rng: np.random.Generator) -> Picture:
    """Another contrast curve and window; one time in five inverted."""
    unit = np.clip((picture + 1) / 2, 0, 1) ** rng.uniform(0.6, 1.7)
    out = (unit * 2 - 1) * rng.uniform(0.7, 1.2) + rng.uniform(-0.15, 0.15)
    return (-out if rng.random() < 0.2 else out).astype(np.float32)


def noisy(picture: Picture, rng: np.random.Generator) -> Picture:
    return picture + rng.normal(0, rng.uniform(0.04, 0.12), picture.shape).astype(np.float32)


def blurred(picture: Picture, rng: np.random.Generator) -> Picture:
    sigma = rng.uniform(0.01, 0.022) * picture.shape[-1]
    return ndimage.gaussian_filter(picture, (0, 0, sigma, sigma))


def recompressed(picture: Picture, rng: np.random.Generator) -> Picture:
    """Block cosine transform with coarse steps, as lossy compression does."""
    *front, height, width = picture.shape
    pad = [(0, 0)] * len(front) + [(0, -height % BLOCK), (0, -width % BLOCK)]
    padded = np.pad(picture, pad, mode="edge")
    rows, columns = padded.shape[-2] // BLOCK, padded.shape[-1] // BLOCK
    blocks = padded.reshape(*front, rows, BLOCK, columns, BLOCK).swapaxes(-3, -2)
    step = rng.uniform(0.1, 0.3) * (1 + np.add.outer(np.arange(BLOCK), np.arange(BLOCK)) / 2)
    coarse = np.rint(fft.dctn(blocks, axes=(-2, -1), norm="ortho") / step) * step
    back = fft.idctn(coarse, axes=(-2, -1), norm="ortho").swapaxes(-3, -2).reshape(padded.shape)
    return back[..., :height, :width].astype(np.float32)


KINDS: tuple[Callable[[Picture, np.random.Generator], Picture], ...] = (
    moved,
    warped,
    rewindowed,
    noisy,
    blurred,
    recompressed,
)


def _sampled(picture: Picture, rows: NDArray[np.float64], columns: NDArray[np.float64]) -> Picture:
    out = np.empty_like(picture)
    for place in np.ndindex(*picture.shape[:2]):
        ndimage.map_coordinates(picture[place], [rows, columns], output=out[place], order=1, mode="nearest")
    return out
