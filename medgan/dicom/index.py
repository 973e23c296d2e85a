"""The header-only pass: is this a DICOM image that can be taken in, and whose is it? Pixels stay untouched."""

from __future__ import annotations

import hashlib
import math
import re
import struct
import warnings
from dataclasses import dataclass

from pydicom.charset import convert_encodings, decode_bytes
from pydicom.dataset import FileMetaDataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_file_meta_info
from pydicom.uid import UID as PydicomUID
from pydicom.uid import UID_dictionary
from pydicom.valuerep import TEXT_VR_DELIMS

from medgan.dicom import structure
from medgan.dicom.structure import DEFLATED, EXPLICIT, IMPLICIT, Structure
from medgan.errors import InputRejected, Reason

SOP_CLASS, SOP_INSTANCE, STUDY, SERIES = 0x00080016, 0x00080018, 0x0020000D, 0x0020000E
CHARACTER_SET, MODALITY, PATIENT_ID, ISSUER = 0x00080005, 0x00080060, 0x00100020, 0x00100021
SAMPLES, PHOTOMETRIC, FRAMES, ROWS, COLUMNS, ALLOCATED, STORED = (
    0x00280002,
    0x00280004,
    0x00280008,
    0x00280010,
    0x00280011,
    0x00280100,
    0x00280101,
)
META_CLASS, META_SYNTAX = 0x00020002, 0x00020010
MEDIA_DIRECTORY = "1.2.840.10008.1.3.10"
IMAGE_CLASSES = frozenset(
    uid for uid, (name, kind, *_) in UID_dictionary.items() if kind == "SOP Class" and "Image Storage" in name
)
# leading zeros are wrong by PS3.5 9.1 but common; dots and digits alone can never be a path
UID = re.compile(r"[0-9]+(\.[0-9]+)+")
PRIVATE_IMPLICIT = "1.2.840.113619.5.2"  # GE: implicit, pixels big endian
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
    if not data:
        raise InputRejected(Reason.EMPTY_FILE)
    if data[128:132] == b"DICM":
        return data
    if data[:4] == b"\x02\x00\x00\x00" and data[4:6] == b"UL":
        return bytes(128) + b"DICM" + data
    if data[:2] != b"\x08\x00" or len(data) < 16:
        raise InputRejected(Reason.NOT_DICOM)
    syntax = EXPLICIT if data[4:6].isalpha() and data[4:6].isupper() else IMPLICIT
    try:
        found = structure.walk(data, 0, syntax)
    except InputRejected:
        raise InputRejected(Reason.NOT_DICOM) from None
    return bytes(128) + b"DICM" + _meta(_uid(found, SOP_CLASS), _uid(found, SOP_INSTANCE), syntax) + data


def _meta(sop_class: str, sop_instance: str, syntax: str) -> bytes:
    """A file meta group."""
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


def read_header(data: bytes, *, room: int = 2 << 30) -> Header:
    """Check one whole file and say what it is. Raises InputRejected with the reason.

    room: bytes that a deflated data set, or the decoded pixels, may take.
    """
    meta, start = structure.read_meta(data)
    syntax = _ascii(meta.get(META_SYNTAX, b""))
    if _ascii(meta.get(META_CLASS, b"")) == MEDIA_DIRECTORY:
        raise InputRejected(Reason.UNSUPPORTED_SOP_CLASS)
    if not syntax:
        syntax = EXPLICIT if data[start + 4 : start + 6].isalpha() else IMPLICIT
    if not UID.fullmatch(syntax) or len(syntax) > 64:
        raise InputRejected(Reason.BAD_UID)
    if syntax == DEFLATED:
        data, start = structure.inflate(data[start:], room=room), 0
    found = structure.walk(data, start, IMPLICIT if syntax == PRIVATE_IMPLICIT else syntax)
    header = _header(found, syntax)
    _check_pixels(found, encapsulated=_is_encapsulated(syntax), room=room)
    return header


def content_digest(data: bytes) -> str:
    """sha256 of the data set without preamble and file meta, which differ from sender to sender."""
    _, start = structure.read_meta(data)
    return hashlib.sha256(memoryview(data)[start:]).hexdigest()


