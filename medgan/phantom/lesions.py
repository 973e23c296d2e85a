"""What a patient may have: a nodule, a patch of consolidation, or fluid beside the lung."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from medgan.phantom.anatomy import Array, Body, cage_profile, diaphragm, fill, lungs

LABELS = ("normal", "nodule", "opacity", "effusion")


@dataclass(frozen=True, slots=True)
class Lesion:
    """kind is one of LABELS but the first; centre and radius in nominal mm; side -1 is the patient's right."""

    kind: str
    centre: tuple[float, float, float]
    radius_mm: float
    side: int
    density: float
    phases: tuple[float, ...]


def draw_lesion(rng: np.random.Generator, body: Body, kind: str) -> Lesion | None:
    """A lesion of this kind where it can be seen; None for a normal chest."""
    if kind == "normal":
        return None
    side = int(rng.choice((-1, 1)))
    radius = float(
        {"nodule": rng.uniform(13, 21), "opacity": rng.uniform(30, 46), "effusion": rng.uniform(38, 92)}[kind]
    )
    phases = tuple(float(p) for p in rng.uniform(0, 6.28, 6))
    density = float(rng.uniform(1.0, 1.3) if kind == "nodule" else rng.uniform(0.55, 0.85))
    lateral = (62, 98) if kind == "nodule" else (58, 86)
    for _ in range(200):
        x, y, z = side * rng.uniform(*lateral), rng.uniform(-40, 45), rng.uniform(body.dome_mm + 14, 82)
        at = np.array([[x + dx, y + dy, z + dz] for dx, dy, dz in PROBES * (radius * 0.8)], np.float32)
        if lungs(body, at[:, 0], at[:, 1], at[:, 2]).min() > (0.5 if kind == "nodule" else -1):
            break
    return Lesion(kind, (float(x), float(y), float(z)), radius, side, density, phases)


PROBES = np.array([[0, 0, 0], [1, 0, 0], [-1, 0, 0], [0, 1, 0], [0, -1, 0], [0, 0, 1], [0, 0, -1]], np.float32)


def share_of_water(lesion: Lesion, body: Body, x: Array, y: Array, z: Array, *, supine: bool) -> Array:
    """Share of lung that is soft tissue now, above 1 where calcium lies; fluid sinks to where the patient rests.

    Shape: that of x, y and z broadcast.
    """
    if lesion.kind == "effusion":
        return fluid(lesion, body, x, y, z, supine=supine)
    a, b, c = (x - lesion.centre[0], y - lesion.centre[1], z - lesion.centre[2])
    q = (a * a + b * b + c * c) / lesion.radius_mm**2
    p = lesion.phases
    if lesion.kind == "nodule":
        lobes = 0.16 * np.sin(a / 6 + b / 9 + p[0]) * np.sin(c / 6 + b / 8 + p[1])
        return lesion.density * fill((q * (1 + lobes) - 1) * (0.5 * lesion.radius_mm), 5.0)
    rough = np.sin(a / 11 + b / 15 + p[0]) * np.sin(c / 10 - b / 13 + p[1])
    rough = rough + 0.6 * np.sin(a / 5 + b / 7 + p[2]) * np.sin(c / 5 + b / 8 + p[3])
    return lesion.density * np.clip(1.55 * np.exp(-0.9 * q) + 0.22 * rough * np.exp(-0.5 * q) - 0.18, 0, 1)


def fluid(lesion: Lesion, body: Body, x: Array, y: Array, z: Array, *, supine: bool) -> Array:
    """Share filled by fluid: a level with a meniscus when upright, a crescent along the back when lying."""
    own = fill(-lesion.side * x, 6.0)
    if supine:
        return own * fill((78 - 0.4 * lesion.radius_mm) - y, 5.0)
    width, depth, centre = cage_profile(np.asarray(body.dome_mm + 40))
    aside, behind = np.maximum(width - np.abs(x), 0), np.maximum(depth - np.abs(y - centre), 0)
    climb = (8 + 0.30 * lesion.radius_mm) * (0.8 * np.exp(-aside / 15) + np.exp(-behind / 18))
    bottom = np.maximum(diaphragm(body, x, y), body.dome_mm - 62)
    level = body.dome_mm - 58 + 0.95 * lesion.radius_mm + climb
    return own * fill(z - np.maximum(level, bottom - 30), 16.0)
