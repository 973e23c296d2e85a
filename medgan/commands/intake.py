"""How images come in, and how what was set aside is dealt with."""

from __future__ import annotations

import signal
import sys
import threading
from pathlib import Path
from typing import Annotated

import typer

from medgan import console
from medgan.commands.app import HomeOption, JsonOption, LabelsOption, RecipeOption, SourceArgument, app, open_home
from medgan.errors import UsageError


@app.command()
def ingest(
    source: SourceArgument,
    home: HomeOption = None,
    labels: LabelsOption = None,
    recipe: RecipeOption = "demo",
    report: Annotated[Path | None, typer.Option(help="CSV of every input: sha256, state, reason.")] = None,
    follow: Annotated[bool, typer.Option("--follow", help="Let the hourly schedule take it in, too.")] = False,
    json: JsonOption = False,
) -> None:
    """Take in a source: every input counted once, as ingested, duplicate, conflict, quarantined or refused."""
    from medgan import known_sources
    from medgan.recipes import IngestRecipe, load
    from medgan.stages import ingest as stage
    from medgan.stages.places import opened

    house, how = open_home(home), load(IngestRecipe, recipe)
    with opened(source, house, labels=labels) as place:
        if follow:
            address = source if "://" in source else str(Path(source).absolute())
            known_sources.remember(house.root / "identified", address, labels, secret=house.pseudonym_key)
        try:
            with console.Steps() as steps:
                intake = stage.ingest(place, how, house, on_progress=steps.reporter("ingest", "inputs"))
        finally:
            if report is not None:
                stage.report(house, report)
    said = {**intake.states, "quarantined, why": intake.reasons, "studies": len(intake.studies)}
    also = {"superseded": intake.superseded, "studies gone": intake.gone, "studies still arriving": intake.waiting}
    console.answer({**said, **{name: n for name, n in also.items() if n or json}}, as_json=json)


@app.command()
def receive(
    allow: Annotated[list[str], typer.Option(help="AE title that may send here; give one for each.")],
    home: HomeOption = None,
    port: Annotated[int, typer.Option(help="DICOM port; 0 takes a free one.", min=0, max=65535)] = 11112,
    host: Annotated[str, typer.Option(help="Address to listen on; others can reach only this.")] = "127.0.0.1",
    ae_title: Annotated[str, typer.Option(help="What this house is called.")] = "MEDGAN",
    tls: Annotated[bool, typer.Option("--tls", help="With the certificate of connections.json, HOST:PORT.")] = False,
    rate: Annotated[float, typer.Option(help="Most images a second from one sender; 0: no limit.", min=0)] = 0.0,
    json: JsonOption = False,
) -> None:
    """Receive what scanners and archives push (DICOM C-STORE), into the inbox, until Ctrl-C.

    What is acknowledged is on disk. `medgan ingest inbox://` takes it in; the hourly schedule does, too.
    """
    from medgan import known_sources
    from medgan.sources.address import INBOX
    from medgan.stages.receive import open_reception

    opened = open_home(home)
    known_sources.remember(opened.root / "identified", INBOX, secret=opened.pseudonym_key)
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    reception = open_reception(opened, allowed=allow, port=port, host=host, ae_title=ae_title, tls=tls, rate=rate)
    reception.start()
    console.note(f"receiving as {ae_title} on {host}:{reception.port}; Ctrl-C stops")
    try:
        stop.wait()
    finally:
        reception.stop()
        counts = reception.counts
        console.answer(
            {"received": counts.received, "repeated": counts.repeated, "refused": counts.refused}, as_json=json
        )


@app.command()
def quarantine(
    action: Annotated[str, typer.Argument(help="list, show, retry or drop.")],
    subject: Annotated[
        str, typer.Argument(help="For show, retry and drop: a study's key, an input's sha256, or a reason.")
    ] = "",
    home: HomeOption = None,
    json: JsonOption = False,
) -> None:
    """What was set aside, by key and reason; retry lets it be tried again, drop keeps it out."""
    from medgan.stages import quarantine as stage

    actions = {"show": stage.find, "retry": stage.retry, "drop": stage.drop}
    if action != "list" and action not in actions:
        raise UsageError(f"no such action {action!r}; there are list, show, retry and drop")
    opened = open_home(home)
    if action == "list":
        rows = stage.inputs(opened) + stage.studies(opened)
        console.listing(rows, as_json=json, empty="nothing is set aside")
    else:
        console.listing(actions[action](opened, subject), as_json=json)


@app.command()
def withdraw(
    patient_file: Annotated[Path, typer.Option(help="One id a line, or id, tab, issuer; - reads standard input.")],
    home: HomeOption = None,
    json: JsonOption = False,
) -> None:
    """Erase patients: originals, de-identified copies, samples, cohorts; tombstones; what must be retrained."""
    from medgan.stages import withdraw as stage

    try:
        data = sys.stdin.buffer.read() if str(patient_file) == "-" else patient_file.read_bytes()
    except OSError:
        raise UsageError("the patient file cannot be read") from None
    console.answer(stage.withdraw(stage.patient_ids(data), open_home(home)).model_dump(), as_json=json)
