"""Metrics are spooled first and shipped later: training neither waits for MLflow nor fails with it.

    RUN.jsonl    append-only, one JSON object a line: params, metrics of a step, tags, artifact, end
    RUN.files/   copies of spooled artifacts, by content

The spool is the truth. Shipping may be repeated: times are spooled too, and MLflow takes the same point twice
as one.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from medgan import digest as digests

LONGEST_VALUE = 500  # characters of a parameter, as MLflow's oldest servers allow
BATCH = 900  # MLflow takes at most 1000 values in one call
QUIET = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "GIT_PYTHON_REFRESH": "quiet",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}
SHIPPED = "medgan.shipped"
SPOOL = "medgan.spool"


@dataclasses.dataclass(frozen=True, slots=True)
class Shipped:
    run_id: str
    rows: int  # sent by this call


class Spool:
    """The record of one run at `path` (RUN.jsonl). Opening an existing one goes on where it ended."""

    def __init__(self, path: Path, *, clock: Callable[[], float] = time.time) -> None:
        self.path, self.clock = path, clock
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists() and (data := path.read_bytes()) and not data.endswith(b"\n"):
            with path.open("ab") as file:  # a line torn by a kill ends here, and is skipped when read
                file.write(b"\n")
        self._last = {
            name: row["step"] for row in read_spool(path) if row["kind"] == "metrics" for name in row["values"]
        }

    def params(self, values: Mapping[str, Any], *, prefix: str = "") -> None:
        """What was asked for: a recipe's fields."""
        flat = {f"{prefix}{name}": _text(value) for name, value in values.items()}
        self._append({"kind": "params", "values": flat})

    def tags(self, values: Mapping[str, str]) -> None:
        self._append({"kind": "tags", "values": dict(values)})

    def metrics(self, values: Mapping[str, float], step: int) -> None:
        """One point of each curve. A step not beyond the last one is a repetition after a resume: left out."""
        new = {name: float(value) for name, value in values.items() if step > self._last.get(name, -1)}
        if new:
            self._last.update(dict.fromkeys(new, step))
            self._append({"kind": "metrics", "step": step, "values": new})

    def follow(self, progress: Any) -> None:
        """Every number of a progress dataclass (or its mapping of losses), by its `images_seen`."""
        values: dict[str, float] = {}
        for field in dataclasses.fields(progress):
            value = getattr(progress, field.name)
            for name, number in value.items() if isinstance(value, Mapping) else ((field.name, value),):
                if isinstance(number, int | float) and not isinstance(number, bool):
                    values[name] = float(number)
        step = int(values.pop("images_seen"))
        values.pop("images_target", None)
        self.metrics(values, step)

    def artifact(self, file: Path, folder: str = "") -> None:
        """Keep a copy of `file`, to be shipped into `folder` of the run's artifacts."""
        name = f"{digests.sha256_file(file)[:16]}/{file.name}"
        kept = self.path.with_suffix(".files") / name
        kept.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, kept)
        self._append({"kind": "artifact", "file": name, "folder": folder})

    def end(self, status: str = "FINISHED") -> None:
        """FINISHED, FAILED or KILLED, in MLflow's words."""
        self._append({"kind": "end", "status": status})

    def _append(self, row: dict[str, Any]) -> None:
        line = json.dumps({"at_ms": int(self.clock() * 1000), **row}, sort_keys=True) + "\n"
        with self.path.open("ab") as file:
            file.write(line.encode())


def read_spool(path: Path) -> list[dict[str, Any]]:
    """Rows in the order they were written, without lines that a kill tore."""
    return list(_rows(path)) if path.exists() else []


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    for line in path.read_bytes().splitlines():
        try:
            row = json.loads(line)
        except ValueError:
            continue
        if isinstance(row, dict) and "kind" in row:
            yield row


def local_uri(folder: Path) -> str:
    """The address of an MLflow database in `folder` (made when missing)."""
    folder.mkdir(parents=True, exist_ok=True)
    return f"sqlite:///{folder.absolute() / 'mlflow.db'}"


def database(uri: str) -> Path | None:
    """The file of a SQLite address, else None."""
    return Path(uri.removeprefix("sqlite:///")) if uri.startswith("sqlite:///") else None


def ship(spool: Path, uri: str, *, experiment: str = "medgan") -> Shipped:
    """Send what is new in a spool to MLflow; what was sent before is not sent again.

    Raises ConnectionError (one of the world's errors: retry later) when MLflow is away or refuses.
    """
    quiet()
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    rows = read_spool(spool)
    try:
        client = open_client(uri)
        run_id, done = _run(client, experiment_id(client, uri, experiment), spool.stem)
        if done < len(rows):
            _send(client, run_id, rows, done, spool.with_suffix(".files"))
    except (MlflowException, SQLAlchemyError, OSError) as error:
        raise ConnectionError(
            f"MLflow is away or refused ({type(error).__name__}); the metrics stay in the spool and are shipped later"
        ) from None
    return Shipped(run_id, max(0, len(rows) - done))


