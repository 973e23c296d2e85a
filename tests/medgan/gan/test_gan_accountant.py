"""What noisy steps add up to, against two accountants that others wrote."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from medgan.gan import accountant
from medgan.gan.accountant import Segment, epsilon, most_steps, noise_multiplier, renyi_epsilon

# rate, noise, steps, delta, then epsilon of
# Opacus 1.6.0: PRVAccountant with history [(noise, rate, steps)], get_epsilon(delta, eps_error=0.002), and of
# dp-accounting 0.6.0: pld.from_gaussian_mechanism(noise, sampling_prob=rate, value_discretization_interval=1e-4)
#   .self_compose(steps).get_epsilon_for_delta(delta)
GOLDEN = [
    (0.001, 0.5, 20000, 1e-4, 5.2495, 5.2469),
    (0.001, 0.5, 20000, 1e-5, 6.5077, 6.5052),
    (0.001, 0.5, 20000, 1e-7, 8.9317, 8.9292),
    (0.002, 0.6, 5000, 1e-4, 2.6563, 2.6540),
    (0.002, 0.6, 5000, 1e-5, 3.4459, 3.4436),
    (0.002, 0.6, 5000, 1e-7, 5.0111, 5.0088),
    (0.0085, 0.68, 5000, 1e-4, 7.6418, 7.6393),
    (0.0085, 0.68, 5000, 1e-5, 8.8996, 8.8971),
    (0.0085, 0.68, 5000, 1e-7, 11.1972, 11.1948),
    (0.01, 1.0, 1000, 1e-4, 1.5148, 1.5127),
    (0.01, 1.0, 1000, 1e-5, 1.8304, 1.8282),
    (0.01, 1.0, 1000, 1e-7, 2.4138, 2.4117),
    (64 / 6000, 1.0, 10000, 1e-4, 5.8256, 5.8232),
    (64 / 6000, 1.0, 10000, 1e-5, 6.6756, 6.6733),
    (64 / 6000, 1.0, 10000, 1e-7, 8.1453, 8.1431),
    (0.0128, 0.77, 5000, 1e-4, 8.6952, 8.6925),
    (0.0128, 0.77, 5000, 1e-5, 9.9806, 9.9780),
    (0.0128, 0.77, 5000, 1e-7, 12.2713, 12.2687),
    (0.032, 2.63, 2000, 1e-4, 1.9798, 1.9776),
    (0.032, 2.63, 2000, 1e-5, 2.3213, 2.3192),
    (0.032, 2.63, 2000, 1e-7, 2.9019, 2.8998),
    (0.05, 20.0, 3000, 1e-4, 0.3958, 0.3938),
    (0.05, 20.0, 3000, 1e-5, 0.4829, 0.4809),
    (0.05, 20.0, 3000, 1e-7, 0.6271, 0.6251),
    (0.05, 2.0, 100, 1e-4, 0.9049, 0.9028),
    (0.05, 2.0, 100, 1e-5, 1.0993, 1.0972),
    (0.05, 2.0, 100, 1e-7, 1.4391, 1.4370),
    (0.128, 2.63, 2000, 1e-4, 10.4125, 10.4099),
    (0.128, 2.63, 2000, 1e-5, 11.7097, 11.7072),
    (0.128, 2.63, 2000, 1e-7, 13.9360, 13.9336),
    (0.256, 8.53, 5000, 1e-4, 9.6219, 9.6194),
    (0.256, 8.53, 5000, 1e-5, 10.8182, 10.8157),
    (0.256, 8.53, 5000, 1e-7, 12.8607, 12.8583),
    (0.1, 0.5, 50, 1e-4, 19.1861, 19.1826),
    (0.1, 0.5, 50, 1e-5, 22.6263, 22.6229),
    (0.1, 0.5, 50, 1e-7, 28.9869, 28.9836),
    (0.5, 6.0, 300, 1e-4, 5.9921, 5.9898),
    (0.5, 6.0, 300, 1e-5, 6.8270, 6.8247),
    (0.5, 6.0, 300, 1e-7, 8.2531, 8.2508),
    (1.0, 10.0, 100, 1e-4, 3.8067, 3.8044),
    (1.0, 10.0, 100, 1e-5, 4.3794, 4.3772),
    (1.0, 10.0, 100, 1e-7, 5.3515, 5.3493),
]


@pytest.mark.parametrize(("rate", "noise", "steps", "delta", "opacus", "google"), GOLDEN)
def test_epsilon_is_that_of_two_independent_accountants_within_one_percent(
    rate: float, noise: float, steps: int, delta: float, opacus: float, google: float
) -> None:
    found = epsilon([Segment(rate, noise, steps)], delta)
    assert found == pytest.approx(opacus, rel=0.01) and found == pytest.approx(google, rel=0.01)
    # a connect-the-dots estimate lies below the truth by nothing that shows: an upper bound lies above it
    assert found >= google


def test_without_subsampling_epsilon_is_the_gaussian_mechanisms_in_closed_form() -> None:
    """Balle & Wang 2018: delta = F(m/2 - e/m) - exp(e) F(-m/2 - e/m), m the root of steps over noise."""
    found = epsilon([Segment(1.0, 5.0, 30)], 1e-5)
    mean = math.sqrt(30) / 5.0

    def delta(e: float) -> float:
        return float(stats.norm.cdf(mean / 2 - e / mean) - math.exp(e) * stats.norm.cdf(-mean / 2 - e / mean))

    assert delta(found) <= 1e-5 < delta(found * 0.995)


def test_one_subsampled_step_is_what_direct_integration_gives() -> None:
    rate, noise = 0.2, 0.8
    found = epsilon([Segment(rate, noise, 1)], 1e-3)
    x = np.linspace(-12, 13, 2_000_001)
    zero = stats.norm.pdf(x, 0, noise)
    mixture = (1 - rate) * zero + rate * stats.norm.pdf(x, 1, noise)

    def delta(e: float) -> float:
        """The worse of a patient less and a patient more."""
        one, other = mixture - math.exp(e) * zero, zero - math.exp(e) * mixture
        return max(float(np.trapezoid(np.maximum(part, 0), x)) for part in (one, other))

    assert delta(found) <= 1e-3 < delta(found * 0.995)


def test_segments_of_different_noise_add_up() -> None:
    """2.1450 by Opacus' accountant for the same history, as above."""
    both = [Segment(0.01, 1.0, 1000), Segment(0.05, 2.0, 100)]
    assert epsilon(both, 1e-5) == pytest.approx(2.145, rel=0.01)
    assert epsilon(both, 1e-5) == pytest.approx(epsilon(both[::-1], 1e-5), rel=1e-9)
    halves = [Segment(0.01, 1.0, 400), Segment(0.01, 1.0, 600)]
    assert epsilon(halves, 1e-5) == pytest.approx(epsilon([Segment(0.01, 1.0, 1000)], 1e-5), rel=1e-6)


