import json
import zlib
from pathlib import Path

import numpy as np
import pytest
from dicom_series import SC, ct_slice, film, sealed_study, uid, write
from pydicom.dataset import Dataset

from medgan.cohort.arrays import PARTS, read_cohort, write_cohort
from medgan.errors import Reason, SourceError, StudyRejected, UsageError
from medgan.home import Home
from medgan.recipes import PreprocessRecipe
from medgan.records import Cohort, Quarantined, Sample, Study
from medgan.stages.packed import import_cohort
from medgan.stages.preprocess import (
    assemble_cohorts,
    preprocess_folder,
    preprocess_studies,
    preprocess_study,
)
from medgan.stages.quality import Quality

RECIPE = PreprocessRecipe(size=16, slices=3, min_class_patients=2)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home.create(tmp_path / "home")


def radiograph(name: object, **more: object) -> Dataset:
    pixels = np.random.default_rng(zlib.crc32(str(name).encode())).integers(0, 4096, (24, 20)).astype("<u2")
    return film(name, pixels, BitsStored=12, HighBit=11, **more)


def ct_study(number: int, **more: object) -> list[Dataset]:
    return [ct_slice(i, series=f"1.2.{number}.7", StudyInstanceUID=f"1.2.{number}", **more) for i in range(10)]


def pictures(home: Home, sample: Sample, group: str) -> np.ndarray:
    return np.load(home.research.store.path(sample.digest) / f"{group}.npy")


