"""Pictures from outside as a cohort: the same road as a hospital's DICOM, up to the packed cohort."""

from __future__ import annotations

from collections.abc import Callable

from medgan import parallel
from medgan.home import Home
from medgan.recipes import DeidentifyRecipe, IngestRecipe, PreprocessRecipe, load
from medgan.records import Cohort, Study
from medgan.sources.source import open_source
from medgan.stages import deidentify, ingest, newest, preprocess
from medgan.stages.rejections import within_limit

Reporter = Callable[[str, str], Callable[[int, int], None]]


def pictures(address: str, recipe: str, home: Home, *, on_progress: Reporter) -> Cohort:
    """Ingest, de-identify, preprocess and assemble; the cohort with most patients."""
    ingest.ingest(open_source(address), load(IngestRecipe, recipe), home, on_progress=on_progress("ingest", "inputs"))
    deid, grid = load(DeidentifyRecipe, recipe), load(PreprocessRecipe, recipe)
    outcomes = parallel.in_chunks(
        ingest.pending(home),
        deidentify.deidentify_studies,
        deid,
        home,
        on_progress=on_progress("deidentify", "studies"),
    )
    within_limit(outcomes, deid.max_quarantined)
    samples = parallel.in_chunks(
        home.research.records("deidentify", Study),
        preprocess.preprocess_studies,
        grid,
        home,
        on_progress=on_progress("preprocess", "studies"),
    )
    return newest.choose(preprocess.assemble_cohorts(within_limit(samples, grid.max_quarantined), grid, home))
