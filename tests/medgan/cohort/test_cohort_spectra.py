"""Power, projections, similarity and the linear classifier against what is known in closed form."""

from __future__ import annotations

import numpy as np
import pytest

from medgan.cohort import ridge, similarity, spectra, two_sample


def noise(*shape: int, seed: int = 0, scale: float = 1.0) -> np.ndarray:
    return (scale * np.random.default_rng(seed).standard_normal(shape)).astype(np.float32)


def test_power_of_a_wave_is_in_its_own_ring() -> None:
    wave = np.sin(2 * np.pi * np.arange(32) * 8 / 32)[None, :] * np.ones((32, 1))
    power = spectra.log_power(wave[None, None, None].astype(np.float32))[0]
    assert power.shape == (8,)
    assert power.argmax() == 4  # 8 / 32 cycles a pixel, in rings of 1 / 16
    assert np.sort(power)[-2] < power.max() - 5


@pytest.mark.parametrize("shape", [(3, 1, 1, 32, 32), (3, 1, 16, 16, 16), (3, 2, 5, 20, 12)])
def test_white_noise_is_flat_and_twice_as_strong_is_log_four_away(shape: tuple[int, ...]) -> None:
    one, other = noise(*shape), noise(*shape) * 2
    power = spectra.log_power(np.concatenate([noise(*shape, seed=s) for s in range(20)]))
    assert np.ptp(power.mean(axis=0)) < 0.6
    assert spectra.power_distance(spectra.log_power(one), spectra.log_power(other)) == pytest.approx(
        np.log(4), abs=1e-3
    )


def test_a_picture_of_one_grey_has_finite_power() -> None:
    assert np.isfinite(spectra.log_power(np.zeros((1, 1, 1, 16, 16), np.float32))).all()


@pytest.mark.parametrize("shape", [(1, 1, 32, 32), (1, 8, 17, 24)])
def test_levels_hold_the_whole_picture_between_them(shape: tuple[int, ...]) -> None:
    images = noise(4, *shape)
    found = spectra.levels(images)
    assert len(found) == 3
    assert found[-1].shape[1] < images[0].size / 10
    back = spectra._doubled(
        found[-1].reshape(spectra._halved(spectra._halved(images)).shape), spectra._halved(images).shape
    ) + found[1].reshape(spectra._halved(images).shape)
    assert np.allclose(spectra._doubled(back, images.shape) + found[0].reshape(images.shape), images, atol=1e-5)


def test_sliced_distance_of_moved_points_is_how_far_they_moved() -> None:
    a = [np.random.default_rng(0).normal(size=(500, 128))]
    assert spectra.sliced_distance(a, [a[0][::-1]], [1.0]) == 0
    assert spectra.sliced_distance(a, [a[0] + 3], [2.0]) == pytest.approx(1.5)


def test_directions_are_the_same_in_chunks_of_any_size(monkeypatch: pytest.MonkeyPatch) -> None:
    images = noise(5, 1, 1, 16, 16)
    whole = spectra.projected(images, seed=1)
    monkeypatch.setattr(spectra, "AT_ONCE", 1000)
    assert all(np.allclose(a, b) for a, b in zip(whole, spectra.projected(images, seed=1), strict=True))


@pytest.mark.parametrize("shape", [(1, 1, 64, 64), (1, 12, 20, 20), (1, 1, 100, 80), (2, 1, 9, 9)])
def test_a_picture_is_wholly_like_itself_and_less_like_another(shape: tuple[int, ...]) -> None:
    one, other = noise(6, *shape, scale=0.3), noise(6, *shape, seed=1, scale=0.3)
    assert similarity.ms_ssim(one, one) == pytest.approx(1, abs=1e-5)
    apart, nearer = similarity.ms_ssim(one, other), similarity.ms_ssim(one, one + 0.2 * other)
    assert (apart < nearer).all() and (nearer < 1).all()
    assert np.allclose(similarity.ms_ssim(other, one), apart, atol=1e-6)


def test_pairs_are_of_two_patients() -> None:
    owner = np.repeat(np.arange(5), 4)
    chosen = similarity.pairs(owner, np.random.default_rng(0))
    assert len(chosen) == similarity.PAIRS
    assert (owner[chosen[:, 0]] != owner[chosen[:, 1]]).all()
    assert len(similarity.pairs(np.zeros(5), np.random.default_rng(0))) == 0


def test_one_law_is_not_told_apart_and_two_are() -> None:
    rng = np.random.default_rng(0)
    real, owner = rng.normal(size=(200, 8)), np.repeat(np.arange(100), 2)
    same = [two_sample.told_apart(real, rng.normal(size=(200, 8)), owner, np.random.default_rng(s)) for s in range(5)]
    assert 0.4 < np.mean(same) < 0.6
    assert two_sample.told_apart(real, rng.normal(size=(200, 8)) + 2, owner, np.random.default_rng(0)) > 0.95


def test_a_patient_who_is_on_both_sides_of_a_fold_would_be_recognised() -> None:
    """Pictures of one patient are equal here: a fold that split a patient would find every picture again."""
    owner = np.repeat(np.arange(40), 5)
    for mask in two_sample.folds(owner, 30, np.random.default_rng(0)):
        assert not set(owner[mask[:200]]) & set(owner[~mask[:200]])
    assert np.sum(two_sample.folds(owner, 30, np.random.default_rng(0)), axis=0).tolist() == [1] * 230


def test_a_network_tells_spoiled_pictures_apart() -> None:
    smooth = np.repeat(np.repeat(noise(60, 1, 1, 4, 4, scale=0.3), 4, axis=3), 4, axis=4)
    rng = np.random.default_rng(0)
    found = two_sample.told_apart_by_network(
        smooth, noise(60, 1, 1, 16, 16, seed=2, scale=0.3), np.arange(60), rng, steps=15, seed=0
    )
    assert found > 0.9


def test_classes_that_were_never_taught_score_one_half() -> None:
    rng = np.random.default_rng(0)
    label = rng.integers(3, size=300)
    features = rng.normal(size=(300, 4)) + 3 * label[:, None]
    assert ridge.class_auc((features, label), (features, label), 3) > 0.8
    assert ridge.class_auc((features, label * 0), (features, label), 3) == 0.5
    assert np.isnan(ridge.class_auc((features, label), (features, label * 0), 3))
