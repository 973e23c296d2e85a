"""Windows, ranges, and how a picture is squared."""

import numpy as np
import pytest

from medgan.errors import StudyRejected
from medgan.volume.crop import centre_of, cut, evenly, inside_square, pad_square
from medgan.volume.intensity import robust_range, window


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(3).random(shape, dtype=np.float32)


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
    assert evenly(count, wanted, 0.6) == indices


def test_a_block_is_cut_around_the_middle_of_the_body_and_padded_where_the_volume_ends() -> None:
    volume = np.zeros((4, 40, 30), np.float32)
    volume[:, 30:36, 5:9] = 1
    middle = centre_of(volume > 0.5)
    assert middle == (2, 32, 6)
    block = cut(volume, middle, (8, 16, 16), -1.0)
    assert block.shape == (8, 16, 16) and (block[:2] == -1).all() and (block[6:] == -1).all()
    assert block[2:6].sum() == volume.sum() and (block[2:6] >= 0).all()


def test_without_a_body_the_middle_of_the_grid_is_taken() -> None:
    assert centre_of(np.zeros((4, 6, 8), bool)) == (2, 3, 4)


@pytest.mark.parametrize(("length", "wanted", "middle"), [(10, 4, 0), (10, 4, 9), (10, 10, 5), (3, 8, 1), (9, 4, 4)])
def test_a_block_holds_as_much_of_the_array_as_fits(length: int, wanted: int, middle: int) -> None:
    line = np.arange(1, length + 1, dtype=np.float32)
    block = cut(line, (middle,), (wanted,), 0.0)
    kept = block[block > 0]
    assert len(kept) == min(length, wanted) and (np.diff(kept) == 1).all()
    if length > wanted and wanted // 2 <= middle <= length - wanted // 2:
        assert block[wanted // 2] == line[middle]
