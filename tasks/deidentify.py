"""De-identify a batch of studies."""

from __future__ import annotations

from prefect import task

from medgan.home import Home
from medgan.recipes import DeidentifyRecipe
from medgan.records import IdentifiedStudy, Quarantined, Study
from medgan.stages import deidentify as stage
from tasks.policies import PER_BATCH
from tasks.progress import reported


@task(**PER_BATCH)
def deidentify_batch(
    studies: list[IdentifiedStudy], recipe: DeidentifyRecipe, of: int = 0
) -> list[Study | Quarantined]:
    with reported("deidentify", "studies", of) as report:
        return stage.deidentify(studies, recipe, Home.create(), on_progress=report)
