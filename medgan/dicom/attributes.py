"""Which attributes of an image are wanted, and the form they take: words, one text, or numbers.

Both roads to a header (our own walk, and pydicom for what the walk does not know beyond doubt) give these forms.
"""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Iterable
from typing import Any

from pydicom.datadict import tag_for_keyword

from medgan.errors import Reason, StudyRejected

Header = dict[str, Any]  # keyword -> str, tuple[str, ...] or tuple[float, ...]

# keyword: the VRs by which the walk knows it; TEXT: one value, WORDS: many
TEXT = {
    "AcquisitionTime": ("TM",),
    "BodyPartExamined": ("CS",),
    "ConversionType": ("CS",),
    "FrameOfReferenceUID": ("UI",),
    "Modality": ("CS",),
    "PatientID": ("LO",),
    "PhotometricInterpretation": ("CS",),
    "SOPClassUID": ("UI",),
    "SOPInstanceUID": ("UI",),
    "SeriesInstanceUID": ("UI",),
    "StackID": ("SH",),
    "StudyInstanceUID": ("UI",),
    "Units": ("CS",),
}
WORDS = {"ImageType": ("CS",), "SpecificCharacterSet": ("CS",)}
NUMBERS = {
    "AcquisitionNumber": ("IS",),
    "BitsAllocated": ("US",),
    "BitsStored": ("US",),
    "Columns": ("US",),
    "DiffusionBValue": ("FD",),
    "EchoNumbers": ("IS",),
    "EchoTime": ("DS",),
    "EffectiveEchoTime": ("FD",),
    "FrameReferenceTime": ("DS",),
    "GantryDetectorTilt": ("DS",),
    "HighBit": ("US",),
    "ImageOrientationPatient": ("DS",),
    "ImagePositionPatient": ("DS",),
    "ImagerPixelSpacing": ("DS",),
    "InstanceNumber": ("IS",),
    "InversionTime": ("DS",),
    "NominalCardiacTriggerDelayTime": ("FD",),
    "NominalScannedPixelSpacing": ("DS",),
    "NumberOfFrames": ("IS",),
    "PixelAspectRatio": ("IS",),
    "PixelPaddingRangeLimit": ("US", "SS"),
    "PixelPaddingValue": ("US", "SS"),
    "PixelRepresentation": ("US",),
    "PixelSpacing": ("DS",),
    "PlanarConfiguration": ("US",),
    "RescaleIntercept": ("DS",),
    "RescaleSlope": ("DS",),
    "Rows": ("US",),
    "SamplesPerPixel": ("US",),
    "TemporalPositionIdentifier": ("IS",),
    "TemporalPositionIndex": ("UL",),
    "TriggerTime": ("DS",),
}
STORAGE = (
    *("Rows", "Columns", "SamplesPerPixel", "PlanarConfiguration", "BitsAllocated", "BitsStored", "HighBit"),
    *("PixelRepresentation", "NumberOfFrames", "PixelPaddingValue", "PixelPaddingRangeLimit"),
)
WANTED = {**TEXT, **WORDS, **NUMBERS}
REQUIRED = ("SOPInstanceUID", "SeriesInstanceUID")  # may be empty, as some de-identifiers leave them
ABSENT: Header = {keyword: "" if keyword in TEXT else () for keyword in WANTED if keyword not in REQUIRED}

DECIMALS = re.compile(rb" *[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)? *(\\ *[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)? *)*")
INTEGERS = re.compile(rb" *[+-]?\d{1,10} *(\\ *[+-]?\d{1,10} *)*")
UID = re.compile(rb"[0-9.]+[\0 ]?")
PLAIN = re.compile(rb"[ -\[\]-}]*\0?")  # no backslash, no escape; ~ and \ are other letters in ISO_IR 13
BINARY = {"US": "H", "SS": "h", "UL": "I", "FD": "d"}


class Odd(Exception):
    """A header that the walk does not know beyond doubt: pydicom's turn."""


def swapped(tag: int) -> int:
    """A tag as it stands in little-endian bytes."""
    return (tag & 0xFFFF) << 16 | tag >> 16


def tag_of(keyword: str) -> int:
    return swapped(int(tag_for_keyword(keyword) or 0))


def parsed(keyword: str, written: bytes, raw: bytes, *, signed: bool = False) -> Any:
    """The form of a value from its VR as written (empty in an implicit file) and its bytes.

    signed: how pixels are stored, for padding in an implicit file. Raises Odd unless they can only mean one thing.
    """
    possible, vr = WANTED[keyword], written.decode("ascii", "replace")
    if not vr:
        vr = possible[-1] if signed else possible[0]
    if vr not in possible:
        raise Odd
    if not raw:
        return "" if keyword in TEXT else ()
    if vr == "DS" or vr == "IS":
        if not (DECIMALS if vr == "DS" else INTEGERS).fullmatch(raw):
            raise Odd
        return tuple(map(float, raw.split(b"\\")))
    if vr in BINARY:
        code = BINARY[vr]
        count, rest = divmod(len(raw), struct.calcsize(code))
        if rest:
            raise Odd
        return tuple(map(float, struct.unpack(f"<{count}{code}", raw)))
    if vr == "UI":
        if not UID.fullmatch(raw):
            raise Odd
        return raw.rstrip(b"\0 ").decode()
    parts = [_plain(part) for part in raw.split(b"\\")]
    if keyword in WORDS:
        return tuple(parts)
    if len(parts) != 1:
        raise Odd
    return parts[0]


def _plain(raw: bytes) -> str:
    if not PLAIN.fullmatch(raw):
        raise Odd
    return raw.rstrip(b"\0").decode().strip()


def formed(keyword: str, value: Any) -> Any:
    """The same form from pydicom's value. Raises ValueError and the like where pixels depend on it and it has none."""
    if keyword in TEXT:
        return str(value).strip() if value is not None else ""
    if keyword in WORDS:
        return tuple(str(word).strip() for word in many(value))
    return tuple(map(float, many(value))) if keyword in STORAGE else floats(value)


def floats(value: Any) -> tuple[float, ...]:
    """Numbers; none where one is no number."""
    try:
        return tuple(float(part) for part in many(value))
    except (ValueError, TypeError, OverflowError):
        return ()


def many(value: Any) -> list[Any]:
    """One value or several, as a list."""
    if value is None or value == "":
        return []
    return [value] if isinstance(value, str | int | float) or not isinstance(value, Iterable) else list(value)


def number(header: Header, keyword: str, default: float = 0.0) -> float:
    """The first number of an attribute, or the default where there is none that is finite."""
    numbers = header[keyword]
    return float(numbers[0]) if numbers and math.isfinite(numbers[0]) else default


def numbers(header: Header, keyword: str, count: int) -> tuple[float, ...] | None:
    """So many finite numbers, or None."""
    some: tuple[float, ...] = header[keyword]
    return some if len(some) == count and all(map(math.isfinite, some)) else None


def whole(header: Header, keyword: str, default: int | None = None) -> int:
    """A whole number. Raises StudyRejected (missing_attribute) without a default where there is none."""
    some = header[keyword]
    if len(some) == 1 and math.isfinite(some[0]):
        return int(some[0])
    if some or default is None:
        raise StudyRejected(Reason.MISSING_ATTRIBUTE, detail="an attribute of the image is missing or not valid")
    return default
