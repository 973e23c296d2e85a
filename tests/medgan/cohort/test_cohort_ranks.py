"""The gate's tests keep their level on honest data, and agree with tables computed elsewhere."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import special

from medgan.cohort import ranks


@pytest.mark.parametrize(
    ("guesses", "right", "epsilon"),
    [(20, 12, 0), (20, 16, 0.39), (20, 18, 0.92), (20, 20, 1.79), (100, 60, 0.05), (100, 90, 1.63), (100, 100, 3.47),
     (500, 350, 0.68), (1000, 900, 2.02), (1000, 1000, 5.78)],
)  # fmt: skip
def test_one_run_epsilon_agrees_with_the_published_bound(guesses: int, right: int, epsilon: float) -> None:
    assert ranks.one_run_epsilon(right, guesses, units=1000) == pytest.approx(epsilon, abs=0.02)


def test_guesses_that_only_follow_the_prior_prove_no_epsilon() -> None:
    assert ranks.one_run_epsilon(66, 100, odds=2.0) == 0.0
    assert ranks.one_run_epsilon(99, 100, odds=2.0) < ranks.one_run_epsilon(99, 100, odds=1.0)


def test_no_guess_proves_nothing() -> None:
    assert ranks.one_run_epsilon(0, 0) == 0.0
    assert ranks.one_run_epsilon(0, 50) == 0.0


@pytest.mark.parametrize("k", [1, 2, 5])
def test_picture_tail_is_the_exact_chance(k: int) -> None:
    """Against every order of 6 offered and 5 honest pictures, by counting."""
    offered = np.array([0.1, 0.2, 0.3, 0.4, 0.8, 0.9])
    honest = np.array([0.35, 0.5, 0.6, 0.85, 0.95])
    below, p = ranks.picture_tail(offered, honest, k)
    rng = np.random.default_rng(0)
    counts = []
    for _ in range(20_000):
        mixed = rng.permutation(11)
        counts.append((mixed[:6] < np.sort(mixed[6:])[k - 1]).sum())
    assert below == (offered < np.sort(honest)[k - 1]).sum()
    assert p == pytest.approx(np.mean(np.array(counts) >= below), abs=0.01)


def test_seven_copied_patients_of_equal_halves_are_seen_before_correction() -> None:
    """The table of exact sizes: 7 members ranking first among equal halves give p < 0.01, 6 do not."""
    assert special.comb(193, 93) / special.comb(200, 100) < 0.01 < special.comb(194, 94) / special.comb(200, 100)
    tail = ranks._top_null(100, 100)[1][1]
    assert tail[10] == pytest.approx(special.comb(190, 90) / special.comb(200, 100))


@pytest.mark.parametrize("sizes", [(40, 20), (15, 60)])
def test_patient_tests_keep_their_level_on_honest_data(sizes: tuple[int, int]) -> None:
    rng = np.random.default_rng(1)
    rows = [rng.normal(size=sum(sizes)) for _ in range(1500)]
    found = {
        test: [getattr(ranks, test)(row[: sizes[0]], row[sizes[0] :])[1] for row in rows]
        for test in ("mann_whitney", "top")
    }
    for name, ps in found.items():
        for level in (0.05, 0.01):
            assert np.mean(np.array(ps) < level) <= level + 3 * np.sqrt(level / len(ps)), (name, level)


def test_ties_count_against_a_leak() -> None:
    same = np.zeros(60)
    assert ranks.top(same[:40], same[40:])[1] > 0.5
    assert ranks.guessed_epsilon(same[:40], same[40:])[0] == 0.0


def test_members_that_all_rank_first_are_seen() -> None:
    members, others = np.linspace(0, 1, 60), np.linspace(2, 3, 40)
    assert ranks.mann_whitney(members, others)[1] < 1e-12
    assert ranks.top(members, others)[1] < 1e-4
    assert ranks.guessed_epsilon(members, others)[0] > 1.5


def test_calibrated_is_small_only_for_a_lone_neighbour() -> None:
    crowd = np.full((1, 50), 0.2)
    lone = np.full((1, 50), 1.0)
    lone[0, 7] = 0.1
    assert ranks.calibrated(crowd)[0] == pytest.approx(1.0)
    assert ranks.calibrated(lone)[0] == pytest.approx(0.1)
    assert ranks.calibrated(np.ones((3, 1))).tolist() == [1, 1, 1]


def test_looks_spend_no_more_than_alpha() -> None:
    assert sum(ranks.spent(0.01, look) for look in range(1, 1000)) < 0.01
    assert ranks.spent(0.01, 1) == 0.005


def test_intervals_hold_their_middle() -> None:
    rng = np.random.default_rng(0)
    for values in ranks.intervals(rng.normal(size=50), rng.normal(size=40), rng):
        assert 0 <= values[0] <= values[1] <= values[2] <= 1
