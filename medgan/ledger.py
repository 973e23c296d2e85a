"""The truth about one zone: every input, every artefact and what it was made from, leases, tombstones.

SQLite (WAL, synchronous=FULL) by default, PostgreSQL by URL, one schema. A flow is `work = wanted - done`:
run twice it does nothing the second time; killed anywhere, the next run ends with the same digests.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from medgan.errors import Reason
from medgan.ledger_inputs import Input, Inputs
from medgan.ledger_leases import Leases
from medgan.ledger_people import People
from medgan.ledger_tables import artefacts, looks, parents, quarantine, slices, subjects

WORLD_ERRORS = (sa.exc.OperationalError, sa.exc.InterfaceError)  # locked, unreachable: worth another try


@dataclass(frozen=True, slots=True)
class Entry:
    """One artefact: the key it was wanted under, its digest, and the stage's record as JSON."""

    key: str
    digest: str
    stage: str
    record: str
    subject: str = ""
    parents: tuple[str, ...] = ()
    patients: tuple[str, ...] = ()
    state: str = field(default="live")  # live, partial (still arriving), superseded


class Ledger(Inputs, People, Leases):
    """One zone's database. `clock` returns seconds since the epoch."""

    def settle(
        self,
        rows: Iterable[Input],
        entries: Iterable[Entry] = (),
        *,
        taken: Iterable[tuple[str, str, str]] = (),
        left: Iterable[tuple[str, str]] = (),
    ) -> None:
        """Record inputs, the artefacts made of them, and the holdings this settles, in one transaction.

        An input known by place and content is renewed, not added. `taken` are (source, place, stamp) that are owed no
        longer, `left` are (source, place) that their source does not hold any more.
        """
        now = self.clock()
        with self.engine.begin() as db:
            self._settle_inputs(db, rows, taken, left, now)
            for entry in entries:
                self._record(db, entry, now)

    # artefacts

    def find(self, key: str) -> Entry | None:
        """The artefact recorded under `key`, live or superseded."""
        with self.reader.connect() as db:
            row = db.execute(sa.select(artefacts).where(artefacts.c.key == key)).one_or_none()
        return _entry(row) if row is not None and row.state != "withdrawn" else None

    def record(self, entry: Entry) -> None:
        """Record an artefact with its lineage; of one subject and stage, the newest alone is live."""
        with self.engine.begin() as db:
            self._record(db, entry, self.clock())

    def entries(self, stage: str, *, subject: str | None = None, state: str | None = "live") -> list[Entry]:
        """Artefacts of a stage in this state (None: live or superseded), oldest first."""
        query = sa.select(artefacts).where(artefacts.c.stage == stage, artefacts.c.state != "withdrawn")
        if state is not None:
            query = query.where(artefacts.c.state == state)
        if subject is not None:
            query = query.where(artefacts.c.subject == subject)
        with self.reader.connect() as db:
            return [_entry(row) for row in db.execute(query.order_by(artefacts.c.made_at, artefacts.c.key))]

    def made(self, stage: str) -> dict[str, float]:
        """Subject -> when its live artefact of a stage was made, seconds since the epoch."""
        query = sa.select(artefacts.c.subject, artefacts.c.made_at)
        with self.reader.connect() as db:
            rows = db.execute(query.where(artefacts.c.stage == stage, artefacts.c.state == "live"))
            return dict(row._tuple() for row in rows)

    def live_digests(self) -> list[str]:
        """Digests of every artefact whose bytes should be in the store."""
        with self.reader.connect() as db:
            return sorted(set(db.scalars(sa.select(artefacts.c.digest).where(artefacts.c.state != "withdrawn"))))

    def unrecord(self, digest: str) -> None:
        """Forget that an artefact was made, so that it is wanted again; its lineage stays."""
        with self.engine.begin() as db:
            db.execute(sa.delete(artefacts).where(artefacts.c.digest == digest))

    def live(self, stage: str, subjects: Iterable[str], *, state: str = "live") -> dict[str, Entry]:
        """Subject -> its artefact of a stage in this state, for many subjects at once."""
        query = sa.select(artefacts).where(artefacts.c.stage == stage, artefacts.c.state == state)
        query = query.where(artefacts.c.subject.in_(sa.bindparam("many", expanding=True)))
        with self.reader.connect() as db:
            rows = [row for some in slices(sorted(set(subjects))) for row in db.execute(query, {"many": some})]
        return {row.subject: _entry(row) for row in rows}

    def revive(self, key: str) -> None:
        """Make a superseded artefact the live one of its subject again."""
        with self.engine.begin() as db:
            row = db.execute(sa.select(artefacts).where(artefacts.c.key == key)).one()
            db.execute(sa.update(artefacts).where(artefacts.c.key == key).values(state="live"))
            _supersede(db, row.stage, row.subject, by=key)

    def made_from(self, digest: str) -> set[str]:
        """Digests of everything that was made, at any remove, from `digest`."""
        return self._walk(digest, parents.c.parent, parents.c.child)

    def made_of(self, digest: str) -> set[str]:
        """Digests of everything that `digest` was made from, at any remove."""
        return self._walk(digest, parents.c.child, parents.c.parent)

    def patients_of(self, digest: str) -> set[str]:
        with self.reader.connect() as db:
            return set(db.scalars(sa.select(subjects.c.patient_key).where(subjects.c.digest == digest)))

    def artefacts_of(self, patient_key: str) -> set[str]:
        with self.reader.connect() as db:
            return set(db.scalars(sa.select(subjects.c.digest).where(subjects.c.patient_key == patient_key)))

    def forget(self, digest: str) -> None:
        """Mark an artefact withdrawn wherever it is recorded; the row stays as a trace without content."""
        with self.engine.begin() as db:
            db.execute(sa.update(artefacts).where(artefacts.c.digest == digest).values(state="withdrawn", record="{}"))

    # quarantine, looks

    def set_aside(self, subject: str, stage: str, key: str, reason: Reason) -> None:
        with self.engine.begin() as db:
            where = sa.and_(quarantine.c.subject == subject, quarantine.c.stage == stage, quarantine.c.key == key)
            values = {"reason": reason.value, "seen_at": self.clock()}
            if not db.execute(
                sa.update(quarantine).where(where).values(times=quarantine.c.times + 1, **values)
            ).rowcount:
                db.execute(sa.insert(quarantine).values(subject=subject, stage=stage, key=key, times=1, **values))

    def set_aside_reason(self, subject: str, stage: str, key: str) -> Reason | None:
        """Why this study was quarantined when this very result was wanted before; None when it was not."""
        where = (quarantine.c.subject == subject, quarantine.c.stage == stage, quarantine.c.key == key)
        with self.reader.connect() as db:
            reason = db.scalar(sa.select(quarantine.c.reason).where(*where))
        return Reason(reason) if reason else None

    def set_aside_rows(self, stage: str | None = None) -> list[dict[str, Any]]:
        query = sa.select(quarantine).order_by(quarantine.c.seen_at)
        if stage is not None:
            query = query.where(quarantine.c.stage == stage)
        with self.reader.connect() as db:
            return [dict(row._mapping) for row in db.execute(query)]

    def take_back(self, subject: str) -> int:
        """Let a quarantined study be tried again; returns how many rows went."""
        with self.engine.begin() as db:
            return db.execute(sa.delete(quarantine).where(quarantine.c.subject == subject)).rowcount

    def look(self, cohort: str, scorecard: str) -> int:
        """Count one opening of a cohort's audit part; returns which one it was, from 1, also when asked again."""
        with self.engine.begin() as db:
            self._insert(db, looks, {"cohort": cohort, "scorecard": scorecard, "made_at": self.clock()})
            rows = db.execute(
                sa.select(looks.c.scorecard)
                .where(looks.c.cohort == cohort)
                .order_by(looks.c.made_at, looks.c.scorecard)
            )
            return [row.scorecard for row in rows].index(scorecard) + 1

    # plumbing

    def _record(self, db: sa.Connection, entry: Entry, now: float) -> None:
        row = db.execute(sa.select(artefacts.c.state).where(artefacts.c.key == entry.key)).one_or_none()
        values = {
            "digest": entry.digest,
            "stage": entry.stage,
            "subject": entry.subject,
            "record": entry.record,
            "state": entry.state,
        }
        if row is None:
            db.execute(sa.insert(artefacts).values(key=entry.key, made_at=now, **values))
        else:
            db.execute(sa.update(artefacts).where(artefacts.c.key == entry.key).values(**values))
        if entry.subject and entry.state == "live":
            _supersede(db, entry.stage, entry.subject, by=entry.key)
        elif entry.state == "partial":
            _forget_parts(db, entry)
        for parent in set(entry.parents):
            self._insert(db, parents, {"child": entry.digest, "parent": parent})
        for patient in set(entry.patients):
            self._insert(db, subjects, {"digest": entry.digest, "patient_key": patient})

    def _walk(self, start: str, from_: sa.Column[Any], to: sa.Column[Any]) -> set[str]:
        seen: set[str] = set()
        edge = {start}
        with self.reader.connect() as db:
            while edge:
                found: set[str] = set()
                for some in slices(sorted(edge)):
                    found.update(db.scalars(sa.select(to).where(from_.in_(some))))
                edge = found - seen
                seen |= edge
        return seen


