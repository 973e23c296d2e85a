"""Ledgers and keys in one closed file, and back. Sealed artefacts are copied by any tool: they never change."""

from __future__ import annotations

import io
import sqlite3
import tarfile
import zlib
from contextlib import closing
from pathlib import Path
from typing import Any

from medgan.errors import HomeError, UsageError
from medgan.home import Home
from medgan.settings import settings
from medgan.store import writable, write_durably

SECRETS = (
    *("identified/key", "identified/sources.json", "identified/connections.json", "identified/consent.csv"),
    *("identified/opt-out.csv", "identified/merges.csv", "research/keys/cohort", "research/keys/signing.pem"),
)
ZONES = {"identified": 0o700, "research": 0o750, "research/keys": 0o700}
LEDGERS = ("identified/ledger.db", "research/ledger.db")


def backup(home: Home, target: Path) -> dict[str, Any]:
    """Write ledgers and keys together (one without the other is worth nothing) to `target`, mode 0600."""
    if target.exists():
        raise UsageError("the backup file exists already; name a new one")
    if not target.absolute().parent.is_dir():
        raise UsageError("the folder of the backup file does not exist; make it first")
    if settings().identified_url or settings().research_url:
        raise UsageError("the ledgers are on PostgreSQL: back them up there (pg_dump), together with the home folder")
    held = io.BytesIO()
    names = []
    with tarfile.open(fileobj=held, mode="w:gz") as tar:
        for name in LEDGERS:
            if (home.root / name).is_file():
                _add(tar, name, _copy_of(home.root / name))
                names.append(name)
        for name in SECRETS:
            if (home.root / name).is_file():
                _add(tar, name, (home.root / name).read_bytes())
                names.append(name)
    try:
        write_durably(target, held.getvalue(), mode=0o600)
    except OSError:
        raise UsageError("the backup file cannot be written there; name another place with room") from None
    return {"backup": target.absolute(), "holds": names}


def restore(archive: Path, root: Path) -> dict[str, Any]:
    """Put a backup into a home that has no key and no ledger yet. Raises rather than overwrite.

    Cut off, it can be called again: a file that is there with the same bytes is its own.
    """
    contents = _contents(archive)
    if any(
        (root / name).exists() and (root / name).read_bytes() != contents.get(name) for name in (*LEDGERS, *SECRETS)
    ):
        raise HomeError("the home already has a ledger or keys; restore into a new one")
    with writable():
        for zone, mode in ZONES.items():
            (root / zone).mkdir(parents=True, exist_ok=True, mode=mode)
        for name, data in sorted(contents.items()):
            write_durably(root / name, data, mode=0o600)
    return {"home": root, "holds": sorted(contents)}


def _contents(archive: Path) -> dict[str, bytes]:
    try:
        with tarfile.open(archive, "r:gz") as tar:
            held = {member.name: tar.extractfile(member) for member in tar if member.isfile()}
            if unknown := set(held) - {*LEDGERS, *SECRETS}:
                raise UsageError(f"the file is no backup of medgan: it holds {len(unknown)} unknown entries")
            if SECRETS[0] not in held:
                raise UsageError("the file is no backup of medgan: it holds no pseudonym key")
            return {name: file.read() for name, file in held.items() if file is not None}
    except (tarfile.TarError, OSError, EOFError, zlib.error):
        raise UsageError("the backup cannot be read; is it the file that `medgan backup` wrote?") from None


def _copy_of(database: Path) -> bytes:
    """A consistent copy of a SQLite database that may be in use."""
    with closing(sqlite3.connect(database)) as live, closing(sqlite3.connect(":memory:")) as copy:
        live.backup(copy)
        return copy.serialize()


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = len(data), 0o600
    tar.addfile(entry, io.BytesIO(data))
