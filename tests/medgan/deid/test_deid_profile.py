"""The two named profiles: the table of the standard, resolved."""

import pytest
from pydicom.sr._concepts_dict import concepts as CONCEPTS

from medgan.deid.profiles.ops import Op
from medgan.deid.profiles.profile import Profile, coding_schemes, profile
from medgan.deid.profiles.table import dictionary_vr, resolve, rows, tag_of
from medgan.errors import UsageError

STORAGE = "1.2.840.10008.5.1.4.1.1."
CR, DX, MG, CT, MR = STORAGE + "1", STORAGE + "1.1", STORAGE + "1.2", STORAGE + "2", STORAGE + "4"
US, SC, XA, NM, PET = STORAGE + "6.1", STORAGE + "7", STORAGE + "12.1", STORAGE + "20", STORAGE + "128"
ENHANCED_CT, ENHANCED_MR, SEG = STORAGE + "2.1", STORAGE + "4.1", STORAGE + "66.4"
SR, PDF, PR = STORAGE + "88.33", STORAGE + "104.1", STORAGE + "11.1"
ECG, PRESENTATION = STORAGE + "9.1.1", STORAGE + "11.1"
RT_DOSE, RT_STRUCTURES = STORAGE + "481.2", STORAGE + "481.3"


@pytest.mark.parametrize(
    ("code", "kind", "action"),
    [
        ("X/Z/D", "3", "X"),
        ("X/Z/D", "2C", "Z"),
        ("X/Z/D", "1", "D"),
        ("X/Z/D", "", "X"),
        ("Z/D", "3", "Z"),
        ("X/D", "2", "D"),
        ("X/Z/U*", "1C", "U"),
        ("U", "", "U"),
    ],
)
def test_combined_codes_follow_the_type(code: str, kind: str, action: str) -> None:
    assert resolve(code, kind) == action


@pytest.mark.parametrize(
    ("keyword", "action", "sop_classes"),
    [
        ("PatientID", "Z", (CT, MR, CR, SEG)),
        ("ContrastBolusAgent", "Z", (CT, MR, CR)),
        ("ContentDate", "Z", (CT, MR, CR, US, PDF)),
        ("ContentTime", "Z", (CT, MR, CR, US, PDF)),
        ("ContentDate", "D", (ENHANCED_CT, ENHANCED_MR, SEG, SR)),
        ("ContentTime", "D", (ENHANCED_CT, ENHANCED_MR, SEG, SR)),
        ("AcquisitionDateTime", "X", (CT, MR, CR, DX, MG, SC, PET, NM, XA)),
        ("AcquisitionDateTime", "D", (US, ENHANCED_CT, ENHANCED_MR)),
        ("SeriesDate", "D", (PET,)),
        ("SeriesTime", "D", (PET,)),
        ("SeriesDate", "X", (CT, MR, CR, US)),
        ("AcquisitionDate", "Z", (PET,)),
        ("AcquisitionTime", "Z", (PET,)),
        ("AcquisitionDate", "X", (CT, MR, CR, US)),
        ("DeviceSerialNumber", "D", (ENHANCED_CT, ENHANCED_MR, SEG)),
        ("DeviceSerialNumber", "X", (CT, MR, CR, US)),
        ("OperatorsName", "Z", (RT_STRUCTURES, RT_DOSE)),
        ("OperatorsName", "X", (CT, MR, CR, US)),
        ("ReferencedPerformedProcedureStepSequence", "D", (DX, MG, ENHANCED_CT, SEG)),
        ("ReferencedPerformedProcedureStepSequence", "Z", (SR,)),
        ("ReferencedPerformedProcedureStepSequence", "X", (CT, MR, CR)),
        ("AcquisitionContextSequence", "Z", (DX, MG, ENHANCED_CT, PET, NM)),
        ("AcquisitionContextSequence", "X", (CT, MR, CR)),
        ("ReferencedImageSequence", "U", (XA,)),
        ("ReferencedImageSequence", "X", (CT, MR, CR, US)),
        ("SourceImageSequence", "X", (CT, MR, CR, US)),
        ("InstitutionName", "X", (CT, MR, CR, SEG)),
        ("StationName", "X", (CT, MR, CR)),
        ("ProtocolName", "X", (CT, MR, CR)),
        ("InstanceCreationDate", "X", (CT, MR, CR)),
        ("InstanceCreationTime", "X", (CT, MR, CR)),
    ],
)
def test_the_basic_profile_resolves_combined_codes_by_iod(keyword: str, action: str, sop_classes: tuple) -> None:
    tag = tag_of(keyword)
    assert tag is not None
    assert [profile("basic").action(tag, sop_class) for sop_class in sop_classes] == [action] * len(sop_classes)


