"""The b-value and gradient direction of an MR image, also where its vendor says them in private attributes only.

Read where the private creator reserves the block (PS3.5 7.8.1), as the vendors' conformance statements describe it:
a group alone means nothing, since several vendors use it. They tell volumes apart; no tensor is fitted to them, so
that the frame in which a direction is given (GE: of the image, others: of the patient) does not matter.
"""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Mapping
from functools import lru_cache

from pydicom.dataset import Dataset
from pydicom.tag import Tag

from medgan.dicom.attributes import BINARY, BLOCKS, DECIMALS, PRIVATE, Header, Odd, swapped

SIEMENS, GE_GRADIENT, GE, PHILIPS, PHILIPS_GRADIENT, UIH = (creator for _, creator, _ in PRIVATE)
GE_FLAGS = 100_000  # GE adds 10^9 to some b-values
SMALL = 1e-3  # a shorter gradient is none
KINDS = {"I": "ISOTROPIC", "N": "", "NONE": ""}
KIND = re.compile(r"[A-Z]{1,16}")
FORMS = {**BINARY, "FL": "f"}
Item = tuple[str, bytes]  # VR as written, empty where it is not; value
Private = Mapping[tuple[str, int], Item]  # creator, low byte
MR = "MR"


def of_raw(raw: Mapping[int, tuple[bytes, bytes]]) -> dict[tuple[str, int], Item]:
    """What our own walk found in the first block of each group. Raises Odd where a creator reserved another one."""
    found = {}
    for group, creator, wanted in PRIVATE:
        places = [block for block in BLOCKS if _name(raw.get(swapped(group << 16 | block), (b"", b""))[1]) == creator]
        if places and places != [BLOCKS[0]]:
            raise Odd
        for low in wanted if places else ():
            if item := raw.get(swapped(group << 16 | BLOCKS[0] << 8 | low)):
                found[creator, low] = item[0].decode("ascii", "replace"), item[1]
    return found


def of_dataset(dataset: Dataset) -> dict[tuple[str, int], Item]:
    """The same of what pydicom read, in whichever of BLOCKS."""
    found = {}
    for group, creator, wanted in PRIVATE:
        for block in (block for block in BLOCKS if _name(_value(dataset, group << 16 | block)[1]) == creator):
            for low in wanted:
                vr, value = _value(dataset, group << 16 | block << 8 | low)
                if vr is not None:
                    found[creator, low] = vr, value
            break
    return found


def said(header: Header, private: Private) -> Header:
    """Of the diffusion attributes that `header` lacks, those that vendors' private attributes say; MR only."""
    if not private or header["Modality"].upper() != MR:
        return {}
    orientation, kind = _orientation(private), _kind(private)
    found: Header = {"DiffusionBValue": _b_value(private), "DiffusionGradientOrientation": orientation}
    found["DiffusionDirectionality"] = kind
    return {keyword: value for keyword, value in found.items() if value and not header[keyword]}


def direction(header: Header, b_value: float) -> str:
    """What tells apart images of one b-value: the gradient's direction as text, ISOTROPIC or the like, or nothing.

    Without diffusion weighting there is no direction, whatever is written: GE keeps other numbers in its place.
    """
    if b_value <= 0:
        return ""
    return _worded(header["DiffusionGradientOrientation"], header["DiffusionDirectionality"])


@lru_cache(1024)
def _worded(orientation: tuple[float, ...], kind: str) -> str:
    if len(orientation) == 3 and all(map(math.isfinite, orientation)) and math.hypot(*orientation) > SMALL:
        return " ".join(f"{round(part, 2) + 0.0:+.2f}" for part in orientation)
    word = kind.upper()
    return KINDS.get(word, word) if KIND.fullmatch(word) else ""


def _b_value(private: Private) -> tuple[float, ...]:
    """s/mm2; nothing where there is none, or none that can be."""
    for creator, low in ((SIEMENS, 0x0C), (GE, 0x39), (PHILIPS, 0x03), (UIH, 0x09)):
        some = _numbers(private, creator, low)
        if some and some[0] >= 0:
            return (some[0] % GE_FLAGS if creator == GE else some[0],)
    return ()


def _orientation(private: Private) -> tuple[float, ...]:
    single = (
        [(GE_GRADIENT, low) for low in (0xBB, 0xBC, 0xBD)],
        [(PHILIPS_GRADIENT, low) for low in (0xB0, 0xB1, 0xB2)],
    )
    for creator, low in ((SIEMENS, 0x0E), (UIH, 0x37)):
        if len(some := _numbers(private, creator, low)) == 3:
            return some
    for places in single:
        parts = [_numbers(private, creator, low) for creator, low in places]
        if all(len(part) == 1 for part in parts):
            return tuple(part[0] for part in parts)
    return ()


def _kind(private: Private) -> str:
    for place in ((SIEMENS, 0x0D), (PHILIPS, 0x04)):
        text = _name(private.get(place, ("", b""))[1])
        if KIND.fullmatch(text):
            return text
    return ""


def _numbers(private: Private, creator: str, low: int) -> tuple[float, ...]:
    """Numbers, by the VR that the vendor gives the attribute where a file says none (or UN, OB); else none."""
    vr, value = private.get((creator, low), ("", b""))
    known = next(wanted[low] for _, name, wanted in PRIVATE if name == creator)
    form = vr if vr in FORMS or vr in ("DS", "IS") else known if vr in ("", "UN", "OB") else ""
    if form in ("DS", "IS"):
        text = value.rstrip(b"\0 ")
        return tuple(map(float, text.split(b"\\"))) if DECIMALS.fullmatch(text) else ()
    if not form or len(value) % struct.calcsize(FORMS[form]):
        return ()
    return struct.unpack(f"<{len(value) // struct.calcsize(FORMS[form])}{FORMS[form]}", value)


def _name(value: bytes) -> str:
    return value.rstrip(b"\0 ").decode("ascii", "replace")


def _value(dataset: Dataset, tag: int) -> tuple[str | None, bytes]:
    """VR and bytes as they stand in the file, little-endian; None where there is no such attribute, or not so read."""
    element = dataset.get_item(Tag(tag)) if tag in dataset else None
    value = getattr(element, "value", None)
    if element is None or not isinstance(value, bytes):
        return None, b""
    vr = str(element.VR or "")
    if vr in FORMS and not getattr(element, "is_little_endian", True):
        size = struct.calcsize(FORMS[vr])
        value = b"".join(value[at : at + size][::-1] for at in range(0, len(value), size))
    return vr, value
