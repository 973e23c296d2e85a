"""Planes onto another grid: held against matrices in float64, scipy, and functions of the place in the patient."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from medgan.errors import StudyRejected
from medgan.volume.resample import Regrid, Stored, resample

PLAIN = Stored()
KINDS = ("uint8", "int16", "uint16", "float32", "int32", ">i2")


def regridded(raw: np.ndarray[Any, Any], after: tuple[int, int, int], stored: Stored = PLAIN, **more: Any) -> Any:
    grid = Regrid(raw.shape, after, stored)  # type: ignore[arg-type]
    for plane in raw:
        grid.add(plane, **more)
    return grid.finished()


def weights(before: int, after: int) -> np.ndarray[Any, Any]:
    """The triangle filter as a matrix [after, before] in double precision."""
    ratio = before / after
    centres = (np.arange(after) + 0.5) * ratio - 0.5
    matrix = np.maximum(0.0, 1.0 - np.abs(np.arange(before)[None, :] - centres[:, None]) / max(ratio, 1.0))
    return matrix / matrix.sum(axis=1, keepdims=True)


def exact(raw: np.ndarray[Any, Any], after: tuple[int, int, int]) -> np.ndarray[Any, Any]:
    volume = raw.astype(np.float64)
    for axis, (n, m) in enumerate(zip(raw.shape, after, strict=True)):
        volume = np.moveaxis(np.tensordot(weights(n, m), volume, (1, axis)), 0, axis)
    return volume


shapes = st.tuples(st.integers(1, 12), st.integers(1, 40), st.integers(1, 40))


@settings(max_examples=60, deadline=None)
@given(before=shapes, after=shapes, kind=st.sampled_from(KINDS), seed=st.integers(0, 1000))
def test_any_shape_and_type_is_what_matrices_in_double_precision_give(
    before: tuple[int, int, int], after: tuple[int, int, int], kind: str, seed: int
) -> None:
    raw = np.random.default_rng(seed).integers(0, 200, before).astype(kind)
    found, padding = regridded(raw, after, slope=2.5, intercept=-100.0)
    assert padding is None
    np.testing.assert_allclose(found, exact(raw, after) * 2.5 - 100, atol=2e-3)


def test_growing_is_linear_interpolation_as_scipy_does_it() -> None:
    raw = np.random.default_rng(1).normal(0, 300, (7, 12, 9)).astype(np.float32)
    found, _ = regridded(raw, (14, 30, 27))
    other = ndimage.zoom(raw, (2, 2.5, 3), order=1, grid_mode=True, mode="nearest")
    np.testing.assert_allclose(found, other, atol=1e-3)


@pytest.mark.parametrize(("dtype", "scale", "offset"), [("uint8", 255 / 1400, 182.14), ("int16", 1.0, 0.0)])
def test_stored_numbers_are_rounded_and_held_in_their_range(dtype: str, scale: float, offset: float) -> None:
    raw = np.random.default_rng(2).integers(-30000, 30000, (5, 20, 20)).astype(np.int16)
    found, _ = regridded(raw, (5, 9, 9), Stored(dtype, scale, offset), slope=1.5)
    limits = np.iinfo(dtype)
    wanted = np.clip(np.rint(exact(raw, (5, 9, 9)) * 1.5 * scale + offset), limits.min, limits.max)
    assert found.dtype == dtype and np.abs(found.astype(float) - wanted).max() <= 1


def test_each_plane_has_its_own_slope() -> None:
    raw = np.full((4, 8, 8), 10, np.int16)
    grid = Regrid((4, 8, 8), (4, 4, 4), Stored())
    for number, plane in enumerate(raw):
        grid.add(plane, slope=0.25 * number, intercept=number)
    found, _ = grid.finished()
    assert [float(page[0, 0]) for page in found] == [0.0, 3.5, 7.0, 10.5]


def test_padding_never_mixes_into_what_is_kept() -> None:
    rng = np.random.default_rng(3)
    outside = rng.random((6, 24, 24)) < 0.3
    raw = np.where(outside, -2000, 40).astype(np.int16)
    raw[:2], outside[:2] = 40, False
    grid = Regrid((6, 24, 24), (5, 11, 11), Stored("int16", fill=-1024.0))
    for number, plane in enumerate(raw):
        grid.add(plane, slope=2.0, intercept=3.0, outside=outside[number] if number > 1 else None)
    found, padding = grid.finished()
    kept = exact(~outside, (5, 11, 11)) >= 0.5
    assert padding is not None and np.array_equal(padding, ~kept) and padding.any()
    assert set(np.unique(found[kept])) == {83} and set(np.unique(found[~kept])) == {-1024}


def test_a_sheared_stack_becomes_upright() -> None:
    """Values are linear in the patient's x, y, z, so every kept voxel is known wherever planes have slipped to."""
    depth, side, slip = 9, 40, (1.7, -0.6)
    z, y, x = np.mgrid[0:depth, 0:side, 0:side].astype(float)
    grid = Regrid((depth, side, side), (9, 20, 20), Stored(fill=-1.0))
    for number in range(depth):
        # pixel (r, c) of a slipped plane lies at (r + slip, c + slip)
        there = 100 + 3 * (y[number] + slip[0] * number) + 5 * (x[number] + slip[1] * number) + 7 * z[number]
        grid.add(there.astype(np.float32), slip=(slip[0] * number, slip[1] * number))
    found, padding = grid.finished()
    wanted = exact(100 + 3 * y + 5 * x + 7 * z, (9, 20, 20))
    inner = np.zeros(found.shape, bool)
    inner[:, 8:-1, 1:-4] = True  # away from the edges, where a plane ends within the filter's reach
    assert padding is not None and not padding[inner].any() and padding[:, 0, :].any()
    assert np.abs(found - wanted)[inner].max() < 1e-3 * wanted.max()


