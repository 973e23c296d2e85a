"""Pictures from outside as a cohort: the same road as a hospital's DICOM, up to the packed cohort."""

from __future__ import annotations

from collections.abc import Callable

from medgan.digest import keyed
from medgan.home import Home
from medgan.recipes import DeidentifyRecipe, IngestRecipe, PreprocessRecipe, load
from medgan.records import Cohort, Study
from medgan.sources.source import open_source
from medgan.stages import deidentify, ingest, newest, preprocess
from medgan.stages.rejections import within_limit

Reporter = Callable[[str, str], Callable[[int, int], None]]


def pictures(address: str, recipe: str, home: Home, *, on_progress: Reporter) -> Cohort:
    """Ingest, de-identify, preprocess and assemble what this source holds; the cohort with most patients."""
    source = open_source(address)
    ingest.ingest(source, load(IngestRecipe, recipe), home, on_progress=on_progress("ingest", "inputs"))
    held = home.identified_ledger.inputs(source=keyed(home.pseudonym_key, "source", source.name))
    mine = {row.study_key for row in held}
    deid, grid = load(DeidentifyRecipe, recipe), load(PreprocessRecipe, recipe)
    waiting = [study for study in ingest.pending(home) if study.study_key in mine]
    outcomes = deidentify.deidentify(waiting, deid, home, on_progress=on_progress("deidentify", "studies"))
    within_limit(outcomes, deid.max_quarantined)
    studies = [study for study in home.research.records("deidentify", Study) if study.study_key in mine]
    samples = preprocess.preprocess(studies, grid, home, on_progress=on_progress("preprocess", "studies"))
    return newest.choose(preprocess.assemble_cohorts(within_limit(samples, grid.max_quarantined), grid, home))
