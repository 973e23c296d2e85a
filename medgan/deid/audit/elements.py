"""A walk over the bytes of a DICOM file, for the audit alone: not pydicom, so that no fault is shared.

Iterative, bounded, and strict: a file that does not parse to its last byte raises ValueError.
"""

from __future__ import annotations

import struct
import sys
import zlib
from typing import Literal, NamedTuple

LONG_VRS = frozenset((b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"))
NOT_SAID = (b"", b"UN")
UNDEFINED = 0xFFFFFFFF
IMPLICIT, DEFLATED, BIG = b"1.2.840.10008.1.2", b"1.2.840.10008.1.2.1.99", b"1.2.840.10008.1.2.2"
DELIMITING = 0xFFFE
ITEM, SEQUENCE_END = 0xFFFEE000, 0xFFFEE0DD
PIXELS = 0x7FE00010
MOST_ELEMENTS = 2_000_000
MOST_INFLATED = 1 << 31
DEEPEST = 128
OPEN = sys.maxsize  # the end of what a delimiter will end


class OutOfBounds(ValueError):
    """More, or deeper, than any real file."""


class Element(NamedTuple):
    tag: int
    vr: bytes  # b"" in implicit VR
    value: bytes  # b"" for a sequence whose items follow
    depth: int
    home: int  # the item it is in: an index of Parsed.paths


class Parsed(NamedTuple):
    meta: list[Element]
    elements: list[Element]
    preamble: bytes
    tail: int  # bytes after the last element
    order: Literal["little", "big"] = "little"
    paths: tuple[tuple[int, ...], ...] = ((),)  # of each item the sequences it is in; the first is the data set
    syntax: bytes = IMPLICIT


def parse(data: bytes, sequences: frozenset[int]) -> Parsed:
    """Every element at every depth; `sequences` are the tags to enter where the VR is not written.

    A file without preamble is read as implicit VR little endian. Raises ValueError.
    """
    start = 132 if data[128:132] == b"DICM" else 0
    preamble = data[:128] if start else b""
    try:
        meta, place, syntax = _meta(data, start)
        if syntax == DEFLATED:
            data, place = _inflated(data[place:]), 0
        order: Literal["little", "big"] = "big" if syntax == BIG else "little"
        walked = _Place(len(data), syntax != IMPLICIT)
        elements, end = _walk(data, place, order, walked, sequences)
    except (struct.error, IndexError, zlib.error):
        raise ValueError("not parsable") from None
    return Parsed(meta, elements, preamble, len(data) - end, order, tuple(walked.paths), syntax)


def _meta(data: bytes, place: int) -> tuple[list[Element], int, bytes]:
    """(file meta information, where the data set starts, transfer syntax)."""
    meta: list[Element] = []
    syntax = IMPLICIT
    while place and data[place : place + 2] == b"\x02\x00":
        tag, vr, length, start = _head(data, place)
        place = start + length
        if place > len(data):
            raise ValueError("length beyond the end")
        meta.append(Element(tag, vr, data[start:place], 0, 0))
        if tag == 0x00020010:
            syntax = meta[-1].value.strip(b"\0 ")
    return meta, place, syntax


def _head(data: bytes, place: int) -> tuple[int, bytes, int, int]:
    """(tag, VR, length, where the value starts) in explicit VR little endian."""
    group, number, vr, length = struct.unpack_from("<HH2sH", data, place)
    if vr in LONG_VRS:
        return group << 16 | number, vr, struct.unpack_from("<I", data, place + 8)[0], place + 12
    return group << 16 | number, vr, length, place + 8


def _inflated(data: bytes) -> bytes:
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    inflated = inflater.decompress(data, MOST_INFLATED)
    if inflater.unconsumed_tail:
        raise ValueError("inflates beyond the limit")
    return inflated


class _Place:
    """Where the walk is: in which item of which sequence, and where that ends."""

    def __init__(self, size: int, explicit: bool, path: tuple[int, ...] = ()) -> None:
        self.end, self.explicit, self.home, self.sequence = size, explicit, 0, 0
        self.paths: list[tuple[int, ...]] = [path]
        self.around: list[tuple[int, bool, int, int]] = []  # the same of what is open around

    def depth(self) -> int:
        return len(self.paths[self.home])

    def enter_sequence(self, tag: int, end: int, explicit: bool) -> None:
        self._open(end)
        self.explicit, self.sequence = explicit, tag

    def enter_item(self, end: int) -> None:
        self._open(end)
        self.paths.append((*self.paths[self.home], self.sequence))
        self.home = len(self.paths) - 1

    def leave(self) -> None:
        if self.around:
            self.end, self.explicit, self.home, self.sequence = self.around.pop()

    def check(self, size: int) -> None:
        """Raise ValueError where something open was to end beyond what there is."""
        if any(size < end < OPEN for end in (self.end, *(around[0] for around in self.around))):
            raise ValueError("cut in a sequence")

    def _open(self, end: int) -> None:
        if len(self.around) > DEEPEST * 2 or len(self.paths) > MOST_ELEMENTS:
            raise OutOfBounds("too deep, or too many items")
        self.around.append((self.end, self.explicit, self.home, self.sequence))
        self.end = end


def _walk(data: bytes, start: int, order: str, place: _Place, sequences: frozenset[int]) -> tuple[list[Element], int]:
    """(elements, where it ended); `place` gathers the paths of the items."""
    mark = "<" if order == "little" else ">"
    short, plain, long = (struct.Struct(mark + form).unpack_from for form in ("HH2sH", "HHI", "I"))
    found: list[Element] = []
    size = len(data)
    while len(found) <= MOST_ELEMENTS:
        while start >= place.end and place.around:
            place.leave()
        if start + 8 > size:
            place.check(size)
            return found, start
        group, number, length = plain(data, start)
        tag, vr = group << 16 | number, b""
        start += 8
        if group == DELIMITING:
            if tag == ITEM:
                place.enter_item(OPEN if length == UNDEFINED else start + length)
            else:
                place.leave()
            continue
        if not tag and not place.around:
            return found, start - 8  # zeros after the data set
        if place.explicit:
            _, _, vr, length = short(data, start - 8)
            if vr in LONG_VRS:
                (length,) = long(data, start)
                start += 4
            elif not (vr.isalpha() and vr.isupper()):
                raise ValueError("no VR")
        if vr == b"SQ" or (length == UNDEFINED and tag != PIXELS):
            found.append(Element(tag, vr or b"SQ", b"", place.depth(), place.home))
            end = OPEN if length == UNDEFINED else start + length
            place.enter_sequence(tag, end, place.explicit and vr != b"UN")
            continue
        end = _streams_end(data, start, mark) if length == UNDEFINED else start + length
        if end > size:
            raise ValueError("length beyond the end")
        element = Element(tag, vr, data[start:end], place.depth(), place.home)
        found += _items(element, order, place, sequences) if vr in NOT_SAID and tag in sequences else [element]
        start = end
    raise OutOfBounds("too many elements")


def _items(element: Element, order: str, place: _Place, sequences: frozenset[int]) -> list[Element]:
    """A sequence whose VR is not written, with what is in it; the bytes as they are where they are no items.

    PS3.5 6.2.2: a sequence in UN is encoded as implicit VR little endian, whatever the file is.
    """
    tag, vr, value, depth, home = element
    if depth > DEEPEST:
        raise OutOfBounds("too deep")
    inner = _Place(len(value), False, place.paths[home])
    inner.enter_sequence(tag, len(value), False)
    try:
        found, end = _walk(value, 0, "little" if vr else order, inner, sequences)
    except OutOfBounds:
        raise
    except (ValueError, struct.error):
        return [element]
    if end != len(value) or not all(e.home for e in found) or (value and len(inner.paths) == 1):
        return [element]
    offset = len(place.paths) - 1
    place.paths += inner.paths[1:]
    return [element._replace(vr=vr or b"SQ", value=b""), *(e._replace(home=e.home + offset) for e in found)]


def _streams_end(data: bytes, place: int, mark: str) -> int:
    """Where the fragments of encapsulated pixels end, after their delimiter."""
    head = struct.Struct(mark + "HHI")
    while place + 8 <= len(data):
        group, number, length = head.unpack_from(data, place)
        place += 8
        if group << 16 | number == SEQUENCE_END:
            return place
        if group << 16 | number != ITEM:
            break
        place += length
    raise ValueError("fragments without an end")
