"""What identifies in the source instances of one study, and whether any of it is in some bytes or text.

Texts are compared as words, and as runs of letters and digits; bytes in every character set that the source declares
or that is usual for its script. Dates are compared as days, in whatever form they are written.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import date
from operator import sub
from typing import NamedTuple

from medgan.deid.audit import required
from medgan.deid.audit.elements import Parsed
from medgan.deid.audit.spelling import days_in, decodings, encodings, folded, orders, squeezed, words

TEXTS = ("LO", "SH", "ST", "LT", "UT", "UC", "AE", "UR")
STRUCTURAL = frozenset(("original", "derived", "primary", "secondary", "axial", "localizer", "rgb", "palette", "color"))
SHORTEST_WORD, SHORTEST_VALUE, SHORTEST_BYTES, SHORTEST_UID = 3, 4, 6, 12
LEAST_NATIVE, RAMP = 8, 4  # bytes; different steps from byte to byte, which a smooth picture does not take
OLDEST = 89  # an older age is a rare one
REGISTERED = b"1.2.840.10008."
CHARACTER_SET = 0x00080005
CALENDARS = frozenset((0x00100033, 0x00100034))  # birth and death dates as text, which the table omits

_AGES = re.compile(r"(?<!\d)0?(9\d|1[0-2]\d)[\s\-]*(?:y|j|an|岁|歳|세)|(?:aged?|alter)\W*0?(9\d|1[0-2]\d)(?!\d)")


class Finding(NamedTuple):
    """What is wrong, by attribute; never the value."""

    keyword: str
    kind: str


@dataclass
class Evidence:
    """What identifies in the source instances of one study, except what the promise lets stay."""

    promise: required.Promise
    words: set[str] = field(default_factory=set)  # parts of people's names
    values: set[str] = field(default_factory=set)  # ids, accession numbers, places, devices, phones; squeezed
    days: set[date] = field(default_factory=set)
    ages: set[int] = field(default_factory=set)  # years above 89
    raw: set[bytes] = field(default_factory=set)  # lower case where ASCII
    uids: set[bytes] = field(default_factory=set)
    new_of: dict[bytes, bytes] = field(default_factory=dict)  # how UIDs were mapped so far
    old_of: dict[bytes, bytes] = field(default_factory=dict)
    # verdicts on what was looked at, by SOP class and element without its place, until more is known
    cleared: dict[str, dict[tuple[int, bytes, bytes, int], str]] = field(default_factory=dict)
    kept: frozenset[int] = frozenset()  # attributes that the promise lets stay
    ours: set[bytes] = field(default_factory=set)  # meanings of the method codes: their words may be a name
    _seen: set[tuple[int, bytes, tuple[bytes, ...]]] = field(default_factory=set)
    _jagged: list[bytes] | None = None  # of `raw`, what may be looked for among pixels

    def __post_init__(self) -> None:
        cells = ((tag, [row[c] for c in self.promise.columns]) for tag, row in required.table().items())
        by_table = {tag for tag, letters in cells if "K" in letters and "C" not in letters}
        ruled = {rule.tag for rule in self.promise.rules}
        self.ours = {meaning.encode() for _, meaning in (*self.promise.codes, *self.promise.conditional)}
        self.kept = frozenset(by_table - ruled | {rule.tag for rule in self.promise.rules if rule.action == "keep"})

    def add(self, parsed: Parsed) -> None:
        """Take what identifies in one source instance; all must be known before the first result is judged."""
        self.cleared.clear()
        self._jagged = None
        sets = tuple({e.value.strip(b" \0") for e in parsed.elements if e.tag == CHARACTER_SET})
        for element in parsed.elements:
            tag, value = element.tag, element.value
            kind = value and self._kind(tag)
            if kind and (tag, value, sets) not in self._seen:
                self._seen.add((tag, value, sets))
                self._take(kind, value.strip(b" \0"), sets)
        for element in parsed.meta:
            if element.tag == 0x00020003:
                self._take("uid", element.value.strip(b" \0"), ())

    def told(self, text: str) -> str:
        """What a text says about the person: "name", "value", "date", "age", or "" for nothing."""
        plain = folded(text)
        if not self.words.isdisjoint(words(plain)):
            return "name"
        run = squeezed(plain)
        if not self.values.isdisjoint({*re.findall(r"[^\W_]+", plain), *plain.split(), run}):
            return "value"
        if any(len(value) >= SHORTEST_BYTES and value in run for value in self.values):
            return "value"
        if any(day in self.days for day in days_in(plain)):
            return "date"
        return "age" if self.ages and any(int(a or b) in self.ages for a, b in _AGES.findall(plain)) else ""

    def numbered(self, value: bytes) -> str:
        """Whether one of several numbers is, as a whole, an id of the source, or one of its days."""
        for part in value.split(b"\\"):
            number = part.strip().decode("latin-1")
            if len(number) >= SHORTEST_BYTES and number in self.values:
                return "value"
            if len(number) == 8 and number.isdigit() and any(day in self.days for day in days_in(number)):
                return "date"
        return ""

    def in_bytes(self, haystack: bytes) -> str:
        """What of the source is in these bytes, in any character set: "source_bytes", "uid", or ""."""
        lower = haystack.lower()
        if b"\0" in lower:
            lower += b"\n" + lower.replace(b"\0", b"")  # UTF-16 of ASCII
        if any(needle in lower for needle in self.raw):
            return "source_bytes"
        return "uid" if any(uid in haystack for uid in self.uids) else ""

    def in_pixels(self, native: bytes) -> bool:
        """Whether a text of the source lies among stored pixel values, where a damaged file may have put its header.

        Only what no picture shows by chance is looked for: long, and neither flat nor a ramp.
        """
        if self._jagged is None:
            self._jagged = [n for n in self.raw if len(n) >= LEAST_NATIVE and len({*map(sub, n, n[1:])}) > RAMP]
        lower = native.lower() if self._jagged else b""
        return any(needle in lower for needle in self._jagged)

    def found_in(self, data: bytes) -> list[Finding]:
        """Findings in what we write besides instances: names of files, reports, JSON.

        A single short word is not looked for: a report's own words may be someone's name.
        """
        kinds = {self.in_bytes(data)}
        run = squeezed(folded(data.decode("utf-8", "replace")))
        kinds |= {"value" for value in self.values if len(value) >= SHORTEST_BYTES and value in run}
        return [Finding("", kind) for kind in sorted(kinds - {""})]

    def _kind(self, tag: int) -> str:
        kind = _KINDS.get(tag)
        if kind is None:
            kind = _KINDS[tag] = _kind_of(tag)
        if not kind:
            return ""
        return "" if tag in self.kept and kind != "age" else kind

    def _take(self, kind: str, data: bytes, sets: tuple[bytes, ...]) -> None:
        if kind == "uid":
            self.uids |= {p for p in data.split(b"\\") if len(p) >= SHORTEST_UID and not p.startswith(REGISTERED)}
        elif kind == "age":
            self.ages |= {int(years) for years in re.findall(rb"(\d{3})Y", data) if int(years) > OLDEST}
        elif kind == "date":
            self.days |= {day for part in data.split(b"\\") for day in days_in(part[:8].decode("latin-1"))}
        else:
            for text in decodings(data, sets):
                for part in text.split("\\"):
                    self._take_text(kind, part.strip(" \0"))

    def _take_text(self, kind: str, text: str) -> None:
        whole, single = [text], []
        if kind == "name":
            groups = [[p for p in re.split(r"[\^ ,]+", group) if p] for group in text.split("=")]
            single = [part for group in groups for part in group]
            whole = [form for group in groups if group for form in orders(group)]
            parts = [word for part in single for form in orders([part]) for word in words(folded(form))]
            self.words |= {word for word in parts if len(word) >= SHORTEST_WORD and word not in STRUCTURAL}
        self.values |= set(_usable(squeezed(folded(form)) for form in whole))
        self.raw |= {data for form in whole for data in encodings(form) if len(data) >= (4 if _high(data) else 6)}
        self.raw |= {data for form in single for data in encodings(form) if len(data) >= 4 and _high(data)}


_KINDS: dict[int, str] = {}


def _kind_of(tag: int) -> str:
    """What a source element says about a person: "name", "value", "date", "age", "uid", or ""."""
    vr, row = required.dictionary_vr(tag), required.table().get(tag)
    by_vr = {"PN": "name", "UI": "uid", "DA": "date", "DT": "date", "AS": "age"}.get(vr)
    if by_vr:
        return by_vr
    if tag in CALENDARS:
        return "value"
    if row is None or vr not in TEXTS:
        return ""
    described = row["clean_desc"] or row["retain_patient_chars"] or row["retain_long_modif_dates"]
    return "" if described or "K" in row["basic"] else "value"


def _usable(values: Iterable[str]) -> Iterator[str]:
    return (value for value in values if len(value) >= SHORTEST_VALUE and value not in STRUCTURAL)


def _high(data: bytes) -> bool:
    return not data.isascii()
