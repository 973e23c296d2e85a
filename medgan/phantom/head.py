"""A head MR, T1-weighted and axial: scalp, skull, folded cortex, white matter, ventricles, deep grey, eyes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.ndimage import gaussian_filter

from medgan.phantom.anatomy import Array, fill


@dataclass(frozen=True, slots=True)
class Head:
    """Half axes in mm, atrophy 0 to 1, and the grid of the scan."""

    half_mm: tuple[float, float, float]
    atrophy: float
    rows: int
    pixel_mm: float
    slice_mm: float
    slices: int
    bias: tuple[float, float, float]
    noise: float
    seed: int

    @property
    def origin_mm(self) -> tuple[float, float, float]:
        edge = -0.5 * (self.rows - 1) * self.pixel_mm
        return edge, edge, -0.42 * self.slices * self.slice_mm


def draw_head(rng: np.random.Generator, sex: str, age: int, rows: int = 128) -> Head:
    size = rng.normal(0.96 if sex == "F" else 1.0, 0.03)
    slices = int(rng.integers(18, 23))
    return Head(
        half_mm=(float(72 * size), float(92 * size), float(78 * size)),
        atrophy=float(np.clip((age - 40) / 55 + rng.normal(0, 0.12), 0, 1)),
        rows=rows,
        pixel_mm=round(float(226 * size / rows), 3),
        slice_mm=round(float(128 * size / slices), 2),
        slices=slices,
        bias=(float(rng.normal(0, 0.1)), float(rng.normal(0, 0.1)), float(rng.normal(0, 0.08))),
        noise=float(rng.uniform(0.015, 0.03)),
        seed=int(rng.integers(1 << 31)),
    )


def scan_head(head: Head) -> npt.NDArray[np.uint16]:
    """Stored values uint16 [S, R, C], axial from feet to head."""
    x0, y0, z0 = head.origin_mm
    at = np.arange(head.rows, dtype=np.float32) * np.float32(head.pixel_mm)
    up = np.arange(head.slices, dtype=np.float32) * np.float32(head.slice_mm)
    x, y, z = (x0 + at)[None, None], (y0 + at)[None, :, None], (z0 + up)[:, None, None]
    signal = tissue(head, *(a.astype(np.float32) for a in (x, y, z)))
    a, b, c = head.half_mm
    signal *= 1 + head.bias[0] * x / a + head.bias[1] * y / b + head.bias[2] * z / c
    rng = np.random.default_rng(head.seed)
    signal = gaussian_filter(signal, (0.3, 0.5, 0.5))
    re, im = (rng.standard_normal(signal.shape, np.float32) * np.float32(head.noise) for _ in range(2))
    return np.clip(np.round(1600 * np.hypot(signal + re, im)), 0, 4095).astype(np.uint16)  # Rician, as magnitudes are


def tissue(head: Head, x: Array, y: Array, z: Array) -> Array:
    """T1-weighted brightness, [S, R, C]: fat 0.92, white matter 0.78, grey 0.54, fluid 0.16, bone 0.06."""
    a, b, c = head.half_mm
    narrow = 1 - 0.12 * np.clip(-y / b, 0, 1)  # the forehead is narrower than the back of the head
    high = np.where(z > 0, z / c, z / (2.3 * c))
    rho = np.sqrt((x / (a * narrow)) ** 2 + (y / b) ** 2 + high**2)
    depth = (1 - rho) * 0.5 * (a + b)
    signal = fill(-depth, 2.0) * 0.92
    signal += fill(4.5 - depth, 2.0) * (0.06 - 0.92)
    signal += fill(10.0 - depth, 2.0) * (0.16 - 0.06)
    inner = depth - 11 - 2.5 * head.atrophy
    furrow = np.abs(folds(head, x, y, z)) * 6.0  # about the distance to the nearest sulcus
    reach = np.clip((inner - 15 - 3 * head.atrophy) * 0.9, -9, 30)  # sulci end there
    sulcus = np.maximum(furrow - 0.5 - 0.9 * head.atrophy, reach)
    split = np.maximum(np.abs(x) - 0.8 - head.atrophy, np.maximum(22 - inner, -9) * -0.5 + 4 * (z < -12))
    split = np.where((z > 26) | (np.abs(y) > 44), np.abs(x) - 0.8 - head.atrophy, split)
    brain = np.minimum(inner, np.minimum(sulcus, split))
    signal += fill(-brain, 1.8) * (0.54 - 0.16)
    white = np.minimum(inner - 3.4, np.minimum(np.maximum(furrow - 3.1, reach), split - 3.0))
    signal += fill(-white, 2.0) * (0.78 - 0.54)
    return deep(head, x, y, z, face(head, x, y, z, depth, signal))


def face(head: Head, x: Array, y: Array, z: Array, depth: Array, signal: Array) -> Array:
    """Below the skull base, in front: soft tissue, the nose's air and the sinuses; behind: the cerebellum's leaves."""
    front = fill(z + 26 + 0.15 * y, 8.0) * fill(y + 22, 8.0) * fill(5.0 - depth)
    signal = signal + front * (0.42 + 0.1 * np.sin(x / 7) * np.sin(y / 8 + z / 9) - signal)
    air = np.maximum(oval(x, y + 66, z + 48, (11, 22, 18)), oval(np.abs(x) - 26, y + 60, z + 58, (10, 14, 12)))
    signal = signal + air * (0.03 - signal)
    leaves = oval(np.abs(x) - 24, y - 46, z + 46, (30, 30, 24))
    fine = 0.60 + 0.09 * np.sin(np.hypot(np.abs(x) - 20, y - 30) / 1.9)
    stem = oval(x, y - 12, z + 44, (13, 13, 40))
    signal = signal + leaves * (fine - signal)
    return signal + stem * (0.70 - signal)


def folds(head: Head, x: Array, y: Array, z: Array) -> Array:
    """A field in about [-1, 1] whose zeros wander like sulci: waves bent by slower waves."""
    p = np.random.default_rng(head.seed).uniform(0, 6.28, 9)
    bend_x = x + 6 * np.sin(y / 13 + z / 19 + p[0]) + 3 * np.sin(y / 6.5 + p[6])
    bend_y = y + 6 * np.sin(x / 14 - z / 17 + p[2]) + 3 * np.sin(x / 7 + p[7])
    return 0.6 * np.sin(bend_x / 6.0 + p[1]) + 0.6 * np.sin(bend_y / 6.4 + p[3]) + 0.25 * np.sin(z / 8 + p[5])


def deep(head: Head, x: Array, y: Array, z: Array, signal: Array) -> Array:
    """Deep grey, ventricles, midbrain and eyes over what is there."""
    wide = 1 + 0.9 * head.atrophy
    for side in (-1, 1):
        thalamus = oval(side * x - 13, y - 6, z - 4, (9, 14, 10))
        putamen = oval(side * x - 25 - 0.12 * y, y + 10, z - 2, (5.5, 15, 11))
        signal = signal + np.maximum(thalamus, putamen) * (0.58 - signal)
        front = oval(side * x - 7 + 0.22 * y, y + 20, z - 16, (4.2 * wide, 21, 7 * wide))
        body = oval(side * x - 11, y - 14, z - 20, (5.2 * wide, 24, 6 * wide))
        horn = oval(side * x - 22 - 0.3 * (y - 34), y - 34, z - 10, (5 * wide, 15, 7 * wide))
        signal = signal + np.maximum(np.maximum(front, body), horn) * (0.15 - signal)
        socket = oval(side * x - 30, y + 66, z + 34, (15, 20, 14))
        signal = signal + socket * (0.85 - signal)
        eye = oval(side * x - 30, y + 73, z + 34, (12, 12, 12))
        signal = signal + eye * (0.20 - signal)
    third = oval(x, y - 4, z - 2, (1.8 * wide, 13, 10))
    return signal + third * (0.15 - signal)


def oval(x: Array, y: Array, z: Array, half: tuple[float, float, float]) -> Array:
    q = (x / half[0]) ** 2 + (y / half[1]) ** 2 + (z / half[2]) ** 2
    return fill((q - 1) * (0.45 * min(half)), 2.0)
