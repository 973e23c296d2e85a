"""Figures of pictures: what spoils a picture moves its figure, and which way up it lies does not matter."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from medgan.cohort.quality import FIGURES, limits, measure, outliers, robust_z, unusable

NAMES = {figure.name: figure for figure in FIGURES}


def pictures(count: int = 4, side: int = 48, *, seed: int = 0, dtype: str = "uint8") -> np.ndarray:
    """Bodies on a dark background with some texture in them: [N, 1, 1, side, side]."""
    chance = np.random.default_rng(seed)
    rows, columns = np.mgrid[:side, :side] / side - 0.5
    made = []
    for _ in range(count):
        body = (rows / chance.uniform(0.3, 0.45)) ** 2 + (columns / chance.uniform(0.3, 0.45)) ** 2 < 1
        texture = ndimage.gaussian_filter(chance.normal(size=(side, side)), 1.5) * 0.5
        made.append(np.where(body, np.clip(0.5 + texture, 0.05, 0.95), 0.0))
    top = np.iinfo(dtype).max
    return np.rint(np.stack(made)[:, None, None] * top).astype(dtype)


def changed(images: np.ndarray, change: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    pages = np.stack([change(page[0, 0].astype(float)) for page in images])
    return np.clip(np.rint(pages), 0, 255).astype(np.uint8)[:, None, None]


@given(st.integers(0, 1000), st.integers(0, 3), st.booleans(), st.sampled_from(["uint8", "uint16"]))
@settings(max_examples=20, deadline=None)
def test_a_picture_turned_or_mirrored_has_the_same_figures(seed: int, turns: int, mirror: bool, dtype: str) -> None:
    images = pictures(2, seed=seed, dtype=dtype)
    turned = np.rot90(images[..., ::-1] if mirror else images, turns, axes=(-2, -1)).copy()
    before, after = measure(images), measure(turned)
    assert all(np.allclose(before[name], after[name], rtol=1e-5, atol=1e-6) for name in NAMES)


@given(st.integers(0, 1000), st.floats(4, 20))
@settings(max_examples=20, deadline=None)
def test_noise_lowers_the_signal_to_noise_ratio(seed: int, sigma: float) -> None:
    images, chance = pictures(2, seed=seed), np.random.default_rng(seed)
    noisy = changed(images, lambda page: page + chance.normal(0, sigma, page.shape))
    noisier = changed(images, lambda page: page + chance.normal(0, 2 * sigma, page.shape))
    assert (measure(images)["snr"] > measure(noisy)["snr"]).all()
    assert (measure(noisy)["snr"] > measure(noisier)["snr"]).all()


@pytest.mark.parametrize("sigma", [5.0, 10.0])
def test_the_noise_is_measured_in_its_own_unit(sigma: float) -> None:
    chance = np.random.default_rng(0)
    tissue = np.linspace(110, 190, 96)[None] + np.where(np.arange(96) < 48, 0, 30)[:, None]
    tissue -= 40 * (np.add.outer(np.arange(96), np.arange(96)) % 24 < 12)  # slanting edges, which are not noise
    noisy = np.clip(np.rint(tissue + chance.normal(0, sigma, (96, 96))), 0, 255).astype(np.uint8)
    noisy[:, :8] = 0
    wanted = 20 * np.log10(tissue[:, 8:].mean() / sigma)
    assert measure(noisy[None, None, None])["snr"] == pytest.approx(wanted, abs=0.5)


@given(st.integers(0, 1000), st.floats(0.7, 2.5))
@settings(max_examples=20, deadline=None)
def test_blurring_raises_the_blur(seed: int, sigma: float) -> None:
    images = pictures(2, seed=seed)
    soft = changed(images, lambda page: ndimage.gaussian_filter(page, sigma))
    softer = changed(images, lambda page: ndimage.gaussian_filter(page, 1.6 * sigma))
    assert (measure(images)["blur"] < measure(soft)["blur"]).all()
    assert (measure(soft)["blur"] < measure(softer)["blur"]).all()


@given(st.integers(0, 1000), st.floats(1.3, 3.0))
@settings(max_examples=20, deadline=None)
def test_saturation_raises_what_is_clipped(seed: int, gain: float) -> None:
    images = pictures(2, seed=seed)
    for bright in (changed(images, lambda page: page * gain * 1.5), changed(images, lambda page: (page - 110) * gain)):
        assert (measure(bright)["clipped"] > measure(images)["clipped"] + 0.002).all()


def test_a_dark_background_is_not_clipped() -> None:
    assert (measure(pictures())["clipped"] < 0.002).all()


@pytest.mark.parametrize("turns", range(4))
def test_a_dark_bay_is_not_clipped_and_a_dark_hole_is(turns: int) -> None:
    bay = np.full((32, 32), 100, np.uint8)
    bay[:20, 10:20] = 0
    hole = np.roll(bay, 5, axis=0)
    bay, hole = np.rot90(bay, turns), np.rot90(hole, turns)
    assert measure(bay[None, None, None])["clipped"] == 0
    assert measure(hole[None, None, None])["clipped"] == pytest.approx(200 / 1024)


def test_a_pedestal_is_no_signal() -> None:
    images = pictures() // 2
    assert np.allclose(measure(images + np.uint8(90))["snr"], measure(images)["snr"], atol=0.1)


def test_less_contrast_is_less_contrast_and_nothing_else() -> None:
    images = pictures(dtype="uint16")
    faint, full = measure(images // 2), measure(images)
    assert np.allclose(faint["contrast"], full["contrast"] / 2, atol=0.002)
    for name in ("foreground", "clipped", "blur", "snr"):
        assert np.allclose(faint[name], full[name], rtol=0.02, atol=0.01), name


def test_the_range_of_the_integers_does_not_matter() -> None:
    images = pictures()
    images[0] = np.where(images[0] > 0, 200, 0)  # no noise but that of rounding
    narrow, wide = measure(images), measure(images.astype(np.uint16) * 257)
    assert all(np.allclose(narrow[name], wide[name], atol=1e-3) for name in NAMES)


def test_a_volume_is_the_sum_of_its_slices() -> None:
    images = pictures(6)
    volume = images[:, :, 0].transpose(1, 0, 2, 3)[None]
    one, many = measure(volume), measure(images)
    for name in ("blank", "clipped"):
        assert one[name] == pytest.approx(many[name].mean())


def test_a_picture_is_measured_alike_in_any_company() -> None:
    images = pictures(9)
    whole, alone = measure(images), measure(images[4:5])
    assert all(np.allclose(whole[name][4], alone[name][0], rtol=1e-5) for name in NAMES)
    assert all(len(column) == 0 for column in measure(images[:0]).values())


SPOILT = {
    "black": np.zeros((32, 32)),
    "grey": np.full((32, 32), 90),
    "white": np.full((32, 32), 255),
    "faint noise": np.random.default_rng(0).integers(0, 4, (32, 32)),
    "a speck": np.eye(32) * (np.arange(32) < 3) * 255,
    "saturated": np.where(np.arange(32) < 20, 255, 100)[None].repeat(32, 0),
}


@pytest.mark.parametrize("name", SPOILT)
def test_a_spoilt_picture_is_refused_and_every_figure_is_finite(name: str) -> None:
    picture = SPOILT[name].astype(np.uint8)[None, None, None]
    assert unusable(picture, min_foreground=0.005, max_clipped=0.5).tolist() == [True]
    assert all(np.isfinite(column).all() for column in measure(picture).values())


def test_pictures_of_bodies_are_not_refused() -> None:
    assert not unusable(pictures(20), min_foreground=0.005, max_clipped=0.5).any()


def test_limits_of_nothing_and_all_refuse_nothing() -> None:
    spoilt = np.stack([one.astype(np.uint8) for one in SPOILT.values()])[:, None, None]
    assert not unusable(spoilt, min_foreground=0.0, max_clipped=1.0).any()


def test_the_picture_that_stands_apart_is_named_in_its_figure() -> None:
    images = pictures(40)
    images[7] = changed(images[7:8], lambda page: ndimage.gaussian_filter(page, 6))[0]
    columns = measure(images)
    found = outliers(columns, 6.0)
    assert found[0].row == 7 and (7, "blur") in {(one.row, one.figure) for one in found}
    assert not outliers(columns, 1e9)
    for one in found:
        low, high = limits(columns[one.figure], NAMES[one.figure], 6.0)
        assert (low is not None and one.value < low) or (high is not None and one.value > high)


def test_only_the_worse_side_counts() -> None:
    columns = {name: np.zeros(20) for name in NAMES}
    columns["blur"][3], columns["snr"][4], columns["foreground"][5] = -9, 90, -9
    assert [(one.row, one.figure) for one in outliers(columns, 5.0)] == [(5, "foreground")]


@given(st.floats(-5, 5), st.floats(0.1, 9))
def test_a_robust_distance_follows_shift_and_scale(shift: float, scale: float) -> None:
    column = np.random.default_rng(0).normal(size=50)
    assert np.allclose(robust_z(column * scale + shift, 0.0), robust_z(column, 0.0))


def test_nearly_equal_values_are_no_outliers() -> None:
    column = np.array([0.5] * 30 + [0.51])
    assert abs(robust_z(column, 0.02)).max() == pytest.approx(0.5)
