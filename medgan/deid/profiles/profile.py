"""A de-identification profile: what happens to each attribute, and which codes say so.

`basic` retains nothing; `research` is the default. Own profiles come from own_profile.py; the tables are in table.py.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import date
from functools import cache, cached_property
from typing import Literal, get_args

from medgan import digest as digests
from medgan.deid.profiles import options, private
from medgan.deid.profiles.ops import (
    BY_VR,
    CODE_VALUES,
    CODING_SCHEME,
    NUMERIC_BULK,
    RETAINED_VRS,
    TEMPORAL,
    TIMEZONE,
    Op,
    regardless,
)
from medgan.deid.profiles.options import CLEAN_FACES, CLEAN_PIXELS, SAFE_PRIVATE, Code, Temporal
from medgan.deid.profiles.private import PrivateRule
from medgan.deid.profiles.table import (
    EDITION,
    TEXT_VRS,
    attribute_type,
    identity_tags,
    needed_text,
    read_table,
    resolve,
    rows,
    typed,
)
from medgan.errors import UsageError

VERSION = 2  # bump when the same instance should come out differently

REFERENCED_IMAGES, SOURCE_IMAGES = 0x00081140, 0x00082112
RuleAction = Literal["keep", "remove", "empty", "dummy", "clean", "uid"]
RULE_ACTIONS: tuple[str, ...] = get_args(RuleAction)
CELL_OF_RULE = {"keep": "K", "remove": "X", "empty": "Z", "dummy": "D", "clean": "C", "uid": "U"}
SIMPLE = {"X": Op.REMOVE, "Z": Op.EMPTY, "D": Op.DUMMY}


@dataclass(frozen=True)
class Rule:
    """A profile's own word on one attribute, which goes before the table."""

    tag: int
    action: RuleAction
    because: str


@dataclass(frozen=True)
class Decision:
    """Who decided that a profile retains more than `research`, when, and why."""

    by: str
    on: date
    because: str


