"""One long resumable run."""

from __future__ import annotations

from prefect import flow

from medgan.home import Home
from medgan.recipes import TrainRecipe, load
from medgan.records import Checkpoint, Cohort
from medgan.stages import newest
from tasks.train import train_generator


@flow(name="train", persist_result=False)
def train(cohorts: tuple[Cohort, ...] = (), recipe: str = "demo", budget_s: float | None = None) -> Checkpoint:
    """Train on the cohort that the recipe names, or the one with most patients."""
    chosen, home = load(TrainRecipe, recipe), Home.create()
    with home.at_work():
        known = cohorts or newest.real_cohorts(home)
        return train_generator(newest.choose(known, chosen.group), chosen, budget_s)
