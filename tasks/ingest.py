"""Take in what a named source holds."""

from __future__ import annotations

from prefect import task

from medgan import known_sources
from medgan.home import Home
from medgan.recipes import IngestRecipe
from medgan.records import Intake
from medgan.stages import ingest as stage
from medgan.stages.places import opened
from tasks.policies import PER_BATCH
from tasks.progress import reported


@task(**PER_BATCH)
def take_in(source: str, recipe: IngestRecipe) -> Intake:
    """Ingest one source, given by its name in the settings of the identified zone."""
    home = Home.create()
    address, labels = known_sources.recall(home.root / "identified", source)
    with reported("ingest", "inputs") as report, opened(address, home, labels=labels) as place:
        return stage.ingest(place, recipe, home, on_progress=report)


@task(**PER_BATCH)
def settle_people() -> None:
    """Bring merges and the lists of consent and opt-out into force."""
    stage.settle_people(Home.create())
