"""What arrived, and what the archives are known to hold: every input in exactly one state."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields
from operator import attrgetter
from typing import Any

import sqlalchemy as sa

from medgan.errors import Reason
from medgan.ledger_base import Book
from medgan.ledger_tables import cursors, holdings, inputs, slices


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
    content: str | None = None
    id_key: str | None = None


@dataclass(frozen=True, slots=True)
class Held:
    """One study of an archive. `address` is its UID: identified, for fetching only."""

    place: str
    address: str
    stamp: str
    changed_at: float
    noted_at: float = 0.0
    settled: bool = False
    expected: int | None = None
    taken: str | None = None


@dataclass(frozen=True, slots=True)
class Cursor:
    """How far a source's change log was read, and when everything was last compared (seconds since the epoch)."""

    cursor: str = ""
    polled_at: float = 0.0
    whole_at: float = 0.0


PUSHED = "pushed"  # the stamp of inputs that nobody can be asked for again
COLUMNS = tuple(field.name for field in fields(Input))
FIELDS = attrgetter(*COLUMNS)
HELD = tuple(field.name for field in fields(Held))


class Inputs(Book):
    """The inputs and holdings of one zone."""

    def known(self, source: str) -> dict[str, str]:
        """Locator -> newest stamp of everything this source was seen to hold."""
        overtaken = sa.case((inputs.c.state == "superseded", 0), else_=1)
        query = sa.select(inputs.c.locator, inputs.c.stamp).where(inputs.c.source == source)
        with self.reader.connect() as db:
            return dict(row._tuple() for row in db.execute(query.order_by(overtaken, inputs.c.seen_at)))

    def placed(self, rows: Iterable[Input]) -> dict[tuple[str, str], list[Input]]:
        """(source, locator) of these inputs -> everything that was ever seen there."""
        places: dict[str, set[str]] = {}
        for row in rows:
            places.setdefault(row.source, set()).add(row.locator)
        query = sa.select(*_columns()).where(inputs.c.locator.in_(sa.bindparam("many", expanding=True)))
        found: dict[tuple[str, str], list[Input]] = {}
        with self.reader.connect() as db:
            for source, locators in places.items():
                for some in slices(sorted(locators)):
                    for row in _inputs(db.execute(query.where(inputs.c.source == source), {"many": some})):
                        found.setdefault((row.source, row.locator), []).append(row)
        return found

    def reconsider(self, **where: str) -> int:
        """Let inputs whose named columns have these values be read and judged again; returns how many."""
        chosen = [inputs.c[name] == value for name, value in where.items()]
        with self.engine.begin() as db:
            studies = sa.select(inputs.c.study_key).where(*chosen, inputs.c.study_key.is_not(None))
            db.execute(sa.update(holdings).where(holdings.c.place.in_(studies)).values(taken=None, owed=True))
            return db.execute(sa.update(inputs).where(*chosen).values(stamp="")).rowcount

    def studies_seen(self, source: str, study_keys: Iterable[str]) -> set[str]:
        """Which of these studies something came of from this source before."""
        query = sa.select(inputs.c.study_key).distinct().where(inputs.c.source == source)
        with self.reader.connect() as db:
            parts = [db.scalars(query.where(inputs.c.study_key.in_(some))) for some in slices(sorted(set(study_keys)))]
            return {key for part in parts for key in part if key}

    def reconsider_by_rule(self, name: str, rule: str, state: str) -> None:
        """Have inputs in this state judged again when the rule that put them there is another than at the last call."""
        before = self.cursor(name)
        if before.polled_at and before.cursor != rule:
            self.reconsider(state=state)
        self.rule_changed(name, rule)  # last, so that it is done again after a kill

    def rule_changed(self, name: str, rule: str) -> bool:
        """Whether a rule that decides about inputs is another than at the last call, which notes it."""
        with self.engine.begin() as db:
            before = db.scalar(sa.select(cursors.c.cursor).where(cursors.c.source == name))
            row = {"source": name, "cursor": rule, "polled_at": self.clock(), "whole_at": 0.0}
            self._insert(db, cursors, row, renew=("cursor", "polled_at"))
        return before is not None and before != rule

    def versions(self, instance_keys: Iterable[str], *, state: str = "ingested") -> dict[str, list[Input]]:
        """Keyed SOP Instance UID -> its inputs in this state, oldest first; at most one is ingested."""
        query = sa.select(*_columns()).where(inputs.c.state == state).order_by(inputs.c.seen_at, inputs.c.locator)
        query = query.where(inputs.c.instance_key.in_(sa.bindparam("many", expanding=True)))
        found: dict[str, list[Input]] = {}
        with self.reader.connect() as db:
            for some in slices(sorted(set(instance_keys))):
                for row in _inputs(db.execute(query, {"many": some})):
                    found.setdefault(row.instance_key or "", []).append(row)
        return found

    def input_states(self) -> dict[str, int]:
        return self._tally(inputs.c.state)

    def input_reasons(self) -> dict[str, int]:
        return {reason: n for reason, n in self._tally(inputs.c.reason).items() if reason}

    def inputs(self, **where: str) -> list[Input]:
        """Inputs whose named columns have these values, oldest first."""
        query = sa.select(*_columns()).order_by(inputs.c.seen_at, inputs.c.locator)
        for name, value in where.items():
            query = query.where(inputs.c[name] == value)
        with self.reader.connect() as db:
            return list(_inputs(db.execute(query)))

    def withdraw_inputs(self, patient_key: str) -> int:
        """Mark every input of a patient withdrawn; returns how many were not yet."""
        where = sa.and_(inputs.c.patient_key == patient_key, inputs.c.state != "withdrawn")
        with self.engine.begin() as db:
            return db.execute(sa.update(inputs).where(where).values(state="withdrawn")).rowcount

    def known_as(self, id_key: str) -> set[str]:
        """Pseudonyms of everyone who came under this Patient ID, whoever issued it."""
        query = sa.select(inputs.c.patient_key).distinct().where(inputs.c.id_key == id_key)
        with self.reader.connect() as db:
            return {key for key in db.scalars(query) if key}

    def unsee(self, study_key: str) -> int:
        """Forget that the inputs of a study were seen, so that the next intake reads them again; returns how many.

        Pushed ones that were set aside stay known: their bytes lie in the store, not at a source.
        """
        aside = sa.and_(inputs.c.stamp == PUSHED, inputs.c.state.in_(("conflict", "quarantined")))
        where = sa.and_(inputs.c.study_key == study_key, inputs.c.state != "withdrawn", ~aside)
        with self.engine.begin() as db:
            db.execute(sa.update(holdings).where(holdings.c.place == study_key).values(taken=None, owed=True))
            return db.execute(sa.delete(inputs).where(where)).rowcount

    # archives

    def cursor(self, source: str) -> Cursor:
        with self.reader.connect() as db:
            row = db.execute(sa.select(cursors).where(cursors.c.source == source)).one_or_none()
        return Cursor(row.cursor, row.polled_at, row.whole_at) if row is not None else Cursor()

    def note_poll(self, source: str, cursor: str, listed: Iterable[Held], *, whole: bool) -> list[Held]:
        """Note what a poll told, and how far it read, in one transaction; what changed is owed from then on.

        Returns what is gone: known before, and not in a whole listing.
        """
        now, told = self.clock(), {held.place: held for held in listed}
        with self.engine.begin() as db:
            before = {held.place: held for held in self._held(db, source, None if whole else list(told))}
            changed = [held for place, held in told.items() if _differs(held, before.get(place))]
            rows = [_row(source, held, before.get(held.place), now) for held in changed]
            self._insert(db, holdings, rows, renew=RENEWED)
            # what came of another state of a study must not count for this one, also when it looks like an earlier one
            again = sorted(row["place"] for row in rows if row["place"] in before and row["taken"] is None)
            for some in slices(again):
                seen = (inputs.c.source == source, inputs.c.study_key.in_(some))
                db.execute(sa.update(inputs).where(*seen).values(stamp="of another state"))
            row = {"source": source, "cursor": cursor, "polled_at": now, "whole_at": 0.0}
            self._insert(db, cursors, row, renew=("cursor", "polled_at"))
        return [held for place, held in before.items() if place not in told] if whole else []

    def compared(self, source: str) -> None:
        """Note that a whole listing was acted on: what was gone has been seen off."""
        with self.engine.begin() as db:
            db.execute(sa.update(cursors).where(cursors.c.source == source).values(whole_at=self.clock()))

    def held(self, source: str) -> int:
        """How many studies this archive is known to hold."""
        with self.reader.connect() as db:
            return db.scalar(sa.select(sa.func.count()).where(holdings.c.source == source)) or 0

    def taken(self, source: str) -> dict[str, str]:
        """place -> the stamp that was taken in, of everything that came from this archive."""
        query = sa.select(holdings.c.place, holdings.c.taken).where(holdings.c.source == source)
        with self.reader.connect() as db:
            return dict(row._tuple() for row in db.execute(query.where(holdings.c.taken.is_not(None))))

    def owed(self, source: str) -> list[Held]:
        """Studies of an archive that changed since they were taken in, those that changed first in front."""
        query = sa.select(*(holdings.c[name] for name in HELD)).where(holdings.c.source == source, holdings.c.owed)
        with self.reader.connect() as db:
            return [Held(*row) for row in db.execute(query.order_by(holdings.c.changed_at, holdings.c.place))]

    def refetch(self, source: str, before: float) -> int:
        """Let studies that were taken in before this time be fetched whole again; returns how many."""
        old = (holdings.c.source == source, holdings.c.taken_at < before, holdings.c.taken.is_not(None))
        studies = sa.select(holdings.c.place).where(*old)
        with self.engine.begin() as db:
            seen = (inputs.c.source == source, inputs.c.study_key.in_(studies))
            db.execute(sa.update(inputs).where(*seen).values(stamp="to be fetched again"))
            return db.execute(sa.update(holdings).where(*old).values(taken=None, owed=True)).rowcount

    def oldest_owed(self) -> float | None:
        """When the oldest change that was not taken in yet happened; seconds since the epoch."""
        with self.reader.connect() as db:
            return db.scalar(sa.select(sa.func.min(holdings.c.changed_at)).where(holdings.c.owed))

    def _held(self, db: sa.Connection, source: str, places: list[str] | None) -> Iterator[Held]:
        query = sa.select(*(holdings.c[name] for name in HELD)).where(holdings.c.source == source)
        if places is None:
            yield from (Held(*row) for row in db.execute(query))
            return
        for some in slices(sorted(places)):
            yield from (Held(*row) for row in db.execute(query.where(holdings.c.place.in_(some))))

    def _settle_inputs(
        self,
        db: sa.Connection,
        rows: Iterable[Input],
        taken: Iterable[tuple[str, str, str]],
        left: Iterable[tuple[str, str]],
        now: float,
    ) -> None:
        values = [dict(zip((*COLUMNS, "seen_at"), (*FIELDS(row), now), strict=True)) for row in rows]
        self._insert(db, inputs, values, renew=(*COLUMNS[3:], "seen_at"))
        for source, place, stamp in taken:
            done = {
                "taken": stamp,
                "taken_at": now,
                "owed": holdings.c.stamp != stamp,
            }  # it may have changed again meanwhile
            db.execute(sa.update(holdings).where(*_at(source, place)).values(done))
        for source, place in left:
            db.execute(sa.delete(holdings).where(*_at(source, place)))


RENEWED = ("address", "stamp", "changed_at", "noted_at", "settled", "expected", "taken", "owed")


def _differs(held: Held, before: Held | None) -> bool:
    return before is None or (held.stamp, held.settled) != (before.stamp, before.settled)


def _row(source: str, held: Held, before: Held | None, now: float) -> dict[str, Any]:
    """The row of a study that changed; one whose stamp is the old one changed when it did before."""
    values = {**{name: getattr(held, name) for name in HELD}, "noted_at": now}
    if before is not None and before.stamp == held.stamp:
        values |= {"taken": before.taken, "changed_at": before.changed_at, "noted_at": before.noted_at}
    return {**values, "source": source, "owed": held.stamp != values["taken"]}


def _at(source: str, place: str) -> tuple[sa.ColumnElement[bool], ...]:
    return holdings.c.source == source, holdings.c.place == place


def _columns() -> tuple[sa.Column[Any], ...]:
    return tuple(inputs.c[name] for name in COLUMNS)


def _inputs(rows: Iterable[Any]) -> Iterator[Input]:
    for row in rows:
        values = dict(row._mapping)
        yield Input(**{**values, "reason": Reason(values["reason"]) if values["reason"] else None})
