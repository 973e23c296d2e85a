"""The header-only pass: is this a DICOM image, or a mask, that can be taken in, and whose is it? Pixels stay untouched.

pydicom is imported where it is needed, which is seldom: each of an intake's children would wait for it.
"""

from __future__ import annotations

import hashlib
import re
import warnings
from dataclasses import dataclass

from medgan.dicom import declared, structure
from medgan.dicom.dictionary import SEGMENTATION, TAKEN_IN
from medgan.dicom.structure import DEFLATED, EXPLICIT, IMPLICIT, PRIVATE_IMPLICIT, Bytes, Structure
from medgan.errors import InputRejected, Reason

SOP_CLASS, SOP_INSTANCE, STUDY, SERIES = 0x00080016, 0x00080018, 0x0020000D, 0x0020000E
CHARACTER_SET, MODALITY, PATIENT_ID, ISSUER = 0x00080005, 0x00080060, 0x00100020, 0x00100021
FRAME_OF_REFERENCE = 0x00200052
META_CLASS, META_SYNTAX = 0x00020002, 0x00020010
MEDIA_DIRECTORY = "1.2.840.10008.1.3.10"
# leading zeros are wrong by PS3.5 9.1 but common; dots and digits alone can never be a path
UID = re.compile(r"[0-9]+(\.[0-9]+)+")
CODE = re.compile(rb"[ -~]*")
IMPLEMENTATION = "2.25.302043790172249692526321623266752743501"


@dataclass(frozen=True, slots=True)
class Header:
    """What the intake needs to know of one image. Every value but the class and syntax is identified."""

    sop_instance_uid: str
    sop_class_uid: str
    study_uid: str
    series_uid: str
    patient_id: str
    issuer: str
    modality: str
    transfer_syntax: str


def whole(data: bytes) -> bytes:
    """The file with preamble and file meta group: some archives send the bare data set.

    Raises InputRejected (empty_file, not_dicom).
    """
    return missing_start(data) + data


def missing_start(data: Bytes) -> bytes:
    """The preamble and file meta group that a bare data set lacks; nothing for a whole file.

    Raises InputRejected (empty_file, not_dicom).
    """
    if not data:
        raise InputRejected(Reason.EMPTY_FILE)
    if data[128:132] == b"DICM":
        return b""
    if data[:4] == b"\x02\x00\x00\x00" and data[4:6] == b"UL":
        return bytes(128) + b"DICM"
    if data[:2] != b"\x08\x00" or len(data) < 16:
        raise InputRejected(Reason.NOT_DICOM)
    syntax = EXPLICIT if data[4:6].isalpha() and data[4:6].isupper() else IMPLICIT
    try:
        found = structure.walk(data, 0, syntax)
    except InputRejected:
        raise InputRejected(Reason.NOT_DICOM) from None
    return bytes(128) + b"DICM" + _meta(_uid(found, SOP_CLASS), _uid(found, SOP_INSTANCE), syntax)


def _meta(sop_class: str, sop_instance: str, syntax: str) -> bytes:
    """A file meta group."""
    from pydicom.dataset import FileMetaDataset
    from pydicom.filebase import DicomBytesIO
    from pydicom.filewriter import write_file_meta_info
    from pydicom.uid import UID as PydicomUID

    file = DicomBytesIO()
    file.is_little_endian, file.is_implicit_VR = True, False
    with warnings.catch_warnings(action="ignore"):  # pydicom's warnings quote values
        meta = FileMetaDataset()
        meta.MediaStorageSOPClassUID = PydicomUID(sop_class)
        meta.MediaStorageSOPInstanceUID = PydicomUID(sop_instance)
        meta.TransferSyntaxUID = PydicomUID(syntax)
        meta.ImplementationClassUID = PydicomUID(IMPLEMENTATION)
        write_file_meta_info(file, meta)
    return file.getvalue()


