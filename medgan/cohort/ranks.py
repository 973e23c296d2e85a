"""The exact tests of the privacy gate, and the bounds that go with them. Pure functions of numbers.

Under the hypothesis of no leak, which patients are members is a random labelling: the tests below are exact
for any generator and any distance, as long as the distance treats members and non-members alike.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, stats

Floats = NDArray[np.floating[Any]]
TOPS = (5, 10, 20, 30, 50, 100)
DRAWS = 100_000
NEXT = 20
DELTA = 1e-5


def calibrated(distances: Floats) -> Floats:
    """Along the last axis: the nearest distance over the mean of the next 20. 1 when nothing else is there."""
    if distances.shape[-1] < 2:
        return np.ones(distances.shape[:-1])
    ratio: Floats = distances.min(axis=-1) / np.maximum(following(distances), 1e-9)
    return ratio


def following(distances: Floats) -> Floats:
    """Along the last axis: the mean of the 20 distances after the nearest."""
    count = distances.shape[-1]
    if count < 2:
        return np.ones(distances.shape[:-1])
    near = np.partition(distances, min(NEXT, count - 1), axis=-1)[..., : NEXT + 1]
    after: Floats = (near.sum(axis=-1) - near.min(axis=-1)) / (near.shape[-1] - 1)
    return after


def mann_whitney(members: Floats, others: Floats) -> tuple[float, float]:
    """(share of pairs where the member is nearer, one-sided p of members being nearer)."""
    small = min(len(members), len(others)) <= 25 and len(np.unique(np.r_[members, others])) == len(members) + len(
        others
    )
    result = stats.mannwhitneyu(members, others, alternative="less", method="exact" if small else "asymptotic")
    return 1 - float(result.statistic) / (len(members) * len(others)), float(result.pvalue)


def top(members: Floats, others: Floats) -> tuple[float, float]:
    """(least hypergeometric tail of members among the r nearest over several r, its exact p).

    The p refers the least tail to its own distribution over random labellings.
    """
    order = np.argsort(np.r_[others, members], kind="stable")  # ties count against a leak
    hits = np.cumsum(order >= len(others))
    sizes, tails, null = _top_null(len(members), len(others))
    if not sizes:
        return 1.0, 1.0
    least = min(tails[i][hits[size - 1]] for i, size in enumerate(sizes))
    return float(least), float((1 + np.searchsorted(null, least * (1 + 1e-9), side="right")) / (DRAWS + 1))


@lru_cache(maxsize=16)
def _top_null(members: int, others: int) -> tuple[tuple[int, ...], list[Floats], Floats]:
    """Sizes r; for each the tail P(hits >= h) by h; and the sorted least tails of random labellings."""
    rng = np.random.default_rng(0)
    total = members + others
    sizes = tuple(size for size in TOPS if size < total)
    tails = [stats.hypergeom.sf(np.arange(size + 1) - 1, total, members, size) for size in sizes]
    least = np.ones(DRAWS)
    hits, drawn = np.zeros(DRAWS, np.int64), 0
    for size, tail in zip(sizes, tails, strict=True):
        left = members - hits
        hits = hits + rng.hypergeometric(left, total - drawn - left, size - drawn)
        drawn = size
        least = np.minimum(least, tail[hits])
    return sizes, tails, np.sort(least)


def picture_tail(offered: Floats, honest: Floats, k: int) -> tuple[float, float]:
    """(offered pictures below the k-th smallest honest one, exact negative hypergeometric p)."""
    if len(honest) < k or not len(offered):
        return 0.0, 1.0
    below = int((offered < np.partition(honest, k - 1)[k - 1]).sum())
    if below == 0:
        return 0.0, 1.0
    total = len(offered) + len(honest)
    return float(below), float(stats.hypergeom.cdf(k - 1, total, len(honest), below + k - 1))


def one_run_epsilon(right: int, guesses: int, *, odds: float = 1.0, units: int = 0, level: float = 0.05) -> float:
    """Lower bound of epsilon from `right` of `guesses` membership guesses, at confidence 1 - level.

    Steinke 2023: a mechanism that is (epsilon, delta) private gets at most Binomial(guesses, p) right, with
    posterior odds at most e^epsilon times the prior `odds` of being a member. `units` is the number guessed from.
    """
    units = max(units, guesses)

    def beyond(epsilon: float) -> float:
        raised = np.exp(epsilon) * odds
        masses = stats.binom.pmf(np.arange(guesses + 1), guesses, raised / (1 + raised))
        tail = float(masses[right:].sum())
        if right < 1:
            return tail - level
        below = np.cumsum(masses[right - 1 :: -1])  # P(right - i <= hits < right) for i = 1 ...
        return tail + 2 * units * DELTA * float((below / np.arange(1, right + 1)).max()) - level

    if guesses == 0 or beyond(0.0) >= 0:
        return 0.0
    return float(optimize.brentq(beyond, 0.0, 50.0, xtol=1e-6))


def guessed_epsilon(members: Floats, others: Floats) -> tuple[float, int, int]:
    """(lower bound of epsilon, right, guesses) when the nearest quarter, at most 100, are called members."""
    total = len(members) + len(others)
    guesses = min(100, total // 4)
    order = np.argsort(np.r_[others, members], kind="stable")[:guesses]
    right = int((order >= len(others)).sum())
    odds = len(members) / max(1, len(others))
    return one_run_epsilon(right, guesses, odds=odds, units=total), right, guesses


def intervals(members: Floats, others: Floats, rng: np.random.Generator) -> tuple[list[float], list[float]]:
    """Membership AUC, and TPR at 1 % FPR, each as [low, middle, high]: bootstrap over patients, 95 %."""
    nearer = (members[:, None] < others).astype(np.float32) + 0.5 * (members[:, None] == others)
    draws = 500
    weight_m = rng.multinomial(len(members), np.full(len(members), 1 / len(members)), draws) / len(members)
    weight_o = rng.multinomial(len(others), np.full(len(others), 1 / len(others)), draws) / len(others)
    auc = np.einsum("dm,dm->d", weight_m, weight_o @ nearer.T)
    rates = []
    for row_m, row_o in zip(weight_m[:200], weight_o[:200], strict=True):
        cut = np.quantile(np.repeat(others, np.rint(row_o * len(others)).astype(int)), 0.01)
        rates.append(float(row_m[members < cut].sum()))
    rate = float((members < np.quantile(others, 0.01)).mean())
    return _interval(auc, float(nearer.mean())), _interval(np.array(rates), rate)


def _interval(draws: Floats, middle: float) -> list[float]:
    low, high = np.quantile(draws, [0.025, 0.975])
    return [min(float(low), middle), middle, max(float(high), middle)]


def spent(alpha: float, look: int) -> float:
    """The share of `alpha` for one look at an audit part: alpha/2, alpha/6, alpha/12 ... adds up to alpha."""
    return alpha / (look * (look + 1))
