"""What the headers of one study say about people, places, devices and days, at every depth of every instance."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache

from medgan.deid.profiles.ops import CHARACTER_SET
from medgan.deid.profiles.profile import Profile
from medgan.deid.profiles.table import dictionary_vr
from medgan.deid.scrub.charset import readings
from medgan.deid.scrub.tree import DataSet
from medgan.deid.words.known import Known

DAYS = ("DA", "DT")
NAMES, VALUES, DATES = "names", "values", "dates"


@dataclass
class Identity:
    """Names, other identifying values, and dates; each raw value is decoded once."""

    profile: Profile
    names: set[str] = field(default_factory=set)
    values: set[str] = field(default_factory=set)
    dates: set[str] = field(default_factory=set)
    _seen: set[tuple[str, bytes, bytes]] = field(default_factory=set)

    def __post_init__(self) -> None:
        self._kinds = kinds(self.profile)

    def add(self, data: DataSet, charset: bytes = b"") -> None:
        """Take what one data set says; `charset` is the one in force around it."""
        own = data.get(CHARACTER_SET)
        if own is not None:
            charset = own.value
        known = self._kinds
        for tag, element in data.items():
            if element.items is not None:
                for item in element.items:
                    self.add(item, charset)
                continue
            kind = known.get(tag)
            if kind is None:
                kind = known[tag] = _kind(self.profile, tag)
            if kind or element.vr == "PN":
                self._take(kind or NAMES, element.value, charset)

    def known(self) -> Known:
        return Known.of(self.names, self.values, self.dates)

    def _take(self, kind: str, value: bytes, charset: bytes) -> None:
        if (kind, value, charset) in self._seen:
            return
        self._seen.add((kind, value, charset))
        found = {NAMES: self.names, VALUES: self.values, DATES: self.dates}[kind]
        for text in readings(value, charset):
            found.update(part.strip(" \0") for part in text.split("\\") if part.strip(" \0"))


@lru_cache(maxsize=16)
def kinds(profile: Profile) -> dict[int, str]:
    """What each tag says of somebody under a profile, filled as tags come by."""
    return {}


def _kind(profile: Profile, tag: int) -> str:
    if tag >> 16 & 1:
        return ""
    vr = dictionary_vr(tag)
    if vr in DAYS:
        return DATES
    return NAMES if vr == "PN" else VALUES if profile.identifies(tag) else ""
