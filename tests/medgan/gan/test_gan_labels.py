"""Labels of a sampled cohort keep the shares of training at every length."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medgan.gan.labels import in_proportion

SHARES = st.lists(st.floats(0, 1), min_size=1, max_size=6).filter(lambda shares: sum(shares) > 0.01)


@given(SHARES, st.integers(1, 120))
def test_counts_stay_within_the_number_of_classes_of_their_share(shares: list[float], count: int) -> None:
    labels = in_proportion(shares, count)
    counts = np.bincount(labels, minlength=len(shares))
    assert np.abs(counts - np.array(shares) / sum(shares) * count).max() < len(shares)


@given(SHARES, st.integers(1, 60), st.integers(0, 60))
def test_a_longer_list_begins_with_the_shorter_one(shares: list[float], count: int, more: int) -> None:
    assert in_proportion(shares, count + more)[:count].tolist() == in_proportion(shares, count).tolist()


def test_a_class_without_a_share_is_never_drawn() -> None:
    assert set(in_proportion([0.0, 1.0, 0.0], 50)) == {1}


def test_shares_of_a_round_number_are_exact() -> None:
    assert np.bincount(in_proportion([0.4, 0.2, 0.2, 0.2], 400)).tolist() == [160, 80, 80, 80]


@pytest.mark.parametrize("shares", [[], [0.0], [-1.0, 2.0], [float("nan")]], ids=["none", "zero", "below", "nan"])
def test_impossible_shares_are_refused(shares: list[float]) -> None:
    with pytest.raises(ValueError, match="shares"):
        in_proportion(shares, 3)
