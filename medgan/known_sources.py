"""Sources by name: a flow's parameter is a name, and only the identified zone knows the address behind it."""

from __future__ import annotations

import json
from pathlib import Path

from medgan.digest import keyed
from medgan.errors import HomeError, UsageError
from medgan.store import write_durably

FILE = "sources.json"


def remember(folder: Path, address: str, labels: Path | None = None, *, secret: bytes) -> str:
    """Note a source's address in `folder` (of the identified zone); returns its name, the same each time."""
    known, (name, entry) = everything(folder), _entry(address, labels, secret)
    if known.get(name) != entry:
        _write(folder, {**known, name: entry})
    return name


def forget(folder: Path, address: str, labels: Path | None = None, *, secret: bytes) -> str:
    """Take a source off the list; returns the name that it had."""
    known, (name, _) = everything(folder), _entry(address, labels, secret)
    if known.pop(name, None) is not None:
        _write(folder, known)
    return name


def recall(folder: Path, name: str) -> tuple[str, Path | None]:
    """Address and label file of a named source. Raises UsageError when there is none of that name."""
    known = everything(folder)
    if name not in known:
        raise UsageError(f"no source of that name; known are {', '.join(sorted(known)) or 'none: use `medgan ingest`'}")
    labels = known[name]["labels"]
    return known[name]["address"] or "", Path(labels) if labels else None


def _entry(address: str, labels: Path | None, secret: bytes) -> tuple[str, dict[str, str | None]]:
    entry = {"address": address, "labels": str(labels) if labels else None}
    return f"source-{keyed(secret, 'source', json.dumps(entry, sort_keys=True))[:10]}", entry


def _write(folder: Path, known: dict[str, dict[str, str | None]]) -> None:
    write_durably(folder / FILE, json.dumps(known, indent=1, sort_keys=True).encode(), mode=0o600)


def everything(folder: Path) -> dict[str, dict[str, str | None]]:
    path = folder / FILE
    try:
        known: dict[str, dict[str, str | None]] = json.loads(path.read_bytes()) if path.is_file() else {}
    except ValueError:
        raise HomeError(f"identified/{FILE} is damaged; put it back from the backup, or delete it") from None
    return known