def _header(found: Structure, syntax: str) -> Header:
    sop_class = _uid(found, SOP_CLASS)
    if sop_class not in IMAGE_CLASSES:
        raise InputRejected(Reason.UNSUPPORTED_SOP_CLASS)
    study, series, instance = (_uid(found, tag) for tag in (STUDY, SERIES, SOP_INSTANCE))
    charsets = found.raw(CHARACTER_SET) or b""
    return Header(
        sop_instance_uid=instance,
        sop_class_uid=sop_class,
        study_uid=study,
        series_uid=series,
        patient_id=_text(found.raw(PATIENT_ID), charsets),
        issuer=_text(found.raw(ISSUER), charsets),
        modality=_ascii(found.raw(MODALITY) or b""),
        transfer_syntax=syntax,
    )


def _check_pixels(found: Structure, *, encapsulated: bool, room: int) -> None:
    """Declared size against the bytes that are there. Raises InputRejected."""
    tag = next((tag for tag in structure.PIXELS if tag in found.places), None)
    if tag is None:
        raise InputRejected(Reason.NO_PIXELS)
    if found.truncated_pixels:
        raise InputRejected(Reason.INCONSISTENT_LENGTH)
    rows, columns, samples = (_number(found, tag) for tag in (ROWS, COLUMNS, SAMPLES))
    bits, frames = _number(found, ALLOCATED), _frames(found)
    if not all((rows, columns, samples, bits, frames)):
        raise InputRejected(Reason.MISSING_ATTRIBUTE)
    if _ascii(found.raw(PHOTOMETRIC) or b"") == "YBR_FULL_422" and not encapsulated:
        samples = 2  # two pixels share one pair of colours
    frame = rows * columns * samples * bits / 8
    if frame * frames > room:
        raise InputRejected(Reason.UNSAFE_FILE)
    if (found.fragments is not None) != encapsulated:
        raise InputRejected(Reason.INCONSISTENT_LENGTH)
    if encapsulated:
        if (found.fragments or 0) < frames:
            raise InputRejected(Reason.INCONSISTENT_LENGTH)
        return
    length, expected = found.places[tag][1], math.ceil(frame * frames)
    # a little padding is common; a whole frame too many means that the count lies
    if length < expected or length >= expected + max(2, frame):
        raise InputRejected(Reason.INCONSISTENT_LENGTH)


def _is_encapsulated(syntax: str) -> bool:
    return syntax not in (IMPLICIT, EXPLICIT, DEFLATED, structure.BIG_ENDIAN, PRIVATE_IMPLICIT)


def _uid(found: Structure, tag: int) -> str:
    raw = found.raw(tag)
    text = _ascii(raw or b"")
    if not text:
        raise InputRejected(Reason.MISSING_ATTRIBUTE)
    if len(text) > 64 or not UID.fullmatch(text):
        raise InputRejected(Reason.BAD_UID)
    return text


def _number(found: Structure, tag: int) -> int:
    raw = found.raw(tag)
    if raw is None or len(raw) < 2:
        return 1 if tag == SAMPLES else 0
    return int(struct.unpack_from(">H" if found.big else "<H", raw)[0])


def _frames(found: Structure) -> int:
    text = _ascii(found.raw(FRAMES) or b"") or "1"
    if not text.isdigit() or len(text) > 9:
        raise InputRejected(Reason.INCONSISTENT_LENGTH)
    return int(text)


def _ascii(raw: bytes) -> str:
    """Text of the default repertoire without padding; other bytes become a mark no grammar accepts."""
    return raw.decode("ascii", "replace").strip("\0 ")


def _text(raw: bytes | None, charsets: bytes) -> str:
    """Decoded text without padding, so that one patient is the same in every character set."""
    if not raw:
        return ""
    if raw.isascii() and b"\x1b" not in raw:
        return _ascii(raw)
    with warnings.catch_warnings(action="ignore"):  # pydicom's warnings quote values
        try:
            encodings = convert_encodings(_ascii(charsets).split("\\"))
            return str(decode_bytes(raw, encodings, TEXT_VR_DELIMS)).strip("\0 ")
        except (LookupError, UnicodeError, ValueError):
            return raw.decode("latin-1").strip("\0 ")
