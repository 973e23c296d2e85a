"""Bones and airways as clouds of points that carry mass: each adds its excess over soft tissue where it lies.

A point has a place (nominal mm) and a mass in mm^2 (attenuation 1/mm times mm^3). Depositing the cloud on a film or
on a CT grid conserves that mass, so both show the same bone.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from medgan.phantom.anatomy import MU_MUSCLE, Array, Body, cage_profile, spine_x

# excess over muscle at a film's energies (about 55 keV), 1/mm; a CT's harder beam sees less of it (tomography.py)
CORTEX, MARROW = 0.054, 0.009


class Cloud(NamedTuple):
    """places: float32 [n, 3], nominal mm; mass: float32 [n], mm^2."""

    places: Array
    mass: Array


def join(clouds: list[Cloud]) -> Cloud:
    return Cloud(np.concatenate([c.places for c in clouds]), np.concatenate([c.mass for c in clouds]))


def ring_offsets(shells: int = 12) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Points of a unit disc (u, v) and their shares: a cortical rim and a spongy middle."""
    a = np.arange(shells) * 2 * np.pi / shells
    b = np.arange(5) * 2 * np.pi / 5 + 0.3
    u = np.concatenate([0.88 * np.cos(a), 0.45 * np.cos(b)])
    v = np.concatenate([0.88 * np.sin(a), 0.45 * np.sin(b)])
    rim, middle = np.pi * (1 - 0.76**2) * CORTEX, np.pi * 0.76**2 * MARROW
    return u, v, np.concatenate([np.full(shells, rim / shells), np.full(5, middle / 5)])


def tube(
    path: npt.NDArray[np.floating], across: npt.NDArray[np.floating], wide: float, thin: float, shells: int = 12
) -> Cloud:
    """A bone along `path` [n, 3]: `wide` and `thin` are its half axes, `thin` along `across` [n, 3] (unit)."""
    step = np.gradient(path, axis=0)
    length = np.linalg.norm(step, axis=1)
    forward = step / length[:, None]
    up = np.cross(forward, across)
    up /= np.linalg.norm(up, axis=1)[:, None] + 1e-9
    u, v, share = ring_offsets(shells)
    places = path[:, None] + wide * u[None, :, None] * up[:, None] + thin * v[None, :, None] * across[:, None]
    mass = length[:, None] * share[None] * (wide * thin)
    return Cloud(places.reshape(-1, 3).astype(np.float32), mass.reshape(-1).astype(np.float32))


