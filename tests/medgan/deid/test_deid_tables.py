"""The tables themselves: equal to their sources where a source or its digest is at hand."""

import csv
import hashlib
import json
from collections import Counter
from importlib import resources
from pathlib import Path

import highdicom
import pytest
from pydicom._dicom_dict import DicomDictionary
from pydicom.datadict import tag_for_keyword

from medgan.deid.profiles.private import TABLE, known_vr, safe_private
from medgan.deid.profiles.profile import profile
from medgan.deid.profiles.table import NEWER_VRS, combined, keyword, read_table, rows, tag_of, typed

# what pymedphys recorded of Table E.3.10-1, 2026d: SHA-256 of its rows as canonical JSON
SAFE_PRIVATE_SHA256 = "7acb26dbab0e3124c02d075cbf8c5510354a20ded9f89ee4765976a905d92f63"
LOWER = {"NQLeft", "NQRight"}  # creators whose tags the standard writes in lower case, beside Philips Imaging
BURNED_IN = 0x00280301
STRICTEST = ("1", "1C", "2", "2C", "3", "None")


def test_the_safe_private_table_is_that_of_the_standard() -> None:
    def tag(row: dict[str, str]) -> str:
        low = row["low_byte"]
        lower = row["creator"] in LOWER or row["creator"].startswith("Philips Imaging")
        return f"({row['group']},xx{low.lower() if lower else low})"

    found = [
        {
            "tag": tag(row),
            "private_creator": row["creator"],
            "vr": row["vr"],
            "vm": row["vm"],
            "meaning": row["meaning"],
        }
        for row in read_table(TABLE)
    ]
    text = json.dumps(found, sort_keys=True, separators=(",", ":"))
    assert len(found) == 479
    assert hashlib.sha256(text.encode()).hexdigest() == SAFE_PRIVATE_SHA256


def test_table_e1_has_the_codes_and_cells_of_edition_2026d() -> None:
    with resources.files("medgan.deid").joinpath("ps3.15_table_e1-1_2026d.csv").open() as file:
        table = list(csv.DictReader(file))
    codes = Counter(row["basic"] for row in table)
    assert len(table) == 657
    assert (codes["X"], codes["D"], codes["U"], codes["Z"]) == (417, 93, 55, 42)
    cells = {column: sum(bool(row[column]) for row in table) for column in list(table[0])[6:]}
    assert list(cells.values()) == [1, 60, 59, 10, 19, 169, 169, 141, 4, 4]


def test_the_rows_that_pydicom_lacks_are_known_by_tag_and_keyword() -> None:
    lacking = {tag for tag in rows() if tag not in DicomDictionary}
    assert lacking == set(NEWER_VRS) and len(lacking) == 26
    assert all(tag_of(keyword(tag)) == tag for tag in lacking)


@pytest.fixture(scope="module")
def maps() -> tuple[dict, dict, dict]:
    folder = Path(highdicom.__file__).parent / "_standard"
    names = ("sop_class_iod_map", "iod_module_map", "module_attribute_map")
    sop_classes, iods, modules = (json.loads((folder / f"{name}.json").read_text()) for name in names)
    return sop_classes, iods, modules


def strictest(kinds: set[str]) -> str:
    return min(kinds, key=STRICTEST.index)


def test_top_level_types_are_those_of_the_mandatory_modules_first(maps) -> None:
    sop_classes, iods, modules = maps
    wanted = {}
    for sop_class, iod in sop_classes.items():
        found: dict[tuple[int, bool], set[str]] = {}
        for module in iods[iod]:
            for attribute in modules.get(module["key"], ()):
                tag = tag_for_keyword(attribute["keyword"])
                if tag in typed() and not attribute["path"]:
                    found.setdefault((tag, module["usage"] == "M"), set()).add(attribute["type"])
        for (tag, mandatory), kinds in found.items():
            if mandatory or (tag, True) not in found:
                wanted[sop_class, f"{tag:08X}"] = strictest(kinds)
    needed = {tag: {"1"} for tag in typed() - combined()} | {BURNED_IN: {"1", "1C"}}  # of others only what has to stay
    wanted = {key: kind for key, kind in wanted.items() if kind in needed.get(int(key[1], 16), STRICTEST)}
    assert {f"{tag:08X}" for tag in needed} == {"00700082", "00700083", "00280301", "00081115"}
    assert {(row["sop_class"], row["tag"]): row["type"] for row in read_table("iod_types.csv")} == wanted


