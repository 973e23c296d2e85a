"""The same ledger on PostgreSQL: every test of test_ledger.py that is not about SQLite's own ways."""

from __future__ import annotations

import contextlib
import itertools
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import postgres_server
import pytest
import sqlalchemy as sa
import test_ledger
from factories import dicom_bytes

from medgan.errors import Busy
from medgan.home import Home
from medgan.ledger import Ledger
from medgan.recipes import IngestRecipe
from medgan.sources.source import open_source
from medgan.stages.ingest import ingest, pending

OWN_WAYS = {  # other processes open the file, or it is changed behind the ledger's back
    "test_a_lease_of_a_killed_process_is_taken_over_at_once",
    "test_a_ledger_of_an_earlier_version_is_refused_with_what_it_lacks",
}
SAME = sorted(name for name in vars(test_ledger) if name.startswith("test_") and name not in OWN_WAYS)
number = itertools.count()


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    if why := postgres_server.unavailable():
        pytest.skip(why)
    with postgres_server.postgres() as url:
        yield url


@pytest.fixture
def database(server: str) -> str:
    """The URL of a new database."""
    name = f"zone{next(number)}"
    engine = sa.create_engine(server.format("postgres"), isolation_level="AUTOCOMMIT")
    with engine.connect() as db:
        db.exec_driver_sql(f"CREATE DATABASE {name}")
    engine.dispose()
    return server.format(name)


@pytest.mark.parametrize("name", SAME)
def test_the_same_on_postgresql(name: str, database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[Ledger] = []

    def open_ledger(_: Path, **more: object) -> Ledger:
        opened.append(Ledger(database, **more))  # type: ignore[arg-type]
        return opened[-1]

    monkeypatch.setattr(test_ledger, "open_ledger", open_ledger)
    monkeypatch.setattr(test_ledger, "Ledger", lambda _, **more: open_ledger(tmp_path, **more), raising=False)
    getattr(test_ledger, name)(tmp_path)
    for ledger in opened:
        ledger.engine.dispose()


def test_an_intake_whose_ledgers_are_on_postgresql(
    server: str, database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MEDGAN_IDENTIFIED_URL", database)
    (tmp_path / "in").mkdir()
    for n in range(3):
        (tmp_path / "in" / f"{n}").write_bytes(dicom_bytes(f"1.2.3.{n}"))
    home = Home.create(tmp_path / "home")
    for received in (3, 0):
        assert ingest(open_source(str(tmp_path / "in")), IngestRecipe(), home).states["received"] == received
    assert [study.n_instances for study in pending(home)] == [3]
    assert not (tmp_path / "home" / "identified" / "ledger.db").exists()
    home.identified_ledger.engine.dispose()


def test_of_many_that_ask_at_once_one_gets_the_lease(database: str) -> None:
    ledgers = [Ledger(database) for _ in range(8)]
    barrier, got = threading.Barrier(8), []

    def ask(ledger: Ledger) -> None:
        barrier.wait()
        with contextlib.suppress(Busy), ledger.lease("work") as token:
            got.append(token)
            time.sleep(0.5)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(ask, ledgers))
    assert got == [1]
    for ledger in ledgers:
        ledger.engine.dispose()