def bent(points: list[tuple[float, float, float]], n: int) -> npt.NDArray[np.float64]:
    """A smooth path of n points through a few."""
    knots = np.asarray(points, float)
    t = np.linspace(0, len(knots) - 1, n)
    path = np.stack([np.interp(t, np.arange(len(knots)), knots[:, k]) for k in range(3)], 1)
    window = np.hanning(max(5, n // len(knots)) | 1)
    window /= window.sum()
    padded = np.pad(path, ((len(window) // 2,) * 2, (0, 0)), mode="reflect", reflect_type="odd")
    return np.stack([np.convolve(padded[:, k], window, "valid") for k in range(3)], 1)


def across_of(path: npt.NDArray[np.floating], towards: tuple[float, float, float]) -> npt.NDArray[np.float64]:
    """The direction `towards`, made square to the path at each point."""
    forward = np.gradient(path, axis=0)
    forward /= np.linalg.norm(forward, axis=1)[:, None]
    flat = np.asarray(towards, float)[None] - (forward @ np.asarray(towards, float))[:, None] * forward
    return flat / (np.linalg.norm(flat, axis=1)[:, None] + 1e-9)


def rib_path(body: Body, index: int, side: int, n: int = 150) -> tuple[npt.NDArray[np.float64], ...]:
    """Middle line of a rib from the spine to its cartilage [n, 3] and its outward direction [n, 3]."""
    start = 128 - 23.5 * index + (6 if index == 0 else 0)
    reach = (0.98, 0.92, 0.90, 0.88, 0.86, 0.82, 0.77, 0.70, 0.62, 0.54, 0.34, 0.22)[index]
    t = np.linspace(0, 1, n)
    phi = np.pi * (0.5 - reach * t) + 0.05  # from the back round the side to the front
    drop = (
        body.rib_slope
        * min(98.0, (46, 56)[index == 0] + 9.0 * index)
        * (0.16 * np.sin(np.pi * t) * -1.0 + (reach * t) ** 1.25)
    )
    z = start - drop
    width, depth, centre = (np.asarray(a) for a in cage_profile(np.minimum(z, 112.0)))
    width, depth = np.maximum(width, 56) + 4.5, np.maximum(depth, 40) + 4.5
    c, s = np.cos(phi), np.sin(phi)
    rounder = (1 - (0.35 if index > 1 else 0.0) * (c * s) ** 2) ** -0.5
    near = np.exp(-t * reach * 9)  # the neck of the rib leaves the spine, not the wall
    x = side * (width * c * rounder * (1 - near) + near * (18 + 60 * t))
    y = (centre + depth * s * rounder) * (1 - 0.25 * near) + 0.25 * near * 60
    path = np.stack([x + spine_x(body, z) * near, y, z], 1)
    return path, across_of(path, (0.0, 0.0, 1.0))


def ribs(body: Body) -> list[Cloud]:
    """Twelve pairs, the last two short."""
    clouds = []
    for index in range(12):
        for side in (-1, 1):
            path, up = rib_path(body, index, side)
            wide = 5.6 if index else 7.0
            clouds.append(tube(path, up, 3.0, wide))
    return clouds


def vertebrae(body: Body) -> list[Cloud]:
    """Bodies with endplates, pedicles, transverse and spinous processes, from the neck to the upper loin."""
    u, v, share = ring_offsets(20)
    clouds = []
    for level in range(-3, 15):
        z0 = 134 - 23.5 * level if level >= 0 else 134 - 18 * level
        height = 20.0 if level >= 0 else 14.0
        rx, ry = (15.0 + 0.45 * max(level, 0), 14.0 + 0.4 * max(level, 0)) if level >= 0 else (12.0, 9.0)
        x0, y0 = float(spine_x(body, np.asarray(z0))), 62.0
        heights = np.linspace(-height / 2, height / 2, 12)
        weight = np.where(np.abs(heights) > height / 2 - 1.5, 2.2, 0.55)
        waist = 1 - 0.1 * np.cos(np.pi * heights / height)
        zz, uu = np.meshgrid(heights, np.arange(len(u)), indexing="ij")
        spread = waist[:, None] * rx
        places = np.stack([x0 + spread * u[uu], y0 + spread / rx * ry * v[uu], z0 + zz], -1)
        mass = (height / 12) * weight[:, None] * share[uu] * rx * ry * 0.15
        clouds.append(Cloud(places.reshape(-1, 3).astype(np.float32), mass.reshape(-1).astype(np.float32)))
        clouds += processes(x0, y0, z0, rx, ry)
    return clouds


def processes(x0: float, y0: float, z0: float, rx: float, ry: float) -> list[Cloud]:
    """What a vertebra carries behind: two pedicles, two transverse processes, one spinous process."""
    parts = []
    for side in (-1, 1):
        pedicle = np.linspace(
            (x0 + side * rx * 0.62, y0 + ry * 0.8, z0 + 4), (x0 + side * rx * 0.66, y0 + ry + 14, z0 + 3), 8
        )
        wing = np.linspace(
            (x0 + side * rx * 0.7, y0 + ry + 12, z0 + 3), (x0 + side * (rx + 17), y0 + ry + 17, z0 + 7), 12
        )
        parts.append(tube(pedicle, across_of(pedicle, (1, 0, 0)), 3.4, 2.2))
        parts.append(tube(wing, across_of(wing, (0, 0, 1)), 2.4, 2.8))
    spine = np.linspace((x0, y0 + ry + 12, z0), (x0, y0 + ry + 34, z0 - 17), 14)
    parts.append(tube(spine, across_of(spine, (1, 0, 0)), 4.0, 1.8))
    return parts


def clavicles(body: Body) -> list[Cloud]:
    clouds = []
    reach = 150 + body.shoulder_mm
    for side in (-1, 1):
        knots = [(14, -58, 100), (48, -66, 104), (88, -52, 112), (126, -22, 126), (reach, 0, 128)]
        path = bent([(side * x, y, z) for x, y, z in knots], 150)
        clouds.append(tube(path, across_of(path, (0, 0, 1)), 5.2, 5.6))
    return clouds


def plate(corners: list[tuple[float, float, float]], thickness_mm: float, n: int = 40) -> Cloud:
    """A flat bone: a triangle of even thickness."""
    a, b, c = (np.asarray(k, float) for k in corners)
    i, j = np.meshgrid((np.arange(n) + 0.5) / n, (np.arange(n) + 0.5) / n)
    flip = i + j > 1
    i, j = np.where(flip, 1 - i, i), np.where(flip, 1 - j, j)
    places = a + i[..., None] * (b - a) + j[..., None] * (c - a)
    area = 0.5 * np.linalg.norm(np.cross(b - a, c - a))
    mass = np.full(n * n, area * thickness_mm * 0.45 * CORTEX / (n * n))
    return Cloud(places.reshape(-1, 3).astype(np.float32), mass.astype(np.float32))


def shoulders(body: Body, *, arms: bool) -> list[Cloud]:
    """Shoulder blades with their borders and spines, heads and shafts of the upper arms."""
    clouds = []
    out, reach = body.scapula_mm, 168 + body.shoulder_mm
    for side in (-1, 1):
        upper = (side * (82 + out), 82.0, 122.0)
        lower = (side * (104 + out), 96.0, 4.0)
        socket = (side * (reach - 26), 40.0, 104.0)
        clouds.append(plate([upper, lower, socket], 3.4))
        for ends, wide, thin in (((lower, socket), 4.6, 3.6), ((upper, lower), 2.2, 2.2), ((upper, socket), 2.6, 2.4)):
            edge = np.linspace(ends[0], ends[1], 90)
            clouds.append(tube(edge, across_of(edge, (0, 1, 0)), wide, thin))
        ridge = bent(
            [
                (upper[0], 92, 104),
                (side * (reach - 40), 78, 118),
                (side * (reach + 6), 34, 134),
                (side * (reach + 2), 4, 130),
            ],
            110,
        )
        clouds.append(tube(ridge, across_of(ridge, (0, 0, 1)), 5.0, 4.4))
        hook = bent([(socket[0], 30, 108), (side * (reach - 30), 2, 118), (side * (reach - 26), -14, 108)], 40)
        clouds.append(tube(hook, across_of(hook, (0, 0, 1)), 4.5, 4.5))
        if not arms:
            continue
        clouds.append(ball((side * (reach + 2), 24, 106), 23.0))
        arm = np.linspace((side * (reach + 10), 24, 94), (side * (reach + 83), 20, -120), 150)
        clouds.append(tube(arm, across_of(arm, (0, 1, 0)), 10.5, 10.5, 44))
    return clouds


def ball(centre: tuple[float, float, float], radius: float, n: int = 1600) -> Cloud:
    """A spongy ball with a thin rim: points of a Fibonacci spiral on nested shells."""
    k = np.arange(n) + 0.5
    polar, turn = np.arccos(1 - 2 * k / n), np.pi * (1 + 5**0.5) * k
    unit = np.stack([np.cos(turn) * np.sin(polar), np.sin(turn) * np.sin(polar), np.cos(polar)], 1)
    r = np.where(np.arange(n) % 3 == 0, 0.97, ((np.arange(n) * 0.618) % 1) ** (1 / 3) * 0.95)
    rim = np.arange(n) % 3 == 0
    volume = 4 / 3 * np.pi * radius**3
    mass = np.where(rim, 0.05 * volume * CORTEX / rim.sum(), volume * 0.0045 / (~rim).sum())
    return Cloud((np.asarray(centre) + radius * r[:, None] * unit).astype(np.float32), mass.astype(np.float32))


def sternum(body: Body) -> list[Cloud]:
    """A flat bone in front: broad above, narrow below."""
    front = -72.0
    clouds = [plate([(-24, front, 100), (24, front, 100), (0, front - 8, 30)], 9.0)]
    path = np.linspace((0, front - 4, 62), (0, front - 14, -52), 60)
    clouds.append(tube(path, across_of(path, (0, 1, 0)), 15, 4.5))
    return clouds


def airways(body: Body) -> list[Cloud]:
    """The main bronchi: tubes of air through the mediastinum, so their mass is negative."""
    clouds = []
    for knots, radius in (
        ([(-2, 14, 26), (-16, 14, 8), (-34, 12, -8)], 6.0),
        ([(-2, 14, 26), (20, 14, 12), (42, 16, 2)], 5.2),
    ):
        path = bent([(float(a), float(b), float(c)) for a, b, c in knots], 40)
        pipe = tube(path, across_of(path, (0, 1, 0)), radius, radius)
        share = np.pi * radius**2 * np.linalg.norm(np.gradient(path, axis=0), axis=1).sum() * MU_MUSCLE
        clouds.append(Cloud(pipe.places, (-0.5 * share / len(pipe.mass)) * np.ones_like(pipe.mass)))
    return clouds


def skeleton(body: Body, *, arms: bool = True, contrast: float = 1.0) -> Cloud:
    """All bones, by the body's mineral, and the bronchi; without the upper arms when they are held up.

    `contrast` is bone's excess over soft tissue at the beam's energies, against a film's.
    """
    bone = join(ribs(body) + vertebrae(body) + clavicles(body) + shoulders(body, arms=arms) + sternum(body))
    return join([Cloud(bone.places, bone.mass * np.float32(body.bone * contrast)), *airways(body)])
