"""Spooled metrics reach MLflow once and whole, whatever happens in between."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from medgan.registry.tracking import Spool, local_uri, open_client, read_spool, ship


@dataclass(frozen=True)
class Seen:
    images_seen: int
    images_target: int = 100
    losses: dict[str, float] = field(default_factory=dict)
    images_per_s: float = 10.0
    note: str = "no number"


@pytest.fixture(scope="module")
def uri(tmp_path_factory: pytest.TempPathFactory) -> str:
    uri = local_uri(tmp_path_factory.mktemp("mlflow"))
    open_client(uri).search_experiments()  # the migration takes seconds, once
    return uri


@pytest.fixture
def spool(tmp_path: Path, request: pytest.FixtureRequest) -> Spool:
    ticks = iter(range(1, 10_000))
    return Spool(tmp_path / f"{request.node.name}.jsonl", clock=lambda: 1_000.0 + next(ticks))


def history(uri: str, run_id: str, name: str) -> list[tuple[int, float]]:
    return [(point.step, point.value) for point in open_client(uri).get_metric_history(run_id, name)]


def test_everything_in_a_spool_reaches_mlflow(uri: str, spool: Spool, tmp_path: Path) -> None:
    picture = tmp_path / "samples.png"
    picture.write_bytes(b"picture")
    spool.params({"lr": 1e-3, "widths": (96, 64)}, prefix="train.")
    spool.tags({"cohort": "abc"})
    for step in range(0, 3000, 2):
        spool.follow(Seen(step, losses={"generator": 0.5 + step}))
    spool.artifact(picture, "samples")
    picture.write_bytes(b"a later picture")
    spool.end()

    shipped = ship(spool.path, uri)

    run = open_client(uri).get_run(shipped.run_id)
    assert run.data.params == {"train.lr": "0.001", "train.widths": "[96, 64]"}
    assert run.data.tags["cohort"] == "abc"
    assert run.info.status == "FINISHED"
    assert history(uri, shipped.run_id, "generator") == [(step, 0.5 + step) for step in range(0, 3000, 2)]
    assert set(run.data.metrics) == {"generator", "images_per_s"}
    local = open_client(uri).download_artifacts(shipped.run_id, "samples/samples.png", str(tmp_path))
    assert Path(local).read_bytes() == b"picture"


def test_shipping_twice_sends_nothing_twice(uri: str, spool: Spool) -> None:
    spool.metrics({"loss": 1.0}, 1)
    first = ship(spool.path, uri)
    spool.metrics({"loss": 0.5}, 2)

    second, third = ship(spool.path, uri), ship(spool.path, uri)

    assert (first.rows, second.rows, third.rows) == (1, 1, 0)
    assert first.run_id == second.run_id == third.run_id
    assert history(uri, first.run_id, "loss") == [(1, 1.0), (2, 0.5)]


def test_a_shipping_killed_before_its_mark_repeats_without_doubles(uri: str, spool: Spool) -> None:
    spool.params({"lr": 1})
    spool.metrics({"loss": 1.0}, 1)
    run_id = ship(spool.path, uri).run_id
    open_client(uri).set_tag(run_id, "medgan.shipped", "0")

    assert ship(spool.path, uri).rows == 2
    assert history(uri, run_id, "loss") == [(1, 1.0)]


def test_points_that_a_server_dropped_are_sent_again(uri: str, spool: Spool) -> None:
    spool.metrics({"loss": 1.0}, 1)
    run_id = ship(spool.path, uri).run_id
    spool.metrics({"loss": 0.5}, 2)
    spool.metrics({"loss": 0.25}, 3)
    open_client(uri).set_tag(run_id, "medgan.shipped", "2")  # as if the second row had been taken, and lost

    ship(spool.path, uri)

    assert history(uri, run_id, "loss") == [(1, 1.0), (2, 0.5), (3, 0.25)]


def test_steps_repeated_after_a_resume_are_one_point(spool: Spool) -> None:
    spool.metrics({"loss": 1.0}, 10)
    resumed = Spool(spool.path, clock=lambda: 5.0)
    resumed.metrics({"loss": 9.0}, 10)
    resumed.metrics({"loss": 0.5}, 20)

    assert [row["step"] for row in read_spool(spool.path)] == [10, 20]


def test_a_line_torn_by_a_kill_costs_that_line_only(spool: Spool) -> None:
    spool.metrics({"loss": 1.0}, 1)
    with spool.path.open("ab") as file:
        file.write(b'{"at_ms": 3, "kind": "met')
    resumed = Spool(spool.path, clock=lambda: 5.0)
    resumed.metrics({"loss": 0.5}, 2)

    assert [row["step"] for row in read_spool(spool.path)] == [1, 2]


def test_a_loss_that_is_not_a_number_is_shipped(uri: str, spool: Spool) -> None:
    spool.metrics({"loss": float("nan")}, 1)
    run_id = ship(spool.path, uri).run_id
    value = open_client(uri).get_metric_history(run_id, "loss")[0].value
    assert value != value


def test_spooling_needs_no_mlflow_and_does_not_import_it(tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from medgan.registry.tracking import Spool;"
        f"s = Spool(Path({str(tmp_path / 'run.jsonl')!r})); s.metrics({{'loss': 1.0}}, 1); s.end();"
        "raise SystemExit('mlflow' in sys.modules or 'torch' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], check=False, env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
    )
    assert done.returncode == 0
    assert len(read_spool(tmp_path / "run.jsonl")) == 2


@pytest.mark.parametrize(
    "uri", ["http://127.0.0.1:9", "sqlite:////proc/no/such/folder/mlflow.db"], ids=["no server", "no folder"]
)
def test_an_absent_mlflow_is_an_error_of_the_world_and_the_spool_stays(uri: str, spool: Spool) -> None:
    spool.metrics({"loss": 1.0}, 1)
    with pytest.raises(OSError, match="stay in the spool"):
        ship(spool.path, uri)
    assert len(read_spool(spool.path)) == 1


def test_a_kill_in_the_first_migration_leaves_a_registry_that_opens(tmp_path):
    """MLflow's own first migration, cut off, left a database that nothing could open again."""
    uri = local_uri(tmp_path)
    program = f"from medgan.registry.tracking import prepare; prepare({uri!r})"
    child = subprocess.Popen([sys.executable, "-c", program], env={**os.environ, "PYTHONPATH": str(Path.cwd())})
    deadline = time.monotonic() + 60
    while not list(tmp_path.glob(".mlflow.db.*/*-journal")) and time.monotonic() < deadline and child.poll() is None:
        time.sleep(0.002)
    child.kill()
    child.wait()
    assert not (tmp_path / "mlflow.db").exists()
    assert open_client(uri).search_experiments() is not None
    assert (tmp_path / "mlflow.db").exists()
