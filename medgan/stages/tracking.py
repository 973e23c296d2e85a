"""Where the registry is, and what is sent there."""

from __future__ import annotations

import logging
from pathlib import Path

from medgan.home import Home
from medgan.registry import tracking
from medgan.settings import settings

logger = logging.getLogger(__name__)


def uri(home: Home) -> str:
    """MLflow's address from the settings, else the home's own database."""
    return settings().tracking_uri or tracking.local_uri(home.root / "research" / "mlflow")


def spool(home: Home, run: str) -> tracking.Spool:
    """The local record of one run; MLflow gets it later."""
    return tracking.Spool(spool_file(home, run))


def spool_file(home: Home, run: str) -> Path:
    return home.root / "research" / "spool" / f"{run}.jsonl"


def ship(home: Home, run: str) -> None:
    """Send a run's spool. MLflow being away loses nothing: the next call sends it all."""
    try:
        tracking.ship(spool_file(home, run), uri(home))
    except ConnectionError as error:
        logger.warning("%s", error)
