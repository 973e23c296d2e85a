"""The quality report of a real cohort is sealed beside it, and forgets with it."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from dicom_series import ct_slice, film, sealed_study

from medgan.cohort.arrays import read_cohort
from medgan.cohort.source_figures import Source, columns_of, source_of
from medgan.home import Home
from medgan.recipes import PreprocessRecipe, QualityRecipe
from medgan.stages.preprocess import assemble_cohorts, preprocess_study
from medgan.stages.quality import Quality, quality_report, report_file, usable

RECIPE = PreprocessRecipe(size=16, min_class_patients=1)


@dataclass(frozen=True, slots=True)
class Shot:
    image: np.ndarray
    source: Source = Source()


def shots() -> list[Shot]:
    """Five noisy pictures, of which the second is black and the fourth white."""
    images = np.random.default_rng(0).integers(0, 255, (5, 1, 1, 16, 16), np.uint8)
    images[1], images[3] = 0, 255
    return [Shot(image) for image in images]


def test_only_pictures_beyond_use_are_taken_out() -> None:
    all_five = shots()
    kept, refused = usable(all_five, QualityRecipe())
    assert kept == [all_five[0], all_five[2], all_five[4]] and refused == 2
    assert usable(all_five, QualityRecipe(min_foreground=0, max_clipped=1)) == (all_five, 0)
    assert usable([], QualityRecipe()) == ([], 0)


def test_the_report_of_a_cohort_is_sealed_once_and_bound_to_its_patients(tmp_path: Path) -> None:
    home = Home.create(tmp_path / "home")
    chance = np.random.default_rng(0)
    studies = []
    for number in range(8):
        pixels = (np.eye(24) * 4000 if number == 5 else chance.integers(0, 4096, (24, 24))).astype("<u2")
        one = film(f"f{number}", pixels, BitsStored=12, HighBit=11, StudyInstanceUID=f"1.2.{number}")
        studies.append(sealed_study(home, [one], patient=f"p{number}"))
    (cohort,) = assemble_cohorts([preprocess_study(study, RECIPE, home) for study in studies], RECIPE, home)
    made = quality_report(cohort, RECIPE.quality, home, refused=1)
    assert made == quality_report(cohort, RECIPE.quality, home, refused=1)
    assert made.cohort_digest == cohort.digest and made.refused == 1 and made.outliers
    assert home.research.ledger.patients_of(made.digest) == home.research.ledger.patients_of(cohort.digest)
    assert made.digest in home.research.ledger.made_from(studies[0].digest)
    page = report_file(made, home)
    told = json.loads(page.with_name("quality.json").read_bytes())
    assert "Keep it in the house" in page.read_text()
    assert told["outliers"] == made.outliers
    assert studies[5].patient_key in {row["patient_key"] for row in told["apart"]}
    assert len(home.research.records("quality", Quality)) == 2  # that of assembling, where nothing was refused, too


def test_what_a_study_was_made_of_is_kept_with_its_cohort_and_shown(tmp_path: Path) -> None:
    home = Home.create(tmp_path / "home")
    recipe = PreprocessRecipe(size=16, slices=2, min_class_patients=1, split=(1.0, 0.0, 0.0, 0.0))
    samples = []
    for number, step in enumerate([2.0] * 9 + [8.0]):
        series = [
            ct_slice(i, step=step, series=f"1.2.{number}.7", StudyInstanceUID=f"1.2.{number}", PixelSpacing=[1.0, 0.5])
            for i in range(10)
        ]
        samples.append(preprocess_study(sealed_study(home, series, patient=f"p{number}"), recipe, home))
    (cohort,) = assemble_cohorts(samples, recipe, home)
    kept = read_cohort(home.research.store.path(cohort.digest) / "cohort.zarr")
    columns = columns_of(kept.source, kept.attributes["source_figures"])
    assert sorted(columns["step"].tolist()) == [2.0] * 18 + [8.0] * 2
    assert set(columns["spacing"].tolist()) == {1.0} and set(columns["slices"].tolist()) == {10.0}
    assert set(columns["padding"].tolist()) == {0.5}  # the picture is twice as high as it is wide
    made = quality_report(cohort, recipe.quality, home)
    page = report_file(made, home)
    told = json.loads(page.with_name("quality.json").read_bytes())
    assert told["figures"]["step"]["p50"] == 2.0 and made.outliers["step"] == 2
    assert "Slice distance" in page.read_text() and "slices 10" in page.read_text()


@pytest.mark.parametrize(("limit", "kept"), [({"max_padding": 0.4}, 0), ({"max_padding": 0.5}, 3)])
def test_a_recipe_may_refuse_what_fills_too_little_of_the_grid(limit: dict[str, float], kept: int) -> None:
    some = [Shot(shot.image, source_of((2.0, 1.0, 1.0), 9, padding=0.5)) for shot in shots()]
    assert len(usable(some, QualityRecipe.model_validate(limit))[0]) == kept
