"""What became of each input of a folder run: counted, listed, and reported."""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from medgan import digest as digests
from medgan.deid import officer
from medgan.errors import Reason, UsageError
from medgan.keys import Key
from medgan.stages.destination import Entry
from medgan.stages.folder_study import WRITTEN, Bench
from medgan.stages.gate_one import profile_of
from medgan.stages.officer_report import PAGE, REPORT, report_of
from medgan.stages.originals import Original

QUARANTINED = "quarantined.csv"
DUPLICATE, REBUILT = "duplicate", "rebuilt"
GOOD = (WRITTEN, DUPLICATE, REBUILT)


@dataclass
class Account:
    """Every input in the order of the source, and the states of those that belong to a study."""

    originals: list[Original]
    states: dict[str, str] = field(default_factory=dict)  # sha256 -> written, or the reason of its quarantine

    def of_studies(self) -> Iterator[Original]:
        return (one for one in self.originals if one.reason is None and not one.header.directory)

    def rows(self) -> Iterator[tuple[Original, str]]:
        """(input, written | duplicate | rebuilt | the reason of its quarantine), each input once."""
        seen: set[str] = set()
        for original in self.originals:
            if original.reason is not None:
                yield original, original.reason.value
            elif original.header.directory:
                yield original, REBUILT
            elif original.sha256 in seen:
                yield original, DUPLICATE
            else:
                seen.add(original.sha256)
                yield original, self.states[original.sha256]


def write_reports(account: Account, entries: Sequence[Entry], bench: Bench, asked_k: int) -> dict[str, Any]:
    """Put the list of what was set aside and the officer's report, as a page and as JSON, into DST; the JSON back."""
    states = Counter(state for _, state in account.rows())
    quarantined = {reason.value: states[reason.value] for reason in sorted(Reason) if states[reason.value]}
    report = report_of(
        [told for entry in entries for told in entry.told],
        profile_of(bench.recipe),
        key_id=Key(bench.secret).id,
        counts={
            "inputs": len(account.originals) - states[REBUILT],
            "written": states[WRITTEN],
            "duplicate": states[DUPLICATE],
            "studies": sum(bool(entry.files) for entry in entries),
        },
        quarantined=quarantined,
        asked_k=asked_k,
    )
    if states[REBUILT]:
        bench.destination.write_media(entries)
    document = {"files": len(account.originals), "rebuilt": states[REBUILT], **officer.document(report)}
    bench.destination.write_report(QUARANTINED, _quarantined(account, bench))
    bench.destination.write_report(PAGE, officer.html(report).encode())
    bench.destination.write_report(REPORT, data := digests.canonical(document))
    found: dict[str, Any] = json.loads(data)
    return found


def write_listing(account: Account, path: Path) -> None:
    """sha256, state and reason of every input as CSV; it stays with whoever holds the originals. Raises UsageError."""
    rows = [
        (one.sha256, state, "") if state in GOOD else (one.sha256, "quarantined", state)
        for one, state in account.rows()
    ]
    try:
        path.write_bytes(_csv([("sha256", "state", "reason"), *rows]))
    except OSError:
        raise UsageError("the file given with --report cannot be written; name another") from None


def _quarantined(account: Account, bench: Bench) -> bytes:
    """Keyed id and reason of everything that was set aside: without names, paths or plain digests."""
    rows = sorted(
        (bench.input_id(original.sha256 or f"at {original.place.name}"), state)
        for original, state in account.rows()
        if state not in GOOD
    )
    return _csv([("input", "reason"), *rows])


def _csv(rows: Iterable[Sequence[str]]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue().encode()
