"""Own profiles: what they may say, what they must say, and what follows from it."""

from datetime import date
from io import BytesIO
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom import dcmread
from pydicom.data import get_testdata_file

from medgan.deid.draft import finish, open_draft
from medgan.deid.profiles.ops import Op
from medgan.deid.profiles.options import OPTIONS, RESEARCH
from medgan.deid.profiles.own_profile import beyond_research, load, parse
from medgan.deid.profiles.profile import profile
from medgan.deid.profiles.table import dictionary_vr, rows, tag_of
from medgan.errors import UsageError
from medgan.recipes import DeidentifyRecipe, ProfileRecipe
from medgan.recipes import load as load_recipe

CT = "1.2.840.10008.5.1.4.1.1.2"
DECISION = {"by": "data protection officer", "on": "2026-11-27", "because": "scanner drift is studied"}
TOML = """
name = "drift"
options = ["clean_pixel_data", "clean_descriptors", "retain_modified_dates", "retain_device_identity"]
age_band_years = 5

[[rule]]
attribute = "StationName"
action = "remove"
because = "it names the room"

[decision]
by = "data protection officer"
on = 2026-11-27
because = "scanner drift is studied"
"""


def own(*options: str, rules: Any = (), **more: Any) -> dict[str, Any]:
    return {"name": "mine", "options": ["clean_pixel_data", *options], "rule": list(rules), **more}


def rule(attribute: str, action: str = "keep") -> dict[str, str]:
    return {"attribute": attribute, "action": action, "because": "the study needs it"}


def op(made: Any, keyword: str, sop_class: str = CT) -> Op:
    tag = tag_of(keyword)
    assert tag is not None
    return made.op(tag, dictionary_vr(tag), sop_class)


def test_a_profile_file_becomes_a_profile(tmp_path) -> None:
    file = tmp_path / "drift.toml"
    file.write_text(TOML)
    made = parse(load(file))
    assert (made.name, made.age_band_years, made.temporal) == ("drift", 5, "MODIFIED")
    assert made.decided is not None and made.decided.on == date(2026, 11, 27)
    assert op(made, "DeviceSerialNumber") is Op.RETAIN
    assert op(made, "StationName") is Op.REMOVE
    assert [value for value, _ in made.codes] == ["113100", "113105", "113107", "113109"]


def test_a_recipe_carries_a_profile_whole(tmp_path) -> None:
    recipe_file = tmp_path / "recipe.toml"
    head, tail = TOML.split("[[rule]]")
    nested = tail.replace("[decision]", "[deidentify.own.decision]")
    recipe_file.write_text(f'[deidentify]\nprofile = "own"\n[deidentify.own]\n{head}[[deidentify.own.rule]]{nested}')
    recipe = load_recipe(DeidentifyRecipe, str(recipe_file))
    profile_file = tmp_path / "profile.toml"
    profile_file.write_text(TOML)
    assert recipe.own is not None
    assert parse(recipe.own.mapping()) == parse(load(profile_file))
    assert ProfileRecipe.model_validate(load(profile_file)) == recipe.own
    assert parse(DeidentifyRecipe.model_validate_json(recipe.model_dump_json()).own.mapping()).digest  # type: ignore[union-attr]


@pytest.mark.parametrize("content", [{"profile": "own"}, {"own": {"name": "mine", "options": []}}])
def test_a_recipe_names_own_exactly_when_it_describes_one(content: dict) -> None:
    with pytest.raises(ValueError, match="own"):
        DeidentifyRecipe.model_validate(content)


@pytest.mark.parametrize(
    ("options", "keyword", "expected"),
    [
        pytest.param(("retain_device_identity",), "DeviceSerialNumber", Op.RETAIN, id="a device is named"),
        pytest.param(("retain_device_identity",), "StationAETitle", Op.TEXT, id="its title is cleaned"),
        pytest.param(("retain_device_identity",), "DeviceUID", Op.KEEP, id="its UID stays"),
        pytest.param(("retain_device_identity",), "DateOfLastCalibration", Op.DATE, id="so does its calibration"),
        pytest.param(("retain_institution_identity",), "InstitutionName", Op.RETAIN, id="an institution is named"),
        pytest.param(("retain_institution_identity",), "ReferringPhysicianName", Op.EMPTY, id="a physician is not"),
        pytest.param(("retain_uids",), "StudyInstanceUID", Op.KEEP, id="UIDs stay"),
        pytest.param(("retain_uids",), "ReferencedImageSequence", Op.SEQUENCE, id="and what refers by them"),
        pytest.param(("retain_uids",), "UDISequence", Op.REMOVE, id="but nothing else"),
        pytest.param(("retain_uids",), "VolumeFrameOfReferenceUID", Op.KEEP, id="UIDs without a row too"),
        pytest.param(("retain_full_dates",), "StudyDate", Op.DATE, id="full dates are still judged"),
        pytest.param(("retain_full_dates",), "PatientBirthDate", Op.EMPTY, id="a birth date is no such date"),
        pytest.param(("retain_patient_characteristics",), "PatientSex", Op.CODE, id="characteristics"),
        pytest.param(("clean_descriptors",), "StudyDescription", Op.TEXT, id="descriptors"),
        pytest.param(("clean_structured_content",), "ContentSequence", Op.SEQUENCE, id="content trees"),
        pytest.param(("clean_graphics",), "GraphicAnnotationSequence", Op.SEQUENCE, id="graphics"),
        pytest.param((), "GraphicAnnotationSequence", Op.DUMMY, id="graphics by the letter"),
        pytest.param((), "StudyDate", Op.EMPTY, id="no option: the basic profile"),
    ],
)
def test_each_option_has_its_effect(options: tuple[str, ...], keyword: str, expected: Op) -> None:
    assert op(parse(own(*options, decision=DECISION)), keyword) is expected


