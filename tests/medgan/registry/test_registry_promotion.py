"""A better model replaces the champion; a worse or leakier one never does."""

from __future__ import annotations

import math

import pytest

from medgan.registry.promotion import Version, keeps_challenger

FIGURES = {"fd_ratio": 30.0, "coverage": 0.7, "epsilon_lower": 0.05, "auc": 0.51, "auc_high": 0.58}
CHAMPION = Version("DX-CHEST-64", FIGURES)


def new(group: str = "DX-CHEST-64", **changes: float) -> Version:
    return Version(group, {**FIGURES, "fd_ratio": 25.0, **changes})


def test_a_better_version_that_leaks_no_more_becomes_champion():
    assert keeps_challenger(new(), CHAMPION) == ""
    assert keeps_challenger(new(auc=0.55, coverage=0.66), CHAMPION) == ""  # within what chance explains


CASES = [
    pytest.param(new(fd_ratio=30.0), "no better", id="equal"),
    pytest.param(new(fd_ratio=31.0), "no better", id="worse"),
    pytest.param(new(epsilon_lower=0.06), "leakier", id="more epsilon"),
    pytest.param(new(auc=0.6), "leakier", id="a better attack"),
    pytest.param(new(coverage=0.6), "less varied", id="fewer modes"),
    pytest.param(new(group="DX-CHEST-32"), "not comparable", id="another grid"),
    pytest.param(new(fd_ratio=math.nan), "fd_ratio is not known", id="nan"),
    pytest.param(Version("DX-CHEST-64", {}), "not known", id="no figures"),
]


@pytest.mark.parametrize(("version", "reason"), CASES)
def test_others_stay_challenger(version: Version, reason: str):
    assert reason in keeps_challenger(version, CHAMPION)


def test_a_champion_without_figures_is_not_beaten_blindly():
    assert "not known" in keeps_challenger(new(), Version("DX-CHEST-64", {}))
