"""What is around the attributes, as the audit sees it: preamble, file meta information, markers, private blocks."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from medgan.deid.audit.elements import Element, Parsed
from medgan.deid.audit.evidence import Finding
from medgan.deid.audit.required import (
    METHOD_CODES,
    Promise,
    Required,
    keyword,
    safe_vr,
)

META = frozenset((0x00020000, 0x00020001, 0x00020002, 0x00020003, 0x00020010, 0x00020012, 0x00020013))
BURNED_IN = 0x00280301
# attributes in which a result speaks of itself
TOLD = frozenset((0x00100010, 0x00100020, 0x00120062, 0x00120063, BURNED_IN, 0x00280302, 0x00280303))
CODE_VALUE, METHOD = 0x00080100, 0x00120063
CLEAN_PIXELS, CLEAN_FACES, KEPT_PRIVATE = b"113101", b"113102", b"113111"
BY_INSTANCE = frozenset((CLEAN_PIXELS, CLEAN_FACES, KEPT_PRIVATE, b"113103"))  # claimed only where they ran
LONGEST_METHOD = 64
NEVER_KEPT = frozenset(("OB", "OW", "OD", "OF", "OL", "OV", "UN"))


class Box(Protocol):
    """Rows and columns of a blanked place, the ends not included."""

    @property
    def top(self) -> int: ...
    @property
    def left(self) -> int: ...
    @property
    def bottom(self) -> int: ...
    @property
    def right(self) -> int: ...


@dataclass(frozen=True)
class Treated:
    """What was done to the pixels of one instance, so that its markers and pixels can be held against it."""

    looked: bool = False  # every frame was read for burned-in text
    repainted: bool = False
    faceless: bool = False
    boxes: Sequence[Sequence[Box]] = ()  # by frame
    original: bytes = b""  # the source instance


def container(parsed: Parsed) -> Iterable[Finding]:
    """Nothing of the source in the preamble and the file meta information, and nothing after the data set."""
    if any(parsed.preamble) or not parsed.preamble:
        yield Finding("", "preamble")
    if parsed.tail:
        yield Finding("", "bytes_after_data_set")
    for element in parsed.meta:
        if element.tag not in META:
            yield Finding(keyword(element.tag), "file_meta")
    uids = {e.tag: e.value.strip(b"\0 ") for e in parsed.meta}
    for here, there in ((0x00020003, 0x00080018), (0x00020002, 0x00080016)):
        if uids.get(here) != top(parsed.elements, there):
            yield Finding(keyword(there), "file_meta_differs")


def markers(
    source: Parsed, result: Parsed, required: Required, patient_key: str, treated: Treated
) -> Iterable[Finding]:
    """What the result says of itself is so: pseudonym, method, codes, dates, burned-in text, faces."""
    promise = required.promise
    named = {tag: value.strip(b"\0 ") for tag, _, value, depth, _ in result.elements if not depth and tag in TOLD}
    asked = any(tag == 0x00100020 and not depth for tag, _, _, depth, _ in source.elements)
    if named.get(0x00100020, b"") not in (patient_key.encode(), *([] if asked else [b""])):
        yield Finding("PatientID", "pseudonym")
    if named.get(0x00100010, b"") not in (b"", patient_key.encode()):
        yield Finding("PatientName", "pseudonym")
    if named.get(0x00120062) != b"YES":
        yield Finding("PatientIdentityRemoved", "marker")
    if named.get(0x00280303) != promise.temporal.encode():
        yield Finding("LongitudinalTemporalInformationModified", "marker")
    stands = required.type_of(BURNED_IN).startswith("1") and top(source.elements, BURNED_IN) == b"NO"
    if named.get(BURNED_IN) == b"NO" and not treated.looked and (treated.repainted or not stands):
        yield Finding("BurnedInAnnotation", "marker")
    if named.get(0x00280302) == b"NO" and not treated.faceless:
        yield Finding("RecognizableVisualFeatures", "marker")
    method = named.get(METHOD, b"").split(b"\\")
    if promise.name.encode() not in b" ".join(method) or max(map(len, method)) > LONGEST_METHOD:
        yield Finding("DeidentificationMethod", "marker")
    yield from _codes(source, result, promise, treated)


def _codes(source: Parsed, result: Parsed, promise: Promise, treated: Treated) -> Iterable[Finding]:
    """All codes of the profile, and those of what ran on this instance only where it ran; earlier ones stay."""
    before, after = _method_codes(source), _method_codes(result)
    ran = {
        CLEAN_PIXELS: treated.looked,
        CLEAN_FACES: treated.faceless,
        KEPT_PRIVATE: any(tag & 0x10000 for tag, *_ in result.elements),
    }
    wanted = {code.encode() for code, _ in promise.codes} - BY_INSTANCE
    if not wanted <= set(after):
        yield Finding("DeidentificationMethodCodeSequence", "marker")
    for code, done in ran.items():
        if (code in after) if not done and code not in before else (done and code not in after):
            yield Finding("DeidentificationMethodCodeSequence", "code_without_its_act" if not done else "marker")


def _method_codes(parsed: Parsed) -> list[bytes]:
    paths = parsed.paths
    return [
        value.strip(b" \0")
        for tag, _, value, depth, home in parsed.elements
        if tag == CODE_VALUE and depth == 1 and paths[home] == (METHOD_CODES,)
    ]


def private(parsed: Parsed, promise: Promise) -> dict[Element, str]:
    """Each private element with the VR by which it may stay, "LO" for the creator of such ones; "" for the others."""
    blocks: dict[tuple[int, int, int], Element] = {}  # (item, group, block) -> its creator
    found: dict[Element, str] = {}
    for e in parsed.elements:
        if not e[0] & 0x10000:
            continue
        group, low = e.tag >> 16, e.tag & 0xFFFF
        found[e] = ""
        if 0x10 <= low <= 0xFF:
            blocks[e.home, group, low] = e
        elif creator := blocks.get((e.home, group, low >> 8)):
            vr = safe_vr(promise, group, creator.value.rstrip(b" \0"), low & 0xFF)
            # a bulk value often holds a whole proprietary header
            if vr not in NEVER_KEPT and e.vr.decode("latin-1") in ("", "UN", vr):
                found[e] = vr
                found[creator] = found[creator] or (vr and "LO")
    return found


def top(elements: list[Element], tag: int) -> bytes:
    """A value of the data set itself, without padding; b"" where there is none."""
    return next((e.value.strip(b"\0 ") for e in elements if e.tag == tag and not e.depth), b"")


def number(parsed: Parsed, tag: int) -> int:
    """An unsigned short of the data set itself; 0 where there is none."""
    value = next((e.value for e in parsed.elements if e.tag == tag and not e.depth), b"")
    return int.from_bytes(value, parsed.order)


def frames(parsed: Parsed) -> int:
    text = top(parsed.elements, 0x00280008)
    return int(text) if re.fullmatch(rb"\d{1,9}", text) else 1
