"""Pooled and whitened features of a discriminator."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from medgan.analysis.features import folds, packed, pooled, unpacked, whitening
from medgan.errors import CorruptArtefact, UsageError
from medgan.gan.networks import Design, build_discriminator


def network(shape: tuple[int, int, int, int] = (1, 1, 16, 16)):
    return build_discriminator(Design(shape=shape, num_classes=2, widths=(16, 8), head=2), torch.Generator()).eval()


def noise(count: int, *shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-1, 1, (count, *shape)).astype(np.float32)


@pytest.mark.parametrize("shape", [(1, 1, 16, 16), (1, 16, 16, 16)], ids=["pictures", "volumes"])
def test_each_image_has_mean_and_spread_of_every_map_and_the_last_vector(shape: tuple[int, int, int, int]) -> None:
    features = pooled(network(shape), noise(3, *shape))
    assert features.shape == (3, 2 * (8 + 16) + 16) and np.isfinite(features).all()


def test_an_images_features_do_not_depend_on_its_neighbours() -> None:
    eyes, images = network(), noise(70, 1, 1, 16, 16)
    together = pooled(eyes, images)
    np.testing.assert_allclose(together[65:68], pooled(eyes, images[65:68]), rtol=1e-5, atol=1e-6)


def test_images_of_another_grid_are_refused() -> None:
    with pytest.raises(UsageError, match="1x1x8x8.*1x1x16x16"):
        pooled(network(), noise(2, 1, 1, 8, 8))


def test_whitened_features_have_unit_variance_and_no_correlation() -> None:
    rng = np.random.default_rng(1)
    turn, _ = np.linalg.qr(rng.normal(size=(6, 6)))
    mixed = (rng.normal(size=(4000, 6)) * [1, 2, 3, 1, 1, 0.5]) @ turn * [1, 10, 100, 1, 1, 0.01] + 7
    white = whitening(mixed)(mixed)
    np.testing.assert_allclose(np.cov(white.T), np.eye(6), atol=0.05)
    np.testing.assert_allclose(white.mean(axis=0), 0, atol=1e-9)


def test_few_images_of_many_features_are_shrunk_not_blown_up() -> None:
    x = np.random.default_rng(2).normal(size=(12, 300))
    fresh = np.random.default_rng(3).normal(size=(200, 300))
    assert whitening(x, keep=5)(x).shape == (12, 5)
    assert np.linalg.norm(whitening(x)(fresh), axis=1).mean() < 3 * np.sqrt(300)


def test_a_constant_feature_says_nothing_and_harms_nothing() -> None:
    x = np.random.default_rng(4).normal(size=(50, 3))
    x[:, 1] = 5.0
    assert np.isfinite(whitening(x)(x)).all()


def test_no_patient_is_on_both_sides_of_a_fold() -> None:
    owners = np.array(list("aabbccddeeff"))
    for learn, look in folds(owners):
        assert set(owners[learn]).isdisjoint(owners[look])
    with pytest.raises(UsageError, match="one patient"):
        folds(np.array(["a", "a"]))


def test_arrays_come_back_and_damaged_or_other_ones_do_not() -> None:
    arrays = {"mean": np.arange(3.0), "label": np.array([1, 2])}
    data = packed(arrays)
    assert data == packed(dict(reversed(arrays.items())))
    back = unpacked(data, ("mean", "label"))
    assert back["mean"].tolist() == [0, 1, 2] and back["label"].dtype == np.int64
    for bad, names in ((data[:20], ("mean", "label")), (data, ("mean",))):
        with pytest.raises(CorruptArtefact):
            unpacked(bad, names)
