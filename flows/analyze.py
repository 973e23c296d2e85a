"""Fit one analysis model on the home's newest checkpoint and cohort, and apply it to the part kept for choosing."""

from __future__ import annotations

from prefect import flow

from medgan.recipes import AnalyzeRecipe, load
from medgan.records import Findings
from medgan.stages.analyze import task_of
from tasks.analyze import apply_model, fit_model


@flow(name="analyze", persist_result=False)
def analyze(kind: str = "diagnose", recipe: str = "demo") -> Findings:
    """diagnose, retrieve or anomaly. Not for clinical use."""
    return apply_model(fit_model(task_of(kind), load(AnalyzeRecipe, recipe)))