@pytest.mark.parametrize("name", OPTIONS)
def test_every_cell_of_an_option_column_is_obeyed(name: str) -> None:
    made = parse(own(*({name} - {"clean_pixel_data"}), decision=DECISION))
    column = OPTIONS[name].column
    cells = {tag: row[column] for tag, row in rows().items() if column and row[column]}
    assert {tag: made.action(tag, CT) for tag in cells} == cells


def test_cleaning_wins_over_keeping_where_two_options_disagree() -> None:
    made = parse(own("retain_device_identity", "retain_modified_dates", decision=DECISION))
    tag = tag_of("DateOfLastCalibration")
    assert tag is not None and made.action(tag, CT) == "C"


@pytest.mark.parametrize(
    ("options", "temporal"),
    [((), "REMOVED"), (("retain_modified_dates",), "MODIFIED"), (("retain_full_dates",), "UNMODIFIED")],
)
def test_what_becomes_of_dates_is_told(options: tuple[str, ...], temporal: str) -> None:
    assert parse(own(*options, decision=DECISION)).temporal == temporal


def test_what_a_profile_keeps_is_no_secret_under_it_and_the_rest_still_is() -> None:
    made = parse(own("retain_institution_identity", decision=DECISION))
    place, station = tag_of("InstitutionName"), tag_of("StationName")
    assert place and station
    assert profile("research").identifies(place) and not made.identifies(place)
    assert made.identifies(station)


def test_rules_go_before_the_table() -> None:
    rules = [
        rule("AccessionNumber", "dummy"),
        rule("00081030", "empty"),
        rule("InstitutionName", "clean"),
        rule("EventElapsedTimes", "remove"),
        rule("0062000B", "keep"),
    ]
    made = parse(own(rules=rules, decision=DECISION))
    keywords = ("AccessionNumber", "StudyDescription", "InstitutionName", "EventElapsedTimes")
    assert [op(made, keyword) for keyword in keywords] == [Op.DUMMY, Op.EMPTY, Op.TEXT, Op.REMOVE]


def test_rules_speak_of_private_attributes_too() -> None:
    rules = [
        rule("0019,GEMS_ACQU_01,23", "remove"),
        rule("0019,GEMS_ACQU_01,02", "keep"),
        rule("7E01,HOLOGIC, Inc.,99,DS", "keep"),
    ]
    made = parse(own("retain_safe_private", rules=rules, decision=DECISION))
    assert made.private_vr(0x0019, "GEMS_ACQU_01", 0x23) == ""
    assert made.private_vr(0x0019, "GEMS_ACQU_01", 0x24) == "DS"
    assert made.private_vr(0x0019, "GEMS_ACQU_01", 0x02) == "SL"
    assert made.private_vr(0x7E01, "HOLOGIC, Inc.", 0x99) == "DS"


