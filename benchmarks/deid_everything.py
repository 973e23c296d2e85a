"""Everything that is at hand through gate 1, each input accounted for; and what a second child brings.

    ./run bench deid_everything [SOURCE ...] [--profile research] [--workers 2] [--linear SOURCE] [--work FOLDER]

SOURCE: folders, zip or tar archives; without one, the files of the package pydicom and, where it is installed, of
pydicom-data. For each, how many files were written, duplicate, rebuilt and quarantined by reason, and whether they
add up. With --linear, one source is done by one child and by two: wall time and CPU time (children with them).
Exit 1 when an input is not accounted for, or a file of DST is not in the report.
"""

from __future__ import annotations

import argparse
import importlib.util
import resource
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT)]

KEY = bytes(range(32))


def packages() -> list[Path]:
    """The folders of files that two packages bring."""
    found = []
    for name, below in (("pydicom", "data"), ("data_store", "data")):
        spec = importlib.util.find_spec(name)
        for place in spec.submodule_search_locations or () if spec else ():
            found.append(Path(place) / below)
    return [folder for folder in found if folder.is_dir()]


def run(source: Path, dst: Path, recipe: Any, workers: int) -> tuple[dict[str, Any], float, float]:
    """(report, wall s, CPU s with children) of one run."""
    from medgan.stages.deidentify_folder import deidentify_folder

    began, cpu = time.perf_counter(), used()
    report = deidentify_folder(source, dst, key=KEY, recipe=recipe, workers=workers)
    return report, time.perf_counter() - began, used() - cpu


def used() -> float:
    """CPU seconds of this process and the children that ended."""
    both = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(one.ru_utime + one.ru_stime for one in both)


def holds(report: dict[str, Any], dst: Path) -> bool:
    """Whether every input is in exactly one state, and every file of DST is in the report."""
    parts = report["written"] + report["duplicate"] + report["rebuilt"] + sum(report["quarantined"].values())
    return parts == report["files"] and len(list(dst.glob("*/*.dcm"))) == report["written"]


def told(source: Path, report: dict[str, Any], wall: float, cpu: float, fine: bool) -> None:
    name = source.name if source.name != "data" else source.parent.name
    reasons = ", ".join(f"{reason} {count}" for reason, count in report["quarantined"].items()) or "none"
    print(
        f"{name}: files {report['files']}, written {report['written']}, duplicate {report['duplicate']}, "
        f"rebuilt {report['rebuilt']}, quarantined {sum(report['quarantined'].values())} ({reasons})"
    )
    worse = ", ".join(f"{kind} {count}" for kind, count in report["less_valid"].items()) or "none"
    print(
        f"    accounted for: {'yes' if fine else 'NO'}; validated {report['validated']}, new kinds of errors: {worse}"
    )
    print(f"    {report['studies']} studies, {report['boxes']} boxes; {wall:.1f} s wall, {cpu:.1f} s CPU")


def linear(source: Path, work: Path, recipe: Any) -> None:
    print(f"\n{source.name} by children: wall s, CPU s, and wall of one child over that of n")
    walls: dict[int, float] = {}
    for workers in (1, 2):
        _, wall, cpu = run(source, work / f"linear-{workers}", recipe, workers)
        walls[workers] = wall
        print(f"    {workers}: {wall:.1f} s, {cpu:.1f} s, {walls[1] / wall:.2f}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sources", nargs="*", type=Path, metavar="SOURCE")
    parser.add_argument("--profile", choices=("research", "basic"), default="research")
    parser.add_argument("--workers", type=int, default=2, help="children; 0: in this process")
    parser.add_argument("--linear", type=Path, help="a source to do by one child and by two")
    parser.add_argument("--work", type=Path, help="where to write; else a folder that is deleted at the end")
    words = parser.parse_args()
    from medgan.recipes import DeidentifyRecipe

    recipe, fine = DeidentifyRecipe(profile=words.profile), True
    with tempfile.TemporaryDirectory() as temporary:
        work = words.work or Path(temporary)
        for number, source in enumerate(words.sources or packages()):
            dst = work / f"{number}-{source.stem}"
            report, wall, cpu = run(source, dst, recipe, words.workers)
            good = holds(report, dst)
            fine &= good
            told(source, report, wall, cpu, good)
        if words.linear:
            linear(words.linear, work, recipe)
    return 0 if fine else 1


if __name__ == "__main__":
    sys.exit(main())
