"""What identifies is found again however it is spelled: in any character set, order, case, and way to write a date."""

from datetime import date, timedelta

import pytest
from factories import dicom
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.charset import python_encoding
from test_deid_audit import as_bytes

from medgan.deid.audit.audit import Evidence
from medgan.deid.audit.elements import parse
from medgan.deid.audit.required import sequence_tags
from medgan.deid.audit.spelling import days_in, decodings, folded
from medgan.deid.profiles.profile import profile


def evidence(**more: object) -> Evidence:
    found = Evidence(profile("research"))
    found.add(parse(as_bytes(dicom(**more)), sequence_tags()))
    return found


ANNA = {
    "SpecificCharacterSet": "ISO_IR 192",
    "PatientName": "Müller-Lüdenscheid^Anna Łucja",
    "PatientID": "MRN 77120-A",
    "AccessionNumber": "A1234",
}
DEVICE = {"StationName": "CTSCAN07", "InstitutionName": "St. Elsewhere", "PatientTelephoneNumbers": "0998/7712"}


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        pytest.param("exam of MUELLER", "name", id="umlaut written out"),
        pytest.param("exam of muller", "name", id="umlaut lost"),
        pytest.param("Lucja_chest", "name", id="joined by an underscore"),
        pytest.param("ANNALUCJA", "value", id="glued"),
        pytest.param("lüdenscheid", "name", id="a part"),
        pytest.param("mrn77120a", "value", id="an id without separators"),
        pytest.param("head/A1234/axial", "value", id="a short id as a token"),
        pytest.param("at ctscan07", "value", id="a station"),
        pytest.param("STELSEWHERE", "value", id="a hospital"),
        pytest.param("call 09987712", "value", id="a phone"),
        pytest.param("axial chest 5mm", "", id="medical words"),
        pytest.param("annals of A12345x", "", id="longer words"),
    ],
)
def test_names_and_values_are_found_in_text(text: str, kind: str) -> None:
    assert evidence(**ANNA, **DEVICE).told(text) == kind


JAPANESE = "Yamada^Tarou=山田^太郎=やまだ^たろう"


@pytest.mark.parametrize("codec", ["utf-8", "shift_jis", "euc_jp", "iso2022_jp", "utf-16-le", "utf-16-be", "gb18030"])
@pytest.mark.parametrize("term", ["ISO_IR 192", ["", "ISO 2022 IR 87"], "ISO_IR 100"], ids=str)
def test_ideographic_and_phonetic_names_are_found_in_any_set_whatever_was_declared(codec: str, term: object) -> None:
    ds = dicom()
    ds.SpecificCharacterSet = "ISO_IR 192"
    ds.PatientName = JAPANESE
    if term == "ISO_IR 100":
        data = as_bytes(ds).replace(b"ISO_IR 192", b"ISO_IR 100")  # the declaration lies
    else:
        ds.SpecificCharacterSet = term
        data = as_bytes(ds)
    found = Evidence(profile("research"))
    found.add(parse(data, sequence_tags()))
    if codec == "utf-16-be":
        assert found.in_bytes("yamada^tarou".encode(codec)) == "source_bytes"
    else:
        assert found.in_bytes(b"\1\2" + "山田^太郎".encode(codec) + b"x") == "source_bytes"
    assert found.told("TAROU") == "name" and not found.in_bytes("頭部".encode(codec))


def test_every_set_that_dicom_names_is_decoded() -> None:
    for term in (t for t in python_encoding if t and t != "ISO_IR 6" and t != "ISO 2022 IR 6"):
        assert decodings(b"\xc4\xe3ab", [term.encode()]), term


def test_utf_16_and_case_do_not_hide_an_id() -> None:
    found = evidence(**ANNA)
    for data in ("mrn 77120-a".encode("utf-16-le"), b"MRN 77120-A", b"xxmrn 77120-axx"):
        assert found.in_bytes(data) == "source_bytes"


WAYS = (
    "%Y%m%d", "%Y-%m-%d", "%d.%m.%Y", "%m/%d/%Y", "%d/%m/%y", "%d %b %Y", "%B %d, %Y", "%d%b%Y", "%Y/%m/%d", "%y%m%d",
    "%d-%b-%y", "%dth of %B %Y", "%Y %b %d", "%d%m%Y", "%m-%d-%y", "x%Y%m%dx", "%Y.%m.%d 10:15", "%Y%m%d101500",
)  # fmt: skip


