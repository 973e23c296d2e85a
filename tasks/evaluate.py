"""Weigh a synthetic cohort against the real one."""

from __future__ import annotations

from prefect import task

from medgan.home import Home
from medgan.recipes import EvaluateRecipe
from medgan.records import Checkpoint, Cohort, Scorecard
from medgan.stages import evaluate as stage
from tasks.policies import PER_BATCH
from tasks.progress import reported


@task(**PER_BATCH)
def evaluate_cohort(
    synthetic: Cohort,
    real: Cohort,
    recipe: EvaluateRecipe,
    checkpoint: Checkpoint,
    baseline: Cohort | None = None,
) -> Scorecard:
    with reported("evaluate", "steps") as report:
        return stage.evaluate(
            synthetic, real, recipe, Home.create(), checkpoint=checkpoint, baseline=baseline, on_progress=report
        )
