"""Whether what a header declares of its pixels can be true: sizes, bits, colours, frames and fragments.

Only lengths and first bytes are looked at, nothing is decoded. What passes can still fail to decode.
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass

from medgan.dicom import structure
from medgan.dicom.structure import Structure
from medgan.errors import InputRejected, Reason

SAMPLES, PHOTOMETRIC, PLANAR, FRAMES, ROWS, COLUMNS = (0x00280002, 0x00280004, 0x00280006) + (
    0x00280008,
    0x00280010,
    0x00280011,
)
ALLOCATED, STORED, HIGH_BIT, SIGN = 0x00280100, 0x00280101, 0x00280102, 0x00280103
PALETTE_TABLES = (0x00281101, 0x00286101)  # descriptors: red, and palettes of enhanced colour
EXTENDED_OFFSETS = 0x7FE00001
INTEGERS = 0x7FE00010
PIXEL_VRS = frozenset((b"OB", b"OW", b"OF", b"OD", b"UN"))
GREYS = ("MONOCHROME1", "MONOCHROME2")
PALETTE, HALF_COLOUR = "PALETTE COLOR", "YBR_FULL_422"
COLOURS = ("RGB", "YBR_FULL", HALF_COLOUR, "YBR_ICT", "YBR_RCT", "YBR_PARTIAL_422", "YBR_PARTIAL_420")
WIDTHS = (1, 8, 16, 32, 64)
NATIVE = (structure.IMPLICIT, structure.EXPLICIT, structure.DEFLATED, structure.BIG_ENDIAN, structure.PRIVATE_IMPLICIT)
RLE = "1.2.840.10008.1.2.5"
STARTS = {  # transfer syntaxes by their beginning -> how each of their frames begins
    "1.2.840.10008.1.2.4.5": (b"\xff\xd8",),  # JPEG
    "1.2.840.10008.1.2.4.6": (b"\xff\xd8",),
    "1.2.840.10008.1.2.4.7": (b"\xff\xd8",),
    "1.2.840.10008.1.2.4.8": (b"\xff\xd8",),  # JPEG-LS
    "1.2.840.10008.1.2.4.9": (b"\xff\x4f\xff\x51", b"\0\0\0\x0cjP  "),  # JPEG 2000, also in its file format
    "1.2.840.10008.1.2.4.20": (b"\xff\x4f\xff\x51", b"\0\0\0\x0cjP  "),
}


@dataclass(frozen=True, slots=True)
class _Declared:
    rows: int
    columns: int
    samples: int
    bits: int
    frames: int
    photometric: str

    @property
    def frame_bytes(self) -> float:
        """Uncompressed, in a native syntax."""
        # YBR_FULL_422: two pixels share one pair of colours
        samples = 2 if self.photometric == HALF_COLOUR else self.samples
        return self.rows * self.columns * samples * self.bits / 8


def check(found: Structure, syntax: str, *, room: int) -> None:
    """Raises InputRejected unless the pixels can be what the header says, and fit into `room` bytes decoded."""
    tags = [tag for tag in structure.PIXELS if tag in found.places]
    if not tags:
        raise InputRejected(Reason.NO_PIXELS)
    if found.truncated_pixels or len(tags) > 1 or found.vrs[tags[0]] not in PIXEL_VRS:
        raise InputRejected(Reason.INCONSISTENT_LENGTH)
    declared = _declared(found)
    _check_colours(found, declared)
    if tags[0] == INTEGERS:
        _check_bits(found, declared)
    if declared.rows * declared.columns * declared.samples * declared.bits / 8 * declared.frames > room:
        raise InputRejected(Reason.UNSAFE_FILE)
    if (found.fragments is None) != (syntax in NATIVE):
        raise InputRejected(Reason.INCONSISTENT_LENGTH)
    if found.fragments is None:
        _check_length(found.places[tags[0]][1], declared)
    else:
        _check_fragments(found, found.fragments, syntax, declared.frames)


def _declared(found: Structure) -> _Declared:
    """Raises InputRejected when one is missing, zero, or no number."""
    rows, columns, samples, bits = (_number(found, tag) for tag in (ROWS, COLUMNS, SAMPLES, ALLOCATED))
    frames, photometric = _frames(found), _text(found, PHOTOMETRIC)
    if not all((rows, columns, samples, bits, frames, photometric)):
        raise InputRejected(Reason.MISSING_ATTRIBUTE)
    return _Declared(rows, columns, samples, bits, frames, photometric)


def _check_colours(found: Structure, declared: _Declared) -> None:
    """PS3.3 C.7.6.3.1: which interpretation goes with how many samples."""
    if declared.photometric in COLOURS:
        possible = declared.samples == 3 and (PLANAR not in found.places or _number(found, PLANAR) < 2)
    elif declared.photometric == PALETTE:
        possible = declared.samples == 1 and any(tag in found.places for tag in PALETTE_TABLES)
    else:
        possible = declared.samples == 1 and declared.photometric in GREYS
    if not possible:
        raise InputRejected(Reason.UNSUPPORTED_PHOTOMETRIC)


def _check_bits(found: Structure, declared: _Declared) -> None:
    """PS3.5 8.1.1: the stored bits lie inside the allocated ones."""
    if any(tag not in found.places for tag in (STORED, HIGH_BIT, SIGN)):
        raise InputRejected(Reason.MISSING_ATTRIBUTE)
    stored, high, sign = (_number(found, tag) for tag in (STORED, HIGH_BIT, SIGN))
    if declared.bits not in WIDTHS or not 0 < stored <= high + 1 <= declared.bits or sign > 1:
        raise InputRejected(Reason.MISSING_ATTRIBUTE)


def _check_length(length: int, declared: _Declared) -> None:
    frame = declared.frame_bytes
    expected = math.ceil(frame * declared.frames)
    # a little padding is common; a whole frame too many means that the count lies
    if length & 1 or length < expected or length >= expected + max(2, frame):
        raise InputRejected(Reason.INCONSISTENT_LENGTH)


def _check_fragments(found: Structure, parts: list[tuple[int, int]], syntax: str, frames: int) -> None:
    """The offset table comes first; a frame may be split over fragments, but no fragment holds two."""
    table, fragments = parts[:1], parts[1:]
    if len(fragments) < frames or any(length & 1 for _, length in parts):
        raise InputRejected(Reason.INCONSISTENT_LENGTH)
    starts = _frame_starts(found, table[0], fragments, frames)
    if not all(_begins(found, *place, syntax) for place in starts):
        raise InputRejected(Reason.DECODE_FAILED)


def _frame_starts(
    found: Structure, table: tuple[int, int], fragments: list[tuple[int, int]], frames: int
) -> list[tuple[int, int]]:
    """The fragments that begin a frame, as far as the file tells. Raises InputRejected when its offsets lie."""
    if EXTENDED_OFFSETS in found.places and found.places[EXTENDED_OFFSETS][1] != 8 * frames:
        raise InputRejected(Reason.INCONSISTENT_LENGTH)
    at, length = table
    if not length:
        return fragments if len(fragments) == frames else fragments[:1]
    if length != 4 * frames:
        raise InputRejected(Reason.INCONSISTENT_LENGTH)
    offsets = struct.unpack_from(f"{'>' if found.big else '<'}{frames}I", found.data, at)
    # PS3.5 A.4: each counts from the first fragment's item to a fragment's item
    by_offset = {begin - 8 - (at + length): (begin, size) for begin, size in fragments}
    if offsets[0] != 0 or list(offsets) != sorted(set(offsets)) or not by_offset.keys() >= set(offsets):
        raise InputRejected(Reason.INCONSISTENT_LENGTH)
    return [by_offset[offset] for offset in offsets]


def _begins(found: Structure, begin: int, length: int, syntax: str) -> bool:
    """Whether a frame begins as its transfer syntax says; true where we do not know how it would."""
    if syntax == RLE:  # PS3.5 G.5: the number of segments, and where the first begins
        count, first = struct.unpack_from("<2I", found.data[begin : begin + min(length, 8)].ljust(8, b"\0"))
        return length > 64 and 0 < count < 16 and first == 64
    known = next((starts for prefix, starts in STARTS.items() if syntax.startswith(prefix)), None)
    start = found.data[begin : begin + min(length, 8)]
    return length > 0 if known is None else start.startswith(known)


def _number(found: Structure, tag: int) -> int:
    """An unsigned 16-bit attribute; 0 where it is absent or empty. Raises InputRejected when it is something else."""
    raw = found.raw(tag)
    if not raw:
        return 0
    if len(raw) != 2 or found.vrs[tag] not in (b"US", b"UN"):
        raise InputRejected(Reason.INCONSISTENT_LENGTH)
    return int(struct.unpack(">H" if found.big else "<H", raw)[0])


def _frames(found: Structure) -> int:
    text = _text(found, FRAMES) or "1"
    if not (text.isascii() and text.isdigit()) or len(text) > 12:
        raise InputRejected(Reason.INCONSISTENT_LENGTH)
    return int(text)


def _text(found: Structure, tag: int) -> str:
    return (found.raw(tag) or b"").decode("ascii", "replace").strip("\0 ")
