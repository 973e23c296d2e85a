import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medgan.errors import StudyRejected
from medgan.volume.geometry import Geometry, plane_axes, regridded, reoriented, shape_at, shown_order, turned

AXES = ((0.0, 0.0, 1.0), (0.0, 1.0, 0.0), (1.0, 0.0, 0.0))


def geometry(**more: object) -> Geometry:
    values = {"shape": (4, 5, 6), "spacing_mm": (3.0, 2.0, 1.0), "origin_mm": (7.0, 8.0, 9.0), "axes": AXES}
    return Geometry(**{**values, **more})


@pytest.mark.parametrize(
    "wrong",
    [
        {"spacing_mm": (0.0, 1.0, 1.0)},
        {"spacing_mm": (float("nan"), 1.0, 1.0)},
        {"origin_mm": (float("inf"), 0.0, 0.0)},
        {"axes": ((0, 0, 1), (0, 0, 1), (1, 0, 0))},
        {"axes": ((0, 0, 2), (0, 1, 0), (1, 0, 0))},
        {"shape": (0, 5, 6)},
    ],
    ids=str,
)
def test_a_geometry_that_places_no_voxel_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(StudyRejected, match="no_position"):
        geometry(**wrong)


@given(st.permutations([0, 1, 2]), st.tuples(st.booleans(), st.booleans(), st.booleans()))
def test_reorienting_moves_no_voxel(order: list[int], flips: tuple[bool, ...]) -> None:
    axes = tuple(tuple(-c if flips[i] else c for c in AXES[i]) for i in order)
    there = geometry(shape=(4, 5, 6), axes=axes)
    voxels = np.arange(120).reshape(4, 5, 6)
    placed, *how = reoriented(there)
    moved = turned(voxels, *how)
    assert placed.axes == AXES and placed.shape == moved.shape
    for index in np.ndindex(*placed.shape):
        back = np.rint(np.linalg.inv(there.affine) @ placed.affine @ [*index, 1]).astype(int)[:3]
        assert moved[index] == voxels[tuple(back)]


@given(st.tuples(st.integers(1, 30), st.integers(1, 30), st.integers(1, 30)))
def test_another_grid_covers_the_same_extent(shape: tuple[int, int, int]) -> None:
    there = geometry()
    other = regridded(there, shape)
    for index in ((-0.5, -0.5, -0.5), (3.5, -0.5, 5.5)):
        scaled = [(i + 0.5) * m / n - 0.5 for i, n, m in zip(index, there.shape, shape, strict=True)]
        assert np.allclose(there.affine @ [*index, 1], other.affine @ [*scaled, 1], atol=1e-9)


def test_cubes_come_nearest_to_the_extent() -> None:
    assert shape_at(geometry(), 1.0) == (12, 10, 6) and shape_at(geometry(), 100.0) == (1, 1, 1)


SHOWN = {
    "axial": ((1, 0, 0, 0, 1, 0), lambda p: p),
    "axial, prone": ((-1, 0, 0, 0, -1, 0), lambda p: p[::-1, ::-1]),
    "coronal": ((1, 0, 0, 0, 0, -1), lambda p: p),
    "coronal, feet up": ((1, 0, 0, 0, 0, 1), lambda p: p[::-1]),
    "sagittal": ((0, 1, 0, 0, 0, -1), lambda p: p),
    "sagittal, on its side": ((0, 0, -1, 0, 1, 0), lambda p: p.T),
    "oblique axial": ((0.98, 0, 0.199, 0, 1, 0), lambda p: p),
}


@pytest.mark.parametrize("name", SHOWN)
def test_a_slice_is_turned_the_way_it_is_shown(name: str) -> None:
    orientation, wanted = SHOWN[name]
    _, down, along = plane_axes(orientation)
    picture = np.arange(6).reshape(2, 3)
    assert np.array_equal(turned(picture, *shown_order(down, along)), wanted(picture))


def test_rounded_cosines_become_perpendicular_unit_vectors() -> None:
    axes = np.array(plane_axes((0.7071, 0.7071, 0, -0.7067, 0.7075, 0)))
    assert np.allclose(axes @ axes.T, np.eye(3), atol=1e-12)