@pytest.mark.parametrize(
    ("keyword", "sequence", "action"),
    [
        pytest.param("ReferencedImageSequence", "ReferencedSeriesSequence", "U", id="a presentation state needs it"),
        pytest.param("ReferencedImageSequence", "GraphicAnnotationSequence", "U", id="and its annotations do"),
        pytest.param("SourceImageSequence", "DerivationImageSequence", "Z", id="Type 2 in a functional group"),
        pytest.param("DeviceSerialNumber", "ContributingEquipmentSequence", "X", id="Type 3 where the top has Type 1"),
        pytest.param("ObservationDateTime", "ContentSequence", "D", id="Type 1C in a content item"),
    ],
)
def test_inside_a_sequence_the_type_of_that_place_decides(keyword: str, sequence: str, action: str) -> None:
    tag, around = tag_of(keyword), tag_of(sequence)
    assert tag is not None and around is not None
    assert profile("basic").action(tag, ENHANCED_CT, around) == action


@pytest.mark.parametrize(
    ("tag", "sop_class", "research", "basic"),
    [
        pytest.param(0x00100010, CT, Op.PATIENT, Op.PATIENT, id="PatientName"),
        pytest.param(0x00100030, CT, Op.EMPTY, Op.EMPTY, id="birth date is in no date option"),
        pytest.param(0x00080020, CT, Op.DATE, Op.EMPTY, id="StudyDate"),
        pytest.param(0x00081030, CT, Op.TEXT, Op.REMOVE, id="StudyDescription"),
        pytest.param(0x00101010, CT, Op.AGE, Op.REMOVE, id="PatientAge"),
        pytest.param(0x00102160, CT, Op.TEXT, Op.REMOVE, id="EthnicGroup"),
        pytest.param(0x00700082, CT, Op.DATE, Op.REMOVE, id="PresentationCreationDate, foreign"),
        pytest.param(0x00700082, PRESENTATION, Op.DATE, Op.DUMMY, id="PresentationCreationDate, Type 1"),
        pytest.param(0x00102162, CT, Op.TEXT, Op.REMOVE, id="EthnicGroups, which pydicom does not know"),
        pytest.param(0x00080021, PET, Op.DATE, Op.DUMMY, id="SeriesDate is Type 1 in PET"),
        pytest.param(0x00200242, CT, Op.UID, Op.UID, id="a UID without a row"),
        pytest.param(0x00620006, CT, Op.TEXT, Op.REMOVE, id="a text without a row"),
        pytest.param(0x00620005, SEG, Op.TEXT, Op.TEXT, id="a text without a row that is Type 1: SegmentLabel"),
        pytest.param(0x00201040, CT, Op.TEXT, Op.EMPTY, id="one that is Type 2: PositionReferenceIndicator"),
        pytest.param(0x00080102, CT, Op.SCHEME, Op.SCHEME, id="CodingSchemeDesignator"),
        pytest.param(0x00080103, CT, Op.CODE_VALUE, Op.CODE_VALUE, id="CodingSchemeVersion"),
        pytest.param(0x00080104, CT, Op.TEXT, Op.TEXT, id="CodeMeaning"),
        pytest.param(0x00081140, CT, Op.SEQUENCE, Op.REMOVE, id="references stay in research"),
        pytest.param(0x00082112, CT, Op.SEQUENCE, Op.REMOVE, id="so do sources"),
        pytest.param(0x00081140, XA, Op.SEQUENCE, Op.SEQUENCE, id="a sequence under U is entered"),
        pytest.param(0x00189151, CT, Op.DATETIME, Op.DUMMY, id="a date and time under D"),
        pytest.param(0x00080201, CT, Op.NUMBER, Op.REMOVE, id="TimezoneOffsetFromUTC"),
        pytest.param(0x00100033, CT, Op.REMOVE, Op.REMOVE, id="birth date in another calendar"),
        pytest.param(0x00091001, CT, Op.REMOVE, Op.REMOVE, id="private"),
        pytest.param(0x60020022, CT, Op.REMOVE, Op.REMOVE, id="description of an overlay"),
        pytest.param(0x50000010, CT, Op.REMOVE, Op.REMOVE, id="curve"),
        pytest.param(0x00100012, CT, Op.REMOVE, Op.REMOVE, id="a row that pydicom does not know"),
        pytest.param(0x0040B034, CT, Op.DATETIME, Op.REMOVE, id="a date that pydicom does not know"),
        pytest.param(0x0016002B, CT, Op.REMOVE, Op.REMOVE, id="bulk that no option can clean: MakerNote"),
        pytest.param(0x00080054, CT, Op.REMOVE, Op.REMOVE, id="an AE title"),
        pytest.param(0x00280030, CT, Op.NUMBER, Op.NUMBER, id="PixelSpacing"),
        pytest.param(0x00280010, CT, Op.KEEP, Op.KEEP, id="Rows"),
        pytest.param(0x54001010, ECG, Op.KEEP, Op.KEEP, id="samples of an ECG"),
        pytest.param(0x00660016, SEG, Op.KEEP, Op.KEEP, id="points of a mesh"),
        pytest.param(0x00281221, US, Op.KEEP, Op.KEEP, id="a segmented palette"),
        pytest.param(0x00282000, US, Op.REMOVE, Op.REMOVE, id="an ICC profile, which has room for text"),
        pytest.param(0x0012FFFE, CT, Op.REMOVE, Op.REMOVE, id="unknown"),
    ],
)
def test_what_happens_to_an_attribute(tag: int, sop_class: str, research: Op, basic: Op) -> None:
    assert profile("research").op(tag, dictionary_vr(tag), sop_class) is research
    assert profile("basic").op(tag, dictionary_vr(tag), sop_class) is basic


