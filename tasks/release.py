"""Gate, bundle, registration, trial load, alias."""

from __future__ import annotations

from prefect import task

from medgan.home import Home
from medgan.recipes import EvaluateRecipe, ReleaseRecipe
from medgan.records import Checkpoint, Cohort, Release, Scorecard
from medgan.stages import release as stage
from tasks.policies import PER_BATCH


@task(**PER_BATCH)
def release_cohort(
    scorecard: Scorecard, synthetic: Cohort, checkpoint: Checkpoint, recipe: ReleaseRecipe, limits: EvaluateRecipe
) -> Release:
    return stage.release(scorecard, synthetic, checkpoint, recipe, Home.create(), limits=limits)
