"""Apply a profile to one data set, at every depth, on raw elements: only what an action needs is decoded.

What stays is the very element of the source; all text that comes out is ASCII, so no character set is declared.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import NamedTuple

from medgan.deid.profiles.ops import BY_VR, CHARACTER_SET, Op
from medgan.deid.profiles.plans import Plan, plans
from medgan.deid.profiles.profile import Profile, coding_schemes
from medgan.deid.profiles.table import attribute_type, dictionary_vr
from medgan.deid.scrub import structured
from medgan.deid.scrub.tree import DataSet, Element, opened, text
from medgan.deid.scrub.values import DUMMIES, DUMMY_TEXT, Values
from medgan.deid.words.known import Known

CONTENT, CODING_SCHEME = 0x0040A730, 0x00080102
# ReferencedImageSequence, ReferencedInstanceSequence, SourceImageSequence
REFERENCES, REFERENCED_SERIES = (0x00081140, 0x0008114A, 0x00082112), 0x00081115
# the name of an ethics committee (D in the table) may not stand without its approval number (X): Type 1C
COMMITTEE, APPROVAL = 0x00120081, 0x00120082
RESERVED = range(0x10, 0x100)  # numbers of private creators
LEFT = frozenset(("UI", "CS", "DA", "TM", "DT"))  # what the scrubber makes something else of in any item
UNSTRIPPED = frozenset(("OB", "OW", "UN"))
_RETYPED = (frozenset(("LO", "SH", "ST", "LT", "UT", "UC", "CS")), frozenset(("DS", "IS")), frozenset(("US", "SS")))
_BULK_RETYPED = frozenset(("OB", "OW", "US", "SS"))


class Scrubbed(NamedTuple):
    """A clean data set, and the creators whose private attributes are still in it."""

    elements: DataSet
    creators: frozenset[str]


@dataclass
class Scrubber:
    """One patient's scrubber: keys and known values in, counts of what was done by (keyword, action) out."""

    profile: Profile
    secret: bytes
    patient_key: str
    shift_days: int
    known: Known
    counts: Counter[tuple[str, str]] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.values = Values(self.profile, self.secret, self.patient_key, self.shift_days, self.known)
        self.plans = plans(self.profile)
        self.private: dict[tuple[int, str], Plan] = {}

    def scrub(self, elements: DataSet, sop_class: str, *, little: bool) -> Scrubbed:
        """A clean copy of a top-level data set; the source and its elements stay as they are."""
        walk = _Walk(self, sop_class, little)
        clean = walk.data_set(elements, 0, 0, b"")
        if REFERENCED_SERIES in clean and _unreferenced(elements, clean, sop_class):
            del clean[REFERENCED_SERIES]
            self.counts["ReferencedSeriesSequence", "remove"] += 1
        if COMMITTEE in clean and APPROVAL in elements and APPROVAL not in clean:
            del clean[COMMITTEE]
            self.counts["ClinicalTrialProtocolEthicsCommitteeName", "remove"] += 1
        return Scrubbed(clean, frozenset(walk.creators))


