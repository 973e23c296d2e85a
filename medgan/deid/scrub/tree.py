"""A DICOM file as a light tree of raw elements: a data set is a dict from tag to Element, values stay bytes.

Bounded in depth, elements and inflated size, and strict: what does not parse to its end raises ValueError. Bytes
that follow the pixels are counted and dropped. Private sequences stay unread until `opened` is asked for their items.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from enum import Enum
from typing import TypeAlias

import numpy as np

from medgan.deid.profiles.table import BINARY_SIZES, dictionary_vr

BULK = frozenset(("OB", "OD", "OF", "OL", "OV", "OW"))
LONG = BULK | {"SQ", "SV", "UC", "UN", "UR", "UT", "UV"}  # a length of 32 bits
SHORT = frozenset(
    ("AE", "AS", "AT", "CS", "DA", "DS", "DT", "FD", "FL", "IS", "LO", "LT", "PN", "SH", "SL", "SS", "ST", "TM", "UI")
) | {"UL", "US"}
VRS = {vr.encode(): (vr, vr in LONG) for vr in (*SHORT, *LONG)}
IMPLICIT, EXPLICIT = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1"
DEFLATED, BIG = "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.2"
WORDS = {"OW": 2, "OF": 4, "OL": 4, "OD": 8, "OV": 8}  # bytes that change places with the byte order
UNDEFINED = 0xFFFFFFFF
ITEM, ITEM_END, SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
PIXEL_DATA = 0x7FE00010
LAST_GROUPS = (0x7FE0, 0xFFFA, 0xFFFC)  # pixels, signatures, padding: what follows them is no part of the data set
DEEPEST, MOST_ELEMENTS, MOST_INFLATED = 100, 2_000_000, 1 << 28
TAIL_KEPT_APART = 132  # a preamble and its mark: from there on it is another file


class TooDeep(ValueError):
    """Sequences are nested deeper than DEEPEST."""


class TooLarge(ValueError):
    """More elements, or more bytes once inflated, than a file may have."""


class Inside(Enum):
    """How a value that was left unread is made up."""

    EXPLICIT = "items in explicit VR"
    IMPLICIT = "items in implicit VR"
    FRAGMENTS = "fragments of encapsulated pixels"


@dataclass(slots=True)
class Element:
    """One attribute: `value` as stored, or the `items` of a sequence; `vr` of the dictionary where none is written."""

    tag: int
    vr: str
    value: bytes = b""
    items: list[dict[int, Element]] | None = None
    inside: Inside | None = None


DataSet: TypeAlias = dict[int, Element]


@dataclass
class Tree:
    """A file: meta group, data set, how it is encoded, and the number of bytes after its last element."""

    meta: DataSet
    elements: DataSet
    syntax: str
    explicit: bool = True
    little: bool = True
    tail: int = 0


def text(data: DataSet, tag: int) -> str:
    """A value as latin-1 without padding, "" where it is absent."""
    element = data.get(tag)
    return element.value.strip(b" \0").decode("latin-1") if element is not None else ""


def read(data: bytes) -> Tree:
    """The tree of a file, with or without preamble. Raises ValueError, of which TooDeep and TooLarge are two."""
    start = 132 if data[128:132] == b"DICM" else 0
    try:
        meta, place = _meta(data, start)
        syntax = text(meta, 0x00020010)
        if syntax == DEFLATED:
            data, place = _inflated(data[place:]), 0
        syntax = syntax or (EXPLICIT if data[place + 4 : place + 6] in VRS else IMPLICIT)
        reader = _Reader(data, little=syntax != BIG)
        elements, end = reader.top(place, explicit=syntax != IMPLICIT)
    except (struct.error, zlib.error):
        raise ValueError("not parsable to its end") from None
    return Tree(meta, elements, syntax, syntax != IMPLICIT, syntax != BIG, len(data) - end)


def opened(element: Element, *, little: bool, depth: int) -> list[DataSet] | None:
    """The items of a sequence `depth` levels down, also of one left unread; None when it does not parse."""
    if element.items is not None or element.inside in (None, Inside.FRAGMENTS):
        return element.items
    value, explicit = element.value, element.inside is Inside.EXPLICIT
    try:
        # PS3.5 6.2.2: a sequence in UN is little endian, whatever the rest of the file is
        reader = _Reader(value, little=little or not explicit)
        items, _ = reader.items(0, len(value), explicit, depth + 1, closed=True)
        if not (little or explicit):
            for item in items:
                _swap(item)
    except (ValueError, struct.error):
        return None
    return items


def _meta(data: bytes, place: int) -> tuple[DataSet, int]:
    reader, meta = _Reader(data, little=True), {}
    while data[place : place + 2] == b"\x02\x00":
        element, place = reader.element(place, len(data), True, 0)
        meta[element.tag] = element
    return meta, place


def _inflated(data: bytes) -> bytes:
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    inflated = inflater.decompress(data, MOST_INFLATED)
    if inflater.unconsumed_tail:
        raise TooLarge("inflates beyond the limit")
    if not inflater.eof:
        raise ValueError("the deflated stream is cut")
    return inflated


class _Reader:
    """A walk over one byte string in one byte order; the number of elements it may still read goes down."""

    def __init__(self, data: bytes, *, little: bool) -> None:
        order = "<" if little else ">"
        self.data, self.little, self.left = data, little, MOST_ELEMENTS
        self._explicit = struct.Struct(order + "HH2sH").unpack_from
        self._implicit = struct.Struct(order + "HHI").unpack_from
        self._length = struct.Struct(order + "I").unpack_from

    def top(self, place: int, *, explicit: bool) -> tuple[DataSet, int]:
        """The data set, and where it ends: at zeros, at less than a header, or at what follows the pixels."""
        data, found, end = self.data, {}, len(self.data)
        last = -1
        while place + 8 <= end:
            try:
                element, after = self.element(place, end, explicit, 0)
            except (TooDeep, TooLarge):
                raise
            except (ValueError, struct.error):
                if last >> 16 not in LAST_GROUPS and any(data[place:]):
                    raise ValueError("not parsable to its end") from None
                break
            if not element.tag or (last >> 16 in LAST_GROUPS and element.tag <= last):
                break
            if element.tag in found:
                raise ValueError("the same attribute twice")
            found[element.tag], place, last = element, after, element.tag
        if place < end and data[place + 128 : place + TAIL_KEPT_APART] == b"DICM":
            raise ValueError("another file follows")
        return found, place

    def element(self, place: int, end: int, explicit: bool, depth: int) -> tuple[Element, int]:
        """The element at `place` and where the next one starts; nothing of it may lie beyond `end`."""
        self.left -= 1
        if self.left < 0:
            raise TooLarge("too many elements")
        if explicit:
            group, number, code, length = self._explicit(self.data, place)
            tag, start = group << 16 | number, place + 8
            vr, long = VRS.get(code) or _unknown_vr(code)
            if long:
                (length,) = self._length(self.data, start)
                start += 4
        else:
            group, number, length = self._implicit(self.data, place)
            tag, start = group << 16 | number, place + 8
            vr = dictionary_vr(tag) or "UN"
        if length == UNDEFINED:
            return self._undefined(tag, vr, start, end, explicit, depth)
        stop = start + length
        if stop > end:
            raise ValueError("a length beyond the end")
        if vr == "SQ":
            if group & 1:
                inside = Inside.EXPLICIT if explicit else Inside.IMPLICIT
                return Element(tag, vr, self.data[start:stop], None, inside), stop
            return Element(tag, vr, b"", self.items(start, stop, explicit, depth + 1, closed=True)[0]), stop
        if vr == "UN":
            return self._retyped(tag, start, stop, depth), stop
        return Element(tag, vr, self.data[start:stop]), stop

    def items(self, place: int, end: int, explicit: bool, depth: int, *, closed: bool) -> tuple[list[DataSet], int]:
        """The items up to `end`, or up to a delimiter where the sequence is not closed by its length."""
        if depth > DEEPEST:
            raise TooDeep("sequences are nested too deep")
        items: list[DataSet] = []
        while place < end or not closed:
            group, number, length = self._implicit(self.data, place)
            tag = group << 16 | number
            place += 8
            if tag == SEQUENCE_END and not closed:
                return items, place
            stop = end if length == UNDEFINED else place + length
            if tag != ITEM or stop > end:
                raise ValueError("no item where one must be")
            item, place = self._item(place, stop, explicit, depth, closed=length != UNDEFINED)
            items.append(item)
        if place != end:
            raise ValueError("an item beyond the end of its sequence")
        return items, place

    def _item(self, place: int, end: int, explicit: bool, depth: int, *, closed: bool) -> tuple[DataSet, int]:
        found: DataSet = {}
        self.left -= 1
        while place < end or not closed:
            group, number, _ = self._implicit(self.data, place)
            if group == 0xFFFE:
                if closed or number != ITEM_END & 0xFFFF:
                    raise ValueError("a delimiter where none may be")
                return found, place + 8
            element, place = self.element(place, end, explicit, depth)
            if element.tag in found:
                raise ValueError("the same attribute twice")
            found[element.tag] = element
        return found, place

    def _undefined(self, tag: int, vr: str, start: int, end: int, explicit: bool, depth: int) -> tuple[Element, int]:
        if tag == PIXEL_DATA or vr in BULK:
            stop = self._fragments_end(start, end)
            return Element(tag, "OB" if vr == "UN" else vr, self.data[start:stop], None, Inside.FRAGMENTS), stop + 8
        if explicit and vr == "UN":
            items, stop = self._little_items(start, end, depth, closed=False)
        else:
            items, stop = self.items(start, end, explicit, depth + 1, closed=False)
        return Element(tag, "SQ", b"", items), stop

    def _little_items(self, start: int, end: int, depth: int, *, closed: bool) -> tuple[list[DataSet], int]:
        """PS3.5 6.2.2: a sequence in UN is implicit VR little endian, whatever the file is."""
        inner = _Reader(self.data, little=True)
        inner.left = self.left
        items, stop = inner.items(start, end, False, depth + 1, closed=closed)
        self.left = inner.left
        if not self.little:
            for item in items:
                _swap(item)
        return items, stop

    def _fragments_end(self, place: int, end: int) -> int:
        """Where the delimiter of encapsulated pixels starts."""
        while place + 8 <= end:
            group, number, length = self._implicit(self.data, place)
            tag = group << 16 | number
            if tag == SEQUENCE_END:
                return place
            if tag != ITEM:
                break
            place += 8 + length
        raise ValueError("fragments without an end")

    def _retyped(self, tag: int, start: int, stop: int, depth: int) -> Element:
        """A standard attribute sent as UN takes the VR of the dictionary; what does not parse as it stays UN."""
        vr = "" if tag >> 16 & 1 else dictionary_vr(tag)
        if vr == "SQ":
            try:
                return Element(tag, vr, b"", self._little_items(start, stop, depth, closed=True)[0])
            except TooLarge:
                raise
            except (ValueError, struct.error):
                return Element(tag, "UN", self.data[start:stop])
        if not vr:
            return Element(tag, "UN", self.data[start:stop], None, Inside.IMPLICIT)
        value = self.data[start:stop]
        return Element(tag, vr, value if self.little else _swapped(vr, value))


def _unknown_vr(code: bytes) -> tuple[str, bool]:
    if not (code.isalpha() and code.isupper()):
        raise ValueError("no VR")
    return code.decode("ascii"), False


def _swap(data: DataSet) -> None:
    """Turn the numbers of a fresh data set into the other byte order, in place."""
    for element in data.values():
        element.value = _swapped(element.vr, element.value)
        for item in element.items or ():
            _swap(item)


def _swapped(vr: str, value: bytes) -> bytes:
    size = 2 if vr == "AT" else BINARY_SIZES.get(vr) or WORDS.get(vr, 1)
    if size == 1 or len(value) % size:
        return value
    return np.frombuffer(value, f"u{size}").byteswap().tobytes()
