"""Every figure moves its expected way when pictures are spoiled, and what it is blind to leaves it where it was."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from scipy import ndimage
from toy_chest import chest_films

from medgan.cohort import corruption, features, likeness, suite

Moved = dict[str, dict[str, tuple[float, float]]]
TABLE = [(kind, figure, way) for kind, figures in corruption.EXPECTED.items() for figure, way in figures.items()]
SEED = 3


@pytest.fixture(scope="module")
def moved() -> Moved:
    images, label, owner = chest_films(120, size=32, seed=SEED)
    look = looking(images, label)
    reals = suite.seen(images, label, owner, look(images), seed=SEED)
    return corruption.moved(reals, look, 3, seed=SEED)


def looking(images: np.ndarray, label: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    network = features.eyes(images, label, int(label.max()) + 1, steps=40, seed=SEED)[0]
    return lambda some: features.features(network, some)


@pytest.mark.parametrize(("kind", "figure", "way"), TABLE, ids=lambda value: str(value))
def test_each_figure_moves_its_way(moved: Moved, kind: str, figure: str, way: int) -> None:
    clean, spoiled = moved[kind][figure]
    assert (spoiled - clean) * way > 0


def test_every_figure_and_every_corruption_is_in_the_table() -> None:
    assert {figure for _, figure, _ in TABLE} == {*suite.IN_FEATURES, *suite.IN_PICTURES}
    assert {kind for kind, _, _ in TABLE} == set(corruption.KINDS)


@pytest.mark.parametrize("figure", [name for name in (*suite.IN_FEATURES, *suite.IN_PICTURES) if name != "class_auc"])
def test_only_what_reads_labels_sees_wrong_ones(moved: Moved, figure: str) -> None:
    clean, spoiled = moved["mislabelled"][figure]
    assert spoiled == clean


@pytest.mark.parametrize("figure", ["precision", "recall", "coverage", "swd", "log_psd"])
def test_copies_look_better_than_honest_pictures_to_these(moved: Moved, figure: str) -> None:
    clean, spoiled = moved["copies"][figure]
    assert spoiled < clean if figure in ("swd", "log_psd") else spoiled >= clean


def test_precision_does_not_see_missing_modes(moved: Moved) -> None:
    clean, spoiled = moved["few_modes"]["precision"]
    assert spoiled >= clean - 0.05


def test_a_figure_that_stands_still_or_goes_the_wrong_way_fails_its_check(moved: Moved) -> None:
    assert not likeness.failures(corruption.checks(moved))
    still = {**moved, "blur": {**moved["blur"], "swd": (0.2, 0.2)}}
    wrong = {**moved, "copies": {**moved["copies"], "authenticity": (0.4, 0.6)}}
    assert ["swd" in text and "blur" in text for text in likeness.failures(corruption.checks(still))] == [True]
    assert ["authenticity" in text for text in likeness.failures(corruption.checks(wrong))] == [True]


def test_labels_that_teach_nothing_are_not_held_against_the_suite(moved: Moved) -> None:
    dull = {"mislabelled": {"class_auc": (0.55, 0.56)}}
    assert [row["ok"] for row in corruption.checks(dull)] == [None]
    assert likeness.failures(corruption.checks(dull)) == []


def test_too_few_pictures_are_not_checked_and_one_class_only_partly() -> None:
    images, label, owner = chest_films(60, size=32, seed=5, films=(2, 2))
    look = looking(images, label)
    few = suite.seen(images[:60], label[:60], owner[:60], look(images[:60]), seed=SEED)
    assert corruption.moved(few, look, 3, seed=SEED) == {}
    same = suite.seen(images, np.zeros_like(label), owner, look(images), seed=SEED)
    assert set(corruption.moved(same, look, 1, seed=SEED, kinds=("copies", "mislabelled"))) == {"copies"}


def test_volumes_are_measured_too_and_twice_alike() -> None:
    rng = np.random.default_rng(0)
    label = np.arange(100).astype(np.uint16) % 2
    volumes = ndimage.gaussian_filter(rng.normal(size=(100, 1, 8, 24, 24)), (0, 0, 1, 1, 1)).astype(np.float32)
    volumes[label == 1, :, :, 8:16, 8:16] += 0.4
    owner = np.arange(100) // 2
    look = looking(volumes, label)
    found = [
        corruption.moved(
            suite.seen(volumes, label, owner, look(volumes), seed=SEED), look, 2, seed=SEED, kinds=("blur", "faded")
        )
        for _ in range(2)
    ]
    assert found[0] == found[1]
    for kind, figure in (("blur", "log_psd"), ("blur", "swd"), ("faded", "ms_ssim_gap"), ("blur", "fd")):
        clean, spoiled = found[0][kind][figure]
        assert spoiled > clean, (kind, figure)
