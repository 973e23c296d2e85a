"""What noisy steps add up to: (epsilon, delta) of Poisson-subsampled Gaussian mechanisms under composition.

Neighbours differ in all that one patient contributes; how many patients there are is public. The distribution of the
privacy loss is put on a grid, composed by FFT and read off, with the error bounds of Gopi, Lee & Wutschitz 2021
(Numerical composition of differential privacy): what comes out is an upper bound, within 0.4 % of the truth where
GRID holds it. Both directions, a patient more and a patient less, are composed, and the worse one counts.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.fft import irfft, next_fast_len, rfft
from scipy.special import gammaln, logsumexp, ndtr, xlog1py

TOLERANCE = 0.002  # of epsilon, by which the grid may err
OF_DELTA = 1e-3  # of delta, given to the grid's truncation
GRID = 1 << 23  # points at most; a finer grid than that is made coarser, and the bound grows
SMALLEST_DELTA = 1e-10  # below it the rounding of the FFT counts
LARGEST = 100.0  # a promise that is none: the loose bound will do
ORDERS = np.array([*range(2, 129), 192, 256, 384, 512, 1024])
LEAST_NOISE, MOST_NOISE = 0.2, 1e4
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Segment:
    """`steps` releases of a sum to which each patient adds at most C, drawn with probability `rate`, plus
    N(0, (noise C)^2)."""

    rate: float
    noise: float
    steps: int


def epsilon(segments: Sequence[Segment], delta: float) -> float:
    """The epsilon that all segments together cost at `delta`, an upper bound; infinite without noise.

    Raises ValueError for a rate, noise or delta that means nothing.
    """
    some = [segment for segment in segments if segment.steps]
    _check(some, delta)
    if not some:
        return 0.0
    if min(segment.noise for segment in some) < LEAST_NOISE / 2:
        return math.inf
    rough = renyi_epsilon(some, delta)
    if rough > LARGEST:
        return rough
    return min(rough, max(_composed(some, delta, rough, more) for more in (False, True)))


def renyi_epsilon(segments: Sequence[Segment], delta: float) -> float:
    """A looser bound, in closed form: integer orders of Mironov, Talwar & Zhang 2019, conversion of Balle 2020."""
    total = sum((segment.steps * _renyi(segment.rate, segment.noise) for segment in segments), np.zeros(len(ORDERS)))
    found = total + np.log1p(-1 / ORDERS) - (math.log(delta) + np.log(ORDERS)) / (ORDERS - 1)
    return max(0.0, float(found.min()))


def noise_multiplier(rate: float, steps: int, target: float, delta: float) -> float:
    """The least noise, to four digits, with which `steps` cost at most epsilon `target`. ValueError: there is none."""
    low, high = LEAST_NOISE, MOST_NOISE
    if renyi_epsilon([Segment(rate, high, steps)], delta) > target:
        raise ValueError(f"no noise multiplier up to {MOST_NOISE:g} keeps epsilon at {target:g}")
    while high / low > 1.0001:  # the loose bound first: it costs nothing, and ends above
        middle = math.sqrt(low * high)
        low, high = (low, middle) if renyi_epsilon([Segment(rate, middle, steps)], delta) <= target else (middle, high)
    low = max(LEAST_NOISE, 0.75 * high)
    while high / low > 1.0002:
        middle = math.sqrt(low * high)
        low, high = (low, middle) if epsilon([Segment(rate, middle, steps)], delta) <= target else (middle, high)
    digits = 3 - math.floor(math.log10(high))
    return math.ceil(high * 10**digits) / 10**digits


def most_steps(rate: float, noise: float, target: float, delta: float, wanted: int) -> int:
    """How many of `wanted` steps cost at most epsilon `target`."""
    low, high = 0, wanted + 1
    middle = wanted
    while high - low > 1:
        low, high = (middle, high) if epsilon([Segment(rate, noise, middle)], delta) <= target else (low, middle)
        middle = (low + high) // 2
    return low


def _check(segments: Sequence[Segment], delta: float) -> None:
    if not SMALLEST_DELTA <= delta < 1:
        raise ValueError(f"delta is {delta:g}; expected {SMALLEST_DELTA:g} to 1")
    for segment in segments:
        if not 0 < segment.rate <= 1 or not segment.noise >= 0 or segment.steps < 0:
            raise ValueError("a segment needs a rate above 0 and at most 1, noise and steps not below 0")


def _renyi(rate: float, noise: float) -> Floats:
    """Renyi divergence of one step at ORDERS."""
    found = np.empty(len(ORDERS))
    for place, order in enumerate(ORDERS):
        j = np.arange(order + 1, dtype=np.float64)
        binomial = gammaln(order + 1) - gammaln(j + 1) - gammaln(order - j + 1)
        terms = binomial + xlog1py(order - j, -rate) + j * math.log(rate) + (j * j - j) / (2 * noise**2)
        found[place] = logsumexp(terms) / (order - 1)
    return np.maximum(found, 0.0)


def _composed(segments: Sequence[Segment], delta: float, rough: float, more: bool) -> float:
    """Epsilon in one direction: `more`, the neighbour has one patient more."""
    count = sum(segment.steps for segment in segments)
    lost = OF_DELTA * delta
    # Gopi et al., theorem 5.5 and remark 5.6: how far the grid must reach, how fine it must be
    reach = 3 + max(
        renyi_epsilon(segments, lost / 4),
        *(renyi_epsilon([Segment(s.rate, s.noise, 1)], lost / (8 * count)) for s in segments),
    )
    spread = math.sqrt(count / 2 * math.log(12 / lost))
    step = max(max(TOLERANCE * rough, 1e-6) / spread, 2 * reach / GRID)
    half = math.ceil(reach / step)
    size = next_fast_len(2 * half + 1, real=True)
    half, shift, product = (size - 1) // 2, 0.0, np.ones(size // 2 + 1, complex)
    for segment in segments:
        masses, moved = _grid(segment, step, half, more)
        padded = np.zeros(size)
        padded[: half + 1], padded[size - half :] = masses[half:], masses[:half]  # loss 0 at index 0
        product *= rfft(padded) ** segment.steps
        shift += moved * segment.steps
    probability = irfft(product, size)[: half + 1]
    return _crossing(shift + step * np.arange(half + 1), probability, delta - lost) + step * spread


def _crossing(losses: Floats, probability: Floats, delta: float) -> float:
    """Where sum over losses above epsilon of p (1 - exp(epsilon - loss)) falls to `delta`, at least 0."""
    above = np.cumsum(probability[::-1])[::-1]
    weighed = np.cumsum((probability * np.exp(-losses))[::-1])[::-1]
    missed = above - np.exp(losses) * weighed  # delta at epsilon = losses, whose own term is zero
    first = int(np.argmax(missed <= delta))  # the last one is 0 in exact arithmetic
    if above[first] <= delta:
        return max(0.0, float(losses[first]))
    return max(0.0, math.log((above[first] - delta) / weighed[first]))


def _grid(segment: Segment, step: float, half: int, more: bool) -> tuple[Floats, float]:
    """Masses of one step's loss at -half ... half steps, and the shift that keeps its mean."""
    edges = np.asarray((np.arange(-half, half + 2) - 0.5) * step, np.float64)
    masses = np.diff(_loss_below(edges, segment.rate, segment.noise, more))
    masses /= masses.sum()
    mean = _mean_loss(edges[0], edges[-1], segment.rate, segment.noise, more)
    return masses, mean - float(masses @ (np.arange(-half, half + 1) * step))


