"""The verbs of the house: up, deploy, status and what keeps it in order."""

from __future__ import annotations

import os
import signal
import threading
from typing import Annotated

import typer

from medgan import console
from medgan.commands.app import HomeOption, JsonOption, app, open_home
from medgan.errors import UsageError


@app.command()
def up(
    home: HomeOption = None,
    prefect_port: Annotated[int, typer.Option(help="Another free one is taken when it is not.")] = 4200,
    mlflow_port: Annotated[int, typer.Option(help="Another free one is taken when it is not.")] = 5000,
) -> None:
    """Prefect server, worker, deployments and schedules, and MLflow's pages on loopback, until Ctrl-C."""
    opened = open_home(home)
    from flows.up import up as start
    from medgan.registry.tracking import store_of

    uri, artifacts = store_of(opened.root / "research")
    stop = threading.Event()
    for name in (signal.SIGINT, signal.SIGTERM):
        signal.signal(name, lambda *_: stop.set())
    house = start(
        opened.root,
        tracking_uri=uri,
        artifacts=artifacts,
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
