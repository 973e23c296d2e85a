"""One study through gate 1: nothing that identifies comes out, and a result that was tampered with is caught."""

import io
import re
from typing import Any

import numpy as np
import pytest
from factories import dicom
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.filewriter import dcmwrite
from pydicom.sequence import Sequence
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
)

from medgan.deid.draft import Written, finish, open_draft
from medgan.deid.pixels.detect import Box
from medgan.deid.pixels.pixels import write_stored
from medgan.deid.profiles.profile import profile
from medgan.errors import Reason

SECRET, PATIENT, MOST = b"k" * 32, "ab" * 16, 1825
PLANTED = (
    "Kowalczyk", "Żaneta", "KZ-77120", "ACC0099123", "Saint Elsewhere", "0998-7712", "19830412", "Dr. Brandauer",
    "SN778812", "1.2.3.4", "1.2.3.1", "9.8.7.6.5",
)  # fmt: skip


def item(**more: Any) -> Dataset:
    made = Dataset()
    for keyword, value in more.items():
        setattr(made, keyword, value)
    return made


def identified(syntax: str = ExplicitVRLittleEndian) -> Dataset:
    """A slice with identity in headers, sequences, private elements, overlays, text and around the pixels."""
    ds = dicom("1.2.3.4", syntax=ExplicitVRLittleEndian)
    ds.SpecificCharacterSet = "ISO_IR 192"
    ds.Rows = ds.Columns = 32
    ds.PixelData = np.arange(1024, dtype="<u2").tobytes()
    ds.PatientName, ds.PatientID, ds.PatientBirthDate = "Kowalczyk^Żaneta", "KZ-77120", "19830412"
    ds.PatientSex, ds.PatientAge = "F", "091Y"
    ds.StudyDate, ds.AcquisitionDateTime, ds.StudyTime = "20230310", "20230311101500.5", "101500"
    ds.AccessionNumber, ds.InstitutionName, ds.DeviceSerialNumber = "ACC0099123", "Saint Elsewhere", "SN778812"
    ds.ReferringPhysicianName, ds.PatientTelephoneNumbers = "Brandauer^Dr.", "0998-7712"
    ds.StudyDescription = "CT thorax Kowalczyk 19830412 for Dr. Brandauer"
    ds.ImageComments, ds.BodyPartExamined = "Żaneta KOWALCZYK, chest pain", "CHEST"
    ds.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    ds.FrameOfReferenceUID = "9.8.7.6.5"
    ds.RequestAttributesSequence = Sequence([item(RequestedProcedureDescription="chest Kowalczyk", StudyID="KZ-77120")])
    deep = item(PersonName="Kowalczyk^Żaneta", TextValue="chest of Kowalczyk")
    ds.AcquisitionContextSequence = Sequence([item(ContentSequence=Sequence([deep]))])
    block = ds.private_block(0x0011, "Kowalczyk Systems", create=True)
    block.add_new(1, "LO", "Kowalczyk")
    ds.add_new(0x60000010, "US", 8)
    ds.add_new(0x60000022, "LO", "Kowalczyk")
    ds.add_new(0x00324000, "UN", b"Kowalczyk ")
    ds.add_new(0x00080082, "SQ", Sequence([item(CodeValue="KZ-77120", CodeMeaning="Saint Elsewhere")]))
    ds.file_meta.SourceApplicationEntityTitle = "Kowalczyk"
    ds.preamble = b"Kowalczyk".ljust(128, b"K")
    if syntax in (RLELossless, JPEG2000Lossless, JPEGLSLossless):
        ds.compress(syntax, generate_instance_uid=False)
    ds.file_meta.TransferSyntaxUID = syntax
    return ds


def as_bytes(ds: Dataset, tail: bytes = b"") -> bytes:
    file = io.BytesIO()
    syntax = ds.file_meta.TransferSyntaxUID
    dcmwrite(file, ds, enforce_file_format=True, implicit_vr=syntax == ImplicitVRLittleEndian,
             little_endian=syntax != ExplicitVRBigEndian)  # fmt: skip
    return file.getvalue() + tail


def through(data: bytes, name: str = "research") -> tuple[Written, dict[str, Reason]]:
    draft = open_draft({"a": data}, PATIENT)
    return finish(draft, profile(name), SECRET, MOST), draft.refused()


SYNTAXES = [
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    DeflatedExplicitVRLittleEndian,
    RLELossless,
    JPEG2000Lossless,
    JPEGLSLossless,
]


