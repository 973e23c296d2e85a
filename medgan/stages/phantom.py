"""Made-up patients in a folder, patient by patient over Dask."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from medgan.phantom.write import write_phantoms

DONE = ".complete"


def phantom(dst: Path, *, patients: int, seed: int, on_progress: Callable[[int, int], None] | None = None) -> Path:
    """Write the patients below `dst`, unless they are there already; returns the folder to take in."""
    if not (dst / DONE).is_file():
        write_phantoms(dst, patients=patients, seed=seed, on_progress=on_progress)
        (dst / DONE).touch()
    return dst / "images"