def open_client(uri: str) -> Any:
    """An MLflow client for `uri`, with no telemetry and little patience for a dead server."""
    quiet()
    import mlflow
    from mlflow import environment_variables as knobs

    # by default 7 retries of 120 s each: a dead server would hold a caller for minutes
    knobs.MLFLOW_HTTP_REQUEST_MAX_RETRIES.set(1)
    knobs.MLFLOW_HTTP_REQUEST_TIMEOUT.set(20)
    prepare(uri)
    return mlflow.MlflowClient(tracking_uri=uri, registry_uri=uri)


def quiet() -> None:
    """Before MLflow is imported, when it reads these: no telemetry, and nothing on standard output but ours."""
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)


def prepare(uri: str) -> None:
    """Make a SQLite registry whole or not at all: MLflow, killed in its first migration, could never open it again."""
    file = database(uri)
    if file is None or file.exists():
        return
    import mlflow

    file.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=file.parent, prefix=f".{file.name}.") as folder:
        aside = Path(folder) / file.name
        mlflow.MlflowClient(tracking_uri=f"sqlite:///{aside}").search_experiments(max_results=1)
        with contextlib.suppress(FileExistsError):  # another process was first: its registry is ours
            os.link(aside, file)


def experiment_id(client: Any, uri: str, name: str) -> str:
    """The experiment's id, made when missing. A local one keeps artifacts beside its database, not in ./mlruns."""
    found = client.get_experiment_by_name(name)
    if found is not None:
        return str(found.experiment_id)
    file = database(uri)
    place = (file.parent / "artifacts" / name).as_uri() if file else None
    return str(client.create_experiment(name, artifact_location=place))


def _run(client: Any, experiment: str, name: str) -> tuple[str, int]:
    """The run that holds this spool, and how many of its rows it has."""
    found = client.search_runs([experiment], filter_string=f"tags.`{SPOOL}` = '{name}'", max_results=1)
    run = found[0] if found else client.create_run(experiment, tags={SPOOL: name}, run_name=name)
    return str(run.info.run_id), int(run.data.tags.get(SHIPPED, 0))


def _send(client: Any, run_id: str, rows: list[dict[str, Any]], done: int, files: Path) -> None:
    from mlflow.entities import Param, RunTag

    new = rows[done:]
    params = [Param(k, v) for row in new if row["kind"] == "params" for k, v in row["values"].items()]
    tags = [RunTag(k, v) for row in new if row["kind"] == "tags" for k, v in row["values"].items()]
    for start in range(0, max(len(params), len(tags)), 90):
        client.log_batch(run_id, params=params[start : start + 90], tags=tags[start : start + 90])
    _log_points(client, run_id, _points(new))
    for row in new:
        if row["kind"] == "artifact" and (files / row["file"]).is_file():
            client.log_artifact(run_id, str(files / row["file"]), row["folder"] or None)
    _complete(client, run_id, _points(rows))
    ends = [row for row in rows if row["kind"] == "end"]
    if ends:
        client.set_terminated(run_id, ends[-1]["status"], ends[-1]["at_ms"])
    client.set_tag(run_id, SHIPPED, str(len(rows)))


def _points(rows: list[dict[str, Any]]) -> dict[tuple[str, int, int], float]:
    """(name, step, time) -> value of every spooled point."""
    return {
        (name, row["step"], row["at_ms"]): value
        for row in rows
        if row["kind"] == "metrics"
        for name, value in row["values"].items()
    }


def _log_points(client: Any, run_id: str, points: dict[tuple[str, int, int], float]) -> None:
    from mlflow.entities import Metric

    metrics = [Metric(name, value, at_ms, step) for (name, step, at_ms), value in points.items()]
    for start in range(0, len(metrics), BATCH):
        client.log_batch(run_id, metrics=metrics[start : start + BATCH])


def _complete(client: Any, run_id: str, points: dict[tuple[str, int, int], float]) -> None:
    """Count what arrived and send what did not: a server may drop points without an error (mlflow#14627)."""
    arrived = {
        (name, point.step, point.timestamp)
        for name in sorted({name for name, _, _ in points})
        for point in client.get_metric_history(run_id, name)
    }
    _log_points(client, run_id, {point: value for point, value in points.items() if point not in arrived})


def _text(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, sort_keys=True, default=str)
    return text[:LONGEST_VALUE]
