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

TELL_S = 10.0


@app.command()
def ingest(
    source: SourceArgument,
    home: HomeOption = None,
    labels: LabelsOption = None,
    recipe: RecipeOption = "demo",
    report: Annotated[Path | None, typer.Option(help="CSV of every input: sha256, state, reason.")] = None,
    follow: Annotated[
        bool | None, typer.Option("--follow/--unfollow", help="Let the hourly schedule take it in too, or no more.")
    ] = None,
    whole: Annotated[
        bool, typer.Option("--whole", help="Compare with all that an archive lists, not only with its change log.")
    ] = False,
    json: JsonOption = False,
) -> None:
    """Take in a source: every input counted once, as ingested, duplicate, conflict, quarantined or refused."""
    from medgan import known_sources
    from medgan.recipes import IngestRecipe, load
    from medgan.stages import ingest as stage
    from medgan.stages.places import opened

    house, how = open_home(home), load(IngestRecipe, recipe)
    how = how.model_copy(update={"reconcile_s": 0.0}) if whole else how
    with opened(source, house, labels=labels) as place:
        if follow is not None:
            address = source if "://" in source else str(Path(source).absolute())
            note = known_sources.remember if follow else known_sources.forget
            name = note(house.root / "identified", address, labels, secret=house.pseudonym_key)
            console.note(f"{name}: the hourly schedule takes it in{' too' if follow else ' no more'}")
        try:
            with console.Steps() as steps:
                intake = stage.ingest(place, how, house, on_progress=steps.reporter("ingest", "inputs"))
        finally:
            if report is not None:
                stage.report(house, report)
    said = {**intake.states, "quarantined, why": intake.reasons, "studies": len(intake.studies)}
    also = {
        "superseded": intake.superseded,
        "studies compared": intake.compared,
        "studies gone": intake.gone,
        "studies still arriving": intake.waiting,
    }
    console.answer({**said, **{name: n for name, n in also.items() if n or json}}, as_json=json)


@app.command()
def receive(
    allow: Annotated[list[str] | None, typer.Option(help="AE title that may send here; give one for each.")] = None,
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

    if not allow:
        raise UsageError("name those who may send, by AE title: medgan receive --allow CT1 --allow PACS")
    opened = open_home(home)
    known_sources.remember(opened.root / "identified", INBOX, secret=opened.pseudonym_key)
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    reception = open_reception(opened, allowed=allow, port=port, host=host, ae_title=ae_title, tls=tls, rate=rate)
    reception.start()
    console.note(f"receiving as {ae_title} on {host}:{reception.port}; Ctrl-C stops")
    told = reception.counts
    try:
        while not stop.wait(TELL_S):
            if reception.counts != told:
                told = reception.counts
                console.note(
                    f"received {told.received}, repeated {told.repeated}, refused {sum(told.refused.values())}"
                )
    finally:
        reception.stop()
        told = reception.counts
        console.answer({"received": told.received, "repeated": told.repeated, "refused": told.refused}, as_json=json)


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
        return
    if not subject:
        raise UsageError(f"quarantine {action} needs a study's key, an input's sha256, or a reason")
    console.listing(actions[action](opened, subject), as_json=json)
    said = {"retry": "the next run tries them again", "drop": "what was held of them is deleted; they stay on the list"}
    if action in said:
        console.note(said[action])


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
