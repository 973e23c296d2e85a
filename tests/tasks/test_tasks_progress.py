"""Progress goes to the log and to Prefect; a server that is away fails no work."""

import logging
import uuid

import httpx
import pytest

from tasks import progress


class Server:
    """Stands for Prefect's artifact calls, which need a server."""

    def __init__(self, fails: set[str] = frozenset()) -> None:  # type: ignore[assignment]
        self.fails, self.shown = fails, []

    def create(self, **_: object) -> uuid.UUID:
        if "create" in self.fails:
            raise httpx.ConnectError("away")
        return uuid.uuid4()

    def update(self, _: object, *, progress: float) -> None:
        if "update" in self.fails:
            raise httpx.ReadTimeout("slow")
        self.shown.append(progress)


def reported(monkeypatch, server: Server, of: int = 0, every_s: float = 0.0) -> None:
    monkeypatch.setattr(progress, "create_progress_artifact", server.create)
    monkeypatch.setattr(progress, "update_progress_artifact", server.update)
    monkeypatch.setattr(progress, "EVERY_S", every_s)
    with progress.reported("preprocess", "studies", of) as report:
        for done in (1, 2, 4):
            report(done, 4)


def test_what_is_done_is_shown_in_percent_and_logged_as_a_record(monkeypatch, caplog) -> None:
    server = Server()
    with caplog.at_level(logging.INFO, "medgan.progress"):
        reported(monkeypatch, server, of=9)
    assert server.shown == [25.0, 50.0, 100.0]
    records = [record.progress for record in caplog.records]
    assert [part[:4] for part in records] == [("preprocess", n, 9, "studies") for n in (1, 2, 4)]
    assert len({part[4] for part in records}) == 1


def test_it_speaks_seldom_but_always_of_the_end(monkeypatch) -> None:
    server = Server()
    reported(monkeypatch, server, every_s=1e9)
    assert server.shown[-1] == 100.0 and len(server.shown) <= 2


@pytest.mark.parametrize("fails", ["create", "update"])
def test_a_server_that_is_away_fails_nothing(monkeypatch, caplog, fails: str) -> None:
    server = Server({fails})
    with caplog.at_level(logging.INFO, "medgan.progress"):
        reported(monkeypatch, server)
    assert server.shown == []
    assert len([r for r in caplog.records if hasattr(r, "progress")]) == 3


def test_nothing_to_do_is_done(monkeypatch) -> None:
    server = Server()
    monkeypatch.setattr(progress, "create_progress_artifact", server.create)
    monkeypatch.setattr(progress, "update_progress_artifact", server.update)
    with progress.reported("ingest", "inputs") as report:
        report(0, 0)
    assert server.shown == [0.0]
