"""A task per batch of studies, then the real cohorts."""

from __future__ import annotations

from prefect import flow, unmapped
from prefect.task_runners import ThreadPoolTaskRunner

from medgan import parallel
from medgan.home import Home
from medgan.recipes import PreprocessRecipe, load
from medgan.records import Cohort, Study
from medgan.stages.rejections import within_limit
from tasks.preprocess import assemble, preprocess_batch


@flow(name="preprocess", task_runner=ThreadPoolTaskRunner(max_workers=2), persist_result=False)  # type: ignore[arg-type]
def preprocess(recipe: str = "demo") -> tuple[Cohort, ...]:
    """Every live de-identified study onto the cohort grid; one cohort for each modality, body part and grid."""
    chosen, home = load(PreprocessRecipe, recipe), Home.create()
    with home.at_work():
        studies = home.research.records("deidentify", Study)
        batches = list(parallel.batches(studies))
        outcomes = preprocess_batch.map(batches, unmapped(chosen), unmapped(len(studies))).result()
        samples = within_limit([outcome for batch in outcomes for outcome in batch], chosen.max_quarantined)
        parallel.close()
        return assemble(samples, chosen)