@given(st.dates(date(1900, 1, 1), date(2099, 12, 31)), st.sampled_from(WAYS))
@settings(max_examples=150, deadline=None)
def test_a_day_is_found_however_it_is_written(day: date, way: str) -> None:
    assert day in set(days_in(folded(f"chest {day.strftime(way)} axial")))


@pytest.mark.parametrize(
    "text", ["12. März 1980", "12 mars 1980", "12 de marzo de 1980", "12 maart 1980", "12 marca 1980"]
)
def test_months_have_names_in_several_languages(text: str) -> None:
    assert date(1980, 3, 12) in set(days_in(folded(text)))


def test_other_numbers_are_no_days_of_the_patient() -> None:
    found = evidence(PatientBirthDate="19830412", StudyDate="20230310")
    assert found.told("born 12 Apr 1983") == "date" and found.told("3/10/23") == "date"
    assert found.told("T2 10/3/23 axial") == found.told("T2 Mar 10th, 2023") == "date"  # behind another number
    assert not found.told("512x512 0.625 2.5/1.25 120kV 13.04.1983 T1")
    assert not evidence(StudyDate="20030906").told("5.6.3-9-6")  # a year is not written with one digit


def test_an_age_over_89_is_found_in_text_and_a_younger_one_may_stay() -> None:
    old, young = evidence(PatientAge="093Y"), evidence(PatientAge="047Y")
    for text in ("coronal093YT1", "93 years old", "93yo", "aged 93", "93 Jahre"):
        assert old.told(text) == "age", text
    assert not old.told("93 mm, 47 years, 193 years") and not young.told("47 years")


@given(st.dates(date(1950, 1, 1), date(2030, 1, 1)), st.integers(1, 4000))
@settings(max_examples=50, deadline=None)
def test_a_shifted_day_is_not_the_old_one(day: date, days: int) -> None:
    assert day not in set(days_in(f"{day + timedelta(days):%Y%m%d}"))


def test_reports_are_searched_for_whole_values_and_not_for_short_words() -> None:
    found = evidence(**ANNA, StudyInstanceUID="1.2.826.0.1.3680043.8.498.1")
    assert not found.found_in(b'{"anna": 3, "PatientName": {"patient": 12}}')
    for value in ("MRN77120A", "mrn 77120-a", "1.2.826.0.1.3680043.8.498.1", "Anna Łucja Müller-Lüdenscheid"):
        assert found.found_in(f'{{"x": "{value}"}}'.encode()), value


def test_what_the_profile_retains_is_no_evidence() -> None:
    from medgan.deid.profiles.own_profile import parse as own

    more = {"by": "the board", "on": "2026-01-01", "because": "a study of scanners"}
    options = ["clean_pixel_data", "clean_descriptors", "retain_institution_identity", "retain_modified_dates"]
    kept = Evidence(own({"name": "places", "options": options, "decision": more}))
    kept.add(parse(as_bytes(dicom(**ANNA, **DEVICE)), sequence_tags()))
    assert not kept.told("St. Elsewhere") and kept.told("MUELLER") == "name" and kept.told("CTSCAN07") == "value"


@pytest.mark.parametrize(
    ("patient_id", "values", "seen"),
    [
        pytest.param("MRN 77120-A", b"\x03\x07mrn 77120-A\x09", True, id="a header that slipped into the pixels"),
        pytest.param("MRN 77120-A", b"\x03\x07mrn 77120-B\x09", False, id="another one's"),
        pytest.param("A1-77", b"\x03\x07A1-77\x09", False, id="so short that it comes about by chance"),
        pytest.param("1234567890", b"0123456789:;<", False, id="a ramp"),
        pytest.param("0000000000", b"0000000000000", False, id="a flat ground"),
    ],
)
def test_what_no_picture_shows_by_chance_is_found_among_native_pixels(
    patient_id: str, values: bytes, seen: bool
) -> None:
    assert evidence(PatientID=patient_id).in_pixels(values) is seen


def test_what_is_looked_for_among_pixels_grows_with_the_study() -> None:
    found = evidence(PatientID="MRN 77120-A")
    assert not found.in_pixels(b"..ACC-99-1207..")
    found.add(parse(as_bytes(dicom(AccessionNumber="ACC-99-1207")), sequence_tags()))
    assert found.in_pixels(b"..ACC-99-1207..")
