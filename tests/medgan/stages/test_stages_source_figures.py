"""What a picture was made of, and how much of its grid that fills, by counting voxels."""

from pathlib import Path

import numpy as np
import pytest
from dicom_series import ct_slice, film, write
from pydicom.dataset import Dataset

from medgan.cohort.source_figures import Source
from medgan.errors import Reason, StudyRejected
from medgan.recipes import PreprocessRecipe
from medgan.stages.onto_grid import pictures_of


def source(folder: Path, datasets: list[Dataset], recipe: PreprocessRecipe) -> Source:
    return pictures_of(write(folder, datasets), recipe).pictures[0].source


def rows_and_columns(rows: int, columns: int, **more: object) -> list[Dataset]:
    """A CT of 10 slices 2 mm apart, pixels of 1 x 1 mm, its left half brighter."""
    pixels = np.full((rows, columns), 1024, "<u2")
    pixels[:, : columns // 2] = 1500
    about = {"Rows": rows, "Columns": columns, "PixelData": pixels.tobytes()}
    return [ct_slice(i, **{**about, **more}) for i in range(10)]


CUT = PreprocessRecipe(dims=3, size=16, depth=4, spacing_mm=2.0)
WHOLE = PreprocessRecipe(dims=3, size=16, depth=4)
# 20 mm deep and 24 x 40 mm wide: 10 x 12 x 20 cubes, of which 4 x 12 x 16 are on the grid of 4 x 16 x 16
CASES = {
    "cut out": (rows_and_columns(24, 40), CUT, 1 - 12 / 16, 1 - 4 * 12 * 16 / (10 * 12 * 20)),
    "with room": (rows_and_columns(16, 16), CUT, 1 - 8 * 8 / 256, 1 - 4 / 10),
    "squeezed": (rows_and_columns(16, 32), WHOLE, 0.5, 0.0),
    "a slice": (rows_and_columns(16, 32), PreprocessRecipe(size=16), 0.5, 0.0),
}


@pytest.mark.parametrize("name", CASES)
def test_how_much_of_the_grid_a_source_fills_is_counted(tmp_path: Path, name: str) -> None:
    datasets, recipe, padding, cut_off = CASES[name]
    found = source(tmp_path, datasets, recipe)
    assert (found.padding, found.cut_off) == (pytest.approx(padding), pytest.approx(cut_off))
    assert (found.spacing, found.step, found.slices, found.anisotropy) == (1.0, 2.0, 10.0, 2.0)


def test_what_the_source_itself_calls_padding_is_not_filled(tmp_path: Path) -> None:
    pixels = np.full((16, 32), 1024, "<u2")
    pixels[:4] = 7
    pixels[4:, :16] = 1500
    about = {"PixelData": pixels.tobytes(), "PixelPaddingValue": 7}
    for number, recipe in enumerate((CUT, WHOLE, PreprocessRecipe(size=16))):
        found = source(tmp_path / str(number), rows_and_columns(16, 32, **about), recipe)
        assert found.padding == pytest.approx(1 - 0.75 * 0.5), recipe


def test_a_film_says_what_it_knows(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 4096, (24, 12)).astype("<u2")
    known = source(tmp_path / "a", [film("f", pixels, ImagerPixelSpacing=[0.2, 0.2])], PreprocessRecipe(size=24))
    assert (known.spacing, known.anisotropy, known.padding) == (0.2, 1.0, 0.5)
    unknown = source(tmp_path / "b", [film("f", pixels)], PreprocessRecipe(size=24))
    assert np.isnan([unknown.spacing, unknown.step, unknown.slices, known.slices]).all() and unknown.padding == 0.5
    ratio = source(tmp_path / "c", [film("f", pixels, PixelAspectRatio=[1, 2])], PreprocessRecipe(size=24))
    assert np.isnan([ratio.spacing, ratio.anisotropy]).all() and ratio.padding == 0.0


def test_a_ratio_of_pixel_sides_is_no_spacing_of_a_volume(tmp_path: Path) -> None:
    slices = [ct_slice(i, drop=("PixelSpacing",), PixelAspectRatio=[1, 2]) for i in range(5)]
    with pytest.raises(StudyRejected) as refused:
        pictures_of(write(tmp_path, slices), PreprocessRecipe(size=16))
    assert refused.value.reason == Reason.NO_POSITION


@pytest.mark.parametrize(
    ("limit", "fits"),
    [({}, True), ({"max_spacing_mm": 2.0}, True), ({"max_spacing_mm": 1.9}, False), ({"max_padding": 0.4}, False)],
)
def test_a_recipe_refuses_coarse_or_small_series_as_of_low_quality(
    tmp_path: Path, limit: dict[str, float], fits: bool
) -> None:
    recipe = PreprocessRecipe.model_validate({"size": 16, "quality": limit})
    files = write(tmp_path, rows_and_columns(16, 32))
    if fits:
        assert len(pictures_of(files, recipe).pictures) == 3
    else:
        with pytest.raises(StudyRejected) as refused:
            pictures_of(files, recipe)
        assert refused.value.reason == Reason.LOW_QUALITY
