"""What is drawn over a box: the surroundings, in integers, and nothing else changes."""

import numpy as np
import pytest

from medgan.deid.pixels.detect import Box
from medgan.deid.pixels.pixels import fill

BOXES = [
    pytest.param([Box(20, 20, 30, 50)], id="inside"),
    pytest.param([Box(0, 0, 12, 40)], id="in a corner"),
    pytest.param([Box(10, 10, 20, 40), Box(15, 30, 40, 60)], id="overlapping"),
    pytest.param([Box(10, 10, 20, 40), Box(20, 10, 30, 40), Box(60, 1, 64, 64)], id="touching, and at the end"),
]


def ramp(dtype: str) -> np.ndarray:
    y, x = np.mgrid[0:64, 0:64]
    return (500 + 8 * x + 3 * y).astype(dtype)


@pytest.mark.parametrize("boxes", BOXES)
@pytest.mark.parametrize("dtype", ["<u2", "<i2", "<i4"])
def test_a_box_takes_the_shades_around_it_and_the_rest_stays_to_the_bit(boxes: list[Box], dtype: str) -> None:
    smooth = ramp(dtype)
    inside = np.zeros(smooth.shape, bool)
    for box in boxes:
        inside[box.top : box.bottom, box.left : box.right] = True
    drawn = smooth.copy()
    drawn[inside] = 4095
    fill(drawn, boxes)
    assert np.array_equal(drawn[~inside], smooth[~inside]) and drawn.dtype == smooth.dtype
    assert drawn[inside].max() <= smooth.max() and drawn[inside].min() >= smooth.min()
    assert np.abs(drawn.astype(int) - smooth)[inside].mean() < 100  # of a range of 693


def test_each_colour_is_drawn_for_itself() -> None:
    picture = np.zeros((40, 40, 3), np.uint8)
    picture[...] = (10, 100, 200)
    picture[5:15, 5:15] = 255
    fill(picture, [Box(5, 5, 15, 15)])
    assert (picture == (10, 100, 200)).all()


def test_a_box_over_the_whole_frame_leaves_nothing() -> None:
    picture = ramp("<u2")
    fill(picture, [Box(0, 0, 64, 64)])
    assert not picture.any()
