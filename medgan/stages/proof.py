"""Proof of an erasure: counts and digests in a closed file of the identified zone, and never whom it was about.

A draft with what is about to be deleted is written first: a call that was cut off and made again proves all of it.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from medgan import digest as digests
from medgan.home import Home
from medgan.store import writable, write_durably

FOLDER = ("identified", "withdrawals", "proofs")
SCHEMA = 1


@dataclass(slots=True)
class Draft:
    """The proof of one erasure while it is under way."""

    folder: Path
    name: str
    why: str
    at: float  # seconds since the epoch
    found: set[tuple[str, str]] = field(default_factory=set)  # stage and digest of what was, or will be, deleted

    @property
    def path(self) -> Path:
        return self.folder / f"{self.name}.draft"

    @property
    def open(self) -> bool:
        """Whether something was done, now or by a call that was cut off, that is not proved yet."""
        return self.path.exists()

    def begin(self) -> None:
        """Leave the draft on the disk: from now on there is something to prove."""
        _write(self.path, sorted(self.found))

    def note(self, found: Iterable[tuple[str, str]]) -> None:
        """Add what will be deleted, before it is."""
        known = set(self.found)
        self.found.update(found)
        if self.found != known:
            self.begin()

    def close(self, facts: Mapping[str, object], *, anew: bool) -> str:
        """Write the proof when something was done, now or before the call was cut off; returns the file's name.

        Where nothing was done, the name of the proof that an earlier call for the same patients left, if any.
        """
        there = sorted(file.name for file in self.folder.glob(f"*-{self.name}*.json"))
        if (there or not self.open) and not anew:
            self.path.unlink(missing_ok=True)
            return there[0] if there else ""
        day = datetime.fromtimestamp(self.at, UTC)
        deleted = Counter(stage for stage, _ in self.found)
        cohorts = sorted(digest for stage, digest in self.found if stage == "assemble")
        body = {
            "schema": SCHEMA,
            "why": self.why,
            "made_at": day.isoformat(timespec="seconds"),
            "deleted": dict(sorted(deleted.items())),
            "erased_cohorts": cohorts,
            **facts,
        }
        stem = f"{day:%Y-%m-%d}-{self.name}"
        again = sum(name.startswith(stem) for name in there)
        name = f"{stem}-{again + 1}.json" if again else f"{stem}.json"
        _write(self.folder / name, body)
        self.path.unlink(missing_ok=True)
        return name


def open_draft(home: Home, why: str, keys: Iterable[str]) -> Draft:
    """The draft of an erasure of these pseudonyms, with what an earlier call that was cut off had found."""
    folder = home.root.joinpath(*FOLDER)
    with writable():
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    whom = digests.keyed(home.pseudonym_key, "withdrawal", digests.canonical([why, *sorted(keys)]))
    draft = Draft(folder, whom[:12], why, home.identified_ledger.clock())
    if draft.path.is_file():
        draft.found = {(stage, digest) for stage, digest in json.loads(draft.path.read_bytes())}
    return draft


def _write(path: Path, body: object) -> None:
    with writable():
        write_durably(path, json.dumps(body, indent=1, sort_keys=True).encode() + b"\n", mode=0o600)
