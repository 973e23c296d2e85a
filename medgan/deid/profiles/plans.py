"""What a profile does to each tag, worked out once for all studies: the scrubber looks up and never asks twice."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

from medgan.deid.profiles.ops import BY_VR, TEMPORAL, Op
from medgan.deid.profiles.profile import Profile
from medgan.deid.profiles.table import BINARY_SIZES, dictionary_vr, fixed_length, keyword


class Plan(NamedTuple):
    """What is done to every element of one tag."""

    op: Op
    vr: str
    name: str
    length: int  # bytes of a binary number of fixed multiplicity, else 0
    size: int  # bytes of one binary number, else 0
    needs_value: bool
    removed: tuple[str, str]  # how its removal is counted


UNKNOWN = Plan(Op.REMOVE, "", "private", 0, 0, False, ("private", "remove"))


class Plans:
    """The plans of one profile, filled as tags come by."""

    def __init__(self, profile: Profile) -> None:
        self.profile = profile
        self._standard: dict[tuple[str, int], dict[int, Plan]] = {}

    def of(self, sop_class: str, sequence: int) -> dict[int, Plan]:
        """By tag, inside one sequence or at the top level (0); only for `add` to fill."""
        return self._standard.setdefault((sop_class, sequence), {})

    def add(self, tag: int, sop_class: str, sequence: int) -> Plan:
        vr, name = dictionary_vr(tag), keyword(tag)
        op = self.profile.op(tag, vr, sop_class, sequence)
        needs = self.profile.needs_value(tag, sop_class, sequence)
        plan = Plan(op, vr, name, fixed_length(tag), BINARY_SIZES.get(vr, 0), needs, (name, "remove"))
        self.of(sop_class, sequence)[tag] = plan
        return plan

    def private(self, tag: int, creator: str) -> Plan:
        """Op.REMOVE unless the profile knows group, creator and low byte, and its VR can be cleaned.

        Not remembered here: a creator that nobody knows is the file's own text.
        """
        vr = self.profile.private_vr(tag >> 16, creator, tag & 0xFF) if creator else ""
        if not vr:
            return UNKNOWN
        op = BY_VR.get(vr, Op.REMOVE)
        if op is Op.EMPTY or (op in TEMPORAL and self.profile.temporal == "REMOVED"):
            op = Op.REMOVE
        if op is Op.UID and "retain_uids" in self.profile.columns:
            op = Op.KEEP
        name = f"private ({creator})"
        return Plan(op, vr, name, 0, BINARY_SIZES.get(vr, 0), False, (name, "remove"))


@lru_cache(maxsize=16)
def plans(profile: Profile) -> Plans:
    return Plans(profile)
