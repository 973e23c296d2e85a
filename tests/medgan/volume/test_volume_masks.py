"""Labels onto another grid."""

import numpy as np
import pytest

from medgan.volume.geometry import Geometry, regridded, reoriented
from medgan.volume.masks import grown_labels, lost_labels, nearest, unfit_labels, volumes_mm3

AXES = ((0.0, 0.0, 1.0), (0.0, 1.0, 0.0), (1.0, 0.0, 0.0))


def labelled() -> tuple[np.ndarray, Geometry]:
    labels = np.zeros((12, 20, 16), np.uint16)
    labels[2:8, 5:15, 4:12] = 1
    labels[4:6, 8:12, 6:10] = 700
    return labels, Geometry((12, 20, 16), (2.5, 1.0, 1.5), (-7.0, 3.0, 11.0), AXES)


def test_the_same_grid_gives_the_same_labels() -> None:
    labels, there = labelled()
    assert np.array_equal(nearest(labels, there, there), labels)


def test_a_grid_turned_another_way_finds_the_same_places() -> None:
    labels, there = labelled()
    turned_axes = (AXES[1], (-1.0, 0.0, 0.0), (0.0, 0.0, -1.0))
    x, y, z = there.affine @ [11, 0, 15, 1] @ np.eye(4)[:, :3]
    other = Geometry((20, 16, 12), (1.0, 1.5, 2.5), (float(x), float(y), float(z)), turned_axes)
    found = nearest(labels, there, other)
    assert reoriented(other)[0].axes == AXES
    assert np.array_equal(found, labels.transpose(1, 2, 0)[:, ::-1, ::-1])


@pytest.mark.parametrize("shape", [(12, 40, 32), (6, 10, 8), (30, 20, 24)])
def test_no_label_is_made_up_and_volumes_stay(shape: tuple[int, int, int]) -> None:
    labels, there = labelled()
    onto = regridded(there, shape)
    found = nearest(labels, there, onto)
    assert set(np.unique(found)) == {0, 1, 700}
    before, after = volumes_mm3(labels, there), volumes_mm3(found, onto)
    assert not lost_labels(before, after)
    assert after[1] == pytest.approx(before[1], rel=0.35)


def test_a_label_that_is_gone_or_shrunken_is_named() -> None:
    assert lost_labels({1: 100.0, 2: 50.0, 3: 10.0}, {1: 90.0, 2: 20.0}) == [2, 3]


def test_a_label_that_has_grown_is_told_and_one_that_has_doubled_is_unfit() -> None:
    before = {1: 100.0, 2: 100.0, 3: 100.0, 4: 100.0, 5: 100.0}
    after = {1: 150.0, 2: 151.0, 3: 200.0, 4: 201.0, 5: 49.0}
    assert grown_labels(before, after) == [2, 3, 4]
    assert unfit_labels(before, after) == [4, 5]


@pytest.mark.parametrize("first", [4, 5])
def test_a_thin_sheet_on_a_coarse_grid_is_unfit_whether_it_goes_or_swells(first: int) -> None:
    """1 mm thick, on voxels of 3 mm of which the centres lie in the sheet or beside it."""
    labels = np.zeros((12, 12, 12), np.uint16)
    labels[:, first] = 1
    there = Geometry((12, 12, 12), (1.0, 1.0, 1.0), (0.0, 0.0, 0.0), AXES)
    onto = regridded(there, (12, 4, 12))
    before, after = volumes_mm3(labels, there), volumes_mm3(nearest(labels, there, onto), onto)
    assert after == ({1: 432.0} if first == 4 else {}) and unfit_labels(before, after) == [1]


def test_beyond_the_labels_own_grid_there_is_nothing() -> None:
    labels, there = labelled()
    labels[:] = 1
    far = Geometry((4, 4, 4), (2.5, 1.0, 1.5), (900.0, 3.0, 11.0), AXES)
    assert not nearest(labels, there, far).any()
