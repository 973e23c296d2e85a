"""A study comes out with the same bytes whatever else is de-identified in the same call, and in whichever order."""

from pathlib import Path

import pytest

from medgan.home import Home
from medgan.phantom.write import write_phantoms
from medgan.recipes import DeidentifyRecipe, IngestRecipe
from medgan.records import Study
from medgan.sources.source import open_source
from medgan.stages.deidentify import deidentify_studies
from medgan.stages.ingest import ingest, pending


def taken_in(folder: Path, images: Path, like: Home | None = None) -> Home:
    if like is not None:
        (folder / "identified").mkdir(parents=True, mode=0o700)
        key = folder / "identified" / "key"
        key.write_bytes((like.root / "identified" / "key").read_bytes())
        key.chmod(0o600)
    home = Home.create(folder)
    ingest(open_source(str(images)), IngestRecipe(), home)
    return home


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("company")
    write_phantoms(folder / "phantom", patients=8, seed=3)
    return folder / "phantom" / "images"


def test_the_digest_of_a_study_does_not_depend_on_its_company(images: Path, tmp_path: Path) -> None:
    recipe = DeidentifyRecipe()
    together = taken_in(tmp_path / "together", images)
    alone = taken_in(tmp_path / "alone", images, like=together)
    wanted = deidentify_studies(pending(together), recipe, together)
    assert len(wanted) >= 8 and all(isinstance(study, Study) for study in wanted)
    assert sum(study.boxes for study in wanted if isinstance(study, Study)) > 0
    found = [deidentify_studies([study], recipe, alone)[0] for study in reversed(pending(alone))]
    assert list(reversed(found)) == wanted
