"""Gate 1: a second look at each result, which shares no code with the scrubber.

It reads source and result with its own walk over the bytes, collects what identifies in the source, searches the
result for it, and checks what the profile requires. Findings carry an attribute's keyword and a kind, never a value.
"""

from __future__ import annotations

import csv
import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import date
from functools import cache, lru_cache
from importlib import resources
from typing import NamedTuple

from pydicom._dicom_dict import DicomDictionary

from medgan.deid.elements import PIXELS, Element, Parsed, parse

TABLE = "ps3.15_table_e1-1_2026d.csv"
FREE = frozenset(("AE", "LO", "SH", "ST", "LT", "UT", "UC", "UR", "PN", "CS"))
NOT_SEARCHED = frozenset(("UI", "DS", "IS", "DA", "TM", "DT", "AS", "AT", "US", "SS", "UL", "SL", "FL", "FD", "SQ"))
META = frozenset((0x00020000, 0x00020001, 0x00020002, 0x00020003, 0x00020010, 0x00020012, 0x00020013))
OUR_TEXT = frozenset((0x00100010, 0x00100020, 0x00120063))
CODES = {"basic": {"113100"}, "research": {"113100", "113105", "113107", "113108"}}
TEMPORAL = {"basic": "REMOVED", "research": "MODIFIED"}
OPTIONS = {
    "basic": (),
    "research": (
        "retain_patient_chars",
        "retain_long_modif_dates",
        "clean_desc",
        "clean_struct_cont",
        "clean_graph",
    ),
}
STRUCTURAL = frozenset(("original", "derived", "primary", "secondary", "axial", "localizer", "rgb", "palette", "color"))
SHORTEST_WORD, SHORTEST_VALUE, SHORTEST_BYTES = 3, 4, 6


class Finding(NamedTuple):
    """What is wrong, by attribute; never the value."""

    keyword: str
    kind: str


@dataclass
class Evidence:
    """What identifies in the source instances of one study."""

    words: set[str] = field(default_factory=set)  # parts of people's names
    values: set[str] = field(default_factory=set)  # ids, accession numbers, places, devices, phones
    dates: set[str] = field(default_factory=set)
    raw: set[bytes] = field(default_factory=set)
    uids: set[bytes] = field(default_factory=set)
    checked: dict[bytes, str] = field(default_factory=dict)  # texts that were looked at, until more is known
    _seen: set[tuple[int, bytes]] = field(default_factory=set)

    def add(self, parsed: Parsed) -> None:
        self.checked.clear()
        for element in parsed.elements:
            kind = _kind(element.tag)
            if kind and element.value and (element.tag, element.value) not in self._seen:
                self._seen.add((element.tag, element.value))
                self._take(kind, element.value.strip(b" \0"))

    def _take(self, kind: str, data: bytes) -> None:
        for part in data.split(b"\\"):
            if kind == "uid":
                if len(part) >= 12 and not part.startswith(b"1.2.840.10008."):
                    self.uids.add(part)
                continue
            folded = _folded(part)
            if kind == "date":
                if len(part) >= 8 and part[:8].isdigit():
                    self.dates.add(part[:8].decode())
                continue
            if kind == "name":
                self.words.update(w for w in _words(folded) if len(w) >= SHORTEST_WORD and w not in STRUCTURAL)
            squeezed = _squeezed(folded)
            if len(squeezed) >= SHORTEST_VALUE and squeezed not in STRUCTURAL:
                self.values.add(squeezed)
                if len(part) >= SHORTEST_BYTES:
                    self.raw.add(part)


def audit(
    source: Parsed, result: bytes, evidence: Evidence, *, profile: str, patient_key: str, shift_days: int
) -> list[Finding]:
    """Everything that is wrong with `result`; an empty list clears it. Missing evidence is a finding."""
    try:
        parsed = parse(result, sequence_tags())
    except ValueError:
        return [Finding("", "result_not_parsable")]
    findings = [*_container(parsed), *_required(parsed.elements, profile), *_search(parsed.elements, evidence)]
    findings += _markers(parsed.elements, profile, patient_key)
    findings += _pixels(parsed)
    findings += _dates(source.elements, parsed.elements, profile, shift_days)
    return findings


def _container(parsed: Parsed) -> Iterable[Finding]:
    if any(parsed.preamble) or not parsed.preamble:
        yield Finding("", "preamble")
    if parsed.tail:
        yield Finding("", "bytes_after_data_set")
    for element in parsed.meta:
        if element.tag not in META:
            yield Finding(_keyword(element.tag), "file_meta")
    uids = {e.tag: e.value.strip(b"\0 ") for e in parsed.meta}
    if uids.get(0x00020003) != _top(parsed.elements, 0x00080018):
        yield Finding("SOPInstanceUID", "file_meta_differs")


