"""The audit catches what a scrubber could miss: each test spoils a clean result in one place, and it is found."""

import io
from collections.abc import Callable
from datetime import date
from typing import Any

import numpy as np
import pytest
from factories import dicom
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.filewriter import dcmwrite
from pydicom.sequence import Sequence
from pydicom.uid import UID, ExplicitVRLittleEndian, ImplicitVRLittleEndian, JPEG2000Lossless

from medgan.deid.audit.audit import Evidence, Treated, audit, sequence_tags
from medgan.deid.audit.elements import parse
from medgan.deid.draft import finish, open_draft
from medgan.deid.profiles.own_profile import parse as own
from medgan.deid.profiles.profile import Profile, profile

SECRET, PATIENT, MOST = b"k" * 32, "ab" * 16, 1825
RESEARCH, BASIC = profile("research"), profile("basic")
DATES = own(
    {
        "name": "dates",
        "options": ["clean_pixel_data", "clean_descriptors", "clean_structured_content", "retain_full_dates"],
        "decision": {"by": "the board", "on": "2026-01-01", "because": "a study of seasons"},
    }
)


def item(**more: Any) -> Dataset:
    made = Dataset()
    for keyword, value in more.items():
        setattr(made, keyword, value)
    return made


def identified() -> Dataset:
    ds = dicom("1.2.826.0.1.3680043.8.498.4", syntax=ExplicitVRLittleEndian)
    ds.SpecificCharacterSet = "ISO_IR 192"
    ds.Rows = ds.Columns = 32
    ds.PixelData = np.arange(1024, dtype="<u2").tobytes()
    ds.PatientName, ds.PatientID, ds.PatientBirthDate = "Kowalczyk^Żaneta", "KZ-77120", "19830412"
    ds.PatientSex, ds.PatientAge, ds.PatientWeight = "F", "039Y", "61.5"
    ds.StudyDate, ds.AcquisitionDateTime, ds.StudyTime = "20230310", "20230311101500.5+0100", "101500"
    ds.TimezoneOffsetFromUTC = "+0100"
    ds.StudyInstanceUID, ds.SeriesInstanceUID = "1.2.826.0.1.3680043.8.498.1", "1.2.826.0.1.3680043.8.498.2"
    ds.FrameOfReferenceUID = "1.2.826.0.1.3680043.8.498.3"
    ds.AccessionNumber, ds.InstitutionName, ds.StudyID = "ACC0099123", "Saint Elsewhere", "88412"
    ds.ReferringPhysicianName, ds.OperatorsName = "Brandauer^Klaus", "Ng^Ada"
    ds.StudyDescription, ds.SeriesDescription, ds.ImageComments = "CT thorax", "axial", "chest pain"
    ds.BodyPartExamined, ds.ImageType = "CHEST", ["ORIGINAL", "PRIMARY", "AXIAL"]
    ds.SeriesNumber, ds.KVP = 3, "120"
    reference = item(ReferencedSOPClassUID=ds.SOPClassUID, ReferencedSOPInstanceUID="1.2.826.0.1.3680043.8.498.77")
    other = item(ReferencedSOPClassUID=ds.SOPClassUID, ReferencedSOPInstanceUID=ds.SOPInstanceUID)
    ds.ReferencedImageSequence = Sequence([reference, other])
    context = item(ValueType="DATE", Date="20230301")
    context.ConceptNameCodeSequence = Sequence(
        [item(CodeValue="111526", CodingSchemeDesignator="DCM", CodeMeaning="Date")]
    )
    ds.AcquisitionContextSequence = Sequence([context])
    block = ds.private_block(0x0019, "GEMS_ACQU_01", create=True)
    block.add_new(0x23, "DS", "55.0")
    block.add_new(0x7F, "DS", "1.5")
    return ds


def as_bytes(ds: Dataset, tail: bytes = b"") -> bytes:
    file = io.BytesIO()
    implicit = ds.file_meta.TransferSyntaxUID == ImplicitVRLittleEndian
    dcmwrite(file, ds, enforce_file_format=True, implicit_vr=implicit, little_endian=True)
    return file.getvalue() + tail


