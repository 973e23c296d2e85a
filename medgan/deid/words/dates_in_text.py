"""Dates, times, ages and other numbers of a person in free text: found by their form, in seven languages.

A date in a text is removed, not shifted: it cannot be told from other numbers well enough to put another there.
"""

from __future__ import annotations

import re

from medgan.deid.words.known import Known

_MONTHS = (
    "january february march april june july august september october november december jan feb apr jun jul aug sept "
    "sep oct nov dec januar februar maerz marz jaenner janner juni juli oktober dezember mrz okt dez janvier fevrier "
    "avril juin juillet aout septembre octobre novembre decembre janv fevr avr juil enero febrero marzo abril mayo "
    "junio julio agosto septiembre setiembre octubre noviembre diciembre ene abr dic gennaio febbraio aprile maggio "
    "giugno luglio settembre ottobre dicembre giu lug ott januari februari maart augustus mrt janeiro fevereiro marco "
    "maio junho julho setembro outubro dezembro fev"
)
_DOUBTFUL = "may mai mei mar mars mag gen ago set out"  # words of a protocol too: a month only with a year


def _either(words: str) -> str:
    return "(?:" + "|".join(sorted(words.split(), key=len, reverse=True)) + r")(?![a-z])\.?"


_GAP = r"[\s.,\-/_']{0,3}"
# a digit that ends a word is a day only when the month is glued to it: the 2 of "T2 Jan 25th" is none
_NUMBER_OF_DAY = r"(?<![\d.])(?:(?<![a-z])[0-3]?\d|[0-3]?\d(?=[a-z.\-/_']))"
_DAY = _NUMBER_OF_DAY + "(?:st|nd|rd|th|er|o|a)?" + _GAP + r"(?:(?:of|de|del|di|den)\s)?\s?"
_YEAR = _GAP + r"(?:(?:of|de|del)\s)?(?:(?:19|20)\d\d|\d\d)(?!\d)"
_LONG_YEAR = _GAP + r"(?:(?:of|de|del)\s)?(?:19|20)\d\d(?!\d)"
_START = r"(?<![a-z])"
_ALPHABETIC = re.compile(
    "|".join(
        (
            f"{_DAY}{_either(_MONTHS)}(?:{_YEAR})?",
            f"{_DAY}{_either(_DOUBTFUL)}{_YEAR}",
            rf"{_START}{_either(_MONTHS)}{_GAP}[0-3]?\d(?:st|nd|rd|th)?(?!\d)(?:{_YEAR})?",
            rf"{_START}{_either(_DOUBTFUL)}{_GAP}[0-3]?\d(?:st|nd|rd|th)?(?!\d){_LONG_YEAR}",
            f"{_START}{_either(_MONTHS + ' ' + _DOUBTFUL)}{_LONG_YEAR}",
        )
    ),
    re.IGNORECASE,
)
_ASIAN = re.compile(r"(?:\d{1,4}\s*[年년]\s*)?\d{1,2}\s*[月월](?:\s*\d{1,2}\s*[日일])?|\d{1,3}\s*[岁歳歲才세살]")
_UNDERLINED = re.compile(r"(?<!\d)(?:\d{4}_\d\d?_\d\d?|\d\d?_\d\d?_(?:\d{4}|\d\d))(?!\d)")
_TRIPLE = re.compile(r"(?<!\d)(\d{1,4})[\s./\-_,:]+(\d{1,2})[\s./\-_,:]+(\d{1,4})(?!\d)")
_CLOCK = re.compile(
    r"(?<!\d)(?:[01]?\d|2[0-4])\s?(?:[:h]\s?[0-5]\d(?!\d)(?::[0-5]\d(?!\d)(?:\.\d+)?)?\s?(?:[ap]m\b|uhr\b|h\b|z\b)?"
    r"|(?:\.[0-5]\d)?\s?(?:[ap]m|uhr)(?![a-z]))",
    re.IGNORECASE,
)
_AGE = re.compile(
    r"(?<![a-z])(?:aged?|alter|edad|eta|leeftijd)[\s:=]*\d{1,3}(?!\d)(?:\s?y(?:ears?|rs?|o)?(?![a-z]))?"
    r"|(?<![\d.])\d{1,3}[\s\-_]*(?:y/?\.?o\.?(?![a-z])|y(?:ea)?rs?(?![a-z])|y(?![a-z])|jahren?(?![a-z])|jahre?(?![a-z])"
    r"|jae?hrige?[rnsm]?(?![a-z])|j(?![a-z])|ans(?![a-z])|an(?:os?|ni)(?![a-z])|jaar(?![a-z]))(?:[\s\-]*(?:old|alt|oud))?"
    r"|(?<!\d)\d{1,3}[\s\-]*(?:month|week|day|monate?|wochen?|tage?)s?[\s\-]*(?:old|alt)(?![a-z])"
    r"|(?<![\da-z])\d{3}[ymwd](?![a-z])"
    r"|(?<![\da-z])(?:9\d|1[0-2]\d)\s?(?:/\s?)?[mf](?![a-z])",
    re.IGNORECASE,
)
# anchored at the start of a word, or a long text without an @ would cost its square
_ADDRESS = re.compile(r"(?<!\S)[^\s@]*@\S+|\b[a-z]{3,8}://\S+|\bwww\.\S+", re.IGNORECASE)
# phone and record numbers, numeric dates: several groups of digits, or one long one; the 2 of "T2 3+1" is no group
_NUMBERS = re.compile(
    r"(?<![a-z\d])\d+(?:\s?[./:,\-()+]+\s?\d+|\s\d+)+|(?<=[a-z])\d+(?:[./:,\-()+]+\d+){2,}|\d{4,}", re.IGNORECASE
)
_DIGIT = re.compile(r"\d")
_DECIMAL = re.compile(r"\d{1,3}\.\d{1,3}")
_DECIMALS = re.compile(r"\d{1,2}\.\d\s?[/-]\s?\d{1,2}\.\d")  # 3.0/3.5: thickness and spacing; no date is written so
_LONGEST_PAIR = 4  # digits in two groups of numbers that may stay: "2 x 10", "0.625", "120"
# diffusion weightings: a round number after a b, nothing else of four digits is so harmless
_WEIGHTING = re.compile(r"(?<![a-z0-9])(b[\s=_\-]?)([1-9][05]00)(?!\d)", re.IGNORECASE)


