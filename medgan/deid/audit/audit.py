"""Gate 1: a second look at each result, which shares no code with the scrubber.

It reads source and result with its own walk over the bytes and its own reading of the tables, searches the result for
what identifies in the source, and checks what the profile requires of every element. Findings carry an attribute's
keyword and a kind, never a value. Missing evidence is a finding.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from medgan.deid.audit.container import Treated, container, markers, private, top
from medgan.deid.audit.elements import PIXELS, Element, Parsed, parse
from medgan.deid.audit.evidence import Evidence, Finding
from medgan.deid.audit.required import (
    DUMMIES,
    FREE,
    NUMERIC,
    OUR_TEXT,
    TERMS,
    TIMES,
    Required,
    group_must_go,
    keyword,
    known,
    required_by,
    sequence_tags,
    vr_of,
)
from medgan.deid.audit.timeline import dates, gathered, references, unmapped
from medgan.deid.audit.untouched import ITEM, pixels

__all__ = ["Evidence", "Finding", "Treated", "audit", "sequence_tags"]

NOT_SEARCHED = TIMES | NUMERIC | {"UI", "SQ", "AS"}
NAMED = frozenset((0x00100010, 0x00100020))  # PatientName, PatientID: the pseudonym stands there, at any depth
NUMBERS = frozenset(("DS", "IS"))
LONGEST_BULK = 4096  # bytes of a binary value that are also read as text
PRINTED = re.compile(rb"[ -~\x80-\xff]{5,}")


def audit(
    source: Parsed,
    result: bytes,
    evidence: Evidence,
    *,
    patient_key: str,
    shift_days: int,
    treated: Treated,
) -> list[Finding]:
    """Everything that is wrong with `result`; an empty list clears it.

    `evidence` knows all source instances of the study, and the promise that the result is held against.
    """
    try:
        parsed = parse(result, sequence_tags())
    except ValueError:
        return [Finding("", "result_not_parsable")]
    required = required_by(evidence.promise, top(parsed.elements, 0x00080016).decode("latin-1"))
    findings = [*container(parsed), *markers(source, parsed, required, patient_key, treated)]
    findings += _elements(parsed, evidence, required, patient_key.encode())
    findings += _items(parsed, required, patient_key.encode())
    before, after = gathered(source), gathered(parsed)
    findings += dates(before, after, evidence.promise, shift_days)
    findings += references(before, after, evidence, required)
    findings += pixels(source, parsed, result, treated)
    return findings


def _elements(parsed: Parsed, evidence: Evidence, required: Required, pseudonym: bytes) -> Iterable[Finding]:
    """Each element by itself; one that was cleared in an earlier instance of the study is not looked at again."""
    cleared = evidence.cleared.setdefault(required.sop_class, {})
    allowed = private(parsed, evidence.promise)
    fresh: list[tuple[Element, str]] = []
    for e in parsed.elements:
        tag = e[0]
        if tag in NAMED and e.value.strip(b" \0") == pseudonym:
            continue
        if tag == PIXELS:
            yield from _stream(e, evidence)
        elif tag & 0x10000:
            if not allowed[e]:
                yield Finding("private", "group_must_go")
            else:
                fresh.append((e, allowed[e]))
        elif (kind := cleared.get(e[:4])) is None:
            fresh.append((e, vr_of(e)))
        elif kind:
            yield Finding(keyword(e.tag), kind)
    searched = b"\n\n".join(e.value for e, vr in fresh if vr not in NOT_SEARCHED and e.tag not in OUR_TEXT)
    suspect = bool(evidence.in_bytes(searched))
    for e, vr in fresh:
        kind = _fault(e, vr, required, evidence) or _tells(e, vr, evidence, suspect)
        if not e.tag >> 16 & 1:
            cleared[e[:4]] = kind
        if kind:
            yield Finding(keyword(e.tag), kind)


def _fault(e: Element, vr: str, required: Required, evidence: Evidence) -> str:
    """What the profile has against an element."""
    if not e.tag >> 16 & 1:
        if group_must_go(e.tag):
            return "group_must_go"
        if not known(e.tag):
            return "unknown_attribute"
    if vr == "SQ":
        return "must_be_removed" if required.action(e.tag, e.depth > 0) == "X" else "no_items" if e.value else ""
    if vr == "UI" and unmapped([e.value], evidence):
        return "unmapped_uid"
    return required.fault(e, vr)


def _tells(e: Element, vr: str, evidence: Evidence, suspect: bool) -> str:
    """What of the source an element holds; `suspect` when the bytes of some element do."""
    value = e.value.strip(b" \0")
    if vr in NOT_SEARCHED or e.tag in OUR_TEXT or value in DUMMIES or value in evidence.ours:
        return ""
    if vr in NUMBERS:
        return evidence.numbered(value)
    if suspect and (kind := evidence.in_bytes(value)):
        return kind
    if vr == "CS" and all(part.strip() in TERMS for part in value.split(b"\\")):
        return ""
    if vr not in FREE:
        value = b" ".join(PRINTED.findall(value[:LONGEST_BULK]))
    return evidence.told(value.decode("latin-1"))


def _items(parsed: Parsed, required: Required, pseudonym: bytes) -> Iterable[Finding]:
    """Nothing inside sequences that had to be emptied, nothing telling in the items of those that are dummies."""
    faults = {}
    for path in set(parsed.paths[1:]):
        actions = [required.action(tag, depth > 0) for depth, tag in enumerate(path)]
        faults[path] = "must_be_empty" if "Z" in actions else "must_be_a_dummy" if "D" in actions else ""
    for e in parsed.elements if any(faults.values()) else ():
        fault = e.depth and faults[parsed.paths[e.home]]
        told = vr_of(e) in FREE - {"CS"} and e.value.strip(b" \0") not in DUMMIES | {pseudonym}
        if fault == "must_be_empty" or (fault and told):
            yield Finding(keyword(e.tag), fault)


def _stream(e: Element, evidence: Evidence) -> Iterable[Finding]:
    """A compressed stream has room for comments, and a damaged file a header in its pixels. Nested pixels are icons."""
    if e.depth:
        yield Finding("PixelData", "nested_pixels")
    elif e.value.startswith(ITEM):
        if evidence.in_bytes(e.value):
            yield Finding("PixelData", "value_in_stream")
    elif evidence.in_pixels(e.value):
        yield Finding("PixelData", "value_in_pixels")