class Case:
    """A study of one instance through the scrubber under a profile, and the audit to hold results against it."""

    def __init__(self, applied: Profile = RESEARCH, make: Callable[[], Dataset] = identified) -> None:
        self.source = as_bytes(make())
        self.parsed = parse(self.source, sequence_tags())
        draft = open_draft({"a": self.source}, PATIENT)
        written = finish(draft, applied, SECRET, MOST)
        assert not draft.refused()
        (self.clean,) = written.files.values()
        self.evidence = Evidence(applied)
        self.evidence.add(self.parsed)
        before, after = (str(dcmread(io.BytesIO(d)).get("StudyDate") or "19000101") for d in (self.source, self.clean))
        self.days = (date.fromisoformat(after) - date.fromisoformat(before)).days
        self.treated = Treated(original=self.source)

    def kinds(self, result: bytes | Dataset, treated: Treated | None = None) -> set[str]:
        data = result if isinstance(result, bytes) else as_bytes(result)
        treated = treated or self.treated
        found = audit(self.parsed, data, self.evidence, patient_key=PATIENT, shift_days=self.days, treated=treated)
        return {finding.kind for finding in found}

    def result(self) -> Dataset:
        return dcmread(io.BytesIO(self.clean))


@pytest.fixture(scope="module")
def research() -> Case:
    return Case()


@pytest.mark.parametrize("make", [identified], ids=["rich"])
@pytest.mark.parametrize("applied", [RESEARCH, BASIC, DATES], ids=lambda p: p.name)
def test_a_clean_result_is_cleared(applied: Profile, make: Callable[[], Dataset]) -> None:
    case = Case(applied, make)
    assert not case.kinds(case.clean)


def put(keyword: str, value: Any) -> Callable[[Dataset], None]:
    return lambda ds: setattr(ds, keyword, value)


def add(tag: int, vr: str, value: Any) -> Callable[[Dataset], None]:
    return lambda ds: ds.add_new(tag, vr, value)


def within(keyword: str, inner: str, value: Any, number: int = 0) -> Callable[[Dataset], None]:
    return lambda ds: setattr(ds[keyword].value[number], inner, value)


def method(ds: Dataset, codes: list[str]) -> None:
    ds.DeidentificationMethodCodeSequence = Sequence(
        [item(CodeValue=code, CodingSchemeDesignator="DCM", CodeMeaning="x") for code in codes]
    )


