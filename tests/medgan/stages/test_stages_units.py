"""Units from the files to what is stored: PET in SUV or arbitrary, MR of private b-values in phases."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dicom_series import SC, ct_slice, sealed_study, write
from pydicom.dataset import Dataset
from units_series import DOSE_BQ, WEIGHT_KG, ge, isotope, mr_slice, pet_slice, philips, private, siemens, uih

from medgan.cohort.arrays import read_cohort
from medgan.cohort.volumes import read_volume
from medgan.dicom.read import read_planes
from medgan.dicom.series import sort_planes
from medgan.dicom.suv import NoSuv, suv_factor
from medgan.errors import Reason, SourceError, StudyRejected, UsageError
from medgan.home import Home
from medgan.recipes import DeidentifyRecipe, PreprocessRecipe, load
from medgan.stages.deidentify_folder import deidentify_folder
from medgan.stages.onto_grid import pictures_of
from medgan.stages.preprocess import preprocess_folder, sample_key
from medgan.stages.volumes import Grid, preprocess_volumes

G_PER_ML = 1000 * WEIGHT_KG / (DOSE_BQ / 2 ** (3600 / 6586.2))  # an hour after the injection
WINDOW = (0.0, 4.0)
RECIPE = PreprocessRecipe(size=16, slices=3, min_class_patients=1, window_suv=WINDOW)
X, Y = (1.0, 0.0, 0.0), (0.0, 0.8, -0.6)


def pet(**more: Any) -> list[Dataset]:
    return [pet_slice(i, **more) for i in range(8)]


@pytest.mark.parametrize("window", [None, (-100.0, 100.0)])
def test_a_volume_of_pet_is_in_suv(tmp_path: Path, window: tuple[float, float] | None) -> None:
    write(tmp_path / "src", pet())
    report = preprocess_volumes(tmp_path / "src", tmp_path / "dst", Grid(2.0, window))
    array, about = read_volume(tmp_path / "dst" / "0000.ome.zarr")
    assert about["values"] == report["volumes"][0]["values"] == "SUV" and "no_suv" not in about
    there = array[:, 4, 4] * about["scale"] + about["offset"]
    wanted = np.arange(1, 9) * 1000 * G_PER_ML
    assert np.abs(there - wanted).max() <= (wanted.max() / 255 if window else 1e-3 * wanted.max())


def test_a_volume_of_pet_without_a_factor_stays_what_it_was_and_says_why(tmp_path: Path) -> None:
    write(tmp_path / "src", pet(drop=("PatientWeight",)))
    report = preprocess_volumes(tmp_path / "src", tmp_path / "dst", Grid(2.0))
    array, about = read_volume(tmp_path / "dst" / "0000.ome.zarr")
    assert (about["values"], about["no_suv"], about["units"]) == ("arbitrary", "weight", "BQML")
    assert report["volumes"][0]["no_suv"] == "weight"
    there = array[:, 4, 4] * about["scale"] + about["offset"]
    assert np.allclose(there, np.arange(1, 9) * 1000)


def test_what_a_header_says_of_its_unit_is_written_only_where_it_is_one(tmp_path: Path) -> None:
    write(tmp_path / "src", pet(Units="SMITH"))
    preprocess_volumes(tmp_path / "src", tmp_path / "dst", Grid(2.0))
    _, about = read_volume(tmp_path / "dst" / "0000.ome.zarr")
    assert (about["values"], about["units"]) == ("arbitrary", "") and "SMITH" not in str(about)


def test_other_volumes_are_in_hu_or_arbitrary(tmp_path: Path) -> None:
    write(tmp_path / "src", [mr_slice(i, InstanceNumber=i, SeriesInstanceUID="1.2.9") for i in range(5)])
    write(tmp_path / "src", [ct_slice(i) for i in range(5)])
    report = preprocess_volumes(tmp_path / "src", tmp_path / "dst", Grid(2.0))
    assert {row["modality"]: row["values"] for row in report["volumes"]} == {"CT": "HU", "MR": "arbitrary"}


@pytest.mark.parametrize("dims", [2, 3])
def test_a_window_in_suv_gives_pictures_of_it(tmp_path: Path, dims: int) -> None:
    files = write(tmp_path / "src", pet())
    made = pictures_of(files, RECIPE.model_copy(update={"dims": dims, "depth": 8}))
    assert {picture.unit for picture in made.pictures} == {"SUV"}
    shown = np.concatenate([picture.image[0, :, 8, 8] for picture in made.pictures]).astype(float)
    there = shown * (WINDOW[1] - WINDOW[0]) / 255 + WINDOW[0]
    wanted = np.clip(np.arange(1, 9) * 1000 * G_PER_ML, *WINDOW)
    assert np.abs(there - (wanted if dims == 3 else wanted[[2, 4, 5]])).max() <= 4 / 255


def test_a_cohort_says_what_its_numbers_mean(tmp_path: Path) -> None:
    write(tmp_path / "src", pet())
    preprocess_folder(tmp_path / "src", tmp_path / "dst", RECIPE)
    about = read_cohort(tmp_path / "dst" / "PT-CHEST-2d-16.zarr").attributes
    assert (about["values"], about["scale"], about["offset"]) == ("SUV", pytest.approx(4 / 255), 0.0)


@pytest.mark.parametrize("dims", [2, 3])
def test_pet_without_a_factor_is_refused_where_suv_is_wanted(tmp_path: Path, dims: int) -> None:
    files = write(tmp_path / "src", pet(DecayCorrection="NONE"))
    with pytest.raises(StudyRejected) as refused:
        pictures_of(files, RECIPE.model_copy(update={"dims": dims}))
    assert refused.value.reason == Reason.MISSING_ATTRIBUTE
    with pytest.raises(SourceError, match="missing_attribute"):
        preprocess_folder(tmp_path / "src", tmp_path / "dst", RECIPE)


def test_without_a_window_it_is_a_picture_of_its_own_percentiles(tmp_path: Path) -> None:
    files = write(tmp_path / "src", pet(DecayCorrection="NONE"))
    made = pictures_of(files, RECIPE.model_copy(update={"window_suv": None}))
    assert [picture.unit for picture in made.pictures] == ["relative"] * 3 and not made.refused


def test_a_picture_of_a_pet_slice_is_not_beside_suv(tmp_path: Path) -> None:
    screen = {"SOPClassUID": SC, "ConversionType": "WSD", "ImageType": ["DERIVED", "SECONDARY"]}
    lone = ("ImagePositionPatient", "ImageOrientationPatient")
    files = write(tmp_path / "src", [*pet(), pet_slice(9, drop=lone, SeriesInstanceUID="1.2.9", **screen)])
    units = {picture.modality: picture.unit for picture in pictures_of(files, RECIPE).pictures}
    assert units == {"PT": "SUV", "OT": "relative"}


def test_ct_beside_pet_keeps_its_window(tmp_path: Path) -> None:
    files = write(tmp_path / "src", [*pet(SeriesInstanceUID="1.2.9"), *(ct_slice(i) for i in range(8))])
    units = {picture.modality: picture.unit for picture in pictures_of(files, RECIPE).pictures}
    assert units == {"CT": "HU", "PT": "SUV"}


def test_a_window_the_wrong_way_round_is_refused(tmp_path: Path) -> None:
    (tmp_path / "r.toml").write_text("[preprocess]\nwindow_suv = [4.0, 0.0]\n")
    with pytest.raises(UsageError, match="window_suv: the lower end"):
        load(PreprocessRecipe, str(tmp_path / "r.toml"))


def test_another_window_is_another_sample(tmp_path: Path) -> None:
    home = Home.create(tmp_path / "home")
    study = sealed_study(home, pet(), patient="p")
    keys = {sample_key(study, RECIPE.model_copy(update={"window_suv": w}), home) for w in (None, WINDOW, (0.0, 9.0))}
    assert len(keys) == 3


def deidentified(folder: Path, datasets: list[Dataset], profile: str) -> list[Path]:
    write(folder / "src", datasets)
    recipe = DeidentifyRecipe.model_validate({"profile": profile})
    report = deidentify_folder(folder / "src", folder / "out", key=b"k" * 32, recipe=recipe)
    assert report["written"] == len(datasets)
    return sorted((folder / "out").rglob("*.dcm"))


def test_the_research_profile_keeps_what_suv_needs_and_the_basic_one_does_not(tmp_path: Path) -> None:
    start = isotope(RadiopharmaceuticalStartDateTime="20200101120000")
    for name, more in (("time", {}), ("date", {"RadiopharmaceuticalInformationSequence": [start]})):
        planes, _ = read_planes(deidentified(tmp_path / name, pet(**more), "research"))
        factor, why = suv_factor(sort_planes(planes).stacks[0].planes)
        assert why is None and factor == pytest.approx(G_PER_ML, rel=1e-6)
    planes, _ = read_planes(deidentified(tmp_path / "basic", pet(), "basic"))
    assert suv_factor(sort_planes(planes).stacks[0].planes) == (None, NoSuv.WEIGHT)


@pytest.mark.parametrize(
    ("vendor", "kept"), [(siemens, (True, True)), (ge, (True, False)), (philips, (True, False)), (uih, (False, False))]
)
def test_what_the_research_profile_keeps_of_private_diffusion(tmp_path: Path, vendor: Any, kept: tuple[bool]) -> None:
    datasets = [private(mr_slice(i), *vendor(1000, Y)) for i in range(3)]
    planes, _ = read_planes(deidentified(tmp_path, datasets, "research"))
    assert {(plane.phase[5] == 1000, "0.80" in str(plane.phase[6])) for plane in planes} == {kept}
