"""Runs the real door on a planted folder, and catches everything that it says."""

from __future__ import annotations

import contextlib
import io
import json
import logging
from pathlib import Path
from typing import Any, Literal

from medgan.recipes import DeidentifyRecipe
from medgan.stages.deidentify_folder import deidentify_folder

KEY = bytes(range(100, 132))


def deidentified(source: Path, results: Path, profile: Literal["research", "basic"]) -> tuple[str, dict[str, Any]]:
    """(everything printed, logged and reported, the report) of one run."""
    said = io.StringIO()
    listener = logging.StreamHandler(said)
    logging.getLogger().addHandler(listener)
    try:
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            report = deidentify_folder(source, results, key=KEY, recipe=DeidentifyRecipe(profile=profile))
    finally:
        logging.getLogger().removeHandler(listener)
    return said.getvalue() + json.dumps(report, default=str), report
