"""The Typer application, and what several verbs share."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any

import typer

from medgan import console
from medgan.errors import UsageError

app = typer.Typer(
    name="medgan",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Share images without sharing patients: DICOM in; a synthetic cohort with its evidence out.",
    epilog="Exit codes: 0 done, 1 failed, 2 wrong usage, 3 refused by a gate, 4 too much quarantined, "
    "143 stopped and resumable.",
)

HomeOption = Annotated[Path | None, typer.Option("--home", help="Home folder; else MEDGAN_HOME, else ./medgan-home.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout and nothing else there.")]
RecipeOption = Annotated[str, typer.Option("--recipe", help="smoke, demo, full, baseline, or a TOML file.")]
LabelsOption = Annotated[
    Path | None, typer.Option("--labels", help="CSV with the columns file, label and, if known, patient_id.")
]

SourceArgument = Annotated[
    str,
    typer.Argument(
        help="Folder, zip, tar, DICOMDIR or file; dicomweb+https://HOST/PATH, dimse://AE@HOST:PORT, or inbox://."
    ),
]


def open_home(home: Path | None) -> Any:
    """The home folder, made when new; says so when it made a key."""
    from medgan.home import Home
    from medgan.settings import orchestration_environment, settings

    root = (home or settings().home).absolute()
    os.environ.update(orchestration_environment(root))
    opened = Home.create(root)
    if opened.created:
        console.note(f"new home {root}: made its pseudonym key (identified/key); back it up, and keep it closed")
    for zone in (opened.identified.store, opened.research.store, opened.public):
        zone.sweep()
    return opened


def recipe_of(kind: Any, fields: dict[str, Any]) -> Any:
    from pydantic import ValidationError

    try:
        return kind.model_validate(fields)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        raise UsageError(f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from None


def seconds(text: str) -> float:
    """60s, 10m or 2h as seconds. Raises UsageError."""
    units = {"s": 1.0, "m": 60.0, "h": 3600.0}
    try:
        value = float(text[:-1]) * units[text[-1]]
    except (KeyError, ValueError, IndexError):
        value = 0.0
    if value <= 0:
        raise UsageError(f"{text!r} is no time; write 60s, 10m or 2h")
    return value
