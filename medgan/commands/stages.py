"""A verb for each stage, on paths or on the home, without Prefect."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from medgan import console
from medgan.commands.app import HomeOption, JsonOption, RecipeOption, app, open_home, recipe_of, seconds
from medgan.errors import Refused, UsageError


@app.command()
def preprocess(
    src: Annotated[Path | None, typer.Argument(help="Folder of DICOM; without it, the studies of the home.")] = None,
    dst: Annotated[str | None, typer.Argument(help="New folder, or s3://bucket/prefix, for the Zarr result.")] = None,
    home: HomeOption = None,
    recipe: RecipeOption = "demo",
    size: Annotated[int | None, typer.Option(help="Pixels a side of the cohort grid.")] = None,
    dims: Annotated[int | None, typer.Option(help="2 for slices and films, 3 for volumes.")] = None,
    window: Annotated[
        tuple[float, float] | None, typer.Option(help="CT window, HU: LO HI; with --spacing-mm: uint8 of it.")
    ] = None,
    spacing_mm: Annotated[
        float | None, typer.Option(help="With SRC DST: volumes of this voxel size in their own unit, not a cohort.")
    ] = None,
    json: JsonOption = False,
) -> None:
    """DICOM series to a packed Zarr cohort, or with --spacing-mm to one Zarr volume a series."""
    from medgan.recipes import PreprocessRecipe, load
    from medgan.records import Study
    from medgan.stages import preprocess as stage
    from medgan.stages.rejections import within_limit

    asked = {"size": size, "dims": dims, "window_hu": window}
    base = load(PreprocessRecipe, recipe).model_dump()
    chosen = recipe_of(
        PreprocessRecipe, {**base, **{name: value for name, value in asked.items() if value is not None}}
    )
    if (src is None) != (dst is None):
        raise UsageError("give both SRC and DST, or neither for the studies of the home")
    if spacing_mm is not None and (src is None or spacing_mm <= 0):
        raise UsageError("--spacing-mm takes a number above 0, and needs SRC and DST")
    if src is not None and dst is not None and spacing_mm is not None:
        from medgan.stages.volumes import Grid, preprocess_volumes

        console.answer(preprocess_volumes(src, dst, Grid(spacing_mm, window)), as_json=json)
        return
    if src is not None and dst is not None:
        console.answer(stage.preprocess_folder(src, dst, chosen), as_json=json)
        return
    opened = open_home(home)
    with console.Steps() as steps:
        studies = opened.research.records("deidentify", Study)
        outcomes = stage.preprocess(studies, chosen, opened, on_progress=steps.reporter("preprocess", "studies"))
    cohorts = stage.assemble_cohorts(within_limit(outcomes, chosen.max_quarantined), chosen, opened)
    console.listing(
        [
            {"group": c.group, "images": c.count, "patients": c.patients, **c.splits, "digest": c.digest}
            for c in cohorts
        ],
        as_json=json,
    )


@app.command()
def train(
    cohort: Annotated[
        str | None, typer.Argument(help="Zarr cohort, npz, or pictures with labels.csv; else the home's newest.")
    ] = None,
    home: HomeOption = None,
    recipe: RecipeOption = "demo",
    budget: Annotated[str | None, typer.Option(help="Wall-clock limit: 60s, 10m, 2h.")] = None,
    images: Annotated[int | None, typer.Option(help="Image budget; the recipe's otherwise.")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed; the recipe's otherwise.")] = None,
    json: JsonOption = False,
) -> None:
    """Train on a cohort, or go on; prints where the checkpoint is."""
    from medgan.recipes import TrainRecipe, load
    from medgan.stages import newest
    from medgan.stages import train as stage

    opened = open_home(home)
    asked = {"images": images, "seed": seed}
    base = load(TrainRecipe, recipe).model_dump()
    chosen = recipe_of(TrainRecipe, {**base, **{name: value for name, value in asked.items() if value is not None}})
    with console.Steps() as steps:
        if cohort is None:
            real = newest.choose(newest.real_cohorts(opened), chosen.group)
        else:
            real = _bring_in(opened, cohort, recipe, steps)
        told = steps.reporter("train", "images")
        made = stage.train(
            real,
            chosen,
            opened,
            on_progress=lambda p: told(p.images_seen, p.images_target),
            budget_s=seconds(budget) if budget else None,
        )
    where = opened.research.store.path(made.digest)
    console.answer({"checkpoint": where, "digest": made.digest, "images_seen": made.images_seen}, as_json=json)


@app.command()
def synthesize(
    checkpoint: Annotated[str, typer.Argument(help="Checkpoint folder or digest of this home; 'newest'.")] = "newest",
    n: Annotated[int, typer.Option("-n", help="Images.", min=1)] = 100,
    label: Annotated[list[str] | None, typer.Option(help="Classes; else in the proportions of training.")] = None,
    seed: Annotated[int, typer.Option(help="Same seed, same cohort.")] = 0,
    format: Annotated[str, typer.Option(help="Comma-separated: zarr, png, dicom, nifti.")] = "zarr,png,dicom",
    out: Annotated[Path | None, typer.Option(help="Also copy the cohort into this new folder.")] = None,
    home: HomeOption = None,
    json: JsonOption = False,
) -> None:
    """A seeded, labelled synthetic cohort. It is not released by this: see `release`."""
    from medgan.recipes import SynthesizeRecipe
    from medgan.stages import newest
    from medgan.stages import synthesize as stage

    opened = open_home(home)
    made = newest.checkpoint(opened, "" if checkpoint == "newest" else Path(checkpoint.rstrip("/")).name)
    formats = tuple(name.strip() for name in format.split(","))
    recipe = recipe_of(SynthesizeRecipe, {"images": n, "labels": tuple(label or ()), "seed": seed, "formats": formats})
    with console.Steps() as steps:
        cohort = stage.synthesize(made, recipe, opened, on_progress=steps.reporter("synthesize", "images"))
    where = opened.research.store.path(cohort.digest)
    if out is not None:
        stage.export(cohort, out, formats, opened)
        where = out.absolute()
    console.answer({"cohort": where, "digest": cohort.digest, "images": cohort.count}, as_json=json)


@app.command()
def evaluate(
    synthetic: Annotated[Path | None, typer.Argument(help="Zarr cohort, npz or picture folder.")] = None,
    train: Annotated[Path | None, typer.Option(help="Real images the generator saw.")] = None,
    reference: Annotated[Path | None, typer.Option(help="Real images of other patients: the audit part.")] = None,
    fresh: Annotated[Path | None, typer.Option(help="More of other patients, as negative control.")] = None,
    home: HomeOption = None,
    recipe: RecipeOption = "demo",
    json: JsonOption = False,
) -> None:
    """Scorecard and privacy verdict: accept, reject or inconclusive. Without paths: the home's newest cohort."""
    from medgan.recipes import EvaluateRecipe, load
    from medgan.records import Cohort
    from medgan.stages import evaluate as stage
    from medgan.stages import newest

    limits = load(EvaluateRecipe, recipe)
    if synthetic is not None:
        if train is None or reference is None:
            raise UsageError("with SYNTHETIC give --train and --reference too")
        found = stage.evaluate_paths(synthetic, train, reference, fresh, limits)
        answer, reasons = found["answer"], found["reasons"]
        console.answer(found, as_json=json)
    else:
        opened = open_home(home)
        made = newest.checkpoint(opened)
        cohorts = [c for c in opened.research.records("synthesize", Cohort) if c.group == made.group]
        if not cohorts:
            raise UsageError("no synthetic cohort in this home; make one with `medgan synthesize`")
        card = stage.evaluate(cohorts[-1], newest.trained_on(opened, made), limits, opened, checkpoint=made)
        answer, reasons = card.answer, list(card.reasons)
        console.answer(
            {
                "answer": answer,
                "reasons": reasons,
                **card.figures,
                "scorecard": opened.research.store.path(card.digest),
            },
            as_json=json,
        )
    if answer != "accept":
        raise Refused(f"{answer}. {' '.join(reasons)}")


