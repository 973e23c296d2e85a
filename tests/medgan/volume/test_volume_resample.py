import numpy as np
import pytest
from scipy.ndimage import zoom

from medgan.errors import StudyRejected
from medgan.volume.crop import evenly, inside_square, pad_square
from medgan.volume.geometry import Geometry, Volume
from medgan.volume.intensity import robust_range, window
from medgan.volume.resample import resample, resize, resize_padded, weights


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(3).random(shape, dtype=np.float32)


@pytest.mark.parametrize("before", [1, 2, 7, 64, 100])
@pytest.mark.parametrize("after", [1, 3, 64, 128])
def test_weights_add_up_to_one_and_keep_a_ramp_a_ramp(before: int, after: int) -> None:
    matrix = weights(before, after)
    assert np.allclose(matrix.sum(axis=1), 1, atol=1e-6)
    ramp = matrix @ ((np.arange(before) + 0.5) / before)
    inner = slice(after // 4, max(after // 4 + 1, 3 * after // 4))
    if before > 4 * max(1, before // after):
        assert np.allclose(ramp[inner], ((np.arange(after) + 0.5) / after)[inner], atol=0.1 / before)


def test_up_sampling_equals_scipy_on_pixel_edges() -> None:
    picture = noise(9, 7)
    wanted = zoom(picture, (3, 2), order=1, mode="nearest", grid_mode=True)
    assert np.abs(resize(picture, 27, 14) - wanted).max() < 1e-5


@pytest.mark.parametrize("width", [96, 128, 160])
def test_down_sampling_does_not_alias(width: int) -> None:
    stripes = np.tile(np.array([0, 1], np.float32), width // 2)[None].repeat(width, 0)
    assert np.abs(resize(stripes, 32, 32)[:, 1:-1] - 0.5).max() < 0.06


def test_the_same_size_is_the_same_picture() -> None:
    picture = noise(16, 16)
    assert np.array_equal(resize(picture, 16, 16), picture)


def test_padding_does_not_bleed_into_what_is_kept() -> None:
    picture = np.full((32, 32), 100, np.float32)
    padding = np.zeros((32, 32), bool)
    padding[:, :11] = True
    picture[padding] = -2000
    small, outside = resize_padded(picture, padding, 8, 8)
    assert outside is not None and outside[:, :2].all() and not outside[:, 3:].any()
    assert np.allclose(small[~outside], 100, atol=1e-3)


@pytest.mark.parametrize("shape", [(8, 20, 15), (4, 5, 5), (2, 40, 30)])
def test_resampling_keeps_places(shape: tuple[int, int, int]) -> None:
    axes = ((0.0, 0.0, 1.0), (0.0, 1.0, 0.0), (1.0, 0.0, 0.0))
    there = Geometry((4, 10, 15), (3.0, 1.0, 2.0), (5.0, -3.0, 10.0), axes)
    place = (
        np.einsum("ij,j...->i...", there.affine[:3, :3], np.indices(there.shape))
        + there.affine[:3, 3, None, None, None]
    )
    for axis in range(3):
        volume = resample(Volume(place[axis].astype(np.float32), there), shape)
        grid = volume.geometry
        wanted = (
            np.einsum("ij,j...->i...", grid.affine[:3, :3], np.indices(shape)) + grid.affine[:3, 3, None, None, None]
        )
        inside = np.abs(wanted[axis] - place[axis].mean()) < np.ptp(place[axis]) / 4
        assert np.allclose(volume.voxels[inside], wanted[axis][inside], atol=1e-3)


def test_a_window_clamps_and_a_blank_picture_is_refused() -> None:
    assert window(np.array([-2000, -300, 400, 3000], np.float32), -1000, 400).tolist() == [-1, 0, 1, 1]
    for blank in (np.ones((8, 8), np.float32), np.full((8, 8), np.nan, np.float32), np.ones(1, np.float32)):
        with pytest.raises(StudyRejected, match="blank"):
            robust_range(blank)


def test_the_range_ignores_padding_and_single_outliers() -> None:
    picture = noise(64, 64)
    picture[0, :5] = 1000
    padding = np.zeros((64, 64), bool)
    padding[32:] = True
    picture[padding] = -500
    low, high = robust_range(picture, padding)
    assert 0 <= low < 0.05 and 0.95 < high <= 1


def test_a_picture_keeps_its_aspect_in_a_square() -> None:
    assert inside_square(300.0, 150.0, 64) == (64, 32)
    square = pad_square(np.ones((64, 32), np.float32), 64, -1)
    assert square.shape == (64, 64) and (square[:, 16:48] == 1).all() and square.sum() == 0


@pytest.mark.parametrize(
    ("count", "wanted", "indices"), [(10, 3, [3, 5, 7]), (3, 3, [0, 1, 2]), (1, 3, [0]), (100, 1, [50]), (2, 5, [0, 1])]
)
def test_slices_are_spread_over_the_middle(count: int, wanted: int, indices: list[int]) -> None:
    assert evenly(count, wanted) == indices
