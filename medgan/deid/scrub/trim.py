"""What hides around the pixels goes: bytes after the last one, bits above BitsStored, comments and tails of streams.

Works on the raw value of (7FE0,0010) and its neighbours; the pixels themselves stay bit for bit.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

import numpy as np
from pydicom.encaps import encapsulate, generate_frames

from medgan.deid.scrub.streams import without_comments, without_tail
from medgan.deid.scrub.tree import DataSet, Element, Inside, text

FLOAT_BITS = {0x7FE00008: 32, 0x7FE00009: 64}  # FloatPixelData, DoubleFloatPixelData
FRAGMENT = 0xE000FFFE  # an item's tag, read as one little endian number
RLE = "1.2.840.10008.1.2.5"


class Unfit(ValueError):
    """The pixels are not laid out as their description says."""


@dataclass(frozen=True)
class Layout:
    """How pixels are stored, as the Image Pixel attributes say; `stored` bits end at `high_bit`."""

    rows: int
    columns: int
    samples: int
    frames: int
    allocated: int
    stored: int
    high_bit: int
    signed: bool
    photometric: str
    little: bool
    syntax: str

    @classmethod
    def of(cls, data: DataSet, *, little: bool, syntax: str) -> Layout:
        """Of a top-level data set. Raises Unfit when rows, columns or bits are missing."""

        def number(tag: int, default: int | None = None) -> int:
            element = data.get(tag)
            if element is None or len(element.value) != 2:
                if default is None:
                    raise Unfit("no description of the pixels")
                return default
            return int.from_bytes(element.value, "little" if little else "big")

        allocated = number(0x00280100)
        stored = number(0x00280101, allocated) or allocated
        frames = text(data, 0x00280008)
        return cls(
            rows=number(0x00280010),
            columns=number(0x00280011),
            samples=number(0x00280002, 1) or 1,
            frames=int(frames) if frames.isdecimal() and int(frames) else 1,
            allocated=allocated,
            stored=stored,
            high_bit=number(0x00280102, stored - 1),
            signed=number(0x00280103, 0) == 1,
            photometric=text(data, 0x00280004),
            little=little,
            syntax=syntax,
        )

    def length(self, allocated: int) -> int:
        """Bytes of all frames, uncompressed, at `allocated` bits a sample."""
        samples = 2 if self.photometric == "YBR_FULL_422" else self.samples
        return -(-self.rows * self.columns * self.frames * samples * allocated // 8)


def trimmed(element: Element, layout: Layout) -> Element:
    """The same pixels and nothing else; the element itself when nothing hid. Raises Unfit."""
    value = _streams(element.value, layout) if element.inside is Inside.FRAGMENTS else _native(element, layout)
    return element if value is element.value else Element(element.tag, element.vr, value, None, element.inside)


def _native(element: Element, layout: Layout) -> bytes:
    value = element.value
    length = layout.length(FLOAT_BITS.get(element.tag, layout.allocated))
    if len(value) > length + (length & 1) or (length & 1 and len(value) > length and value[length]):
        value = value[:length] + b"\0" * (length & 1)
    return value if element.tag in FLOAT_BITS else _without_spare_bits(value, layout)


def _without_spare_bits(value: bytes, layout: Layout) -> bytes:
    """Overlay planes can sit in unused bits: BitsStored bits of each sample stay, sign-extended."""
    allocated, stored = layout.allocated, layout.stored
    if allocated not in (8, 16, 32) or not 0 < stored < allocated:
        return value
    size = allocated // 8
    order = "<" if layout.little else ">"
    values = np.frombuffer(value, f"{order}{'i' if layout.signed else 'u'}{size}", count=len(value) // size)
    if layout.high_bit != stored - 1:
        # which bits are the picture's cannot be told when some are set outside of where it should be
        spare = ~(((1 << stored) - 1) << max(0, layout.high_bit - stored + 1)) & ((1 << allocated) - 1)
        if np.any(values.view(f"{order}u{size}") & spare):
            raise Unfit("bits outside of the stored ones")
        return value
    if not values.size or _fits(values, stored, signed=layout.signed):
        return value
    shift = allocated - stored
    clean = (values << shift) >> shift
    return clean.astype(values.dtype).tobytes() + value[values.nbytes :]


def _fits(values: np.ndarray, stored: int, *, signed: bool) -> bool:
    if not signed:
        return int(values.max()) < 1 << stored
    return int(values.max()) < 1 << stored - 1 and int(values.min()) >= -(1 << stored - 1)


def _streams(value: bytes, layout: Layout) -> bytes:
    """Encapsulated frames one fragment each, without comments and tails; as they were when they had none."""
    try:
        streams = _frames(value, layout.frames)
        if layout.syntax == RLE:
            clean = [without_tail(stream, layout.rows * layout.columns) for stream in streams]
        else:
            clean = [without_comments(stream) for stream in streams]
    except (ValueError, RuntimeError, EOFError, IndexError, struct.error):
        raise Unfit("streams that cannot be told apart") from None
    rebuilt: bytes = encapsulate([stream + b"\0" * (len(stream) & 1) for stream in clean])
    return value if rebuilt == value or _only_offsets_differ(value, rebuilt) else rebuilt


def _frames(value: bytes, frames: int) -> list[bytes]:
    """The streams by frame. An offset table counts only where frames lie in several fragments: it can say anything."""
    fragments, place = [], 0
    while place < len(value):
        tag, length = struct.unpack_from("<II", value, place)
        if tag != FRAGMENT or place + 8 + length > len(value):
            raise ValueError("no fragment")
        fragments.append(value[place + 8 : place + 8 + length])
        place += 8 + length
    streams = [fragment for fragment in fragments[1:] if fragment]
    if len(streams) != frames:
        streams = list(generate_frames(value, number_of_frames=frames))
    if len(streams) != frames:
        raise ValueError("another number of frames")
    return streams


def _only_offsets_differ(value: bytes, rebuilt: bytes) -> bool:
    """Whether `value` is the same fragments under an empty offset table."""
    return value[4:8] == b"\0\0\0\0" and value[8:] == rebuilt[8 + int.from_bytes(rebuilt[4:8], "little") :]
