"""Whether a result is less valid than its source, by dciodvfy where that is installed."""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from pydicom.uid import DeflatedExplicitVRLittleEndian

if TYPE_CHECKING:
    from plants import Challenge
    from plants_check import Verdict

TOOL = shutil.which("dciodvfy")
VALUE = re.compile(r"<(?![A-Z][A-Za-z0-9]*>)[^>]*>|\(0x[0-9a-f,]+\)|\d[\d.]*")  # names of attributes stay, values go


def judge_validity(challenge: Challenge, folder: Path, verdict: Verdict) -> None:
    """Count for each result whether it has a kind of error that its source does not have."""
    from plants_check import results

    if TOOL is None:
        print("validity: not checked, dciodvfy (Debian: dicom3tools) is not installed")
        return
    for result in results(challenge, folder):
        if result.case.source().file_meta.TransferSyntaxUID == DeflatedExplicitVRLittleEndian:
            continue  # the tool does not inflate: it has not read the source
        new = kinds(result.data) - kinds(result.case.data)
        verdict.count("validity", result.case.kind, not new, "; ".join(sorted(new)))


def kinds(data: bytes) -> frozenset[str]:
    """The kinds of error lines for a file, values taken out."""
    with tempfile.NamedTemporaryFile(suffix=".dcm") as file:
        file.write(data)
        file.flush()
        done = subprocess.run([str(TOOL), file.name], capture_output=True, timeout=60, check=False)
    errors = [line for line in done.stderr.decode("latin-1").splitlines() if line.startswith("Error")]
    return frozenset(VALUE.sub("<>", line) for line in errors)
