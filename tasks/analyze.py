"""Fit one analysis model and apply it."""

from __future__ import annotations

from prefect import task

from medgan.home import Home
from medgan.recipes import AnalyzeRecipe
from medgan.records import Analysis, AnalysisModel, Findings
from medgan.stages import analyze as stage
from tasks.policies import PER_BATCH


@task(**PER_BATCH)
def fit_model(kind: Analysis, recipe: AnalyzeRecipe) -> AnalysisModel:
    return stage.fit(kind, None, recipe, Home.create())


@task(**PER_BATCH)
def apply_model(model: AnalysisModel) -> Findings:
    return stage.apply(model.task, model.digest, None, Home.create())
