"""Free text: only words known to be safe stay, and nothing that the headers say about the person.

`safe_words.csv` holds the lower-case words of the concept names in DICOM's and SNOMED's codes and of PS3.6's
attribute names (both from pydicom), the usual words of protocols and findings in six languages, and makers' names;
without words that are also common names of people or places. A word that is not there goes: a name that no header
mentions is caught by that.
"""

from __future__ import annotations

import re
import unicodedata
from functools import cache, lru_cache
from importlib import resources

from medgan.deid.words.dates_in_text import without_asian_dates, without_numbers
from medgan.deid.words.known import Known, fold, plain

__all__ = ["Known", "clean", "fold", "is_safe", "safe_words"]

MOST_DIGITS = 3  # in one word: 120kV, MR750; four only in a diffusion weighting
MOST_ROUNDS = 16  # a text that is still not clean then was made to be so, and goes as a whole
SHORTEST_CAMEL = 3  # letters of each part of a word such as HeadNeck

_PIECES = re.compile(r"[^\W_]+|[\W_]+")
_SPLIT = re.compile(r"[^\W\d_]+|\d+")
_CAMEL = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")
_WEIGHTING = re.compile(r"b?[1-9][05]00")


@cache
def safe_words() -> frozenset[str]:
    lines = resources.files("medgan.deid").joinpath("safe_words.csv").read_text(encoding="ascii").split()
    return frozenset(lines[1:])


def clean(text: str, known: Known) -> str:
    """The safe part of a free text, in ASCII: safe words, short numbers, and what stood between them."""
    text = plain(without_asian_dates(unicodedata.normalize("NFKC", text)))
    text = re.sub(r"\s+", " ", text)
    # what is taken out may have stood between the halves of a value or of a date
    for _ in range(MOST_ROUNDS):
        kept = _once(text, known)
        if kept == text:
            return kept
        text = kept
    return ""


def _once(text: str, known: Known) -> str:
    return _safe_part(without_numbers(_without_values(text, known), known), known)


def is_safe(word: str, known: Known) -> bool:
    """Whether a run of letters and digits may stay: T1, axial, mprage2, 5mm; not Smith, JD12, 88412."""
    return _is_word(word) and not _names(word, known)


def _names(word: str, known: Known) -> bool:
    """Whether a run of letters and digits holds a part of a known name."""
    parts = _SPLIT.findall(word)
    return any(part.lower() in known.words for whole in parts for part in (whole, *_CAMEL.findall(whole)))


@lru_cache(maxsize=65536)
def _is_word(word: str) -> bool:
    if not word.isascii():
        return False
    parts = _SPLIT.findall(word)
    letters = [part for part in parts if part.isalpha()]
    digits = sum(len(part) for part in parts if part.isdigit())
    if digits > MOST_DIGITS and not _WEIGHTING.fullmatch(word.lower()):
        return False
    if digits and len(letters) <= 2 and all(len(part) == 1 for part in letters):
        return True
    return all(part.lower() in safe_words() or _is_camel(part) for part in letters)


def _is_camel(word: str) -> bool:
    parts = _CAMEL.findall(word)
    return len(parts) > 1 and all(len(part) >= SHORTEST_CAMEL and part.lower() in safe_words() for part in parts)


def _without_values(text: str, known: Known) -> str:
    for start, end in known.places(text):
        text = text[:start] + " " * (end - start) + text[end:]
    return text


def _safe_part(text: str, known: Known) -> str:
    pieces = _PIECES.findall(text)
    named = [piece[0].isalnum() and _names(piece, known) for piece in pieces]
    kept: list[str] = []
    gap = ""
    for number, piece in enumerate(pieces):
        if not piece[0].isalnum():
            gap = gap or piece
        elif _is_word(piece) and not named[number] and not _initial(number, pieces, named, known):
            kept.append((_joint(gap) if kept else "") + piece)
            gap = ""
        else:
            gap = gap or " "
    return "".join(kept)


def _initial(number: int, pieces: list[str], named: list[bool], known: Known) -> bool:
    """Whether a piece is the single letter of a given name that stands beside a family name."""
    piece = pieces[number].lower()
    beside = named[max(0, number - 2) : number + 3]
    return len(piece) == 1 and piece in known.initials and any(beside)


def _joint(gap: str) -> str:
    mark = gap[:1] if gap[:1] in tuple("_-/+.,:%") else ""
    return mark + (" " if not mark or " " in gap else "")
