"""An axial chest CT of the same anatomy: attenuation on a grid, bone and vessels deposited, HU, noise, a couch."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.ndimage import gaussian_filter

from medgan.phantom.anatomy import MU_WATER, Array, Body, lung_mask
from medgan.phantom.bones import Cloud, join, skeleton
from medgan.phantom.lesions import Lesion
from medgan.phantom.radiograph import attenuation
from medgan.phantom.vessels import vessels

HARDER = 0.52  # bone's excess at a CT's energies against a film's
COUCH_HU = -640


@dataclass(frozen=True, slots=True)
class Scan:
    """The grid of a scan, real mm: slices go from feet to head, rows to the back, columns to the left."""

    rows: int
    pixel_mm: float
    slice_mm: float
    slices: int
    first_mm: float  # z of the first slice
    noise_hu: float
    seed: int

    @property
    def origin_mm(self) -> tuple[float, float, float]:
        """Centre of the first voxel (x, y, z)."""
        edge = -0.5 * (self.rows - 1) * self.pixel_mm
        return edge, edge, self.first_mm


def fine_structure(body: Body) -> Cloud:
    """Bones as a CT's beam sees them, arms held up, and the vessels of the lungs."""
    return join([skeleton(body, arms=False, contrast=HARDER), vessels(body)])


def draw_scan(rng: np.random.Generator, body: Body, rows: int = 128) -> Scan:
    sx, _, sz = body.scale
    slices = int(rng.integers(24, 33))
    low, high = (body.dome_mm - 52) * sz, 142 * sz
    wide = 2 * (CHEST_MM + body.muscle_mm + body.fat_mm) * sx * 1.08
    return Scan(
        rows=rows,
        pixel_mm=round(wide / rows, 3),
        slice_mm=round((high - low) / (slices - 1), 2),
        slices=slices,
        first_mm=round(float(low), 2),
        noise_hu=float(rng.uniform(12, 26)),
        seed=int(rng.integers(1 << 31)),
    )


CHEST_MM = 146.0


def axes(scan: Scan, body: Body) -> tuple[Array, Array, Array]:
    """Nominal coordinates of the grid: x [1, 1, C], y [1, R, 1], z [S, 1, 1]."""
    sx, sy, sz = body.scale
    x0, y0, z0 = scan.origin_mm
    across = np.arange(scan.rows, dtype=np.float32) * np.float32(scan.pixel_mm)
    up = np.arange(scan.slices, dtype=np.float32) * np.float32(scan.slice_mm)
    return (x0 + across)[None, None] / sx, (y0 + across)[None, :, None] / sy, (z0 + up)[:, None, None] / sz


def scan_chest(body: Body, fine: Cloud, lesion: Lesion | None, scan: Scan) -> npt.NDArray[np.int16]:
    """Hounsfield units int16 [S, R, C]: the patient lies on the back, arms up."""
    x, y, z = (a.astype(np.float32) for a in axes(scan, body))
    mu = attenuation(body, lesion, x, y, z, supine=True)
    mu = gaussian_filter(mu + deposit(body, fine, scan), (0.25, 0.55, 0.55))
    hu = 1000 * (mu / MU_WATER - 1)
    hu = np.maximum(hu, couch(body, scan))
    rng = np.random.default_rng(scan.seed)
    noise = gaussian_filter(rng.standard_normal(hu.shape, np.float32), (0, 0.7, 0.7))
    hu += noise * np.float32(scan.noise_hu / noise.std())
    return np.clip(np.round(hu), -1024, 3071).astype(np.int16)


def deposit(body: Body, fine: Cloud, scan: Scan) -> Array:
    """Attenuation of bones and vessels on the grid: nearest slice, bilinear in plane."""
    sx, sy, sz = body.scale
    x0, y0, z0 = scan.origin_mm
    n = scan.rows
    places = fine.places * np.array([sx, sy, sz], np.float32)
    c, r = (places[:, 0] - x0) / scan.pixel_mm, (places[:, 1] - y0) / scan.pixel_mm
    s = (places[:, 2] - z0) / scan.slice_mm
    mass = fine.mass * np.float32(sx * sy * sz / (scan.pixel_mm**2 * scan.slice_mm))
    keep = (c >= 0) & (r >= 0) & (s > -0.5) & (c < n - 1) & (r < n - 1) & (s < scan.slices - 0.5)
    c, r, s, mass = c[keep], r[keep], np.round(s[keep]).astype(np.int64), mass[keep]
    c0, r0 = np.floor(c).astype(np.int64), np.floor(r).astype(np.int64)
    fc, fr = c - c0, r - r0
    base = (s * n + r0) * n + c0
    size = scan.slices * n * n
    total = np.bincount(base, (1 - fr) * (1 - fc) * mass, size)
    total += np.bincount(base + 1, (1 - fr) * fc * mass, size)
    total += np.bincount(base + n, fr * (1 - fc) * mass, size)
    total += np.bincount(base + n + 1, fr * fc * mass, size)
    return total.reshape(scan.slices, n, n).astype(np.float32)


def couch(body: Body, scan: Scan) -> Array:
    """A shallow curved table under the back, HU, air elsewhere: [1, R, C]."""
    _, sy, _ = body.scale
    x0, y0, _ = scan.origin_mm
    at = np.arange(scan.rows, dtype=np.float32) * np.float32(scan.pixel_mm)
    x, y = (x0 + at)[None, None], (y0 + at)[None, :, None]
    back = (10 + 113 + 0.6 * body.muscle_mm + 0.8 * body.fat_mm) * sy + 4
    gap = np.abs(y - (back - 0.0006 * x * x + 3)) - 3
    return np.where((gap < 0) & (np.abs(x) < 200), COUCH_HU, -1000).astype(np.float32)


def lungs_of(body: Body, scan: Scan) -> npt.NDArray[np.bool_]:
    """The true lungs on the scan's grid, bool [S, R, C]."""
    return lung_mask(body, *(a.astype(np.float32) for a in axes(scan, body)))
