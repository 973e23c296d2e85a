"""Looks for planted identity in results: in bytes, in text and in values, in every form it could have been written."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import Any

from plants import Case
from plants_text import plain
from pydicom.dataset import Dataset

ENCODINGS = ("latin-1", "utf-8", "utf-16-le", "utf-16-be", "gb18030", "iso2022_jp", "euc_kr", "shift_jis")
NO_NAME = {"klinik"}  # words of institutions that are no secret
NEW_UID = re.compile(rb"2\.25\.\d+")  # digits of a new UID may repeat a number by chance
PIXELS = 0x7FE00010


@lru_cache(4096)
def squeezed(text: str) -> str:
    """Folded text without anything but letters and digits."""
    return "".join(letter for letter in plain(text).casefold() if letter.isalnum()) or text.casefold()


@lru_cache(256)
def needles(case: Case) -> frozenset[str]:
    """What may stand nowhere in a result of this patient: whole values and the parts that identify alone."""
    found = set()
    for secret in case.person.secrets:
        found.add(squeezed(secret))
        for part in re.split(r"[\W_]+", secret):
            folded = squeezed(part)
            if len(folded) >= (7 if folded.isdigit() else 5) and folded not in NO_NAME:
                found.add(folded)
    return frozenset(needle for needle in found if len(needle) >= 5)


def in_bytes(data: bytes, words: Iterable[str]) -> set[str]:
    """Words whose bytes are there, in any encoding and case, with and without accents."""
    text = NEW_UID.sub(b"", data)
    lower = text.lower()
    return {word for word in words if any(form in lower or form in text for form in _forms(word))}


@lru_cache(65536)
def _forms(word: str) -> tuple[bytes, ...]:
    forms = set()
    for spelt in (word, word.lower(), plain(word).lower()):
        if len(spelt) >= 2:
            for encoding in ENCODINGS:
                forms.add(_escaped(spelt.encode(encoding, "ignore")))
    return tuple(form for form in forms if len(form) >= 4)


def _escaped(form: bytes) -> bytes:
    """Without the ISO 2022 escape sequences at both ends."""
    return re.sub(rb"^\x1b\$.|\x1b\(.$", b"", form)


Path = tuple[int, ...]


def texts(ds: Dataset, above: Path = ()) -> Iterator[tuple[Path, str]]:
    """(path of tags, text) of every value of a data set but its pixels and its new UIDs."""
    for tag, vr, value in elements(ds):
        path = (*above, tag)
        if vr == "SQ":
            for one in value or ():
                yield from texts(one, path)
        elif tag != PIXELS:
            yield from ((path, text) for text in _written(value))


def elements(ds: Dataset) -> Iterator[tuple[int, str, Any]]:
    """(tag, VR, value) of each element; what pydicom cannot convert comes as its bytes."""
    for tag in sorted(ds.keys()):
        raw = ds.get_item(tag)
        try:
            element = ds[tag]
        except (NotImplementedError, ValueError, TypeError, LookupError, OSError, OverflowError, struct.error):
            yield int(tag), "UN", raw.value if raw is not None else b""
        else:
            yield int(tag), element.VR, element.value


def _written(value: Any) -> Iterator[str]:
    if isinstance(value, bytes):
        yield value.decode("latin-1")
        yield value.decode("utf-16-le", "ignore")
        yield value.decode("utf-8", "ignore")
    elif isinstance(value, str) or not hasattr(value, "__iter__"):
        yield str(value)
    elif len(value) < 4096:
        for one in value:
            yield from _written(one)


def leaks(case: Case, data: bytes, result: Dataset) -> dict[str, set[str]]:
    """Identity in a result: place -> what was found (for the person at the console only, never for a report)."""
    found: dict[str, set[str]] = {}
    places = {plant.path: plant.place for plant in case.plants if plant.path}
    hidden = needles(case)
    for path, text in texts(result):
        folded = squeezed(text)
        if folded.startswith("225") and text.startswith("2.25."):
            continue
        hits = {needle for needle in hidden if needle in folded}
        if hits:
            place = places.get(path, f"elsewhere: {'>'.join(f'{t:08X}' for t in path)}")
            found.setdefault(place, set()).update(hits, {f"at {path[-1]:08X}: {text[:80]!r}"})
        for plant in case.plants:
            if plant.path == path and (stayed := {n for n in plant.needles if stays(n, text)}):
                found.setdefault(plant.place, set()).update(stayed, {f"at {path[-1]:08X}: {text[:80]!r}"})
    for plant in case.plants:
        if plant.path is None and plant.needles and (stayed := in_bytes(data, plant.needles)):
            found.setdefault(plant.place, set()).update(stayed)
    if not found and (stayed := in_bytes(data, hidden | set(case.person.secrets))):
        found["bytes"] = stayed
    return found


def stays(needle: str, text: str) -> bool:
    """Whether a needle is a run of whole tokens of a text, whatever stands between them."""
    tokens = [squeezed(token) for token in re.split(r"[\W_]+", text) if token]
    wanted = squeezed(needle)
    if len(wanted) >= 5:
        return wanted in "".join(tokens)
    return wanted in tokens