def everything(folder: Path) -> dict[str, bytes]:
    return {file.relative_to(folder).as_posix(): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def test_a_film_and_a_volume_become_pictures_of_two_groups(home: Home) -> None:
    slices = ct_study(1)
    both = [*slices, radiograph("f", StudyInstanceUID="1.2.1", Modality="CR")]
    study = sealed_study(home, both, patient="p", label=lambda name: "" if name == uid("f") else "nodule")
    sample = preprocess_study(study, RECIPE, home)
    assert sample.groups == {"CT-CHEST-2d-16": 3, "XR-CHEST-2d-16": 1} and not sample.refused
    about = json.loads((home.research.store.path(sample.digest) / "samples.json").read_bytes())
    assert about["groups"]["CT-CHEST-2d-16"]["labels"] == ["nodule"] * 3
    assert about["groups"]["XR-CHEST-2d-16"]["labels"] == [""]
    ct = pictures(home, sample, "CT-CHEST-2d-16")
    assert ct.shape == (3, 1, 1, 16, 16) and ct.dtype == np.uint8
    hu = ct[:, 0, 0, 8, 8].astype(float) * 1400 / 255 - 1000
    assert np.allclose(hu, [30, 50, 70], atol=3)  # slices 3, 5 and 7 of ten


def test_a_volume_is_brought_whole_onto_a_grid_of_three_axes(home: Home) -> None:
    study = sealed_study(home, ct_study(1), patient="p")
    sample = preprocess_study(study, RECIPE.model_copy(update={"dims": 3, "depth": 5}), home)
    (volume,) = pictures(home, sample, "CT-CHEST-3d-16")
    hu = volume[0, :, 8, 8].astype(float) * 1400 / 255 - 1000
    assert volume.shape == (1, 5, 16, 16) and np.allclose(hu, [5, 25, 45, 65, 85], atol=4)
    assert (volume[0, :, 0] > volume[0, :, 8]).all()


def test_the_same_study_gives_the_same_bytes_in_another_home(tmp_path: Path) -> None:
    folders = []
    for name in "ab":
        home = Home.create(tmp_path / name)
        (home.root / "identified" / "key").write_text("ab" * 32)
        study = sealed_study(home, [*ct_study(1), radiograph("f", StudyInstanceUID="1.2.1")], patient="p")
        sample = preprocess_study(study, RECIPE, home)
        (cohort, _) = assemble_cohorts([sample], RECIPE, home)
        folders.append(everything(home.research.store.path(sample.digest)))
        folders.append(everything(home.research.store.path(cohort.digest)))
    assert folders[0] == folders[2] and folders[1] == folders[3]


def test_a_study_that_was_done_is_not_opened_again(home: Home) -> None:
    study = sealed_study(home, ct_study(1), patient="p")
    sample = preprocess_study(study, RECIPE, home)
    home.research.store.drop(study.digest)
    assert preprocess_study(study, RECIPE, home) == sample
    another_split = RECIPE.model_copy(update={"split": (1.0, 0.0, 0.0, 0.0)})
    assert preprocess_study(study, another_split, home) == sample


def test_equal_pictures_of_two_patients_are_two_artefacts(home: Home) -> None:
    samples = [
        preprocess_study(sealed_study(home, ct_study(number), patient=f"p{number}"), RECIPE, home) for number in (1, 2)
    ]
    assert samples[0].digest != samples[1].digest


def test_lineage_is_recorded(home: Home) -> None:
    study = sealed_study(home, ct_study(1), patient="p")
    sample = preprocess_study(study, RECIPE, home)
    (cohort,) = assemble_cohorts([sample], RECIPE, home)
    (page,) = home.research.records("quality", Quality)
    assert home.research.ledger.made_from(study.digest) == {sample.digest, cohort.digest, page.digest}
    assert home.research.ledger.patients_of(page.digest) == {study.patient_key}
    assert home.research.ledger.patients_of(cohort.digest) == {study.patient_key}
    assert home.research.records("assemble", Cohort) == [cohort]


REJECTED = {
    "a gap": ([s for i, s in enumerate(ct_study(1)) if i != 4], Reason.MISSING_SLICE),
    "a blank film": ([film("b", np.zeros((20, 20), np.uint8))], Reason.BLANK),
    "a CT that does not say its unit": (
        ct_study(1, RescaleIntercept=None, RescaleSlope=None),
        Reason.MISSING_ATTRIBUTE,
    ),
    "a screen of a CT workstation": (
        [
            film(
                "s",
                np.eye(20, dtype=np.uint8),
                SOPClassUID=SC,
                Modality="CT",
                ConversionType="WSD",
                ImageType=["DERIVED", "SECONDARY", "DOSE_INFO"],
            )
        ],
        Reason.NO_POSITION,
    ),
}


@pytest.mark.parametrize("name", REJECTED)
def test_a_study_without_a_usable_picture_is_rejected_once(home: Home, name: str) -> None:
    datasets, reason = REJECTED[name]
    study = sealed_study(home, datasets, patient="p")
    with pytest.raises(StudyRejected) as caught:
        preprocess_study(study, RECIPE, home)
    assert caught.value.reason == reason and caught.value.study_key == study.study_key
    wanted = Quarantined(study_key=study.study_key, stage="preprocess", reason=reason)
    assert preprocess_studies([study, study], RECIPE, home) == [wanted, wanted]
    home.research.store.drop(study.digest)
    assert preprocess_studies([study], RECIPE, home) == [wanted]
    assert [row["times"] for row in home.research.ledger.set_aside_rows("preprocess")] in ([1], [2])


def test_what_is_refused_beside_a_usable_picture_is_counted(home: Home) -> None:
    datasets = [*ct_study(1)[:4], radiograph("f", StudyInstanceUID="1.2.1"), *ct_study(1)[5:]]
    sample = preprocess_study(sealed_study(home, datasets, patient="p"), RECIPE, home)
    assert sample.groups == {"XR-CHEST-2d-16": 1} and sample.refused == {Reason.MISSING_SLICE: 1}


def test_outcomes_keep_the_order_of_studies(home: Home) -> None:
    studies = [sealed_study(home, [radiograph(i)], patient=f"p{i}") for i in range(12)]
    studies[5] = sealed_study(home, [film("b", np.zeros((20, 20), np.uint8))], patient="p5")
    outcomes = preprocess_studies(studies, RECIPE, home)
    assert [outcome.study_key for outcome in outcomes] == [study.study_key for study in studies]
    assert [type(outcome) is Quarantined for outcome in outcomes] == [i == 5 for i in range(12)]


def test_monochrome1_is_inverted_and_a_film_is_squared_with_black(home: Home) -> None:
    pixels = np.repeat(np.linspace(0, 4095, 32).astype("<u2")[:, None], 16, axis=1)
    plain = film("a", pixels, BitsStored=12, HighBit=11)
    inverted = film("b", (4095 - pixels).astype("<u2"), BitsStored=12, HighBit=11)
    inverted.PhotometricInterpretation = "MONOCHROME1"
    made = [
        pictures(home, preprocess_study(sealed_study(home, [one], patient="p"), RECIPE, home), "XR-CHEST-2d-16")[
            0, 0, 0
        ]
        for one in (plain, inverted)
    ]
    assert np.array_equal(*made)
    assert not made[0][:, :4].any() and not made[0][:, 12:].any()
    assert (np.diff(made[0][:, 8].astype(int)) >= 0).all() and made[0][0, 8] == 0 and made[0][-1, 8] == 255


def test_pixels_that_are_not_square_keep_the_aspect_of_the_patient(home: Home) -> None:
    tall = film("a", np.random.default_rng(0).integers(0, 255, (20, 20), np.uint8), PixelSpacing=[2.0, 1.0])
    sample = preprocess_study(sealed_study(home, [tall], patient="p"), RECIPE, home)
    picture = pictures(home, sample, "XR-CHEST-2d-16")[0, 0, 0]
    assert not picture[:, :4].any() and not picture[:, 12:].any() and picture[:, 4:12].any(axis=0).all()


@pytest.mark.parametrize(
    ("modality", "part", "group"),
    [
        ("CR", "Chest", "XR-CHEST-2d-16"),
        ("DX", "", "XR-ANY-2d-16"),
        ("MG", "BREAST", "MG-BREAST-2d-16"),
        ("OT", "MEIER^ANNA", "OT-ANY-2d-16"),
        ("ANNA", "HAND", "OT-HAND-2d-16"),
    ],
)
def test_a_group_name_holds_only_known_words(home: Home, modality: str, part: str, group: str) -> None:
    study = sealed_study(home, [radiograph("f", Modality=modality, BodyPartExamined=part)], patient="p")
    sample = preprocess_study(study, RECIPE, home)
    assert sample.groups == {group: 1}
    (cohort,) = assemble_cohorts([sample], RECIPE, home)
    for digest in (sample.digest, cohort.digest):
        text = b"".join(everything(home.research.store.path(digest)).values())
        assert not any(word in text for word in (b"MEIER", b"ANNA"))


def many(home: Home, count: int, **more: object) -> list[Sample]:
    studies: list[Study] = []
    for i in range(count):
        studies.append(
            sealed_study(home, [radiograph(("m", i))], patient=f"p{i // 2}", label=("a", "b", "c")[i % 3], **more)
        )
    outcomes = preprocess_studies(studies, RECIPE, home)
    return [outcome for outcome in outcomes if isinstance(outcome, Sample)]


def test_a_cohort_keeps_patients_together_and_its_order_is_fixed(home: Home) -> None:
    samples = many(home, 40)
    (cohort,) = assemble_cohorts(samples, RECIPE, home)
    assert assemble_cohorts(samples[::-1], RECIPE, home) == (cohort,)
    assert cohort.count == 40 and cohort.patients == 20 and cohort.classes == ("a", "b", "c")
    read = read_cohort(home.research.store.path(cohort.digest) / "cohort.zarr")
    assert read.patient_key.tolist() == sorted(read.patient_key.tolist())
    sides = {(key, int(part)) for key, part in zip(read.patient_key, read.split, strict=True)}
    assert len(sides) == 20
    assert cohort.splits == {name: int((read.split == i).sum()) for i, name in enumerate(PARTS)}


def test_more_patients_move_nobody_to_another_side(home: Home) -> None:
    samples = many(home, 40)
    sides = []
    for some in (samples[:20], samples):
        (cohort,) = assemble_cohorts(some, RECIPE, home)
        read = read_cohort(home.research.store.path(cohort.digest) / "cohort.zarr")
        sides.append(dict(zip(read.patient_key.tolist(), read.split.tolist(), strict=True)))
    assert sides[0].items() <= sides[1].items()


def test_a_withdrawn_patient_is_left_out(home: Home) -> None:
    samples = many(home, 10)
    home.research.ledger.bury(samples[0].patient_key, "withdrawn")
    (cohort,) = assemble_cohorts(samples, RECIPE, home)
    assert cohort.count == 8 and samples[0].patient_key not in home.research.ledger.patients_of(cohort.digest)


def test_the_cohort_of_most_patients_comes_first(home: Home) -> None:
    samples = [*many(home, 6), preprocess_study(sealed_study(home, ct_study(1), patient="q"), RECIPE, home)]
    assert [cohort.group for cohort in assemble_cohorts(samples, RECIPE, home)] == ["XR-CHEST-2d-16", "CT-CHEST-2d-16"]
    assert assemble_cohorts([], RECIPE, home) == ()


def test_copies_among_pictures_without_patients_are_joined(home: Home) -> None:
    pixels = np.kron(np.random.default_rng(2).random((4, 4)), np.ones((6, 6))) * 255
    datasets = [film(("copy", i), pixels.astype(np.uint8)) for i in range(6)]
    studies = [sealed_study(home, [one], patient=f"i{i}", unit="image") for i, one in enumerate(datasets)]
    samples = [preprocess_study(study, RECIPE, home) for study in studies]
    (cohort,) = assemble_cohorts(samples, RECIPE, home)
    assert cohort.unit == "image" and cohort.patients == 1 and max(cohort.splits.values()) == 6
    assert len(home.research.ledger.patients_of(cohort.digest)) == 6


def test_an_npz_becomes_a_cohort_on_the_grid(home: Home, tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (30, 28, 28), np.uint8)
    np.savez(tmp_path / "c.npz", images=pixels, labels=np.arange(30) % 2)
    cohort = import_cohort(tmp_path / "c.npz", RECIPE, home)
    assert (cohort.group, cohort.count, cohort.unit) == ("OT-ANY-2d-16", 30, "image")
    assert cohort.classes == ("0", "1") and cohort.shape == (1, 1, 16, 16)
    assert import_cohort(tmp_path / "c.npz", RECIPE, home) == cohort


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_a_packed_npz_says_what_its_integers_mean_over_their_whole_range(
    home: Home, tmp_path: Path, dtype: str
) -> None:
    top = np.iinfo(dtype).max
    pixels = np.random.default_rng(0).integers(0, top, (20, 16, 16), dtype, endpoint=True)
    np.savez(tmp_path / "c.npz", images=pixels)
    made = import_cohort(tmp_path / "c.npz", RECIPE, home)
    read = read_cohort(home.research.store.path(made.digest) / "cohort.zarr")
    values = read.images * read.attributes["scale"] + read.attributes["offset"]
    assert read.images.dtype == dtype and values.max() == pytest.approx(1.0, abs=1e-2) and values.min() >= 0
    assert np.allclose(read.floats(), values * 2 - 1, atol=1e-6)


def test_a_packed_cohort_keeps_its_split_and_keys(home: Home, tmp_path: Path) -> None:
    (cohort,) = assemble_cohorts(many(home, 20), RECIPE, home)
    packed = home.research.store.path(cohort.digest) / "cohort.zarr"
    other = Home.create(tmp_path / "other")
    taken = import_cohort(packed, RECIPE, other)
    assert taken == cohort
    assert other.research.ledger.patients_of(taken.digest) == home.research.ledger.patients_of(cohort.digest)


@pytest.mark.parametrize("what", ["nothing there", "an empty folder", "a text"])
def test_what_is_no_cohort_is_wrong_usage(home: Home, tmp_path: Path, what: str) -> None:
    place = tmp_path / "c"
    if what == "an empty folder":
        place.mkdir()
    elif what == "a text":
        place.write_text("hello")
    with pytest.raises(UsageError):
        import_cohort(place, RECIPE, home)


def test_a_folder_of_dicom_becomes_a_packed_cohort_without_a_home(tmp_path: Path) -> None:
    write(tmp_path / "src" / "a", ct_study(1, PatientID="Doe^Jane"))
    write(tmp_path / "src" / "b", [radiograph("f", PatientID="Doe^Jane"), radiograph("g", PatientID="Roe^Rick")])
    (tmp_path / "src" / "notes.txt").write_text("not DICOM")
    report = preprocess_folder(tmp_path / "src", tmp_path / "dst", RECIPE)
    assert report["groups"] == {"CT-CHEST-2d-16": 3, "XR-CHEST-2d-16": 2} and report["refused"] == {"unreadable": 1}
    read = read_cohort(tmp_path / "dst" / "XR-CHEST-2d-16.zarr")
    assert len(set(read.patient_key.tolist())) == 2
    assert not any(b"Doe" in data or b"Roe" in data for data in everything(tmp_path / "dst").values())
    with pytest.raises(UsageError, match="holds something already"):
        preprocess_folder(tmp_path / "src", tmp_path / "dst", RECIPE)


def test_a_folder_without_a_usable_picture_says_why(tmp_path: Path) -> None:
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "notes.txt").write_text("not DICOM")
    with pytest.raises(SourceError, match=r"unreadable \(1\)"):
        preprocess_folder(tmp_path / "src", tmp_path / "dst", RECIPE)
    with pytest.raises(SourceError, match="not a folder"):
        preprocess_folder(tmp_path / "nowhere", tmp_path / "dst", RECIPE)


def test_a_cohort_kept_elsewhere_that_was_changed_is_refused(home: Home, tmp_path: Path) -> None:
    (cohort,) = assemble_cohorts(many(home, 10), RECIPE, home)
    read = read_cohort(home.research.store.path(cohort.digest) / "cohort.zarr")
    read.label[:] = 9
    write_cohort(tmp_path / "c.zarr", read)
    with pytest.raises(UsageError, match="labels"):
        import_cohort(tmp_path / "c.zarr", RECIPE, home)
