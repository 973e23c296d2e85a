"""What comes of one damaged file: written and clean, or set aside with a reason. Anything else is a failure."""

from __future__ import annotations

import resource
import shutil
import tempfile
import time
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import pydicom
from plants import Case
from plants_check_search import in_bytes, leaks, needles
from plants_run import deidentified

LONGEST_S, MOST_GIB = 10.0, 1.5


@dataclass(frozen=True, slots=True)
class Outcome:
    """`state`: written, or the reason it was set aside. `wrong`: what should not have happened, "" when nothing did."""

    state: str
    wrong: str
    seconds: float


def undergo(case: Case, data: bytes) -> Outcome:
    """Run one damaged file through the door, in a folder of its own."""
    work = Path(tempfile.mkdtemp())
    try:
        (work / "in").mkdir()
        (work / "in" / "damaged.dcm").write_bytes(data)
        began = time.monotonic()
        said, report = deidentified(work / "in", work / "out", "research")
        seconds = time.monotonic() - began
        state = next(iter(report["quarantined"]), "written")
        return Outcome(state, _wrong(case, work / "out", said, report, seconds), seconds)
    finally:
        shutil.rmtree(work)


def _wrong(case: Case, results: Path, said: str, report: dict, seconds: float) -> str:  # type: ignore[type-arg]
    files = sorted(results.rglob("*.dcm"))
    if seconds > LONGEST_S:
        return "took too long"
    if peak_gib() > MOST_GIB:
        return "took too much memory"
    if in_bytes(said.encode(), needles(case)):
        return "leak in what was said"
    if len(files) != report["written"] or report["files"] != report["written"] + sum(report["quarantined"].values()):
        return "not accounted for"
    for path in files:
        whole = path.read_bytes()
        if found := leaks(case, whole, pydicom.dcmread(BytesIO(whole))):
            return f"leak: {sorted(found)[0]} {sorted(next(iter(found.values())))[:3]}"
    return ""


def peak_gib() -> float:
    """Most memory of this process so far, GiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1 << 20)
