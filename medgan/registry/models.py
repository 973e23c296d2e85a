"""Model versions: a checkpoint becomes one after it was loaded from the registry's storage and sampled from.

Registered are the generator's weights, state.json and the code that reads them. The discriminator stays at
home: it is the strongest cheap attack on its training patients.
"""

from __future__ import annotations

import ast
import importlib.metadata
import json
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medgan import digest as digests
from medgan.errors import CorruptArtefact, MedganError, UsageError
from medgan.registry.tracking import database, experiment_id, open_client, quiet

FILES = ("generator.safetensors", "state.json")
SERVED = ("medgan.gan.checkpoint", "medgan.gan.sample", "medgan.gan.labels")  # what serving.py imports
TAG = "checkpoint"
METRIC = "metric."  # tags of a version that hold its figures
RETRAIN, WHY, LOST = "retrain_required", "retrain_reason", "retired_aliases"  # tags of a version that was retired
TRIAL_S = 300


@dataclass(frozen=True, slots=True)
class ModelVersion:
    """One registered version: what was said about it, and the aliases that point to it."""

    version: str
    checkpoint: str
    tags: dict[str, str]
    metrics: dict[str, float]
    aliases: tuple[str, ...]
    created_ms: int


@dataclass(frozen=True, slots=True)
class Retired:
    """Versions that must be trained anew, as NAME VERSION, and the aliases they lost, as NAME@ALIAS."""

    versions: tuple[str, ...] = ()
    aliases: tuple[str, ...] = ()


def register(
    folder: Path,
    *,
    name: str,
    uri: str,
    tags: Mapping[str, str] | None = None,
    metrics: Mapping[str, float] | None = None,
) -> str:
    """Make the checkpoint in `folder` a version of model `name`; the same checkpoint again is the same version.

    Order: log, load from storage in a fresh isolated process, sample, then register. Raises CorruptArtefact
    when the weights are not those that were sealed, MedganError when the trial fails, ConnectionError when
    MLflow is away.
    """
    if not re.fullmatch(r"[A-Za-z0-9][\w.-]*", name):
        raise UsageError("recipe field release.model_name: expected letters, digits, '.', '_' and '-'")
    checkpoint = _checkpoint_digest(folder)
    with _reachable():
        client = open_client(uri)
        if found := _version_of(client, name, checkpoint):
            _retag(client, name, found, _tags(checkpoint, tags or {}, metrics or {}))
            return found
        run_id, model_uri = _log(client, uri, name, folder, checkpoint, dict(metrics or {}))
        try:
            _try(uri, model_uri, _shape(folder))
        except MedganError:
            client.set_terminated(run_id, "FAILED")
            raise
        client.set_terminated(run_id, "FINISHED")
        return _register(client, name, run_id, model_uri, _tags(checkpoint, tags or {}, metrics or {}))


def set_alias(name: str, uri: str, alias: str, version: str) -> None:
    """Point `alias` (challenger, champion) at a version."""
    with _reachable():
        open_client(uri).set_registered_model_alias(name, alias, version)


def retire(checkpoints: Iterable[str], uri: str, *, why: str) -> Retired:
    """Tag every version of these checkpoints, whatever its model, as to be retrained, and take its aliases away.

    The version stays as a record. Called again it does what is left to do, and says the same. Raises ConnectionError
    when MLflow is away.
    """
    wanted, file = sorted(set(checkpoints)), database(uri)
    if not wanted or (file is not None and not file.exists()):
        return Retired()
    versions, aliases = [], []
    with _reachable():
        client = open_client(uri)
        for checkpoint in wanted:
            for found in client.search_model_versions(f"tags.`{TAG}` = '{checkpoint}'"):
                versions.append(f"{found.name} {found.version}")
                aliases += [f"{found.name}@{alias}" for alias in _retire(client, found.name, str(found.version), why)]
    return Retired(tuple(sorted(versions)), tuple(sorted(aliases)))


def _retire(client: Any, name: str, version: str, why: str) -> list[str]:
    """Tags first, then the aliases: killed in between, the tag still tells which there were."""
    present = client.get_model_version(name, version).tags
    points = client.get_registered_model(name).aliases
    held = {alias for alias, number in points.items() if str(number) == version}
    lost = sorted(held | {alias for alias in present.get(LOST, "").split(",") if alias})
    tags = {RETRAIN: "true", WHY: present.get(WHY, why), **({LOST: ",".join(lost)} if lost else {})}
    _retag(client, name, version, tags)
    for alias in sorted(held):
        client.delete_registered_model_alias(name, alias)
    return lost


def champion(name: str, uri: str, alias: str = "champion") -> ModelVersion | None:
    """The version an alias points to; None when there is none, or no registry yet."""
    return next((version for version in history(name, uri) if alias in version.aliases), None)