def _required(elements: list[Element], profile: str) -> Iterable[Finding]:
    gone, empty, dummy = _rules(profile)
    for e in elements:
        group = e.tag >> 16
        if group & 1 or group in (0x0000, 0x0004) or 0x5000 <= group <= 0x50FF or 0x6000 <= group <= 0x60FF:
            yield Finding(_keyword(e.tag), "group_must_go")
        elif e.tag in gone:
            yield Finding(_keyword(e.tag), "must_be_removed")
        elif e.tag in empty and e.value.strip(b" \0") and e.tag not in OUR_TEXT:
            yield Finding(_keyword(e.tag), "must_be_empty")
        elif e.tag in dummy and e.value.strip(b" \0") not in (b"", b"REMOVED") and _vr(e) in FREE:
            yield Finding(_keyword(e.tag), "must_be_a_dummy")
        elif e.tag == PIXELS and e.depth:
            yield Finding(_keyword(e.tag), "nested_pixels")
        elif _vr(e) == "UI" and not _mapped(e.value):
            yield Finding(_keyword(e.tag), "unmapped_uid")
        elif e.tag != PIXELS and e.tag not in DicomDictionary:
            yield Finding("unknown", "unknown_attribute")
        elif (
            profile == "basic"
            and _vr(e) in ("DA", "DT")
            and e.value.strip() not in (b"", b"19000101", b"19000101000000")
        ):
            yield Finding(_keyword(e.tag), "date_kept")


def _search(elements: list[Element], evidence: Evidence) -> Iterable[Finding]:
    # one pass over everything at once; only needles that are somewhere are looked for element by element
    searched = b"\0".join(e.value for e in elements if e.tag != PIXELS and e.tag not in OUR_TEXT)
    streams = [e.value for e in elements if e.tag == PIXELS and e.value[:4] == b"\xfe\xff\x00\xe0"]
    needles = [n for n in (*evidence.raw, *evidence.uids) if n in searched or any(n in stream for stream in streams)]
    for e in elements:
        if not e.value or e.tag in OUR_TEXT:
            continue
        if e.tag == PIXELS:
            # native pixels have an exact length, checked by _pixels; a stream has room for comments
            if e.value[:4] == b"\xfe\xff\x00\xe0" and any(n in e.value for n in needles):
                yield Finding("PixelData", "value_in_stream")
            continue
        vr = _vr(e)
        if vr in NOT_SEARCHED:
            continue
        if any(n in e.value for n in needles):
            yield Finding(_keyword(e.tag), "source_bytes")
        elif vr in FREE and (kind := _identifying(e.value, evidence)):
            yield Finding(_keyword(e.tag), kind)


def _identifying(value: bytes, evidence: Evidence) -> str:
    found = evidence.checked.get(value)
    if found is None:
        found = evidence.checked[value] = _told(value, evidence)
    return found


def _told(value: bytes, evidence: Evidence) -> str:
    """What a text says about the person: "name", "value", "date", or "" for nothing."""
    folded = _folded(value.strip(b" \0"))
    words = set(_words(folded))
    if words & evidence.words:
        return "name"
    squeezed = _squeezed(folded)
    whole = {*re.findall(r"\w+", folded), squeezed}
    if whole & evidence.values or any(len(v) >= SHORTEST_BYTES and v in squeezed for v in evidence.values):
        return "value"
    if any(d in squeezed for d in evidence.dates):
        return "date"
    return ""


