"""The bones of a DICOM file: where each attribute lies, whether lengths are true, how deep sequences go.

No value is decoded and nothing recurses, so a hostile file costs no more than its size. What passes here can be
given to pydicom, whose reader recurses and trusts lengths; and it reads the same in every other reader, for what
readers see differently (tags twice or out of order, a second encoding, lengths that disagree) is refused.
"""

from __future__ import annotations

import mmap
import struct
import zlib
from dataclasses import dataclass, field

from medgan.dicom.dictionary import PRESENT_VRS, first_vr
from medgan.errors import InputRejected, Reason

MAX_DEPTH = 32  # pydicom fails near 249, a real archive server crashed at 50; real files stay below 10
UNDEFINED = 0xFFFFFFFF
ITEM, ITEM_END, SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
NESTING = (b"SQ", b"UN")
PIXELS = (0x7FE00010, 0x7FE00008, 0x7FE00009)  # integer, float, double
LONG = frozenset((b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"))
SHORT = frozenset(
    (b"AE", b"AS", b"AT", b"CS", b"DA", b"DS", b"DT", b"FD", b"FL", b"IS", b"LO", b"LT", b"PN", b"SH", b"SL")
    + (b"SS", b"ST", b"TM", b"UI", b"UL", b"US")
)
TEXT = frozenset(
    (b"AE", b"AS", b"CS", b"DA", b"DS", b"DT", b"IS", b"LO", b"LT", b"PN", b"SH", b"ST", b"TM", b"UC", b"UI", b"UR")
    + (b"UT",)
)
WORDS = {b"US": 2, b"SS": 2, b"AT": 4, b"UL": 4, b"SL": 4, b"FL": 4, b"OF": 4, b"OL": 4}  # VR -> bytes of one value
WORDS |= {b"FD": 8, b"OD": 8, b"OV": 8, b"SV": 8, b"UV": 8}
DEFLATED = "1.2.840.10008.1.2.1.99"
IMPLICIT = "1.2.840.10008.1.2"
BIG_ENDIAN = "1.2.840.10008.1.2.2"
EXPLICIT = "1.2.840.10008.1.2.1"
PRIVATE_IMPLICIT = "1.2.840.113619.5.2"  # GE: implicit, pixels big endian
META_LENGTH, META_START = 0x00020000, 144  # where what it counts begins
FIRST, DELIMITERS = 0x00040000, 0xFFFE  # PS3.5 7.1: no command and no file meta attributes in a data set
MAX_PADDING = 1 << 16  # zeros behind a file
GZIP_TRAILER = 8  # some writers leave it behind a deflated data set
Bytes = bytes | mmap.mmap  # a file in memory, or mapped: nothing here copies it


def _sort(vr: bytes) -> str:
    """Text, a sequence, or numbers: vendors confuse VRs of one sort, a file of another sort means harm."""
    return "text" if vr in TEXT else "sequence" if vr == b"SQ" else "numbers"


SORT_OF = {vr: _sort(vr) for vr in SHORT | LONG}
SORTS = {tag: _sort(vr) for tag, vr in PRESENT_VRS.items() if vr in SHORT | LONG - {b"UN"}}


@dataclass(slots=True)
class Structure:
    """`places`: tag -> (offset, length) of each top-level value in `data`; `vrs`: tag -> its VR as written.

    `fragments`: (offset, length) of each fragment of encapsulated pixels, the offset table first.
    """

    data: Bytes
    big: bool
    places: dict[int, tuple[int, int]] = field(default_factory=dict)
    vrs: dict[int, bytes] = field(default_factory=dict)
    fragments: list[tuple[int, int]] | None = None
    truncated_pixels: bool = False

    def raw(self, tag: int) -> bytes | None:
        """The bytes of a top-level value; None where it is absent."""
        if tag not in self.places:
            return None
        offset, length = self.places[tag]
        return self.data[offset : offset + length]


@dataclass(slots=True)
class _Level:
    end: int | None  # None: until its delimiter
    limit: int  # no value inside may reach past it
    sequence: bool  # holds items; else holds attributes
    explicit: bool
    last: int = -1  # the tag before


def read_meta(data: Bytes) -> tuple[dict[int, bytes], int]:
    """The file meta group (explicit little endian) of a file with preamble, and where the data set begins.

    Raises InputRejected (unreadable) when readers could disagree about either.
    """
    meta: dict[int, bytes] = {}
    at, last = 132, -1
    while at + 8 <= len(data) and data[at : at + 2] == b"\x02\x00":
        element, vr, length = struct.unpack_from("<2xH2sH", data, at)
        begin = at + 8
        if vr in LONG:
            if at + 12 > len(data):
                raise InputRejected(Reason.UNREADABLE)
            length, begin = struct.unpack_from("<I", data, at + 8)[0], at + 12
        if vr not in LONG | SHORT or begin + length > len(data) or element <= last:
            raise InputRejected(Reason.UNREADABLE)
        meta[0x00020000 | element] = data[begin : begin + length]
        at, last = begin + length, element
    stated = meta.get(META_LENGTH)
    if stated is not None and int.from_bytes(stated, "little") != at - META_START:
        raise InputRejected(Reason.UNREADABLE)
    return meta, at


def inflate(data: bytes | memoryview, *, room: int) -> bytes:
    """A deflated data set. Raises InputRejected (unsafe_file) when it would not fit into `room` bytes."""
    stream = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        whole = stream.decompress(data, room + 1)
    except zlib.error:
        raise InputRejected(Reason.UNREADABLE) from None
    if len(whole) > room:
        raise InputRejected(Reason.UNSAFE_FILE)
    if not stream.eof or len(stream.unused_data) > GZIP_TRAILER:
        raise InputRejected(Reason.UNREADABLE)
    return whole


def walk(data: Bytes, start: int, syntax: str) -> Structure:
    """The structure of the data set that begins at `start`.

    Raises InputRejected (unreadable) for lengths past the end or odd, wrong delimiters, tags that do not increase
    (PS3.5 7.1), a second encoding, or sequences too deep.
    """
    big, explicit = syntax == BIG_ENDIAN, syntax != IMPLICIT
    found = Structure(data, big)
    levels = [_Level(len(data), len(data), False, explicit, FIRST - 1)]
    at = start
    while levels:
        level = levels[-1]
        if level.end is not None and at >= level.end:
            if at > level.end:
                raise InputRejected(Reason.UNREADABLE)
            levels.pop()
        elif at + 8 > level.limit:
            if len(levels) > 1 or _is_truncated(data, at):
                raise InputRejected(Reason.UNREADABLE)
            levels.pop()
        elif level.sequence:
            at = _item(found, at, levels)
        else:
            at = _attribute(found, at, levels)
    return found


def _item(found: Structure, at: int, levels: list[_Level]) -> int:
    """Step into an item of a sequence, or out of the sequence."""
    level = levels[-1]
    tag, length = _tag(found, at), _u32(found, at + 4)
    at += 8
    if tag == SEQUENCE_END and level.end is None:
        levels.pop()
    elif tag == ITEM:
        _push(levels, at, length, sequence=False, explicit=level.explicit)
    else:
        raise InputRejected(Reason.UNREADABLE)
    return at


def _attribute(found: Structure, at: int, levels: list[_Level]) -> int:
    """Step over one attribute, into a sequence, or out of an item."""
    level = levels[-1]
    tag = _tag(found, at)
    if tag == ITEM_END:
        if level.end is not None:
            raise InputRejected(Reason.UNREADABLE)
        levels.pop()
        return at + 8
    top = len(levels) == 1
    if tag <= level.last or tag >> 16 == DELIMITERS:
        return _padding(found, at, top)
    level.last = tag
    vr, begin, length = _header(found, at, level, tag)
    if vr != b"UN" and (SORTS.get(tag, SORT_OF[vr]) != SORT_OF[vr] or (vr in WORDS and length % WORDS[vr])):
        raise InputRejected(Reason.UNREADABLE)
    if top:
        found.vrs[tag] = vr
        if tag in PIXELS:
            return _pixels(found, tag, begin, length)
    if length == UNDEFINED or vr == b"SQ":
        if vr not in NESTING:
            raise InputRejected(Reason.UNREADABLE)
        if top:
            found.places[tag] = (begin, 0)
        # an unknown value of undefined length holds implicit items: PS3.5 6.2.2, note 6
        _push(levels, begin, length, sequence=True, explicit=level.explicit and vr != b"UN")
        return begin
    if begin + length > level.limit or length & 1:
        raise InputRejected(Reason.UNREADABLE)
    if top:
        found.places[tag] = (begin, length)
    return begin + length


def _padding(found: Structure, at: int, top: bool) -> int:
    """Step over zeros behind the last attribute; nothing else may follow out of order."""
    rest = len(found.data) - at
    if not top or rest > MAX_PADDING or any(found.data[at:]):
        raise InputRejected(Reason.UNREADABLE)
    return at + rest


def _header(found: Structure, at: int, level: _Level, tag: int) -> tuple[bytes, int, int]:
    """VR, offset and length of a value."""
    if level.explicit:
        vr = found.data[at + 4 : at + 6]
        if vr in SHORT:
            return vr, at + 8, struct.unpack_from(">H" if found.big else "<H", found.data, at + 6)[0]
        if vr not in LONG or at + 12 > level.limit:
            raise InputRejected(Reason.UNREADABLE)  # no VR: damaged, or an implicit attribute among explicit ones
        return vr, at + 12, _u32(found, at + 8)
    return first_vr(tag), at + 8, _u32(found, at + 4)


def _pixels(found: Structure, tag: int, begin: int, length: int) -> int:
    """Step over the pixels, or over the fragments of encapsulated ones."""
    size = len(found.data)
    if length != UNDEFINED:
        found.places[tag] = (begin, min(length, size - begin))
        found.truncated_pixels = begin + length > size
        return min(begin + length, size)
    at, parts = begin, []
    found.truncated_pixels = True  # until their end is found
    while at + 8 <= size:
        part, length = _tag(found, at), _u32(found, at + 4)
        at += 8
        if part == SEQUENCE_END:
            found.truncated_pixels = False
            break
        if part != ITEM or at + length > size:
            break
        parts.append((at, length))
        at += length
    if found.truncated_pixels:
        at = size
    found.places[tag] = (begin, at - begin)
    found.fragments = parts
    return at


def _push(levels: list[_Level], begin: int, length: int, *, sequence: bool, explicit: bool) -> None:
    limit = levels[-1].limit
    if len(levels) > 2 * MAX_DEPTH or (length != UNDEFINED and begin + length > limit):
        raise InputRejected(Reason.UNREADABLE)
    levels.append(
        _Level(None, limit, sequence, explicit)
        if length == UNDEFINED
        else _Level(begin + length, begin + length, sequence, explicit)
    )


def _tag(found: Structure, at: int) -> int:
    group, element = struct.unpack_from(">HH" if found.big else "<HH", found.data, at)
    return int(group << 16 | element)


def _u32(found: Structure, at: int) -> int:
    return int(struct.unpack_from(">I" if found.big else "<I", found.data, at)[0])


def _is_truncated(data: Bytes, at: int) -> bool:
    """A few bytes of padding may follow the last attribute; the beginning of another one may not."""
    return any(data[at:])
