"""Masks all the way: a made-up CT with its DICOM SEG, taken in, de-identified, brought onto the grid of a cohort."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from dicom_series import ct_slice, sealed_study, write
from pydicom.dataset import Dataset
from segmentations import LEFT, LIVER, LUNG, RIGHT, segment, segmentation

from medgan.cohort.arrays import CohortArrays, read_cohort, read_part, write_cohort
from medgan.errors import Reason, UsageError
from medgan.home import Home
from medgan.recipes import DeidentifyRecipe, IngestRecipe, PreprocessRecipe
from medgan.records import IdentifiedStudy, Sample
from medgan.sources.source import open_source
from medgan.stages.deidentify import deidentify_studies
from medgan.stages.ingest import ingest, pending
from medgan.stages.packed import import_cohort
from medgan.stages.preprocess import assemble_cohorts, preprocess_folder, preprocess_studies, preprocess_study

WHOLE = PreprocessRecipe(dims=3, size=16, depth=8, masks="optional", min_class_patients=1)
CUBES = WHOLE.model_copy(update={"spacing_mm": 1.0, "size": 32, "depth": 16})
SLICES = PreprocessRecipe(size=16, slices=3, masks="optional", min_class_patients=1)
SHAPE = (12, 40, 40)
LUNGS = [segment(1, LUNG, RIGHT), segment(2, LUNG, LEFT)]
RIGHT_LUNG, LEFT_LUNG, LIVER_CODE = "SCT:39607008+SCT:24028007", "SCT:39607008+SCT:7771000", "SCT:10200004"


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home.create(tmp_path / "home")


def scan(number: int = 1, **more: object) -> list[Dataset]:
    """A CT of 12 slices of 40 x 40 pixels that looks like no other number's."""
    block = np.random.default_rng(number).integers(200, 1400, (12, 8, 8)).repeat(5, 1).repeat(5, 2).astype("<u2")
    fixed = {"StudyInstanceUID": f"1.2.{number}", "PatientID": f"P{number}", **more}
    return [
        ct_slice(i, side=40, series=f"1.2.{number}.7", PixelData=block[i].tobytes(), **fixed) for i in range(len(block))
    ]


def lungs() -> np.ndarray:
    """Two ellipsoids, 1 on the patient's right and 2 on the left, unlike each other."""
    d, h, w = np.mgrid[:12, :40, :40]
    right = ((d - 5) / 5) ** 2 + ((h - 19) / 13) ** 2 + ((w - 11) / 7) ** 2 < 1
    left = ((d - 6) / 4) ** 2 + ((h - 21) / 11) ** 2 + ((w - 28) / 8) ** 2 < 1
    return np.where(right, 1, np.where(left, 2, 0))