SPOILS = [
    (put("StudyDescription", "scan of Kowalczyk"), "name", "a name in a text"),
    (put("StudyDescription", "zaneta"), "name", "a name without its accent"),
    (put("StudyDescription", "KLAUSBRANDAUERCHEST"), "value", "another name, reversed and glued"),
    (put("ImageComments", "acc-0099123"), "value", "an id with a separator"),
    (put("SeriesDescription", "axial 12.04.1983"), "date", "a birth date in a text"),
    (put("SeriesDescription", "axial April 12, 1983"), "date", "a birth date in words"),
    (put("BodyPartExamined", "KOWALCZYK"), "name", "a name in a code"),
    (put("SeriesNumber", "19830412"), "date", "a birth date as a number"),
    (add(0x00080060, "CS", "Ct1"), "not_a_code", "a code that is none"),
    (put("PatientAge", "091Y"), "age_over_89", "an age over 89"),
    (put("FrameOfReferenceUID", "1.2.826.0.1.3680043.8.498.3"), "unmapped_uid", "an old UID"),
    (put("FrameOfReferenceUID", "2.25.7"), "reference_differs", "a UID that is nobody's successor, at a place"),
    (put("ImageComments", "1.2.826.0.1.3680043.8.498.77"), "uid", "an old UID in a text"),
    (within("ReferencedImageSequence", "ReferencedSOPInstanceUID", "2.25.1", 1), "reference_differs", "a reference"),
    (lambda ds: ds.ReferencedImageSequence.pop(), "reference_lost", "a reference that is gone"),
    (put("IrradiationEventUID", "2.25.9"), "reference_unexplained", "a UID from nowhere"),
    (put("InstitutionName", "x"), "must_be_removed", "an institution"),
    (put("AccessionNumber", "1"), "must_be_empty", "an accession number"),
    (put("PatientBirthDate", "19000101"), "must_be_empty", "a birth date"),
    (put("OperatorsName", "x"), "must_be_removed", "an operator"),
    (put("PatientName", "Doe^John"), "pseudonym", "another name"),
    (put("PatientID", "1"), "pseudonym", "another id"),
    (put("StudyDate", "20230310"), "date_not_shifted", "a date as it was"),
    (within("AcquisitionContextSequence", "Date", "20230301"), "date_not_shifted", "a nested date as it was"),
    (put("StudyTime", "101501"), "time_changed", "another time"),
    (put("TimezoneOffsetFromUTC", "+0200"), "time_changed", "another zone"),
    (put("ContentDate", "20200101"), "date_not_shifted", "a date from nowhere"),
    (add(0x00191001, "LO", "x"), "group_must_go", "a private element that is not safe"),
    (add(0x00210010, "LO", "x"), "group_must_go", "a creator alone"),
    (add(0x60000022, "LO", "x"), "group_must_go", "an overlay"),
    (put("PatientAddress", "x"), "must_be_removed", "an address"),
    (add(0x00187999, "LO", "x"), "unknown_attribute", "an unknown attribute"),
    (put("StudyDescription", "Thorax für".encode()), "not_ascii", "text in a character set"),
    (put("PatientIdentityRemoved", "NO"), "marker", "not marked"),
    (put("LongitudinalTemporalInformationModified", "REMOVED"), "marker", "dates marked wrongly"),
    (put("BurnedInAnnotation", "NO"), "marker", "burned-in text that nobody looked for"),
    (put("RecognizableVisualFeatures", "NO"), "marker", "a face that nobody removed"),
    (put("DeidentificationMethod", "another tool"), "marker", "another method"),
    (lambda ds: method(ds, ["113100"]), "marker", "codes that are missing"),
    (lambda ds: method(ds, [c for c, _ in RESEARCH.codes] + ["113111", "113101"]), "code_without_its_act", "a claim"),
    (put("preamble", b"K" * 128), "preamble", "a preamble"),
    (lambda ds: setattr(ds.file_meta, "SourceApplicationEntityTitle", "A"), "file_meta", "file meta information"),
    (put("PixelData", bytes(2046) + b"\1\0"), "changed", "other pixels"),
    (put("PixelData", bytes(2050)), "length", "bytes after the pixels"),
    (lambda ds: setattr(ds, "PixelData", ds.PixelData[:-1] + b"\xf3"), "unused_bits", "bits above the stored ones"),
    (lambda ds: delattr(ds, "PixelData"), "lost", "no pixels"),
    (add(0x00880200, "SQ", Sequence([item(BitsAllocated=8, PixelData=b"12")])), "nested_pixels", "an icon"),
]


@pytest.mark.parametrize(("spoil", "kind"), [pytest.param(s, k, id=i) for s, k, i in SPOILS])
def test_the_audit_catches_what_a_scrubber_could_miss(spoil: Any, kind: str, research: Case) -> None:
    ds = research.result()
    spoil(ds)
    assert kind in research.kinds(ds)
    assert not research.kinds(research.clean)


BASIC_SPOILS = [
    (put("StudyDate", "20200101"), "must_be_empty", "a date"),
    (put("SeriesTime", "101500"), "must_be_removed", "a time"),
    (add(0x0040A121, "DA", "20200101"), "must_be_a_dummy", "a date of a content item"),
    (put("StudyDescription", "CT"), "must_be_removed", "a description"),
    (put("SegmentDescription", "lung"), "text_without_row", "a text that the table does not know"),
    (put("LongitudinalTemporalInformationModified", "MODIFIED"), "marker", "dates marked wrongly"),
    (put("PatientAge", "039Y"), "must_be_removed", "an age"),
    (add(0x00190010, "LO", "GEMS_ACQU_01"), "group_must_go", "a creator"),
]


@pytest.mark.parametrize(("spoil", "kind"), [pytest.param(s, k, id=i) for s, k, i in BASIC_SPOILS])
def test_basic_retains_nothing(spoil: Any, kind: str) -> None:
    case = Case(BASIC)
    ds = case.result()
    spoil(ds)
    assert kind in case.kinds(ds)


