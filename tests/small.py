"""The recipes of the smallest road that still goes all the way, and how to go it again."""

from __future__ import annotations

from pathlib import Path

from medgan.home import Home
from medgan.recipes import DeidentifyRecipe, IngestRecipe, PreprocessRecipe, TrainRecipe
from medgan.records import Checkpoint, Cohort
from medgan.sources.source import open_source
from medgan.stages.deidentify import deidentify_studies
from medgan.stages.ingest import ingest, pending
from medgan.stages.newest import choose
from medgan.stages.preprocess import assemble_cohorts, preprocess_studies
from medgan.stages.rejections import within_limit
from medgan.stages.train import train

GRID = PreprocessRecipe(size=16, split=(0.6, 0.4, 0.0, 0.0), min_class_patients=1)
NETWORK = TrainRecipe(widths=(16, 8), head=2, batch=4, images=24, checkpoint_images=8, group="XR-CHEST-2d-16")


def go_the_road(source: Path, home: Home) -> tuple[Cohort, Checkpoint]:
    """Ingest to train; what is done already is found, not done."""
    ingest(open_source(str(source)), IngestRecipe(), home)
    studies = within_limit(deidentify_studies(pending(home), DeidentifyRecipe(), home), 1.0)
    samples = within_limit(preprocess_studies(studies, GRID, home), 1.0)
    cohort = choose(assemble_cohorts(samples, GRID, home), NETWORK.group)
    return cohort, train(cohort, NETWORK, home, threads=1)
