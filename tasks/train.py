"""Train, or go on training."""

from __future__ import annotations

from prefect import task

from medgan.home import Home
from medgan.recipes import TrainRecipe
from medgan.records import Checkpoint, Cohort
from medgan.stages import train as stage
from tasks.policies import ONE_LONG
from tasks.progress import reported


@task(**ONE_LONG)
def train_generator(cohort: Cohort, recipe: TrainRecipe, budget_s: float | None = None) -> Checkpoint:
    with reported("train" if recipe.network == "residual" else "train-baseline", "images") as report:
        return stage.train(
            cohort,
            recipe,
            Home.create(),
            on_progress=lambda p: report(p.images_seen, p.images_target),
            budget_s=budget_s,
        )
