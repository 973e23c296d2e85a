"""The whole road: calls the five flows."""

from __future__ import annotations

from prefect import flow

from flows.ingest import ingest
from flows.preprocess import preprocess
from flows.release import release
from flows.synthesize import synthesize
from flows.train import train
from medgan.home import Home
from medgan.recipes import TrainRecipe, load
from medgan.records import Release
from medgan.stages import newest
from tasks.ingest import settle_people


@flow(name="pipeline", persist_result=False)
def pipeline(source: str = "", recipe: str = "demo") -> Release:
    """DICOM in; synthetic cohort, verdict, registered model and signed bundle out. One run at a time a home."""
    settle_people()
    with Home.create().at_work():
        ingest(source, recipe)
        cohorts = preprocess(recipe)
        checkpoint = train(cohorts, recipe)
        real = newest.choose(cohorts, load(TrainRecipe, recipe).group)
        synthetic, scorecard = synthesize(checkpoint, real, recipe)
        return release(scorecard, synthetic, checkpoint, recipe)