@pytest.mark.parametrize("value", [np.float32("nan"), np.float32("inf"), np.float64(1e300)])
def test_what_is_not_finite_in_32_bits_is_refused_unless_it_is_padding(value: np.floating) -> None:
    grid = Regrid((1, 4, 4), (1, 4, 4), Stored(fill=-1.0))
    raw = np.full((4, 4), 5, value.dtype)
    raw[0] = value
    with pytest.raises(StudyRejected, match="finite"):
        grid.add(raw)
    with pytest.raises(StudyRejected, match="finite"):
        grid.add(raw, outside=np.arange(16).reshape(4, 4) > 1)
    grid.add(raw, outside=np.arange(16).reshape(4, 4) < 4)
    found, padding = grid.finished()
    assert padding is not None and padding[0, 0].all() and not padding[0, 1:].any()
    assert (found[0, 0] == -1).all() and (found[0, 1:] == 5).all()


def test_planes_that_are_missing_or_of_another_size_are_told() -> None:
    grid = Regrid((2, 4, 4), (2, 2, 2), Stored())
    grid.add(np.zeros((4, 4), np.uint8))
    with pytest.raises(ValueError, match="1 planes came where 2"):
        grid.finished()
    with pytest.raises(ValueError, match="announced"):
        grid.add(np.zeros((4, 5), np.uint8))


@pytest.mark.parametrize("width", [96, 128, 160])
def test_shrinking_does_not_alias(width: int) -> None:
    stripes = np.tile(np.array([0, 1], np.float32), width // 2)[None].repeat(width, 0)
    small = resample([stripes], (1, width, width), (1, 32, 32))
    assert np.abs(small[0, :, 1:-1] - 0.5).max() < 0.06


def test_the_same_size_is_the_same_picture() -> None:
    picture = np.random.default_rng(4).random((16, 16), dtype=np.float32)
    assert np.array_equal(resample([picture], (1, 16, 16), (1, 16, 16))[0], picture)
