"""Where things are on this machine. The only module that reads the environment."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from medgan.errors import UsageError


@dataclass(frozen=True, slots=True)
class Settings:
    """Places and addresses; none of them changes a result."""

    home: Path
    dask: str  # "" a local cluster, "serial" none, else a scheduler's address
    identified_url: str  # ledger of the identified zone; "" SQLite in the home folder
    research_url: str  # ledger of the research zone
    tracking_uri: str  # MLflow; "" SQLite in the home folder
    prefect_api: str  # "" an embedded server
    reserve_bytes: int  # room on the home's disk that intake leaves to ledgers and checkpoints


def settings() -> Settings:
    """Read afresh at each call, so that a worker process or a test sees its own."""
    get = os.environ.get
    return Settings(
        home=Path(get("MEDGAN_HOME") or "medgan-home").absolute(),
        dask=get("MEDGAN_DASK", ""),
        identified_url=get("MEDGAN_IDENTIFIED_URL", ""),
        research_url=get("MEDGAN_RESEARCH_URL", ""),
        tracking_uri=get("MEDGAN_TRACKING_URI", ""),
        prefect_api=get("PREFECT_API_URL", ""),
        reserve_bytes=int(_number(get("MEDGAN_RESERVE_GIB") or "2", "MEDGAN_RESERVE_GIB") * 2**30),
    )


def _number(text: str, name: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < float("inf"):
        raise UsageError(f"{name} must be a number from 0 upward")
    return value


def orchestration_environment(home: Path) -> dict[str, str]:
    """What Prefect, MLflow and numerical libraries must find in the environment before they are imported."""
    research = home / "research"
    return {
        "MEDGAN_HOME": str(home),
        "PREFECT_HOME": str(research / "prefect"),
        "PREFECT_LOCAL_STORAGE_PATH": str(research / "prefect" / "results"),
        "PREFECT_RESULTS_DEFAULT_SERIALIZER": "json",
        "PREFECT_LOGGING_EXTRA_LOGGERS": "medgan",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "150",
        "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "30",
        "DO_NOT_TRACK": "1",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "GIT_PYTHON_REFRESH": "quiet",
    }