@pytest.mark.parametrize("name", ["research", "basic"])
@pytest.mark.parametrize("syntax", SYNTAXES, ids=lambda syntax: syntax.name)
def test_no_planted_value_survives_and_pixels_do(syntax: str, name: str) -> None:
    ds = identified(syntax)
    before = ds.pixel_array if syntax != DeflatedExplicitVRLittleEndian else np.arange(1024).reshape(32, 32)
    written, refused = through(as_bytes(ds), name)
    assert not refused
    (data,) = written.files.values()
    folded = data.decode("latin-1").casefold()
    assert not [value for value in PLANTED if value.casefold() in folded or value.encode() in data]
    result = dcmread(io.BytesIO(data))
    assert np.array_equal(result.pixel_array, before)
    assert result.PatientID == result.PatientName == PATIENT and result.preamble == bytes(128)
    assert (
        result.PatientIdentityRemoved == "YES" and result.SOPInstanceUID == result.file_meta.MediaStorageSOPInstanceUID
    )
    codes = [code.CodeValue for code in result.DeidentificationMethodCodeSequence]
    assert "113100" in codes and "113101" not in codes and "BurnedInAnnotation" not in result


def test_research_keeps_what_is_useful() -> None:
    written, _ = through(as_bytes(identified()))
    result = dcmread(io.BytesIO(next(iter(written.files.values()))))
    assert result.StudyDescription.split()[:3] == ["CT", "thorax", "for"]
    assert result.PatientSex == "F" and result.PatientAge == "090Y" and result.BodyPartExamined == "CHEST"
    assert result.StudyDate < "20230310" and int(result.AcquisitionDateTime[:8]) - int(result.StudyDate) in (
        1,
        70,
        71,
        72,
        73,
    )
    assert result.StudyTime == "101500" and result.PatientBirthDate == ""
    assert result.LongitudinalTemporalInformationModified == "MODIFIED"


def test_two_instances_of_one_study_stay_one_study_and_the_same_bytes_come_twice() -> None:
    first, second = identified(), identified()
    second.SOPInstanceUID = second.file_meta.MediaStorageSOPInstanceUID = "1.2.3.5"
    files = {"a": as_bytes(first), "b": as_bytes(second)}
    results = [finish(open_draft(files, PATIENT), profile("research"), SECRET, MOST) for _ in range(2)]
    assert results[0].files == results[1].files and len(results[0].files) == 2
    studies = {dcmread(io.BytesIO(data)).StudyInstanceUID for data in results[0].files.values()}
    assert studies == {results[0].study_uid}


def nested(depth: int) -> bytes:
    inner = item(PatientComments="x")
    for _ in range(depth):
        inner = item(RequestAttributesSequence=Sequence([inner]))
    ds = dicom("1.2.3.4")
    ds.RequestAttributesSequence = inner.RequestAttributesSequence
    return as_bytes(ds)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        pytest.param(b"", Reason.EMPTY_FILE, id="empty"),
        pytest.param(b"hello world " * 50, Reason.NOT_DICOM, id="a text"),
        pytest.param(as_bytes(dicom(drop=("StudyInstanceUID",))), Reason.MISSING_ATTRIBUTE, id="no study"),
        pytest.param(
            as_bytes(dicom(SOPClassUID="1.3.12.2.1107.5.9.1")), Reason.UNSUPPORTED_SOP_CLASS, id="private class"
        ),
        pytest.param(
            as_bytes(dicom(EncapsulatedDocument=b"%PDF")), Reason.ENCAPSULATED_DOCUMENT, id="a document inside"
        ),
        pytest.param(
            as_bytes(dicom(SOPClassUID="1.2.840.10008.5.1.4.1.1.9.4.1")), Reason.UNSUPPORTED_SOP_CLASS, id="a voice"
        ),
        pytest.param(as_bytes(identified())[:-60], Reason.UNREADABLE, id="cut in the pixels"),
        pytest.param(nested(120), Reason.UNREADABLE, id="nested too deep"),
        pytest.param(as_bytes(dicom(Rows=None)), Reason.SCRUB_FAILED, id="pixels without rows"),
        pytest.param(
            as_bytes(identified()).replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.113619.5.2\0\0", 1),
            Reason.UNSUPPORTED_SYNTAX,
            id="a private transfer syntax",
        ),
    ],
)
def test_what_cannot_be_cleared_has_a_reason(data: bytes, reason: Reason) -> None:
    written, refused = through(data)
    assert refused == {"a": reason} and not written.files


