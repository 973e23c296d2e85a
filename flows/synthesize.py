"""Sample a cohort and weigh it; beside it, when the recipe asks, the article's baseline."""

from __future__ import annotations

from prefect import flow

from medgan.home import Home
from medgan.recipes import EvaluateRecipe, SynthesizeRecipe, TrainRecipe, load
from medgan.records import Checkpoint, Cohort, Scorecard
from medgan.stages import newest
from tasks.evaluate import evaluate_cohort
from tasks.synthesize import sample_cohort
from tasks.train import train_generator


@flow(name="synthesize", persist_result=False)
def synthesize(
    checkpoint: Checkpoint | None = None, real: Cohort | None = None, recipe: str = "demo"
) -> tuple[Cohort, Scorecard]:
    """Of this checkpoint and the cohort it was trained on, or else of the newest."""
    home = Home.create()
    checkpoint = checkpoint or newest.checkpoint(home)
    real = real or newest.trained_on(home, checkpoint)
    how, limits = load(SynthesizeRecipe, recipe), load(EvaluateRecipe, recipe)
    synthetic = sample_cohort(checkpoint, how)
    baseline = None
    if limits.beat_baseline:
        rival = train_generator(real, load(TrainRecipe, "baseline"))
        baseline = sample_cohort(rival, how.model_copy(update={"formats": ("zarr",)}))
    return synthetic, evaluate_cohort(synthetic, real, limits, checkpoint, baseline)
