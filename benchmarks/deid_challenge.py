"""What `medgan deidentify` leaves of made-up identity planted in every place where it hides: goals, missed or met.

    ./run bench deid_challenge [--seed 0] [--studies 14] [--real DIR] [--profile research] [--why]

Plants real files of the pydicom packages (and, with --real, a sample of the DICOM files in the zip archives of a
folder), de-identifies them folder to folder, and judges every result with a reading of its own. Exit 1 when a goal is
missed. The table names places and attributes; --why also prints one cause a line, with made-up values.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
import warnings
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from plants import Challenge, plant  # noqa: E402
from plants_check import Verdict, judge, lines  # noqa: E402
from plants_check_actions import BASIC, RESEARCH  # noqa: E402
from plants_check_pixels import KEPT  # noqa: E402
from plants_check_validity import judge_validity  # noqa: E402
from plants_run import deidentified  # noqa: E402

ALTERED = 0.02  # of the pictures without text
COLUMNS = {"research": RESEARCH, "basic": BASIC}


def main() -> int:
    parser = argparse.ArgumentParser(prog="deid_challenge.py", description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--studies", type=int, default=14, metavar="N")
    parser.add_argument("--real", type=Path, metavar="DIR", help="a folder with zip archives of DICOM files")
    parser.add_argument("--profile", choices=sorted(COLUMNS), default="research")
    parser.add_argument("--why", action="store_true", help="print one cause for each line that failed")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    challenge = plant(options.seed, options.studies, options.real)
    with tempfile.TemporaryDirectory() as work:
        verdict = run(challenge, Path(work), options.profile)
    for line in lines(verdict):
        print(line)
    for (section, name), why in sorted(verdict.shown.items()) if options.why else ():
        print(f"{section}: {name}: {why}")
    altered, free = (
        sum(n for (_, name), n in some.items() if name.startswith(KEPT)) for some in (verdict.failed, verdict.asked)
    )
    met = sum(verdict.failed.values()) == altered and altered <= ALTERED * free
    print(f"text-free pictures altered: {altered} of {free}, goal {ALTERED:.0%}")
    print(f"seed {options.seed}, {len(challenge.cases)} files: {'every goal met' if met else 'goals MISSED'}")
    return 0 if met else 1


def run(challenge: Challenge, work: Path, profile: str) -> Verdict:
    source, results = work / "in", work / "out"
    total = challenge.write(source)
    began = time.monotonic()
    said, report = deidentified(source, results, profile)
    print(f"{total} files in {time.monotonic() - began:.1f} s")
    verdict = judge(challenge, results, said, COLUMNS[profile])
    counted = report["written"] + report["duplicate"] + sum(report["quarantined"].values())
    verdict.count("accounted", "files = written + duplicate + quarantined", counted == report["files"] == total)
    judge_validity(challenge, results, verdict)
    return verdict


if __name__ == "__main__":
    sys.exit(main())
