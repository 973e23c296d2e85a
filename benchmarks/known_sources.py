"""What a poll costs when nothing is new: of an archive, of a folder, and in a ledger of ten million rows.

    ./run bench known_sources [--images 10000] [--rows 10000000] [--rounds 3]

Three tables. A real Orthanc with so many known images, polled by change log, by a whole listing over DICOMweb, and by
C-FIND; and a folder of as many files. Then a ledger filled by plain SQL, with the queries that a poll and a batch ask,
their times, and SQLite's plan for each: a plan that says SCAN reads everything.
"""

from __future__ import annotations

import argparse
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from benchmarks.dicomweb_pull import fill
from medgan.home import Home
from medgan.ledger import Ledger, open_ledger
from medgan.ledger_inputs import Held, Input
from medgan.recipes import IngestRecipe
from medgan.stages.ingest import ingest
from medgan.stages.places import opened
from tests.factories import dicom_bytes
from tests.orthanc_server import orthanc, unavailable

PER_STUDY = 50
BY_LOG = IngestRecipe(stability_s=0)
WHOLE = IngestRecipe(stability_s=0, reconcile_s=0)


def median(call: Callable[[], object], rounds: int) -> float:
    times = []
    for _ in range(rounds):
        at = time.perf_counter()
        call()
        times.append(time.perf_counter() - at)
    return statistics.median(times)


def polls(images: int, rounds: int) -> None:
    """Take everything in once, and then poll: the second time on, nothing may be received."""
    with tempfile.TemporaryDirectory() as folder, orthanc(Path(folder) / "orthanc") as archive:
        fill(archive, images // PER_STUDY, PER_STUDY, 16)
        files = Path(folder) / "files"
        files.mkdir()
        for n in range(images):
            uid = f"1.2.826.0.2.{n // PER_STUDY}"
            data = dicom_bytes(f"{uid}.{n}", StudyInstanceUID=uid, SeriesInstanceUID=f"{uid}.1", PatientID=f"F{n}")
            (files / f"{n}.dcm").write_bytes(data)
        rows = (
            ("DICOMweb, change log", archive.dicomweb, BY_LOG),
            ("DICOMweb, everything listed", archive.dicomweb, WHOLE),
            ("C-FIND, everything listed", archive.dimse, WHOLE),
            ("folder", str(files), BY_LOG),
        )
        print(f"{images} known images; seconds a poll, median of {rounds}   (goal: 5 or less)")
        for name, address, recipe in rows:
            home = Home.create(Path(folder) / "home" / name.replace(" ", "-"))

            def take(home: Home = home, address: str = address, recipe: IngestRecipe = recipe) -> Any:
                with opened(address, home) as place:
                    return ingest(place, recipe, home)

            assert take().states["received"] == images
            assert take().states["received"] == 0
            print(f"  {name:<30}{median(take, rounds):>8.2f}", flush=True)


def filled(folder: Path, rows: int) -> Ledger:
    """A ledger with so many inputs of one source, a hundred a study, all taken but ten studies."""
    ledger = open_ledger(folder)
    count = f"WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i + 1 < {rows})"
    studies = count.replace(str(rows), str(rows // 100))
    ledger.engine.dispose()
    with sqlite3.connect(folder / "ledger.db", isolation_level=None) as db:
        for pragma in ("journal_mode=OFF", "synchronous=OFF", "cache_size=-4000000"):  # to fill it, not to measure it
            db.execute(f"PRAGMA {pragma}")
        db.execute("BEGIN")
        db.execute(
            f"{count} INSERT INTO inputs (source, locator, sha256, stamp, size, state, content, instance_key, "
            "study_key, patient_key, id_key, seen_at) SELECT 's', lower(hex(randomblob(32))), printf('%064x', i), "
            "'stamp', 524288, 'ingested', printf('%064x', i), printf('%064x', i), printf('%032x', i / 100), "
            "printf('%032x', i / 300), printf('%032x', i / 300), i FROM n"
        )
        db.execute(
            f"{studies} INSERT INTO holdings (source, place, address, stamp, expected, changed_at, noted_at, settled, "
            "taken, owed) SELECT 's', printf('%032x', i), printf('1.2.%d', i), 'stamp', 100, i, i, 1, "
            "CASE WHEN i < 10 THEN NULL ELSE 'stamp' END, i < 10 FROM n"
        )
        db.execute("INSERT INTO cursors VALUES ('s', '1', 0, 0)")
        db.execute("COMMIT")
    return open_ledger(folder)


def queries(ledger: Ledger, rows: int) -> dict[str, Callable[[], object]]:
    study = f"{rows // 300:032x}"
    keys = [f"{n:064x}" for n in range(0, rows, max(1, rows // 100))]
    asked = [Input("s", row.locator, "", "", 0, "") for row in ledger.inputs(study_key=study)]
    return {
        "poll: where was I": lambda: ledger.cursor("s"),
        "poll: what is owed": lambda: ledger.owed("s"),
        "poll: note one change": lambda: ledger.note_poll("s", "2", [Held(study, "1.2", "new", 0.0)], whole=False),
        "study: what came before": lambda: ledger.inputs(source="s", study_key=study),
        "batch: live versions of 100": lambda: ledger.versions(keys),
        "batch: what lay in 100 places": lambda: ledger.placed(asked),
        "batch: record 100 inputs": lambda: ledger.settle(ledger.inputs(source="s", study_key=study)),
        "status: what waits longest": ledger.oldest_owed,
    }


def plans(ledger: Ledger, call: Callable[[], object]) -> list[str]:
    """SQLite's plan for each statement that a call sends."""
    sent: list[tuple[str, Any]] = []

    def note(_c: Any, _cursor: Any, statement: str, parameters: Any, _context: Any, many: bool) -> None:
        if statement.split()[0] in ("SELECT", "UPDATE", "DELETE"):
            sent.append((statement, parameters[0] if many else parameters))

    sa.event.listen(ledger.engine, "before_cursor_execute", note)
    call()
    sa.event.remove(ledger.engine, "before_cursor_execute", note)
    found = []
    with ledger.engine.connect() as db:
        for statement, parameters in dict(sent).items() if all(p.__hash__ for _, p in sent) else sent:
            rows = db.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters)
            found += [row[3] for row in rows]
    return list(dict.fromkeys(found))


def large_ledger(rows: int, rounds: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        ledger = filled(Path(folder), rows)
        size = (Path(folder) / "ledger.db").stat().st_size / 2**30
        print(f"a ledger of {rows} inputs, {size:.1f} GiB; milliseconds, median of {rounds}   (goal: 100 or less)")
        for name, call in queries(ledger, rows).items():
            call()
            print(f"  {name:<32}{1000 * median(call, rounds):>8.1f}")
            for line in plans(ledger, call):
                print(f"      {line}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser()
    for name, default in (("images", 10_000), ("rows", 10_000_000), ("rounds", 3)):
        parser.add_argument(f"--{name}", type=int, default=default)
    asked = parser.parse_args()
    large_ledger(asked.rows, asked.rounds)
    if why := unavailable():
        raise SystemExit(why)
    polls(asked.images, asked.rounds)


if __name__ == "__main__":
    main()
