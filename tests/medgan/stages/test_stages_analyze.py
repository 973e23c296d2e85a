"""Fit on the home's cohort, apply to what was kept for choosing; sealed, exported, and gone with a withdrawal."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from medgan.cohort.arrays import PARTS, read_cohort
from medgan.errors import CorruptArtefact, UsageError
from medgan.home import Home
from medgan.recipes import AnalyzeRecipe
from medgan.stages import newest
from medgan.stages.analyze import NOTICE, TABLES, apply, export, fit, task_of
from medgan.stages.withdraw import withdraw

RECIPE = AnalyzeRecipe(components=8)
COLUMNS = {
    "diagnose": "finding",
    "retrieve": "neighbour",
    "anomaly": "share_of_normal_as_far",
}


def npz(path: Path, *, side: int = 20, count: int = 24, labels: bool = True) -> Path:
    """Bright squares on the left or on the right, two images a patient."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 60, (count, side, side)).astype(np.uint8)
    label = np.arange(count) // 2 % 2
    for image, right in zip(images, label, strict=True):
        image[side // 4 : side // 2, slice(side // 2, None) if right else slice(0, side // 2)] += 150
    more = {"labels": np.array(["left", "right"])[label]} if labels else {}
    np.savez(path, images=images, patient_ids=np.array([f"P{i // 2}" for i in range(count)]), **more)
    return path


def table(home: Home, found) -> list[dict[str, str]]:
    with (home.research.store.path(found.digest) / found.file).open() as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("task", COLUMNS)
def test_fitted_on_the_train_part_and_applied_to_the_part_for_choosing(home: Home, task: str) -> None:
    real = newest.trained_on(home, newest.checkpoint(home))
    cohort = read_cohort(home.research.store.path(real.digest) / "cohort.zarr")
    model = fit(task_of(task), None, RECIPE, home)
    found = apply(model.task, model.digest, None, home, neighbours=2)
    rows = table(home, found)
    assert model.images == (cohort.split == 0).sum() and model.classes == cohort.classes
    chosen = np.flatnonzero(cohort.split == PARTS.index("select"))
    assert sorted({int(row["image"]) for row in rows}) == chosen.tolist()
    assert len(rows) == len(chosen) * (2 if task == "retrieve" else 1) and COLUMNS[task] in rows[0]
    assert {row["notice"] for row in rows} == {NOTICE}
    assert all(row["label"] == cohort.classes[cohort.label[int(row["image"])]] for row in rows)


def test_probabilities_of_each_class_add_up_and_a_neighbour_has_its_label(home: Home, tmp_path: Path) -> None:
    data = npz(tmp_path / "data.npz")
    model = fit("diagnose", data, RECIPE, home)
    rows = table(home, apply("diagnose", model.digest, data, home))
    for row in rows:
        assert float(row["p_left"]) + float(row["p_right"]) == pytest.approx(1, abs=1e-5)
    assert sum(row["finding"] == row["label"] for row in rows) > len(rows) * 0.7
    index = fit("retrieve", data, RECIPE, home)
    near = table(home, apply("retrieve", index.digest, data, home, neighbours=1))
    assert all(row["neighbour"] == row["image"] and row["neighbour_label"] == row["label"] for row in near)


def test_fitted_and_applied_again_it_is_the_same_artefact(home: Home) -> None:
    model = fit("anomaly", None, RECIPE, home)
    found = apply("anomaly", model.digest, None, home)
    digests = home.research.ledger.live_digests()
    assert fit("anomaly", None, RECIPE, home) == model and apply("anomaly", model.digest, None, home) == found
    for digest in (model.digest, found.digest):
        home.research.store.drop(digest)
    assert fit("anomaly", None, RECIPE, home) == model and apply("anomaly", model.digest, None, home) == found
    assert home.research.ledger.live_digests() == digests


def test_an_exported_model_serves_where_its_checkpoint_is_not(home: Home, tmp_path: Path) -> None:
    data = npz(tmp_path / "data.npz")
    model = fit("diagnose", data, RECIPE, home)
    export(model.digest, tmp_path / "model", home)
    other = Home.create(tmp_path / "other")
    found = apply("diagnose", str(tmp_path / "model"), data, other)
    assert [r["finding"] for r in table(other, found)] == [
        r["finding"] for r in table(home, apply("diagnose", model.digest, data, home))
    ]
    about = json.loads((tmp_path / "model" / "model.json").read_text())
    assert about["notice"] == NOTICE and not list((tmp_path / "model").rglob("*.pkl"))
    with pytest.raises(UsageError, match="not an empty folder"):
        export(model.digest, tmp_path / "model", home)


def test_no_patient_key_is_in_what_is_exported(home: Home) -> None:
    keys = {row.patient_key for row in home.identified_ledger.inputs() if row.patient_key}
    for task in TABLES:
        model = fit(task_of(task), None, RECIPE, home)
        for digest in (model.digest, apply(model.task, model.digest, None, home).digest):
            held = b"".join(f.read_bytes() for f in home.research.store.path(digest).rglob("*") if f.is_file())
            assert not [key for key in keys if key.encode() in held or bytes.fromhex(key) in held]


def test_with_a_withdrawn_patient_go_the_models_that_saw_them(home: Home, tmp_path: Path) -> None:
    model = fit("retrieve", None, RECIPE, home)
    found = apply("retrieve", model.digest, None, home, neighbours=1)
    learned = home.research.ledger.patients_of(model.digest)
    key = next(iter(learned))
    home.identified_ledger.bury(key, "withdrawn")
    withdraw(["nobody of that name"], home)  # an erasure that was cut off is finished by the next
    assert not home.research.store.has(model.digest) and not home.research.store.has(found.digest)


def test_a_model_names_the_patients_of_its_images_and_of_its_network(home: Home, tmp_path: Path) -> None:
    network = home.research.ledger.patients_of(newest.checkpoint(home).digest)
    model = fit("anomaly", npz(tmp_path / "data.npz"), RECIPE, home)
    found = apply("anomaly", model.digest, npz(tmp_path / "other.npz", side=18), home)
    assert network and len(home.research.ledger.patients_of(model.digest)) == len(network) + 12
    assert len(home.research.ledger.patients_of(found.digest)) == len(network) + 24


def test_the_normal_class_is_the_largest_unless_named(home: Home, tmp_path: Path) -> None:
    data = npz(tmp_path / "data.npz", count=22)
    model = fit("anomaly", data, RECIPE, home)
    assert json.loads((home.research.store.path(model.digest) / "model.json").read_text())["normal"] == "left"
    named = fit("anomaly", data, AnalyzeRecipe(normal="right"), home)
    assert json.loads((home.research.store.path(named.digest) / "model.json").read_text())["normal"] == "right"


def unlabelled(home: Home, tmp_path: Path) -> None:
    fit("diagnose", npz(tmp_path / "data.npz", labels=False), RECIPE, home)


def no_such_class(home: Home, tmp_path: Path) -> None:
    fit("anomaly", npz(tmp_path / "data.npz"), AnalyzeRecipe(normal="up"), home)


def other_task(home: Home, tmp_path: Path) -> None:
    model = fit("diagnose", npz(tmp_path / "data.npz"), RECIPE, home)
    apply("retrieve", model.digest, None, home)


def no_model(home: Home, tmp_path: Path) -> None:
    apply("diagnose", str(tmp_path), None, home)


def no_checkpoint(home: Home, tmp_path: Path) -> None:
    fit("diagnose", None, RECIPE, Home.create(tmp_path / "new"))


@pytest.mark.parametrize(
    ("do", "says"),
    [
        (unlabelled, "no labels"),
        (no_such_class, "classes are left, right"),
        (other_task, "a model for 'diagnose'"),
        (no_model, "not a model"),
        (no_checkpoint, "medgan train"),
        (lambda home, tmp_path: task_of("segment"), "later version"),
        (lambda home, tmp_path: task_of("enhance"), "later version"),
        (lambda home, tmp_path: task_of("cure"), "there are diagnose, retrieve, anomaly"),
    ],
    ids=["unlabelled", "no such class", "other task", "no model", "no checkpoint", "segment", "enhance", "no task"],
)
def test_what_cannot_be_done_is_told(home: Home, tmp_path: Path, do, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        do(home, tmp_path)


@pytest.mark.parametrize("name", ["model.json", "model.safetensors", "network/discriminator.safetensors"])
def test_a_damaged_model_is_refused(home: Home, tmp_path: Path, name: str) -> None:
    data = npz(tmp_path / "data.npz")
    export(fit("diagnose", data, RECIPE, home).digest, tmp_path / "model", home)
    file = tmp_path / "model" / name
    file.write_bytes(file.read_bytes()[:30])
    with pytest.raises(CorruptArtefact):
        apply("diagnose", str(tmp_path / "model"), data, home)