def test_full_dates_may_stay_under_a_profile_that_says_so_and_the_birth_date_may_not() -> None:
    case = Case(DATES)
    assert case.result().StudyDate == "20230310" and case.days == 0
    ds = case.result()
    ds.StudyDescription = "19830412"
    assert "date" in case.kinds(ds)
    ds.StudyDate = "20230309"
    assert "date_not_shifted" in case.kinds(ds)


def test_safe_private_values_stay_and_a_block_of_another_creator_does_not(research: Case) -> None:
    ds = research.result()
    assert [e.value for e in ds if e.tag.is_private] == ["GEMS_ACQU_01", 55.0]
    ds[0x00190010].value = "GEMS_ACQU_02"
    assert "group_must_go" in research.kinds(ds)


def test_cut_or_longer_results_are_caught(research: Case) -> None:
    assert research.kinds(research.clean[:-10]) == {"result_not_parsable"}
    assert "bytes_after_data_set" in research.kinds(research.clean + bytes(8))
    assert research.kinds(b"") >= {"preamble", "marker", "lost"}


def test_letters_in_a_number_are_caught(research: Case) -> None:
    number = b"\x20\x00\x11\x00IS\x02\x003"
    assert number + b" " in research.clean
    assert research.kinds(research.clean.replace(number + b" ", number + b"K")) == {"not_a_number"}


def test_a_pseudonym_may_stand_in_items_and_a_name_may_not(research: Case) -> None:
    ds = research.result()
    ds.ReferencedImageSequence[0].PatientID = PATIENT
    assert not research.kinds(ds)
    ds.ReferencedImageSequence[0].PatientID = "KZ"
    assert research.kinds(ds)
    ds = research.result()
    ds.PersonIdentificationCodeSequence = Sequence([item(PatientName=PATIENT, CodeMeaning="REMOVED")])
    ds.SeriesDescription = ""
    assert not research.kinds(ds) - {"must_be_removed"}
    ds.PersonIdentificationCodeSequence[0].LongCodeValue = "ward 7"
    assert "must_be_a_dummy" in research.kinds(ds)


def test_markers_may_say_what_was_done(research: Case) -> None:
    ds = research.result()
    codes = [c.CodeValue for c in ds.DeidentificationMethodCodeSequence]
    ds.BurnedInAnnotation = "NO"
    method(ds, [*codes, "113101"])
    assert not research.kinds(ds, Treated(looked=True, original=research.source))
    assert research.kinds(ds) == {"marker", "code_without_its_act"}


def test_the_word_of_the_source_on_burned_in_text_may_stay_where_the_iod_asks_for_it() -> None:
    def enhanced() -> Dataset:
        ds = identified()
        ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.2.1"
        ds.BurnedInAnnotation = "NO"
        return ds

    case = Case(make=enhanced)
    assert case.result().BurnedInAnnotation == "NO" and not case.kinds(case.clean)
    repainted = Treated(repainted=True, boxes=[[]], original=case.source)
    assert "marker" in case.kinds(case.clean, repainted)


def test_one_successor_for_one_uid_in_a_whole_study() -> None:
    case = Case()
    assert not case.kinds(case.clean)
    ds = case.result()
    ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = UID("2.25.5")
    assert "reference_differs" in case.kinds(ds)


def test_comments_of_a_compressed_stream_are_searched() -> None:
    def compressed() -> Dataset:
        ds = identified()
        ds.compress(JPEG2000Lossless, generate_instance_uid=False)
        return ds

    case = Case(make=compressed)
    assert not case.kinds(case.clean)
    ds = case.result()
    place = ds.PixelData.index(b"\xff\x52")  # behind SIZ comes COD: a comment fits between them
    comment = b"\xff\x64" + (4 + 16).to_bytes(2, "big") + b"\0\1" + b"Kowalczyk^\xc5\xbbaneta"[:16]
    stream = bytearray(ds.PixelData[:place] + comment + ds.PixelData[place:])
    ds.PixelData = bytes(stream)
    assert case.kinds(ds) & {"value_in_stream", "result_not_parsable"}


def test_native_pixels_that_hold_a_text_of_the_source_are_found(research: Case) -> None:
    ds = research.result()
    text = b"Kowalczyk^\xc5\xbbaneta"
    ds.PixelData = ds.PixelData[:40] + text + ds.PixelData[40 + len(text) :]
    assert "value_in_pixels" in research.kinds(ds)
