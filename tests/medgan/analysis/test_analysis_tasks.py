"""Diagnosis, retrieval and anomaly on features whose truth is known."""

from __future__ import annotations

import numpy as np
import pytest

from medgan.analysis import anomaly, diagnose, retrieve
from medgan.errors import UsageError

FAR = 3.0


def clusters(count: int = 60, *, far: float = FAR, classes: int = 3, seed: int = 0):
    """Features [N, 12] of `classes` clusters, labels [N], and owners with two images each."""
    rng = np.random.default_rng(seed)
    label = np.arange(count) // 2 % classes
    centre = np.random.default_rng(9).normal(size=(classes, 12))
    features = far * centre[label] + rng.normal(size=(count, 12))
    return features, label, np.array([f"p{i // 2}" for i in range(count)])


def test_a_diagnosis_tells_classes_apart_on_patients_it_did_not_see() -> None:
    model, figures = diagnose.fit(*clusters(), classes=3, keep=8)
    features, label, _ = clusters(300, seed=1)
    shares = model.probabilities(features)
    np.testing.assert_allclose(shares.sum(axis=1), 1)
    assert (shares.argmax(axis=1) == label).mean() > 0.9 and figures["auc"] > 0.9
    assert figures["accuracy"] > figures["largest_class"]


def test_probabilities_of_features_without_meaning_are_those_of_chance(monkeypatch: pytest.MonkeyPatch) -> None:
    """A model that learned by heart is sure of itself until held-out patients set its temperature."""
    monkeypatch.setattr(diagnose, "STRENGTHS", (1000.0,))
    features, label, owners = clusters(80, far=0.0)
    model, figures = diagnose.fit(features, label, owners, classes=3, keep=12)
    fresh, truth, _ = clusters(600, far=0.0, seed=5)
    shares = model.probabilities(fresh)
    error = diagnose.calibration_error(shares.max(axis=1), shares.argmax(axis=1) == truth)
    assert error < 0.12 and shares.max() < 0.75 and figures["auc"] < 0.7


def test_two_classes_and_a_class_without_images_are_diagnosed_too() -> None:
    features, label, owners = clusters(40, classes=2)
    model, _ = diagnose.fit(features, label * 2, owners, classes=3, keep=8)
    shares = model.probabilities(features)
    assert (shares.argmax(axis=1) == label * 2).mean() > 0.9 and shares[:, 1].max() < 1e-3


def test_one_class_is_no_diagnosis() -> None:
    features, label, owners = clusters(20)
    with pytest.raises(UsageError, match="two are needed"):
        diagnose.fit(features, label * 0, owners, classes=3, keep=4)


@pytest.mark.parametrize(
    ("confidence", "right", "error"),
    [([0.95] * 4, [1, 1, 1, 1], 0.05), ([0.95] * 4, [1, 1, 0, 0], 0.45), ([0.55, 0.55], [1, 0], 0.05)],
    ids=["sure and right", "sure and wrong", "unsure"],
)
def test_calibration_error_is_the_gap_of_confidence_and_accuracy(confidence, right, error) -> None:
    found = diagnose.calibration_error(np.array(confidence), np.array(right, bool))
    assert found == pytest.approx(error)


def test_a_known_image_is_its_own_nearest_neighbour_and_classes_stand_together() -> None:
    features, label, owners = clusters()
    index, figures = retrieve.fit(features, label, owners, keep=8)
    places, cosines = index.neighbours(features, 3)
    assert places[:, 0].tolist() == list(range(60)) and cosines[:, 0] == pytest.approx(1)
    assert (np.diff(cosines, axis=1) <= 0).all()
    assert figures["precision_at_5"] > 0.9 > figures["by_chance"]


def test_a_patients_other_image_does_not_count_for_the_precision() -> None:
    """Twins of one patient and otherwise noise: precision is that of chance."""
    rng = np.random.default_rng(0)
    features = np.repeat(rng.normal(size=(60, 12)), 2, axis=0) + 1e-6 * rng.normal(size=(120, 12))
    label = np.repeat(rng.integers(0, 2, 60), 2)
    _, figures = retrieve.fit(features, label, np.repeat(np.arange(60), 2).astype("U3"), keep=12)
    assert abs(figures["precision_at_5"] - figures["by_chance"]) < 0.12


def test_more_neighbours_than_there_are_is_wrong_usage() -> None:
    index, _ = retrieve.fit(*clusters(20), keep=4)
    with pytest.raises(UsageError, match="21 neighbours"):
        index.neighbours(np.zeros((1, 12)), 21)


def test_what_is_unlike_the_normal_ones_is_farther_out_than_fresh_normal_ones() -> None:
    features, label, owners = clusters(120)
    model, figures = anomaly.fit(features, label == 0, owners)
    fresh, truth, _ = clusters(300, seed=1)
    distances = model.distances(fresh)
    assert np.median(distances[truth != 0]) > np.quantile(distances[truth == 0], 0.9)
    assert figures["auc"] > 0.9


def test_the_share_of_normal_ones_as_far_out_is_honest_for_fresh_normal_ones() -> None:
    """With more features than images, those the model learned from lie nearer than any fresh one."""
    images = np.random.default_rng(0).normal(size=(460, 100)) * np.linspace(0.1, 3, 100)
    owners = np.array([f"p{i // 2}" for i in range(60)])
    model, _ = anomaly.fit(images[:60], np.ones(60, bool), owners)
    shares = model.shares(model.distances(images[60:]))
    assert 0.3 < shares.mean() < 0.75 and shares.min() > 0
    assert model.shares(np.array([1e9]))[0] == pytest.approx(1 / 61)
