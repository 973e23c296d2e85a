"""What can be done to one element, and what is done to some of them under every profile."""

from __future__ import annotations

from enum import StrEnum

from medgan.deid.profiles.table import BINARY_SIZES, TEXT_VRS

PIXEL_DATA = 0x7FE00010
PIXEL_TAGS = (0x7FE00008, 0x7FE00009, PIXEL_DATA)
PATIENT_TAGS = (0x00100010, 0x00100020)  # PatientName, PatientID: the pseudonym is written
CHARACTER_SET = 0x00080005
TIMEZONE = 0x00080201  # SH in form, a signed number in fact
# birth and death dates as text, which the table omits
OTHER_CALENDARS = frozenset((0x00100033, 0x00100034, 0x00100035))
CODE_VALUES = (0x00080100, 0x00080103, 0x00080119)  # CodeValue, CodingSchemeVersion, LongCodeValue
CODING_SCHEME = 0x00080102
# bulk values that hold numbers and nothing else: palettes, LUTs, samples of a waveform and their padding
NUMERIC_BULK = frozenset(
    (0x00281101, 0x00281102, 0x00281103, 0x00281201, 0x00281202, 0x00281203, 0x00281204, 0x00281221, 0x00281222)
    + (0x00281223, 0x00281224, 0x00281408, 0x00283006, 0x00660103, 0x54001010)
    + (0x5400100A,)
)
ARRAY_VRS = ("OF", "OD", "OL", "OV")  # numbers by their VR: meshes, deformations, spectra
RETAINED_VRS = TEXT_VRS | {"AE", "UR"}


class Op(StrEnum):
    """What is done to one element."""

    REMOVE = "remove"
    EMPTY = "empty"
    DUMMY = "dummy"
    UID = "uid"
    PATIENT = "patient"
    KEEP = "keep"
    NUMBER = "number"  # DS, IS: kept when they are numbers
    CODE = "code"  # CS: kept when it has the form of one and names nobody
    CODE_VALUE = "code_value"
    SCHEME = "scheme"  # a coding scheme's designator: kept when it is registered
    TEXT = "text"  # only words known to be safe stay
    RETAIN = "retain"  # a text that the profile keeps: as it is, unless it holds something known of the patient
    AGE = "age"
    DATE = "date"
    TIME = "time"
    DATETIME = "datetime"
    SEQUENCE = "sequence"
    PIXELS = "pixels"


BY_VR = {
    "SQ": Op.SEQUENCE,
    "UI": Op.UID,
    "DA": Op.DATE,
    "TM": Op.TIME,
    "DT": Op.DATETIME,
    "AS": Op.AGE,
    "CS": Op.CODE,
    "DS": Op.NUMBER,
    "IS": Op.NUMBER,
    "PN": Op.EMPTY,
    **dict.fromkeys(TEXT_VRS, Op.TEXT),
    **dict.fromkeys(BINARY_SIZES, Op.KEEP),
    **dict.fromkeys(ARRAY_VRS, Op.KEEP),
}
TEMPORAL = (Op.DATE, Op.TIME, Op.DATETIME)


def regardless(tag: int) -> Op | None:
    """What happens to an attribute under every profile; None where the profile decides."""
    group = tag >> 16
    if group & 1 or group <= 0x0006 or not tag & 0xFFFF:
        return Op.REMOVE  # private; command, meta and directory groups; group lengths
    if tag in OTHER_CALENDARS or tag == CHARACTER_SET:
        return Op.REMOVE
    if tag in PIXEL_TAGS:
        return Op.PIXELS
    if tag in PATIENT_TAGS:
        return Op.PATIENT
    # whole groups: descriptions and labels of overlays and curves have no row of their own
    if 0x5000 <= group <= 0x501E or 0x6000 <= group <= 0x601E or group >= 0x7FE0:
        return Op.REMOVE
    return None