def test_nested_types_and_needed_texts_are_the_strictest_of_all_modules(maps) -> None:
    _, iods, modules = maps
    nested: dict[tuple[str, str], set[str]] = {}
    texts: dict[str, set[str]] = {}
    for key in {module["key"] for iod in iods.values() for module in iod}:
        for attribute in modules.get(key, ()):
            tag = tag_for_keyword(attribute["keyword"])
            if tag is None:
                continue
            if tag in combined() and attribute["path"]:
                around = tag_for_keyword(attribute["path"][-1])
                nested.setdefault((f"{around:08X}", f"{tag:08X}"), set()).add(attribute["type"])
            if DicomDictionary[tag][0] in ("LO", "SH", "ST", "LT", "UT", "UC") and tag not in rows():
                texts.setdefault(f"{tag:08X}", set()).add(attribute["type"])
    asked = {key: strictest(kinds) for key, kinds in nested.items() if strictest(kinds)[0] in "12"}
    assert {(row["sequence"], row["tag"]): row["type"] for row in read_table("nested_types.csv")} == asked
    needed = {key: strictest(kinds) for key, kinds in texts.items() if strictest(kinds)[0] in "12"}
    assert {row["tag"]: row["type"] for row in read_table("needed_text.csv")} == needed


@pytest.mark.parametrize(
    ("group", "creator", "low_byte", "vr"),
    [
        pytest.param(0x0019, "SIEMENS MR HEADER", 0x0C, "IS", id="b-value"),
        pytest.param(0x7053, "Philips PET Private Group", 0x00, "DS", id="SUV factor"),
        pytest.param(0x2001, "Philips Imaging DD 001", 0x5F, "SQ", id="a sequence"),
        pytest.param(0x0099, "NQHeader", 0x02, "UI", id="a UID, to be mapped"),
        pytest.param(0x0099, "NQHeader", 0x05, "LT", id="a text, to be cleaned"),
        pytest.param(0x0019, "siemens mr header", 0x0C, "", id="another case is another creator"),
        pytest.param(0x0019, "SIEMENS MR HEADER ", 0x0C, "", id="so is a blank"),
        pytest.param(0x0021, "SIEMENS MR HEADER", 0x0C, "", id="another group"),
        pytest.param(0x0019, "SIEMENS MR HEADER", 0x0B, "", id="another element"),
        pytest.param(0x7FD1, "SIEMENS Ultrasound SC2000", 0x10, "", id="bulk"),
        pytest.param(0x2001, "Philips Imaging DD 001", 0x7D, "", id="bulk of two VRs"),
        pytest.param(0x0129, "SIEMENS Ultrasound SC2000", 0x03, "", id="without a VR"),
        pytest.param(0x0149, "SIEMENS Ultrasound SC2000", 0x02, "", id="clock times that cannot be shifted"),
    ],
)
def test_what_safe_private_keeps(group: int, creator: str, low_byte: int, vr: str) -> None:
    assert profile("research").private_vr(group, creator, low_byte) == vr
    assert profile("basic").private_vr(group, creator, low_byte) == ""


def test_only_vrs_that_can_be_judged_are_safe() -> None:
    assert not {"OB", "OW", "OW/OB", "UN", ""} & set(safe_private().values())
    assert len(safe_private()) == 479 - 27


def test_a_private_vr_is_known_from_the_dictionary_where_the_table_has_none() -> None:
    assert known_vr(0x0019, "GEMS_ACQU_01", 0x02) == "SL"
    assert known_vr(0x0019, "nobody", 0x02) == ""
