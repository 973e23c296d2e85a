import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medgan.errors import StudyRejected
from medgan.volume.geometry import Geometry, Volume, plane_axes, reoriented, shown_order, turned

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
    volume = Volume(np.arange(120, dtype=np.float32).reshape(4, 5, 6), there)
    turned_volume = reoriented(volume)
    assert turned_volume.geometry.axes == AXES
    for index in np.ndindex(*turned_volume.geometry.shape):
        place = turned_volume.geometry.affine @ [*index, 1]
        back = np.rint(np.linalg.inv(there.affine) @ place).astype(int)[:3]
        assert turned_volume.voxels[index] == volume.voxels[tuple(back)]


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
