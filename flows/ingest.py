"""Ingest and de-identify: identified data never leaves this flow."""

from __future__ import annotations

from prefect import flow, unmapped
from prefect.task_runners import ThreadPoolTaskRunner

from medgan import known_sources, parallel
from medgan.home import Home
from medgan.recipes import DeidentifyRecipe, IngestRecipe, load
from medgan.records import Intake
from medgan.stages import ingest as stage
from medgan.stages.desk import LEASE
from medgan.stages.rejections import within_limit
from tasks.deidentify import deidentify_batch
from tasks.ingest import take_in


@flow(name="ingest", task_runner=ThreadPoolTaskRunner(max_workers=2), persist_result=False)  # type: ignore[arg-type]
def ingest(source: str = "", recipe: str = "demo") -> list[Intake]:
    """Take in one named source, or every known one, and de-identify what waits."""
    home = Home.create()
    wanted = [source] if source else sorted(known_sources.everything(home.root / "identified"))
    states = [take_in(name, load(IngestRecipe, recipe), return_state=True) for name in wanted]
    deid = load(DeidentifyRecipe, recipe)
    with home.identified_ledger.lease(LEASE):  # nobody is withdrawn meanwhile
        waiting = stage.pending(home)
        batches = list(parallel.batches(waiting))
        outcomes = deidentify_batch.map(batches, unmapped(deid), unmapped(len(waiting))).result()
    within_limit([outcome for batch in outcomes for outcome in batch], deid.max_quarantined)
    return [state.result() for state in states]  # a source that failed is told when the others are done
