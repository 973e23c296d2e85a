"""What the headers of one study say about people, places and dates, in every spelling that is looked for.

Names are compared word by word, values (ids, institutions, addresses) as runs of letters and digits, so that
separators may come and go: 88-41-273 is 8841273.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import permutations

SHORTEST_VALUE = 4  # letters and digits; a shorter one is looked for only as a whole word with a digit in it
SHORTEST_INSIDE = 6  # from here on also inside other words
MOST_GLUED = 4  # parts of one name that are put together in every order

# of two letters, and words of a protocol too: no part of a name. Longer ones are no safe words, so nothing is lost
HONORIFICS = frozenset(("mr", "ms", "dr", "md", "do", "rn", "rt", "jr", "sr", "ii", "iv", "pd")) | frozenset(
    ("de", "la", "le", "du", "di", "da", "al", "el")
)
# two letters that a modality is called by are no name, whatever the operator entered
MODALITIES = frozenset(["ct", "mr", "pt", "us", "nm", "xa", "rf", "cr", "dx", "mg", "ot", "sc", "io", "px", "xr"])
# letters that do not come apart into a letter and an accent
LETTERS = str.maketrans(
    {
        **{"ß": "ss", "ẞ": "SS", "æ": "ae", "Æ": "AE", "œ": "oe", "Œ": "OE", "ø": "o", "Ø": "O", "ł": "l", "Ł": "L"},
        **{"đ": "d", "Đ": "D", "ð": "d", "Ð": "D", "þ": "th", "Þ": "Th", "ı": "i", "ħ": "h", "Ħ": "H", "ŋ": "n"},
        **{"’": "'", "‘": "'", "ʼ": "'", "–": "-", "—": "-", "‐": "-", "‑": "-", "−": "-", "\u00a0": " "},
    }
)

_LETTERS = re.compile(r"[^\W\d_]+")
_RUNS = re.compile(r"[A-Za-z]+|[0-9]+")
_UMLAUTS = str.maketrans({"ä": "ae", "ö": "oe", "ü": "ue", "ø": "oe", "å": "aa"})
_DATE = re.compile(r"(\d{4})(\d\d)(\d\d)")


@dataclass(frozen=True)
class Known:
    """Folded words of names, squeezed values (longest first), and dates as (year, month, day)."""

    words: frozenset[str] = frozenset()
    phrases: tuple[str, ...] = ()
    dates: frozenset[tuple[int, int, int]] = frozenset()

    @classmethod
    def of(cls, names: Iterable[str], values: Iterable[str], dates: Iterable[str] = ()) -> Known:
        """Of PN values with all their groups, of other identifying texts, and of DA or DT values."""
        names = list(names)
        words = {word for name in names for word in spellings(name)}
        phrases = {form for value in [*names, *values] for form in _forms(value)}
        found = (match for value in dates if (match := _DATE.match(value)))
        days = frozenset((int(m[1]), int(m[2]), int(m[3])) for m in found)
        return cls(frozenset(words), tuple(sorted(phrases, key=lambda form: (-len(form), form))), days)

    @cached_property
    def initials(self) -> frozenset[str]:
        return frozenset(word[0] for word in self.words)

    @cached_property
    def day_pairs(self) -> frozenset[tuple[int, int]]:
        """Two numbers that tell a known date without its year, or its month and year."""
        pairs = {pair for _, m, d in self.dates for pair in ((m, d), (d, m))}
        return frozenset(pairs | {(m, y % 100) for y, m, _ in self.dates})

    def found_in(self, text: str) -> bool:
        """Whether a short text, a code or an id, tells a name or a value in any spelling."""
        return any(run in self.words for run in _LETTERS.findall(fold(text))) or bool(self.places(plain(text)))

    def places(self, text: str) -> list[tuple[int, int]]:
        """Where values stand in a text without accents: [start, end) of the words that they touch."""
        squeezed = _Squeezed.of(text)
        live = [phrase for phrase in self.phrases if phrase in squeezed.text]
        found = (squeezed.place(phrase, at) for phrase in live for at in _starts(squeezed.text, phrase))
        return [place for place in found if place is not None]


@dataclass(frozen=True, slots=True)
class _Squeezed:
    """The ASCII letters and digits of a text in lower case, and for each of them [start, end) of its run."""

    source: str
    text: str
    runs: list[tuple[int, int]]

    @classmethod
    def of(cls, text: str) -> _Squeezed:
        found = list(_RUNS.finditer(text))
        return cls(text, "".join(m.group() for m in found).lower(), [m.span() for m in found for _ in m.group()])

    def place(self, phrase: str, at: int) -> tuple[int, int] | None:
        """Where a match stands, if it counts: a long one anywhere, a shorter one as whole runs, the shortest alone."""
        last = at + len(phrase) - 1
        start, end = self.runs[at][0], self.runs[last][1]
        if len(phrase) >= SHORTEST_INSIDE:
            first = self.runs[at + 1][0] if self._only_touched(at, at + 1) else start
            return first, self.runs[last - 1][1] if self._only_touched(last, last - 1) else end
        whole = (not at or self.runs[at - 1] != self.runs[at]) and self.runs[last + 1 : last + 2] != [self.runs[last]]
        around = self.source[max(0, start - 1) : start] + self.source[end : end + 1]
        alone = end - start == len(phrase) and not any(c.isalnum() for c in around)
        return (start, end) if whole and (alone or len(phrase) >= SHORTEST_VALUE) else None

    def _only_touched(self, outer: int, inner: int) -> bool:
        """Whether a match has no more than the outer letter of a longer word: an initial is not all of "contrast"."""
        start, end = self.runs[outer]
        return self.runs[inner] != self.runs[outer] and end - start > 1 and self.text[outer].isalpha()


def fold(text: str) -> str:
    """Lower case, without accents, separators of names as blanks: how two spellings are compared."""
    return re.sub(r"[\^=_\s]+", " ", plain(text).casefold())


@lru_cache(maxsize=65536)
def plain(text: str) -> str:
    """The text without accents; what has no ASCII letter stays as it is."""
    if text.isascii():
        return text
    parts = unicodedata.normalize("NFKD", unicodedata.normalize("NFKC", text).translate(LETTERS))
    return "".join(c for c in parts if not unicodedata.combining(c))


def squeeze(text: str) -> str:
    """Only the ASCII letters and digits, folded: no other ever comes out."""
    return re.sub(r"[^a-z0-9]+", "", fold(text))


def spellings(name: str) -> set[str]:
    """Words that tell a PN value: its parts, glued together in any order, with an initial, with and without accents."""
    found: set[str] = set()
    for group in re.split(r"=", name):
        parts = [part for part in _parts(group) if part not in HONORIFICS and part not in MODALITIES]
        found |= {spelling for part in parts for spelling in _accents(part)}
        whole = [fold(part) for part in parts if len(part) > 1][:MOST_GLUED]
        for a, b in permutations(whole, 2):
            found |= {a + b, a + b[0], a[0] + b}
        if len(whole) > 2:
            found |= {"".join(order) for order in permutations(whole)}
    return {word for word in found if len(word) > 1}


def _parts(group: str) -> list[str]:
    """Words of one group, and its hyphenated or apostrophised words as one."""
    text = group.casefold()
    joined = [re.sub(r"[\W_]+", "", word) for word in re.split(r"[\^\s,]+", text) if re.search(r"\w[-'’‐.]\w", word)]
    return list(dict.fromkeys([*_LETTERS.findall(text), *joined]))


def _accents(word: str) -> set[str]:
    """A word without its accents, with umlauts written out, and with written-out umlauts taken back."""
    spelt = {fold(word), fold(word.translate(_UMLAUTS))}
    back = {re.sub(r"([aou])e|aa", lambda m: m[1] or "a", form) for form in spelt}
    return spelt | {form for form in back if len(form) > 2}


def _forms(value: str) -> set[str]:
    """Squeezed forms of a value that are long enough to look for, also without leading zeros."""
    forms = {squeeze(value), squeeze(value.translate(_UMLAUTS))}
    forms |= {form.lstrip("0") for form in forms}
    return {form for form in forms if _usable(form)}


def _usable(form: str) -> bool:
    if form in HONORIFICS:
        return False
    short = len(form) == SHORTEST_VALUE - 1 and not form.isalpha() and not form.isdigit()
    return short or len(form) >= SHORTEST_VALUE


def _starts(text: str, phrase: str) -> Iterable[int]:
    at = text.find(phrase)
    while at >= 0:
        yield at
        at = text.find(phrase, at + 1)
