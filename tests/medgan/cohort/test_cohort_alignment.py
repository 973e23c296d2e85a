"""A copy is near whatever was done to it; another patient is not; members are not favoured."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage
from toy_chest import chest_films

from medgan.cohort import treatments
from medgan.cohort.alignment import distances


@pytest.fixture(scope="module")
def films() -> np.ndarray:
    return chest_films(90, size=32, seed=3, films=(1, 1))[0]


@pytest.mark.parametrize(
    ("change", "most"),
    [
        (lambda x: x, 0.01),
        (lambda x: x[..., ::-1].copy(), 0.01),
        (lambda x: -x, 0.01),
        (lambda x: 0.5 * x - 0.2, 0.01),
        (lambda x: np.roll(x, (2, -1), (-2, -1)), 0.6),
        (lambda x: ndimage.gaussian_filter(x, (0, 0, 0, 0.6, 0.6)), 0.5),
        (lambda x: x + 0.05 * np.random.default_rng(0).normal(size=x.shape).astype(np.float32), 0.6),
    ],
    ids=["verbatim", "mirrored", "inverted", "rewindowed", "shifted", "blurred", "noisy"],
)
def test_a_changed_copy_is_nearest_to_its_own_original(films: np.ndarray, change: object, most: float) -> None:
    far = distances(films, change(films[:12]))  # type: ignore[operator]
    own = far[np.arange(12), np.arange(12)]
    assert (far.argmin(axis=0) == np.arange(12)).all()
    assert own.max() < most
    assert np.median(far) > 0.6


def test_the_order_of_the_real_pictures_does_not_matter(films: np.ndarray) -> None:
    """Members and non-members are treated alike: swapping their places only swaps the rows."""
    order = np.random.default_rng(0).permutation(len(films))
    straight, shuffled = distances(films, films[:5] * 0.5), distances(films[order], films[:5] * 0.5)
    assert np.abs(straight[order] - shuffled).max() < 5e-3


def test_volumes_are_compared_too() -> None:
    rng = np.random.default_rng(0)
    volumes = np.stack([ndimage.gaussian_filter(rng.normal(size=(8, 16, 16)), 1.5) for _ in range(12)])[:, None]
    volumes = (volumes / np.abs(volumes).max()).astype(np.float32)
    far = distances(volumes, np.roll(volumes, 1, -1))
    assert (far.argmin(axis=0) == np.arange(12)).all()


def test_treatments_keep_shape_range_and_seed(films: np.ndarray) -> None:
    for pictures in (films, np.repeat(films[:3], 4, axis=2)):
        once, again = (treatments.treated(pictures, np.random.default_rng(5)) for _ in range(2))
        assert once.shape == pictures.shape
        assert once.dtype == np.float32
        assert np.abs(once).max() <= 1
        assert np.array_equal(once, again)
    assert treatments.treated(films[:0], np.random.default_rng(0)).shape[0] == 0


@pytest.mark.parametrize("kind", treatments.KINDS, ids=lambda kind: kind.__name__)
def test_every_treatment_changes_the_picture(kind: object, films: np.ndarray) -> None:
    changed = kind(films[0], np.random.default_rng(1))  # type: ignore[operator]
    assert changed.shape == films[0].shape
    assert np.abs(changed - films[0]).mean() > 0.005