def history(name: str, uri: str) -> list[ModelVersion]:
    """Every version of a model, newest first; empty when there is none, or no registry yet."""
    file = database(uri)
    if file is not None and not file.exists():
        return []  # asking would make a database, which takes seconds
    with _reachable():
        client = open_client(uri)
        aliases = _aliases(client, name)
        versions = client.search_model_versions(f"name = '{name}'", max_results=1000)
    made = [_version(version, aliases) for version in versions]
    return sorted(made, key=lambda version: int(version.version), reverse=True)


def _aliases(client: Any, name: str) -> dict[str, str]:
    """Alias -> version. Versions found by a search carry no aliases; the model does."""
    models = client.search_registered_models(f"name = '{name}'", max_results=1)
    return {alias: str(version) for model in models for alias, version in model.aliases.items()}


def _version(version: Any, aliases: Mapping[str, str]) -> ModelVersion:
    tags = dict(version.tags)
    return ModelVersion(
        version=str(version.version),
        checkpoint=tags.get(TAG, ""),
        tags={name: value for name, value in tags.items() if not name.startswith(METRIC)},
        metrics={name.removeprefix(METRIC): float(value) for name, value in tags.items() if name.startswith(METRIC)},
        aliases=tuple(sorted(alias for alias, number in aliases.items() if number == str(version.version))),
        created_ms=int(version.creation_timestamp),
    )


def _checkpoint_digest(folder: Path) -> str:
    """The artefact's digest, after comparing the files that will be registered with its manifest."""
    if missing := [name for name in FILES if not (folder / name).is_file()]:
        raise CorruptArtefact(f"the checkpoint has no {missing[0]}; train again")
    manifest = folder / "manifest.json"
    if not manifest.is_file():
        return digests.sha256(digests.canonical({name: digests.sha256_file(folder / name) for name in FILES}))
    listed = json.loads(manifest.read_bytes())["files"]
    if any(listed.get(name, {}).get("sha256") != digests.sha256_file(folder / name) for name in FILES):
        raise CorruptArtefact(
            "the checkpoint's weights differ from its manifest; drop it with `medgan doctor --repair`"
        )
    return digests.sha256_file(manifest)


def _version_of(client: Any, name: str, checkpoint: str) -> str | None:
    found = client.search_model_versions(f"name = '{name}' and tags.`{TAG}` = '{checkpoint}'")
    return str(min(int(version.version) for version in found)) if found else None


def _retag(client: Any, name: str, version: str, tags: Mapping[str, str]) -> None:
    """What is said of a version now: a later scorecard of the same checkpoint takes the place of the first."""
    present = client.get_model_version(name, version).tags
    for tag, value in tags.items():
        if present.get(tag) != value:
            client.set_model_version_tag(name, version, tag, value)


def _tags(checkpoint: str, tags: Mapping[str, str], metrics: Mapping[str, float]) -> dict[str, str]:
    figures = {f"{METRIC}{name}": repr(float(value)) for name, value in metrics.items()}
    return {**{name: str(value) for name, value in tags.items()}, **figures, TAG: checkpoint}


def _register(client: Any, name: str, run_id: str, model_uri: str, tags: dict[str, str]) -> str:
    from mlflow.exceptions import MlflowException

    try:
        client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    model_id = model_uri.rpartition("/")[2]
    source = client.get_logged_model(model_id).artifact_location
    # tags come with the version, not after it: a kill in between would leave one that is never found again
    made = client.create_model_version(name, source, run_id=run_id, tags=tags, model_id=model_id)
    return str(made.version)


def _log(client: Any, uri: str, name: str, folder: Path, checkpoint: str, metrics: dict[str, float]) -> tuple[str, str]:
    """Store the model under a new run; returns the run's id and the model's address."""
    import mlflow

    run = client.create_run(
        experiment_id(client, uri, name), tags={TAG: checkpoint}, run_name=f"register-{checkpoint[:12]}"
    )
    run_id = str(run.info.run_id)
    with tempfile.TemporaryDirectory() as scratch, _mlflow_at(uri):
        weights, code = Path(scratch) / "checkpoint", Path(scratch) / "medgan"
        weights.mkdir()
        for file in FILES:
            shutil.copyfile(folder / file, weights / file)
        modules = closure(SERVED)
        _copy_code(modules, code)
        with mlflow.start_run(run_id=run_id):
            info = mlflow.pyfunc.log_model(
                name="generator",
                python_model=str(Path(__file__).with_name("serving.py")),
                code_paths=[str(code)],
                artifacts={"checkpoint": str(weights)},
                pip_requirements=requirements(modules),
                signature=_signature(_shape(folder)),
                input_example=_example(),
            )
            if metrics:
                mlflow.log_metrics(metrics, model_id=info.model_id)
    return run_id, str(info.model_uri)


