"""The tables of PS3.15 Annex E (edition 2026d) and what they say about one attribute.

`ps3.15_table_e1-1_2026d.csv` and `ps3.15_table_e3_sr_content.csv` are the facts of the standard. Three smaller ones
resolve them and come from highdicom's maps of PS3.3: `iod_types.csv` (SOP class, tag, Type at the top level: of
combined codes, of dates and times under X that are Type 1, of BurnedInAnnotation that is Type 1 or 1C, and of
ReferencedSeriesSequence that is Type 1; mandatory modules first, then the strictest), `nested_types.csv` (enclosing
sequence, tag, strictest Type) and `needed_text.csv` (texts without a row that are Type 1 or 2 somewhere).
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from functools import cache
from importlib import resources

from pydicom._dicom_dict import DicomDictionary

EDITION = "2026d"

TEXT_VRS = frozenset(("LO", "SH", "ST", "LT", "UT", "UC"))
BINARY_SIZES = {"US": 2, "SS": 2, "UL": 4, "SL": 4, "UV": 8, "SV": 8, "FL": 4, "FD": 8, "AT": 4}

# PS3.6 2026d: rows of the table that pydicom's dictionary lacks
NEWER_VRS = {
    **dict.fromkeys((0x00081301, 0x00081302, 0x00081303, 0x00081304, 0x00100011, 0x00100014, 0x00100015), "SQ"),
    **dict.fromkeys((0x00100041, 0x00100043, 0x00100044, 0x00100046), "SQ"),
    **dict.fromkeys((0x00100012, 0x0040B03B), "LT"),
    **dict.fromkeys((0x00100013, 0x00100016, 0x00100042, 0x00100045), "UT"),
    **dict.fromkeys((0x00100047, 0x0040E012), "UR"),
    **dict.fromkeys((0x0040A034, 0x0040A035, 0x0040B034, 0x0040B036), "DT"),
    **dict.fromkeys((0x0040B03F, 0x3004007F), "LO"),
    0x00102162: "UC",
}
SOFTENED = ("clean_desc", "retain_patient_chars", "retain_long_modif_dates")  # columns whose rows name nobody


def resolve(code: str, attribute_type: str) -> str:
    """One action from a combined code: X for Type 3 or foreign to the IOD, Z for Type 2, D for Type 1.

    An X alone becomes D for Type 1: PS3.15 E.1.1 lets a value be removed or replaced, and only a replacement leaves the
    object valid. A conditional Type counts as its unconditional one: what the source has, its condition asked for.
    """
    if "/" not in code:
        return "D" if code == "X" and attribute_type == "1" else code
    choices = code.replace("*", "").split("/")
    if "U" in choices:  # X/Z/U*: removed unless the IOD needs the reference
        return "U" if attribute_type.startswith("1") else "Z" if attribute_type.startswith("2") else "X"
    order = {"1": "DZX", "2": "ZDX"}.get(attribute_type[:1], "XZD")
    return next(choice for choice in order if choice in choices)


def attribute_type(tag: int, sop_class: str, sequence: int = 0) -> str:
    """Type of an attribute at the top level or inside `sequence`; "" when foreign there, or not in our tables."""
    return _nested_types().get((sequence, tag), "") if sequence else _types().get((sop_class, tag), "")


@cache
def rows() -> dict[int, dict[str, str]]:
    """Table E.1-1 by tag, without its rows of whole groups."""
    table = read_table(f"ps3.15_table_e1-1_{EDITION}.csv")
    return {int(row["tag"], 16): row for row in table if _is_hex(row["tag"])}


@cache
def combined() -> frozenset[int]:
    return frozenset(tag for tag, row in rows().items() if "/" in row["basic"])


@cache
def typed() -> frozenset[int]:
    """Tags whose action depends on their Type: combined codes, and an X where some IOD cannot do without."""
    return combined() | {tag for _, tag in _types()}


@cache
def needed_text() -> dict[int, str]:
    """Texts without a row that some IOD asks for: tag -> its strictest Type, 1, 1C, 2 or 2C."""
    return {int(row["tag"], 16): row["type"] for row in read_table("needed_text.csv")}


@cache
def identity_tags() -> frozenset[int]:
    """Text attributes that name a person, place, device or case: rows that no cleaning option softens."""
    plain = (tag for tag, row in rows().items() if not any(row[column] for column in SOFTENED))
    return frozenset(tag for tag in plain if dictionary_vr(tag) in TEXT_VRS or dictionary_vr(tag) == "AE")


@cache
def dictionary_vr(tag: int) -> str:
    """The VR of PS3.6 for a tag, "" when it is not in the dictionary; "US or SS" and the like become the first."""
    entry = DicomDictionary.get(tag)
    return entry[0].split(" or ")[0] if entry else NEWER_VRS.get(tag, "")


@cache
def fixed_length(tag: int) -> int:
    """Bytes of a binary number whose multiplicity PS3.6 fixes; 0 for everything else."""
    entry = DicomDictionary.get(tag)
    if entry is None or not entry[1].isdigit():
        return 0
    return BINARY_SIZES.get(entry[0].split(" or ")[0], 0) * int(entry[1])


@cache
def keyword(tag: int) -> str:
    """PS3.6 keyword; what has none is named by its kind, never by its own bytes."""
    if (tag >> 16) & 1:
        return "private"
    row = rows().get(tag)
    entry = DicomDictionary.get(tag)
    return (entry[4] if entry else "") or (row["keyword"] if row else "") or "unknown"


@cache
def tag_of(name: str) -> int | None:
    """The tag of a PS3.6 keyword, or of 8 hex digits; None for anything else."""
    if _is_hex(name):
        return int(name, 16)
    return _tags_by_keyword().get(name)


def read_table(name: str) -> Iterator[dict[str, str]]:
    """The rows of one CSV file of this package."""
    with resources.files("medgan.deid").joinpath(name).open(encoding="utf-8") as file:
        yield from csv.DictReader(file)


@cache
def _tags_by_keyword() -> dict[str, int]:
    newer = {rows()[tag]["keyword"]: tag for tag in NEWER_VRS}
    return newer | {entry[4]: tag for tag, entry in DicomDictionary.items() if entry[4]}


@cache
def _types() -> dict[tuple[str, int], str]:
    return {(row["sop_class"], int(row["tag"], 16)): row["type"] for row in read_table("iod_types.csv")}


@cache
def _nested_types() -> dict[tuple[int, int], str]:
    return {(int(row["sequence"], 16), int(row["tag"], 16)): row["type"] for row in read_table("nested_types.csv")}


def _is_hex(text: str) -> bool:
    return len(text) == 8 and all(c in "0123456789ABCDEFabcdef" for c in text)
