"""A parametric chest: bodies that differ by sex, age and build, and the soft tissue of each as implicit surfaces.

Coordinates are nominal millimetres, x to the patient's left, y to the back, z to the head, origin in mid-chest;
`Body.scale` turns them into real ones. Every function takes arrays that broadcast against each other, so that a
grid of rays, a CT grid and a list of points all ask the same anatomy.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.floating[Any]]

# linear attenuation at about 70 keV, 1/mm
MU_WATER, MU_FAT, MU_MUSCLE, MU_BLOOD, MU_LUNG, MU_AIR = 0.0193, 0.0175, 0.0202, 0.0201, 0.0046, 0.0
EDGE_MM = 3.0  # width over which a surface is blended: the coarse grid's voxel

CAGE_TOP, CAGE_WIDE, CAGE_WIDTH, CAGE_DEPTH = 138.0, -70.0, 131.0, 90.0


@dataclass(frozen=True, slots=True)
class Body:
    """One patient's build; lengths in nominal mm."""

    sex: str
    age: int
    scale: tuple[float, float, float]  # x, y, z
    fat_mm: float
    muscle_mm: float
    breast_mm: float
    heart: float  # size against the usual
    heart_tilt: float  # radians: upright hearts of the tall, lying hearts of the stout
    dome_mm: float  # top of the right diaphragm
    aorta_mm: float  # radius of the arch
    unfold_mm: float  # the descending aorta moves out with age
    bone: float  # mineral against the usual
    shoulder_mm: float
    scapula_mm: float  # how far the shoulder blades are turned out of the lungs
    lean: float  # lateral curve of the spine, mm
    rib_slope: float
    lung: float  # density against the usual
    gas_mm: float  # stomach bubble
    seed: int  # of branches and texture


def draw_body(rng: np.random.Generator, sex: str, age: int) -> Body:
    """A build at random: women smaller, the old with larger hearts, unfolded aortas and thinner bone."""
    woman = sex == "F"
    size = rng.normal(0.91 if woman else 1.0, 0.05)
    stout = float(np.clip(rng.gamma(3.0, 0.33), 0.15, 2.6))  # 1 is usual
    old = np.clip((age - 45) / 40, 0, 1)
    return Body(
        sex=sex,
        age=age,
        scale=(
            float(size * rng.normal(1.0, 0.04)),
            float(size * (0.92 + 0.09 * stout + 0.06 * old)),
            float(size * rng.normal(1.02 - 0.06 * (stout - 1), 0.045)),
        ),
        fat_mm=float(5 + 15 * stout + (4 if woman else 0)),
        muscle_mm=float(rng.normal(12 if woman else 17, 2)),
        breast_mm=float(np.clip(rng.normal(42 + 9 * stout, 9), 24, 75)) if woman else 0.0,
        heart=float(np.clip(rng.normal(0.94 + 0.10 * old + 0.04 * (stout - 1), 0.085), 0.76, 1.3)),
        heart_tilt=float(np.clip(rng.normal(0.72 - 0.16 * (stout - 1), 0.10), 0.3, 1.0)),
        dome_mm=float(rng.normal(-87 + 10 * (stout - 1), 11)),
        aorta_mm=float(rng.normal(12.5 + 4 * old, 1.2)),
        unfold_mm=float(rng.normal(2 + 9 * old, 2)),
        bone=float(np.clip(rng.normal(1.06 - 0.28 * old - (0.06 if woman else 0), 0.09), 0.6, 1.3)),
        shoulder_mm=float(rng.normal(0, 9)),
        scapula_mm=float(rng.uniform(0, 34)),
        lean=float(rng.normal(0, 4)),
        rib_slope=float(rng.normal(1.0, 0.12)),
        lung=float(np.clip(rng.normal(1.0 - 0.12 * old, 0.10), 0.7, 1.35)),
        gas_mm=float(max(0.0, rng.normal(17, 9))),
        seed=int(rng.integers(1 << 31)),
    )


def fill(distance_mm: Array, edge_mm: float = EDGE_MM) -> Array:
    """Share of a voxel inside a surface, from the signed distance to it (negative is inside)."""
    return np.clip(0.5 - distance_mm / edge_mm, 0, 1)


def cage_profile(z: Array) -> tuple[Array, Array, Array]:
    """Half width, half depth and centre of the inner chest wall at height z, all mm."""
    s = np.clip((z - CAGE_WIDE) / (CAGE_TOP - CAGE_WIDE), 0, 0.999)
    low = np.clip((CAGE_WIDE - z) / 100, 0, 1)
    g = (1 - s**2.5) ** 0.62
    width = np.maximum(CAGE_WIDTH * g * (1 + 0.03 * low), 1)
    depth = np.maximum(CAGE_DEPTH * g**0.75 * (1 - 0.05 * low), 1)
    return width, depth, 6 + 26 * s * s


