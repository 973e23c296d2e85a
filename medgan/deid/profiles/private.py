"""Retain Safe Private: PS3.15 Table E.3.10-1 (edition 2026d), the private attributes said to be safe.

The table is a list of candidates, not of promises: bulk values (OB, OW, UN) and rows without a VR hold whole vendor
headers, and clock times as binary numbers cannot be shifted. They are left out; what stays is still cleaned by its VR.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from pydicom._private_dict import private_dictionaries

from medgan.deid.profiles.table import BINARY_SIZES, EDITION, TEXT_VRS, read_table

TABLE = f"ps3.15_table_e3.10-1_{EDITION}.csv"
# VRs whose values can be judged one by one
CLEANABLE = TEXT_VRS | frozenset(BINARY_SIZES) | frozenset(("SQ", "UI", "DA", "TM", "DT", "AS", "CS", "DS", "IS"))


CLOCKS = frozenset((0x0149, "SIEMENS Ultrasound SC2000", low_byte) for low_byte in (0x02, 0x03))


@dataclass(frozen=True)
class PrivateRule:
    """An own profile's word on one private attribute: kept and cleaned by `vr`, removed when `vr` is empty."""

    group: int
    creator: str
    low_byte: int
    vr: str
    because: str


@cache
def safe_private() -> dict[tuple[int, str, int], str]:
    """(group, creator, low byte) -> VR, of the rows that can be cleaned by their VR."""
    keyed = (((int(r["group"], 16), r["creator"], int(r["low_byte"], 16)), r["vr"]) for r in read_table(TABLE))
    return {key: vr for key, vr in keyed if vr in CLEANABLE and key not in CLOCKS}


@cache
def known_vr(group: int, creator: str, low_byte: int) -> str:
    """VR of a private attribute by the table, else by pydicom's private dictionary; "" when neither knows one."""
    if vr := safe_private().get((group, creator, low_byte)):
        return vr
    entries = private_dictionaries.get(creator, {})
    entry = entries.get(f"{group:04X}xx{low_byte:02X}") or entries.get(f"{group:04x}xx{low_byte:02x}")
    return entry[0] if entry else ""
