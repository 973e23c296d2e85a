from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from dicom_series import write
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from known_content import COUNT, OBLIQUE, SHADE, block, off_hu
from trap_series import Trap, traps

from medgan.dicom.read import Plane, read_planes, values
from medgan.dicom.series import Sorted, Stack, sort_planes

TRAPS = traps()


def off(stack: Stack, shades: tuple[float, ...]) -> float:
    affine = stack.geometry.affine
    affine[:3, 0] += np.array(stack.shear) @ np.array(stack.geometry.axes[1:])
    loaded = [values(plane) for plane in stack.planes]
    known = [np.ones(picture.shape, bool) if padding is None else ~padding for picture, padding, _ in loaded]
    return off_hu(np.stack([picture for picture, _, _ in loaded]), affine, np.stack(known), shades)


@pytest.mark.parametrize("name", TRAPS)
def test_a_trap_becomes_true_volumes_or_the_refusal_it_deserves(tmp_path: Path, name: str) -> None:
    trap: Trap = TRAPS[name]
    planes, unread = read_planes(trap.files(tmp_path))
    found = sort_planes(planes)
    assert sorted(len(stack.planes) for stack in found.stacks) == sorted(trap.volumes)
    assert max((off(stack, trap.shades) for stack in found.stacks), default=0.0) <= trap.limit_hu
    assert set(found.refused) == trap.refused and found.corrected == trap.corrected and not unread
    assert sort_planes(planes[::-1]) == found


@pytest.fixture(scope="module")
def planes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Plane]]:
    """Two passes of ten oblique slices, and the second once more as other instances."""
    passes = {"a": block(orientation=OBLIQUE), "b": block(orientation=OBLIQUE, shade=SHADE)}
    return {name: read_planes(write(tmp_path_factory.mktemp(name), some))[0] for name, some in passes.items()}


def unmarked(found: Sorted) -> bool:
    return not found.refused and not found.corrected


def moved(plane: Plane, by_mm: tuple[float, float, float]) -> Plane:
    x, y, z = plane.position_mm or (0.0, 0.0, 0.0)
    return replace(plane, position_mm=(x + by_mm[0], y + by_mm[1], z + by_mm[2]))


inner, any_slice = st.integers(1, COUNT - 2), st.integers(0, COUNT - 1)
far = st.one_of(st.floats(0.25, 40), st.floats(-40, -0.25))


@settings(max_examples=30, deadline=None)
@given(chance=st.randoms(use_true_random=False), some=st.lists(st.integers(0, 2 * COUNT - 1), unique=True))
def test_the_order_of_files_changes_nothing(planes: dict[str, list[Plane]], chance, some: list[int]) -> None:  # type: ignore[no-untyped-def]
    both = planes["a"] + planes["b"]
    chosen = [both[index] for index in some]
    shuffled = list(chosen)
    chance.shuffle(shuffled)
    assert sort_planes(shuffled) == sort_planes(chosen)


@settings(max_examples=30, deadline=None)
@given(gone=st.sets(inner, min_size=1))
def test_a_volume_with_inner_slices_removed_is_refused_or_marked(
    planes: dict[str, list[Plane]], gone: set[int]
) -> None:
    kept = [index for index in range(COUNT) if index not in gone]
    assume(len(set(np.diff(kept).tolist())) > 1)  # every third slice is a volume too
    assert not unmarked(sort_planes(planes["a"][index] for index in kept))


@settings(max_examples=20, deadline=None)
@given(index=any_slice)
def test_a_second_slice_of_other_pixels_is_never_taken_silently(planes: dict[str, list[Plane]], index: int) -> None:
    found = sort_planes([*planes["a"], planes["b"][index]])
    assert found.refused and not found.stacks


@settings(max_examples=60, deadline=None)
@given(index=any_slice, by_mm=far, axis=st.integers(0, 2))
def test_a_shifted_slice_never_yields_an_unmarked_volume(
    planes: dict[str, list[Plane]], index: int, by_mm: float, axis: int
) -> None:
    changed = list(planes["a"])
    shift = [0.0, 0.0, 0.0]
    shift[axis] = by_mm
    changed[index] = moved(changed[index], (shift[0], shift[1], shift[2]))
    assert not unmarked(sort_planes(changed))


@settings(max_examples=30, deadline=None)
@given(index=any_slice, degrees=st.floats(0.2, 90))
def test_a_slice_turned_in_its_plane_or_out_of_it_never_yields_an_unmarked_volume(
    planes: dict[str, list[Plane]], index: int, degrees: float
) -> None:
    changed = list(planes["a"])
    row, column = np.array(OBLIQUE[:3]), np.array(OBLIQUE[3:])
    cosine, sine = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    for turned in (
        (*row, *(cosine * column + sine * np.cross(row, column))),
        (*(cosine * row + sine * column), *(cosine * column - sine * row)),
    ):
        changed[index] = replace(changed[index], orientation=tuple(float(x) for x in turned))
        assert not unmarked(sort_planes(changed))