@pytest.mark.parametrize(
    ("content", "more"),
    [
        pytest.param(own("retain_uids"), ["retain_uids"], id="UIDs"),
        pytest.param(own("retain_device_identity"), ["retain_device_identity"], id="devices"),
        pytest.param(own("retain_institution_identity"), ["retain_institution_identity"], id="institutions"),
        pytest.param(own("retain_full_dates"), ["retain_full_dates"], id="full dates"),
        pytest.param({"name": "mine", "options": []}, ["pixels without clean_pixel_data"], id="pixels as they are"),
        pytest.param(own(rules=[rule("AccessionNumber")]), ["AccessionNumber"], id="a removed attribute kept"),
        pytest.param(own(rules=[rule("InstitutionName", "clean")]), ["InstitutionName"], id="or only cleaned"),
        pytest.param(own(rules=[rule("StudyInstanceUID")]), ["StudyInstanceUID"], id="a UID kept"),
        pytest.param(own(rules=[rule("StudyDescription")]), ["StudyDescription"], id="a text kept as it is"),
        pytest.param(
            own("retain_modified_dates", rules=[rule("PatientBirthDate")]), ["PatientBirthDate"], id="a birth date"
        ),
        pytest.param(
            own("retain_safe_private", rules=[rule("0019,GEMS_ACQU_01,02")]), ["GEMS_ACQU_01"], id="an unsafe private"
        ),
    ],
)
def test_what_retains_more_than_research_needs_a_decision(content: dict, more: list[str]) -> None:
    with pytest.raises(UsageError, match="nobody decided it") as caught:
        parse(content)
    assert all(name in str(caught.value) for name in more)
    made = parse({**content, "decision": DECISION})
    assert beyond_research(made) == more and made.decided is not None


@pytest.mark.parametrize(
    "content",
    [
        pytest.param({"name": "mine", "options": list(RESEARCH)}, id="research by another name"),
        pytest.param(own(), id="the basic profile by another name"),
        pytest.param(own("clean_recognizable_visual_features", age_band_years=10), id="stricter"),
        pytest.param(own(rules=[rule("PixelSpacing", "remove")]), id="one attribute less"),
        pytest.param(own("retain_safe_private", rules=[rule("0019,GEMS_ACQU_01,23")]), id="a safe private one"),
        pytest.param(own("keep_annotations"), id="side markers"),
    ],
)
def test_what_retains_no_more_than_research_needs_no_decision(content: dict) -> None:
    assert parse(content).decided is None