@app.command()
def release(home: HomeOption = None, recipe: RecipeOption = "demo", json: JsonOption = False) -> None:
    """Gate, bundle, registration, trial load, alias: of the home's newest scorecard."""
    from medgan.recipes import EvaluateRecipe, ReleaseRecipe, load
    from medgan.stages import newest
    from medgan.stages import release as stage

    opened = open_home(home)
    card = newest.scorecard(opened)
    done = stage.release(
        card,
        newest.judged(opened, card),
        newest.sampled_from(opened, card),
        load(ReleaseRecipe, recipe),
        opened,
        limits=load(EvaluateRecipe, recipe),
    )
    where = opened.public.path(done.bundle_digest) if done.bundle_digest else "none"
    console.answer({**done.model_dump(mode="json"), "bundle": where}, as_json=json)
    if done.answer != "accept":
        raise Refused(f"{done.answer}: nothing was released. {' '.join(done.reasons)}")


@app.command()
def verify(
    bundle: Annotated[Path, typer.Argument(help="A bundle folder, anyone's.")],
    key: Annotated[Path | None, typer.Option(help="The publisher's public key; else the bundle's own.")] = None,
    json: JsonOption = False,
) -> None:
    """Check every byte of a bundle and its signature, offline. Watermarks come later (see docs)."""
    from medgan.bundle.sign import verify as check

    found = check(bundle, key)
    told = "signature by the given key" if key else "integrity only: the key came with the bundle"
    console.answer({"files": found.files, "problems": found.problems, "proves": told}, as_json=json)
    if found.problems:
        raise Refused(f"{len(found.problems)} problems: this is not what was signed")


@app.command()
def phantom(
    dst: Annotated[Path, typer.Argument(help="New or empty folder.")],
    patients: Annotated[int, typer.Option(help="How many.", min=1)] = 20,
    seed: Annotated[int, typer.Option(help="Same seed, same bytes.")] = 0,
    json: JsonOption = False,
) -> None:
    """Made-up patients with known anatomy as DICOM, identifiers planted; nobody's data."""
    from medgan.stages.phantom import phantom as make_phantoms

    if dst.exists() and (not dst.is_dir() or any(dst.iterdir())):
        raise UsageError("DST exists and is not empty; name a new folder")
    with console.Steps() as steps:
        source = make_phantoms(dst, patients=patients, seed=seed, on_progress=steps.reporter("phantom", "patients"))
    console.answer({"images": source, "truth": dst / "truth", "patients": patients, "seed": seed}, as_json=json)


def _bring_in(home: Any, cohort: str, recipe: str, steps: console.Steps) -> Any:
    """A cohort from outside: packed Zarr or npz as it is; pictures by way of ingestion and de-identification."""
    from medgan.recipes import PreprocessRecipe, load
    from medgan.stages.bring_in import pictures
    from medgan.stages.packed import import_cohort

    path = Path(cohort)
    if path.suffix == ".npz" or (path / "zarr.json").is_file():
        return import_cohort(path, load(PreprocessRecipe, recipe), home)
    return pictures(cohort, recipe, home, on_progress=steps.reporter)
