"""Structured content: what Table E.3.4-1 removes, what becomes a dummy, and what is left to the scrubber."""

import pytest

from medgan.deid.profiles.table import read_table
from medgan.deid.scrub.structured import RETIRED, action, clean_items
from medgan.deid.scrub.tree import DataSet, Element

RESEARCH = ("retain_patient_chars", "retain_long_modif_dates", "clean_desc", "clean_struct_cont", "clean_graph")
VALUES = {"TEXT": 0x0040A160, "PNAME": 0x0040A123, "UIDREF": 0x0040A124, "DATE": 0x0040A121, "DATETIME": 0x0040A120}


def leaf(tag: int, vr: str, value: str) -> Element:
    return Element(tag, vr, value.encode())


def content(kind: str, code: str, scheme: str = "DCM", meaning: str = "", value: str = "Kowalczyk") -> DataSet:
    """One content item with its concept name and its value."""
    name = {
        0x00080100: leaf(0x00080100, "SH", code),
        0x00080102: leaf(0x00080102, "SH", scheme),
        0x00080104: leaf(0x00080104, "LO", meaning),
    }
    item = {0x0040A040: leaf(0x0040A040, "CS", kind), 0x0040A043: Element(0x0040A043, "SQ", b"", [name])}
    if kind in VALUES:
        item[VALUES[kind]] = leaf(VALUES[kind], "UT", value)
    return item


def value(item: DataSet) -> bytes:
    return next(item[tag].value for tag in VALUES.values() if tag in item)


@pytest.mark.parametrize(
    ("kind", "code", "scheme", "meaning", "expected"),
    [
        pytest.param("TEXT", "121022", "DCM", "", "X", id="an accession number"),
        pytest.param("TEXT", "121016", "DCM", "", "X", id="a device's serial number"),
        pytest.param("TEXT", "121017", "DCM", "", "X", id="where a device stands"),
        pytest.param("TEXT", "121071", "DCM", "", "C", id="a finding in words"),
        pytest.param("CODE", "121071", "DCM", "", "", id="a finding as a code"),
        pytest.param("TEXT", "121030", "DCM", "", "D", id="the subject's id, which a template may need"),
        pytest.param("PNAME", "121029", "DCM", "", "D", id="the subject's name, which a template needs"),
        pytest.param("TEXT", "121029", "DCM", "", "X", id="the subject's name as a mere text"),
        pytest.param("PNAME", "99001", "99LOCAL", "Surgeon", "X", id="a name under a local concept"),
        pytest.param("DATE", "121031", "DCM", "", "X", id="the birth date"),
        pytest.param("DATETIME", "121031", "DCM", "", "X", id="the birth date with a time"),
        pytest.param("DATE", "21112-8", "LN", "Birth date", "X", id="the birth date under a code that no row has"),
        pytest.param("TEXT", "77", "99LOCAL", "Patient's Name", "X", id="the name under a local code"),
        pytest.param("TEXT", "78", "99LOCAL", "Accession Number", "X", id="an accession number under a local code"),
        pytest.param("DATETIME", "113809", "DCM", "", "C", id="the start of irradiation, shifted"),
        pytest.param("NUM", "121033", "DCM", "", "K", id="the age, a patient characteristic"),
        pytest.param("UIDREF", "112040", "DCM", "", "D", id="a tracking UID, mapped"),
        pytest.param("IMAGE", "121112", "DCM", "", "D", id="the image that was measured, mapped"),
        pytest.param("COMPOSITE", "121120", "DCM", "", "X", id="a procedure log, referred to"),
        pytest.param("COMPOSITE", "R-42B89", "SRT", "", "X", id="a clinical report under its retired code"),
        pytest.param("TEXT", "G-C0E3", "SNM3", "", "C", id="a site under its retired code and scheme"),
        pytest.param("TEXT", "1", "99LOCAL", "Remark", "", id="a text of an unknown concept is only cleaned"),
        pytest.param("CONTAINER", "121000", "DCM", "", "X", id="a container of device identifiers"),
    ],
)
def test_research_profile_does_what_the_table_asks(
    kind: str, code: str, scheme: str, meaning: str, expected: str
) -> None:
    assert action(content(kind, code, scheme, meaning), RESEARCH) == expected


def test_every_row_of_the_table_is_resolved_under_every_option() -> None:
    for row in read_table("ps3.15_table_e3_sr_content.csv"):
        item = content(row["value_type"], row["code_value"], row["coding_scheme"])
        assert action(item, ()) == {"X": "X", "D": "D", "X/D": "D"}[row["basic"]]
        for column, cell in row.items():
            if column.startswith(("retain_", "clean_")) and cell:
                assert action(item, (column,)) == cell


def test_every_snomed_concept_of_the_table_has_its_retired_code() -> None:
    rows = read_table("ps3.15_table_e3_sr_content.csv")
    assert {row["code_value"] for row in rows if row["coding_scheme"] == "SCT"} == set(RETIRED.values())


def test_removed_items_go_with_their_children_and_the_others_stay_as_they_are() -> None:
    inner = content("TEXT", "121071")
    removed = content("TEXT", "121022") | {0x0040A730: Element(0x0040A730, "SQ", b"", [inner])}
    finding, nameless = content("TEXT", "121071"), {0x0040A040: leaf(0x0040A040, "CS", "IMAGE")}
    assert clean_items([removed, finding, nameless], RESEARCH) == [finding, nameless]


def test_a_text_that_a_template_may_need_becomes_a_dummy_and_its_source_is_left_alone() -> None:
    item = content("TEXT", "121030", value="8841273")
    (clean,) = clean_items([item], RESEARCH)
    assert value(clean) == b"REMOVED"
    assert value(item) == b"8841273"


def test_a_finding_without_clean_descriptors_becomes_a_dummy() -> None:
    (clean,) = clean_items([content("TEXT", "121071")], ("clean_struct_cont",))
    assert value(clean) == b"REMOVED"


def test_an_annotation_without_value_type_is_known_by_its_value() -> None:
    item = content("TEXT", "121022")
    del item[0x0040A040]
    assert clean_items([item], RESEARCH) == []
    named = {0x0040A123: leaf(0x0040A123, "PN", "Kowalczyk^Ewa")}
    assert clean_items([named], RESEARCH) == []
