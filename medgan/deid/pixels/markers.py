"""Medical annotations in pictures that may stay when the profile says so: a closed list, and nothing of a person."""

from __future__ import annotations

import re

from pydicom.dataset import Dataset

_LISTED = """
L R LT RT LEFT RIGHT AP PA LAT LATERAL OBL AXIAL PORTABLE SUPINE PRONE ERECT UPRIGHT SITTING STANDING
DECUBITUS DECUB INSP EXP RCC LCC RMLO LMLO CC MLO RML LML ANT POST HEAD FEET
"""
MARKERS = frozenset(_LISTED.split())
IDENTIFYING = ("PatientID", "AccessionNumber", "InstitutionName", "StationName", "StudyID", "OtherPatientIDs")
_SCALE = re.compile(r"\d{1,3}(?:\.\d)? ?(?:CM|MM)")
_WORD = re.compile(r"[A-Z0-9]+")


def is_annotation(text: str, people: frozenset[str]) -> bool:
    """Whether a text is made of markers and scales only, none of which is a word of `people`."""
    plain = text.upper().strip()
    words = _WORD.findall(_SCALE.sub(" ", plain))
    if not _WORD.search(plain) or any(word in people for word in _WORD.findall(plain)):
        return False
    return all(word in MARKERS for word in words)


def people(ds: Dataset) -> frozenset[str]:
    """Every word of the names and ids in a data set, in capitals."""
    return frozenset(
        word
        for element in ds.iterall()
        if element.VR == "PN" or element.keyword in IDENTIFYING
        for word in _WORD.findall(str(element.value).upper())
    )