def test_what_could_not_be_scrubbed_is_logged_by_place_and_kind(caplog: pytest.LogCaptureFixture) -> None:
    through(as_bytes(dicom(Rows=None)))
    (line,) = [record.getMessage() for record in caplog.records if record.name == "medgan.deid.draft"]
    assert re.fullmatch(r"not scrubbed: \w+ at \w+\.py:\d+", line)


def test_bytes_after_the_pixels_and_above_the_stored_bits_go() -> None:
    ds = dicom()
    pixels = np.arange(48, dtype="<u2") | 0xF000
    ds.PixelData = pixels.tobytes() + b"Kowalczyk "
    written, refused = through(as_bytes(ds) + b"Kowalczyk ")
    assert refused in ({}, {"a": Reason.UNREADABLE})
    written, refused = through(as_bytes(ds))
    (data,) = written.files.values()
    assert b"Kowalczyk" not in data
    assert np.array_equal(dcmread(io.BytesIO(data)).pixel_array.ravel(), np.arange(48))


def test_the_same_study_comes_out_of_every_syntax() -> None:
    def described(syntax: str) -> dict[Any, str]:
        written, refused = through(as_bytes(identified(syntax)))
        assert not refused
        ds = dcmread(io.BytesIO(next(iter(written.files.values()))))
        return {element.tag: str(element.value) for element in ds if element.VR != "SQ" and element.tag >> 16 < 0x7FE0}

    assert len({str(sorted(described(syntax).items())) for syntax in SYNTAXES}) == 1


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian, RLELossless, JPEG2000Lossless])
def test_repainted_pixels_are_written_and_others_are_not(syntax: str) -> None:
    data = as_bytes(identified(syntax))
    for repainted in (True, False):
        draft = open_draft({"a": data}, PATIENT)
        (instance,) = draft.instances
        before = instance.ds.pixel_array.copy()
        stored = before[None].copy()
        stored[0, :4, :4] = 0
        write_stored(instance.ds, stored)
        instance.repainted = instance.looked = repainted
        instance.boxes = [[Box(0, 0, 4, 4)]] if repainted else []
        written = finish(draft, profile("research"), SECRET, MOST)
        assert not draft.refused()
        result = dcmread(io.BytesIO(next(iter(written.files.values()))))
        assert np.array_equal(result.pixel_array, stored[0] if repainted else before)
        assert result.get("BurnedInAnnotation") == ("NO" if repainted else None)


def test_the_lazy_dataset_says_what_pydicom_reads() -> None:
    ds = identified()
    ds.SharedFunctionalGroupsSequence = Sequence([item(Rows=7)])
    data = as_bytes(ds)
    (instance,) = open_draft({"a": data}, PATIENT).instances
    plain = dcmread(io.BytesIO(data))
    assert np.array_equal(instance.ds.pixel_array, plain.pixel_array) and instance.has_pixels
    assert instance.ds.ImageType == plain.ImageType and instance.ds.Rows == plain.Rows
    assert instance.ds.SharedFunctionalGroupsSequence[0].Rows == 7


def test_a_method_names_the_key_and_safe_private_is_claimed_where_it_was_kept() -> None:
    ds = identified()
    ds.private_block(0x0019, "GEMS_ACQU_01", create=True).add_new(0x23, "DS", "1.5")
    for source, claimed in ((ds, True), (identified(), False)):
        written, refused = through(as_bytes(source))
        assert not refused and ("113111" in written.codes) is claimed
        result = dcmread(io.BytesIO(next(iter(written.files.values()))))
        assert f"key {written.key_id}" in str(result.DeidentificationMethod)
        assert len(result.file_meta.group_dataset(2)) == 7 and result.file_meta.FileMetaInformationGroupLength > 0


def test_an_identifier_of_one_instance_is_cleaned_from_another() -> None:
    first, second = identified(), identified()
    second.SOPInstanceUID = second.file_meta.MediaStorageSOPInstanceUID = "1.2.3.5"
    first.BodyPartExamined, first.OperatorsName = "HEAD", "Chest^Karl"
    second.SeriesDescription = "chest"
    draft = open_draft({"a": as_bytes(first), "b": as_bytes(second)}, PATIENT)
    written = finish(draft, profile("research"), SECRET, MOST)
    assert not draft.refused()
    texts = {str(dcmread(io.BytesIO(data)).get("SeriesDescription", "")) for data in written.files.values()}
    assert texts == {""}
