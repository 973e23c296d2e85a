"""The truth about one zone: every input, every artefact and what it was made from, leases, tombstones.

SQLite (WAL, synchronous=FULL) by default, PostgreSQL by URL, one schema. A flow is `work = wanted - done`:
run twice it does nothing the second time; killed anywhere, the next run ends with the same digests.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from medgan.errors import Busy, HomeError, Reason
from medgan.ledger_tables import (
    artefacts,
    inputs,
    leases,
    looks,
    meta,
    parents,
    quarantine,
    slices,
    sqlite_begin,
    sqlite_durable,
    subjects,
    tombstones,
)
from medgan.store import alive

LEASE_S = 90.0
RENEW_S = 15.0

WORLD_ERRORS = (sa.exc.OperationalError, sa.exc.InterfaceError)  # locked, unreachable: worth another try


@dataclass(frozen=True, slots=True)
class Input:
    """One thing that arrived: by keyed hashes, never by name."""

    source: str
    locator: str
    sha256: str
    stamp: str
    size: int
    state: str
    reason: Reason | None = None
    instance_key: str | None = None
    study_key: str | None = None
    patient_key: str | None = None


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
    state: str = field(default="live")


class Ledger:
    """One zone's database. `clock` returns seconds since the epoch."""

    def __init__(self, url: str, *, clock: Callable[[], float] = time.time) -> None:
        self.url, self.clock = url, clock
        self.engine = sa.create_engine(url)
        if url.startswith("sqlite"):
            sa.event.listen(self.engine, "connect", sqlite_durable)
            sa.event.listen(self.engine, "begin", sqlite_begin)
        try:
            with self.engine.begin() as db:
                meta.create_all(db)
        except sa.exc.OperationalError as error:
            raise HomeError(
                "the ledger could not be opened; is the home folder writable, with room on its disk, and not "
                f"held by another program? ({type(error.orig).__name__})"
            ) from None

    # inputs

    def known(self, source: str) -> dict[str, str]:
        """Locator -> newest stamp of everything this source was seen to hold."""
        with self.engine.connect() as db:
            rows = db.execute(
                sa.select(inputs.c.locator, inputs.c.stamp).where(inputs.c.source == source).order_by(inputs.c.seen_at)
            )
            return dict(row._tuple() for row in rows)

    def instances(self, instance_keys: Iterable[str]) -> dict[str, str]:
        """Keyed SOP Instance UID -> sha256 of the version that was ingested."""
        where = sa.and_(inputs.c.state == "ingested", inputs.c.instance_key.in_(sa.bindparam("many", expanding=True)))
        query = sa.select(inputs.c.instance_key, inputs.c.sha256).where(where)
        found: dict[str, str] = {}
        with self.engine.connect() as db:
            for some in slices(sorted(set(instance_keys))):
                found.update(row._tuple() for row in db.execute(query, {"many": some}))
        return found

    def add_inputs(self, rows: Iterable[Input], entries: Iterable[Entry] = ()) -> None:
        """Record inputs, and the artefacts made of them, in one transaction.

        An input known by place and content is renewed, not added.
        """
        now = self.clock()
        values = [{**{name: getattr(row, name) for name in Input.__dataclass_fields__}, "seen_at": now} for row in rows]
        with self.engine.begin() as db:
            for value in values:
                self._insert(db, inputs, value, renew=tuple(value))
            for entry in entries:
                self._record(db, entry, now)

    def input_states(self) -> dict[str, int]:
        return self._tally(inputs.c.state)

    def input_reasons(self) -> dict[str, int]:
        return {reason: n for reason, n in self._tally(inputs.c.reason).items() if reason}

    def inputs(self, **where: str) -> list[Input]:
        """Inputs whose named columns have these values, oldest first."""
        query = sa.select(*(inputs.c[name] for name in Input.__dataclass_fields__)).order_by(
            inputs.c.seen_at, inputs.c.locator
        )
        for name, value in where.items():
            query = query.where(inputs.c[name] == value)
        with self.engine.connect() as db:
            rows = [dict(row._mapping) for row in db.execute(query)]
        return [Input(**{**row, "reason": Reason(row["reason"]) if row["reason"] else None}) for row in rows]

    def withdraw_inputs(self, patient_key: str) -> int:
        """Mark every input of a patient withdrawn; returns how many were not yet."""
        where = sa.and_(inputs.c.patient_key == patient_key, inputs.c.state != "withdrawn")
        with self.engine.begin() as db:
            return db.execute(sa.update(inputs).where(where).values(state="withdrawn")).rowcount

    def unsee(self, study_key: str) -> int:
        """Forget that the inputs of a study were seen, so that the next intake reads them again; returns how many."""
        where = sa.and_(inputs.c.study_key == study_key, inputs.c.state != "withdrawn")
        with self.engine.begin() as db:
            return db.execute(sa.delete(inputs).where(where)).rowcount

    # artefacts

    def find(self, key: str) -> Entry | None:
        """The artefact recorded under `key`, live or superseded."""
        with self.engine.connect() as db:
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
        with self.engine.connect() as db:
            return [_entry(row) for row in db.execute(query.order_by(artefacts.c.made_at, artefacts.c.key))]

    def live_digests(self) -> list[str]:
        """Digests of every artefact whose bytes should be in the store."""
        with self.engine.connect() as db:
            return sorted(set(db.scalars(sa.select(artefacts.c.digest).where(artefacts.c.state != "withdrawn"))))

    def unrecord(self, digest: str) -> None:
        """Forget that an artefact was made, so that it is wanted again; its lineage stays."""
        with self.engine.begin() as db:
            db.execute(sa.delete(artefacts).where(artefacts.c.digest == digest))

    def live(self, stage: str, subjects: Iterable[str]) -> dict[str, Entry]:
        """Subject -> its live artefact of a stage, for many subjects at once."""
        query = sa.select(artefacts).where(artefacts.c.stage == stage, artefacts.c.state == "live")
        query = query.where(artefacts.c.subject.in_(sa.bindparam("many", expanding=True)))
        with self.engine.connect() as db:
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
        with self.engine.connect() as db:
            return set(db.scalars(sa.select(subjects.c.patient_key).where(subjects.c.digest == digest)))

    def artefacts_of(self, patient_key: str) -> set[str]:
        with self.engine.connect() as db:
            return set(db.scalars(sa.select(subjects.c.digest).where(subjects.c.patient_key == patient_key)))

    def forget(self, digest: str) -> None:
        """Mark an artefact withdrawn wherever it is recorded; the row stays as a trace without content."""
        with self.engine.begin() as db:
            db.execute(sa.update(artefacts).where(artefacts.c.digest == digest).values(state="withdrawn", record="{}"))

    # quarantine, tombstones, looks

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
        with self.engine.connect() as db:
            reason = db.scalar(sa.select(quarantine.c.reason).where(*where))
        return Reason(reason) if reason else None

    def set_aside_rows(self, stage: str | None = None) -> list[dict[str, Any]]:
        query = sa.select(quarantine).order_by(quarantine.c.seen_at)
        if stage is not None:
            query = query.where(quarantine.c.stage == stage)
        with self.engine.connect() as db:
            return [dict(row._mapping) for row in db.execute(query)]

    def take_back(self, subject: str) -> int:
        """Let a quarantined study be tried again; returns how many rows went."""
        with self.engine.begin() as db:
            return db.execute(sa.delete(quarantine).where(quarantine.c.subject == subject)).rowcount

    def bury(self, patient_key: str, why: str) -> None:
        with self.engine.begin() as db:
            self._insert(db, tombstones, {"patient_key": patient_key, "why": why, "made_at": self.clock()})

    def buried(self) -> set[str]:
        with self.engine.connect() as db:
            return set(db.scalars(sa.select(tombstones.c.patient_key)))

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

    # leases

    @contextlib.contextmanager
    def lease(self, name: str) -> Iterator[int]:
        """Hold `name` alone; yields the fencing token. Raises Busy when a live owner holds it.

        A lease whose owner died on this host, or that ran out, is taken over.
        """
        owner = f"{socket.gethostname()}/{os.getpid()}/{uuid.uuid4().hex[:8]}"
        token = self._take(name, owner)
        done = threading.Event()
        renewer = threading.Thread(target=self._renew, args=(name, owner, done), daemon=True)
        renewer.start()
        try:
            yield token
        finally:
            done.set()
            renewer.join()
            with self.engine.begin() as db:
                db.execute(sa.update(leases).where(leases.c.name == name, leases.c.owner == owner).values(expires_at=0))

    def _take(self, name: str, owner: str) -> int:
        now = self.clock()
        with self.engine.begin() as db:
            row = db.execute(sa.select(leases).where(leases.c.name == name)).one_or_none()
            if row is not None and row.expires_at > now and not _gone(row.owner):
                raise Busy(f"{name}: another run is at it; this one does nothing")
            token = row.token + 1 if row is not None else 1
            values = {"owner": owner, "token": token, "expires_at": now + LEASE_S}
            if row is None:
                db.execute(sa.insert(leases).values(name=name, **values))
            else:
                db.execute(sa.update(leases).where(leases.c.name == name).values(**values))
        return token

    def _renew(self, name: str, owner: str, done: threading.Event) -> None:
        while not done.wait(RENEW_S):
            with self.engine.begin() as db:
                db.execute(
                    sa.update(leases)
                    .where(leases.c.name == name, leases.c.owner == owner)
                    .values(expires_at=self.clock() + LEASE_S)
                )

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
        for parent in set(entry.parents):
            self._insert(db, parents, {"child": entry.digest, "parent": parent})
        for patient in set(entry.patients):
            self._insert(db, subjects, {"digest": entry.digest, "patient_key": patient})

    def _insert(
        self, db: sa.Connection, table: sa.Table, values: dict[str, Any], *, renew: tuple[str, ...] = ()
    ) -> None:
        """Insert; where the primary key is there already, only the columns of `renew` change."""
        if db.dialect.name == "postgresql":
            from sqlalchemy.dialects.postgresql import insert
        else:
            from sqlalchemy.dialects.sqlite import insert  # type: ignore[assignment]
        row = insert(table).values(values)
        if renew:
            row = row.on_conflict_do_update(index_elements=list(table.primary_key), set_={k: values[k] for k in renew})
        else:
            row = row.on_conflict_do_nothing()
        db.execute(row)

    def _tally(self, column: sa.Column[Any]) -> dict[str, int]:
        with self.engine.connect() as db:
            rows = db.execute(sa.select(column, sa.func.count()).group_by(column))
            return dict(Counter({row[0]: row[1] for row in rows}))

    def _walk(self, start: str, from_: sa.Column[Any], to: sa.Column[Any]) -> set[str]:
        seen: set[str] = set()
        edge = {start}
        with self.engine.connect() as db:
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
    """Of a subject's live artefacts of a stage, keep only the one recorded under the key `by`."""
    others = (artefacts.c.stage == stage, artefacts.c.subject == subject, artefacts.c.state == "live")
    db.execute(sa.update(artefacts).where(*others, artefacts.c.key != by).values(state="superseded"))


def _entry(row: Any) -> Entry:
    return Entry(row.key, row.digest, row.stage, row.record, row.subject, state=row.state)


def _gone(owner: str) -> bool:
    host, pid, _ = owner.split("/")
    return host == socket.gethostname() and not alive(int(pid))


def record_json(record: Any) -> str:
    return json.dumps(record.model_dump(mode="json"), sort_keys=True)
