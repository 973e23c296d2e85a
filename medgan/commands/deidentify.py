"""De-identification, folder to folder or of what waits in the home, and the keys for it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from medgan import console
from medgan.commands.app import HomeOption, JsonOption, RecipeOption, app, open_home
from medgan.errors import UsageError

# what a terminal shows; --json and the report in DST say everything
SHOWN = (
    "files",
    "written",
    "duplicate",
    "rebuilt",
    "quarantined",
    "studies",
    "patients",
    "boxes",
    "less_valid",
    "report",
)


@app.command()
def deidentify(
    src: Annotated[
        Path | None, typer.Argument(help="Folder, zip, tar or file of DICOM; without it, what waits in the home.")
    ] = None,
    dst: Annotated[Path | None, typer.Argument(help="New folder, or one of a run that did not end.")] = None,
    profile: Annotated[str | None, typer.Option(help="research, basic, or a TOML file (docs/profiles.md).")] = None,
    recipe: RecipeOption = "demo",
    key_file: Annotated[Path | None, typer.Option(help="Key file (mode 0600); else the key of the home.")] = None,
    key_id: Annotated[str | None, typer.Option(help="An older key of the file, to go on with an old DST.")] = None,
    workers: Annotated[int | None, typer.Option(min=1, help="Children side by side; else one a processor.")] = None,
    report: Annotated[Path | None, typer.Option(help="CSV of sha256, state and reason of every input of SRC.")] = None,
    k: Annotated[int, typer.Option("--k", min=2, help="Patients who should share what is retained of each.")] = 5,
    home: HomeOption = None,
    json: JsonOption = False,
) -> None:
    """De-identify folder to folder, or the waiting studies of the home."""
    if (src is None) != (dst is None):
        raise UsageError("give both SRC and DST, or neither for the waiting studies of the home")
    chosen = _recipe(recipe, profile)
    with console.Steps() as steps:
        if src is None or dst is None:
            if key_file or key_id or report or workers:
                raise UsageError("--key-file, --key-id, --report and --workers go with SRC and DST")
            done = _waiting(chosen, open_home(home), k, steps)
        else:
            secret = _secret(key_file, key_id, home)
            done = _folder(src, dst, chosen, secret, workers, report, k, steps)
    shown = {name: done[name] for name in SHOWN if done.get(name) not in (None, {})}
    console.answer(done if json else shown, as_json=json)
    if src is not None:
        from medgan.stages.deidentify_folder import require_within

        require_within(done, chosen.max_quarantined)


@app.command()
def key(
    file: Annotated[Path | None, typer.Argument(help="Key file; without it, the key of the home.")] = None,
    new: Annotated[
        bool, typer.Option("--new", help="Make a key: in a new FILE, or on top of the others in it.")
    ] = False,
    home: HomeOption = None,
    json: JsonOption = False,
) -> None:
    """The ids of the keys in a file, newest first, or of the key of the home; never a key itself."""
    from medgan.keys import Key, put_new_key, read_keys

    if file is None:
        if new:
            raise UsageError("a home keeps its key: see docs/deidentification.md; for folders, name a key file")
        found = [Key(open_home(home).pseudonym_key).id]
    else:
        if new:
            put_new_key(file)
        found = [one.id for one in read_keys(file)]
    console.answer({"newest": found[0], "older": found[1:]}, as_json=json)


def _recipe(name: str, profile: str | None) -> Any:
    """The recipe, with the profile that was asked for."""
    from medgan.deid.profiles import own_profile
    from medgan.recipes import DeidentifyRecipe, load
    from medgan.stages.gate_one import profile_of

    found = load(DeidentifyRecipe, name)
    if profile in ("research", "basic"):
        found = found.model_copy(update={"profile": profile, "own": None})
    elif profile is not None:
        asked = {"profile": "own", "own": own_profile.load(Path(profile))}
        found = DeidentifyRecipe.model_validate({**found.model_dump(), **asked})
    for caution in profile_of(found).cautions:
        console.note(f"profile: {caution}")
    return found


def _secret(key_file: Path | None, key_id: str | None, home: Path | None) -> bytes:
    from medgan.keys import pick, read_keys

    if key_file is None:
        if key_id:
            raise UsageError("--key-id names a key of the file given with --key-file")
        secret: bytes = open_home(home).pseudonym_key
        return secret
    keys = read_keys(key_file)
    return (pick(keys, key_id) if key_id else keys[0]).secret


def _folder(
    src: Path, dst: Path, recipe: Any, secret: bytes, workers: int | None, report: Path | None, k: int, steps: Any
) -> dict[str, Any]:
    from medgan.parallel import cores
    from medgan.stages.deidentify_folder import deidentify_folder
    from medgan.stages.officer_report import PAGE

    done = deidentify_folder(
        src,
        dst,
        key=secret,
        recipe=recipe,
        workers=workers or cores(),
        listing=report,
        asked_k=k,
        on_read=steps.reporter("read", "files"),
        on_progress=steps.reporter("deidentify", "files"),
    )
    return {**done, "report": dst / PAGE}


def _waiting(recipe: Any, home: Any, k: int, steps: Any) -> dict[str, Any]:
    from medgan.records import Quarantined
    from medgan.stages import deidentify as stage
    from medgan.stages import ingest
    from medgan.stages.desk import LEASE

    with home.identified_ledger.lease(LEASE):  # nobody is withdrawn meanwhile
        told = steps.reporter("deidentify", "studies")
        outcomes = stage.deidentify(ingest.pending(home), recipe, home, on_progress=told)
        stage.write_report(recipe, home, k)
    aside = sum(isinstance(outcome, Quarantined) for outcome in outcomes)
    report = home.root / "research" / "deidentification.html"
    return {"studies": len(outcomes) - aside, "quarantined": aside, "report": report}
