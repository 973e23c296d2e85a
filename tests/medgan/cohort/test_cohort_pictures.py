"""Pictures of a cohort open elsewhere with the same values, and have the same bytes each time."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import nibabel
import numpy as np
import pytest
from PIL import Image

from medgan.cohort.pictures import labels_csv, nifti_bytes, png_bytes


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_png_keeps_every_value(dtype: str) -> None:
    pixels = np.random.default_rng(0).integers(0, np.iinfo(dtype).max, (1, 5, 7), dtype, endpoint=True)
    np.testing.assert_array_equal(np.asarray(Image.open(BytesIO(png_bytes(pixels)))), pixels[0])


def test_png_of_a_volume_is_its_middle_slice() -> None:
    pixels = np.arange(3, dtype=np.uint8)[:, None, None] * np.ones((1, 2, 2), np.uint8)
    assert (np.asarray(Image.open(BytesIO(png_bytes(pixels)))) == 1).all()


def test_nifti_keeps_values_spacing_and_direction(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (3, 4, 5), np.uint8)
    (tmp_path / "v.nii.gz").write_bytes(nifti_bytes(pixels, (2.5, 0.5, 0.75)))
    image = nibabel.load(tmp_path / "v.nii.gz")
    np.testing.assert_array_equal(np.asarray(image.dataobj).transpose(2, 1, 0), pixels)
    assert image.header.get_zooms() == pytest.approx((0.75, 0.5, 2.5))
    assert nibabel.aff2axcodes(image.affine) == ("L", "P", "S")


def test_the_same_image_gives_the_same_bytes() -> None:
    pixels = np.ones((2, 3, 3), np.uint8)
    assert nifti_bytes(pixels) == nifti_bytes(pixels)
    assert nifti_bytes(pixels)[4:8] == bytes(4)  # gzip's time of writing
    assert png_bytes(pixels) == png_bytes(pixels)


def test_labels_with_commas_and_quotes_are_quoted() -> None:
    assert labels_csv([("a.png", 'large, "soft"')]) == 'file,label\na.png,"large, ""soft"""\n'
