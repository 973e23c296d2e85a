"""The house really starts, every deployment is there with its schedule, and a *scheduled* run completes.

A deploy that succeeds proves nothing about the scheduler: with a wrong SQLAlchemy it inserts no run, ever.
"""

import os
import time
from collections.abc import Iterator

import httpx
import pytest
import yaml

from flows.house import House
from flows.up import deployments_file, up
from medgan import known_sources
from medgan.home import Home
from medgan.phantom.write import write_phantoms
from medgan.registry.tracking import local_uri

WITHIN_S = 150


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    folder = tmp_path_factory.mktemp("house")
    home = Home.create(folder / "home")
    write_phantoms(folder / "phantom", patients=3, seed=5)
    known_sources.remember(home.root / "identified", str(folder / "phantom" / "images"), secret=home.pseudonym_key)
    return home


@pytest.fixture(scope="module")
def house(home: Home) -> Iterator[House]:
    os.environ.pop("PREFECT_API_URL", None)
    running = up(home.root, tracking_uri=local_uri(home.root / "research" / "mlflow"), prefect_port=0, mlflow_port=0)
    try:
        yield running
    finally:
        running.stop()
    assert all(process.poll() is not None for process in running.processes.values())


def ask(house: House, path: str, **body: object) -> list[dict]:
    reply = httpx.post(f"{house.prefect_url}/api/{path}", json=body, timeout=30)
    reply.raise_for_status()
    return reply.json()


def test_every_deployment_is_there_with_its_schedules(house: House) -> None:
    made = {deployment["name"]: deployment for deployment in ask(house, "deployments/filter")}
    for wanted in yaml.safe_load(deployments_file().read_text())["deployments"]:
        crons = [schedule["schedule"]["cron"] for schedule in made[wanted["name"]]["schedules"]]
        assert crons == [schedule["cron"] for schedule in wanted["schedules"]], wanted["name"]
        assert made[wanted["name"]]["concurrency_options"]["collision_strategy"] == "CANCEL_NEW"


def test_a_scheduled_run_completes_and_takes_in_the_source(house: House, home: Home) -> None:
    hourly = next(d for d in ask(house, "deployments/filter") if d["name"] == "hourly")
    added = httpx.post(
        f"{house.prefect_url}/api/deployments/{hourly['id']}/schedules",
        json=[{"schedule": {"interval": 15}, "active": True}],
        timeout=30,
    )
    added.raise_for_status()
    deadline = time.monotonic() + WITHIN_S
    done: list[dict] = []
    while not done and time.monotonic() < deadline:
        time.sleep(2)
        runs = ask(
            house,
            "flow_runs/filter",
            flow_runs={"state": {"type": {"any_": ["COMPLETED", "FAILED", "CRASHED"]}}},
            deployments={"id": {"any_": [hourly["id"]]}},
        )
        assert not [run["state"] for run in runs if run["state_type"] != "COMPLETED"]
        done = [run for run in runs if run["auto_scheduled"]]
    assert done, f"no scheduled run completed within {WITHIN_S} s"
    assert home.identified_ledger.input_states()["ingested"] > 0
    assert home.research.ledger.entries("deidentify")


def test_the_pages_of_the_registry_answer_on_loopback(house: House) -> None:
    assert house.mlflow_url.startswith("http://127.0.0.1:")
    assert httpx.get(f"{house.mlflow_url}/health", timeout=10).text == "OK"


def test_no_parameter_or_result_names_an_address_or_a_path(house: House, home: Home) -> None:
    for run in ask(house, "flow_runs/filter"):
        assert str(home.root.parent) not in str(run["parameters"])
