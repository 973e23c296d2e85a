"""The header-only pass: what is taken in, and why the rest is not."""

from __future__ import annotations

import io
import struct
import zlib

import pytest
from factories import dicom, dicom_bytes
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.filewriter import dcmwrite
from pydicom.sequence import Sequence

from medgan.dicom.dictionary import SEGMENTATION
from medgan.dicom.index import content_digest, read_header, whole
from medgan.errors import InputRejected, Reason

DEFLATED = "1.2.840.10008.1.2.1.99"
RLE = "1.2.840.10008.1.2.5"


def header(data: bytes):
    return read_header(whole(data))


def reason(data: bytes, **more) -> Reason:
    with pytest.raises(InputRejected) as caught:
        read_header(whole(data), **more)
    return caught.value.reason


def nested(depth: int) -> Dataset:
    inner = Dataset()
    inner.CodeValue = "1"
    for _ in range(depth):
        outer = Dataset()
        outer.RequestAttributesSequence = Sequence([inner])
        inner = outer
    return inner


@pytest.mark.parametrize(
    "syntax", ["1.2.840.10008.1.2", "1.2.840.10008.1.2.1", DEFLATED], ids=["implicit", "explicit", "deflated"]
)
def test_a_good_image_says_whose_it_is_in_every_native_syntax(syntax):
    found = header(dicom_bytes(syntax=syntax, IssuerOfPatientID="H"))
    assert (found.patient_id, found.issuer, found.study_uid, found.modality) == ("P1", "H", "1.2.3", "CT")


def test_a_big_endian_image_is_read():
    dataset = dicom(syntax="1.2.840.10008.1.2.2")
    file = io.BytesIO()
    dcmwrite(file, dataset, little_endian=False, implicit_vr=False, enforce_file_format=True)
    assert header(file.getvalue()).sop_instance_uid == "1.2.3.4"


def test_a_patient_id_is_the_same_in_any_character_set():
    keys = {
        header(dicom_bytes(SpecificCharacterSet=charset, PatientID="Jürgen-7")).patient_id
        for charset in ("ISO_IR 100", "ISO_IR 192")
    }
    assert keys == {"Jürgen-7"}


def test_a_bare_data_set_gets_the_preamble_it_lacks():
    data = dicom_bytes()
    bare = data[data.index(b"\x08\x00\x16\x00UI") :]
    found = whole(bare)
    assert found[128:132] == b"DICM"
    assert header(bare).study_uid == "1.2.3"
    assert content_digest(found) == content_digest(data)


@pytest.mark.filterwarnings("ignore:Invalid value for VR")
def test_nothing_of_a_bare_data_set_is_quoted_in_a_warning(recwarn):
    data = dicom_bytes("1.2.03.4")
    recwarn.clear()
    assert header(data[data.index(b"\x08\x00\x16\x00UI") :]).sop_instance_uid == "1.2.03.4"
    assert [str(warning.message) for warning in recwarn] == []


def test_preamble_and_meta_do_not_change_the_content_digest():
    data = dicom_bytes()
    assert content_digest(b"x" * 128 + data[128:]) == content_digest(data)
    assert content_digest(dicom_bytes(StudyID="2")) != content_digest(data)


TABLE = [
    (lambda: b"", Reason.EMPTY_FILE, "empty"),
    (lambda: b"Patient: Jane Doe, 1970\n" * 20, Reason.NOT_DICOM, "a text called .dcm"),
    (lambda: bytes(4000), Reason.NOT_DICOM, "zeros"),
    (lambda: dicom_bytes()[:400], Reason.UNREADABLE, "cut in the header"),
    (lambda: dicom_bytes()[:-20], Reason.INCONSISTENT_LENGTH, "cut in the pixels"),
    (lambda: dicom_bytes(Rows=9), Reason.INCONSISTENT_LENGTH, "fewer pixels than declared"),
    (lambda: dicom_bytes(NumberOfFrames="2"), Reason.INCONSISTENT_LENGTH, "fewer frames than declared"),
    (lambda: dicom_bytes(PixelData=bytes(200)), Reason.INCONSISTENT_LENGTH, "a frame too many"),
    (lambda: dicom_bytes(NumberOfFrames="999999999"), Reason.UNSAFE_FILE, "frames beyond memory"),
    (lambda: dicom_bytes(drop=("PixelData",)), Reason.NO_PIXELS, "no pixels"),
    (lambda: dicom_bytes(drop=("Rows",)), Reason.MISSING_ATTRIBUTE, "no rows"),
    (lambda: dicom_bytes(drop=("SOPInstanceUID",)), Reason.MISSING_ATTRIBUTE, "no instance UID"),
    (lambda: dicom_bytes(drop=("StudyInstanceUID",)), Reason.MISSING_ATTRIBUTE, "no study UID"),
    (lambda: dicom_bytes(StudyInstanceUID="../../etc/passwd"), Reason.BAD_UID, "a path as UID"),
    (lambda: dicom_bytes(StudyInstanceUID="1.2.3/4"), Reason.BAD_UID, "a slash in a UID"),
    (lambda: dicom_bytes(StudyInstanceUID="1." + "2" * 70), Reason.BAD_UID, "a UID too long"),
    (lambda: dicom_bytes(SOPClassUID="1.2.840.10008.5.1.4.1.1.88.11"), Reason.UNSUPPORTED_SOP_CLASS, "a report"),
    (lambda: dicom_bytes(SOPClassUID="1.2.840.10008.5.1.4.1.1.66.5"), Reason.UNSUPPORTED_SOP_CLASS, "a surface"),
    (lambda: dicom_bytes(SOPClassUID=SEGMENTATION), Reason.MISSING_ATTRIBUTE, "a segmentation that says it is a CT"),
    (lambda: dicom_bytes(RequestAttributesSequence=Sequence([nested(40)])), Reason.UNREADABLE, "sequences too deep"),
]


