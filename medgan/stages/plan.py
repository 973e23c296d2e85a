"""What a run would take in and need, before it starts."""

from __future__ import annotations

import shutil
from typing import Any

from medgan.digest import keyed, study_key
from medgan.home import Home
from medgan.settings import settings
from medgan.sources.inbox import Inbox
from medgan.sources.server import Server
from medgan.sources.source import Source

GROWTH = 2.5  # original, de-identified copy and samples on disk for a byte of input, measured on phantom films


def plan(source: Source | Server | Inbox, home: Home) -> dict[str, Any]:
    """Inputs, bytes and room; nothing is read but names and sizes, or what an archive lists."""
    if isinstance(source, Source):
        inputs, new, size = _of_files(source, home)
    elif isinstance(source, Inbox):
        sizes = [pushed.path.stat().st_size for pushed in source.files()]
        inputs, new, size = len(sizes), len(sizes), sum(sizes)
    else:
        return _of_archive(source, home)
    free = shutil.disk_usage(home.root).free
    need = int(size * GROWTH)
    return {
        "inputs": inputs,
        "new or changed": new,
        "MiB to take in": round(size / 2**20, 1),
        "MiB needed": round(need / 2**20, 1),
        "MiB free": round(free / 2**20, 1),
        "fits": need < free - settings().reserve_bytes,
    }


def _of_files(source: Source, home: Home) -> tuple[int, int, int]:
    secret = home.pseudonym_key
    known = home.identified_ledger.known(keyed(secret, "source", source.name))
    new = [item.size for item in source if known.get(keyed(secret, "locator", item.locator)) != item.stamp]
    return len(source), len(new), sum(new)


def _of_archive(server: Server, home: Home) -> dict[str, Any]:
    """Archives list studies and numbers of images, not bytes."""
    secret = home.pseudonym_key
    taken = home.identified_ledger.taken(keyed(secret, "source", server.name))
    listed = server.poll("", whole=True).holdings
    new = [h for h in listed if taken.get(study_key(secret, h.study_uid)) != keyed(secret, "stamp", h.stamp)]
    return {
        "studies": len(listed),
        "new or changed": len(new),
        "images in them": sum(h.expected or 0 for h in new) if all(h.expected for h in new) else "not told",
        "MiB free": round(shutil.disk_usage(home.root).free / 2**20, 1),
    }
