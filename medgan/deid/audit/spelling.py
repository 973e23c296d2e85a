"""The forms that one name, value or day takes: character sets, accents, order of the parts, ways to write a date."""

from __future__ import annotations

import itertools
import re
import unicodedata
from collections.abc import Iterator, Sequence
from datetime import date
from functools import lru_cache

# defined terms of SpecificCharacterSet, PS3.3 C.12.1.1.2, and the codec that reads text in that set
CODECS = {
    "100": "latin-1", "101": "iso8859-2", "109": "iso8859-3", "110": "iso8859-4", "144": "iso8859-5",
    "127": "iso8859-6", "126": "iso8859-7", "138": "iso8859-8", "148": "iso8859-9", "203": "iso8859-15",
    "13": "shift_jis", "87": "iso2022_jp_2", "159": "iso2022_jp_2", "166": "tis-620", "149": "euc_kr",
    "58": "gb2312", "192": "utf-8", "GB18030": "gb18030", "GBK": "gbk",
}  # fmt: skip
GUESSED = ("utf-8", "latin-1")
BY_SCRIPT = ("shift_jis", "euc_jp", "iso2022_jp", "gb18030", "big5", "euc_kr", "utf-16-le")
MOST_PARTS = 4  # of a name of which every order is made
_ESCAPE = re.compile(rb"\x1b[\x20-\x2f]+[\x30-\x7e]")
_LETTERS = str.maketrans({"ø": "o", "ł": "l", "đ": "d", "ð": "d", "æ": "ae", "œ": "oe", "þ": "th", "ı": "i", "ß": "ss"})
_UMLAUTS = {"ä": "ae", "ö": "oe", "ü": "ue", "å": "aa", "ø": "oe"}
_PLAIN_WORD, _RUN = re.compile(r"[^\W\d_]+"), re.compile(r"[\W_]+")
_DIGITS, _TRIPLE = (
    re.compile(r"\d+"),
    # looked for from every number on: the 2 of "T2 29/2/16" begins none, and must not hide the one behind it
    re.compile(r"(?<!\d)(?=(\d{1,4})\s?[./\-_,: ]\s?(\d{1,2})\s?[./\-_,: ]\s?(\d{1,4})(?!\d))"),
)
# the first letters of the months in English, German, French, Spanish, Italian, Dutch, Portuguese, Polish
_MONTHS = (
    "jan gen ene sty", "feb fev fevr lut", "mar marz maerz mrz maa", "apr avr abr kwi", "may mai mag mei maj",
    "jun juin giu cze", "jul juil lug lip", "aug aout ago sie", "sep set wrz", "oct okt ott out paz",
    "nov lis", "dec dez dic gru",
)  # fmt: skip
_MONTH_OF = {name: number for number, names in enumerate(_MONTHS, 1) for name in names.split()}
_NAMED = re.compile(
    r"(?=(?<!\d)(\d{1,2})(?:st|nd|rd|th)?\W*(?:de |of )?([a-z]{3,10})\W*(?:de |of )?(\d{4}|\d{2})(?!\d)"
    r"|([a-z]{3,10})\W*(\d{1,2})(?:st|nd|rd|th)?\W+(\d{4}|\d{2})(?!\d)"
    r"|(?<!\d)(\d{4})\W*([a-z]{3,10})\W*(\d{1,2})(?!\d))"
)


@lru_cache(maxsize=65536)
def folded(text: str) -> str:
    """Lower case without accents: how two spellings are compared."""
    if text.isascii():
        return text.lower()
    plain = unicodedata.normalize("NFKD", text.casefold().translate(_LETTERS))
    return "".join(c for c in plain if not unicodedata.combining(c)).casefold()


def words(plain: str) -> list[str]:
    return _PLAIN_WORD.findall(plain)


def squeezed(plain: str) -> str:
    """Letters and digits only."""
    return _RUN.sub("", plain)


def decodings(data: bytes, sets: Sequence[bytes]) -> list[str]:
    """A value in each character set that is declared, and in the usual ones, for a declaration may lie."""
    if data.isascii() and b"\x1b" not in data:
        return [data.decode("ascii")]
    declared = (CODECS.get(t.rpartition(" ")[2]) for s in sets for t in s.decode("latin-1").split("\\"))
    found: dict[str, None] = {}
    for codec in {*GUESSED, *(codec for codec in declared if codec)}:
        for form in (data, _ESCAPE.sub(b"", data)):
            try:
                found[form.decode(codec)] = None
            except UnicodeDecodeError:
                continue
    return list(found)


def encodings(text: str) -> Iterator[bytes]:
    """The bytes of a text in the sets that can hold it, ASCII letters in lower case."""
    if text.isascii():
        yield text.lower().encode()
        return
    yield folded(text).encode()
    for form in {text, unicodedata.normalize("NFC", text), unicodedata.normalize("NFD", text)}:
        for codec in ("utf-8", *dict.fromkeys(CODECS.values()), *BY_SCRIPT):
            try:
                yield form.encode(codec).lower()
            except UnicodeEncodeError:
                continue


def orders(parts: Sequence[str]) -> list[str]:
    """The parts of a name in every order, glued by a caret and by nothing; with umlauts written out."""
    some = list(parts[:MOST_PARTS])
    found = dict.fromkeys("^".join(order) for n in (2, 3) for order in itertools.permutations(some, n))
    found |= dict.fromkeys(["^".join(parts)])
    for form in list(found):
        written_out = "".join(_UMLAUTS.get(c, c) for c in form.casefold())
        found |= dict.fromkeys([written_out] if written_out != form.casefold() else [])
    return list(found)


def days_in(plain: str) -> Iterator[date]:
    """Every day that a folded text may name, whatever the order of day, month and year."""
    runs = _DIGITS.findall(plain)
    if not runs:
        return
    for digits in runs:
        if len(digits) in (8, 12, 14):
            yield from _days(digits[:4], digits[4:6], digits[6:8])
            yield from _days(digits[4:8], digits[2:4], digits[:2])
            yield from _days(digits[4:8], digits[:2], digits[2:4])
        elif len(digits) == 6:
            yield from _days(digits[:2], digits[2:4], digits[4:])
            yield from _days(digits[4:], digits[2:4], digits[:2])
    for first, second, third in _TRIPLE.findall(plain):
        yield from _days(first, second, third)
        yield from _days(third, second, first)
        yield from _days(third, first, second)
    for match in _NAMED.finditer(plain):
        day, month, year, month2, day2, year2, year3, month3, day3 = match.groups()
        number = _month(month or month2 or month3)
        yield from _days(year or year2 or year3, number, day or day2 or day3)


def _month(name: str) -> str:
    return next((str(_MONTH_OF[name[:n]]) for n in (5, 4, 3) if name[:n] in _MONTH_OF), "")


def _days(year: str, month: str, day: str) -> Iterator[date]:
    if len(year) not in (2, 4):
        return  # one digit is no year: 5.6.3-9-1 is a code
    for whole in (int(year),) if len(year) == 4 else (1900 + int(year), 2000 + int(year)):
        try:
            yield date(whole, int(month), int(day))
        except ValueError:
            continue
