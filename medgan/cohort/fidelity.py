"""Whether synthetic pictures look like real ones, in features [N, K] that a network and a few bands of texture give.

Each function compares two sets of equal size; cohort/floor.py says what real pictures of other patients would get.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Features = NDArray[np.float64]
NEIGHBOURS = 5
SUBSETS, SUBSET = 100, 1000  # of the kernel distance


def figures(real: Features, fake: Features, owner: NDArray[Any], rng: np.random.Generator) -> dict[str, float]:
    """fd, kid, precision, recall, density, coverage, authenticity; owner [N] says whose each real picture is."""
    within = squared_distances(real, real)
    across = squared_distances(real, fake)
    return {
        "fd": frechet(fake, real),
        "kid": kernel_distance(fake, real, rng=rng),
        **neighbourhoods(within, squared_distances(fake, fake), across),
        "authenticity": authenticity(within, across, owner),
    }


def frechet(a: Features, b: Features) -> float:
    """|mean_a - mean_b|^2 + tr(A + B) - 2 sum sqrt eig(A B), for features [N, K] and covariances A, B."""
    cov_a, cov_b = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    values, axes = np.linalg.eigh(cov_a)
    root = axes * np.sqrt(np.clip(values, 0, None)) @ axes.T
    cross = np.sqrt(np.clip(np.linalg.eigvalsh(root @ cov_b @ root), 0, None)).sum()
    distance = ((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(cov_a) + np.trace(cov_b) - 2 * cross
    return max(0.0, float(distance))


def kernel_distance(
    a: Features, b: Features, *, rng: np.random.Generator | None = None, subsets: int = SUBSETS, size: int = SUBSET
) -> float:
    """Unbiased squared MMD with the kernel (u.v / K + 1)^3, mean of `subsets` of at most `size`. May be below zero.

    Sets of at most `size` are taken whole, once.
    """
    if max(len(a), len(b)) <= size:
        return _unbiased(a, b)
    rng = rng or np.random.default_rng(0)
    picked = [(rng.permutation(len(a))[:size], rng.permutation(len(b))[:size]) for _ in range(subsets)]
    return float(np.mean([_unbiased(a[i], b[j]) for i, j in picked]))


def neighbourhoods(within_real: Features, within_fake: Features, across: Features) -> dict[str, float]:
    """Precision, recall, density and coverage with balls to the 5th neighbour (fewer when there are fewer).

    Squared distances: real to real [N, N], fake to fake [M, M], real to fake [N, M].
    """
    k = min(NEIGHBOURS, len(within_real) - 1, len(within_fake) - 1)
    real_ball, fake_ball = (np.partition(within, k, axis=1)[:, k] for within in (within_real, within_fake))
    in_real = across <= real_ball[:, None]
    return {
        "precision": float(in_real.any(axis=0).mean()),
        "recall": float((across <= fake_ball[None, :]).any(axis=1).mean()),
        "density": float(in_real.sum(axis=0).mean() / k),
        "coverage": float(in_real.any(axis=1).mean()),
    }


def authenticity(within: Features, across: Features, owner: NDArray[Any]) -> float:
    """Share of fakes no nearer to their nearest real picture than that one is to another patient's nearest.

    Copies have none. As in Alaa et al. 2022 (authenticity), but a patient's other pictures do not count as others.
    """
    # one patient alone has no other: the ball is then without end, and nothing is authentic
    ball = np.where(owner[:, None] == owner[None, :], np.inf, within).min(axis=1)
    nearest = across.argmin(axis=0)
    return float((across[nearest, np.arange(across.shape[1])] >= ball[nearest]).mean())


def squared_distances(u: Features, v: Features) -> Features:
    """[N, M] for features [N, K] and [M, K]: never below zero."""
    both = (u**2).sum(axis=1)[:, None] + (v**2).sum(axis=1)[None, :]
    distances: Features = np.maximum(both - 2 * u @ v.T, 0)
    return distances


def _unbiased(a: Features, b: Features) -> float:
    def kernel(u: Features, v: Features) -> Features:
        product: Features = (u @ v.T / u.shape[1] + 1) ** 3
        return product

    def within(u: Features) -> float:
        k = kernel(u, u)
        return float((k.sum() - np.trace(k)) / (len(u) * (len(u) - 1)))

    return within(a) + within(b) - 2 * float(kernel(a, b).mean())
