"""What the profile requires of each element, as the audit reads it: from the tables, not from the scrubber's profile.

`ps3.15_table_e1-1_2026d.csv` holds the actions, `iod_types.csv` the Types that decide combined codes, and
`ps3.15_table_e3.10-1_2026d.csv` the private attributes that are safe.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache, lru_cache
from importlib import resources
from typing import Protocol

from pydicom._dicom_dict import DicomDictionary

from medgan.deid.audit.elements import PIXELS, Element

TABLE, PRIVATE = "ps3.15_table_e1-1_2026d.csv", "ps3.15_table_e3.10-1_2026d.csv"
TYPES, NEEDED = "iod_types.csv", "needed_text.csv"
FREE = frozenset(("AE", "LO", "SH", "ST", "LT", "UT", "UC", "UR", "PN", "CS"))
TEXTS = frozenset(("LO", "SH", "ST", "LT", "UT", "UC"))
NUMERIC = frozenset(("US", "SS", "UL", "SL", "UV", "SV", "FL", "FD", "AT"))
TIMES = frozenset(("DA", "DT", "TM"))
OUR_TEXT = frozenset((0x00100010, 0x00100020, 0x00120063))  # the pseudonym and the method are written there
METHOD_CODES = 0x00120064
# what stands in for a removed value
DUMMIES = frozenset((b"", b"REMOVED", b"99LOCAL", b"19000101", b"000000", b"19000101000000", b"000Y", b"0"))
# enumerated values of PS3.3 that an object cannot be read without; that somebody has such a name says nothing there
TERMS = frozenset(
    b"ORIGINAL DERIVED PRIMARY SECONDARY AXIAL LOCALIZER MIXED NONE VOLUME MONOCHROME1 MONOCHROME2 RGB YBR_FULL YES NO "
    b"YBR_FULL_422 YBR_ICT YBR_RCT HFS HFP HFDL HFDR FFS FFP FFDL FFDR M F O R L B U CR CT DX ECG EPS ES GM IO IVUS KO "
    b"MG MR NM OP OPT OT PR PT PX REG RF RTDOSE RTIMAGE RTPLAN RTSTRUCT RTRECORD SC SEG SM SMR SR US XA XC TEXT NUM "
    b"CODE DATETIME DATE TIME UIDREF PNAME COMPOSITE IMAGE WAVEFORM SCOORD SCOORD3D TCOORD CONTAINER TABLE CONTAINS "
    b"SEPARATE CONTINUOUS COMPLETE PARTIAL VERIFIED UNVERIFIED FINAL PRELIM POINT MULTIPOINT POLYLINE POLYGON CIRCLE "
    b"ELLIPSE ELLIPSOID SEGMENT BEGIN END MULTISEGMENT DCMR PIXEL DISPLAY INTERPOLATED MATRIX BINARY FRACTIONAL "
    b"IDENTITY INVERSE LIN HU SHAPE RECTANGULAR CIRCULAR PRODUCT RESEARCH SERVICE WHOLE_BODY UNKNOWN NORMAL DIFFERENT "
    b"SAME CLOSED_PLANAR OPEN_PLANAR OPEN_NONPLANAR".split()
) | {b"PALETTE COLOR", b"HAS PROPERTIES", b"HAS OBS CONTEXT", b"HAS ACQ CONTEXT", b"INFERRED FROM", b"SELECTED FROM",
     b"HAS CONCEPT MOD", b"WHOLE BODY"}  # fmt: skip
# PS3.15 rows that pydicom's dictionary lacks, with the VR of PS3.6
LACKING = {
    **dict.fromkeys((0x00081301, 0x00081302, 0x00081303, 0x00081304, 0x00100011, 0x00100014, 0x00100015), "SQ"),
    **dict.fromkeys((0x00100041, 0x00100043, 0x00100044, 0x00100046), "SQ"),
    **dict.fromkeys((0x00100013, 0x00100016, 0x00100042, 0x00100045), "UT"),
    **dict.fromkeys((0x00100012, 0x0040B03B), "LT"),
    **dict.fromkeys((0x0040A034, 0x0040A035, 0x0040B034, 0x0040B036), "DT"),
    **dict.fromkeys((0x0040B03F, 0x3004007F), "LO"),
    **dict.fromkeys((0x00100047, 0x0040E012), "UR"),
    **dict.fromkeys((0x00102162,), "UC"),
}
SAFE_PRIVATE = "retain_safe_private"

_NUMBERS = re.compile(rb"[\d+\-.eE \\\0]*")
_CODES = re.compile(rb"[A-Z0-9 _\\\0]*")
_AGES = re.compile(rb"(?:0[0-8]\dY|090Y|\d{3}[DWM]|[ \\])*")


LETTERS = {"keep": "K", "remove": "X", "empty": "Z", "dummy": "D", "clean": "C", "uid": "U"}  # of a profile's own rules


class Rule(Protocol):
    """An own rule on one attribute, which goes before the table."""

    @property
    def tag(self) -> int: ...
    @property
    def action(self) -> str: ...


class PrivateRule(Protocol):
    """An own rule on one private attribute: its VR when it stays, "" when it goes."""

    @property
    def group(self) -> int: ...
    @property
    def creator(self) -> str: ...
    @property
    def low_byte(self) -> int: ...
    @property
    def vr(self) -> str: ...


class Promise(Hashable, Protocol):
    """What the audit reads of a profile, as data: columns of Table E.1-1, codes of CID 7050, what became of dates."""

    @property
    def name(self) -> str: ...
    @property
    def columns(self) -> tuple[str, ...]: ...
    @property
    def codes(self) -> tuple[tuple[str, str], ...]: ...
    @property
    def conditional(self) -> tuple[tuple[str, str], ...]: ...
    @property
    def temporal(self) -> str: ...
    @property
    def rules(self) -> Sequence[Rule]: ...
    @property
    def private_rules(self) -> Sequence[PrivateRule]: ...


@dataclass
class Required:
    """The required outcomes under one promise for the instances of one SOP class."""

    promise: Promise
    sop_class: str
    _actions: dict[tuple[int, bool], str] = field(default_factory=dict)

    def action(self, tag: int, nested: bool) -> str:
        """Letters of Table E.1-1 of which any will do: "X", "Z", "D", "U", "C", "K", more of them, or "" for none."""
        known = self._actions.get((tag, nested))
        if known is None:
            known = self._actions[tag, nested] = self._resolved(tag, nested)
        return known

    def _resolved(self, tag: int, nested: bool) -> str:
        for rule in self.promise.rules:
            if rule.tag == tag:
                return LETTERS[rule.action]
        row = table().get(tag)
        if row is None:
            return ""
        cells = "".join(row[column] for column in self.promise.columns)
        if cells:
            return "C" if "C" in cells else "K"
        letters = row["basic"].replace("*", "").replace("/", "")
        if letters == "X" and not nested and self.type_of(tag) == "1":
            return "D"  # PS3.15 E.1.1: removed or replaced, and only replaced the object stays valid
        if len(letters) == 1 or nested or "U" in letters:
            return letters  # which Type an attribute has inside items depends on the macro: any of the letters hides it
        strictest = {"1": "DZX", "2": "ZDX"}.get(self.type_of(tag)[:1], "XZD")
        return next(letter for letter in strictest if letter in letters)

    def type_of(self, tag: int) -> str:
        """Type in the IOD, of an attribute at the top level that the table of Types has; "" for any other."""
        return _types().get((self.sop_class, tag), "")

    def fault(self, element: Element, vr: str) -> str:
        """What is wrong with a standard element that is no sequence, "" for nothing."""
        tag, value = element.tag, element.value.strip(b" \0")
        action = self.action(tag, element.depth > 0)
        if tag in OUR_TEXT and not element.depth:
            return ""
        if action == "X":
            return "must_be_removed"
        if action and not set(action) & set("UKC") and not _hidden(action, value, vr):
            return "must_be_a_dummy" if "D" in action else "must_be_empty"
        if not value or value in DUMMIES:
            return ""
        return self._form(tag, vr, value, action)

    def _form(self, tag: int, vr: str, value: bytes, action: str) -> str:
        """Whether what stays looks as its VR must: a name or an id in a number is caught by that."""
        if vr == "PN" and action != "K":
            return "person_name"
        if vr in TIMES and self.promise.temporal == "REMOVED":
            return "date_kept"
        if vr in ("DS", "IS") and not _NUMBERS.fullmatch(value):
            return "not_a_number"
        if vr == "CS" and not _CODES.fullmatch(value):
            return "not_a_code"
        if vr == "AS" and not _AGES.fullmatch(value):
            return "age_over_89"
        if vr in FREE and (not value.isascii() or b"\x1b" in value):
            return "not_ascii"
        if vr in TEXTS and not action and "clean_desc" not in self.promise.columns and tag not in _needed():
            return "text_without_row"
        return ""


@lru_cache(maxsize=1024)
def required_by(promise: Promise, sop_class: str) -> Required:
    """The same for the same promise and SOP class, so that each attribute is resolved once."""
    return Required(promise, sop_class)


def _hidden(action: str, value: bytes, vr: str) -> bool:
    """Whether nothing is left of a value that had to be emptied (Z), or replaced by a dummy (D)."""
    if not value:
        return True
    if "D" not in action:
        return False
    if vr == "UI":
        return True  # a mapped one; whether it is, is asked of every UI
    return all(part in DUMMIES for part in value.split(b"\\")) or not any(value)


def group_must_go(tag: int) -> bool:
    """Command and directory groups, group lengths, curves and overlays."""
    group = tag >> 16
    return (
        group <= 0x0006
        or not tag & 0xFFFF
        or (not group & 1 and (0x5000 <= group <= 0x50FF or 0x6000 <= group <= 0x60FF))
    )


def known(tag: int) -> bool:
    return tag in DicomDictionary or tag in table() or tag == PIXELS


def safe_vr(promise: Promise, group: int, creator: bytes, low: int) -> str:
    """VR of a private attribute that may stay: by an own rule, or by Table E.3.10-1; "" for any other."""
    for rule in promise.private_rules:
        if (rule.group, rule.creator.encode(), rule.low_byte) == (group, creator, low):
            return rule.vr
    return _safe().get((group, creator, low), "") if SAFE_PRIVATE in promise.columns else ""


def dictionary_vr(tag: int) -> str:
    return _vrs().get(tag, "")


def vr_of(element: Element) -> str:
    """The VR as written, or the dictionary's where it is not."""
    return _vrs().get(element.tag, "UN") if element.vr in (b"", b"UN") else element.vr.decode("latin-1")


