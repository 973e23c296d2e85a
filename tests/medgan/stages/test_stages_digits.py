"""Stored values of many digits, and floats of which padding covers what is no number, onto a grid."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dicom_series import film, uid, write
from pydicom.dataset import Dataset
from scipy import ndimage

from medgan.cohort.volumes import read_volume
from medgan.dicom.pixels import padding_of, stored_values
from medgan.dicom.read import planes_by_pydicom, planes_of, values
from medgan.dicom.series import sort_planes
from medgan.errors import StudyRejected
from medgan.recipes import PreprocessRecipe
from medgan.stages.gridded import on_grid, picture_on_grid
from medgan.stages.onto_grid import pictures_of
from medgan.stages.volumes import Grid, preprocess_volumes
from medgan.volume.resample import Stored

FAR = 2_000_000_000  # where neighbours in float32 are 128 apart
MR = "1.2.840.10008.5.1.4.1.1.4"
NAN, INF = float("nan"), float("inf")


def texture(side: int = 12, seed: int = 0) -> np.ndarray:
    """Stored values of 0 to 1000, no two neighbours alike."""
    return np.random.default_rng(seed).integers(0, 1000, (side, side)).astype(np.int64)


def slices(far: int, kind: str = "<u4", **more: Any) -> list[Dataset]:
    """An MR volume of texture about `far`, 32 bits a pixel."""
    signed = int(kind.startswith("<i"))
    return [
        film(
            index,
            np.zeros((12, 12), "<u4"),
            PixelData=(texture(seed=index) + far).astype(kind).tobytes(),
            PixelRepresentation=signed,
            SOPClassUID=MR,
            Modality="MR",
            StudyInstanceUID="1.2.3",
            SeriesInstanceUID="1.2.3.4",
            FrameOfReferenceUID="1.2.3.5",
            PixelSpacing=[1.0, 1.0],
            ImageOrientationPatient=[1.0, 0.0, 0.0, 0.0, 1.0, 0.0],
            ImagePositionPatient=[0.0, 0.0, float(index)],
            **more,
        )
        for index in range(6)
    ]


CASES = [("<u4", FAR, {}), ("<i4", -FAR, {}), ("<u4", FAR, {"RescaleSlope": 0.5, "RescaleIntercept": -FAR / 2})]


@pytest.mark.parametrize(("kind", "far", "more"), CASES)
def test_a_volume_of_many_digits_is_as_exact_as_near_zero(
    tmp_path: Path, kind: str, far: int, more: dict[str, float]
) -> None:
    (stack,) = sort_planes(plane for f in write(tmp_path, slices(far, kind, **more)) for plane in planes_of(f)).stacks
    slope, intercept = more.get("RescaleSlope", 1.0), more.get("RescaleIntercept", 0.0)
    voxels = np.stack([texture(seed=index) + far for index in range(6)]) * slope + intercept
    same, _ = on_grid(stack, (6, 12, 12), Stored())
    assert np.abs(same - voxels).max() < 1e-3
    coarse, _ = on_grid(stack, (6, 6, 6), Stored("int16", 1.0, -float(voxels.mean())))
    wanted = ndimage.zoom(ndimage.correlate1d(voxels - voxels.mean(), [1], axis=1), 1)
    for axis in (1, 2):
        wanted = (ndimage.correlate1d(wanted, [1, 3, 3, 1], axis=axis, origin=-1, mode="nearest") / 8).take(
            range(0, 12, 2), axis
        )
    assert np.abs(coarse[:, 1:-1, 1:-1] - wanted[:, 1:-1, 1:-1]).max() <= 0.51
    picture, _ = picture_on_grid(stack.planes[2], (12, 12))
    assert np.abs(picture - voxels[2]).max() < 1e-3


def test_a_far_volume_is_kept_to_the_step_and_windowed_like_a_near_one(tmp_path: Path) -> None:
    write(tmp_path / "src", slices(FAR))
    preprocess_volumes(tmp_path / "src", tmp_path / "dst", Grid(1.0))
    stored, about = read_volume(tmp_path / "dst" / "0000.ome.zarr")
    voxels = np.stack([texture(seed=index) + FAR for index in range(6)])
    assert np.array_equal(stored * about["scale"] + about["offset"], voxels)
    recipe = PreprocessRecipe(dims=3, size=16, depth=6)
    near = pictures_of(write(tmp_path / "near", slices(0)), recipe).pictures
    far = pictures_of(sorted((tmp_path / "src").iterdir()), recipe).pictures
    assert np.abs(near[0].image.astype(int) - far[0].image).max() <= 1 and np.ptp(far[0].image) > 200


def test_rescaled_values_lose_no_digit_on_their_way(tmp_path: Path) -> None:
    pixels = (texture() + FAR).astype("<u4")
    (file,) = write(tmp_path, [film("x", pixels, RescaleSlope=1, RescaleIntercept=-FAR)])
    assert np.array_equal(values(planes_of(file)[0])[0], texture())


def test_padding_stays_out_of_values_of_many_digits(tmp_path: Path) -> None:
    pixels = (texture() + FAR).astype("<u4")
    pixels[:6] = 0
    dataset = film("x", pixels, PixelPaddingValue=0)
    (file,) = write(tmp_path, [dataset])
    picture, outside = picture_on_grid(planes_of(file)[0], (12, 12))
    assert outside is not None and outside[:6].all() and not outside[6:].any()
    assert np.abs(picture[6:] - pixels[6:]).max() < 1e-3 and not picture[:6].any()


def floats(pixels: np.ndarray, **padding: float) -> Dataset:
    """A picture of floats, 32 or 64 bits, with padding of its own kind."""
    kind = "Float" if pixels.dtype.itemsize == 4 else "DoubleFloat"
    dataset = film(uid(str(pixels)), pixels.view(f"<u{pixels.dtype.itemsize}"))
    for keyword in ("PixelData", "BitsStored", "HighBit", "PixelRepresentation"):
        if keyword in dataset:
            delattr(dataset, keyword)
    setattr(dataset, f"{kind}PixelData", pixels.tobytes())
    for name, value in padding.items():
        setattr(dataset, f"{kind}PixelPadding{name}", value)
    return dataset


def spoilt(kind: str, *spoils: float) -> np.ndarray:
    pixels = texture().astype(kind)
    pixels[0, : len(spoils)] = spoils
    return pixels


COVERED = [
    ((NAN, NAN), {"Value": NAN}),
    ((INF, 5e9), {"Value": 1e9, "RangeLimit": INF}),
    ((-INF,), {"Value": -INF}),
    ((NAN, -3000.0), {"Value": NAN, "RangeLimit": -3000.0}),
]


@pytest.mark.parametrize("kind", ["<f4", "<f8"])
@pytest.mark.parametrize(("spoils", "padding"), COVERED)
def test_floats_that_are_not_finite_are_padding_where_the_file_says_so(
    tmp_path: Path, kind: str, spoils: tuple[float, ...], padding: dict[str, float]
) -> None:
    pixels = spoilt(kind, *spoils)
    (file,) = write(tmp_path, [floats(pixels, **padding)])
    (plane,) = planes_of(file)
    assert [plane] == planes_by_pydicom(file)
    found = padding_of(stored_values(plane.pixels, 0), plane.pixels)
    assert found is not None and found.sum() == found[0, : len(spoils)].sum() == len(spoils)
    picture, outside = picture_on_grid(plane, (12, 12))
    assert outside is not None and np.array_equal(outside, found)
    assert np.isfinite(picture).all() and np.abs(picture[~outside] - pixels[~outside]).max() < 1e-3


@pytest.mark.parametrize("kind", ["<f4", "<f8"])
@pytest.mark.parametrize(
    ("spoils", "padding"),
    [((NAN,), {}), ((INF,), {"Value": NAN}), ((NAN, INF), {"Value": 1e9, "RangeLimit": INF}), ((NAN,), {"Value": 0.0})],
)
def test_floats_that_are_not_finite_are_refused_where_nothing_covers_them(
    tmp_path: Path, kind: str, spoils: tuple[float, ...], padding: dict[str, float]
) -> None:
    (file,) = write(tmp_path, [floats(spoilt(kind, *spoils), **padding)])
    with pytest.raises(StudyRejected, match="not finite"):
        picture_on_grid(planes_of(file)[0], (12, 12))


def test_doubles_beyond_32_bits_are_refused_and_close_ones_are_kept(tmp_path: Path) -> None:
    (file,) = write(tmp_path / "a", [floats(spoilt("<f8", 1e300))])
    with pytest.raises(StudyRejected, match="not finite"):
        picture_on_grid(planes_of(file)[0], (12, 12))
    (file,) = write(tmp_path / "b", [floats(spoilt("<f8") + 1e12)])
    picture, _ = picture_on_grid(planes_of(file)[0], (12, 12))
    assert np.abs(picture - (texture() + 1e12)).max() < 1e-3
