"""The verbs of the house: up, deploy, status and what keeps it in order."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path
from typing import Annotated

import typer

from medgan import console
from medgan.commands.app import HomeOption, JsonOption, LabelsOption, RecipeOption, SourceArgument, app, open_home
from medgan.errors import MedganError, UsageError


@app.command()
def up(
    home: HomeOption = None,
    prefect_port: Annotated[int, typer.Option(help="Another free one is taken when it is not.")] = 4200,
    mlflow_port: Annotated[int, typer.Option(help="Another free one is taken when it is not.")] = 5000,
) -> None:
    """Prefect server, worker, deployments and schedules, and MLflow's pages on loopback, until Ctrl-C."""
    opened = open_home(home)
    from flows.up import up as start
    from medgan.registry.tracking import prepare
    from medgan.stages import tracking

    prepare(tracking.uri(opened))
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    house = start(
        opened.root,
        tracking_uri=tracking.uri(opened),
        prefect_port=prefect_port,
        mlflow_port=mlflow_port,
        told=console.note,
    )
    console.note(f"up, for the home {opened.root}; Ctrl-C stops it all")
    try:
        while not stop.wait(1.0):
            for name, process in house.processes.items():
                if process.poll() is not None:
                    console.fail(f"{name} ended by itself; its log is research/logs/{name}.log in the home folder")
                    stop.set()
    finally:
        console.note("stopping …")
        house.stop()


@app.command()
def deploy(home: HomeOption = None, json: JsonOption = False) -> None:
    """Create the work pool and the deployments on the Prefect server of PREFECT_API_URL."""
    from medgan.settings import settings

    opened = open_home(home)
    if not settings().prefect_api:
        raise UsageError(
            "PREFECT_API_URL is not set; name your Prefect server's API, or use `medgan up` on one machine"
        )
    from flows.up import deploy as create
    from flows.up import deployments_file

    create(dict(os.environ))
    console.answer({"deployed from": deployments_file().name, "home": opened.root}, as_json=json)


@app.command()
def status(home: HomeOption = None, json: JsonOption = False) -> None:
    """One screen: what arrived, what waits, what failed, the newest verdict and release."""
    from medgan.stages.status import status as look

    console.answer(look(open_home(home)), as_json=json, title="medgan")


@app.command()
def models(home: HomeOption = None, recipe: RecipeOption = "demo", json: JsonOption = False) -> None:
    """Model versions of the registry with their aliases, newest first."""
    opened = open_home(home)
    from medgan.recipes import ReleaseRecipe, load
    from medgan.registry.models import history
    from medgan.stages import tracking

    rows = [
        {"version": v.version, "aliases": ", ".join(v.aliases), "checkpoint": v.checkpoint[:12], **v.metrics}
        for v in history(load(ReleaseRecipe, recipe).model_name, tracking.uri(opened))
    ]
    console.listing(rows, as_json=json, empty="no model yet")


@app.command()
def doctor(
    home: HomeOption = None,
    repair: Annotated[bool, typer.Option("--repair", help="Send damaged artefacts back to wanted.")] = False,
    json: JsonOption = False,
) -> None:
    """Is this house in order? Exit 1 when something is not."""
    from medgan.stages.doctor import doctor as look

    findings = look(open_home(home), repair=repair)
    console.listing([{"check": f.check, "fine": f.fine, "says": f.says} for f in findings], as_json=json)
    if bad := [f.check for f in findings if not f.fine]:
        raise MedganError(f"not in order: {', '.join(bad)}")


@app.command()
def plan(
    source: SourceArgument,
    home: HomeOption = None,
    labels: LabelsOption = None,
    json: JsonOption = False,
) -> None:
    """What a run would take in and the room it needs, before it starts."""
    from medgan.stages.places import opened
    from medgan.stages.plan import plan as look

    house = open_home(home)
    with opened(source, house, labels=labels) as place:
        console.answer(look(place, house), as_json=json)


@app.command()
def backup(
    target: Annotated[Path, typer.Argument(help="New file; it holds secrets and is made 0600.")],
    home: HomeOption = None,
    json: JsonOption = False,
) -> None:
    """Ledgers and keys in one closed file. Copy the stores with any tool: sealed artefacts never change."""
    from medgan.stages.backup import backup as save

    console.answer(save(open_home(home), target), as_json=json)


@app.command()
def restore(
    archive: Annotated[Path, typer.Argument(help="What `medgan backup` wrote.")],
    home: HomeOption = None,
    json: JsonOption = False,
) -> None:
    """Put ledgers and keys back into a new home."""
    from medgan.settings import settings
    from medgan.stages.backup import restore as put_back

    console.answer(put_back(archive, (home or settings().home).absolute()), as_json=json)