@dataclass(frozen=True)
class Profile:
    """Columns of the table that are applied, rules that go before them, and the codes that say so (CID 7050)."""

    name: str
    options: tuple[str, ...]
    rules: tuple[Rule, ...] = ()
    private_rules: tuple[PrivateRule, ...] = ()
    keep_annotations: bool = False
    age_band_years: int = 1
    decided: Decision | None = None
    _ops: dict[tuple[int, str, str, int], Op] = field(default_factory=dict, compare=False, repr=False)

    @cached_property
    def columns(self) -> tuple[str, ...]:
        return options.columns_of(self.options)

    @cached_property
    def codes(self) -> tuple[Code, ...]:
        """Codes claimed on every instance."""
        return options.codes_of(self.options)[0]

    @cached_property
    def conditional(self) -> tuple[Code, ...]:
        """Codes claimed only on an instance where their option ran."""
        return options.codes_of(self.options)[1]

    @cached_property
    def temporal(self) -> Temporal:
        return options.temporal_of(self.options)

    @property
    def cleans_pixels(self) -> bool:
        return CLEAN_PIXELS in self.conditional

    @property
    def removes_faces(self) -> bool:
        return CLEAN_FACES in self.conditional

    @property
    def cautions(self) -> tuple[str, ...]:
        """What the options risk, as sentences for a report."""
        found = (option.caution for name, option in options.OPTIONS.items() if name in self.options)
        return tuple(caution for caution in found if caution)

    @cached_property
    def digest(self) -> str:
        """Hex of everything that changes a result, the edition and version of the tables with it."""
        content = {
            "edition": EDITION,
            "version": VERSION,
            "name": self.name,
            "options": sorted(self.options),
            "rules": [[rule.tag, rule.action] for rule in self.rules],
            "private": [[r.group, r.creator, r.low_byte, r.vr] for r in self.private_rules],
            "annotations": self.keep_annotations,
            "age_band_years": self.age_band_years,
        }
        return digests.sha256(digests.canonical(content))

    def claims(self, ran: Collection[str]) -> tuple[Code, ...]:
        """The codes to write on an instance; `ran` holds the code values of options that ran on it."""
        return (*self.codes, *(code for code in self.conditional if code[0] in ran))

    def op(self, tag: int, vr: str, sop_class: str, sequence: int = 0) -> Op:
        """What to do with an element; `vr` is the dictionary's, "" when the tag is unknown.

        `sequence` is the tag of the sequence around it, 0 at the top level.
        """
        key = (tag, vr, sop_class, sequence) if tag in typed() else (tag, vr, "", 0)
        found = self._ops.get(key)
        if found is None:
            found = self._ops[key] = self._decide(tag, vr, sop_class, sequence)
        return found

    def private_vr(self, group: int, creator: str, low_byte: int) -> str:
        """The VR under which a private attribute is kept and cleaned; "" when it is removed.

        `creator` is the reservation of the same item, without trailing blanks.
        """
        own = self._private.get((group, creator, low_byte))
        if own is not None:
            return own
        return private.safe_private().get((group, creator, low_byte), "") if self._keeps_private else ""

    def action(self, tag: int, sop_class: str, sequence: int = 0) -> str:
        """Code for one attribute (X, Z, D, K, C or U), by rule or table; "" when neither knows it."""
        if rule := self._rules.get(tag):
            return CELL_OF_RULE[rule.action]
        row = rows().get(tag)
        if row is None:
            return ""
        cells = [row[column] for column in self.columns if row[column]]
        if cells:
            # two options can disagree: cleaning is the stricter answer
            return "C" if "C" in cells else "K"
        return resolve(row["basic"], attribute_type(tag, sop_class, sequence))

    def needs_value(self, tag: int, sop_class: str, sequence: int = 0) -> bool:
        """Whether a text that is cleaned to nothing needs a dummy: a D in the table, or Type 1."""
        row = rows().get(tag)
        if row is None:
            return needed_text().get(tag, "").startswith("1")
        return "D" in row["basic"] or attribute_type(tag, sop_class, sequence).startswith("1")

    def identifies(self, tag: int) -> bool:
        """Whether the value of a text attribute names someone or something that this profile hides."""
        return tag in identity_tags() and self.action(tag, "") != "K"

    @cached_property
    def _rules(self) -> dict[int, Rule]:
        return {rule.tag: rule for rule in self.rules}

    @cached_property
    def _private(self) -> dict[tuple[int, str, int], str]:
        return {(rule.group, rule.creator, rule.low_byte): rule.vr for rule in self.private_rules}

    @cached_property
    def _keeps_private(self) -> bool:
        return SAFE_PRIVATE in self.conditional

    def _decide(self, tag: int, vr: str, sop_class: str, sequence: int) -> Op:
        if fixed := regardless(tag):
            return fixed
        action = self.action(tag, sop_class, sequence)
        if action in SIMPLE:
            return SIMPLE[action]
        if tag == TIMEZONE:
            return Op.NUMBER
        return self._by_vr(tag, vr, action) if action else self._unlisted(tag, vr)

    def _by_vr(self, tag: int, vr: str, action: str) -> Op:
        """The operation behind K, C or U."""
        row = rows().get(tag)
        if action == "K" and vr in TEXT_VRS and row and row["retain_patient_chars"] and tag not in self._rules:
            return Op.TEXT  # what is typed in there is as free as any description
        if action == "K" and vr in RETAINED_VRS:
            return Op.RETAIN
        if action == "K" and vr == "UI":
            return Op.KEEP
        if action == "C" and vr == "AE":
            return Op.TEXT
        # bulk values cannot be cleaned; what the IOD needs becomes a dummy
        uncleanable = Op.DUMMY if row and row["basic"] == "D" else Op.REMOVE
        return BY_VR.get(vr, uncleanable)

    def _unlisted(self, tag: int, vr: str) -> Op:
        """The operation for an attribute of which the table says nothing: numbers, codes and references stay."""
        if tag in NUMERIC_BULK:
            return Op.KEEP
        if tag in CODE_VALUES:
            return Op.CODE_VALUE
        if tag == CODING_SCHEME:
            return Op.SCHEME
        if vr == "UI" and "retain_uids" in self.columns:
            return Op.KEEP
        if vr in TEXT_VRS and "clean_desc" not in self.columns:
            needed = needed_text().get(tag, "")[:1]
            return {"1": Op.TEXT, "2": Op.EMPTY}.get(needed, Op.REMOVE)
        op = BY_VR.get(vr, Op.REMOVE)
        # a date or time that the table omits is no less one
        return Op.REMOVE if op in TEMPORAL and self.temporal == "REMOVED" else op


@cache
def profile(name: str) -> Profile:
    """The profile called `research` or `basic`. Raises UsageError for any other name."""
    if name == "basic":
        return Profile("basic", ("clean_pixel_data",))
    if name == "research":
        why = "references between the images of a study stay whole; every UID in them is mapped"
        kept = (Rule(REFERENCED_IMAGES, "keep", why), Rule(SOURCE_IMAGES, "keep", why))
        return Profile("research", options.RESEARCH, kept)
    raise UsageError("no de-identification profile of that name; expected research or basic")


@cache
def coding_schemes() -> frozenset[str]:
    """Designators of public coding schemes (after PS3.16 chapter 8): they name nobody."""
    return frozenset(row["designator"] for row in read_table("coding_schemes.csv"))
