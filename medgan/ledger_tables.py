"""The tables of a zone's ledger: one schema for SQLite and PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import sqlalchemy as sa

BIND_LIMIT = 500  # SQLite refuses statements with very many bound values

meta = sa.MetaData()
inputs = sa.Table(
    "inputs",
    meta,
    sa.Column("source", sa.String, primary_key=True),  # keyed hash of the source's address
    sa.Column("locator", sa.String, primary_key=True),  # keyed hash of the place inside the source
    sa.Column("sha256", sa.String, primary_key=True),
    sa.Column("stamp", sa.String, nullable=False),  # size and time, to skip what was seen
    sa.Column("size", sa.BigInteger, nullable=False),
    sa.Column("state", sa.String, nullable=False, index=True),
    sa.Column("reason", sa.String),
    sa.Column("content", sa.String),  # sha256 of the data set without preamble and file meta
    sa.Column("instance_key", sa.String),  # keyed hash of the SOP Instance UID
    sa.Column("study_key", sa.String, index=True),
    sa.Column("patient_key", sa.String, index=True),
    sa.Column("id_key", sa.String, index=True),  # keyed hash of the Patient ID alone, whoever issued it
    sa.Column("seen_at", sa.Float, nullable=False),
)
# with the state, or a planner without statistics goes through everything that is in this state
sa.Index("inputs_instance_state", inputs.c.instance_key, inputs.c.state)
cursors = sa.Table(
    "cursors",
    meta,
    sa.Column("source", sa.String, primary_key=True),
    sa.Column("cursor", sa.String, nullable=False),  # of the source's own change log; "" where it has none
    sa.Column("polled_at", sa.Float, nullable=False),
    sa.Column("whole_at", sa.Float, nullable=False),  # when everything it holds was last compared
)
holdings = sa.Table(  # what an archive holds, a row a study; only in the identified zone
    "holdings",
    meta,
    sa.Column("source", sa.String, primary_key=True),
    sa.Column("place", sa.String, primary_key=True),  # study_key
    sa.Column("address", sa.String, nullable=False),  # Study Instance UID, to fetch it by
    sa.Column("stamp", sa.String, nullable=False),
    sa.Column("expected", sa.Integer),  # instances, where the archive tells
    sa.Column("changed_at", sa.Float, nullable=False),  # when it last changed, by this machine's clock
    sa.Column("noted_at", sa.Float, nullable=False),  # when this state of it was first told
    sa.Column("settled", sa.Boolean, nullable=False),  # the archive says that nothing more is coming
    sa.Column("taken", sa.String),  # the stamp that was taken in
    sa.Column("taken_at", sa.Float),
    sa.Column("owed", sa.Boolean, nullable=False),
)
# a poll asks only for what is owed: a part of the index that stays small however large the archive
sa.Index(
    "holdings_owed",
    *(holdings.c.source, holdings.c.changed_at, holdings.c.place),
    sqlite_where=sa.text("owed = 1"),  # word for word as queries have it, or SQLite does not use it
    postgresql_where=holdings.c.owed,
)
artefacts = sa.Table(
    "artefacts",
    meta,
    sa.Column("key", sa.String, primary_key=True),
    sa.Column("digest", sa.String, nullable=False, index=True),
    sa.Column("stage", sa.String, nullable=False, index=True),
    sa.Column("subject", sa.String, nullable=False, index=True),  # study_key, or "" for what spans studies
    sa.Column("record", sa.Text, nullable=False),  # the stage's record as JSON
    sa.Column("state", sa.String, nullable=False),  # live, partial, superseded, withdrawn
    sa.Column("made_at", sa.Float, nullable=False),
)
parents = sa.Table(
    "parents",
    meta,
    sa.Column("child", sa.String, primary_key=True),
    sa.Column("parent", sa.String, primary_key=True, index=True),
)
subjects = sa.Table(
    "patients",
    meta,
    sa.Column("digest", sa.String, primary_key=True),
    sa.Column("patient_key", sa.String, primary_key=True, index=True),
)
quarantine = sa.Table(
    "quarantine",
    meta,
    sa.Column("subject", sa.String, primary_key=True),  # study_key
    sa.Column("stage", sa.String, primary_key=True),
    sa.Column("key", sa.String, primary_key=True),  # the result that was wanted
    sa.Column("reason", sa.String, nullable=False),
    sa.Column("times", sa.Integer, nullable=False),
    sa.Column("seen_at", sa.Float, nullable=False),
)
tombstones = sa.Table(
    "tombstones",
    meta,
    sa.Column("patient_key", sa.String, primary_key=True),
    sa.Column("why", sa.String, nullable=False),  # withdrawn, opted_out
    sa.Column("made_at", sa.Float, nullable=False),
)
aliases = sa.Table(  # merged patients: pseudonyms only, in both zones
    "aliases",
    meta,
    sa.Column("patient_key", sa.String, primary_key=True),
    sa.Column("into", sa.String, nullable=False, index=True),
    sa.Column("made_at", sa.Float, nullable=False),
)
requests = sa.Table(  # what the house owes: a retraining, say
    "requests",
    meta,
    sa.Column("kind", sa.String, primary_key=True),
    sa.Column("subject", sa.String, primary_key=True),
    sa.Column("made_at", sa.Float, nullable=False),
    sa.Column("done_at", sa.Float),
)
looks = sa.Table(
    "looks",
    meta,
    sa.Column("cohort", sa.String, primary_key=True),  # digest of the cohort whose audit part was opened
    sa.Column("scorecard", sa.String, primary_key=True),  # key of the evaluation that opened it
    sa.Column("made_at", sa.Float, nullable=False),
)
leases = sa.Table(
    "leases",
    meta,
    sa.Column("name", sa.String, primary_key=True),
    sa.Column("owner", sa.String, nullable=False),
    sa.Column("token", sa.Integer, nullable=False),
    sa.Column("expires_at", sa.Float, nullable=False),
)


def sqlite_durable(connection: Any, _: Any) -> None:
    connection.isolation_level = None  # SQLAlchemy's begin event below opens the transaction
    cursor = connection.cursor()
    for pragma in ("busy_timeout=30000", "journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def sqlite_begin(connection: sa.Connection) -> None:
    """Who will write takes the lock at once (or two would wait for each other); who reads needs none."""
    reads = connection.get_execution_options().get("reads_only")
    connection.exec_driver_sql("BEGIN" if reads else "BEGIN IMMEDIATE")


def slices(values: list[str]) -> Iterator[list[str]]:
    """Values in lists that a statement can bind."""
    for start in range(0, len(values), BIND_LIMIT):
        yield values[start : start + BIND_LIMIT]
