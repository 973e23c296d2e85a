"""The vessels of the lungs: a tree from each hilum that halves, bends and thins on its way to the wall."""

from __future__ import annotations

import numpy as np

from medgan.phantom.anatomy import MU_BLOOD, MU_LUNG, Body, lungs
from medgan.phantom.bones import Cloud

LEVELS = 6


def vessels(body: Body) -> Cloud:
    """Blood in the lungs as points with mass; what would leave the lungs weighs nothing."""
    rng = np.random.default_rng([body.seed, 1])
    starts, directions, radii = roots(body, rng)
    places, mass = [], []
    for level in range(LEVELS):
        length = 31 * 0.86**level * rng.uniform(0.7, 1.3, len(starts))
        t = np.linspace(0, 1, 18)[None, :, None]
        bend = rng.normal(0, 0.22, starts.shape)[:, None]
        way = directions[:, None] + bend * t
        line = starts[:, None] + way * t * length[:, None, None]
        thin = radii[:, None] * (1 - 0.22 * t[..., 0])
        places.append(line.reshape(-1, 3))
        mass.append((np.pi * thin**2 * (length / 18)[:, None]).reshape(-1))
        ends = line[:, -1]
        starts = np.concatenate([ends, ends])
        heading = way[:, -1] / np.linalg.norm(way[:, -1], axis=1)[:, None]
        aside = rng.normal(0, 1, heading.shape)
        aside -= (aside * heading).sum(1)[:, None] * heading
        aside *= rng.uniform(0.25, 0.6, len(heading))[:, None] / np.linalg.norm(aside, axis=1)[:, None]
        directions = np.concatenate([heading + aside, heading - aside * 0.7])
        directions /= np.linalg.norm(directions, axis=1)[:, None]
        radii = np.concatenate([radii, radii]) * (1 - 0.22) * rng.uniform(0.78, 0.98, 2 * len(radii))
    knots, weights = hila(rng)
    where = np.concatenate([*places, knots]).astype(np.float32)
    inside = lungs(body, where[:, 0], where[:, 1], where[:, 2])
    weight = np.concatenate([*mass, weights]).astype(np.float32) * inside * np.float32(MU_BLOOD - MU_LUNG)
    return Cloud(where, weight)


def hila(rng: np.random.Generator, n: int = 500) -> tuple[np.ndarray, np.ndarray]:
    """The soft knots of arteries, veins and nodes at the roots of the lungs: places [n, 3] and volumes [n], mm^3."""
    side = np.where(np.arange(n) % 2, 1, -1)
    at = rng.normal(0, 1, (n, 3)) * (6, 9, 14)
    at += np.stack([side * 37.0, np.full(n, 6.0), np.where(side > 0, 10.0, 0.0)], 1)
    at[:, 0] -= side * 0.012 * at[:, 2] ** 2  # a comma: the ends bend to the middle
    return at, np.full(n, 2 * 9000.0 / n)


def roots(body: Body, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Where the first branches leave the hila [n, 3], which way [n, 3], and how thick [n], mm."""
    starts, directions, radii = [], [], []
    for side in (-1, 1):
        hilum = np.array([side * 32.0, 4.0, 4.0 if side < 0 else 12.0])
        angles = np.deg2rad([80, 58, 32, 8, -18, -40, -58, -72, -84, -66])
        for k, angle in enumerate(angles + rng.normal(0, 0.09, len(angles))):
            deep = rng.uniform(-0.75, 0.75)
            way = np.array([side * np.cos(angle), deep, np.sin(angle)])
            starts.append(hilum + rng.normal(0, 4, 3) + np.array([side * rng.uniform(0, 6), 0, 14 * np.sin(angle)]))
            directions.append(way / np.linalg.norm(way))
            radii.append(5.0 if k in (5, 6, 7) else 3.8)  # the lower lobes' are the thickest
    return np.array(starts), np.array(directions), np.array(radii) * rng.uniform(0.85, 1.15, len(radii))
