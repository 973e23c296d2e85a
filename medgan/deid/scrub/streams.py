"""Compressed frames, walked by their markers: comments and application data overwritten, what follows the end cut off.

JPEG and JPEG-LS (ITU T.81, T.87), JPEG 2000 and HTJ2K codestreams (T.800), and RLE (PS3.5 Annex G).
"""

from __future__ import annotations

import re
import struct

J2K_START, JP2_START = b"\xff\x4f\xff\x51", b"\0\0\0\x0cjP  "
SOS, EOI, COMMENT = 0xDA, 0xD9, 0xFE
SOT, SOD, J2K_COMMENT = 0x90, 0x93, 0x64
ALONE = frozenset((0x01, *range(0xD0, 0xD9)))  # markers without a segment
# bytes of application segments that a decoder needs: JFIF without its thumbnail, SPIFF or HP colour, Adobe
NEEDED = {0xE0: (b"JFIF\0", 14), 0xE8: (b"", 32), 0xEE: (b"Adobe", 12)}
RLE_SEGMENTS = 15

_MARKER = re.compile(rb"\xff[\x01-\xcf\xd8-\xfe]")
_LS_MARKER = re.compile(rb"\xff[\x80-\xcf\xd8-\xfe]")


def without_comments(stream: bytes) -> bytes:
    """A JPEG, JPEG-LS or JPEG 2000 stream of the same picture; another kind of stream as it is."""
    if stream[:8] == JP2_START and J2K_START in stream:
        stream = stream[stream.index(J2K_START) :]  # the boxes around a codestream can hold any text
    if stream[:4] == J2K_START:
        return _j2k(stream)
    return _jpeg(stream) if stream[:2] == b"\xff\xd8" else stream


def without_tail(stream: bytes, pixels: int) -> bytes:
    """An RLE frame whose segments end where they have given `pixels` bytes each. Raises ValueError."""
    count, *offsets = struct.unpack_from("<16I", stream)
    if not 0 < count <= RLE_SEGMENTS:
        raise ValueError("no RLE header")
    segments = [_segment(stream, offset, pixels) for offset in offsets[:count]]
    places, place = [], 64
    for segment in segments:
        places.append(place)
        place += len(segment)
    header = struct.pack("<16I", count, *places, *[0] * (RLE_SEGMENTS - count))
    return header + b"".join(segments)


def _segment(stream: bytes, start: int, pixels: int) -> bytes:
    place, given = start, 0
    while given < pixels:
        code = stream[place]
        if code < 128:
            place, given = place + code + 2, given + code + 1
        else:
            place, given = place + (1 if code == 128 else 2), given + (0 if code == 128 else 257 - code)
    if place > len(stream):
        raise ValueError("a segment that ends too soon")
    segment = stream[start:place]
    return segment + b"\0" * (len(segment) & 1)


def _jpeg(stream: bytes) -> bytes:
    out, place = bytearray(stream), 2
    scan = _MARKER
    while place + 2 <= len(out):
        if out[place] != 0xFF:
            raise ValueError("no marker")
        marker = out[place + 1]
        if marker == EOI:
            return bytes(out[: place + 2])
        if marker == 0xFF or marker in ALONE:
            place += 1 if marker == 0xFF else 2
            continue
        length = int.from_bytes(out[place + 2 : place + 4], "big")
        if length < 2:
            raise ValueError("no length")
        if marker == COMMENT or 0xE0 <= marker <= 0xEF:
            _overwrite(out, place + 4, place + 2 + length, marker)
        if marker in (0xF7, 0xF8):
            scan = _LS_MARKER  # JPEG-LS stuffs a bit, not a byte
        place += 2 + length
        if marker == SOS:
            found = scan.search(out, place)
            place = found.start() if found else len(out)
    return bytes(out)


def _overwrite(out: bytearray, start: int, end: int, marker: int) -> None:
    name, needed = NEEDED.get(marker, (b"", 0))
    keep = needed if out[start : start + len(name)] == name else 0
    end = min(end, len(out))
    out[start + keep : end] = bytes(max(0, end - start - keep))


def _j2k(stream: bytes) -> bytes:
    out, place, tile_end = bytearray(stream), 2, 0
    while place + 2 <= len(out):
        marker, length = out[place + 1], int.from_bytes(out[place + 2 : place + 4], "big")
        if out[place] != 0xFF or (marker not in (EOI, SOD) and length < 2):
            raise ValueError("no marker")
        if marker == EOI:
            return bytes(out[: place + 2])
        if marker == SOT:
            (part,) = struct.unpack_from(">I", out, place + 6)
            # a last tile-part that does not say its length ends at the end marker, which is in no packet
            tile_end = place + part if part else max(out.find(b"\xff\xd9", place), place + 12)
        elif marker == J2K_COMMENT:
            out[place + 6 : place + 2 + length] = bytes(max(0, length - 4))  # after the registration value
        place = max(tile_end, place + 2) if marker == SOD else place + 2 + length
    return bytes(out)
