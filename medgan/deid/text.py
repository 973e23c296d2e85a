"""Free text: only words known to be safe stay, and nothing that the headers say about the person.

`safe_words.csv` holds the lower-case words of the concept names in DICOM's and SNOMED's codes and of PS3.6's
attribute names (both from pydicom), the usual words of protocols and findings, and makers' names; without words
that are also common names. A word that is not there goes: a name that no header mentions is caught by that.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache

from medgan.deid.profile import read_table

SHORTEST_PHRASE = 4
AGE_CAP = 89

_PIECES = re.compile(r"[^\W_]+|[\W_]+")
_SPLIT = re.compile(r"[^\W\d_]+|\d+")
# dates, phone and record numbers: several groups of digits, or one long one
_NUMBERS = re.compile(r"\d+(?:\s?[./:,\-()+]\s?\d+|\s\d+)+|\d{4,}")
_DECIMAL = re.compile(r"\d{1,3}\.\d{1,3}")
_AGES = re.compile(
    r"(?<!\d)(9\d|1[0-2]\d)(?=[\s\-]*(?:y\b|yo\b|yr|year|j\b|jahr|jähr|ans\b|años|岁|歳|세))", re.IGNORECASE
)
_LONGEST_NUMBER = 4  # digits in a group of numbers that may stay: "2 x 10", "0.625", "120"


@dataclass(frozen=True)
class Known:
    """What the headers of one study say about people and places, folded."""

    words: frozenset[str] = frozenset()  # parts of names
    phrases: tuple[str, ...] = ()  # whole values: ids, institutions, addresses; longest first

    @classmethod
    def of(cls, names: Iterable[str], values: Iterable[str]) -> Known:
        words = {word for name in names for word in re.findall(r"[^\W\d_]{2,}", fold(name))}
        phrases = {fold(value).strip() for value in [*names, *values]}
        usable = (phrase for phrase in phrases if len(phrase) >= SHORTEST_PHRASE)
        return cls(frozenset(words), tuple(sorted(usable, key=lambda phrase: (-len(phrase), phrase))))


@cache
def safe_words() -> frozenset[str]:
    return frozenset(row["word"] for row in read_table("safe_words.csv"))


@cache
def fold(text: str) -> str:
    """Lower case, without accents, with the separators of names as blanks: how two spellings are compared."""
    plain = unicodedata.normalize("NFKD", text).casefold()
    plain = "".join(c for c in plain if not unicodedata.combining(c))
    return re.sub(r"[\^=_\s]+", " ", plain)


def clean(text: str, known: Known) -> str:
    """The safe part of a free text, in ASCII: safe words, short numbers, and what stood between them."""
    text = _AGES.sub(" ", text)
    folded = unicodedata.normalize("NFKD", text)
    plain = "".join(c for c in folded if not unicodedata.combining(c))
    plain = _without_phrases(re.sub(r"\s+", " ", plain), known.phrases)
    plain = _NUMBERS.sub(_short_numbers, plain)
    kept: list[str] = []
    gap = ""
    for piece in _PIECES.findall(plain):
        if not piece[0].isalnum():
            gap = gap or piece
        elif is_safe(piece, known):
            kept.append((_joint(gap) if kept else "") + piece)
            gap = ""
        else:
            gap = gap or " "
    return "".join(kept)


def is_safe(word: str, known: Known) -> bool:
    """Whether a run of letters and digits may stay: T1, axial, mprage2, 5mm; not Smith, JD12, 88412."""
    if not word.isascii():
        return False
    lower = word.lower()
    parts = _SPLIT.findall(lower)
    letters = [part for part in parts if part.isalpha()]
    digits = sum(len(part) for part in parts if part.isdigit())
    if digits > 3 or any(part in known.words for part in letters):
        return False
    if digits and len(letters) <= 2 and all(len(part) == 1 for part in letters):
        return True
    return all(part in safe_words() for part in letters)


def _joint(gap: str) -> str:
    mark = gap[:1] if gap[:1] in tuple("_-/+.,:%") else ""
    return mark + (" " if not mark or " " in gap else "")


def _short_numbers(match: re.Match[str]) -> str:
    text = match.group()
    short = sum(c.isdigit() for c in text) <= _LONGEST_NUMBER and not re.search(r"\d{4}", text)
    parts = len(re.findall(r"\d+", text))
    return text if _DECIMAL.fullmatch(text) or (short and parts == 2) else " "


def _without_phrases(text: str, phrases: tuple[str, ...]) -> str:
    lower = fold_keeping_length(text)
    for phrase in phrases:
        start = lower.find(phrase)
        while start >= 0:
            text = text[:start] + " " * len(phrase) + text[start + len(phrase) :]
            lower = lower[:start] + " " * len(phrase) + lower[start + len(phrase) :]
            start = lower.find(phrase)
    return text


def fold_keeping_length(text: str) -> str:
    """Lower case and blanks for separators, one character for one, so that places in `text` stay valid."""
    return "".join(" " if c in "^=_" or c.isspace() else (c.casefold() if len(c.casefold()) == 1 else c) for c in text)
