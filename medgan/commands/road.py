"""The whole road: demo and run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from medgan import console
from medgan.commands.app import HomeOption, JsonOption, LabelsOption, RecipeOption, SourceArgument, app, open_home
from medgan.errors import Refused


@app.command()
def demo(
    home: HomeOption = None,
    patients: Annotated[int, typer.Option(help="Made-up patients.", min=2)] = 360,
    seed: Annotated[int, typer.Option(help="Seed of the made-up patients.")] = 0,
    recipe: RecipeOption = "demo",
    json: JsonOption = False,
) -> None:
    """The whole road on made-up patients: a registered model, a signed bundle, a report. Offline."""
    from medgan.stages.phantom import phantom as make_phantoms

    opened = open_home(home)
    with console.Steps() as steps:
        source = make_phantoms(
            opened.root / "identified" / "phantom" / f"{patients}-{seed}",
            patients=patients,
            seed=seed,
            on_progress=steps.reporter("phantom", "patients"),
        )
    _whole_road(opened, str(source), None, recipe, json)


@app.command()
def run(
    source: SourceArgument,
    home: HomeOption = None,
    recipe: RecipeOption = "demo",
    labels: LabelsOption = None,
    json: JsonOption = False,
) -> None:
    """The whole road on real data."""
    _whole_road(open_home(home), source, labels, recipe, json)


def _whole_road(home: Any, address: str, labels: Path | None, recipe: str, as_json: bool) -> None:
    from medgan import known_sources
    from medgan.recipes import STAGES, load
    from medgan.stages.places import open_place
    from medgan.stages.release import report_file
    from medgan.stages.summary import summary

    for kind in STAGES:
        load(kind, recipe)  # an impossible recipe fails before a server is started
    address = address if "://" in address else str(Path(address).absolute())
    open_place(address, home, labels=labels)  # so does a source that is not there
    name = known_sources.remember(home.root / "identified", address, labels, secret=home.pseudonym_key)
    with console.Steps():
        from flows.local import whole_road

        release = whole_road(name, recipe, home.root)
    console.answer(
        {**summary(home, release), "report of the house": report_file(release, home)}, as_json=as_json, title="medgan"
    )
    if release.answer != "accept":
        raise Refused(f"{release.answer}: nothing was released. {' '.join(release.reasons)}")
