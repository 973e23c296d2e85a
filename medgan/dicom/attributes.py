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
    "DiffusionDirectionality": ("CS",),
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
    "DoubleFloatPixelPaddingRangeLimit": ("FD",),
    "DoubleFloatPixelPaddingValue": ("FD",),
    "DiffusionBValue": ("FD",),
    "DiffusionGradientOrientation": ("FD",),
    "EchoNumbers": ("IS",),
    "EchoTime": ("DS",),
    "EffectiveEchoTime": ("FD",),
    "FloatPixelPaddingRangeLimit": ("FL",),
    "FloatPixelPaddingValue": ("FL",),
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
    "SpacingBetweenSlices": ("DS",),
    "TemporalPositionIdentifier": ("IS",),
    "TemporalPositionIndex": ("UL",),
    "TriggerTime": ("DS",),
}
STORAGE = (
    *("Rows", "Columns", "SamplesPerPixel", "PlanarConfiguration", "BitsAllocated", "BitsStored", "HighBit"),
    *("PixelRepresentation", "NumberOfFrames", "PixelPaddingValue", "PixelPaddingRangeLimit"),
)
# what differs from slice to slice; all the rest is looked at once for the files that have it in common
OWN = (
    *("SOPInstanceUID", "ImagePositionPatient", "InstanceNumber", "AcquisitionNumber", "AcquisitionTime"),
    *("RescaleSlope", "RescaleIntercept", "TemporalPositionIndex", "TemporalPositionIdentifier", "TriggerTime"),
    "FrameReferenceTime",
)
# private: the group, the creator that reserves a block of it, and the low byte and VR of what is wanted of the block
PRIVATE = (
    (0x0019, "SIEMENS MR HEADER", {0x0C: "IS", 0x0D: "CS", 0x0E: "FD"}),
    (0x0019, "GEMS_ACQU_01", {0xBB: "DS", 0xBC: "DS", 0xBD: "DS"}),
    (0x0043, "GEMS_PARM_01", {0x39: "IS"}),
    (0x2001, "Philips Imaging DD 001", {0x03: "FL", 0x04: "CS"}),
    (0x2005, "Philips MR Imaging DD 001", {0xB0: "FL", 0xB1: "FL", 0xB2: "FL"}),
    (0x0065, "Image Private Header", {0x09: "FD", 0x37: "FD"}),
)
BLOCKS = (0x10, 0x11, 0x12)  # where its creator is looked for; the walk knows values of the first block only
# such an attribute by 8 hex digits: creators, and values of the first block
PRIVATE_VRS = {
    **{f"{group:04X}{block:04X}": ("LO",) for group, _, _ in PRIVATE for block in BLOCKS},
    **{f"{group:04X}{BLOCKS[0]:02X}{low:02X}": (vr,) for group, _, some in PRIVATE for low, vr in some.items()},
}
WANTED = {**TEXT, **WORDS, **NUMBERS, **PRIVATE_VRS}
REQUIRED = ("SOPInstanceUID", "SeriesInstanceUID")  # may be empty, as some de-identifiers leave them
ABSENT: Header = {
    keyword: "" if keyword in TEXT else () for keyword in (*TEXT, *WORDS, *NUMBERS) if keyword not in REQUIRED
}

DECIMALS = re.compile(rb" *[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)? *(\\ *[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)? *)*")
INTEGERS = re.compile(rb" *[+-]?\d{1,10} *(\\ *[+-]?\d{1,10} *)*")
UID = re.compile(rb"[0-9.]+[\0 ]?")
PLAIN = re.compile(rb"[ -\[\]-}]*\0?")  # no backslash, no escape; ~ and \ are other letters in ISO_IR 13
BINARY = {"US": "H", "SS": "h", "UL": "I", "FL": "f", "FD": "d"}


class Odd(Exception):
    """A header that the walk does not know beyond doubt: pydicom's turn."""


def swapped(tag: int) -> int:
    """A tag as it stands in little-endian bytes."""
    return (tag & 0xFFFF) << 16 | tag >> 16


def tag_of(keyword: str) -> int:
    """The tag of a keyword, or of 8 hex digits, as it stands in little-endian bytes."""
    return swapped(int(tag_for_keyword(keyword) or int(keyword, 16)))


def parsed(keyword: str, written: bytes, raw: bytes, *, signed: bool = False) -> Any:
    """The form of a value from its VR as written (empty in an implicit file) and its bytes.

    signed: how pixels are stored, for padding in an implicit file. Raises Odd unless they can only mean one thing.
    """
    possible, vr = WANTED[keyword], written.decode("ascii", "replace")
    if keyword in PRIVATE_VRS:
        return ()  # diffusion.py reads what vendors write, whatever VR it is given on its way
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
