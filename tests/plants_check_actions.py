"""What Table E.1-1 asks of an attribute, resolved here anew: the table's cells, and Types from highdicom's maps."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

import highdicom
from plants_rows import rows
from pydicom.datadict import keyword_for_tag

RESEARCH = (
    *("clean_desc", "clean_struct_cont", "clean_graph", "retain_long_modif_dates"),
    *("retain_patient_chars", "retain_safe_private"),
)
BASIC: tuple[str, ...] = ()
STANDARD = Path(highdicom.__file__).parent / "_standard"
COMMITTEE = 0x00120081  # ClinicalTrialProtocolEthicsCommitteeName
STRICT = ("1", "1C", "2", "2C", "3")
LETTERS = {  # combined code -> what it becomes for an attribute of Type 1, 2 and 3
    "X/D": ("D", "D", "X"),  # of Type 2 as well: without the attribute the IOD is not conformed to
    "X/Z": ("Z", "Z", "X"),
    "X/Z/D": ("D", "Z", "X"),
    "X/Z/U*": ("U", "Z", "X"),
    "Z/D": ("D", "Z", "Z"),
}


def cell(tag: int, columns: tuple[str, ...]) -> str:
    """The code for a tag under the options of these columns; "" without a row. Cleaning wins over keeping."""
    row = rows().get(tag)
    if row is None:
        return ""
    said = {row[column] for column in columns} - {""}
    return "C" if "C" in said else "K" if "K" in said else row["basic"]


def allowed(code: str, sop_class: str, path: tuple[int, ...]) -> set[str]:
    """The letters that honour a code on this path of an IOD; foreign attributes may also simply go."""
    kind = types(sop_class).get(path)
    if code == "X" and kind == "1":
        return {"X", "D"}  # E.1.1: removed or replaced; an object stays valid only when its Type 1 is replaced
    if path[-1] == COMMITTEE:
        return {code, "X"}  # 1C: goes with the approval number
    if code not in LETTERS:
        return {code}
    if kind is None:
        return {*code.replace("*", "").split("/"), "X"}
    letter = LETTERS[code][0 if kind in ("1", "1C") else 1 if kind in ("2", "2C") else 2]
    return {letter, "U"} if code == "X/Z/U*" else {letter, "D"} if letter == "Z" else {letter}


@cache
def _map(name: str) -> dict:  # type: ignore[type-arg]
    with (STANDARD / f"{name}.json").open() as file:
        return dict(json.load(file))


@cache
def types(sop_class: str) -> dict[tuple[int, ...], str]:
    """Path of tags -> Type in the IOD of a SOP class; of several modules the strictest mandatory one."""
    iod = _map("sop_class_iod_map").get(sop_class)
    found: dict[tuple[int, ...], tuple[bool, int]] = {}
    for module in _map("iod_module_map").get(iod, ()):
        mandatory = module["usage"].startswith("M")
        for attribute in _map("module_attribute_map").get(module["key"], ()):
            keywords = (*attribute["path"], attribute["keyword"])
            if attribute["type"] in STRICT and all(keyword in _tags() for keyword in keywords):
                path = tuple(_tags()[keyword] for keyword in keywords)
                rank = (not mandatory, STRICT.index(attribute["type"]))
                found[path] = min(found.get(path, rank), rank)
    return {path: STRICT[rank] for path, (_, rank) in found.items()}


@cache
def _tags() -> dict[str, int]:
    from pydicom.datadict import DicomDictionary

    known = {entry[4]: tag for tag, entry in DicomDictionary.items() if entry[4]}
    return {**{row["keyword"]: tag for tag, row in rows().items() if row["keyword"]}, **known}


def named(tag: int) -> str:
    return keyword_for_tag(tag) or rows().get(tag, {}).get("keyword", "") or f"{tag:08X}"
