"""Made-up patients in a folder, patient by patient over Dask; whole or not there."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from medgan import parallel
from medgan.errors import UsageError
from medgan.phantom.patient import PatientOutcome, phantom_patient
from medgan.phantom.write import finish, start
from medgan.store import writable

FILM = 256  # pixels a side of a radiograph


def phantom(dst: Path, *, patients: int, seed: int, on_progress: Callable[[int, int], None] | None = None) -> Path:
    """Write the patients below `dst`, unless they are there already; returns the folder to take in."""
    if dst.exists() and not dst.is_dir():
        raise UsageError("a file stands where the phantoms should go; name a new folder")
    if not dst.exists() or not any(dst.iterdir()):
        aside = dst.with_name(f".{dst.name}.partial")
        with writable():
            shutil.rmtree(aside, ignore_errors=True)
            start(aside, patients=patients, film=FILM)
            wanted = list(range(patients))
            outcomes = parallel.in_chunks(wanted, _some, aside, patients, seed, size=4, on_progress=on_progress)
            finish(aside, outcomes, seed=seed, film=FILM)
            if dst.exists():
                dst.rmdir()
            aside.rename(dst)
    return dst / "images"


def _some(indices: list[int], dst: Path, patients: int, seed: int) -> list[PatientOutcome]:
    return [phantom_patient(index, seed, dst, patients=patients, film=FILM) for index in indices]
