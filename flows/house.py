"""The processes of one machine: started on loopback, ended together, none left behind."""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path

from medgan.errors import MedganError
from medgan.settings import orchestration_environment

LOOPBACK = "127.0.0.1"
START_S = 180.0
STOP_S = 20.0


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
            preexec_fn=_end_with_parent,
        )
        log.close()

    def start_prefect(self, port: int) -> None:
        """The server of flows, answering on loopback when this returns."""
        self.prefect_url = f"http://{LOOPBACK}:{free_port(port)}"
        words = ("server", "start", "--host", LOOPBACK, "--port", self.prefect_url.rsplit(":", 1)[1])
        self.start("prefect-server", sys.executable, "-m", "prefect", *words)
        self.wait_for("prefect-server", f"{self.prefect_url}/api/health")

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
                time.sleep(0.1)
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


def _end_with_parent() -> None:
    """In the child: ask Linux for a SIGTERM when the parent dies, however it dies."""
    if sys.platform == "linux":
        pr_set_pdeathsig = 1  # linux/prctl.h
        ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGTERM)
