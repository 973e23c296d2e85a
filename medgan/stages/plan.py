"""What a run would take in and need, before it starts."""

from __future__ import annotations

import shutil
from typing import Any

from medgan.digest import keyed
from medgan.home import Home
from medgan.sources.source import Source

GROWTH = 2.5  # original, de-identified copy and samples on disk for a byte of input, measured on phantom films


def plan(source: Source, home: Home) -> dict[str, Any]:
    """Inputs, bytes and room; nothing is read but names and sizes."""
    secret = home.pseudonym_key
    known = home.identified_ledger.known(keyed(secret, "source", source.name))
    inputs = new = size = 0
    for item in source:
        inputs += 1
        # the stamp of what was refused goes on with the limits that refused it
        if known.get(keyed(secret, "locator", item.locator), "").partition("|")[0] != item.stamp:
            new += 1
            size += item.size
    free = shutil.disk_usage(home.root).free
    need = int(size * GROWTH)
    return {
        "inputs": inputs,
        "new or changed": new,
        "MiB to take in": round(size / 2**20, 1),
        "MiB needed": round(need / 2**20, 1),
        "MiB free": round(free / 2**20, 1),
        "fits": need < free,
    }
