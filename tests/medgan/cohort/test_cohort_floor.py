"""The floor: equal n on both sides, no patient on both, and figures read as ratio and z against it."""

from __future__ import annotations

import numpy as np
import pytest

from medgan.cohort import floor, suite


def test_no_patient_is_on_both_sides_and_all_sides_are_of_one_size() -> None:
    owner = np.repeat(np.arange(30), 3)
    drawn = floor.draws(owner, {"synthetic": 40, "baseline": 35}, seed=0)
    assert len(drawn) == floor.DRAWS
    assert len({draw.n for draw in drawn}) == 1
    for draw in drawn:
        assert not set(owner[draw.a]) & set(owner[draw.b])
        assert {len(draw.a), len(draw.b), *(len(rows) for rows in draw.fakes.values())} == {draw.n}
        assert len(set(draw.fakes["baseline"])) == draw.n
    assert not np.array_equal(np.sort(drawn[0].a), np.sort(drawn[1].a))


@pytest.mark.parametrize(("owners", "fakes"), [(2, 50), (40, 2)])
def test_too_few_of_either_kind_give_no_draw(owners: int, fakes: int) -> None:
    assert floor.draws(np.arange(owners), {"synthetic": fakes}, seed=0) == []


def test_a_side_has_at_most_so_many() -> None:
    assert floor.draws(np.arange(100), {"synthetic": 100}, seed=0, most=20)[0].n == 20


def test_ratio_and_z_are_against_mean_and_spread_of_the_floor() -> None:
    floors = [{"fd": 1.0, "kid": -0.1}, {"fd": 2.0, "kid": 0.1}, {"fd": 3.0, "kid": 0.3}]
    found = floor.against([{"fd": 8.0, "kid": 0.5}], floors, signed=("kid",))
    assert found["fd"] == {"value": 8.0, "floor": 2.0, "floor_sd": 1.0, "ratio": 4.0, "z": 6.0}
    assert "ratio" not in found["kid"] and found["kid"]["z"] == pytest.approx(2.0)


def test_a_floor_without_spread_or_below_nothing_gives_no_number_that_is_none() -> None:
    found = floor.against([{"swd": 1.0}], [{"swd": 0.0}, {"swd": 0.0}])
    assert found["swd"] == {"value": 1.0, "floor": 0.0, "floor_sd": 0.0}


def test_the_network_in_the_middle_speaks_for_each_figure() -> None:
    def network(fd: float, recall: float) -> dict[str, dict[str, dict[str, float]]]:
        ours = {"fd": {"value": fd, "floor": fd / 10}, "recall": {"value": recall, "floor": 1.0}}
        return {"synthetic": ours, "baseline": {name: {"value": of["value"] + 1} for name, of in ours.items()}}

    chosen, spread = suite.median([network(3, 0.5), network(1, 0.9), network(2, 0.7)], "synthetic")
    assert chosen["synthetic"]["fd"] == {"value": 2, "floor": 0.2}
    assert chosen["synthetic"]["recall"]["value"] == 0.7
    assert chosen["baseline"]["fd"]["value"] == 3  # of the same network, or the two could not be compared
    assert spread == {"fd": (1, 3), "recall": (0.5, 0.9)}


def test_a_feature_that_hardly_varies_does_not_outweigh_the_others() -> None:
    rng = np.random.default_rng(0)
    real = np.concatenate([rng.normal(size=(60, 5)), np.full((60, 1), -1.0)], axis=1)
    fake = np.concatenate([rng.normal(size=(60, 5)), np.full((60, 1), -0.95)], axis=1)
    label = {name: np.zeros(60, np.uint16) for name in ("real", "synthetic")}
    drawn = floor.draws(np.arange(60), {"synthetic": 60}, seed=0, count=2)
    found = suite.measured({"real": real, "synthetic": fake}, label, np.arange(60), drawn, 1, seed=0)
    assert found["synthetic"]["fd"]["value"] < found["synthetic"]["fd"]["floor"] + 2
