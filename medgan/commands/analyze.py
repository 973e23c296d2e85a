"""Fit and apply an analysis model on what the discriminator has learned."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from medgan import console
from medgan.commands.app import HomeOption, JsonOption, RecipeOption, app, open_home
from medgan.errors import UsageError


@app.command()
def analyze(
    task: Annotated[str, typer.Argument(help="diagnose, retrieve or anomaly; segment and enhance come later.")],
    action: Annotated[str, typer.Argument(help="fit or apply.")],
    first: Annotated[str, typer.Argument(metavar="[DATA|MODEL]", help="fit: images; apply: the model.")] = "",
    images: Annotated[Path | None, typer.Argument(help="apply: Zarr cohort or npz; else the home's.")] = None,
    out: Annotated[Path | None, typer.Option(help="New folder for the model, or for what it says.")] = None,
    normal: Annotated[str, typer.Option(help="anomaly: the class to learn; else the largest.")] = "",
    neighbours: Annotated[int, typer.Option("-k", "--neighbours", help="retrieve: how many.", min=1)] = 5,
    home: HomeOption = None,
    recipe: RecipeOption = "demo",
    json: JsonOption = False,
) -> None:
    """Diagnosis, retrieval or anomaly scores on the features of the newest checkpoint. Not for clinical use.

    analyze TASK fit [DATA] --out MODEL; analyze TASK apply MODEL [IMAGES] --out DIR. DATA and IMAGES: a packed Zarr
    cohort or an npz; without them the home's newest real cohort.
    """
    from medgan.recipes import AnalyzeRecipe, load
    from medgan.stages import analyze as stage

    chosen = stage.task_of(task)
    if action not in ("fit", "apply"):
        raise UsageError(f"no such action {action!r}; there are fit and apply")
    if out is None:
        raise UsageError("--out is missing; name a new folder")
    if action == "apply" and not first:
        raise UsageError("apply needs the model: the folder that `medgan analyze TASK fit --out` wrote")
    if action == "fit" and images is not None:
        raise UsageError("fit takes one DATA; IMAGES belong to apply")
    stage.check_out(out)
    opened = open_home(home)
    if action == "fit":
        how = load(AnalyzeRecipe, recipe)
        how = how.model_copy(update={"normal": normal}) if normal else how
        made = stage.fit(chosen, Path(first) if first else None, how, opened)
        digest = made.digest
        told = {"model": out.absolute(), "images": made.images, "classes": list(made.classes), **made.figures}
    else:
        found = stage.apply(chosen, first, images, opened, neighbours=neighbours)
        digest = found.digest
        told = {"table": out.absolute() / found.file, "images": found.images}
    stage.export(digest, out, opened)
    console.answer({**told, "digest": digest, "notice": stage.NOTICE}, as_json=json)
