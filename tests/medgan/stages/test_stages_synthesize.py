"""A checkpoint and a seed make one synthetic cohort, always the same, in the files that were asked for."""

from __future__ import annotations

import csv
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from pydicom import dcmread

from medgan.cohort.arrays import read_cohort, stored
from medgan.errors import UsageError
from medgan.gan.checkpoint import load_generator, seal
from medgan.gan.networks import Design, build_discriminator, build_generator
from medgan.gan.sample import sample
from medgan.home import Home
from medgan.recipes import SynthesizeRecipe
from medgan.records import Checkpoint, Cohort
from medgan.stages.synthesize import export, synthesize

CLASSES = ("normal", "nodule", "effusion")
FLAT, DEEP = (1, 1, 32, 32), (1, 8, 32, 32)
ALL = ("zarr", "png", "dicom", "nifti")


def trained(home: Home, shape: tuple[int, int, int, int] = FLAT) -> Checkpoint:
    """A checkpoint as training seals it, with weights by chance."""
    design = Design(shape=shape, num_classes=3, widths=(16, 16), head=4, latent=8)
    chance = torch.Generator().manual_seed(0)
    generator, discriminator = build_generator(design, chance), build_discriminator(design, chance)
    state = {"images_seen": 64, "classes": CLASSES, "proportions": [0.5, 0.25, 0.25], "unit": "patient"}

    def fill(folder: Path) -> Checkpoint:
        seal(folder, generator, discriminator, state)
        return Checkpoint(
            digest="", images_seen=64, recipe_digest="r", cohort_digest="c", group="XR-CHEST-2d-32", network="residual"
        )

    key = f"train-{shape[1]}"
    return home.research.make(key, fill, stage="train", kind=Checkpoint, parents=["c"], patients=["ab" * 16])


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    return Home.create(tmp_path_factory.mktemp("home"))


@pytest.fixture(scope="module")
def cohort(home: Home) -> Cohort:
    return synthesize(trained(home), SynthesizeRecipe(images=20), home)


def place(home: Home, cohort: Cohort) -> Path:
    return home.research.store.path(cohort.digest)


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "labels.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_the_record_says_what_was_made(home: Home, cohort: Cohort) -> None:
    assert (cohort.origin, cohort.count, cohort.shape, cohort.patients) == ("synthetic", 20, FLAT, 0)
    assert cohort.group == "XR-CHEST-2d-32"
    arrays = read_cohort(place(home, cohort) / "cohort.zarr")
    assert arrays.images.shape == (20, *FLAT)
    assert arrays.attributes["origin"] == "synthetic"
    assert not any(key.strip("0") for key in arrays.patient_key)


def test_classes_come_in_the_proportions_of_training(home: Home, cohort: Cohort) -> None:
    assert Counter(row["label"] for row in rows(place(home, cohort))) == {"normal": 10, "nodule": 5, "effusion": 5}


def test_picture_dicom_and_array_of_an_image_agree(home: Home, cohort: Cohort) -> None:
    folder = place(home, cohort)
    arrays = read_cohort(folder / "cohort.zarr")
    for index, row in enumerate(rows(folder)):
        picture = np.asarray(Image.open(folder / row["file"]))
        instance = dcmread(folder / "dicom" / f"{index:05d}.dcm")
        np.testing.assert_array_equal(picture, arrays.images[index, 0, 0])
        np.testing.assert_array_equal(instance.pixel_array, picture)
        assert instance.ImageComments.endswith(row["label"]) and row["label"] == arrays.classes[arrays.label[index]]
        assert instance.BodyPartExamined == "CHEST"


def test_every_image_is_a_patient_of_its_own(home: Home, cohort: Cohort) -> None:
    found = [dcmread(file, stop_before_pixels=True) for file in sorted((place(home, cohort) / "dicom").iterdir())]
    for keyword in ("PatientID", "StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"):
        assert len({dataset[keyword].value for dataset in found}) == 20


def test_sealed_bytes_verify_and_name_their_lineage(home: Home, cohort: Cohort) -> None:
    home.research.store.verify(cohort.digest)
    assert trained(home).digest in home.research.ledger.made_of(cohort.digest)
    assert home.research.ledger.patients_of(cohort.digest) == {"ab" * 16}


def test_a_second_call_finds_the_first(home: Home, cohort: Cohort) -> None:
    seen: list[int] = []
    again = synthesize(trained(home), SynthesizeRecipe(images=20), home, on_progress=lambda done, _: seen.append(done))
    assert again == cohort
    assert seen == []


def test_made_anew_the_bytes_are_the_same(home: Home, cohort: Cohort) -> None:
    home.research.store.drop(cohort.digest)
    assert synthesize(trained(home), SynthesizeRecipe(images=20), home).digest == cohort.digest


def test_another_seed_gives_another_cohort_and_more_images_begin_with_the_same(home: Home, cohort: Cohort) -> None:
    other = synthesize(trained(home), SynthesizeRecipe(images=20, seed=1, formats=("zarr",)), home)
    longer = synthesize(trained(home), SynthesizeRecipe(images=70, formats=("zarr",)), home)
    first, second, third = (read_cohort(place(home, c) / "cohort.zarr").images for c in (cohort, other, longer))
    assert not np.array_equal(first, second)
    np.testing.assert_array_equal(first, third[:20])