def read_header(data: Bytes, *, room: int = 2 << 30) -> Header:
    """Check one whole file and say what it is. Raises InputRejected with the reason.

    room: bytes that a deflated data set, or the decoded pixels, may take.
    """
    meta, start = structure.read_meta(data)
    syntax = _ascii(meta.get(META_SYNTAX, b""))
    if _ascii(meta.get(META_CLASS, b"")) == MEDIA_DIRECTORY:
        raise InputRejected(Reason.UNSUPPORTED_SOP_CLASS)
    if not syntax:
        raise InputRejected(Reason.MISSING_ATTRIBUTE)
    if not UID.fullmatch(syntax) or len(syntax) > 64:
        raise InputRejected(Reason.BAD_UID)
    if syntax == DEFLATED:
        data, start = structure.inflate(memoryview(data)[start:], room=room), 0
    found = structure.walk(data, start, IMPLICIT if syntax == PRIVATE_IMPLICIT else syntax)
    header = _header(found, syntax)
    # the instance may differ: de-identifiers renew it in the data set only
    if _ascii(meta.get(META_CLASS, b"")) not in ("", header.sop_class_uid):
        raise InputRejected(Reason.UNSUPPORTED_SOP_CLASS)
    declared.check(found, syntax, room=room)
    return header


def peek_owner(data: structure.Bytes) -> tuple[str, str] | None:
    """Patient id and issuer of a file that may be unusable otherwise; None without an id. Raises InputRejected."""
    if data[128:132] != b"DICM":
        return None
    meta, start = structure.read_meta(data)
    syntax = _ascii(meta.get(META_SYNTAX, b"")) or EXPLICIT
    if syntax == DEFLATED:
        return None
    found = structure.walk(data, start, IMPLICIT if syntax == PRIVATE_IMPLICIT else syntax)
    charsets = found.raw(CHARACTER_SET) or b""
    patient_id = _text(found.raw(PATIENT_ID), charsets)
    return (patient_id, _text(found.raw(ISSUER), charsets)) if patient_id else None


def content_digest(data: Bytes) -> str:
    """sha256 of the data set without preamble and file meta, which differ from sender to sender."""
    _, start = structure.read_meta(data)
    return hashlib.sha256(memoryview(data)[start:]).hexdigest()


def _header(found: Structure, syntax: str) -> Header:
    sop_class = _uid(found, SOP_CLASS)
    if sop_class not in TAKEN_IN:
        raise InputRejected(Reason.UNSUPPORTED_SOP_CLASS)
    modality = _ascii(found.raw(MODALITY) or b"")
    if sop_class == SEGMENTATION and modality != "SEG":  # by which later stages know that it is no picture
        raise InputRejected(Reason.MISSING_ATTRIBUTE)
    study, series, instance = (_uid(found, tag) for tag in (STUDY, SERIES, SOP_INSTANCE))
    if found.raw(FRAME_OF_REFERENCE):
        _uid(found, FRAME_OF_REFERENCE)
    charsets = _character_sets(found)
    return Header(
        sop_instance_uid=instance,
        sop_class_uid=sop_class,
        study_uid=study,
        series_uid=series,
        patient_id=_text(found.raw(PATIENT_ID), charsets),
        issuer=_text(found.raw(ISSUER), charsets),
        modality=modality,
        transfer_syntax=syntax,
    )


def _character_sets(found: Structure) -> bytes:
    """As written. Raises InputRejected for what makes pydicom's reader fail: no code string."""
    charsets = found.raw(CHARACTER_SET)
    if charsets is None:
        return b""
    if found.vrs[CHARACTER_SET] not in (b"CS", b"UN") or not CODE.fullmatch(charsets.rstrip(b"\0")):
        raise InputRejected(Reason.UNREADABLE)
    return charsets


def _uid(found: Structure, tag: int) -> str:
    raw = found.raw(tag)
    text = _ascii(raw or b"")
    if not text:
        raise InputRejected(Reason.MISSING_ATTRIBUTE)
    if len(text) > 64 or not UID.fullmatch(text) or found.vrs[tag] not in (b"UI", b"UN"):
        raise InputRejected(Reason.BAD_UID)
    return text


def _ascii(raw: bytes) -> str:
    """Text of the default repertoire without padding; other bytes become a mark no grammar accepts."""
    return raw.decode("ascii", "replace").strip("\0 ")


def _text(raw: bytes | None, charsets: bytes) -> str:
    """Decoded text without padding, so that one patient is the same in every character set."""
    if not raw:
        return ""
    if raw.isascii() and b"\x1b" not in raw:
        return _ascii(raw)
    from pydicom.charset import convert_encodings, decode_bytes
    from pydicom.valuerep import TEXT_VR_DELIMS

    with warnings.catch_warnings(action="ignore"):  # pydicom's warnings quote values
        try:
            encodings = convert_encodings(_ascii(charsets).split("\\"))
            return str(decode_bytes(raw, encodings, TEXT_VR_DELIMS)).strip("\0 ")
        except (LookupError, UnicodeError, ValueError):
            return raw.decode("latin-1").strip("\0 ")
