"""PS3.15 Annex E (edition 2026d) as a table: what happens to each attribute under a profile.

`ps3.15_table_e1-1_2026d.csv` and `ps3.15_table_e3_sr_content.csv` are the facts of the standard; `iod_types.csv`
(SOP class, tag, Type: from highdicom's maps of PS3.3) resolves the combined codes such as X/Z/D.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cache
from importlib import resources

from pydicom._dicom_dict import DicomDictionary

from medgan.errors import UsageError

EDITION = "2026d"
VERSION = 1  # bump when the same instance should come out differently

PIXEL_DATA = 0x7FE00010
PIXEL_TAGS = (0x7FE00008, 0x7FE00009, PIXEL_DATA)
PATIENT_TAGS = (0x00100010, 0x00100020)  # PatientName, PatientID: the pseudonym is written
CHARACTER_SET = 0x00080005
TIMEZONE = 0x00080201  # SH in form, a signed number in fact
# birth and death dates as text, which the table omits
OTHER_CALENDARS = frozenset((0x00100033, 0x00100034, 0x00100035))
CODE_VALUES = (0x00080100, 0x00080119)
# bulk values that hold numbers for the display and nothing else
NUMERIC_BULK = frozenset((0x00281101, 0x00281102, 0x00281103, 0x00281201, 0x00281202, 0x00281203, 0x00283006))
TEXT_VRS = frozenset(("LO", "SH", "ST", "LT", "UT", "UC"))
BINARY_SIZES = {"US": 2, "SS": 2, "UL": 4, "SL": 4, "UV": 8, "SV": 8, "FL": 4, "FD": 8, "AT": 4}


class Op(StrEnum):
    """What is done to one element."""

    REMOVE = "remove"
    EMPTY = "empty"
    DUMMY = "dummy"
    UID = "uid"
    PATIENT = "patient"
    KEEP = "keep"
    NUMBER = "number"  # DS, IS: kept when they are numbers
    CODE = "code"  # CS: kept when it has the form of one and names nobody
    CODE_VALUE = "code_value"
    TEXT = "text"  # only words known to be safe stay
    AGE = "age"
    DATE = "date"
    TIME = "time"
    DATETIME = "datetime"
    SEQUENCE = "sequence"
    PIXELS = "pixels"


BY_VR = {
    "SQ": Op.SEQUENCE,
    "UI": Op.UID,
    "DA": Op.DATE,
    "TM": Op.TIME,
    "DT": Op.DATETIME,
    "AS": Op.AGE,
    "CS": Op.CODE,
    "DS": Op.NUMBER,
    "IS": Op.NUMBER,
    "PN": Op.EMPTY,
    **dict.fromkeys(TEXT_VRS, Op.TEXT),
    **dict.fromkeys(BINARY_SIZES, Op.KEEP),
}
TEMPORAL = (Op.DATE, Op.TIME, Op.DATETIME)

BASIC = ("113100", "Basic Application Confidentiality Profile")
CLEAN_PIXELS = ("113101", "Clean Pixel Data Option")
CLEAN_GRAPHICS = ("113103", "Clean Graphics Option")
CLEAN_STRUCTURE = ("113104", "Clean Structured Content Option")
CLEAN_DESCRIPTORS = ("113105", "Clean Descriptors Option")
MODIFIED_DATES = ("113107", "Retain Longitudinal Temporal Information Modified Dates Option")
CHARACTERISTICS = ("113108", "Retain Patient Characteristics Option")


@dataclass(frozen=True)
class Profile:
    """A profile by name: the columns of the table that are applied, and the codes that say so (CID 7050)."""

    name: str
    columns: tuple[str, ...]
    codes: tuple[tuple[str, str], ...]
    shifts_dates: bool
    _ops: dict[tuple[int, str, str], Op] = field(default_factory=dict, compare=False, repr=False)

    def op(self, tag: int, vr: str, sop_class: str) -> Op:
        """What to do with an element; `vr` is the dictionary's, "" when the tag is unknown."""
        key = (tag, vr, sop_class if tag in _combined() else "")
        found = self._ops.get(key)
        if found is None:
            found = self._ops[key] = self._decide(tag, vr, sop_class)
        return found

    def action(self, tag: int, sop_class: str) -> str:
        """Code of the table for one attribute (X, Z, D, K, C or U); "" when it has no row."""
        row = _rows().get(tag)
        if row is None:
            return ""
        cells = [row[column] for column in self.columns if row[column]]
        if cells:
            # two options can disagree: cleaning is the stricter answer
            return "C" if "C" in cells else "K"
        return resolve(row["basic"], _types().get((sop_class, tag), ""))

    def needs_value(self, tag: int) -> bool:
        """Whether the table asks for a dummy rather than nothing (codes with D)."""
        row = _rows().get(tag)
        return row is not None and "D" in row["basic"]

    def _decide(self, tag: int, vr: str, sop_class: str) -> Op:
        group = tag >> 16
        if group & 1 or group <= 0x0006 or not tag & 0xFFFF:
            return Op.REMOVE  # private; command, meta and directory groups; group lengths
        if tag in OTHER_CALENDARS:
            return Op.REMOVE
        if tag in PIXEL_TAGS:
            return Op.PIXELS
        if tag in PATIENT_TAGS:
            return Op.PATIENT
        # whole groups: descriptions and labels of overlays and curves have no row of their own
        if 0x5000 <= group <= 0x501E or 0x6000 <= group <= 0x601E or group >= 0x7FE0 or tag == CHARACTER_SET:
            return Op.REMOVE
        action = self.action(tag, sop_class)
        simple = {"X": Op.REMOVE, "Z": Op.EMPTY, "D": Op.DUMMY, "U": Op.UID}.get(action)
        if simple is not None:
            return simple
        if tag in CODE_VALUES:
            return Op.CODE_VALUE
        if tag == TIMEZONE:
            return Op.NUMBER
        op = BY_VR.get(vr, Op.REMOVE) if tag not in NUMERIC_BULK else Op.KEEP
        # a date, time or name that the table omits is no less one
        return Op.REMOVE if op in TEMPORAL and not self.shifts_dates else op


