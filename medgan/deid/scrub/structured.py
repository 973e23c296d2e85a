"""Structured content: which content items PS3.15 Table E.3.4-1 (edition 2026d) removes, and which become a dummy.

What is left is for the scrubber, value by value: texts are cleaned, dates shifted, UIDs and references mapped. A
concept is known by its code, by its retired SNOMED-RT code, or, under a code that the table lacks, by its meaning.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache

from medgan.deid.profiles.table import read_table
from medgan.deid.scrub.tree import DataSet, text
from medgan.deid.words.known import squeeze

TABLE = "ps3.15_table_e3_sr_content.csv"
# sequences whose items have a concept name and one value: SR trees, acquisition, preparation and protocol contexts,
# their modifiers, waveform annotations, processing parameters
SEQUENCES = frozenset((0x0040A730, 0x00400555, 0x00400612, 0x00400440, 0x00400441, 0x0040B020, 0x00741210, 0x00741212))
VALUE_TYPE, CONCEPT_NAME = 0x0040A040, 0x0040A043
CODE_VALUES, SCHEME, MEANING = (0x00080100, 0x00080119, 0x00080120), 0x00080102, 0x00080104
TEXTS = (0x0040A160, 0x00700006)
DUMMY = b"REMOVED"
# attributes that hold the value of an item without a value type
KINDS = {
    0x0040A123: "PNAME",
    0x0040A124: "UIDREF",
    **{0x0040A120: "DATETIME", 0x0040A121: "DATE", 0x0040A122: "TIME"},
    **dict.fromkeys(TEXTS, "TEXT"),
    **{0x0040A30A: "NUM", 0x0040A168: "CODE"},
}
PLAIN = frozenset(KINDS.values())
# SNOMED-RT codes of the table's SNOMED-CT concepts, and the designators that they went under
SNOMED_RT = frozenset(("SRT", "SNM3", "99SDM"))
RETIRED = {
    **{"PA-30029": "440252007", "DF-0070B": "398164008", "DF-0068E": "398325003", "R-42B89": "371524004"},
    **{"DD-60002": "116224001", "F-00033": "271921002", "G-C0E3": "363698007", "F-02455": "160476009"},
    **{"G-D321": "398201009", "G-D320": "397898000"},
}
# what devices call the subject's attributes under codes of their own -> the table's concept
SUBJECT = {
    **dict.fromkeys(("patientname", "patientsname", "nameofpatient"), "121029"),
    **dict.fromkeys(("patientid", "patientidentifier", "medicalrecordnumber", "mrn", "subjectidentifier"), "121030"),
    **dict.fromkeys(("dateofbirth", "birthdate", "patientbirthdate", "patientsbirthdate", "birthdatetime"), "121031"),
}


@dataclass(frozen=True)
class Row:
    """One row of the table: value type, action of the Basic Profile, and actions of the options by column."""

    kind: str
    basic: str
    options: dict[str, str]

    def action(self, columns: Sequence[str]) -> str:
        """X, D, K or C. A combined code becomes D: whether the template needs the item cannot be told."""
        cells = {self.options[column] for column in columns if self.options.get(column)}
        if cells:
            return "C" if "C" in cells else "K"
        return "D" if "D" in self.basic else self.basic


def clean_items(items: list[DataSet], columns: Sequence[str]) -> list[DataSet]:
    """The content items of one level that may stay, texts that must become a dummy being one.

    `columns` are the table's option columns that are applied. Neither items nor elements given are changed.
    """
    kept = []
    for item in items:
        fate = action(item, columns)
        if fate != "X":
            kept.append(_with_dummy(item) if fate == "D" and _kind(item) == "TEXT" else item)
    return kept


def action(item: DataSet, columns: Sequence[str]) -> str:
    """What the table asks for one content item, children included: X, D, K, C, or "" when it has no say.

    A person's name that the table does not know is removed, and so is an item of a concept that only identifies,
    when it comes with another value type than the table lists.
    """
    kind, rows = _kind(item), _rows_of(item)
    own = next((row for row in rows if row.kind == kind), None)
    if own is not None:
        return own.action(columns)
    if kind == "PNAME":
        return "X"
    strict = rows and kind in PLAIN and all(row.action(columns) in ("X", "D") for row in rows)
    return "X" if strict else ""


def _kind(item: DataSet) -> str:
    return text(item, VALUE_TYPE) or next((kind for tag, kind in KINDS.items() if tag in item), "")


def _rows_of(item: DataSet) -> tuple[Row, ...]:
    concept = item.get(CONCEPT_NAME)
    if concept is None or not concept.items:
        return ()
    name = concept.items[0]
    code = next((found for tag in CODE_VALUES if (found := text(name, tag))), "")
    scheme = text(name, SCHEME)
    if scheme in SNOMED_RT and code in RETIRED:
        code, scheme = RETIRED[code], "SCT"
    meaning = squeeze(text(name, MEANING))
    by_code = _by_code().get((code, scheme)) or _by_code().get((SUBJECT.get(meaning, ""), "DCM"))
    return by_code or _by_meaning().get(meaning, ())


def _with_dummy(item: DataSet) -> DataSet:
    return {tag: replace(element, value=DUMMY) if tag in TEXTS else element for tag, element in item.items()}


@cache
def _by_code() -> dict[tuple[str, str], tuple[Row, ...]]:
    found: dict[tuple[str, str], tuple[Row, ...]] = {}
    for line in read_table(TABLE):
        key = (line["code_value"], line["coding_scheme"])
        options = {column: line[column] for column in line if column.startswith(("retain_", "clean_"))}
        found[key] = (*found.get(key, ()), Row(line["value_type"], line["basic"], options))
    return found


@cache
def _by_meaning() -> dict[str, tuple[Row, ...]]:
    keys = {squeeze(line["code_meaning"]): (line["code_value"], line["coding_scheme"]) for line in read_table(TABLE)}
    return {meaning: _by_code()[key] for meaning, key in keys.items()}
