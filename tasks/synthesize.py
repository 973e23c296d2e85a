"""Sample a cohort from a checkpoint."""

from __future__ import annotations

from prefect import task

from medgan.home import Home
from medgan.recipes import SynthesizeRecipe
from medgan.records import Checkpoint, Cohort
from medgan.stages import synthesize as stage
from tasks.policies import PER_BATCH
from tasks.progress import reported


@task(**PER_BATCH)
def sample_cohort(checkpoint: Checkpoint, recipe: SynthesizeRecipe) -> Cohort:
    with reported("synthesize", "images") as report:
        return stage.synthesize(checkpoint, recipe, Home.create(), on_progress=report)
