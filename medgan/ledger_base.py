"""What every part of a ledger stands on: the engine, the clock, and rows that may be there already."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import sqlalchemy as sa

from medgan.errors import HomeError
from medgan.ledger_tables import meta, sqlite_begin, sqlite_durable


class Book:
    """One zone's database. `clock` returns seconds since the epoch."""

    def __init__(self, url: str, *, clock: Callable[[], float] = time.time) -> None:
        self.url, self.clock = url, clock
        self.engine = sa.create_engine(url)
        if url.startswith("sqlite"):
            sa.event.listen(self.engine, "connect", sqlite_durable)
            sa.event.listen(self.engine, "begin", sqlite_begin)
        self.reader = self.engine.execution_options(reads_only=True)
        try:
            with self.engine.begin() as db:
                meta.create_all(db)
                _check_columns(db)
        except sa.exc.OperationalError as error:
            raise HomeError(
                "the ledger could not be opened; is the home folder writable, with room on its disk, and not "
                f"held by another program? ({type(error.orig).__name__})"
            ) from None

    def _insert(
        self,
        db: sa.Connection,
        table: sa.Table,
        values: Mapping[str, Any] | Iterable[Mapping[str, Any]],
        *,
        renew: Iterable[str] = (),
    ) -> None:
        """Insert one row or many; where the primary key is there already, only the columns of `renew` change."""
        rows = [values] if isinstance(values, Mapping) else list(values)
        if not rows:
            return
        if db.dialect.name == "postgresql":
            from sqlalchemy.dialects.postgresql import insert
        else:
            from sqlalchemy.dialects.sqlite import insert  # type: ignore[assignment]
        new = insert(table)
        if changing := {name: new.excluded[name] for name in renew}:
            new = new.on_conflict_do_update(index_elements=list(table.primary_key), set_=changing)
        else:
            new = new.on_conflict_do_nothing()
        db.execute(new, rows)

    def _tally(self, column: sa.Column[Any]) -> dict[str, int]:
        with self.reader.connect() as db:
            rows = db.execute(sa.select(column, sa.func.count()).group_by(column))
            return dict(Counter({row[0]: row[1] for row in rows}))


def _check_columns(db: sa.Connection) -> None:
    """Raises HomeError where an earlier version of medgan made the tables: what they lack cannot be filled in."""
    inspector = sa.inspect(db)
    for table in meta.sorted_tables:
        there = {column["name"] for column in inspector.get_columns(table.name)}
        if missing := sorted(set(table.c.keys()) - there):
            raise HomeError(
                f"this home was made by an earlier version of medgan: its ledger lacks {table.name}.{missing[0]}; "
                "make a new home and take the sources in again"
            )
