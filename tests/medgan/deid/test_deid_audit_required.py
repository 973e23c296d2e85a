"""The audit's own reading of the tables: combined codes by Type, options, own rules, safe private attributes."""

import pytest

from medgan.deid.audit.elements import Element
from medgan.deid.audit.required import LACKING, Required, group_must_go, keyword, known, required_by, safe_vr, vr_of
from medgan.deid.profiles.own_profile import parse as own
from medgan.deid.profiles.profile import Profile, profile

CT, PET, US, SR = ("1.2.840.10008.5.1.4.1.1." + end for end in ("2", "128", "6.1", "88.11"))
ENHANCED_CT, RTSTRUCT, XA = ("1.2.840.10008.5.1.4.1.1." + end for end in ("2.1", "481.3", "12.1"))
PRESENTATION = "1.2.840.10008.5.1.4.1.1.11.1"
BASIC, RESEARCH = profile("basic"), profile("research")
DECIDED = {"by": "the board", "on": "2026-01-01", "because": "a study of scanners"}


def ruled(**more: object) -> Profile:
    options = ["clean_pixel_data", "clean_descriptors", "retain_modified_dates"]
    return own({"name": "rooms", "options": options, "decision": DECIDED, **more})


def rule(attribute: str, action: str) -> dict[str, str]:
    return {"attribute": attribute, "action": action, "because": "rooms are compared"}


@pytest.mark.parametrize(
    ("tag", "sop_class", "letter"),
    [
        pytest.param(0x00180010, CT, "Z", id="contrast agent, Type 2"),
        pytest.param(0x00080023, CT, "Z", id="content date, classic 2C"),
        pytest.param(0x00080023, ENHANCED_CT, "D", id="content date, enhanced 1"),
        pytest.param(0x0008002A, CT, "X", id="acquisition date and time, CT 3"),
        pytest.param(0x0008002A, US, "D", id="acquisition date and time, US 1C"),
        pytest.param(0x00080021, PET, "D", id="series date, PET 1"),
        pytest.param(0x00080021, CT, "X", id="series date, CT 3"),
        pytest.param(0x00080022, PET, "Z", id="acquisition date, PET 2"),
        pytest.param(0x00080022, CT, "X", id="acquisition date, CT 3"),
        pytest.param(0x00181000, ENHANCED_CT, "D", id="serial number, enhanced 1"),
        pytest.param(0x00181000, CT, "X", id="serial number, CT 3"),
        pytest.param(0x00081070, RTSTRUCT, "Z", id="operators, structure set 2"),
        pytest.param(0x00081070, CT, "X", id="operators, CT 3"),
        pytest.param(0x00081111, SR, "Z", id="performed step, SR 2"),
        pytest.param(0x00081111, CT, "X", id="performed step, CT 3"),
        pytest.param(0x00700082, PRESENTATION, "D", id="an X that is Type 1"),
        pytest.param(0x00700082, CT, "X", id="the same where it is foreign"),
        pytest.param(0x00080050, CT, "Z", id="accession number"),
        pytest.param(0x00080018, CT, "U", id="instance UID"),
        pytest.param(0x00080060, CT, "", id="no row"),
    ],
)
def test_combined_codes_follow_the_type(tag: int, sop_class: str, letter: str) -> None:
    assert Required(BASIC, sop_class).action(tag, nested=False) == letter


def test_inside_items_any_letter_of_a_combined_code_will_do() -> None:
    assert set(Required(BASIC, CT).action(0x0008002A, nested=True)) == set("XZD")


@pytest.mark.parametrize(
    ("applied", "tag", "letter"),
    [
        pytest.param(RESEARCH, 0x00080020, "C", id="modified dates"),
        pytest.param(RESEARCH, 0x00101010, "K", id="age"),
        pytest.param(RESEARCH, 0x00081030, "C", id="descriptor"),
        pytest.param(RESEARCH, 0x00100030, "Z", id="a birth date is in no date option"),
        pytest.param(RESEARCH, 0x00081140, "K", id="references are kept by a rule"),
        pytest.param(BASIC, 0x00081140, "XZU", id="references, by the letter"),
        pytest.param(ruled(), 0x00081010, "X", id="station"),
        pytest.param(ruled(rule=[rule("StationName", "keep")]), 0x00081010, "K", id="kept by a rule"),
        pytest.param(ruled(rule=[rule("KVP", "remove")]), 0x00180060, "X", id="removed by a rule"),
    ],
)
def test_options_and_own_rules_go_before_the_basic_column(applied: Profile, tag: int, letter: str) -> None:
    assert set(Required(applied, CT).action(tag, nested=False)) == set(letter)


