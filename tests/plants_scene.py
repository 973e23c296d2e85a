"""One file while identity is planted in it: the data set, whose it is, and a note of everything planted."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from plants_people import Person, Study
from plants_text import sentence
from pydicom import config
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.tag import BaseTag, Tag

Path = tuple[int, ...]  # tags from the root down, without item numbers
LETTERS = "BCDFGHJKLMNPQRSTVWXZ"


@dataclass(frozen=True, slots=True)
class Plant:
    """What was put in one place. Without a path, `needles` may stand nowhere in the file; with one, not there."""

    place: str
    path: Path | None
    needles: tuple[str, ...]
    keep: tuple[str, ...] = ()


@dataclass(slots=True)
class Scene:
    """A data set being planted; `late` changes its bytes after it was written."""

    ds: Dataset
    rng: random.Random
    person: Person
    study: Study
    new_uid: Callable[[], str]
    plants: list[Plant] = field(default_factory=list)
    late: list[Callable[[bytes], bytes]] = field(default_factory=list)

    def plant(self, one: Plant) -> None:
        """Remember what was planted; a path holds one thing, the last."""
        self.plants = [other for other in self.plants if other.path is None or other.path != one.path]
        self.plants.append(one)

    def nonce(self, place: str, path: Path | None = None) -> str:
        """A word that exists nowhere else: where it turns up, this place leaked."""
        word = "".join(self.rng.choice(LETTERS) for _ in range(9))
        self.plant(Plant(place, path, (word,)))
        return word

    def secret(self, place: str, most: int = 64) -> str:
        """The family name and a nonce, for a place that is removed as a whole."""
        return f"{self.nonce(place)} {self.person.family}"[:most]

    def described(self, place: str, path: Path, most: int = 64) -> str:
        """A description with a mention in it: what names somebody goes, the medical words stay."""
        mention, keep = sentence(self.rng, self.person, self.study, most)
        self.plant(Plant(f"{place}: {mention.form}", path, mention.needles, keep))
        return mention.text

    def note(self, place: str, path: Path | None, *needles: str) -> None:
        self.plant(Plant(place, path, needles))


def put(ds: Dataset, tag: Any, vr: str, value: Any) -> BaseTag:
    """Set an element as it is, legal or not."""
    key, known = Tag(tag), config.replace_un_with_known_vr
    config.replace_un_with_known_vr = known and vr != "UN"
    try:
        ds[key] = DataElement(key, vr, value, validation_mode=config.IGNORE)
    finally:
        config.replace_un_with_known_vr = known
    return key


def item(*elements: tuple[Any, str, Any]) -> Dataset:
    ds = Dataset()
    for tag, vr, value in elements:
        put(ds, tag, vr, value)
    return ds


def put_items(ds: Dataset, tag: Any, *items: Dataset) -> None:
    put(ds, tag, "SQ", Sequence(items))


def code(value: str, scheme: str, meaning: str) -> Dataset:
    return item((0x00080100, "SH", value), (0x00080102, "SH", scheme), (0x00080104, "LO", meaning))