def test_the_basic_profile_keeps_no_value_of_a_listed_attribute_but_uids() -> None:
    kept = {Op.KEEP, Op.RETAIN, Op.TEXT, Op.NUMBER, Op.CODE, Op.AGE, Op.DATE, Op.TIME, Op.DATETIME}
    ops = {tag: profile("basic").op(tag, dictionary_vr(tag), CT) for tag in rows()}
    assert len(ops) > 600 and not [tag for tag, op in ops.items() if op in kept]


def test_every_row_of_the_table_has_a_vr() -> None:
    assert [f"{tag:08X}" for tag in rows() if not dictionary_vr(tag) and tag >> 16 not in (0x50FF, 0x60FF)] == []


def test_the_codes_say_what_the_profiles_do() -> None:
    research, basic = profile("research"), profile("basic")
    assert [value for value, _ in research.codes] == ["113100", "113104", "113105", "113107", "113108"]
    assert [value for value, _ in research.conditional] == ["113101", "113103", "113111"]
    assert [value for value, _ in research.claims({"113111"})][-1] == "113111"
    assert "113101" not in dict(research.claims(()))
    assert basic.codes == (("113100", "Basic Application Confidentiality Profile"),)
    assert (research.temporal, basic.temporal) == ("MODIFIED", "REMOVED")
    assert research.cleans_pixels and basic.cleans_pixels and not research.removes_faces
    assert research.cautions == basic.cautions == ()


def test_a_text_that_its_iod_needs_never_comes_out_empty() -> None:
    needed = (tag_of(name) for name in ("CodeMeaning", "SegmentLabel", "DeviceLabel"))
    free = (tag_of(name) for name in ("StudyDescription", "SegmentDescription", "PatientComments"))
    assert all(profile("research").needs_value(tag, "") for tag in needed if tag)
    assert not any(profile("research").needs_value(tag, "") for tag in free if tag)


def test_a_public_scheme_is_known_and_a_local_one_is_not() -> None:
    assert set(CONCEPTS) <= coding_schemes()
    assert {"DCM", "SCT", "SRT", "UCUM", "LN"} <= coding_schemes()
    assert "99HOSPITAL" not in coding_schemes()
    assert all(scheme.isascii() and 0 < len(scheme) <= 16 for scheme in coding_schemes())


def test_a_digest_tells_profiles_apart_and_names_the_same_one_twice() -> None:
    again = Profile("research", profile("research").options, profile("research").rules)
    assert again.digest == profile("research").digest != profile("basic").digest
    assert Profile("research", profile("research").options).digest != again.digest


def test_an_unknown_profile_is_refused() -> None:
    with pytest.raises(UsageError, match="research or basic"):
        profile("none")