@pytest.mark.parametrize(
    ("content", "message"),
    [
        pytest.param({"name": "mine", "options": ["retain_all"]}, "unknown option 'retain_all'", id="unknown option"),
        pytest.param({"name": "mine", "options": "basic"}, "list of names", id="options no list"),
        pytest.param({"name": "mine"}, "list of names", id="no options"),
        pytest.param({**own(), "colour": 1}, "unknown key 'colour'", id="unknown key"),
        pytest.param({"name": "Mine!", "options": []}, "name must be", id="name"),
        pytest.param({**own(), "name": "research"}, "is taken", id="name of another"),
        pytest.param(own("retain_full_dates", "retain_modified_dates"), "exclude each other", id="both kinds of date"),
        pytest.param(own(age_band_years=0), "age_band_years", id="no band"),
        pytest.param(own(age_band_years=True), "age_band_years", id="band no number"),
        pytest.param({"name": "m", "options": ["keep_annotations"]}, "add clean_pixel_data", id="annotations of what"),
        pytest.param(own(rules=["x"]), r"\[\[rule\]\]", id="rule no table"),
        pytest.param(own(rules=[rule("PatientName")]), "always becomes the pseudonym", id="the name"),
        pytest.param(own(rules=[rule("PatientID")]), "always becomes the pseudonym", id="the id"),
        pytest.param(own(rules=[rule("OperatorsName")]), "never kept", id="another person's name"),
        pytest.param(own(rules=[rule("PixelData", "remove")]), "same under every profile", id="pixels"),
        pytest.param(own(rules=[rule("60003000")]), "same under every profile", id="overlays"),
        pytest.param(own(rules=[rule("MakerNote")]), "cannot be judged", id="bulk"),
        pytest.param(own(rules=[rule("NoSuchThing")]), "unknown attribute", id="unknown keyword"),
        pytest.param(own(rules=[rule("PatientAge", "shred")]), "unknown action", id="unknown action"),
        pytest.param(own(rules=[rule("PatientAge", "uid")]), "holds no UID", id="no UID"),
        pytest.param(own(rules=[rule("StudyDate")]), "needs the option", id="a date without a date option"),
        pytest.param(own(rules=[rule("PatientAge"), rule("00101010")]), "rule 2: another rule", id="conflict"),
        pytest.param(own(rules=[{"attribute": "PatientAge", "action": "keep"}]), "because is missing", id="no reason"),
        pytest.param(own(rules=[{**rule("PatientAge"), "why": ""}]), "unknown key 'why'", id="key of a rule"),
        pytest.param(own(rules=[rule("0018,X,01")]), "private groups are odd", id="even group"),
        pytest.param(own(rules=[rule("0019,X,01")]), "needs the option retain_safe_private", id="private option"),
        pytest.param(own("retain_safe_private", rules=[rule("0019,X,01")]), "no VR is known", id="private VR"),
        pytest.param(own("retain_safe_private", rules=[rule("0019,X,01,OB")]), "no VR is known", id="private bulk"),
        pytest.param(own("retain_safe_private", rules=[rule("0019,X,01", "dummy")]), "one of these", id="private act"),
        pytest.param(own(decision={"by": "me", "on": "soon", "because": "x"}), "on must be a day", id="no day"),
        pytest.param(own(decision={"by": "", "on": "2026-11-27", "because": "x"}), "by is missing", id="nobody"),
        pytest.param(own(decision="yes"), r"\[decision\] table", id="decision no table"),
    ],
)
def test_a_wrong_profile_is_refused_by_what_is_wrong(content: dict, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        parse(content)


def test_a_file_that_is_missing_or_no_toml_is_told_without_its_path(tmp_path) -> None:
    broken = tmp_path / "secret-name.toml"
    with pytest.raises(UsageError, match="research, basic or a TOML file") as caught:
        load(broken)
    broken.write_text("name = ")
    with pytest.raises(UsageError, match="not valid TOML") as again:
        load(broken)
    assert "secret" not in str(caught.value) + str(again.value)


def test_every_risky_option_says_what_it_risks() -> None:
    made = parse(own("retain_uids", "retain_full_dates", decision=DECISION))
    assert len(made.cautions) == 2 and any("UIDs" in caution for caution in made.cautions)


@pytest.fixture(scope="module")
def scanned() -> bytes:
    ds = dcmread(get_testdata_file("CT_small.dcm"))
    ds.PatientName, ds.SpecificCharacterSet = "Doe^Jane", "ISO_IR 100"
    ds.DeviceSerialNumber, ds.InstitutionName = "SN-44812/B", "Klinikum Köln"
    ds.InstitutionAddress = "c/o Jane Doe, Hill 3"
    out = BytesIO()
    ds.save_as(out)
    return out.getvalue()


@pytest.mark.parametrize(
    ("option", "keyword", "expected"),
    [
        pytest.param("retain_device_identity", "DeviceSerialNumber", "SN-44812/B", id="as it is"),
        pytest.param("retain_institution_identity", "InstitutionName", "Klinikum Koln", id="in ASCII"),
        pytest.param("retain_full_dates", "StudyDate", "20040119", id="unshifted"),
        pytest.param("retain_uids", "FrameOfReferenceUID", "1.3.6.1.4.1.5962.1.4.1.1.20040119072730.12322", id="UID"),
        pytest.param("retain_full_dates", "LongitudinalTemporalInformationModified", "UNMODIFIED", id="and told"),
    ],
)
def test_what_an_option_retains_comes_out_and_passes_the_audit(
    scanned: bytes, option: str, keyword: str, expected: str
) -> None:
    made = parse(own(option, decision=DECISION))
    draft = open_draft({"one": scanned}, "0" * 32)
    written = finish(draft, made, b"k" * 32, 1825)
    assert draft.refused() == {}
    (data,) = written.files.values()
    assert dcmread(BytesIO(data))[keyword].value == expected
    assert OPTIONS[option].code[0] in written.codes


def test_a_retained_text_that_names_the_patient_does_not_keep_the_name(scanned: bytes) -> None:
    made = parse(own("retain_institution_identity", decision=DECISION))
    written = finish(open_draft({"one": scanned}, "0" * 32), made, b"k" * 32, 1825)
    (data,) = written.files.values()
    assert "Jane" not in dcmread(BytesIO(data)).InstitutionAddress
    assert b"Doe" not in data


ANYTHING = st.recursive(st.none() | st.booleans() | st.integers() | st.text(), lambda x: st.lists(x), max_leaves=4)


@given(
    options=st.lists(st.sampled_from(sorted(OPTIONS)), unique=True),
    keys=st.dictionaries(st.sampled_from(["name", "rule", "age_band_years", "decision"]), ANYTHING),
    tags=st.lists(st.sampled_from(sorted(rows())), max_size=3),
    action=st.sampled_from(["keep", "remove", "empty", "dummy", "clean", "uid"]),
)
def test_any_content_is_a_profile_or_refused_and_names_stay_hidden(options, keys, tags, action) -> None:
    rules = [rule(f"{tag:08X}", action) for tag in tags]
    try:
        made = parse({"name": "mine", "options": options, "rule": rules, "decision": DECISION, **keys})
    except UsageError:
        return
    hidden = (Op.EMPTY, Op.REMOVE, Op.DUMMY)
    people = [tag for tag in rows() if dictionary_vr(tag) == "PN" and tag != 0x00100010]
    assert made.op(0x00100010, "PN", CT) is made.op(0x00100020, "LO", CT) is Op.PATIENT
    assert all(made.op(tag, "PN", CT) in hidden for tag in people)