def cage(x: Array, y: Array, z: Array) -> Array:
    """Share inside the chest wall: a squircle in every axial plane, closed by a dome."""
    width, depth, centre = cage_profile(z)
    q = squircle(x / width, (y - centre) / depth, 0.35)
    return fill((q - 1) * (0.42 * width) + 1.5 * np.clip(z - 118, 0, 30))


def squircle(u: Array, v: Array, corner: float) -> Array:
    """Below 1 inside a rounded rectangle, above 1 outside; `corner` is 0 for an ellipse."""
    u2, v2 = np.minimum(u * u, 1.7), np.minimum(v * v, 1.7)  # unbounded, the product would win far outside
    return u2 * (1 - corner * v2) + v2


def ellipsoid(x: Array, y: Array, z: Array, centre: tuple[float, float, float], radii: tuple[float, ...]) -> Array:
    """Share inside an ellipsoid with axes along x, y, z."""
    q = ((x - centre[0]) / radii[0]) ** 2 + ((y - centre[1]) / radii[1]) ** 2 + ((z - centre[2]) / radii[2]) ** 2
    return fill((q - 1) * (0.45 * min(radii)))


def tilted(x: Array, y: Array, z: Array, centre: tuple[float, ...], radii: tuple[float, ...], angle: float) -> Array:
    """Share inside an ellipsoid whose long axis points left, down by `angle`, and somewhat forward."""
    axis = np.array([np.cos(angle) * 0.9, -0.42, -np.sin(angle)])
    axis /= np.linalg.norm(axis)
    a, b, c = x - centre[0], y - centre[1], z - centre[2]
    along = a * axis[0] + b * axis[1] + c * axis[2]
    q = (a * a + b * b + c * c) / radii[1] ** 2 + along * along * (1 / radii[0] ** 2 - 1 / radii[1] ** 2)
    return fill((q - 1) * (0.45 * radii[1]))


def spine_x(body: Body, z: Array) -> Array:
    """How far the spine lies from the middle at height z, mm."""
    return body.lean * np.sin(z / 75)


def diaphragm(body: Body, x: Array, y: Array) -> Array:
    """Height of the diaphragm over (x, y), mm: two domes that fall to the sulcus at the wall."""
    height = np.full(np.broadcast_shapes(x.shape, y.shape), -175, np.float32)
    for centre, top, drop in ((-66.0, body.dome_mm, 62.0), (70.0, body.dome_mm - 13, 62.0)):
        rho = ((x - centre) / 78) ** 2 + ((y + 6) / 98) ** 2
        height = np.maximum(height, top - drop + drop * np.sqrt(np.clip(1 - rho, 0, 1)))
    return height


def heart(body: Body, x: Array, y: Array, z: Array) -> Array:
    """Share inside the heart: the left ventricle lying on the diaphragm, the right atrium, the pulmonary trunk."""
    h, base = body.heart, body.dome_mm + 34
    ventricle = tilted(x, y, z, (24 * h, -24, base + 2), (68 * h, 47 * h, 47 * h), body.heart_tilt)
    atrium = ellipsoid(x, y, z, (-9 * h, -16, base + 12), (35 * h, 50, 46 * h))
    trunk = ellipsoid(x, y, z, (25, -20, base + 62), (20, 22, 30))
    return np.maximum(np.maximum(ventricle, atrium), trunk)


def mediastinum(body: Body, x: Array, y: Array, z: Array) -> Array:
    """Share inside the mediastinum: great vessels and gullet, the aortic arch, the descending aorta, the spine."""
    right = np.interp(z, [-170, -60, 0, 40, 70, 95, 150], [30, 26, 24, 27, 26, 25, 32]).astype(np.float32)
    left = np.interp(z, [-170, -60, 0, 40, 70, 95, 150], [30, 26, 24, 20, 20, 24, 32]).astype(np.float32)
    middle, half = 0.5 * (left - right), 0.5 * (left + right)
    column = fill((((x - middle) / half) ** 2 + ((y - 4) / 40) ** 2 - 1) * 11, 7.0)
    r = body.aorta_mm
    arch = ellipsoid(x, y, z, (13 + 0.35 * r + 0.4 * body.unfold_mm, 8, 56), (r * 1.35, 30, r * 1.6))
    out = 14 + body.unfold_mm + 5 * np.sin((z + 40) / 60)
    down = fill((((x - out) / (r + 1)) ** 2 + ((y - 36) / (r + 2)) ** 2 - 1) * 6) * (z < 58)
    spine = fill((((x - spine_x(body, z)) / 22) ** 2 + ((y - 74) / 27) ** 2 - 1) * 9, 6.0)
    return np.maximum(np.maximum(column, arch), np.maximum(down, spine))


