"""What an intake makes of damaged, lying and malicious files among good ones: goals, each missed or met.

    ./run bench hostile_inputs [--seed 0] [--n 400] [--work FOLDER]

Writes the files of tests/hostile.py (every one with made-up identifiers planted in it and in its name), takes them in
with `medgan ingest` in a process of its own, and looks at what came of each. A zip archive with a bomb in it follows.
Memory is that of the whole process tree (resident, so shared pages count more than once). Exit 1 when a goal is missed.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import json
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from hostile import Case, hostile, zip_with_bomb  # noqa: E402

LONGEST_S, MOST_MIB = 300, 1536
ACCEPTED = ("ingested", "duplicate", "conflict", "superseded")
PAIRS = {"exact_duplicate": "duplicate", "same_data_set": "duplicate", "same_uid": "conflict"}


@dataclass(frozen=True, slots=True)
class Intake:
    """What one `medgan ingest` left behind."""

    code: int
    out: str
    err: str
    rows: list[tuple[str, str, str]]  # sha256, state, reason of each input
    seconds: float
    mib: float


def ingest(source: Path, home: Path, report: Path) -> Intake:
    words = [sys.executable, "-m", "medgan.cli", "ingest", str(source), "--home", str(home)]
    words += ["--report", str(report), "--json"]
    out, err = report.with_suffix(".out"), report.with_suffix(".err")
    began = time.monotonic()
    with out.open("wb") as stdout, err.open("wb") as stderr:
        process = subprocess.Popen(words, env={**os.environ, "PYTHONPATH": str(ROOT)}, stdout=stdout, stderr=stderr)
        most = watched(process, began + LONGEST_S)
    with report.open(newline="") as file:
        rows = [(row[0], row[1], row[2]) for row in csv.reader(file)][1:]
    said = out.read_text(errors="replace"), err.read_text(errors="replace")
    return Intake(process.returncode, *said, rows, time.monotonic() - began, most)


def watched(process: subprocess.Popen[bytes], deadline: float) -> float:
    """Wait for a process; returns the most memory that it and its children held at once, MiB."""
    most, tree = 0, psutil.Process(process.pid)
    while process.poll() is None:
        if time.monotonic() > deadline:
            process.kill()
        try:
            now = [tree, *tree.children(recursive=True)]
            most = max(most, sum(one.memory_info().rss for one in now))
        except psutil.Error:
            pass  # one of them has just ended
        time.sleep(0.05)
    return most / (1 << 20)


def judged(cases: list[Case], folder: Path, intake: Intake) -> dict[str, list[str]]:
    """Kinds of what went wrong: lost, refused though good, accepted though bad."""
    found: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for digest, state, reason in intake.rows:
        found[digest].append((state, reason))
    wrong: dict[str, list[str]] = {"lost": [], "good refused": [], "bad accepted": [], "pairs misjudged": []}
    states = defaultdict(Counter)
    for case in cases:
        digest = hashlib.sha256((folder / case.name).read_bytes()).hexdigest() if case.opened else ""
        if not found[digest]:
            wrong["lost"].append(case.kind)
            continue
        state, _ = found[digest].pop()
        states[case.kind][state] += 1
        if case.expected == "good" and state not in ACCEPTED:
            wrong["good refused"].append(case.kind)
        if case.expected == "bad" and state in ACCEPTED:
            wrong["bad accepted"].append(case.kind)
    for kind, second in PAIRS.items():
        half = sum(states[kind].values()) / 2
        if states[kind] != Counter({"ingested": half, second: half}):
            wrong["pairs misjudged"].append(kind)
    return wrong


def places(home: Path, intake: Intake, report: Path) -> Iterator[tuple[str, bytes]]:
    """Everything that somebody without a right to the originals may see."""
    yield "stdout", intake.out.encode()
    yield "stderr", intake.err.encode()
    yield "report", report.read_bytes()
    for path in sorted(home.rglob("*")):
        yield "file names", str(path.relative_to(home)).encode()
        parts = path.relative_to(home).parts
        if not path.is_file() or parts[:2] == ("identified", "store"):
            continue
        yield "/".join(parts[:2]), path.read_bytes()
        if path.name == "ledger.db":
            with sqlite3.connect(path) as database:
                yield f"{parts[0]} ledger", "\n".join(database.iterdump()).encode()


def leaks(cases: list[Case], seen: Iterator[tuple[str, bytes]]) -> list[str]:
    planted = {word.encode() for case in cases for word in case.planted}
    return [place for place, content in seen for word in planted if word in content]


def figures(
    cases: list[Case], folder: Path, intake: Intake, leaked: list[str]
) -> list[tuple[str, object, object, bool]]:
    """Rows of the table: figure, found, goal, whether it is met."""
    said = json.loads(intake.out) if intake.out.strip().startswith("{") else {}
    ended = sum(said.get(state, 0) for state in ("ingested", "duplicate", "conflict", "quarantined", "refused"))
    tracebacks = intake.err.count("Traceback")
    poisoned = sum(reason == "poison" for _, _, reason in intake.rows)
    table: list[tuple[str, object, object, bool]] = [
        ("exit code", intake.code, "0 or 4", intake.code in (0, 4)),
        (
            "inputs written, and rows of the report",
            f"{len(cases)}, {len(intake.rows)}",
            "equal",
            len(cases) == len(intake.rows),
        ),
        (
            "received, and sum of states",
            f"{said.get('received')}, {ended}",
            "equal",
            said.get("received") == ended == len(cases),
        ),
        ("tracebacks", tracebacks, 0, not tracebacks),
        ("readers that died of a file", poisoned, 0, not poisoned),
    ]
    for name, kinds in judged(cases, folder, intake).items():
        table.append((name, len(kinds), 0, not kinds))
        if kinds:
            print(f"{name}: {', '.join(f'{kind} ({n})' for kind, n in sorted(Counter(kinds).items()))}")
    table.append(("planted identifiers seen again", len(leaked), 0, not leaked))
    table.append(("peak memory of all processes, MiB", round(intake.mib), f"< {MOST_MIB}", intake.mib < MOST_MIB))
    table.append(("wall time, s", round(intake.seconds, 1), f"< {LONGEST_S}", intake.seconds < LONGEST_S))
    return table


def archive_figures(work: Path, seed: int) -> list[tuple[str, object, object, bool]]:
    """A zip source: the bomb is set aside, its neighbour taken in."""
    case = zip_with_bomb(work / "bomb.zip", seed)
    intake = ingest(work / "bomb.zip", work / "home-zip", work / "zip.csv")
    states = sorted((state, reason) for _, state, reason in intake.rows)
    expected = [("ingested", ""), ("quarantined", "unsafe_file")]
    leaked = leaks([case], places(work / "home-zip", intake, work / "zip.csv"))
    return [
        ("zip with a bomb: states", ", ".join(state for state, _ in states), "one of each", states == expected),
        ("zip with a bomb: identifiers seen again", len(leaked), 0, not leaked),
    ]


def measured(work: Path, seed: int, n: int) -> bool:
    folder, home, report = work / "source", work / "home", work / "report.csv"
    folder.mkdir(parents=True)
    cases = hostile(seed, n, folder)
    counts = Counter(case.expected for case in cases)
    kinds = len({case.kind for case in cases})
    print(f"seed {seed}: {counts['good']} good, {counts['bad']} bad, {counts['either']} either, {kinds} kinds")
    intake = ingest(folder, home, report)
    leaked = leaks(cases, places(home, intake, report))
    if leaked:
        print("seen again in", dict(Counter(leaked)))
    if intake.code not in (0, 4):
        print(intake.err[-2000:])
    table = figures(cases, folder, intake, leaked) + archive_figures(work, seed)
    print(f"{'':8}{'figure':44}{'found':>32}{'goal':>14}")
    for name, found, goal, met in table:
        print(f"{'met' if met else 'MISSED':8}{name:44}{found!s:>32}{goal!s:>14}")
    return all(met for *_, met in table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--n", type=int, default=400, help="inputs, at least one of each kind")
    parser.add_argument("--work", type=Path, help="a new folder for all that is written; kept")
    given = parser.parse_args()
    work = given.work or Path(tempfile.mkdtemp(prefix="hostile-"))
    try:
        met = measured(work, given.seed, given.n)
    finally:
        if given.work is None:
            shutil.rmtree(work, ignore_errors=True)
    sys.exit(not met)


if __name__ == "__main__":
    main()