def open_ledger(url_or_folder: str | Path) -> Ledger:
    """The ledger at a database URL, or in `ledger.db` of a folder."""
    if isinstance(url_or_folder, Path):
        return Ledger(f"sqlite:///{url_or_folder / 'ledger.db'}")
    return Ledger(url_or_folder)


def _supersede(db: sa.Connection, stage: str, subject: str, *, by: str) -> None:
    """Of a subject's artefacts of a stage, keep live only the one recorded under the key `by`."""
    open_ones = artefacts.c.state.in_(("live", "partial"))
    others = (artefacts.c.stage == stage, artefacts.c.subject == subject, open_ones)
    db.execute(sa.update(artefacts).where(*others, artefacts.c.key != by).values(state="superseded"))


def _forget_parts(db: sa.Connection, newest: Entry) -> None:
    """A study that is still arriving has one partial version, beside the live one it will take the place of."""
    same = (artefacts.c.stage == newest.stage, artefacts.c.subject == newest.subject, artefacts.c.state == "partial")
    db.execute(sa.update(artefacts).where(*same, artefacts.c.key != newest.key).values(state="superseded"))


def _entry(row: Any) -> Entry:
    return Entry(row.key, row.digest, row.stage, row.record, row.subject, state=row.state)


def record_json(record: Any) -> str:
    return json.dumps(record.model_dump(mode="json"), sort_keys=True)