def resolve(code: str, attribute_type: str) -> str:
    """One action from a combined code: X for Type 3 or foreign to the IOD, Z for Type 2, D for Type 1.

    A conditional Type counts as its unconditional one: what the source has, its condition asked for.
    """
    if "/" not in code:
        return code
    choices = code.replace("*", "").split("/")
    if "U" in choices:  # X/Z/U*: removed unless the IOD needs the reference
        return "U" if attribute_type.startswith("1") else "Z" if attribute_type.startswith("2") else "X"
    order = {"1": "DZX", "2": "ZDX"}.get(attribute_type[:1], "XZD")
    return next(choice for choice in order if choice in choices)


@cache
def profile(name: str) -> Profile:
    """The profile called `research` or `basic`. Raises UsageError for any other name."""
    if name == "basic":
        return Profile("basic", (), (BASIC,), shifts_dates=False)
    if name == "research":
        columns = (
            "retain_patient_chars",
            "retain_long_modif_dates",
            "clean_desc",
            "clean_struct_cont",
            "clean_graph",
        )
        codes = (BASIC, CLEAN_STRUCTURE, CLEAN_DESCRIPTORS, MODIFIED_DATES, CHARACTERISTICS)
        return Profile("research", columns, codes, shifts_dates=True)
    raise UsageError("no de-identification profile of that name; expected research or basic")


@cache
def removed_concepts() -> dict[tuple[str, str], frozenset[str]]:
    """(code value, scheme) of SR content items that both profiles drop -> the value types concerned.

    The Structured Content rows that no retained option cleans: names, ids, addresses, devices.
    """
    dropped: dict[tuple[str, str], set[str]] = {}
    for row in read_table("ps3.15_table_e3_sr_content.csv"):
        options = (row["clean_desc"], row["retain_long_modif_dates"], row["retain_patient_chars"])
        if row["basic"] in ("X", "D") and not any(options) and row["value_type"] in ("TEXT", "PNAME", "CODE"):
            dropped.setdefault((row["code_value"], row["coding_scheme"]), set()).add(row["value_type"])
    return {key: frozenset(types) for key, types in dropped.items()}


@cache
def identity_tags() -> frozenset[int]:
    """Text attributes that name a person, place, device or case: rows that no cleaning option softens."""
    softer = ("clean_desc", "retain_patient_chars", "retain_long_modif_dates")
    plain = (tag for tag, row in _rows().items() if not any(row[column] for column in softer))
    return frozenset(tag for tag in plain if dictionary_vr(tag) in TEXT_VRS or dictionary_vr(tag) == "AE")


@cache
def dictionary_vr(tag: int) -> str:
    """The VR of PS3.6 for a tag, "" when it is not in the dictionary; "US or SS" and the like become the first."""
    entry = DicomDictionary.get(tag)
    return entry[0].split(" or ")[0] if entry else ""


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
    row = _rows().get(tag)
    entry = DicomDictionary.get(tag)
    return (entry[4] if entry else "") or (row["keyword"] if row else "") or "unknown"


def read_table(name: str) -> Iterator[dict[str, str]]:
    with resources.files("medgan.deid").joinpath(name).open(encoding="utf-8") as file:
        yield from csv.DictReader(file)


@cache
def _rows() -> dict[int, dict[str, str]]:
    table = read_table(f"ps3.15_table_e1-1_{EDITION}.csv")
    return {int(row["tag"], 16): row for row in table if _is_hex(row["tag"])}


@cache
def _combined() -> frozenset[int]:
    return frozenset(tag for tag, row in _rows().items() if "/" in row["basic"])


@cache
def _types() -> dict[tuple[str, int], str]:
    return {(row["sop_class"], int(row["tag"], 16)): row["type"] for row in read_table("iod_types.csv")}


def _is_hex(text: str) -> bool:
    return len(text) == 8 and all(c in "0123456789ABCDEFabcdef" for c in text)