def arms(body: Body, x: Array, y: Array, z: Array) -> Array:
    """Share inside the upper arms, held a little away from the chest."""
    reach = 178 + body.shoulder_mm + 0.34 * np.clip(94 - z, -40, 300)
    q = ((np.abs(x) - reach) / (40 + 0.6 * body.fat_mm)) ** 2 + ((y - 22) / (42 + 0.6 * body.fat_mm)) ** 2
    return fill((q - 1) * 20) * fill(z - 104, 25)


def lungs(body: Body, x: Array, y: Array, z: Array) -> Array:
    """Share inside the lungs: within the wall, above the diaphragm, outside heart and mediastinum."""
    above = fill(diaphragm(body, x, y) - z)
    keep = np.maximum(heart(body, x, y, z), mediastinum(body, x, y, z))
    return cage(x, y, z) * above * (1 - keep)


def outline(body: Body, x: Array, y: Array, z: Array, inset_mm: Array | float = 0.0) -> Array:
    """Share inside the skin less `inset_mm`: chest, shoulders and neck."""
    wall = CAGE_WIDTH + 9 + body.muscle_mm
    shoulder = 192 + body.shoulder_mm
    levels = [-220, -150, -60, 30, 62, 90, 112, 128, 140, 150, 160, 172, 186, 202, 230]
    widths = [wall - 8, wall + 1, wall + 2, wall + 6, wall + 16, shoulder - 8, shoulder + 2, shoulder - 4]
    widths += [shoulder - 24, 140, 112, 88, 70, 60, 58]
    depths = [112, 113, 112, 108, 103, 95, 87, 80, 75, 71, 67, 63, 60, 58, 58]
    width = np.interp(z, levels, widths).astype(np.float32) + body.fat_mm - inset_mm
    depth = np.interp(z, levels, depths).astype(np.float32) + 0.6 * body.muscle_mm + body.fat_mm * 0.8 - inset_mm
    return fill((squircle(x / width, (y - 10) / depth, 0.55) - 1) * (0.42 * depth))


def soft_tissue(body: Body, x: Array, y: Array, z: Array) -> Array:
    """Attenuation of everything but lung and bone, 1/mm: fat, muscle, breasts, windpipe, stomach gas."""
    mu = outline(body, x, y, z) * MU_FAT
    mu += outline(body, x, y, z, body.fat_mm) * (MU_MUSCLE - MU_FAT)
    if body.breast_mm:
        r, front = body.breast_mm, -84 - 0.6 * body.fat_mm - 0.5 * body.muscle_mm
        for side in (-1, 1):
            droop = np.where(z > -46, 0.55, 1.0).astype(np.float32)  # flat above, round below
            breast = ellipsoid(
                x, y, -46 + (z + 46) * droop, (side * (72 + 0.2 * r), front, -46), (r * 1.25, r * 0.72, r)
            )
            mu = np.maximum(mu, breast * (0.6 * MU_FAT + 0.4 * MU_MUSCLE))
    pipe = fill((((x + 2) / 8.5) ** 2 + ((y - 14) / 8) ** 2 - 1) * 4) * fill(22 - z, 8)
    mu *= 1 - pipe
    if body.gas_mm > 4:
        r = body.gas_mm
        mu *= 1 - ellipsoid(x, y, z, (58, -18, body.dome_mm - 22 - 0.7 * r), (1.6 * r, 1.2 * r, 0.7 * r))
    return mu


def lung_tissue(body: Body, x: Array, y: Array, z: Array) -> Array:
    """Attenuation of healthy lung, 1/mm: denser towards the base, softly mottled."""
    a, b, c, d = np.random.default_rng(body.seed).uniform(0, 6.28, 4)
    mottle = np.sin(x / 9.0 + y / 14 + a) * np.sin(z / 8.0 + y / 17 + b)
    mottle = mottle + np.sin(x / 17 - y / 11 + c) * np.sin(z / 15 + y / 23 + d)
    return (MU_LUNG * body.lung) * (1 - 0.0011 * z + 0.05 * mottle)


def lung_mask(body: Body, x: Array, y: Array, z: Array) -> npt.NDArray[np.bool_]:
    """The voxels that are mostly lung."""
    return lungs(body, x, y, z) > 0.5