def test_more_of_anything_but_noise_costs_more() -> None:
    base = epsilon([Segment(0.02, 1.0, 500)], 1e-5)
    assert base < epsilon([Segment(0.02, 1.0, 600)], 1e-5)
    assert base < epsilon([Segment(0.03, 1.0, 500)], 1e-5)
    assert base < epsilon([Segment(0.02, 1.0, 500)], 1e-6)
    assert base > epsilon([Segment(0.02, 1.1, 500)], 1e-5)


def test_the_loose_bound_lies_above() -> None:
    for rate, noise, steps, delta, *_ in GOLDEN[::6]:
        segment = [Segment(rate, noise, steps)]
        assert epsilon(segment, delta) <= renyi_epsilon(segment, delta)


def test_the_loose_bound_is_the_published_one() -> None:
    """7.235: dp-accounting's RdpAccountant and Opacus' RDPAccountant for this much-used example."""
    assert renyi_epsilon([Segment(64 / 6000, 1.0, 10_000)], 1e-5) == pytest.approx(7.235, abs=1e-3)


def test_planted_mistakes_of_an_accountant_would_be_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only a patient more; no subsampling: both miss the golden figures."""
    rate, noise, steps, delta, _, google = GOLDEN[0]
    segment = [Segment(rate, noise, steps)]
    true = accountant._grid
    with monkeypatch.context() as patch:
        patch.setattr(accountant, "_grid", lambda s, step, half, more: true(s, step, half, True))
        assert epsilon(segment, delta) < google * 0.99
    assert epsilon([Segment(1.0, noise, steps)], delta) > google * 2


def test_no_step_costs_nothing_and_no_noise_everything() -> None:
    assert epsilon([], 1e-5) == epsilon([Segment(0.1, 1.0, 0)], 1e-5) == 0.0
    assert epsilon([Segment(0.1, 0.0, 1)], 1e-5) == math.inf


@pytest.mark.parametrize(
    ("segment", "delta"),
    [
        (Segment(0.0, 1.0, 1), 1e-5),
        (Segment(1.1, 1.0, 1), 1e-5),
        (Segment(0.1, -1.0, 1), 1e-5),
        (Segment(0.1, math.nan, 1), 1e-5),
        (Segment(0.1, 1.0, -1), 1e-5),
        (Segment(0.1, 1.0, 1), 0.0),
        (Segment(0.1, 1.0, 1), 1e-12),
        (Segment(0.1, 1.0, 1), math.nan),
    ],
)
def test_what_means_nothing_is_refused(segment: Segment, delta: float) -> None:
    with pytest.raises(ValueError, match="expected|needs"):
        epsilon([segment], delta)


@pytest.mark.parametrize(("rate", "steps", "target"), [(0.01, 1000, 1.0), (0.03, 2000, 10.0), (1.0, 50, 3.0)])
def test_the_noise_found_is_the_least_that_suffices(rate: float, steps: int, target: float) -> None:
    noise = noise_multiplier(rate, steps, target, 1e-5)
    assert epsilon([Segment(rate, noise, steps)], 1e-5) <= target
    assert epsilon([Segment(rate, noise * 0.99, steps)], 1e-5) > target


def test_as_many_steps_are_found_as_fit() -> None:
    most = most_steps(0.02, 1.0, 3.0, 1e-5, 1500)
    assert epsilon([Segment(0.02, 1.0, most)], 1e-5) <= 3.0 < epsilon([Segment(0.02, 1.0, most + 1)], 1e-5)
    assert most_steps(0.02, 1.0, 3.0, 1e-5, 100) == 100
    assert most_steps(0.5, 0.3, 0.1, 1e-5, 100) == 0


def test_a_coarse_grid_keeps_the_mean_of_every_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its own bound is then wide, but what it reads off hardly moves; without the mean it is 2.5 % off."""
    read, true = [], accountant._crossing
    segment = [Segment(0.0085, 0.68, 5000)]
    fine = epsilon(segment, 1e-5)
    monkeypatch.setattr(accountant, "GRID", 1 << 14)
    monkeypatch.setattr(accountant, "_crossing", lambda *args: read.append(true(*args)) or read[-1])
    assert epsilon(segment, 1e-5) > fine
    assert max(read) == pytest.approx(fine, rel=0.01)
