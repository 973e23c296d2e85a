"""What a segment shows: the code of its type, never its label, which is free text.

A code is `SCHEME:VALUE`, with its modifiers (a side) after a plus: `SCT:39607008+SCT:7771000` is a left lung. Codes of
SNOMED's old form (SRT) become those of today. What names no scheme that DICOM itself uses, or is no code in form, is
left unsaid: it may be anything.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from functools import cache
from typing import Any

from pydicom.dataset import Dataset

VALUE = re.compile(r"[A-Za-z0-9][A-Za-z0-9.\-]{0,15}")


def code_of(segment: Dataset) -> str:
    """The code of an item of the Segment Sequence; "" where it has none that can be told."""
    types: list[Dataset] = list(segment.get("SegmentedPropertyTypeCodeSequence") or ())
    if not types or not (kind := _coded(types[0])):
        return ""
    sides = {_coded(item) for item in types[0].get("SegmentedPropertyTypeModifierCodeSequence") or ()}
    return "+".join([kind, *sorted(sides - {""})])


def wanted_as(code: str, wanted: Collection[str]) -> str:
    """Which of `wanted` a code is, one without modifiers meaning any; "" for none, itself where nothing is named."""
    if not wanted:
        return code
    plain = code.partition("+")[0]
    return code if code in wanted else plain if plain in wanted else ""


def meaning_of(code: str) -> str:
    """What DICOM's own tables say of a code: `Lung, Left`; "" for one that they do not hold."""
    return ", ".join(filter(None, (_meanings().get(part, "") for part in code.split("+"))))


def _coded(item: Dataset) -> str:
    scheme = str(item.get("CodingSchemeDesignator") or "").strip()
    value = str(item.get("CodeValue") or item.get("LongCodeValue") or "").strip()
    if scheme in ("SRT", "SNM3", "99SDM"):
        scheme, value = "SCT", _of_today().get(value, "")
    return f"{scheme}:{value}" if scheme in _concepts() and VALUE.fullmatch(value) else ""


@cache
def _of_today() -> dict[str, str]:
    from pydicom.sr._snomed_dict import mapping

    return dict(mapping["SRT"])


@cache
def _concepts() -> dict[str, Any]:
    from pydicom.sr._concepts_dict import concepts  # slow to import, and few studies have a mask

    return dict(concepts)


@cache
def _meanings() -> dict[str, str]:
    """Code -> meaning, where there are several the one of most context groups."""
    rows = [
        (len(groups), f"{scheme}:{value}", meaning)
        for scheme, named in _concepts().items()
        for codes in named.values()
        for value, (meaning, groups) in codes.items()
    ]
    return {code: meaning for _, code, meaning in sorted(rows)}
