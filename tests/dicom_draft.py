"""DICOM files encoded element by element, by code of our own, so that a lie can be put anywhere in them."""

from __future__ import annotations

import io
import random
import struct
import zlib
from dataclasses import dataclass, field
from typing import Any

from PIL import Image

IMPLICIT, EXPLICIT, BIG = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2"
DEFLATED, RLE = "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.5"
JPEG, JPEG2000 = "1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.90"
CT, MR, CAPTURE = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.4", "1.2.840.10008.5.1.4.1.1.7"
REPORT = "1.2.840.10008.5.1.4.1.1.88.11"
LONG = ("OB", "OW", "OF", "OD", "SQ", "UN", "UT", "UC", "UR")
UNDEFINED = 0xFFFFFFFF
ITEM, ITEM_END, SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
PIXELS, ROWS, COLUMNS, FRAMES, ALLOCATED, STORED, HIGH, SIGN = (0x7FE00010, 0x00280010, 0x00280011, 0x00280008) + (
    0x00280100,
    0x00280101,
    0x00280102,
    0x00280103,
)
SAMPLES, PHOTOMETRIC, PLANAR = 0x00280002, 0x00280004, 0x00280006
CLASS, INSTANCE, STUDY, SERIES, FRAME_OF_REFERENCE = 0x00080016, 0x00080018, 0x0020000D, 0x0020000E, 0x00200052
NAME, PATIENT, REQUESTS = 0x00100010, 0x00100020, 0x00400275


def el(tag: int, vr: str, value: Any, *, explicit: bool = True, big: bool = False, length: int | None = None) -> bytes:
    """One element; `length` lies about it."""
    order = ">" if big else "<"
    if isinstance(value, int):
        value = struct.pack(order + {"US": "H", "UL": "I"}[vr], value)
    elif isinstance(value, str):
        value = value.encode()
    if len(value) % 2 and length is None:
        value += b"\0" if vr in ("UI", "OB", "UN") else b" "
    size = len(value) if length is None else length
    head = struct.pack(order + "HH", tag >> 16, tag & 0xFFFF)
    if not explicit:
        return head + struct.pack(order + "I", size & UNDEFINED) + value
    if vr in LONG:
        return head + vr.encode() + bytes(2) + struct.pack(order + "I", size & UNDEFINED) + value
    return head + vr.encode() + struct.pack(order + "H", size & 0xFFFF) + value


def mark(tag: int, length: int = 0) -> bytes:
    """An item, or the end of one."""
    return struct.pack("<HHI", tag >> 16, tag & 0xFFFF, length)


def item(body: bytes, *, undefined: bool = False) -> bytes:
    return mark(ITEM, UNDEFINED) + body + mark(ITEM_END) if undefined else mark(ITEM, len(body)) + body


def meta(
    syntax: str, instance: str | bytes, sop_class: str | bytes = CT, *, extra: bytes = b"", drop: int = 0
) -> bytes:
    """Preamble and file meta group."""
    elements = {
        0x00020001: el(0x00020001, "OB", b"\0\1"),
        0x00020002: el(0x00020002, "UI", sop_class),
        0x00020003: el(0x00020003, "UI", instance),
        0x00020010: el(0x00020010, "UI", syntax),
        0x00020012: el(0x00020012, "UI", "1.2.826.0.1.3680043.10.543"),
    }
    body = b"".join(value for tag, value in elements.items() if tag != drop) + extra
    return bytes(128) + b"DICM" + el(0x00020000, "UL", len(body)) + body


