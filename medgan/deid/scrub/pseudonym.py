"""Keyed substitutes: UIDs, and days by which a patient's dates are shifted.

Everything comes from the key, so no table of who is who is kept, and two workers agree without talking.
"""

from __future__ import annotations

import re
from datetime import date, timedelta
from functools import lru_cache

from pydicom._uid_dict import UID_dictionary

from medgan import digest

REGISTERED = "1.2.840.10008."  # SOP classes, transfer syntaxes, coding schemes: structure, not identity
UID_BITS = 128
LEAST_SHIFT_DAYS = 30
KEY_ID_DIGITS = 8

_REGISTERED = re.compile(r"1\.2\.840\.10008(\.(0|[1-9]\d{0,3})){1,10}", re.ASCII)
_DATE = re.compile(r"(\d{4})(?:([.\-]?)(\d{2})(?:\2(\d{2}))?)?", re.ASCII)
_RANGE = re.compile(r"(\d{8})?-(\d{8})?", re.ASCII)
_DATETIME = re.compile(r"(\d{4}|\d{6}|\d{8})((?<=\d{8})\d{2}(?:\d{2}(?:\d{2}(?:\.\d{1,6})?)?)?)?([+-]\d{4})?", re.ASCII)
_TIME = re.compile(r"\d{2}(?::?\d{2}(?::?\d{2}(?:\.\d{1,6})?)?)?", re.ASCII)


def registered(uid: str) -> bool:
    """Whether a UID is one of the standard's own: listed, or of the form that its lists have (short numbers)."""
    return uid in UID_dictionary or _REGISTERED.fullmatch(uid) is not None


@lru_cache(maxsize=65536)
def uid(secret: bytes, old: str) -> str:
    """The new UID of an old one, the same everywhere; registered UIDs and the empty one stay."""
    if not old or registered(old):
        return old
    return f"2.25.{int(digest.keyed(secret, 'uid', old)[: UID_BITS // 4], 16)}"


def key_id(secret: bytes) -> str:
    """Eight hex digits that tell which key made a set, and nothing of the key."""
    return digest.keyed(secret, "key id", "")[:KEY_ID_DIGITS]


@lru_cache(maxsize=4096)
def shift_days(secret: bytes, patient_key: str, most: int) -> int:
    """Days to go back for this patient: LEAST_SHIFT_DAYS to `most`, so that no date lies in the future."""
    span = max(1, most - LEAST_SHIFT_DAYS + 1)
    return -(LEAST_SHIFT_DAYS + int(digest.keyed(secret, "days", patient_key)[:16], 16) % span)


def shift_date(text: str, days: int) -> str:
    """A DA value, or a range of two, moved by whole days; a partial date stays partial; what is none becomes empty."""
    text = text.strip()
    if ends := _RANGE.fullmatch(text):
        moved = [shift_date(end, days) if end else "" for end in ends.groups()]
        return "-".join(moved) if any(moved) else ""
    match = _DATE.fullmatch(text)
    if match is None:
        return ""
    year, _, month, day = match.groups()
    try:
        # the middle of what is not said, so that a year alone moves by about the same days
        day_moved = date(int(year), int(month or 7), int(day or 15)) + timedelta(days=days)
    except (ValueError, OverflowError):
        return ""
    return f"{day_moved.year:04}{day_moved.month:02}{day_moved.day:02}"[: 8 if day else 6 if month else 4]


def shift_datetime(text: str, days: int) -> str:
    """A DT value: its date moved, time of day, fraction and zone kept; what is not one becomes empty."""
    match = _DATETIME.fullmatch(text.strip())
    if match is None:
        return ""
    day, rest, zone = match.groups()
    moved = shift_date(day, days)
    return f"{moved}{rest or ''}{zone or ''}" if moved else ""


def clean_time(text: str) -> str:
    """A TM value as it is, since the shift is of whole days; what is not a time becomes empty."""
    text = text.strip()
    return text if _TIME.fullmatch(text) else ""
