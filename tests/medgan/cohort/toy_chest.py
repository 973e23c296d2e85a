"""Made-up chest films: every patient has an anatomy, every film of one patient another pose and exposure."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from medgan.cohort.arrays import PARTS, CohortArrays, stored

CLASSES = ("normal", "nodule", "effusion")


def chest_films(
    patients: int, *, size: int, seed: int, films: tuple[int, int] = (1, 3)
) -> tuple[NDArray[np.float32], NDArray[np.uint16], NDArray[np.int64]]:
    """Films float32 [N, 1, 1, size, size] in [-1, 1], labels [N] and the patient's number [N]."""
    rng = np.random.default_rng(seed)
    pictures, labels, owners = [], [], []
    for patient in range(patients):
        anatomy, label = _anatomy(rng), int(rng.integers(len(CLASSES)))
        for _ in range(int(rng.integers(films[0], films[1] + 1))):
            pictures.append(_film(anatomy, label, size, rng))
            labels.append(label)
            owners.append(patient)
    return np.stack(pictures)[:, None, None], np.array(labels, np.uint16), np.array(owners)


def chest_cohort(
    patients: dict[str, int], *, size: int = 32, seed: int = 0, films: tuple[int, int] = (1, 3)
) -> CohortArrays:
    """A real cohort of toy films with so many patients in each part of the split."""
    images, labels, owners = chest_films(sum(patients.values()), size=size, seed=seed, films=films)
    part_of = np.repeat([PARTS.index(name) for name in patients], list(patients.values()))
    return CohortArrays(
        images=stored(images),
        label=labels,
        patient_key=np.array([f"{seed:08x}{owner + 1:024x}" for owner in owners], "U32"),
        split=part_of[owners].astype(np.uint8),
        classes=CLASSES,
        attributes={"group": f"XR-CHEST-2d-{size}", "unit": "patient"},
    )


def synthetic_cohort(films: NDArray[np.float32], labels: NDArray[np.uint16]) -> CohortArrays:
    """A cohort of films without patients, as a generator gives one."""
    return CohortArrays(
        images=stored(films),
        label=labels,
        patient_key=np.full(len(films), "", "U32"),
        split=np.zeros(len(films), np.uint8),
        classes=CLASSES,
        attributes={"group": f"XR-CHEST-2d-{films.shape[-1]}", "unit": "patient"},
    )


def _anatomy(rng: np.random.Generator) -> dict[str, NDArray[np.float64]]:
    return {
        "shape": rng.normal(0, 1, 14),
        "vessels": rng.normal(0, 1, (18, 5)),
        "ribs": rng.normal(0, 1, 4),
    }


def _film(
    anatomy: dict[str, NDArray[np.float64]], label: int, size: int, rng: np.random.Generator
) -> NDArray[np.float32]:
    a = anatomy["shape"]
    turn, scale = 0.04 * rng.normal(), 1 + 0.03 * rng.normal()
    y, x = np.mgrid[-1 : 1 : size * 1j, -1 : 1 : size * 1j]
    x, y = x + 0.03 * rng.normal(), y + 0.03 * rng.normal()
    x, y = scale * (x * np.cos(turn) - y * np.sin(turn)), scale * (x * np.sin(turn) + y * np.cos(turn))

    def soft(distance: NDArray[np.float64], edge: float = 12.0) -> NDArray[np.float64]:
        return 1 / (1 + np.exp(np.clip(edge * (distance - 1), -30, 30)))

    def ellipse(cx: float, cy: float, rx: float, ry: float, power: float = 2.0) -> NDArray[np.float64]:
        return (np.abs((x - cx) / rx) ** power + np.abs((y - cy) / ry) ** power) ** (1 / power)

    body = soft(ellipse(0.02 * a[0], 0.25, 0.86 + 0.05 * a[1], 1.15, 3))
    lungs = np.zeros_like(x)
    for side, (w, h, t) in ((-1, a[2:5]), (1, a[5:8])):
        lungs += soft(ellipse(side * (0.40 + 0.02 * w), -0.1 + 0.05 * t, 0.29 + 0.03 * w, 0.62 + 0.06 * h, 2.6))
    heart = soft(ellipse(0.12 + 0.05 * a[8], 0.28 + 0.05 * a[9], 0.30 + 0.05 * a[10], 0.34 + 0.04 * a[11]))
    bow = y + (0.35 + 0.08 * anatomy["ribs"][0]) * x**2 + 0.02 * anatomy["ribs"][1]
    ribs = np.clip(np.cos(2 * np.pi * bow * (4.5 + 0.4 * anatomy["ribs"][2])), 0, 1) ** 2
    depth = 0.9 * body - 0.62 * lungs + 0.5 * heart + 0.16 * ribs * body + 0.25 * soft(ellipse(0, 0, 0.09, 3))
    for cx, cy, r, strength, shape in anatomy["vessels"]:
        spot = ellipse(0.4 * np.sign(cx) + 0.14 * cx, 0.3 * cy, 0.09 + 0.03 * abs(r), 0.09 + 0.05 * abs(shape))
        depth += 0.09 * strength * np.exp(-(spot**2))
    if label == 1:
        depth += 0.4 * soft(ellipse(0.4 * np.sign(a[12]), 0.2 * a[13], 0.1, 0.1), 6)
    if label == 2:
        depth += 0.5 * lungs * soft(1.15 - y, 8)
    depth = 0.9 * depth * (1 + 0.06 * rng.normal()) - 0.55 + 0.05 * rng.normal()
    return np.clip(depth + 0.02 * rng.normal(size=depth.shape), -1, 1).astype(np.float32)
