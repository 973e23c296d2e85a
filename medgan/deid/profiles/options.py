"""The options of PS3.15 Table E.1-1 by name: their column, their code of CID 7050, and what they risk."""

from __future__ import annotations

from typing import Literal, NamedTuple

Code = tuple[str, str]  # (code value, meaning), scheme DCM
Temporal = Literal["REMOVED", "MODIFIED", "UNMODIFIED"]

BASIC = ("113100", "Basic Application Confidentiality Profile")
CLEAN_PIXELS = ("113101", "Clean Pixel Data Option")
CLEAN_FACES = ("113102", "Clean Recognizable Visual Features Option")
CLEAN_GRAPHICS = ("113103", "Clean Graphics Option")
CLEAN_STRUCTURE = ("113104", "Clean Structured Content Option")
CLEAN_DESCRIPTORS = ("113105", "Clean Descriptors Option")
FULL_DATES = ("113106", "Retain Longitudinal Temporal Information Full Dates Option")
MODIFIED_DATES = ("113107", "Retain Longitudinal Temporal Information Modified Dates Option")
CHARACTERISTICS = ("113108", "Retain Patient Characteristics Option")
DEVICES = ("113109", "Retain Device Identity Option")
UIDS = ("113110", "Retain UIDs Option")
SAFE_PRIVATE = ("113111", "Retain Safe Private Option")
INSTITUTIONS = ("113112", "Retain Institution Identity Option")
# claimed only on an instance where they found something to do, or looked at everything
CONDITIONAL = (CLEAN_PIXELS, CLEAN_FACES, CLEAN_GRAPHICS, SAFE_PRIVATE)


class Option(NamedTuple):
    """One option: its column in the table ("" for those defined on pixels), code, and a caution when it is risky."""

    column: str
    code: Code
    caution: str = ""


OPTIONS = {
    "clean_pixel_data": Option("", CLEAN_PIXELS),
    "clean_recognizable_visual_features": Option("", CLEAN_FACES),
    "clean_graphics": Option("clean_graph", CLEAN_GRAPHICS),
    "clean_structured_content": Option("clean_struct_cont", CLEAN_STRUCTURE),
    "clean_descriptors": Option("clean_desc", CLEAN_DESCRIPTORS),
    "retain_full_dates": Option(
        "retain_long_full_dates",
        FULL_DATES,
        "full dates are kept: a date of care known from elsewhere finds the patient",
    ),
    "retain_modified_dates": Option("retain_long_modif_dates", MODIFIED_DATES),
    "retain_patient_characteristics": Option("retain_patient_chars", CHARACTERISTICS),
    "retain_device_identity": Option(
        "retain_device",
        DEVICES,
        "devices are named: a serial number and a date find the hospital and its list of that day",
    ),
    "retain_uids": Option(
        "retain_uids", UIDS, "original UIDs are kept: they lead back to the source archive and hold serials and times"
    ),
    "retain_safe_private": Option("retain_safe_private", SAFE_PRIVATE),
    "retain_institution_identity": Option(
        "retain_institution", INSTITUTIONS, "institutions are named: few patients share a hospital and a rare finding"
    ),
}
RESEARCH = (
    "clean_pixel_data",
    "clean_graphics",
    "clean_structured_content",
    "clean_descriptors",
    "retain_modified_dates",
    "retain_patient_characteristics",
    "retain_safe_private",
)
KEEP_ANNOTATIONS = "keep_annotations"  # no option of the standard: side markers and scales may stay in the pixels


def columns_of(options: tuple[str, ...]) -> tuple[str, ...]:
    """Columns of Table E.1-1 that these options read."""
    return tuple(option.column for name, option in OPTIONS.items() if name in options and option.column)


def codes_of(options: tuple[str, ...]) -> tuple[tuple[Code, ...], tuple[Code, ...]]:
    """(codes claimed always, codes claimed where they ran), in the order of CID 7050."""
    codes = sorted(option.code for name, option in OPTIONS.items() if name in options)
    always = (BASIC, *(code for code in codes if code not in CONDITIONAL))
    return always, tuple(code for code in codes if code in CONDITIONAL)


def temporal_of(options: tuple[str, ...]) -> Temporal:
    """What becomes of dates and times: the value of LongitudinalTemporalInformationModified."""
    if "retain_full_dates" in options:
        return "UNMODIFIED"
    return "MODIFIED" if "retain_modified_dates" in options else "REMOVED"