def sampled(marked: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """The voxel of `marked` in which the middle of each voxel of a coarser grid over the same extent lies."""
    places = [((np.arange(m) + 0.5) * n / m).astype(int) for n, m in zip(marked.shape, shape, strict=True)]
    return marked[np.ix_(*places)]


def cohort_of(home: Home, recipe: PreprocessRecipe, *studies: list[Dataset]) -> CohortArrays:
    sealed = [sealed_study(home, datasets, patient=f"p{number}") for number, datasets in enumerate(studies)]
    (cohort,) = assemble_cohorts([preprocess_study(study, recipe, home) for study in sealed], recipe, home)
    return read_cohort(home.research.store.path(cohort.digest) / "cohort.zarr")


def taken_in(home: Home, folder: Path, profile: str) -> IdentifiedStudy:
    ingest(open_source(str(folder)), IngestRecipe(), home)
    (study,) = deidentify_studies(pending(home), DeidentifyRecipe(profile=profile), home)
    return study


@pytest.mark.parametrize("profile", ["research", "basic"])
def test_a_mask_goes_the_whole_road(tmp_path: Path, home: Home, profile: str) -> None:
    named = [segment(1, LUNG, RIGHT, SegmentLabel="lung of Doe Jane", TrackingID="Doe-1"), LUNGS[1]]
    write(tmp_path / "src", [*scan(), segmentation(scan(), lungs(), named)])
    study = taken_in(home, tmp_path / "src", profile)
    assert study.n_instances == 13 and study.modalities == ("CT", "SEG")
    (sample,) = preprocess_studies([study], WHOLE, home)
    assert sample.groups == {"CT-CHEST-3d-16": 1} and not sample.refused
    (cohort,) = assemble_cohorts([sample], WHOLE, home)
    arrays = read_cohort(home.research.store.path(cohort.digest) / "cohort.zarr")
    expected = sampled(lungs(), (8, 16, 16))
    # codes are in order: the left lung (7771000) comes after the right one (24028007)
    assert arrays.mask.shape == arrays.images.shape == (1, 1, 8, 16, 16) and arrays.has_mask.tolist() == [1]
    assert np.array_equal(arrays.mask[0, 0], expected) and set(np.unique(expected)) == {0, 1, 2}
    assert arrays.attributes["segments"] == [
        {"label": 1, "code": RIGHT_LUNG, "meaning": "Lung, Right"},
        {"label": 2, "code": LEFT_LUNG, "meaning": "Lung, Left"},
    ]
    everything = b"".join(f.read_bytes() for f in (home.root / "research").rglob("*") if f.is_file())
    assert b"Doe" not in everything and b"1.2.1.7" not in everything


def test_slices_have_the_mask_of_their_place(home: Home) -> None:
    arrays = cohort_of(home, SLICES, [*scan(), segmentation(scan(), lungs(), LUNGS)])
    expected = [sampled(lungs()[[i]], (1, 16, 16)) for i in (3, 6, 8)]
    assert arrays.mask.shape == (3, 1, 1, 16, 16)
    assert np.array_equal(arrays.mask[:, 0], np.stack(expected))


def test_a_block_around_the_body_is_cut_out_of_the_mask_too(home: Home) -> None:
    """The image is bright where something is drawn, and the two stay together however the block is moved."""
    marked = np.roll(lungs(), (2, -5, 9), (0, 1, 2))  # far from the middle of the grid
    slices = scan()
    for i, one in enumerate(slices):
        one.PixelData = np.where(marked[i] > 0, 1324, 100).astype("<u2").tobytes()
    arrays = cohort_of(home, CUBES, [*slices, segmentation(slices, marked, LUNGS)])
    hu = arrays.images[0, 0].astype(float) * arrays.attributes["scale"] + arrays.attributes["offset"]
    inside, bright = arrays.mask[0, 0] > 0, hu > -300
    assert inside.sum() > 2000 and 2 * (inside & bright).sum() > 0.9 * (inside.sum() + bright.sum())


def test_a_finer_grid_that_is_shifted_and_turned_says_the_same_places(home: Home) -> None:
    """The same lungs drawn on sagittal slices from head to feet, at half the spacing and another origin."""
    fine = np.zeros((12, 80, 80), int)
    fine[:] = lungs().repeat(2, 1).repeat(2, 2)
    # slices go to the right, rows to the head, columns to the front: (w, d, h) each reversed or not
    sagittal = fine[::-1, ::-1, ::-1].transpose(2, 0, 1)
    turned = segmentation(
        scan(),
        sagittal[8:],
        LUNGS,
        origin=[-0.25 + 39.5 - 0.5 * 8, 39.25, 22.0],
        step=[-0.5, 0.0, 0.0],
        orientation=[0.0, -1.0, 0.0, 0.0, 0.0, -1.0],
        spacing=[2.0, 0.5],
    )
    arrays = cohort_of(home, WHOLE, [*scan(), turned])
    assert np.array_equal(arrays.mask[0, 0], sampled(lungs(), (8, 16, 16)))


def test_a_picture_that_is_turned_turns_its_mask(home: Home) -> None:
    """Slices whose rows run to the right and to the front: the picture is turned upright, the mask with it."""
    upright = scan()
    prone = [-1.0, 0.0, 0.0, 0.0, -1.0, 0.0]
    slices = scan(2)
    for one, other in zip(slices, upright, strict=True):
        one.PixelData = other.pixel_array[::-1, ::-1].tobytes()
        one.ImageOrientationPatient = prone
        one.ImagePositionPatient = [39.0, 39.0, other.ImagePositionPatient[2]]
    there = segmentation(slices, lungs()[:, ::-1, ::-1], LUNGS, orientation=prone)
    here = segmentation(upright, lungs(), LUNGS)
    for recipe in (WHOLE, SLICES):
        one, other = (
            cohort_of(Home.create(home.root / f"{recipe.dims}{n}"), recipe, s)
            for n, s in enumerate(([*upright, here], [*slices, there]))
        )
        assert np.array_equal(one.images, other.images) and np.array_equal(one.mask, other.mask) and one.mask.any()


def test_missing_frames_are_empty_slices(home: Home) -> None:
    marked = lungs()
    marked[[4, 7]] = 0
    arrays = cohort_of(home, WHOLE, [*scan(), segmentation(scan(), marked, LUNGS)])
    assert np.array_equal(arrays.mask[0, 0], sampled(marked, (8, 16, 16)))


def sample_of(home: Home, recipe: PreprocessRecipe, *masks: Dataset) -> Sample:
    return preprocess_study(sealed_study(home, [*scan(), *masks], patient="p"), recipe, home)


def far(**more: object) -> Dataset:
    return segmentation(scan(), lungs(), LUNGS, **more)


UNFIT = {
    "another frame of reference": lambda: [far(FrameOfReferenceUID="1.2.3.10")],
    "another series": lambda: [segmentation(scan(2), lungs(), LUNGS)],
    "half of it beside the picture": lambda: [far(origin=[30.0, 30.0, 0.0])],
    "two labels in one place": lambda: [far(), segmentation(scan(), (lungs() > 0) * 2, name="liver")],
    "not one step apart": lambda: [far(step=[0.3, 0.0, 2.0])],
    "a label that the grid loses": lambda: [far(), segmentation(scan(), speck(), name="speck")],
}


def speck() -> np.ndarray:
    marked = np.zeros(SHAPE, int)
    marked[1, 1, 1] = 2
    return marked


@pytest.mark.parametrize("name", UNFIT)
def test_what_does_not_fit_is_no_mask_and_the_picture_stays(home: Home, name: str) -> None:
    sample = sample_of(home, WHOLE, *UNFIT[name]())
    assert sample.refused == {Reason.MASK_UNFIT: 1} and sample.groups == {"CT-CHEST-3d-16": 1}
    (cohort,) = assemble_cohorts([sample], WHOLE, home)
    arrays = read_cohort(home.research.store.path(cohort.digest) / "cohort.zarr")
    assert arrays.mask is None and arrays.has_mask is None and "segments" not in arrays.attributes


def test_two_masks_of_a_series_are_laid_over_each_other(home: Home) -> None:
    right, left = (np.where(lungs() == n, n, 0) for n in (1, 2))
    both = [segmentation(scan(), right, LUNGS[:1], name="r"), segmentation(scan(), left, LUNGS[1:], name="l")]
    arrays = cohort_of(home, WHOLE, [*scan(), *both])
    assert np.array_equal(arrays.mask[0, 0], sampled(lungs(), (8, 16, 16)))


def test_a_label_means_the_same_in_all_studies_of_a_cohort(home: Home) -> None:
    liver = segmentation(scan(2), (lungs() == 2) * 1, [segment(1, LIVER)], name="liver")
    lung = segmentation(scan(1), lungs() > 0, [segment(1, LUNG)], name="lung")
    arrays = cohort_of(home, WHOLE, [*scan(1), lung], [*scan(2), liver], scan(3))
    assert [one["code"] for one in arrays.attributes["segments"]] == [LIVER_CODE, "SCT:39607008"]
    found = {tuple(np.unique(mask).tolist()): int(has) for mask, has in zip(arrays.mask, arrays.has_mask, strict=True)}
    assert found == {(0, 1): 1, (0, 2): 1, (0,): 0}


def test_the_recipe_chooses_segments_and_their_numbers(home: Home) -> None:
    marked = np.where(lungs() == 2, 3, lungs())
    mixed = segmentation(scan(), marked, [segment(1, LUNG, RIGHT), segment(3, LIVER), segment(4, ("1", "99X", "x"))])
    recipe = WHOLE.model_copy(update={"segments": ("SCT:64033007", "SCT:39607008")})
    arrays = cohort_of(home, recipe, [*scan(), mixed])
    assert np.array_equal(arrays.mask[0, 0], 2 * (sampled(marked, (8, 16, 16)) == 1))
    assert [one["meaning"] for one in arrays.attributes["segments"]] == ["Kidney", "Lung"]


def test_pictures_without_a_mask_are_left_out_where_the_recipe_says_so(home: Home) -> None:
    required = SLICES.model_copy(update={"masks": "required"})
    studies = [sealed_study(home, scan(1), patient="a")]
    studies.append(sealed_study(home, [*scan(2), segmentation(scan(2), lungs(), LUNGS)], patient="b"))
    left_out, made = preprocess_studies(studies, required, home)
    assert left_out.reason == Reason.NO_USABLE_SERIES and made.groups == {"CT-CHEST-2d-16": 3}


def test_a_recipe_without_masks_makes_no_picture_of_one(home: Home, tmp_path: Path) -> None:
    plain = WHOLE.model_copy(update={"masks": "none"})
    study = [*scan(), far()]
    arrays = cohort_of(home, plain, study)
    assert arrays.mask is None and len(arrays) == 1
    bare = sealed_study(home, [segmentation(scan(5), lungs(), LUNGS)], patient="q")
    (nothing,) = preprocess_studies([bare], plain, home)
    assert nothing.reason == Reason.NO_USABLE_SERIES
    write(tmp_path / "src", study)
    report = preprocess_folder(tmp_path / "src", tmp_path / "dst", plain)
    assert report["planes"] == 12 and report["corrected"] == {"mask_left_out": 1} and not report["refused"]


def test_a_sample_without_masks_is_not_taken_for_one_with_them(home: Home) -> None:
    study = sealed_study(home, [*scan(), far()], patient="p")
    recipes = [WHOLE, *(WHOLE.model_copy(update=some) for some in ({"masks": "none"}, {"segments": ("SCT:39607008",)}))]
    samples = [preprocess_study(study, recipe, home) for recipe in recipes]
    assert len({sample.digest for sample in samples}) == 3
    assert preprocess_study(study, WHOLE, home) == samples[0]


def test_a_folder_becomes_a_cohort_with_masks(tmp_path: Path) -> None:
    write(tmp_path / "src", [*scan(1), *scan(2), segmentation(scan(2), lungs(), LUNGS)])
    preprocess_folder(tmp_path / "src", tmp_path / "dst", WHOLE)
    arrays = read_cohort(tmp_path / "dst" / "CT-CHEST-3d-16.zarr")
    assert sorted(arrays.has_mask.tolist()) == [0, 1] and len(arrays.attributes["segments"]) == 2


def test_a_mask_that_comes_later_makes_a_new_version_and_the_same_split(tmp_path: Path, home: Home) -> None:
    write(tmp_path / "src", scan())
    before = taken_in(home, tmp_path / "src", "research")
    (first,) = preprocess_studies([before], WHOLE, home)
    write(tmp_path / "src" / "more", [far()])
    after = taken_in(home, tmp_path / "src", "research")
    (second,) = preprocess_studies([after], WHOLE, home)
    assert after.study_key == before.study_key and after.digest != before.digest and second.digest != first.digest
    cohorts = [assemble_cohorts([sample], WHOLE, home)[0] for sample in (first, second)]
    one, other = (read_cohort(home.research.store.path(c.digest) / "cohort.zarr") for c in cohorts)
    assert np.array_equal(one.images, other.images) and one.split.tolist() == other.split.tolist()
    assert one.mask is None and other.mask.any()
    assert preprocess_studies([after], WHOLE, home) == [second]


def test_a_cohort_with_masks_is_imported_with_them(tmp_path: Path, home: Home) -> None:
    write(tmp_path / "src", [*scan(), far()])
    preprocess_folder(tmp_path / "src", tmp_path / "dst", WHOLE)
    cohort = import_cohort(tmp_path / "dst" / "CT-CHEST-3d-16.zarr", WHOLE, home)
    there = home.research.store.path(cohort.digest) / "cohort.zarr"
    assert read_cohort(there).mask.any() and read_part(there, "train", "select", "audit", "fresh").mask is None
    write_cohort(tmp_path / "other.zarr", replace(read_cohort(there), mask=read_cohort(there).mask * 0))
    assert import_cohort(tmp_path / "other.zarr", WHOLE, home).digest != cohort.digest


def test_more_labels_than_a_mask_holds_must_be_named(home: Home) -> None:
    def many(number: int, first: int) -> Dataset:
        marked = np.zeros(SHAPE, int)
        marked.reshape(-1)[: 200 * 64] = np.arange(1, 201).repeat(64)
        codes = [segment(n, (str(first + n), "SCT", "x")) for n in range(1, 201)]
        return segmentation(scan(number), marked, codes)

    whole = WHOLE.model_copy(update={"size": 40, "depth": 12})
    with pytest.raises(UsageError, match="400 kinds of segments, expected at most 255"):
        cohort_of(home, whole, [*scan(1), many(1, 1000)], [*scan(2), many(2, 2000)])
