"""The sources of a home: an address together with what the identified zone says of its host."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from medgan.errors import HomeError
from medgan.home import Home
from medgan.sources.address import open_address
from medgan.sources.connection import Connection, read_connections
from medgan.sources.inbox import Inbox
from medgan.sources.server import Server
from medgan.sources.source import Source
from medgan.store import private


def open_place(address: str, home: Home, *, labels: Path | None = None) -> Source | Server | Inbox:
    """Open an address with its credentials; nothing is asked of a network yet.

    Raises SourceError, UsageError or HomeError.
    """
    return open_address(address, connections(home), home.inbox, labels=labels)


@contextlib.contextmanager
def opened(address: str, home: Home, *, labels: Path | None = None) -> Iterator[Source | Server | Inbox]:
    """The same, with every connection ended afterwards."""
    place = open_place(address, home, labels=labels)
    try:
        yield place
    finally:
        if not isinstance(place, Source | Inbox):
            place.close()


def connections(home: Home) -> dict[str, Connection]:
    """What identified/connections.json says, by host and port. Raises HomeError when others can read it."""
    path = home.root / "identified" / "connections.json"
    if not path.is_file():
        return {}
    if not private(path):
        raise HomeError("identified/connections.json holds secrets and others can read it: chmod 600 it")
    return read_connections(path.read_bytes())