def _place(loss: Floats, rate: float, noise: float) -> Floats:
    """The x at which log(1 - rate + rate exp((2 x - 1) / (2 noise^2))) is `loss`; -inf where it never is that low."""
    with np.errstate(divide="ignore", invalid="ignore"):
        # exp(loss) - 1 + rate, over rate; in logarithms, since the loss may be large
        small = np.log1p(np.expm1(np.minimum(loss, 30.0)) / rate)
        large = loss - math.log(rate)
        found = np.where(loss < 30.0, small, large)
    return np.where(np.isnan(found), -np.inf, found) * noise**2 + 0.5


def _loss_below(loss: Floats, rate: float, noise: float, more: bool) -> Floats:
    """P(privacy loss <= loss): of the mixture against N(0, noise^2), or the other way about with `more`."""
    if more:
        return np.asarray(ndtr(-_place(-loss, rate, noise) / noise), np.float64)
    x = _place(loss, rate, noise)
    return np.asarray((1 - rate) * ndtr(x / noise) + rate * ndtr((x - 1) / noise), np.float64)


def _mean_loss(low: float, high: float, rate: float, noise: float, more: bool) -> float:
    """Mean of the loss given that it lies between, by Gauss-Legendre panels over x."""
    ends = _place(np.array([-high, -low] if more else [low, high]), rate, noise)
    first, last = np.clip(ends, -14 * noise, 1 + 14 * noise)
    nodes, weights = np.polynomial.legendre.leggauss(16)
    borders = np.linspace(first, last, 2001)
    width = np.diff(borders)[:, None] / 2
    x = (borders[:-1, None] + width + width * nodes).ravel()
    area = (width * weights).ravel()
    loss = np.logaddexp(math.log1p(-rate) if rate < 1 else -np.inf, math.log(rate) + (2 * x - 1) / (2 * noise**2))
    at_zero, at_one = (np.exp(-0.5 * ((x - centre) / noise) ** 2) for centre in (0.0, 1.0))
    density = area * (at_zero if more else (1 - rate) * at_zero + rate * at_one)
    return float((density @ (-loss if more else loss)) / density.sum())
