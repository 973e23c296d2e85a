"""Secret chance."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from medgan.gan.chance import Chance

KEY = bytes(range(32))


def test_every_source_has_its_own_key_and_no_call_repeats_another() -> None:
    one = Chance()
    drawn = [one.uniform(4), one.uniform(4), Chance().uniform(4)]
    assert len({tuple(values) for values in drawn}) == 3


def test_the_key_alone_decides() -> None:
    assert (Chance(KEY).normal(5) == Chance(KEY).normal(5)).all()
    assert (Chance(KEY).normal(5) != Chance(bytes(32)).normal(5)).all()


@pytest.mark.parametrize("count", [0, 1, 2, 7])
def test_as_many_numbers_come_as_were_asked_for(count: int) -> None:
    assert len(Chance(KEY).uniform(count)) == len(Chance(KEY).normal(count)) == count


def test_numbers_are_uniform_and_normal() -> None:
    chance = Chance(KEY)
    uniform, normal = chance.uniform(200_000), chance.normal(200_000)
    assert uniform.min() > 0 and uniform.max() < 1
    assert stats.kstest(uniform, "uniform").pvalue > 1e-3
    assert stats.kstest(normal, "norm").pvalue > 1e-3
    assert abs(np.corrcoef(normal[:100_000], normal[100_000:])[0, 1]) < 0.015  # the two halves of Box-Muller


def test_whole_numbers_stay_below_their_bounds_and_reach_each() -> None:
    found = Chance(KEY).below(np.repeat([1, 3], 3000))
    assert (found[:3000] == 0).all()
    assert np.bincount(found[3000:], minlength=3).min() > 900 and found.max() == 2