@dataclass
class Draft:
    """An image in the making, of one made-up patient; every free text holds one of `planted`."""

    rng: random.Random
    planted: list[str] = field(default_factory=list)
    elements: dict[int, tuple[str, Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        rng = self.rng
        rows, columns = rng.randrange(8, 65), 2 * rng.randrange(4, 33)
        uid = f"1.2.826.0.1.3680043.10.{rng.randrange(10**12, 10**13)}"
        self.put((CLASS, "UI", rng.choice((CT, MR))), (INSTANCE, "UI", f"{uid}.3.1"), (0x00080060, "CS", "CT"))
        self.put((0x00080005, "CS", "ISO_IR 192"), (0x00080090, "PN", self.plant("Dr")), (0x00081030, "LO", "CT"))
        self.put((NAME, "PN", self.plant("Name")), (PATIENT, "LO", self.plant("ID")), (0x00100030, "DA", "19700101"))
        self.put((0x00104000, "LT", self.plant("Note")), (0x00110010, "LO", "ACME"))
        self.put((0x00111001, "LO", self.plant("Private")), (0x00184000, "LT", self.plant("Comment")))
        self.put((STUDY, "UI", f"{uid}.1"), (SERIES, "UI", f"{uid}.2"), (FRAME_OF_REFERENCE, "UI", f"{uid}.4"))
        self.put((0x00200013, "IS", "1"), (0x00200032, "DS", "0\\0\\0"), (0x00200037, "DS", "1\\0\\0\\0\\1\\0"))
        self.put((SAMPLES, "US", 1), (PHOTOMETRIC, "CS", "MONOCHROME2"), (ROWS, "US", rows), (COLUMNS, "US", columns))
        self.put(
            (0x00280030, "DS", "1\\1"), (ALLOCATED, "US", 16), (STORED, "US", 12), (HIGH, "US", 11), (SIGN, "US", 0)
        )
        self.put((0x00281052, "DS", "-1024"), (0x00281053, "DS", "1"))
        words = rng.randbytes(2 * rows * columns)
        self.put((PIXELS, "OW", bytes(b & 0x0F if k % 2 else b for k, b in enumerate(words))))
        self.planted += [uid]

    def put(self, *rows: tuple[int, str, Any]) -> Draft:
        self.elements.update({tag: (vr, value) for tag, vr, value in rows})
        return self

    def drop(self, tag: int) -> Draft:
        del self.elements[tag]
        return self

    def plant(self, what: str) -> str:
        self.planted.append(f"Zq{self.rng.randrange(10**9, 10**10)}{what}")
        return self.planted[-1]

    def value(self, tag: int) -> Any:
        return self.elements[tag][1]

    def eight_bits(self, colour: bool = False) -> Draft:
        size = self.value(ROWS) * self.value(COLUMNS) * (3 if colour else 1)
        self.put((CLASS, "UI", CAPTURE), (ALLOCATED, "US", 8), (STORED, "US", 8), (HIGH, "US", 7))
        self.put((SAMPLES, "US", 3 if colour else 1), (PHOTOMETRIC, "CS", "RGB" if colour else "MONOCHROME2"))
        if colour:
            self.put((PLANAR, "US", 0))
        return self.put((PIXELS, "OB", self.rng.randbytes(size)))

    def body(self, *, explicit: bool = True, big: bool = False, order: list[int] | None = None) -> bytes:
        def one(tag: int) -> bytes:
            vr, value = self.elements[tag]
            if big and vr == "OW":
                value = b"".join(value[k + 1 : k + 2] + value[k : k + 1] for k in range(0, len(value), 2))
            return el(tag, vr, value, explicit=explicit, big=big)

        return b"".join(one(tag) for tag in (sorted(self.elements) if order is None else order))

    def meta(self, syntax: str = EXPLICIT, **more: Any) -> bytes:
        instance, sop_class = (self.elements.get(tag, ("UI", "1.2.3.4"))[1] for tag in (INSTANCE, CLASS))
        return meta(syntax, instance, sop_class, **more)

    def file(self, syntax: str = EXPLICIT, **more: Any) -> bytes:
        return self.meta(syntax) + self.body(explicit=syntax != IMPLICIT, big=syntax == BIG, **more)

    def around(self, tag: int, replacement: bytes) -> bytes:
        """The file with the bytes of one element replaced, or put where it would stand."""
        body = self.body(order=[t for t in sorted(self.elements) if t < tag])
        return self.meta() + body + replacement + self.body(order=[t for t in sorted(self.elements) if t > tag])

    def deflated(self, body: bytes | None = None) -> bytes:
        stream = zlib.compressobj(9, wbits=-15)
        packed = stream.compress(self.body() if body is None else body) + stream.flush()
        return self.meta(DEFLATED) + packed + bytes(len(packed) % 2)

    def encapsulated(self, syntax: str, frames: list[bytes], *, table: bytes = b"", end: bytes | None = None) -> bytes:
        """Compressed pixels, a fragment a frame."""
        parts = [mark(ITEM, len(table)) + table]
        parts += [item(frame + bytes(len(frame) % 2)) for frame in frames]
        parts.append(mark(SEQUENCE_END) if end is None else end)
        self.put((PIXELS, "OB", b""))
        body = self.body(order=[tag for tag in sorted(self.elements) if tag != PIXELS])
        return self.meta(syntax) + body + el(PIXELS, "OB", b"".join(parts), length=UNDEFINED)

    def compressed(self, syntax: str) -> bytes:
        """One 8-bit frame, compressed as `syntax` says."""
        pixels = self.eight_bits().value(PIXELS)
        return packed(syntax, pixels, self.value(ROWS), self.value(COLUMNS))


def packed(syntax: str, pixels: bytes, rows: int, columns: int) -> bytes:
    """8-bit grey pixels as one fragment."""
    if syntax == RLE:  # literal runs, at most 128 bytes each: PS3.5 Annex G
        lines = (pixels[k : k + columns] for k in range(0, rows * columns, columns))
        data = b"".join(bytes([len(line) - 1]) + line for line in lines)
        return struct.pack("<16I", 1, 64, *[0] * 14) + data + bytes(len(data) % 2)
    file = io.BytesIO()
    image = Image.frombytes("L", (columns, rows), pixels)
    image.save(file, format="JPEG") if syntax == JPEG else image.save(file, format="JPEG2000", no_jp2=True)
    return file.getvalue()
