"""Fidelity figures move the way they must when pictures are spoiled; usefulness when labels are."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from scipy import ndimage
from scipy.spatial.distance import cdist
from toy_chest import chest_cohort, chest_films, synthetic_cohort

from medgan.cohort import features, fidelity, likeness, ridge, scorecard, spectra, suite, utility


def noisy(images: np.ndarray) -> np.ndarray:
    return images + np.random.default_rng(0).normal(0, 0.1, images.shape).astype(np.float32)


def test_frechet_is_the_closed_form_of_two_normal_laws() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(20_000, 3)), rng.normal(size=(20_000, 3)) * [2, 1, 1] + [0, 3, 0]
    assert fidelity.frechet(a, b) == pytest.approx(1 + 9, rel=0.02)
    assert fidelity.frechet(a, a) == pytest.approx(0, abs=1e-9)


def test_kernel_distance_is_unbiased_on_equal_laws() -> None:
    rng = np.random.default_rng(0)
    draws = [fidelity.kernel_distance(rng.normal(size=(40, 4)), rng.normal(size=(40, 4))) for _ in range(200)]
    assert abs(np.mean(draws)) < 3 * np.std(draws) / np.sqrt(len(draws))


def test_kernel_distance_of_many_is_the_mean_of_subsets() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(300, 4)), rng.normal(size=(300, 4)) + 1
    whole = fidelity.kernel_distance(a, b)
    some = fidelity.kernel_distance(a, b, subsets=30, size=60, rng=np.random.default_rng(1))
    assert some != whole
    assert some == pytest.approx(whole, rel=0.1)


def test_neighbourhoods_are_those_of_the_definition() -> None:
    rng = np.random.default_rng(0)
    real, fake = rng.normal(size=(40, 3)), rng.normal(size=(30, 3)) + 0.5
    across, k = cdist(real, fake), fidelity.NEIGHBOURS
    real_ball, fake_ball = (np.sort(cdist(some, some), axis=1)[:, k] for some in (real, fake))
    found = fidelity.figures(real, fake, np.arange(40), rng)
    assert found["precision"] == (across <= real_ball[:, None]).any(axis=0).mean()
    assert found["recall"] == (across <= fake_ball[None, :]).any(axis=1).mean()
    assert found["density"] == pytest.approx((across <= real_ball[:, None]).sum() / (k * 30))
    assert found["coverage"] == (across <= real_ball[:, None]).any(axis=1).mean()


def test_copies_are_not_authentic_and_a_patients_other_pictures_do_not_excuse_them() -> None:
    rng = np.random.default_rng(0)
    patients = rng.normal(size=(30, 5))
    real, owner = np.repeat(patients, 2, axis=0) + 1e-3 * rng.normal(size=(60, 5)), np.repeat(np.arange(30), 2)
    near_copies = real + 1e-2 * rng.normal(size=real.shape)
    within, across = fidelity.squared_distances(real, real), fidelity.squared_distances(real, near_copies)
    assert fidelity.authenticity(within, across, owner) == 0
    assert fidelity.authenticity(within, across, np.arange(60)) > 0.9
    others = fidelity.squared_distances(real, rng.normal(size=(60, 5)))
    assert fidelity.authenticity(within, others, owner) > 0.3


def test_network_learns_the_same_bits_on_any_number_of_threads_and_leaves_chance_alone() -> None:
    images, label, _ = chest_films(20, size=32, seed=1)
    before, threads = torch.random.get_rng_state(), torch.get_num_threads()
    one = [features.features(network, images) for network in features.eyes(images, label, 3, steps=5, seed=0)]
    torch.set_num_threads(2)
    two = [features.features(network, images) for network in features.eyes(images, label, 3, steps=5, seed=0)]
    assert torch.get_num_threads() == 2
    torch.set_num_threads(threads)
    assert np.array_equal(one, two)
    assert not np.array_equal(one[0], one[1])
    assert torch.equal(torch.random.get_rng_state(), before)


def test_volumes_are_seen_as_slabs() -> None:
    volumes = np.random.default_rng(0).normal(size=(4, 1, 9, 16, 16)).astype(np.float32)
    network = features.untrained(volumes, 2, seed=0)
    seen = features.features(network, volumes)
    assert len(seen) == 4 and features.DIMS < seen.shape[1] <= features.DIMS + 19


def test_noise_shows_in_the_texture_of_volumes_as_in_pictures() -> None:
    """In the mean of many slices it would fade."""
    rng = np.random.default_rng(0)
    smooth = ndimage.gaussian_filter(rng.normal(size=(6, 1, 32, 32, 32)), (0, 0, 2, 2, 2)).astype(np.float32)
    noise = rng.normal(0, 0.1, smooth.shape).astype(np.float32)
    flat = features.texture((smooth + noise)[:, :, :1])[:, -1] - features.texture(smooth[:, :, :1])[:, -1]
    deep = features.texture(smooth + noise)[:, -1] - features.texture(smooth)[:, -1]
    assert deep.min() > 0.8 * flat.mean()


def test_views_of_one_picture_are_wanted_alike() -> None:
    rows = torch.eye(6)[:3]
    together, apart = torch.cat([rows, rows]), torch.cat([rows, rows.roll(1, 0)])
    assert features.contrast(together) < features.contrast(apart)
    assert features.contrast(rows[:2]) == 0


def test_each_head_of_a_feature_network_learns() -> None:
    images, label, _ = chest_films(30, size=32, seed=1)
    start = features.untrained(images, 3, seed=0)
    network = features.eyes(images, label, 3, steps=3, seed=0)[0]
    for name, before in start.state_dict().items():
        assert not torch.equal(before, network.state_dict()[name]), name


def test_right_labels_teach_more_than_shuffled_ones() -> None:
    (a, la, _), (b, lb, _), (c, lc, _) = (chest_films(60, size=32, seed=s, films=(1, 1)) for s in (1, 2, 3))
    right = utility.trained_on_synthetic((a, la), (b, lb), (c, lc), 3, steps=80, seed=0)
    wrong = utility.trained_on_synthetic((a, (la + 1) % 3), (b, lb), (c, lc), 3, steps=80, seed=0)
    assert right is not None and wrong is not None
    assert right["tstr_auc"] > 0.7 > 0.6 > wrong["tstr_auc"]
    assert right["trtr_auc"] == wrong["trtr_auc"] > 0.7
    assert right["n"] == 60


@pytest.mark.parametrize("case", ["few", "one class in test", "one class in synthetic"])
def test_usefulness_that_cannot_be_measured_is_none(case: str) -> None:
    images, label, _ = chest_films(24, size=32, seed=1, films=(1, 1))
    same = np.zeros_like(label)
    test = (images[:5], label[:5]) if case == "few" else (images, same if case == "one class in test" else label)
    offered = (images, same if case == "one class in synthetic" else label)
    assert utility.trained_on_synthetic(offered, (images, label), test, 3, steps=1, seed=0) is None


def test_usefulness_is_given_by_class_and_by_subgroup_and_rare_values_are_one_row() -> None:
    images, label, owner = chest_films(60, size=32, seed=1, films=(1, 2))
    column = np.array(["woman", "man"])[owner % 2]
    column = np.where(owner == 3, "named", column)
    found = utility.trained_on_synthetic(
        (images, label), (images, label), (images, label), 3, steps=30, seed=0, owner=owner, subgroups={"sex": column}
    )
    assert found is not None
    assert [row["class"] for row in found["by_class"]] == [0, 1, 2]
    assert np.mean([row["tstr_auc"] for row in found["by_class"]]) == pytest.approx(found["tstr_auc"])
    assert found["tstr_interval"][0] <= found["tstr_auc"] <= found["tstr_interval"][1]
    rows = {row["value"]: row for row in found["by_subgroup"]["sex"]}
    assert set(rows) == {"woman", "man", "other"}
    assert sum(row["n"] for row in rows.values()) == len(images)
    assert "trtr_auc" in rows["man"] and "trtr_auc" not in rows["other"]


def test_pictures_of_one_patient_widen_an_interval() -> None:
    rng = np.random.default_rng(0)
    label = np.repeat(rng.integers(2, size=20), 10)
    scores = (label + np.repeat(rng.normal(size=20), 10))[:, None] * np.array([[-1.0, 1.0]])
    by_patient = utility.interval(scores, label, np.repeat(np.arange(20), 10), 2, seed=0)
    by_picture = utility.interval(scores, label, np.arange(200), 2, seed=0)
    assert np.ptp(by_patient) > 1.5 * np.ptp(by_picture)


def test_auc_counts_ties_by_half() -> None:
    assert ridge.auc(np.array([0.0, 1.0, 1.0, 2.0]), np.array([False, False, True, True])) == 0.875


def test_scorecard_measures_a_baseline_beside_and_matches_classes_by_name() -> None:
    real = chest_cohort({"train": 24, "select": 12, "audit": 12, "fresh": 4}, size=32)
    images, label, _ = chest_films(40, size=32, seed=7, films=(1, 1))
    good = synthetic_cohort(images, label)
    weak = synthetic_cohort(noisy(images), label)
    limits = scorecard.Limits(alpha=0.01, smallest_leak=0.25, max_epsilon=0.5)
    card = scorecard.compose(good, real, limits=limits, look=1, steps=8, seed=0, baseline=weak).card
    assert card["fidelity"]["baseline"]["fd"] > card["fidelity"]["fd"]
    assert set(card["fidelity"]["metrics"]) == {*suite.IN_FEATURES, *suite.IN_PICTURES}
    assert all(of.keys() >= {"value", "floor", "floor_sd", "z"} for of in card["fidelity"]["metrics"].values())
    assert card["fidelity"]["fd"] == card["fidelity"]["metrics"]["fd"]["value"]
    assert card["fidelity"]["checks"]["skipped"].startswith("skipped")
    assert card["counts"]["audit_patients"] == 12
    assert card["utility"]["n"] == len(real.part("select"))


def test_a_baseline_of_other_classes_is_measured_without_them() -> None:
    real = chest_cohort({"train": 24, "select": 12, "audit": 12, "fresh": 4}, size=32)
    images, label, _ = chest_films(40, size=32, seed=7, films=(1, 1))
    good = synthetic_cohort(images, label)
    others = replace(synthetic_cohort(noisy(images), label), classes=("unheard of", *good.classes[1:]))
    limits = scorecard.Limits(alpha=0.01, smallest_leak=0.25, max_epsilon=0.5)
    fidelity_of = scorecard.compose(good, real, limits=limits, look=1, steps=4, seed=0, baseline=others).card[
        "fidelity"
    ]
    assert "class_auc" in fidelity_of["metrics"]
    assert "class_auc" not in fidelity_of["baseline"]["metrics"] and "fd" in fidelity_of["baseline"]["metrics"]


def test_two_patients_give_no_floor_and_say_so() -> None:
    real = chest_cohort({"train": 2, "audit": 12, "fresh": 4}, size=32)
    images, label, _ = chest_films(20, size=32, seed=7, films=(1, 1))
    limits = scorecard.Limits(alpha=0.01, smallest_leak=0.25, max_epsilon=0.5)
    card = scorecard.compose(synthetic_cohort(images, label), real, limits=limits, look=1, steps=2, seed=0).card
    assert card["fidelity"]["n"] == 0 and "fd" not in card["fidelity"]


def test_a_suite_that_cannot_tell_spoiled_pictures_lets_nothing_through(monkeypatch: pytest.MonkeyPatch) -> None:
    images, label, owner = chest_films(60, size=32, seed=7)

    def failed() -> dict[str, Any]:
        real, offered = likeness.Offered(images, label, owner), likeness.Offered(images[:60], label[:60], None)
        return likeness.likeness(real, {"synthetic": offered}, 80, 3, steps=10, seed=0, draws=2)

    assert failed()["checks"]["failed"] == []
    monkeypatch.setattr(spectra, "power_distance", lambda a, b: 1.0)
    looks = failed()
    assert len(looks["checks"]["failed"]) == 3
    small = {"checks": {**looks["checks"], "binding": False}}
    assert not looks["checks"]["binding"]  # of some sixty pictures a side
    assert scorecard._answer({"answer": "accept", "reasons": []}, small)["answer"] == "accept"
    looks["checks"]["binding"] = True
    for private, answer in (("accept", "inconclusive"), ("inconclusive", "inconclusive"), ("reject", "reject")):
        assert scorecard._answer({"answer": private, "reasons": []}, looks)["answer"] == answer


def test_a_picture_without_a_patient_is_its_own_unit() -> None:
    cohort = chest_cohort({"train": 3}, size=32)
    assert len(np.unique(scorecard.owners(cohort))) == 3
    cohort.patient_key[:] = "0" * 32
    assert len(np.unique(scorecard.owners(cohort))) == len(cohort)


def test_numbers_are_rounded_and_never_nan() -> None:
    assert scorecard.rounded({"a": (1 / 3, float("nan")), "b": np.float32(2)}) == {"a": [0.333333, None], "b": 2.0}
