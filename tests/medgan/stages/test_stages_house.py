"""What the house tells of itself: plan, status, the newest, the closing table; and how pictures come in."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from factories import dicom_bytes
from PIL import Image
from small import GRID

from medgan.errors import SourceError, UsageError
from medgan.home import Home
from medgan.recipes import IngestRecipe
from medgan.records import Checkpoint, Cohort, Release, Scorecard
from medgan.sources.source import open_source
from medgan.stages import newest
from medgan.stages.bring_in import pictures
from medgan.stages.ingest import ingest
from medgan.stages.phantom import phantom
from medgan.stages.plan import plan
from medgan.stages.status import status
from medgan.stages.summary import summary

GOLDEN = Path(__file__).parents[2] / "golden" / "scorecard.json"


def silent(stage: str, unit: str) -> Any:
    return lambda done, total: None


# plan


def test_a_plan_counts_what_is_new_and_afterwards_nothing_is(tmp_path: Path) -> None:
    source, home = tmp_path / "in", Home.create(tmp_path / "home")
    source.mkdir()
    (source / "slice").write_bytes(dicom_bytes("1.2.1"))
    (source / "broken.dcm").write_text("no DICOM")
    before = plan(open_source(str(source)), home)
    assert (before["inputs"], before["new or changed"], before["fits"]) == (2, 2, True)
    ingest(open_source(str(source)), IngestRecipe(), home)
    after = plan(open_source(str(source)), home)
    assert (after["inputs"], after["new or changed"], after["MiB needed"]) == (2, 0, 0)


def test_a_plan_of_more_than_there_is_room_for_says_so(tmp_path: Path) -> None:
    source, home = tmp_path / "in", Home.create(tmp_path / "home")
    source.mkdir()
    with (source / "huge.dcm").open("wb") as file:
        file.truncate(shutil.disk_usage(tmp_path).free)
    assert plan(open_source(str(source)), home)["fits"] is False


# status and newest


def test_status_adds_up_on_an_empty_and_on_a_lived_in_home(home: Home, tmp_path: Path) -> None:
    empty = status(Home.create(tmp_path / "empty"))
    assert empty["inputs"] == "none yet" and empty["newest checkpoint"] == empty["newest release"] == "none"
    told = status(home)
    studies = told["studies"]
    assert studies["wait for de-identification"] == studies["wait for preprocessing"] == 0
    assert studies["arrived"] == studies["set aside"] + len(home.research.ledger.entries("preprocess"))
    assert "after 24 images" in told["newest checkpoint"] and told["newest verdict"] == "none"
    assert any(line.startswith("XR-CHEST-2d-16: ") for line in told["cohorts"])


def real(group: str, patients: int, count: int = 1, digest: str = "") -> Cohort:
    return Cohort(
        origin="real",
        digest=digest or group,
        group=group,
        count=count,
        patients=patients,
        shape=(1, 1, 8, 8),
        classes=("a",),
        splits={},
    )


def test_the_cohort_with_most_patients_is_chosen_or_the_one_asked_for() -> None:
    cohorts = [real("CT", 5, 90), real("XR", 9), real("MR", 9, 3)]
    assert newest.choose(cohorts).group == "MR"
    assert newest.choose([*cohorts, real("CT", 1, digest="newer")], "CT").digest == "newer"
    with pytest.raises(UsageError, match="CT, MR, XR"):
        newest.choose(cohorts, "US")
    with pytest.raises(SourceError, match="quarantine list"):
        newest.choose([real("CT", 5).model_copy(update={"origin": "synthetic"})])


def test_artefacts_find_each_other(home: Home) -> None:
    made = newest.checkpoint(home)
    assert newest.checkpoint(home, made.digest[:10]) == made
    assert newest.trained_on(home, made).digest == made.cohort_digest
    card = seal_card(home, json.loads(GOLDEN.read_text()), made)
    assert newest.scorecard(home) == card and newest.sampled_from(home, card) == made
    for ask in (lambda: newest.judged(home, card), lambda: newest.checkpoint(home, "beef" * 16)):
        with pytest.raises(UsageError, match="in this home"):
            ask()


def seal_card(home: Home, card: dict[str, Any], made: Checkpoint) -> Scorecard:
    def fill(folder: Path) -> Scorecard:
        (folder / "scorecard.json").write_text(json.dumps(card))
        return Scorecard(
            digest="",
            cohort_digest="c",
            checkpoint_digest=made.digest,
            answer=card["answer"],
            reasons=tuple(card["reasons"]),
            figures={},
        )

    return home.research.make(json.dumps(card), fill, stage="evaluate", kind=Scorecard)


# the closing table


def nothing_known(card: dict[str, Any]) -> None:
    """As the evaluation writes it of a handful of patients."""
    card["fidelity"] = {"n": 0, "features": 71, "baseline": None}
    card["privacy"] |= {"tests": [], "controls": [], "smallest_leak": None, "answer": "inconclusive"}


def no_floor(card: dict[str, Any]) -> None:
    card["fidelity"] |= {"fd_ratio": None, "baseline": {"fd": None, "fd_ratio": None, "coverage": 0.1, "recall": 0.0}}


@pytest.mark.parametrize(
    ("spoil", "privacy", "fidelity"),
    [
        pytest.param(lambda card: None, "smallest p 0.057 of 4 tests", "29.7 x the real-real floor", id="complete"),
        pytest.param(nothing_known, "smallest p unknown of 0 tests", "FD unknown", id="too few patients"),
        pytest.param(no_floor, "of 4 tests", "unknown x the real-real floor", id="no floor"),
    ],
)
def test_the_closing_table_is_written_whatever_the_scorecard_lacks(
    home: Home, spoil: Any, privacy: str, fidelity: str
) -> None:
    card = json.loads(GOLDEN.read_text())
    spoil(card)
    sealed = seal_card(home, card, newest.checkpoint(home))
    refusal = Release(answer="inconclusive", reasons=("too few patients",), scorecard_digest=sealed.digest)
    told = summary(home, refusal)
    assert privacy in told["privacy"] and fidelity in told["fidelity"]
    assert told["verdict"] == "inconclusive - too few patients" and told["bundle"].startswith("none")
    inputs = dict(told["inputs"])
    assert inputs.pop("received") == sum(inputs.values())
    assert json.dumps(told)


def test_without_a_scorecard_there_is_a_table_too(tmp_path: Path) -> None:
    told = summary(Home.create(tmp_path / "home"), Release(answer="reject", reasons=()))
    assert told["inputs"] == {"received": 0} and told["model"] == "none" and "fidelity" not in told


# pictures and phantoms


def test_pictures_become_a_cohort_of_their_source_alone(home: Home, tmp_path: Path) -> None:
    folder = tmp_path / "films"
    rng = np.random.default_rng(0)
    for label in ("calm", "wild"):
        (folder / label).mkdir(parents=True)
        for number in range(3):
            page = rng.integers(0, 255, (40, 40)).astype(np.uint8)
            Image.fromarray(page).save(folder / label / f"{number}.png")
    recipe = tmp_path / "own.toml"
    recipe.write_text(f"[preprocess]\nsize = {GRID.size}\nmin_class_patients = 1\n")
    cohort = pictures(str(folder), str(recipe), home, on_progress=silent)
    assert cohort.count == 6 and cohort.unit == "image" and set(cohort.classes) == {"calm", "wild"}
    assert pictures(str(folder), str(recipe), home, on_progress=silent) == cohort


def test_phantoms_are_made_once_whole_or_not_at_all(tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    dst = tmp_path / "phantom"
    images = phantom(dst, patients=1, seed=1, on_progress=lambda done, total: told.append((done, total)))
    files = {file: file.stat().st_mtime_ns for file in dst.rglob("*")}
    assert images == dst / "images" and (dst / "truth" / "truth.json").is_file() and told[-1] == (1, 1)
    assert phantom(dst, patients=1, seed=1) == images
    assert files == {file: file.stat().st_mtime_ns for file in dst.rglob("*")}
    assert [path.name for path in tmp_path.iterdir()] == ["phantom"]


def test_what_a_killed_phantom_left_is_made_anew(tmp_path: Path) -> None:
    aside = tmp_path / ".phantom.partial" / "images"
    aside.mkdir(parents=True)
    (aside / "half").write_text("half")
    phantom(tmp_path / "phantom", patients=1, seed=1)
    assert not (tmp_path / "phantom" / "images" / "half").exists() and not aside.exists()


def test_phantoms_do_not_go_where_a_file_stands(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(UsageError, match="a file stands"):
        phantom(tmp_path / "file", patients=1, seed=1)
