"""What PS3.15 asks to be set afterwards, and file meta information that describes this program and no source."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from medgan.deid.profiles.options import Code
from medgan.deid.profiles.profile import VERSION, Profile
from medgan.deid.profiles.table import EDITION, attribute_type
from medgan.deid.scrub.tree import DEFLATED, EXPLICIT, DataSet, Element, text

IMPLEMENTATION_UID = "2.25.188331146259486243806353227158116524193"
IMPLEMENTATION_NAME = "MEDGAN_1"
PSEUDONYMS = ((0x00100010, "PN"), (0x00100020, "LO"))  # PatientName, PatientID
METHOD, METHOD_CODES = 0x00120063, 0x00120064
SOP_CLASS = 0x00080016
IDENTITY_REMOVED, TEMPORAL_MODIFIED = 0x00120062, 0x00280303
BURNED_IN, RECOGNIZABLE = 0x00280301, 0x00280302
LONGEST_METHOD, MOST_METHODS = 64, 8  # characters of one LO value


@dataclass(frozen=True)
class Claimed:
    """What was found out about the pixels of one instance."""

    looked: bool  # every frame was found free of text or made so
    repainted: bool
    faceless: bool


@dataclass(frozen=True)
class Marks:
    """What the markers of one instance say: whose it is, by which key and profile, and what ran on it."""

    profile: Profile
    patient_key: str
    key_id: str
    codes: tuple[Code, ...]
    pixels: Claimed


def mark(data: DataSet, marks: Marks) -> None:
    """Set the markers in a clean top-level data set, and the pseudonym also where the source had no patient."""
    method = f"medgan {VERSION} PS3.15 {EDITION} key {marks.key_id} {marks.profile.name}"[:LONGEST_METHOD].rstrip()
    earlier = [part.strip() for part in text(data, METHOD).split("\\") if part.strip()]
    _set(data, METHOD, "LO", "\\".join([*earlier, method][-MOST_METHODS:]))
    for tag, vr in PSEUDONYMS:
        _set(data, tag, vr, marks.patient_key)
    _set(data, IDENTITY_REMOVED, "CS", "YES")
    _set(data, TEMPORAL_MODIFIED, "CS", marks.profile.temporal)
    _claim(data, marks.codes)
    if marks.pixels.looked:
        _set(data, BURNED_IN, "CS", "NO")
    elif text(data, BURNED_IN) != "YES" and not _stands(data, marks.pixels):
        data.pop(BURNED_IN, None)
    if marks.pixels.faceless:
        _set(data, RECOGNIZABLE, "CS", "NO")
    elif text(data, RECOGNIZABLE) == "NO":
        del data[RECOGNIZABLE]


def _stands(data: DataSet, pixels: Claimed) -> bool:
    """Whether the source's own word on burned-in text stays: in an IOD that asks for one, unless we proved it wrong."""
    return not pixels.repainted and attribute_type(BURNED_IN, text(data, SOP_CLASS)).startswith("1")


def new_meta(data: DataSet, syntax: str) -> DataSet:
    """File meta information for a clean data set, without its group length."""
    meta: DataSet = {0x00020001: Element(0x00020001, "OB", b"\x00\x01")}
    _set(meta, 0x00020002, "UI", text(data, 0x00080016))
    _set(meta, 0x00020003, "UI", text(data, 0x00080018))
    # written inflated: a deflated stream depends on the library that made it
    _set(meta, 0x00020010, "UI", EXPLICIT if syntax == DEFLATED else syntax)
    _set(meta, 0x00020012, "UI", IMPLEMENTATION_UID)
    _set(meta, 0x00020013, "SH", IMPLEMENTATION_NAME)
    return meta


def _claim(data: DataSet, codes: Iterable[Code]) -> None:
    """Add an item for each code to those that are there already."""
    found = data.get(METHOD_CODES)
    items = list(found.items or []) if found is not None else []
    there = {(text(item, 0x00080100), text(item, 0x00080102)) for item in items}
    for value, meaning in codes:
        if (value, "DCM") not in there:
            item: DataSet = {}
            _set(item, 0x00080100, "SH", value)
            _set(item, 0x00080102, "SH", "DCM")
            _set(item, 0x00080104, "LO", meaning)
            items.append(item)
    data[METHOD_CODES] = Element(METHOD_CODES, "SQ", b"", items)


def _set(data: DataSet, tag: int, vr: str, value: str) -> None:
    data[tag] = Element(tag, vr, value.encode("ascii"))
