"""Dates and references of a result held against its source, attribute by attribute and path by path.

Every day has moved by the same number of days and every UID has one successor in the whole study, so that intervals
and references are those of the source.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import date, timedelta

from medgan.deid.audit.elements import Parsed
from medgan.deid.audit.evidence import REGISTERED, Evidence, Finding
from medgan.deid.audit.required import DUMMIES, TIMES, Promise, Required, dictionary_vr, keyword

RETAINED_UIDS = "retain_uids"
CONTENT = 0x0040A730  # content items are dropped one by one
SERIES, IMAGES = 0x00081115, 0x00081140  # which series referenced images are in goes with the last of them
PAIRED = TIMES | {"UI"}
WRITTEN = frozenset(vr.encode() for vr in PAIRED)
Place = tuple[tuple[int, ...], int]  # the sequences that an element is in, and its tag
Gathered = dict[Place, list[bytes]]
ZONE: Place = ((), 0x00080201)  # TimezoneOffsetFromUTC, SH in form

_DATE = re.compile(rb"(\d{4})[.\-]?(\d{2})?[.\-]?(\d{2})?(.*)", re.DOTALL)


def dates(before: Gathered, after: Gathered, promise: Promise, shift_days: int) -> Iterable[Finding]:
    """Dates moved as they should, times of day, fractions and zones as they were."""
    if promise.temporal == "REMOVED":
        return
    days = shift_days if promise.temporal == "MODIFIED" else 0
    for place, values in after.items():
        vr = dictionary_vr(place[1])
        if vr not in TIMES:
            continue
        olds = before.get(place, [])
        pairs = zip(olds, values, strict=True) if len(olds) == len(values) else ((None, value) for value in values)
        for old, new in pairs:
            if new in DUMMIES:
                continue
            if not any(_follows(vr, one, new, days) for one in (olds if old is None else [old])):
                yield Finding(keyword(place[1]), "date_not_shifted" if vr != "TM" else "time_changed")
    if after.get(ZONE, before.get(ZONE)) != before.get(ZONE):
        yield Finding("TimezoneOffsetFromUTC", "time_changed")


def _follows(vr: str, old: bytes, new: bytes, days: int) -> bool:
    olds, news = old.split(b"\\"), new.split(b"\\")
    if len(olds) != len(news):
        return False
    return all(not b or (a == b if vr == "TM" else _moved(a, b, days)) for a, b in zip(olds, news, strict=True))


def _moved(old: bytes, new: bytes, days: int) -> bool:
    """Whether a date (and time) is another one moved by whole days; a partial date only by about as many."""
    a, b = _DATE.fullmatch(old.strip(b" \0")), _DATE.fullmatch(new.strip(b" \0"))
    if a is None or b is None or a[4] != b[4] or bool(a[3]) != bool(b[3]) or bool(a[2]) != bool(b[2]):
        return False
    try:
        middles = [date(int(m[1]), int(m[2] or 7), int(m[3] or 15)) for m in (a, b)]
        off = abs(middles[0] + timedelta(days) - middles[1])
    except (ValueError, OverflowError):
        return False
    return off <= timedelta(0 if a[3] else 31 if a[2] else 366)


def references(before: Gathered, after: Gathered, evidence: Evidence, required: Required) -> Iterable[Finding]:
    """Every UID that stays is the successor of the one that stood there, the same in the whole study."""
    if RETAINED_UIDS in evidence.promise.columns:
        return
    for place, news in after.items():
        if dictionary_vr(place[1]) != "UI":
            continue
        olds = before.get(place, [])
        if not olds:
            yield Finding(keyword(place[1]), "reference_unexplained")
        elif len(olds) == len(news):
            parts = [(o.split(b"\\"), n.split(b"\\")) for o, n in zip(olds, news, strict=True)]
            if not all(len(o) == len(n) and all(map(_successor(evidence), o, n)) for o, n in parts):
                yield Finding(keyword(place[1]), "reference_differs")
    without_images = "X" in required.action(IMAGES, False)
    for place, olds in before.items():
        if dictionary_vr(place[1]) != "UI" or (without_images and place[0][:1] == (SERIES,)):
            continue
        stays = not any(set(required.action(tag, True)) & set("XZDU") for tag in (*place[0], place[1]))
        if stays and CONTENT not in place[0] and len(after.get(place, [])) != len(olds):
            yield Finding(keyword(place[1]), "reference_lost")


def unmapped(values: Iterable[bytes], evidence: Evidence) -> bool:
    """Whether a UID is neither a registered one nor one of ours, or is one of the source."""
    if RETAINED_UIDS in evidence.promise.columns:
        return False
    return any(
        part and not part.startswith(REGISTERED) and (not part.startswith(b"2.25.") or part in evidence.uids)
        for value in values
        for part in (p.strip(b"\0 ") for p in value.split(b"\\"))
    )


class _successor:  # noqa: N801 - used as a function
    """Whether the new UID is the one that the old one became everywhere else; notes it when it is the first."""

    def __init__(self, evidence: Evidence) -> None:
        self.new_of, self.old_of = evidence.new_of, evidence.old_of

    def __call__(self, old: bytes, new: bytes) -> bool:
        old, new = old.strip(b"\0 "), new.strip(b"\0 ")
        if not new or old.startswith(REGISTERED) or not old:
            return not new or old == new
        return self.new_of.setdefault(old, new) == new and self.old_of.setdefault(new, old) == old


def gathered(parsed: Parsed) -> Gathered:
    """Dates, times, UIDs and time zones by place, in order; empty ones and private ones are left out."""
    found: Gathered = {}
    for tag, vr, value, _, home in parsed.elements:
        if (vr in WRITTEN or (vr in (b"", b"UN") and dictionary_vr(tag) in PAIRED) or tag == ZONE[1]) and (
            stripped := value.strip(b"\0 ")
        ):
            path = parsed.paths[home]
            if not tag >> 16 & 1 and not any(step >> 16 & 1 for step in path):
                found.setdefault((path, tag), []).append(stripped)
    return found
