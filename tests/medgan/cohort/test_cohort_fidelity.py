"""Fidelity figures move the way they must when pictures are spoiled; usefulness when labels are."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import ndimage
from toy_chest import chest_cohort, chest_films, synthetic_cohort

from medgan.cohort import features, fidelity, scorecard, utility


@pytest.fixture(scope="module")
def eyes() -> features.Encoder:
    images, label, _ = chest_films(40, size=32, seed=1)
    return features.trained(images, label, 3, steps=25, seed=0)


def spoiled(kind: str, images: np.ndarray) -> np.ndarray:
    rng = np.random.default_rng(0)
    if kind == "blur":
        return ndimage.gaussian_filter(images, (0, 0, 0, 1, 1))
    if kind == "noise":
        return images + rng.normal(0, 0.1, images.shape).astype(np.float32)
    if kind == "window":
        return images * 0.8 + 0.2
    return images[rng.integers(8, size=len(images))]  # few modes


@pytest.mark.parametrize(
    ("kind", "figure", "up"),
    [("blur", "fd", True), ("noise", "fd", True), ("window", "fd", True), ("modes", "fd", True),
     ("modes", "coverage", False), ("modes", "recall", False), ("noise", "kid", True), ("blur", "kid", True)],
)  # fmt: skip
def test_each_figure_moves_as_it_must_when_pictures_are_spoiled(
    eyes: features.Encoder, kind: str, figure: str, up: bool
) -> None:
    real, _, owner = chest_films(80, size=32, seed=2, films=(1, 2))
    good, _, _ = chest_films(80, size=32, seed=3, films=(1, 1))
    seen = {name: features.features(eyes, images) for name, images in (("good", good), ("bad", spoiled(kind, good)))}
    figures, floor = fidelity.compare(features.features(eyes, real), owner, seen, seed=0)
    good_one, bad_one = figures["good"][figure], figures["bad"][figure]
    assert bad_one > good_one if up else bad_one < good_one
    assert figures["good"]["fd_ratio"] < 3
    assert floor["n"] > 30


def test_frechet_is_the_closed_form_of_two_normal_laws() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(20_000, 3)), rng.normal(size=(20_000, 3)) * [2, 1, 1] + [0, 3, 0]
    assert fidelity.frechet(a, b) == pytest.approx(1 + 9, rel=0.02)
    assert fidelity.frechet(a, a) == pytest.approx(0, abs=1e-9)


def test_kernel_distance_is_unbiased_on_equal_laws() -> None:
    rng = np.random.default_rng(0)
    draws = [fidelity.kernel_distance(rng.normal(size=(40, 4)), rng.normal(size=(40, 4))) for _ in range(200)]
    assert abs(np.mean(draws)) < 3 * np.std(draws) / np.sqrt(len(draws))


def test_two_patients_give_no_floor_and_say_so() -> None:
    real = np.random.default_rng(0).normal(size=(2, 4))
    assert fidelity.compare(real, np.array([0, 1]), {"synthetic": real}, seed=0) == ({}, {})


def test_network_learns_the_same_bits_on_any_number_of_threads_and_leaves_chance_alone() -> None:
    images, label, _ = chest_films(20, size=32, seed=1)
    before, threads = torch.random.get_rng_state(), torch.get_num_threads()
    one = features.features(features.trained(images, label, 3, steps=5, seed=0), images)
    torch.set_num_threads(2)
    two = features.features(features.trained(images, label, 3, steps=5, seed=0), images)
    assert torch.get_num_threads() == 2
    torch.set_num_threads(threads)
    assert np.array_equal(one, two)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_volumes_are_seen_as_slabs() -> None:
    volumes = np.random.default_rng(0).normal(size=(4, 1, 9, 16, 16)).astype(np.float32)
    network = features.untrained(volumes, 2, seed=0)
    assert features.features(network, volumes).shape == (4, features.DIMS + 7)


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


def test_auc_counts_ties_by_half() -> None:
    assert utility.auc(np.array([0.0, 1.0, 1.0, 2.0]), np.array([False, False, True, True])) == 0.875


def test_scorecard_measures_a_baseline_beside_and_matches_classes_by_name() -> None:
    real = chest_cohort({"train": 24, "select": 12, "audit": 12, "fresh": 4}, size=32)
    images, label, _ = chest_films(40, size=32, seed=7, films=(1, 1))
    good = synthetic_cohort(images, label)
    weak = synthetic_cohort(spoiled("noise", images), label)
    limits = scorecard.Limits(alpha=0.01, smallest_leak=0.25, max_epsilon=0.5)
    card = scorecard.compose(good, real, limits=limits, look=1, steps=8, seed=0, baseline=weak).card
    assert card["fidelity"]["baseline"]["fd"] > card["fidelity"]["fd"]
    assert card["counts"]["audit_patients"] == 12
    assert card["utility"]["n"] == len(real.part("select"))


def test_a_picture_without_a_patient_is_its_own_unit() -> None:
    cohort = chest_cohort({"train": 3}, size=32)
    assert len(np.unique(scorecard.owners(cohort))) == 3
    cohort.patient_key[:] = "0" * 32
    assert len(np.unique(scorecard.owners(cohort))) == len(cohort)


def test_numbers_are_rounded_and_never_nan() -> None:
    assert scorecard.rounded({"a": (1 / 3, float("nan")), "b": np.float32(2)}) == {"a": [0.333333, None], "b": 2.0}
