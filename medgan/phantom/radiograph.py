"""A chest radiograph by physics: Beer-Lambert along diverging rays, scatter, photon noise, a detector's blur, log."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter

from medgan.phantom.anatomy import MU_MUSCLE, MU_WATER, Array, Body, arms, lung_tissue, lungs, soft_tissue
from medgan.phantom.bones import Cloud
from medgan.phantom.lesions import Lesion, share_of_water

DEPTHS = 44  # samples along a ray through the body


@dataclass(frozen=True, slots=True)
class Shot:
    """How one film was taken; lengths in real mm."""

    view: str  # PA: the detector is in front; AP: behind
    source_mm: float  # source to detector
    field_mm: float  # side of the detector
    turn: float  # radians: the patient's rotation
    shift: tuple[float, float]
    dose: float  # photons a pixel in air
    latitude: float  # how far the processing flattens the mediastinum
    seed: int


def draw_shot(rng: np.random.Generator, body: Body, view: str) -> Shot:
    bedside = view == "AP"
    return Shot(
        view=view,
        source_mm=1100.0 if bedside else 1830.0,
        field_mm=float(rng.normal(402, 13) * (0.6 + 0.4 * body.scale[0]) * (1.05 if bedside else 1.0)),
        turn=float(rng.normal(0, 0.05 if bedside else 0.022)),
        shift=(float(rng.normal(0, 7)), float(rng.normal(-6, 9))),
        dose=float(np.exp(rng.normal(10.6 if bedside else 11.6, 0.3))),
        latitude=float(rng.uniform(0.40, 0.6)),
        seed=int(rng.integers(1 << 31)),
    )


def expose(body: Body, fine: Cloud, lesion: Lesion | None, shot: Shot, film: int) -> Array:
    """The film as the detector reads it: float32 [film, film] in [0, 1], dense tissue bright, the patient facing us."""
    optical = soft_integral(body, lesion, shot, film) + fine_integral(body, fine, shot, film)
    rng = np.random.default_rng(shot.seed)
    primary = np.exp(-optical)
    photons = shot.dose * (primary + scatter(primary))
    photons = np.maximum(photons + np.sqrt(photons) * rng.standard_normal(photons.shape, np.float32), 1)
    signal = gaussian_filter(np.log(photons), 0.45)
    return present(-signal, np.float32(-np.log(shot.dose)), shot)


def magnification(shot: Shot, depth_mm: Array) -> Array:
    """Size of the object plane against the film at a depth (y, real mm): the nearer to the source, the smaller."""
    towards = depth_mm if shot.view == "PA" else -depth_mm
    return (shot.source_mm - 170 - towards) / shot.source_mm


def soft_integral(body: Body, lesion: Lesion | None, shot: Shot, film: int) -> Array:
    """Line integrals of the soft tissue, on half the film's pixels and then cubic: float32 [film, film]."""
    half = film // 2
    sx, sy, sz = body.scale
    reach = (150 + body.fat_mm + 0.5 * body.muscle_mm) * sy
    y_mm = np.linspace(-reach, 0.88 * reach, DEPTHS, dtype=np.float32)
    lateral = ((np.arange(half, dtype=np.float32) + 0.5) / half - 0.5) * shot.field_mm
    scale = magnification(shot, y_mm)
    x_mm = lateral[:, None] * scale[None] + shot.shift[0] + shot.turn * y_mm[None]
    z_mm = -lateral[:, None] * scale[None] + shot.shift[1]
    x, y, z = x_mm[None] / sx, y_mm[None, None] / sy, z_mm[:, None] / sz
    mu = attenuation(body, lesion, *(a.astype(np.float32) for a in (x, y, z)), supine=False)
    total = mu.sum(-1) * (y_mm[1] - y_mm[0])
    return enlarge(total, film)


def attenuation(body: Body, lesion: Lesion | None, x: Array, y: Array, z: Array, *, supine: bool) -> Array:
    """Attenuation without bones and vessels, 1/mm; lying patients hold their arms up, out of the field."""
    mu = soft_tissue(body, x, y, z)
    if not supine:
        mu = np.maximum(mu, arms(body, x, y, z) * MU_MUSCLE)
    lung = lungs(body, x, y, z)
    inner = lung_tissue(body, x, y, z)
    if lesion is not None:
        inner = inner + share_of_water(lesion, body, x, y, z, supine=supine) * (np.float32(MU_WATER * 1.03) - inner)
    return mu + lung * (inner - mu)


