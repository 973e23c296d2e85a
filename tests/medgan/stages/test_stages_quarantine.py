"""What was set aside can be looked at, tried again, or kept out."""

from __future__ import annotations

from pathlib import Path

import pytest
from factories import dicom_bytes

from medgan.errors import Reason, UsageError
from medgan.home import Home
from medgan.recipes import DeidentifyRecipe, IngestRecipe
from medgan.records import Quarantined, Study
from medgan.sources.source import open_source
from medgan.stages import quarantine
from medgan.stages.deidentify import deidentify_studies, study_key_of
from medgan.stages.ingest import ingest, pending
from medgan.stages.status import status


@pytest.fixture
def aside(tmp_path: Path) -> Home:
    """A home with one study, set aside by hand under the key it is wanted by, and one quarantined input."""
    source = tmp_path / "in"
    source.mkdir()
    (source / "slice.dcm").write_bytes(dicom_bytes("1.2.1"))
    (source / "text.dcm").write_text("no DICOM")
    home = Home.create(tmp_path / "home")
    ingest(open_source(str(source)), IngestRecipe(), home)
    (study,) = pending(home)
    key = study_key_of(study, DeidentifyRecipe(), home)
    home.research.ledger.set_aside(study.study_key, "deidentify", key, Reason.TEXT_UNCLEAR)
    return home


def test_inputs_and_studies_are_listed_by_reason_and_never_by_name(aside: Home) -> None:
    (study,) = quarantine.studies(aside)
    assert (study["stage"], study["reason"], study["times"]) == ("deidentify", "text_unclear", 1)
    assert [(row["reason"], row["times"]) for row in quarantine.inputs(aside)] == [("not_dicom", 1)]
    assert status(aside)["studies"]["set aside"] == 1


def test_retried_it_is_tried_by_the_next_run(aside: Home) -> None:
    (study,) = pending(aside)
    assert isinstance(deidentify_studies([study], DeidentifyRecipe(), aside)[0], Quarantined)
    assert quarantine.retry(aside, study.study_key[:8])[0]["key"] == study.study_key
    assert isinstance(deidentify_studies([study], DeidentifyRecipe(), aside)[0], Study)
    assert quarantine.studies(aside) == []


def test_dropped_its_bytes_are_gone_and_the_next_intake_leaves_it_out(aside: Home, tmp_path: Path) -> None:
    (study,) = pending(aside)
    quarantine.drop(aside, study.study_key)
    assert not list(aside.identified.store.digests()) and pending(aside) == []
    (tmp_path / "in" / "slice.dcm").touch()
    again = ingest(open_source(str(tmp_path / "in")), IngestRecipe(), aside)
    assert not again.studies and pending(aside) == []
    assert quarantine.find(aside, study.study_key)


def test_a_study_that_another_recipe_let_through_is_not_set_aside_any_more(aside: Home) -> None:
    (study,) = pending(aside)
    other = DeidentifyRecipe(profile="basic")
    assert isinstance(deidentify_studies([study], other, aside)[0], Study)
    assert status(aside)["studies"]["set aside"] == 0


def test_a_key_must_stand_for_one_study(aside: Home) -> None:
    aside.research.ledger.set_aside("ab1", "preprocess", "k", Reason.BLANK)
    aside.research.ledger.set_aside("ab2", "preprocess", "k", Reason.BLANK)
    with pytest.raises(UsageError, match="several"):
        quarantine.retry(aside, "ab")
    for nobody in ("", "zz"):
        with pytest.raises(UsageError, match="nothing of that key"):
            quarantine.drop(aside, nobody)
