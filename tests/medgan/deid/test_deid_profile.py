"""The table of the standard, resolved."""

import pytest

from medgan.deid.profile import Op, dictionary_vr, profile, resolve
from medgan.errors import UsageError

CT, PET, SR = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.128", "1.2.840.10008.5.1.4.1.1.88.33"


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
    ("tag", "sop_class", "research", "basic"),
    [
        pytest.param(0x00100010, CT, Op.PATIENT, Op.PATIENT, id="PatientName"),
        pytest.param(0x00100030, CT, Op.EMPTY, Op.EMPTY, id="birth date is in no date option"),
        pytest.param(0x00080020, CT, Op.DATE, Op.EMPTY, id="StudyDate"),
        pytest.param(0x00081030, CT, Op.TEXT, Op.REMOVE, id="StudyDescription"),
        pytest.param(0x00101010, CT, Op.AGE, Op.REMOVE, id="PatientAge"),
        pytest.param(0x00080021, PET, Op.DATE, Op.DUMMY, id="SeriesDate is Type 1 in PET"),
        pytest.param(0x00200242, CT, Op.UID, Op.UID, id="a UID without a row"),
        pytest.param(0x00620006, CT, Op.TEXT, Op.TEXT, id="a text without a row"),
        pytest.param(0x00100033, CT, Op.REMOVE, Op.REMOVE, id="birth date in another calendar"),
        pytest.param(0x00091001, CT, Op.REMOVE, Op.REMOVE, id="private"),
        pytest.param(0x60020022, CT, Op.REMOVE, Op.REMOVE, id="description of an overlay"),
        pytest.param(0x50000010, CT, Op.REMOVE, Op.REMOVE, id="curve"),
        pytest.param(0x00100012, CT, Op.REMOVE, Op.REMOVE, id="a row that pydicom does not know"),
        pytest.param(0x00131001, CT, Op.REMOVE, Op.REMOVE, id="private again"),
        pytest.param(0x0012FFFE, CT, Op.REMOVE, Op.REMOVE, id="unknown"),
    ],
)
def test_what_happens_to_an_attribute(tag: int, sop_class: str, research: Op, basic: Op) -> None:
    assert profile("research").op(tag, dictionary_vr(tag), sop_class) is research
    assert profile("basic").op(tag, dictionary_vr(tag), sop_class) is basic


def test_an_unknown_profile_is_refused() -> None:
    with pytest.raises(UsageError, match="research or basic"):
        profile("none")