def without_asian_dates(text: str) -> str:
    """The text, composed (NFC), without dates and ages that are written with characters for year, month and day."""
    return _ASIAN.sub(" ", text)


def without_numbers(text: str, known: Known) -> str:
    """The text, without accents, less dates, times, ages, addresses, and all but short numbers."""
    text = _ADDRESS.sub(" ", text)
    if not _DIGIT.search(text):
        return text
    text = _TRIPLE.sub(lambda match: " " if _tells_a_date(match, known) else match.group(), text)
    for form in (_ALPHABETIC, _UNDERLINED, _CLOCK, _AGE):
        text = form.sub(" ", text)
    kept: list[str] = []
    at = 0
    for match in _WEIGHTING.finditer(text):
        kept += [_short(text[at : match.start()], known), match.group()]
        at = match.end()
    return "".join([*kept, _short(text[at:], known)])


def _short(text: str, known: Known) -> str:
    return _NUMBERS.sub(lambda match: _short_number(match.group(), known), text)


def _short_number(text: str, known: Known) -> str:
    if _DECIMALS.fullmatch(text):
        return text
    groups = re.findall(r"\d+", text)
    digits = sum(len(group) for group in groups)
    if len(groups) != 2 or max(len(group) for group in groups) > 3 or _tells_a_day(text, groups, known):
        return " "
    return text if _DECIMAL.fullmatch(text) or digits <= _LONGEST_PAIR else " "


def _tells_a_date(match: re.Match[str], known: Known) -> bool:
    """Whether three numbers are a known date, in whatever order and with however many digits of the year."""
    numbers = [int(group) for group in match.groups()]
    return any(
        sorted(numbers) in (sorted((year, month, day)), sorted((year % 100, month, day)))
        for year, month, day in known.dates
    )


def _tells_a_day(text: str, groups: list[str], known: Known) -> bool:
    """Whether two numbers are written like day and month of a date that the headers know: 12.03, 3/12, not 3.5."""
    written = len(groups[1]) == 2 if "." in text else max(len(group) for group in groups) == 2
    return written and (int(groups[0]), int(groups[1])) in known.day_pairs
