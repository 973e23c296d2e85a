"""Bring a batch of studies onto the cohort grid; assemble the cohorts."""

from __future__ import annotations

from prefect import task

from medgan.home import Home
from medgan.recipes import PreprocessRecipe
from medgan.records import Cohort, Quarantined, Sample, Study
from medgan.stages import preprocess as stage
from tasks.policies import PER_BATCH
from tasks.progress import reported


@task(**PER_BATCH)
def preprocess_batch(studies: list[Study], recipe: PreprocessRecipe, of: int = 0) -> list[Sample | Quarantined]:
    with reported("preprocess", "studies", of) as report:
        return stage.preprocess(studies, recipe, Home.create(), on_progress=report)


@task(**PER_BATCH)
def assemble(samples: list[Sample], recipe: PreprocessRecipe) -> tuple[Cohort, ...]:
    return stage.assemble_cohorts(samples, recipe, Home.create())
