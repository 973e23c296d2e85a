"""A folder of made-up patients as a hospital would hand it over, and beside it the truth about them."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medgan.errors import SourceError, UsageError
from medgan.phantom.patient import PatientOutcome, phantom_patient


@dataclass(frozen=True, slots=True)
class PhantomSummary:
    """Counts of what was written. `files` are good image files, `identifiers` the planted strings."""

    patients: int
    studies: int
    files: int
    broken: int
    identifiers: int


def write_phantoms(
    dst: Path,
    *,
    patients: int,
    seed: int,
    film: int = 256,
    on_progress: Callable[[int, int], None] | None = None,
) -> PhantomSummary:
    """Write `patients` phantoms below `dst`: images/ as a hospital has them, truth/ as only we can know it.

    The same seed gives the same bytes. Raises UsageError for impossible numbers, SourceError when `dst` holds files.
    """
    start(dst, patients=patients, film=film)
    outcomes = []
    for index in range(patients):
        outcomes.append(phantom_patient(index, seed, dst, patients=patients, film=film))
        if on_progress is not None:
            on_progress(index + 1, patients)
    return finish(dst, outcomes, seed=seed, film=film)


def start(dst: Path, *, patients: int, film: int) -> None:
    """Check the numbers and that the folder is new."""
    if patients < 1:
        raise UsageError(f"{patients} patients asked for; at least 1 is needed")
    if film < 64 or film % 2:
        raise UsageError(f"a film of {film} pixels asked for; an even number from 64 is needed")
    if dst.exists() and (not dst.is_dir() or any(dst.iterdir())):
        raise SourceError("the folder for the phantoms holds files already; give a new or an empty one")
    (dst / "images").mkdir(parents=True)
    (dst / "truth").mkdir()


def finish(dst: Path, outcomes: Iterable[PatientOutcome], *, seed: int, film: int) -> PhantomSummary:
    """Write what spans all patients: labels, truth, and the list of planted strings."""
    found = sorted(outcomes, key=lambda o: o.index)
    labels = sorted(row for o in found for row in o.labels)
    with (dst / "images" / "labels.csv").open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerows([("file", "label", "patient_id"), *labels])
    broken = sorted(pair for o in found for pair in o.broken)
    planted = sorted({text for o in found for text in o.planted})
    write_json(
        dst / "truth" / "truth.json",
        {
            "seed": seed,
            "film": film,
            "patients": [o.truth for o in found],
            "broken": [{"file": name, "kind": kind} for name, kind in broken],
        },
    )
    write_json(dst / "truth" / "planted.json", planted)
    write_json(dst / "truth" / "planted_dates.json", {o.truth["patient_id"]: o.dates for o in found})
    return PhantomSummary(len(found), sum(o.studies for o in found), len(labels), len(broken), len(planted))


def write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=1, ensure_ascii=False, sort_keys=True) + "\n", encoding="utf-8")