def fine_integral(body: Body, fine: Cloud, shot: Shot, film: int) -> Array:
    """Line integrals of bones and vessels: each point's mass spread over the pixels its shadow meets."""
    row, column, pixel_mm = film_place(body, fine.places, shot, film)
    weight = fine.mass * np.float32(np.prod(body.scale)) / pixel_mm**2
    return gaussian_filter(splat(row, column, weight, film), 0.75 * film / 256)


def film_place(body: Body, places: Array, shot: Shot, film: int) -> tuple[Array, Array, Array]:
    """Row and column of the shadows of places (nominal mm [n, 3]), and the size of a pixel at their depth, mm."""
    sx, sy, sz = body.scale
    depth = places[:, 1] * sy
    pixel_mm = magnification(shot, depth) * (shot.field_mm / film)
    column = (places[:, 0] * sx - shot.shift[0] - shot.turn * depth) / pixel_mm + film / 2 - 0.5
    row = -(places[:, 2] * sz - shot.shift[1]) / pixel_mm + film / 2 - 0.5
    return row, column, pixel_mm


def splat(row: Array, column: Array, weight: Array, film: int) -> Array:
    """Add weights at fractional places to a square grid, bilinearly."""
    r0, c0 = np.floor(row), np.floor(column)
    fr, fc = row - r0, column - c0
    keep = (r0 >= 0) & (c0 >= 0) & (r0 < film - 1) & (c0 < film - 1)
    r0, c0, fr, fc, weight = r0[keep], c0[keep], fr[keep], fc[keep], weight[keep]
    base = (r0 * film + c0).astype(np.int64)
    total = np.zeros(film * film)
    for step, share in (
        (0, (1 - fr) * (1 - fc)),
        (1, (1 - fr) * fc),
        (film, fr * (1 - fc)),
        (film + 1, fr * fc),
    ):
        total += np.bincount(base + step, share * weight, film * film)
    return total.reshape(film, film).astype(np.float32)


def enlarge(picture: Array, side: int) -> Array:
    """A square picture on `side` pixels a side by Catmull-Rom interpolation, edges repeated.

    Taps instead of a matrix product: the bytes must not depend on which BLAS is installed.
    """
    few = picture.shape[0]
    at = (np.arange(side) + 0.5) * few / side - 0.5
    base = np.floor(at).astype(int)
    t = (at - base).astype(np.float32)
    weights = (
        -0.5 * t + t**2 - 0.5 * t**3,
        1 - 2.5 * t**2 + 1.5 * t**3,
        0.5 * t + 2 * t**2 - 1.5 * t**3,
        -0.5 * t**2 + 0.5 * t**3,
    )
    taps = [np.clip(base + k - 1, 0, few - 1) for k in range(4)]
    tall = sum(w[:, None] * picture[tap] for w, tap in zip(weights, taps, strict=True))
    return np.asarray(sum(w[None] * tall[:, tap] for w, tap in zip(weights, taps, strict=True)), np.float32)


def shrink(picture: Array, most: int) -> Array:
    """Means of whole blocks, at most about `most` a side."""
    step = max(1, picture.shape[0] // most)
    cut = picture.shape[0] // step * step
    return picture[:cut, :cut].reshape(cut // step, step, cut // step, step).mean((1, 3))


def scatter(primary: Array) -> Array:
    """Scattered light that a grid lets through: a broad blur of the primary, computed small."""
    small = shrink(primary, 32)
    wide = gaussian_filter(np.minimum(small, 0.25), 0.09 * small.shape[0], mode="nearest")
    return np.maximum(0.22 * enlarge(wide, primary.shape[0]), 0)


def present(density: Array, air: np.float32, shot: Shot) -> Array:
    """For presentation: flatten the broad differences, sharpen a little, fit the window: [0, 1]."""
    film = density.shape[0]
    small = shrink(density, 64)
    wide = enlarge(gaussian_filter(small, 0.17 * small.shape[0], mode="nearest"), film)
    flat = density - shot.latitude * wide
    flat = flat + 0.45 * (flat - gaussian_filter(flat, film / 90))
    inside = flat[density > air + 0.9]
    low, high = np.percentile(inside, (1.0, 99.3)) if inside.size else (0.0, 1.0)
    t = (flat - low) / max(high - low, 1e-6)
    toned = 1 / (1 + np.exp(-4.6 * (t - 0.44)))  # toe and shoulder, as film has them
    return np.clip(1.06 * toned - 0.05, 0, 1).astype(np.float32)