@dataclass
class _Walk:
    """One pass over one instance."""

    scrubber: Scrubber
    sop_class: str
    little: bool
    creators: set[str] = field(default_factory=set)

    def data_set(self, data: DataSet, depth: int, sequence: int, charset: bytes) -> DataSet:
        """`sequence` is the tag around this data set, `charset` the one in force there."""
        own = data.get(CHARACTER_SET)
        if own is not None:
            charset = own.value
        scrubber, counts = self.scrubber, self.scrubber.counts
        plans = scrubber.plans.of(self.sop_class, sequence)
        known_scheme = depth > 0 and text(data, CODING_SCHEME) in coding_schemes()
        clean: DataSet = {}
        private: list[Element] = []
        for tag, element in data.items():
            if tag >> 16 & 1:
                private.append(element)
                continue
            plan = plans.get(tag) or scrubber.plans.add(tag, self.sop_class, sequence)
            kept: Element | None
            if plan.op is Op.REMOVE or (plan.op is Op.PIXELS and depth) or not _plausible(element, plan):
                kept = None  # nested pixels: a small copy of what was not looked at
            elif plan.op is Op.KEEP and plan.vr != "SQ" or plan.op is Op.PIXELS:
                kept = element
            elif plan.vr == "SQ":
                kept = self.sequence(element, plan, depth, charset)
            else:
                kept = self.leaf(element, plan, charset, known_scheme=known_scheme)
            if kept is None:
                counts[plan.removed] += 1
            else:
                clean[tag] = kept
        if private:
            self.private(private, clean, depth, charset)
        return clean

    def sequence(self, element: Element, plan: Plan, depth: int, charset: bytes) -> Element | None:
        items = opened(element, little=self.little, depth=depth)
        if items is None or plan.op is Op.UID:
            return None
        if plan.op in (Op.EMPTY, Op.DUMMY):
            self.scrubber.counts[plan.name, plan.op.value] += 1
            items = [_blank(item) for item in items[:1]] if plan.op is Op.DUMMY else []
        if element.tag in structured.SEQUENCES:
            kept = structured.clean_items(items, self.scrubber.profile.columns)
            self.scrubber.counts[plan.removed] += len(items) - len(kept)
            if items and not kept and element.tag == CONTENT:
                return None  # Type 1C: without items it may not stand
            items = kept
        clean = [self.data_set(item, depth + 1, element.tag, charset) for item in items]
        return Element(element.tag, "SQ", b"", clean)

    def leaf(self, element: Element, plan: Plan, charset: bytes, *, known_scheme: bool) -> Element:
        op = plan.op
        if op is Op.CODE_VALUE and not known_scheme:
            op = Op.TEXT
        old = element.value if element.vr in UNSTRIPPED else element.value.strip(b" \0")
        new = self.scrubber.values.changed(op, plan.vr, old, charset)
        if not new and old and op is Op.TEXT and plan.needs_value:
            new = DUMMY_TEXT
        if new == old:
            return element
        self.scrubber.counts[plan.name, op.value] += 1
        return Element(element.tag, element.vr, new)

    def private(self, elements: list[Element], clean: DataSet, depth: int, charset: bytes) -> None:
        """Keep what the profile knows as safe, by the reservations of this very item, and only their creators."""
        blocks = {e.tag: _creator(e) for e in elements if e.tag & 0xFFFF in RESERVED}
        counts, plans, known, kept_blocks = self.scrubber.counts, self.scrubber.plans, self.scrubber.private, 0
        for element in elements:
            tag = element.tag
            if tag in blocks:
                continue
            block = tag & 0xFFFF0000 | (tag >> 8 & 0xFF)
            creator = blocks.get(block, "")
            plan = known.get((tag, creator)) or known.setdefault((tag, creator), plans.private(tag, creator))
            kept = self.safe(element, plan, depth, charset) if plan.op is not Op.REMOVE else None
            if kept is None:
                counts[plan.removed] += 1
                continue
            clean[tag] = kept
            counts[plan.name, "keep"] += 1
            self.creators.add(creator)
            if block not in clean:
                clean[block] = Element(block, "LO", creator.encode("ascii"))
                kept_blocks += 1
        counts["private", "remove"] += len(blocks) - kept_blocks

    def safe(self, element: Element, plan: Plan, depth: int, charset: bytes) -> Element | None:
        if plan.vr == "SQ":
            return self.sequence(element, plan, depth, charset)
        if element.vr == "UN":
            if plan.size and not self.little:
                return None  # in which byte order it is cannot be told
            element = Element(element.tag, plan.vr, element.value)
        if not _plausible(element, plan):
            return None
        return element if plan.op is Op.KEEP else self.leaf(element, plan, charset, known_scheme=False)


def _unreferenced(source: DataSet, clean: DataSet, sop_class: str) -> bool:
    """Whether the last references to instances went: in which series they are may not be told then (Type 1C)."""
    return _refers(source) and not _refers(clean) and attribute_type(REFERENCED_SERIES, sop_class) != "1"


def _refers(data: DataSet) -> bool:
    others = (element for tag, element in data.items() if tag != REFERENCED_SERIES and element.items)
    return any(element.tag in REFERENCES or any(map(_refers, element.items or ())) for element in others)


def _creator(element: Element) -> str:
    return element.value.rstrip(b" \0").decode("ascii", "replace")


def _plausible(element: Element, plan: Plan) -> bool:
    """Whether VR and length in the file are such as the dictionary allows for the tag; a lying one goes."""
    found, vr = element.vr, plan.vr
    if plan.size and element.items is None:
        length = len(element.value)
        if length % plan.size or (plan.length and length not in (0, plan.length)):
            return False
    if found == vr or not vr:
        return True
    if found in _BULK_RETYPED and vr in _BULK_RETYPED:
        return True
    return any(found in group and vr in group for group in _RETYPED)


def _blank(item: DataSet) -> DataSet:
    """A dummy item: no text of the source; UIDs, codes, numbers and dates are left to the scrubber."""
    blank: DataSet = {}
    for tag, element in item.items():
        vr = dictionary_vr(tag)
        if tag >> 16 & 1:
            continue
        if vr == "SQ":
            blank[tag] = Element(tag, vr, b"", [_blank(inner) for inner in (element.items or [])[:1]])
        elif vr in LEFT or BY_VR.get(vr) is Op.KEEP:
            blank[tag] = element
        else:
            blank[tag] = Element(tag, vr or "UN", DUMMIES.get(vr, DUMMY_TEXT) if element.value else b"")
    return blank