def test_cleaning_wins_where_two_options_disagree() -> None:
    options = ["clean_pixel_data", "retain_device_identity", "retain_modified_dates"]
    both = own({"name": "devices", "options": options, "decision": DECIDED})
    assert Required(both, CT).action(0x00181200, nested=False) == "C"  # DateOfLastCalibration


@pytest.mark.parametrize(
    ("tag", "vr", "value", "fault"),
    [
        (0x00080050, b"SH", b"1 ", "must_be_empty"),
        (0x00080050, b"SH", b"", ""),
        (0x0020000D, b"UI", b"2.25.1", ""),
        (0x00100040, b"CS", b"f", "not_a_code"),
        (0x00100010, b"PN", b"x", ""),  # the pseudonym is asked for elsewhere
        (0x00081050, b"PN", b"A^B", "must_be_removed"),
        (0x0008009C, b"PN", b"A^B", "must_be_empty"),
        (0x00189074, b"DT", b"20200101", ""),
        (0x00101010, b"AS", b"089Y", ""),
        (0x00101010, b"AS", b"090Y", ""),
        (0x00101010, b"AS", b"091Y", "age_over_89"),
        (0x00181020, b"LO", b"v1\xe4", "not_ascii"),
        (0x00081030, b"LO", b"\x1b$B;3", "not_ascii"),
        (0x00180050, b"DS", b"5.0\\2.5", ""),
        (0x00180050, b"DS", b"5.0 Jane", "not_a_number"),
    ],
)
def test_values_have_the_form_that_their_action_leaves(tag: int, vr: bytes, value: bytes, fault: str) -> None:
    element = Element(tag, vr, value, 0, 0)
    assert required_by(RESEARCH, CT).fault(element, vr_of(element)) == fault


def test_groups_that_must_go() -> None:
    gone = (0x00020010, 0x00041130, 0x00180000, 0x50000005, 0x601E3000, 0x60000022)
    assert all(group_must_go(tag) for tag in gone)
    assert not any(group_must_go(tag) for tag in (0x00180050, 0x54001010, 0x7FE00010, 0x00080005))


def test_safe_private_needs_the_exact_creator_and_an_own_rule_goes_first() -> None:
    assert safe_vr(RESEARCH, 0x0019, b"GEMS_ACQU_01", 0x23) == "DS"
    for creator in (b"GEMS_ACQU_02", b"gems_acqu_01", b" GEMS_ACQU_01"):
        assert not safe_vr(RESEARCH, 0x0019, creator, 0x23)
    assert not safe_vr(BASIC, 0x0019, b"GEMS_ACQU_01", 0x23) and not safe_vr(RESEARCH, 0x0021, b"GEMS_ACQU_01", 0x23)
    options = ["clean_pixel_data", "clean_descriptors", "retain_modified_dates", "retain_safe_private"]
    gone = ruled(options=options, rule=[rule("0019,GEMS_ACQU_01,23", "remove")])
    assert safe_vr(ruled(options=options), 0x0019, b"GEMS_ACQU_01", 0x23) == "DS"
    assert not safe_vr(gone, 0x0019, b"GEMS_ACQU_01", 0x23) and not safe_vr(ruled(), 0x0019, b"GEMS_ACQU_01", 0x23)


def test_rows_that_the_dictionary_lacks_are_known_by_tag() -> None:
    assert len(LACKING) == 26 and all(known(tag) and keyword(tag) != "unknown" for tag in LACKING)
    assert vr_of(Element(0x00100041, b"UN", b"", 0, 0)) == "SQ" and keyword(0x00111001) == "private"
    assert not known(0x00187999) and keyword(0x00187999) == "unknown"