@pytest.mark.filterwarnings("ignore:Invalid value for VR")
@pytest.mark.parametrize(("make", "expected"), [row[:2] for row in TABLE], ids=[row[2] for row in TABLE])
def test_what_cannot_be_used_is_refused_with_its_reason(make, expected):
    assert reason(make()) == expected


def test_a_mask_is_an_object_of_its_study():
    found = header(dicom_bytes(SOPClassUID=SEGMENTATION, Modality="SEG"))
    assert (found.sop_class_uid, found.modality, found.study_uid) == (SEGMENTATION, "SEG", "1.2.3")


def test_sequences_of_a_usual_depth_are_read():
    assert header(dicom_bytes(RequestAttributesSequence=Sequence([nested(8)]))).patient_id == "P1"


def test_sequences_deeper_than_the_interpreter_can_recurse_are_refused_not_fatal():
    item = b"\xfe\xff\x00\xe0\xff\xff\xff\xff"
    opening = (b"\x40\x00\x75\x02SQ\0\0\xff\xff\xff\xff" + item) * 100_000
    assert reason(dicom_bytes()[:-108] + opening) == Reason.UNREADABLE


def test_a_deflate_bomb_is_refused_before_it_is_inflated():
    data = dicom_bytes(syntax=DEFLATED)
    start = data.index(DEFLATED.encode())
    meta = data[: start + len(DEFLATED) + len(DEFLATED) % 2]
    stream = zlib.compressobj(wbits=-15)
    bomb = stream.compress(bytes(64 << 20)) + stream.flush()
    assert reason(whole_meta(meta) + bomb, room=1 << 20) == Reason.UNSAFE_FILE


def whole_meta(data: bytes) -> bytes:
    """Keep the meta group only, with its true length."""
    length = len(data) - 144
    return data[:140] + struct.pack("<I", length) + data[144:]


def compressed(fragments: int, frames: int) -> bytes:
    frame = struct.pack("<16I", 1, 64, *[0] * 14) + bytes(16)  # the header of one segment
    pixels = encapsulate([frame] * fragments) if fragments else b"\xfe\xff\x00\xe0\0\0\0\0"
    dataset = dicom(syntax=RLE, NumberOfFrames=str(frames), PixelData=pixels)
    dataset["PixelData"].is_undefined_length = True
    file = io.BytesIO()
    dcmwrite(file, dataset, enforce_file_format=True)
    return file.getvalue()


def test_encapsulated_frames_are_taken_in():
    assert header(compressed(2, 2)).transfer_syntax == RLE


@pytest.mark.parametrize(
    "data",
    [compressed(1, 2), compressed(0, 1), compressed(1, 1)[:-9], compressed(1, 1)[:-30]],
    ids=["too few fragments", "none at all", "no end", "cut in a fragment"],
)
def test_encapsulated_frames_must_all_be_there(data):
    assert reason(data) == Reason.INCONSISTENT_LENGTH


@pytest.mark.parametrize("position", range(140, 1000, 37))
def test_a_file_cut_or_changed_anywhere_is_read_or_refused_never_fatal(position):
    data = dicom_bytes(RequestAttributesSequence=Sequence([nested(3)]))
    for broken in (data[:position], data[:position] + b"\xff\xff" + data[position + 2 :]):
        try:
            header(broken)
        except InputRejected as error:
            assert "Doe" not in str(error)
