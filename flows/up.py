"""The house on one machine: Prefect server, deployments, worker and MLflow's pages, on loopback, until Ctrl-C."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from flows.house import LOOPBACK, House, free_port, project
from medgan.errors import MedganError, UsageError

POOL = "medgan"


def deployments_file() -> Path:
    """prefect.yaml of the checkout, or as installed. Raises UsageError when there is none."""
    for candidate in (project() / "prefect.yaml", Path(sys.prefix) / "share" / "medgan" / "prefect.yaml"):
        if candidate.is_file():
            return candidate
    raise UsageError("prefect.yaml was not found beside the flows; run from a checkout, or install medgan again")


def up(
    root: Path,
    *,
    tracking_uri: str,
    prefect_port: int = 4200,
    mlflow_port: int = 5000,
    told: Callable[[str], None] = lambda text: None,
) -> House:
    """Start everything and return it running; the caller stops it."""
    house = House(root)
    house.mlflow_url = f"http://{LOOPBACK}:{free_port(mlflow_port)}"
    python = sys.executable
    with contextlib.ExitStack() as undo:  # what was started ends with the call when a later part fails
        undo.callback(house.stop)
        house.start(
            "mlflow",
            *(python, "-m", "mlflow", "server", "--host", LOOPBACK, "--port", house.mlflow_url.rsplit(":", 1)[1]),
            *("--backend-store-uri", tracking_uri, "--workers", "1"),
        )
        house.start_prefect(prefect_port)
        told(f"Prefect  {house.prefect_url}")
        deploy(house.environment)
        told(f"deployments from {deployments_file().name}, work pool {POOL!r}")
        house.start("worker", python, "-m", "prefect", "worker", "start", "--pool", POOL, "--type", "process")
        house.wait_for("mlflow", f"{house.mlflow_url}/health")
        told(f"MLflow   {house.mlflow_url}")
        undo.pop_all()
    return house


def deploy(environment: dict[str, str]) -> None:
    """Create the work pool and every deployment of prefect.yaml on the server of PREFECT_API_URL.

    Raises MedganError when Prefect refuses one, or silently drops it (an unknown schedule key does that).
    """
    prefect = (sys.executable, "-m", "prefect", "--no-prompt")
    _call(environment, *prefect, "work-pool", "create", POOL, "--type", "process", "--overwrite")
    _call(environment, *prefect, "deploy", "--all", "--prefect-file", str(deployments_file()))
    told = _call(environment, *prefect, "deployment", "ls")
    import yaml

    for wanted in yaml.safe_load(deployments_file().read_text())["deployments"]:
        if wanted["name"] not in told:
            raise MedganError(
                f"Prefect dropped the deployment {wanted['name']!r}; look for an unknown key in prefect.yaml"
            )


def _call(environment: dict[str, str], *command: str) -> str:
    done = subprocess.run(
        command, env={**environment, "COLUMNS": "200"}, cwd=project(), capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise MedganError(f"`prefect {command[4]}` failed: {(done.stderr or done.stdout).strip().splitlines()[-1:]}")
    return done.stdout
