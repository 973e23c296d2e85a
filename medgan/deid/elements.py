"""A walk over the bytes of a DICOM file, for the audit alone: not pydicom, so that no fault is shared.

Iterative, bounded, and strict: a file that does not parse to its last byte raises ValueError.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from typing import Literal, NamedTuple

LONG_VRS = frozenset((b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"))
UNDEFINED = 0xFFFFFFFF
IMPLICIT, DEFLATED, BIG = b"1.2.840.10008.1.2", b"1.2.840.10008.1.2.1.99", b"1.2.840.10008.1.2.2"
ITEM, ITEM_END, SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
PIXELS = 0x7FE00010
MOST_ELEMENTS = 2_000_000
MOST_INFLATED = 1 << 31
DEEPEST = 128


class Element(NamedTuple):
    tag: int
    vr: bytes  # b"" in implicit VR
    value: bytes  # b"" for a sequence whose items follow
    depth: int


class Parsed(NamedTuple):
    meta: list[Element]
    elements: list[Element]
    preamble: bytes
    tail: int  # bytes after the last element
    order: Literal["little", "big"] = "little"


def parse(data: bytes, sequences: frozenset[int]) -> Parsed:
    """Every element at every depth; `sequences` are the tags to enter where the VR is not written.

    A file without preamble is read as implicit VR little endian. Raises ValueError.
    """
    start = 132 if data[128:132] == b"DICM" else 0
    meta: list[Element] = []
    place, syntax = start, IMPLICIT
    try:
        while start and data[place : place + 2] == b"\x02\x00":
            element, place = _read(data, place, "<", explicit=True)
            meta.append(element)
            if element.tag == 0x00020010:
                syntax = element.value.strip(b"\0 ")
        if syntax == DEFLATED:
            data, place = zlib.decompressobj(-zlib.MAX_WBITS).decompress(data[place:], MOST_INFLATED), 0
        order = ">" if syntax == BIG else "<"
        elements, end = _walk(data, place, order, syntax != IMPLICIT, sequences)
    except (struct.error, IndexError, zlib.error):
        raise ValueError("not parsable") from None
    return Parsed(meta, elements, data[:128] if start else b"", len(data) - end, "big" if order == ">" else "little")


def _walk(data: bytes, place: int, order: str, explicit: bool, sequences: frozenset[int]) -> tuple[list[Element], int]:
    found: list[Element] = []
    ends: list[tuple[int, bool]] = [(len(data), explicit)]  # of the open sequences and items; -1 until a delimiter
    while True:
        while len(ends) > 1 and 0 <= ends[-1][0] <= place:
            ends.pop()
        explicit = ends[-1][1]
        if place + 8 > len(data) or len(found) > MOST_ELEMENTS or len(ends) > DEEPEST * 2:
            break
        tag = _tag(data, place, order)
        if tag in (ITEM, ITEM_END, SEQUENCE_END):
            (length,) = struct.unpack_from(order + "I", data, place + 4)
            place += 8
            if tag == ITEM:
                ends.append((-1 if length == UNDEFINED else place + length, explicit))
            elif len(ends) > 1:
                ends.pop()
            continue
        if len(ends) == 1 and tag == 0:
            break  # zeros after the data set
        vr, length, start = _head(data, place, order, explicit)
        if tag == PIXELS and length == UNDEFINED:
            stream_end = _streams_end(data, start, order)
            found.append(Element(tag, vr, data[start:stream_end], len(ends) // 2))
            place = stream_end
        elif vr == b"SQ" or length == UNDEFINED or (vr in (b"", b"UN") and tag in sequences):
            found.append(Element(tag, vr or b"SQ", b"", len(ends) // 2))
            inner = explicit and vr != b"UN"  # PS3.5 6.2.2: a sequence in UN is implicit
            ends.append((-1 if length == UNDEFINED else start + length, inner))
            place = start
        else:
            if start + length > len(data):
                raise ValueError("length beyond the end")
            found.append(Element(tag, vr, data[start : start + length], len(ends) // 2))
            place = start + length
    return found, place


def _read(data: bytes, place: int, order: str, *, explicit: bool) -> tuple[Element, int]:
    vr, length, start = _head(data, place, order, explicit)
    if start + length > len(data):
        raise ValueError("length beyond the end")
    return Element(_tag(data, place, order), vr, data[start : start + length], 0), start + length


def _tag(data: bytes, place: int, order: str) -> int:
    group, number = struct.unpack_from(order + "HH", data, place)
    return int(group) << 16 | int(number)


def _head(data: bytes, place: int, order: str, explicit: bool) -> tuple[bytes, int, int]:
    """(VR, length, where the value starts)."""
    if not explicit:
        return b"", struct.unpack_from(order + "I", data, place + 4)[0], place + 8
    vr = data[place + 4 : place + 6]
    if vr in LONG_VRS:
        return vr, struct.unpack_from(order + "I", data, place + 8)[0], place + 12
    if not (vr.isalpha() and vr.isupper()):
        raise ValueError("no VR")
    return vr, struct.unpack_from(order + "H", data, place + 6)[0], place + 8


def _streams_end(data: bytes, place: int, order: str) -> int:
    """Where the fragments of encapsulated pixels end, after their delimiter."""
    while place + 8 <= len(data):
        tag = _tag(data, place, order)
        (length,) = struct.unpack_from(order + "I", data, place + 4)
        place += 8
        if tag == SEQUENCE_END:
            return place
        if tag != ITEM:
            break
        place += length
    raise ValueError("fragments without an end")


def texts(elements: list[Element]) -> Iterator[tuple[Element, str]]:
    """Elements with their value as text, latin-1 where it is not UTF-8."""
    for element in elements:
        if element.value and element.tag != PIXELS:
            try:
                yield element, element.value.decode("utf-8")
            except UnicodeDecodeError:
                yield element, element.value.decode("latin-1")