def keyword(tag: int) -> str:
    """PS3.6 keyword; what has none is named by its kind, never by its own bytes."""
    if (tag >> 16) & 1:
        return "private"
    entry, row = DicomDictionary.get(tag), table().get(tag)
    return (entry[4] if entry else "") or (row["keyword"] if row else "") or "unknown"


@cache
def sequence_tags() -> frozenset[int]:
    return frozenset(tag for tag, vr in _vrs().items() if vr == "SQ")


@cache
def table() -> dict[int, dict[str, str]]:
    return {int(row["tag"], 16): row for row in _read(TABLE) if re.fullmatch("[0-9A-Fa-f]{8}", row["tag"])}


@cache
def _vrs() -> dict[int, str]:
    return LACKING | {tag: entry[0].split(" or ")[0] for tag, entry in DicomDictionary.items()}


@cache
def _types() -> dict[tuple[str, int], str]:
    return {(row["sop_class"], int(row["tag"], 16)): row["type"] for row in _read(TYPES)}


@cache
def _needed() -> frozenset[int]:
    """Texts without a row that some IOD cannot do without: they stay, cleaned."""
    return frozenset(int(row["tag"], 16) for row in _read(NEEDED) if row["type"].startswith("1"))


@cache
def _safe() -> dict[tuple[int, bytes, int], str]:
    return {
        (int(row["group"], 16), row["creator"].encode(), int(row["low_byte"], 16)): row["vr"] for row in _read(PRIVATE)
    }


def _read(name: str) -> Iterator[dict[str, str]]:
    with resources.files("medgan.deid").joinpath(name).open(encoding="utf-8") as file:
        yield from csv.DictReader(file)