def test_labels_asked_for_are_the_only_ones(home: Home) -> None:
    made = synthesize(trained(home), SynthesizeRecipe(images=6, labels=("nodule", "effusion"), formats=("zarr",)), home)
    assert Counter(row["label"] for row in rows(place(home, made))) == {"nodule": 3, "effusion": 3}


def test_an_unknown_label_is_refused_with_the_classes_named(home: Home) -> None:
    with pytest.raises(UsageError, match=r"synthesize.labels: .*'cat'; classes are normal, nodule, effusion"):
        synthesize(trained(home), SynthesizeRecipe(images=2, labels=("cat",)), home)


def test_progress_ends_at_the_number_of_images(home: Home) -> None:
    seen: list[tuple[int, int]] = []
    recipe = SynthesizeRecipe(images=70, seed=9, formats=("zarr",))
    synthesize(trained(home), recipe, home, on_progress=lambda done, total: seen.append((done, total)))
    assert seen == [(64, 70), (70, 70)]


def test_a_volume_is_written_in_every_format(home: Home, tmp_path: Path) -> None:
    made = synthesize(trained(home, DEEP), SynthesizeRecipe(images=2, formats=ALL), home)
    folder = place(home, made)
    volume = read_cohort(folder / "cohort.zarr").images[0, 0]
    np.testing.assert_array_equal(dcmread(folder / "dicom" / "00000.dcm").pixel_array, volume)
    assert (folder / "nifti" / "00000.nii.gz").is_file()


def test_export_writes_what_was_asked_and_equals_what_was_sealed(home: Home, cohort: Cohort, tmp_path: Path) -> None:
    export(cohort, tmp_path / "out", ("png", "nifti"), home)
    out = tmp_path / "out"
    assert sorted(path.name for path in out.iterdir()) == ["labels.csv", "nifti", "png"]
    assert (out / "labels.csv").read_bytes() == (place(home, cohort) / "labels.csv").read_bytes()
    assert (out / "png" / "00003.png").read_bytes() == (place(home, cohort) / "png" / "00003.png").read_bytes()
    assert list(tmp_path.iterdir()) == [out]


def test_dicom_exported_later_equals_dicom_sealed_at_once(home: Home, cohort: Cohort, tmp_path: Path) -> None:
    late = synthesize(trained(home), SynthesizeRecipe(images=20, formats=("zarr",)), home)
    export(late, tmp_path / "out", ("dicom",), home)
    for file in (place(home, cohort) / "dicom").iterdir():
        assert (tmp_path / "out" / "dicom" / file.name).read_bytes() == file.read_bytes()


def occupied(tmp_path: Path, cohort: Cohort) -> tuple[Cohort, tuple[str, ...]]:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "theirs").touch()
    return cohort, ("png",)


def unknown(tmp_path: Path, cohort: Cohort) -> tuple[Cohort, tuple[str, ...]]:
    return cohort, ("jpeg",)


def real(tmp_path: Path, cohort: Cohort) -> tuple[Cohort, tuple[str, ...]]:
    return cohort.model_copy(update={"origin": "real"}), ("png",)


@pytest.mark.parametrize(
    ("case", "message"),
    [(occupied, "not an empty folder"), (unknown, "'jpeg', expected some of zarr, png"), (real, "only a synthetic")],
    ids=["occupied", "unknown format", "real cohort"],
)
def test_an_export_that_cannot_be_is_refused(case, message: str, home: Home, cohort: Cohort, tmp_path: Path) -> None:
    given, formats = case(tmp_path, cohort)
    with pytest.raises(UsageError, match=message):
        export(given, tmp_path / "out", formats, home)


PROGRAM = """
import sys, time
from pathlib import Path
from medgan.home import Home
from medgan.recipes import SynthesizeRecipe
from medgan.records import Checkpoint
from medgan.stages.synthesize import synthesize
home = Home.create(Path(sys.argv[1]))
made = next(c for c in home.research.records("train", Checkpoint) if c.digest == sys.argv[2])
def wait(done, total):
    Path(sys.argv[3]).touch()
    time.sleep(60)
synthesize(made, SynthesizeRecipe(images=20, seed=3), home, on_progress=wait)
"""


def test_killed_in_the_middle_the_next_run_makes_the_same(home: Home, tmp_path: Path) -> None:
    undisturbed = synthesize(trained(home), SynthesizeRecipe(images=20, seed=3), home)
    home.research.store.drop(undisturbed.digest)
    started = tmp_path / "started"
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(home.root), trained(home).digest, str(started)],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])},
    )
    while not started.exists() and process.poll() is None:
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert not home.research.store.has(undisturbed.digest)

    assert synthesize(trained(home), SynthesizeRecipe(images=20, seed=3), home) == undisturbed
    assert home.research.store.sweep() >= 1


def test_the_sealed_cohort_is_what_the_generator_gives_in_one_call(home: Home) -> None:
    made = synthesize(trained(home), SynthesizeRecipe(images=70, formats=("zarr",)), home)
    arrays = read_cohort(place(home, made) / "cohort.zarr")
    direct = sample(load_generator(place(home, trained(home))), arrays.label.astype(np.int64), seed=0)
    np.testing.assert_array_equal(arrays.images, stored(direct))
