"""The house on one machine: Prefect server, deployments, worker and MLflow's pages, on loopback, until Ctrl-C."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from medgan.errors import MedganError, UsageError
from medgan.settings import orchestration_environment

LOOPBACK = "127.0.0.1"
START_S = 180.0
STOP_S = 20.0
POOL = "medgan"


@dataclass
class House:
    """The processes of one machine, by name, with the addresses they answer on."""

    root: Path
    prefect_url: str = ""
    mlflow_url: str = ""
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    @property
    def environment(self) -> dict[str, str]:
        python_path = os.pathsep.join(filter(None, (str(project()), os.environ.get("PYTHONPATH", ""))))
        return {
            **os.environ,
            **orchestration_environment(self.root),
            "PREFECT_API_URL": f"{self.prefect_url}/api",
            "PREFECT_UI_API_URL": f"{self.prefect_url}/api",
            "PYTHONPATH": python_path,
        }

    def start(self, name: str, *command: str) -> None:
        """Start a process in its own group, its output in research/logs/NAME.log."""
        log = (self.root / "research" / "logs" / f"{name}.log").open("ab")
        self.processes[name] = subprocess.Popen(
            command,
            env=self.environment,
            cwd=project(),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        log.close()

    def wait_for(self, name: str, url: str) -> None:
        """Until `url` answers 200. Raises MedganError when the process ends first, or time is up."""
        deadline = time.monotonic() + START_S
        while time.monotonic() < deadline:
            if self.processes[name].poll() is not None:
                break
            try:
                with urllib.request.urlopen(url, timeout=2) as reply:
                    if reply.status == 200:
                        return
            except (urllib.error.URLError, OSError):
                time.sleep(0.3)
        raise MedganError(f"{name} did not start; its log is research/logs/{name}.log in the home folder")

    def stop(self) -> None:
        """End every process this house started, the last one first; kill what does not go in time."""
        for process in reversed(list(self.processes.values())):
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGTERM)
            try:
                process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()


def project() -> Path:
    """The folder that holds the flows package: a checkout, or site-packages."""
    return Path(__file__).resolve().parent.parent


def deployments_file() -> Path:
    """prefect.yaml of the checkout, or as installed. Raises UsageError when there is none."""
    for candidate in (project() / "prefect.yaml", Path(sys.prefix) / "share" / "medgan" / "prefect.yaml"):
        if candidate.is_file():
            return candidate
    raise UsageError("prefect.yaml was not found beside the flows; run from a checkout, or install medgan again")


def free_port(wanted: int) -> int:
    """`wanted` if nothing listens there, else a free one."""
    for port in (wanted, 0):
        with socket.socket() as probe:
            try:
                probe.bind((LOOPBACK, port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise MedganError("no free port on the loopback interface")


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
    house.prefect_url = f"http://{LOOPBACK}:{free_port(prefect_port)}"
    house.mlflow_url = f"http://{LOOPBACK}:{free_port(mlflow_port)}"
    port = house.prefect_url.rsplit(":", 1)[1]
    python = sys.executable
    try:
        house.start("prefect-server", python, "-m", "prefect", "server", "start", "--host", LOOPBACK, "--port", port)
        house.start(
            "mlflow",
            *(python, "-m", "mlflow", "server", "--host", LOOPBACK, "--port", house.mlflow_url.rsplit(":", 1)[1]),
            *("--backend-store-uri", tracking_uri, "--workers", "1"),
        )
        house.wait_for("prefect-server", f"{house.prefect_url}/api/health")
        told(f"Prefect  {house.prefect_url}")
        deploy(house.environment)
        told(f"deployments from {deployments_file().name}, work pool {POOL!r}")
        house.start("worker", python, "-m", "prefect", "worker", "start", "--pool", POOL, "--type", "process")
        house.wait_for("mlflow", f"{house.mlflow_url}/health")
        told(f"MLflow   {house.mlflow_url}")
    except BaseException:
        house.stop()
        raise
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
