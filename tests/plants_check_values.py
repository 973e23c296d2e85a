"""Values of source and result side by side: what an action asks of them, and how far a date moved."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from plants_check_search import elements, squeezed
from plants_rows import UNKNOWN
from pydicom.dataset import Dataset
from pydicom.values import convert_SQ

Path = tuple[int, ...]
REGISTERED = "1.2.840.10008."
MIDNIGHT = ("000000",)  # a fixed dummy that a source can hold by chance
PSEUDONYMS = (0x00100010, 0x00100020)


@dataclass(frozen=True, slots=True)
class Seen:
    """An element: path of tags, the same with item numbers (tag, item, tag ...), VR, values as text, items."""

    path: Path
    at: Path
    vr: str
    values: tuple[str, ...]
    items: int = 0


def flat(ds: Dataset, path: Path = (), at: Path = ()) -> Iterator[Seen]:
    """Every element of a data set at every depth, sequences before their items."""
    for tag, said, raw in elements(ds):
        here, there = (*path, tag), (*at, tag)
        vr, value = _typed(tag, said, raw)
        if vr == "SQ":
            yield Seen(here, there, "SQ", (), len(value or ()))
            for index, one in enumerate(value or ()):
                yield from flat(one, here, (*there, index))
        else:
            yield Seen(here, there, vr, values_of(value))


def _typed(tag: int, vr: str, value: Any) -> tuple[str, Any]:
    """What pydicom does not know is read by the VR of its row; a sequence sent as UN is implicit inside."""
    if vr != "UN" or tag not in UNKNOWN or not isinstance(value, bytes):
        return vr, value
    if UNKNOWN[tag] == "SQ":
        return "SQ", convert_SQ(value, True, True)
    return UNKNOWN[tag], value.decode("latin-1").rstrip("\0 ").split("\\") if value else None


def values_of(value: Any) -> tuple[str, ...]:
    if value is None or value == "":
        return ()
    if isinstance(value, bytes):
        return (value.decode("latin-1"),)
    if isinstance(value, str) or not hasattr(value, "__iter__") or hasattr(value, "components"):
        return (str(value),)
    return tuple(str(one) for one in value)


def judge_value(letters: set[str], before: Seen, after: Seen | None) -> tuple[bool, str]:
    """Whether what became of an element honours one of the letters; else why not."""
    told = "absent" if after is None else "empty" if _empty(after) else "same" if _same(before, after) else "other"
    if _empty(before):
        return ("C" in letters or "K" in letters or told in ("absent", "empty", "other")), told
    ways = {
        "X": told == "absent",
        "Z": told in ("empty", "other") or (told == "same" and before.vr == "TM" and before.values == MIDNIGHT),
        "D": told == "other" or (told == "same" and before.vr == "TM" and before.values == MIDNIGHT),
        "U": told == "other" or (told == "same" and all(v.startswith(REGISTERED) for v in before.values)),
        "K": told == "same" or _kept_but_cleaned(before, after, told),
        "C": _cleaned(before, after, told),
    }
    if before.vr == "SQ" and told == "same" and letters & {"U", "D"}:
        return True, told  # the items are judged one by one
    return any(
        ways[letter] for letter in letters
    ), f"{told}, asked {'/'.join(sorted(letters))}: {before.values} -> {after and after.values}"


def _empty(seen: Seen) -> bool:
    if seen.vr in ("OB", "OW", "UN"):
        return not any(seen.values)  # zeros are a dummy
    return not seen.items if seen.vr == "SQ" else not any(value.strip(" \0") for value in seen.values)


def _same(before: Seen, after: Seen) -> bool:
    return [v.strip(" \0") for v in before.values] == [v.strip(" \0") for v in after.values]


def _kept_but_cleaned(before: Seen, after: Seen | None, told: str) -> bool:
    """Ages over 89 are written 090Y; a text that names somebody is not kept as it is."""
    if before.vr == "AS" and after is not None and before.values:
        return before.values[0] > "089Y" and after.values == ("090Y",)
    return before.vr in ("SH", "LO", "LT", "ST", "UT", "UC", "UR") and _cleaned(before, after, told)


def _cleaned(before: Seen, after: Seen | None, told: str) -> bool:
    """Dates and times are judged with the intervals, sequences by their items; words have to come from the source."""
    if before.vr in ("SQ", "DA", "DT", "TM") or told in ("absent", "empty", "same"):
        return True
    if before.vr == "UI" or after is None or after.values == ("REMOVED",):
        return True  # the dummy is for attributes that have to have a value
    old = squeezed(" ".join(before.values))
    return all(squeezed(word) in old for value in after.values for word in re.split(r"[\W_]+", value) if word)


def is_date(seen: Seen) -> bool:
    return seen.vr in ("DA", "DT") and bool(seen.values)


def days_between(old: str, new: str) -> int | None:
    """Whole days from the date in `old` to that in `new`; None when one is not a full date."""
    try:
        first, second = (dt.datetime.strptime(value.strip()[:8], "%Y%m%d").date() for value in (old, new))
    except ValueError:
        return None
    return (second - first).days