def _shape(folder: Path) -> list[int]:
    """C, D, H, W of what the generator makes."""
    return [int(side) for side in json.loads((folder / "state.json").read_bytes())["network"]["shape"]]


def _signature(shape: list[int]) -> Any:
    import numpy as np
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, ParamSchema, ParamSpec, Schema, TensorSpec

    return ModelSignature(
        inputs=Schema([ColSpec("long", "n"), ColSpec("string", "label", required=False)]),
        outputs=Schema([TensorSpec(np.dtype("float32"), (-1, *shape))]),
        # MLflow drops a misspelt parameter with a warning; without a default for this one, predict then refuses
        params=ParamSchema([ParamSpec("seed", "long", None)]),
    )


def _example() -> Any:
    import pandas as pd

    return pd.DataFrame({"n": [2]}), {"seed": 7}


def closure(modules: tuple[str, ...]) -> dict[str, Path]:
    """Every module of this package that `modules` import, at any remove: name -> file."""
    found: dict[str, Path] = {}
    wanted = list(modules)
    while wanted:
        module = wanted.pop()
        file = None if module in found else _source(module)
        if file is None:
            continue
        found[module] = file
        wanted += [name for name in _imports(found[module]) if name.split(".")[0] == "medgan"]
        wanted += [".".join(module.split(".")[:depth]) for depth in range(1, module.count(".") + 1)]
    return found


def _source(module: str) -> Path | None:
    """The file of a module of this package; None for what is no module, such as a class imported from one."""
    base = Path(__file__).parents[1].joinpath(*module.split(".")[1:])
    return next((file for file in (base / "__init__.py", base.with_suffix(".py")) if file.is_file()), None)


def requirements(modules: Mapping[str, Path]) -> list[str]:
    """The installed version of every package that these modules and serving.py import."""
    packages = importlib.metadata.packages_distributions()
    files = [*modules.values(), Path(__file__).with_name("serving.py")]
    roots = {name.split(".")[0] for file in files for name in _imports(file)} - set(sys.stdlib_module_names)
    # several packages may put files below one name: mlflow, mlflow-skinny, mlflow-tracing
    known = roots & set(packages) - {"medgan"}
    names = {root if root in packages[root] else min(packages[root]) for root in known}
    # a wheel's local tag, such as +cpu, is no version that an index knows
    return [f"{name}=={importlib.metadata.version(name).partition('+')[0]}" for name in sorted(names)]


def _imports(file: Path) -> Iterator[str]:
    """Names that a file imports; `from a import b` gives a and a.b, for b may be a module."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _copy_code(modules: Mapping[str, Path], package: Path) -> None:
    for module, file in modules.items():
        parts = module.split(".")[1:]
        target = (
            package.joinpath(*parts, "__init__.py")
            if file.name == "__init__.py"
            else package.joinpath(*parts).with_suffix(".py")
        )
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, target)


def _try(uri: str, model_uri: str, shape: list[int]) -> None:
    """Load the stored model in a fresh isolated process and sample from it. Raises MedganError when it fails."""
    program = Path(__file__).with_name("trial.py")
    with tempfile.TemporaryDirectory() as elsewhere:
        try:
            done = subprocess.run(
                [sys.executable, "-I", "-B", str(program), uri, model_uri],
                capture_output=True,
                text=True,
                cwd=elsewhere,
                timeout=TRIAL_S,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise MedganError(f"the stored model did not answer within {TRIAL_S} s; nothing was registered") from None
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise MedganError(f"the stored model cannot be loaded, nothing was registered: {last[:300]}")
    answer = json.loads(done.stdout.strip().splitlines()[-1])
    wrong = [name for name in ("finite", "repeats", "varies", "strict", "stored_code") if not answer[name]]
    if answer["shape"][1:] != list(shape) or wrong:
        raise MedganError(
            f"the stored model's trial gave shape {answer['shape'][1:]}, expected {list(shape)}; "
            f"failed checks: {', '.join(wrong) or 'none'}; nothing was registered"
        )


@contextmanager
def _mlflow_at(uri: str) -> Iterator[None]:
    """Point MLflow's global address at `uri` for a while; logging must not change this process's import path."""
    import mlflow

    address, path, cached = mlflow.get_tracking_uri(), list(sys.path), sys.dont_write_bytecode
    mlflow.set_tracking_uri(uri)
    sys.dont_write_bytecode = True  # what is stored is what was written, without traces of this machine
    try:
        yield
    finally:
        mlflow.set_tracking_uri(address)
        sys.path[:], sys.dont_write_bytecode = path, cached


@contextmanager
def _reachable() -> Iterator[None]:
    """Turn MLflow's and its database's errors into one of the world's, to be retried."""
    quiet()
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except (MlflowException, SQLAlchemyError, OSError) as error:
        code = getattr(error, "error_code", type(error).__name__)
        raise ConnectionError(f"MLflow is away or refused ({code}); is the tracking address right?") from None
