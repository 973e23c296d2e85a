"""An evaluation is sealed once, counts its look at the audit part, and answers for cohorts outside a home too."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.append(str(Path(__file__).parents[1] / "cohort"))

from toy_chest import CLASSES, chest_cohort, chest_films, synthetic_cohort  # noqa: E402

from medgan.cohort.arrays import CohortArrays, write_cohort  # noqa: E402
from medgan.errors import UsageError  # noqa: E402
from medgan.home import Home  # noqa: E402
from medgan.recipes import EvaluateRecipe  # noqa: E402
from medgan.records import Cohort  # noqa: E402
from medgan.registry.gate import judge  # noqa: E402
from medgan.stages.evaluate import evaluate, evaluate_paths, score  # noqa: E402

RECIPE = EvaluateRecipe(feature_steps=10, min_coverage=0.0)
LIMITS = {name: getattr(RECIPE, name) for name in ("min_coverage", "max_distance_ratio", "beat_baseline")} | {
    name: getattr(RECIPE, name) for name in ("smallest_leak", "max_epsilon")
}


def small_real() -> CohortArrays:
    return chest_cohort({"train": 12, "select": 4, "audit": 8, "fresh": 3}, size=32)


def small_synthetic(seed: int) -> CohortArrays:
    images, label, _ = chest_films(24, size=32, seed=seed, films=(1, 1))
    return synthetic_cohort(images, label)


def sealed(home: Home, arrays: CohortArrays, origin: str) -> Cohort:
    with home.research.store.staging() as folder:
        write_cohort(folder / "cohort.zarr", arrays)
        digest = home.research.store.seal(folder, "cohort")
    return Cohort(
        origin=origin,  # type: ignore[arg-type]
        digest=digest,
        group="XR-CHEST-2d-32",
        count=len(arrays),
        patients=0,
        shape=(1, 1, 32, 32),
        classes=CLASSES,
        splits={},
    )


def test_an_evaluation_is_made_once_and_each_new_one_is_another_look(tmp_path: Path) -> None:
    home = Home.create(tmp_path / "home")
    real, first, second = (
        sealed(home, small_real(), "real"),
        sealed(home, small_synthetic(5), "synthetic"),
        sealed(home, small_synthetic(6), "synthetic"),
    )
    one = evaluate(first, real, RECIPE, home)
    two = evaluate(second, real, RECIPE, home, baseline=first)
    assert evaluate(first, real, RECIPE, home) == one
    cards = [json.loads((home.research.store.path(card.digest) / "scorecard.json").read_text()) for card in (one, two)]
    assert [card["privacy"]["looks"] for card in cards] == [1, 2]
    assert cards[0]["cohort"] == first.digest
    assert one.answer == "inconclusive"
    assert real.digest in home.research.ledger.made_of(one.digest)
    everything = json.dumps(cards)
    assert not any(key in everything for key in np.unique(small_real().patient_key))


def test_the_same_inputs_give_the_same_digest_in_another_home(tmp_path: Path) -> None:
    digests = []
    for name in ("a", "b"):
        home = Home.create(tmp_path / name)
        real, offered = sealed(home, small_real(), "real"), sealed(home, small_synthetic(5), "synthetic")
        digests.append(evaluate(offered, real, RECIPE, home).digest)
    assert digests[0] == digests[1]


def test_judging_a_real_scorecard_again_gives_the_same_answer() -> None:
    card = score(small_synthetic(5), small_real(), RECIPE).card
    again = judge(card, **LIMITS)
    assert (again.answer, list(again.reasons)) == (card["answer"], card["reasons"])
    assert len(set(card["reasons"])) == len(card["reasons"])
    assert set(card["privacy"]["reasons"]) <= set(card["reasons"])


def test_replayed_training_pictures_are_rejected_in_a_scorecard() -> None:
    real = small_real()
    train = real.part("train")
    card = score(synthetic_cohort(train.floats(), train.label), real, RECIPE).card
    assert card["answer"] == "reject"
    assert card["privacy"]["flagged"] == len(train)


def as_npz(path: Path, cohort: CohortArrays, *, ids: bool = True) -> Path:
    images = (cohort.floats()[:, 0, 0] + 1) / 2
    more = {"patient_ids": cohort.patient_key} if ids else {}
    np.savez(path, images=images, labels=np.array(CLASSES)[cohort.label], **more)
    return path


def test_paths_of_npz_and_zarr_are_evaluated_alike(tmp_path: Path) -> None:
    real = small_real()
    parts = {name: as_npz(tmp_path / f"{name}.npz", real.part(name)) for name in ("train", "audit", "fresh")}
    offered = as_npz(tmp_path / "synthetic.npz", small_synthetic(5), ids=False)
    card = evaluate_paths(offered, parts["train"], parts["audit"], parts["fresh"], RECIPE)
    write_cohort(tmp_path / "audit.zarr", real.part("audit"))
    other = evaluate_paths(offered, parts["train"], tmp_path / "audit.zarr", None, RECIPE)
    assert card["counts"]["audit_patients"] == 8
    assert other["counts"]["audit_patients"] + other["counts"]["fresh_patients"] == 8
    assert {card["answer"], other["answer"]} <= {"inconclusive", "reject"}


def test_pictures_without_ids_are_the_unit_and_it_is_said(tmp_path: Path) -> None:
    real = small_real()
    train, audit = (as_npz(tmp_path / f"{name}.npz", real.part(name), ids=False) for name in ("train", "audit"))
    card = evaluate_paths(train, train, audit, None, RECIPE)
    assert card["unit"] == "image"
    assert card["counts"]["train_patients"] == len(real.part("train"))
    assert card["answer"] == "reject"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("absent", "no cohort there"),
        ("text.npz", "not an npz"),
        ("empty.npz", "no array `images`"),
        ("flat.npz", "axes"),
        ("rows.npz", "one row for each image"),
        ("nan.npz", "not finite"),
        ("grid.npz", "onto one grid"),
        ("same.npz", "split by patient"),
    ],
)
def test_what_cannot_be_evaluated_says_what_is_wrong(tmp_path: Path, name: str, message: str) -> None:
    real = small_real()
    train = as_npz(tmp_path / "train.npz", real.part("train"))
    audit = as_npz(tmp_path / "audit.npz", real.part("audit"))
    images = np.zeros((3, 32, 32), np.uint8)
    (tmp_path / "text.npz").write_text("no")
    np.savez(tmp_path / "empty.npz", pictures=images)
    np.savez(tmp_path / "flat.npz", images=images[0])
    np.savez(tmp_path / "rows.npz", images=images, labels=[0])
    np.savez(tmp_path / "nan.npz", images=np.full((3, 32, 32), np.nan))
    np.savez(tmp_path / "grid.npz", images=images[:, :16])
    if name == "same.npz":
        with pytest.raises(UsageError, match=message):
            evaluate_paths(audit, train, train, None, RECIPE)
        return
    with pytest.raises(UsageError, match=message):
        evaluate_paths(tmp_path / name, train, audit, None, RECIPE)