def _pixels(parsed: Parsed) -> Iterable[Finding]:
    """Native pixels are as long as rows, columns, samples, bits and frames say: nothing follows the last one."""
    pixels = next((e for e in parsed.elements if e.tag == PIXELS and not e.depth), None)
    if pixels is None or pixels.value[:4] == b"\xfe\xff\x00\xe0":
        return

    def number(tag: int) -> int:
        return int.from_bytes(_first(parsed.elements, tag), parsed.order)

    frames = _first(parsed.elements, 0x00280008).strip(b" \0")
    count = number(0x00280010) * number(0x00280011) * (int(frames) if frames.isdigit() else 1)
    subsampled = _top(parsed.elements, 0x00280004) == b"YBR_FULL_422"
    bits = count * (2 if subsampled else number(0x00280002) or 1) * number(0x00280100)
    length = -(-bits // 8)
    if len(pixels.value) != length + (length & 1):
        yield Finding("PixelData", "length")


def _markers(elements: list[Element], profile: str, patient_key: str) -> Iterable[Finding]:
    if _top(elements, 0x00120062) != b"YES":
        yield Finding("PatientIdentityRemoved", "marker")
    if _top(elements, 0x00280303) != TEMPORAL[profile].encode():
        yield Finding("LongitudinalTemporalInformationModified", "marker")
    codes = {e.value.strip(b" ").decode("latin-1") for e in elements if e.tag == 0x00080100}
    if not codes >= CODES[profile]:
        yield Finding("DeidentificationMethodCodeSequence", "marker")
    if _top(elements, 0x00100020) != patient_key.encode():
        yield Finding("PatientID", "pseudonym")


def _dates(source: list[Element], result: list[Element], profile: str, shift_days: int) -> Iterable[Finding]:
    """Every date of the top level that is still there was moved by the same number of days, and not by none."""
    if profile == "basic":
        return
    before = {e.tag: e.value.strip(b" \0") for e in source if not e.depth and _vr(e) in ("DA", "DT")}
    for e in result:
        after = e.value.strip(b" \0")
        if e.depth or e.tag not in before or not after or b"\\" in after:
            continue
        old, new = _day(before[e.tag]), _day(after)
        if old and new and (new - old).days != shift_days:
            yield Finding(_keyword(e.tag), "date_not_shifted")


def sequence_tags() -> frozenset[int]:
    return _sequence_tags()


@cache
def _sequence_tags() -> frozenset[int]:
    known = {tag for tag, entry in DicomDictionary.items() if entry[0] == "SQ"}
    # PS3.15 rows that pydicom's dictionary lacks
    known |= {0x00081301, 0x00081302, 0x00081303, 0x00081304, 0x00100011, 0x00100014, 0x00100015, 0x00100041}
    return frozenset(known | {0x00100043, 0x00100044, 0x00100046})


@cache
def _table() -> dict[int, dict[str, str]]:
    with resources.files("medgan.deid").joinpath(TABLE).open(encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if re.fullmatch("[0-9A-Fa-f]{8}", row["tag"])]
    return {int(row["tag"], 16): row for row in rows}


@cache
def _rules(profile: str) -> tuple[frozenset[int], frozenset[int], frozenset[int]]:
    """Tags that must be gone, empty, or at most a dummy, where no option of the profile says otherwise."""
    plain = {tag: row["basic"] for tag, row in _table().items() if not any(row[o] for o in OPTIONS[profile])}
    return (
        frozenset(tag for tag, code in plain.items() if code == "X"),
        frozenset(tag for tag, code in plain.items() if code == "Z"),
        frozenset(tag for tag, code in plain.items() if code == "D" or "/" in code) - OUR_TEXT,
    )


@cache
def _kind(tag: int) -> str:
    """What a source element says about a person: "name", "value", "date", "uid", or "" for nothing."""
    entry, row = DicomDictionary.get(tag), _table().get(tag)
    vr = entry[0] if entry else ""
    if vr == "PN":
        return "name"
    if vr == "UI":
        return "uid"
    if vr in ("DA", "DT"):
        return "date"
    if row is None or vr not in ("LO", "SH", "ST", "LT", "UT", "UC", "AE"):
        return ""
    described = row["clean_desc"] or row["retain_patient_chars"] or row["retain_long_modif_dates"]
    return "" if described or "K" in row["basic"] else "value"


def _vr(element: Element) -> str:
    entry = DicomDictionary.get(element.tag)
    if entry and element.vr in (b"", b"UN"):
        return entry[0].split(" or ")[0]
    return element.vr.decode("latin-1")


def _keyword(tag: int) -> str:
    entry = DicomDictionary.get(tag)
    return entry[4] if entry else "private" if (tag >> 16) & 1 else "unknown"


def _first(elements: list[Element], tag: int) -> bytes:
    return next((e.value for e in elements if e.tag == tag and not e.depth), b"")


def _top(elements: list[Element], tag: int) -> bytes:
    return next((e.value.strip(b"\0 ") for e in elements if e.tag == tag and not e.depth), b"")


def _mapped(value: bytes) -> bool:
    parts = (part.strip(b"\0 ") for part in value.split(b"\\"))
    return all(not part or part.startswith((b"2.25.", b"1.2.840.10008.")) for part in parts)


def _day(value: bytes) -> date | None:
    digits = value.replace(b".", b"")[:8]
    try:
        return date(int(digits[:4]), int(digits[4:6]), int(digits[6:8]))
    except ValueError:
        return None


@lru_cache(maxsize=65536)
def _folded(data: bytes) -> str:
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        text = data.decode("latin-1")
    plain = unicodedata.normalize("NFKD", text)
    return "".join(c for c in plain if not unicodedata.combining(c)).casefold()


def _words(folded: str) -> list[str]:
    return re.findall(r"[^\W\d_]+", folded)


def _squeezed(folded: str) -> str:
    return re.sub(r"[\W_]+", "", folded)
