"""Whether synthetic pictures look like real ones, against a floor of real ones beside other patients' real ones."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.distance import cdist

Features = NDArray[np.float64]
NEIGHBOURS = 5
DRAWS = 10


def frechet(a: Features, b: Features) -> float:
    """|mean_a - mean_b|^2 + tr(A + B) - 2 sum sqrt eig(A B), for features [N, K] and covariances A, B."""
    cov_a, cov_b = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    values, axes = np.linalg.eigh(cov_a)
    root = axes * np.sqrt(np.clip(values, 0, None)) @ axes.T
    cross = np.sqrt(np.clip(np.linalg.eigvalsh(root @ cov_b @ root), 0, None)).sum()
    distance = ((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(cov_a) + np.trace(cov_b) - 2 * cross
    return max(0.0, float(distance))


def kernel_distance(a: Features, b: Features) -> float:
    """Unbiased squared MMD with the kernel (u.v / K + 1)^3. May be below zero."""

    def kernel(u: Features, v: Features) -> Features:
        product: Features = (u @ v.T / u.shape[1] + 1) ** 3
        return product

    def within(u: Features) -> float:
        k = kernel(u, u)
        return float((k.sum() - np.trace(k)) / (len(u) * (len(u) - 1)))

    return within(a) + within(b) - 2 * float(kernel(a, b).mean())


def neighbourhoods(real: Features, fake: Features) -> dict[str, float]:
    """Precision, recall, density and coverage with balls to the 5th neighbour (fewer when there are fewer)."""
    k = min(NEIGHBOURS, len(real) - 1, len(fake) - 1)
    across = cdist(real, fake)
    real_ball = np.sort(cdist(real, real), axis=1)[:, k]
    fake_ball = np.sort(cdist(fake, fake), axis=1)[:, k]
    in_real = across <= real_ball[:, None]
    return {
        "precision": float(in_real.any(axis=0).mean()),
        "recall": float((across <= fake_ball[None, :]).any(axis=1).mean()),
        "density": float(in_real.sum(axis=0).mean() / k),
        "coverage": float(in_real.any(axis=1).mean()),
    }


def compare(
    real: Features, owner: NDArray[Any], fakes: dict[str, Features], *, seed: int
) -> tuple[dict[str, dict[str, float]], dict[str, float]]:
    """Each set of fakes against real ones, and the floor; equal n everywhere, patients halved anew for each draw.

    Returns (figures by name of the set, floor). Features are scaled to unit spread over all real ones.
    """
    rng = np.random.default_rng(seed)
    middle, spread = real.mean(0), real.std(0) + 1e-9
    real, fakes = (real - middle) / spread, {name: (fake - middle) / spread for name, fake in fakes.items()}
    patients = np.unique(owner)
    rows: dict[str, list[dict[str, float]]] = {name: [] for name in fakes}
    floor, n = [], 0
    for _ in range(DRAWS):
        left = np.isin(owner, rng.permutation(patients)[: len(patients) // 2])
        n = min(left.sum(), (~left).sum(), *(len(fake) for fake in fakes.values()))
        if n < 3:
            break
        a, b = (real[rng.permutation(np.flatnonzero(half))[:n]] for half in (left, ~left))
        floor.append(frechet(b, a))
        for name, fake in fakes.items():
            some = fake[rng.permutation(len(fake))[:n]]
            rows[name].append({"fd": frechet(some, a), "kid": kernel_distance(some, a), **neighbourhoods(a, some)})
    if not floor:
        return {}, {}
    bottom = {"mean": float(np.mean(floor)), "sd": float(np.std(floor)), "n": float(n)}
    figures = {name: {key: float(np.mean([row[key] for row in of])) for key in of[0]} for name, of in rows.items()}
    for of in figures.values():
        of["fd_ratio"] = of["fd"] / max(bottom["mean"], 1e-9)
    return figures, bottom
