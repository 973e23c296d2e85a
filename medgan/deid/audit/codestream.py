"""Compressed pixels without what may be said around them: two streams of equal essence show the same picture.

JPEG, JPEG-LS and JPEG 2000 as ITU-T T.81, T.87 and T.800 lay them out; read by the audit alone.
"""

from __future__ import annotations

import re
import struct
from typing import NamedTuple

ITEM = 0xFFFEE000
START, J2K_START, END = b"\xff\xd8", b"\xff\x4f\xff\x51", b"\xff\xd9"
COMMENT, J2K_COMMENT, SCAN, TILE = 0xFE, 0x64, 0xDA, 0x90
# application segments that a decoder reads: JFIF, SPIFF, Adobe's colour transform
READ_BY_DECODERS = frozenset((0xE0, 0xE8, 0xEE))
# in entropy-coded data 0xFF is followed by a stuffed 0 (T.81), a bit 0 (T.87), or a restart marker
_NEXT = re.compile(rb"\xff[\x80-\xcf\xd8-\xfe]")


class Essence(NamedTuple):
    """Encapsulated pixels without offset table, division into fragments, comments and padding."""

    shown: bytes
    strays: int  # bytes other than zero between the images and after the last


def essence(value: bytes) -> Essence | None:
    """What the streams of encapsulated pixels show; None if they cannot be read."""
    try:
        data = _joined(value)
        pieces: list[bytes] = []
        place = strays = 0
        while place < len(data):
            if data.startswith(J2K_START, place):
                place = _jpeg_2000(data, place, pieces)
            elif data.startswith(START, place):
                place = _jpeg(data, place, pieces)
            else:
                strays += data[place] != 0
                place += 1
    except (struct.error, IndexError):
        return None
    return Essence(b"".join(pieces), strays) if pieces else None


def _joined(value: bytes) -> bytes:
    """The fragments after the first item, which is the offset table."""
    parts: list[bytes] = []
    place = 0
    while place + 8 <= len(value):
        group, number, length = struct.unpack_from("<HHI", value, place)
        if group << 16 | number != ITEM:
            break
        parts.append(value[place + 8 : place + 8 + length])
        place += 8 + length
    return b"".join(parts[1:])


def _jpeg(data: bytes, place: int, pieces: list[bytes]) -> int:
    """Append the segments of one image; where it ends."""
    pieces.append(START)
    place += 2
    while data[place : place + 2] != END:
        marker, size = _segment(data, place)
        if marker != COMMENT and (not 0xE0 <= marker <= 0xEF or marker in READ_BY_DECODERS):
            pieces.append(data[place : place + size])
        place += size
        if marker == SCAN:
            following = _NEXT.search(data, place)
            if following is None:
                raise IndexError
            pieces.append(data[place : following.start()])
            place = following.start()
    pieces.append(END)
    return place + 2


def _jpeg_2000(data: bytes, place: int, pieces: list[bytes]) -> int:
    """Append main header and tile parts of one codestream; where it ends."""
    pieces.append(data[place : place + 2])
    place += 2
    while data[place : place + 2] != END:
        marker, size = _segment(data, place)
        if marker == TILE:
            (size,) = struct.unpack_from(">I", data, place + 6)  # of the whole tile part
            if size < 12 or place + size > len(data):
                raise IndexError
        if marker != J2K_COMMENT:
            pieces.append(data[place : place + size])
        place += size
    pieces.append(END)
    return place + 2


def _segment(data: bytes, place: int) -> tuple[int, int]:
    """(marker, bytes with the marker) of a segment that says its length."""
    if data[place] != 0xFF:
        raise IndexError
    size = 2 + int(struct.unpack_from(">H", data, place + 2)[0])
    if place + size > len(data):
        raise IndexError
    return data[place + 1], size
