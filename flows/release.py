"""Gate -> bundle -> register -> trial load -> alias."""

from __future__ import annotations

from prefect import flow

from medgan.home import Home
from medgan.recipes import EvaluateRecipe, ReleaseRecipe, load
from medgan.records import Checkpoint, Cohort, Release, Scorecard
from medgan.stages import newest
from tasks.release import release_cohort


@flow(name="release", persist_result=False)
def release(
    scorecard: Scorecard | None = None,
    synthetic: Cohort | None = None,
    checkpoint: Checkpoint | None = None,
    recipe: str = "demo",
) -> Release:
    """Of this scorecard with its cohort and checkpoint, or else of the newest."""
    home = Home.create()
    scorecard = scorecard or newest.scorecard(home)
    synthetic = synthetic or newest.judged(home, scorecard)
    checkpoint = checkpoint or newest.sampled_from(home, scorecard)
    return release_cohort(scorecard, synthetic, checkpoint, load(ReleaseRecipe, recipe), load(EvaluateRecipe, recipe))
