"""Pixels of a result held against those of its source: bit for bit the same, but for boxes that were painted over."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray
from pydicom import dcmread
from pydicom.pixels import iter_pixels

from medgan.deid.audit.codestream import essence
from medgan.deid.audit.container import Treated, frames, number, top
from medgan.deid.audit.elements import PIXELS, Element, Parsed
from medgan.deid.audit.evidence import Finding

ITEM = b"\xfe\xff\x00\xe0"
# samples, rows, columns, bits allocated and stored, high bit, representation
DESCRIBED = (0x00280002, 0x00280010, 0x00280011, 0x00280100, 0x00280101, 0x00280102, 0x00280103)
SUBSAMPLED = b"YBR_FULL_422"
MOST_DECODED = 1 << 31  # bytes
UNDECODABLE = (
    *(ValueError, RuntimeError, NotImplementedError, AttributeError, KeyError, TypeError, IndexError, OSError),
    *(MemoryError, OverflowError, AssertionError, struct.error, zlib.error),
)


def pixels(source: Parsed, result: Parsed, written: bytes, treated: Treated) -> Iterable[Finding]:
    """As long as rows, columns, samples, bits and frames say, nothing above the stored bits, nothing else changed."""
    after, before = _element(result), _element(source)
    if after is None:
        if before is not None:
            yield Finding("PixelData", "lost")
        return
    if before is None:
        yield Finding("PixelData", "not_of_the_source")
        return
    if not after.value.startswith(ITEM):
        length = _length(result)
        if len(after.value) != length + (length & 1):
            yield Finding("PixelData", "length")
            return
        if _above_stored_bits(after.value[:length], result) or any(after.value[length:]):
            yield Finding("PixelData", "unused_bits")
    if _unchanged(before, after, source, result):
        return
    if max(_length(source), _length(result)) > MOST_DECODED or not _equal_decoded(written, treated):
        yield Finding("PixelData", "changed")


def _unchanged(before: Element, after: Element, source: Parsed, result: Parsed) -> bool:
    """Whether the stored bytes are those of the source; what the source had behind or above its pixels may be gone."""
    if any(number(source, tag) != number(result, tag) for tag in DESCRIBED) or frames(source) != frames(result):
        return False
    if before.value == after.value:
        return True
    if before.value.startswith(ITEM) and after.value.startswith(ITEM):
        old, new = essence(before.value), essence(after.value)
        return old is not None and new is not None and old.shown == new.shown and not new.strays
    if source.order != result.order or before.value.startswith(ITEM) or after.value.startswith(ITEM):
        return False
    length = _length(result)
    a, b = (_values(value[:length], result) for value in (before.value, after.value))
    return a.shape == b.shape and bool(np.array_equal(_stored(a, result), _stored(b, result)))


def _equal_decoded(written: bytes, treated: Treated) -> bool:
    """Whether every decoded frame is that of the source outside the boxes; removed faces are measured elsewhere."""
    if treated.faceless:
        return True
    try:
        pair = [dcmread(io.BytesIO(data), force=True) for data in (treated.original, written)]
        raw = int(pair[0].get("SamplesPerPixel") or 1) == 1
        streams = [iter_pixels(ds, raw=raw) for ds in pair]
        for index, (a, b) in enumerate(zip(*streams, strict=True)):
            seen = np.ones(a.shape[:2], bool)
            for box in treated.boxes[index] if treated.repainted and index < len(treated.boxes) else ():
                seen[max(0, box.top) : box.bottom, max(0, box.left) : box.right] = False
            if a.shape != b.shape or not np.array_equal(_low_bits(a, pair[0])[seen], _low_bits(b, pair[0])[seen]):
                return False
    except UNDECODABLE:
        return False
    return True


def _low_bits(frame: NDArray[np.generic], ds: object) -> NDArray[np.generic]:
    """Stored bits only, so that what hid above them does not count as a change."""
    bits = int(getattr(ds, "BitsStored", 0) or frame.dtype.itemsize * 8)
    if frame.dtype.kind not in "iu":
        return frame
    return frame.astype(np.int64) & ((1 << bits) - 1)


def _element(parsed: Parsed) -> Element | None:
    return next((e for e in reversed(parsed.elements) if e.tag == PIXELS and not e.depth), None)


def _length(parsed: Parsed) -> int:
    count = number(parsed, 0x00280010) * number(parsed, 0x00280011) * frames(parsed)
    samples = 2 if top(parsed.elements, 0x00280004) == SUBSAMPLED else number(parsed, 0x00280002) or 1
    return -(-count * samples * number(parsed, 0x00280100) // 8)


def _values(data: bytes, parsed: Parsed) -> NDArray[np.generic]:
    size = {8: "u1", 16: "u2", 32: "u4"}.get(number(parsed, 0x00280100), "u1")
    mark = "<" if parsed.order == "little" else ">"
    return np.frombuffer(data[: len(data) // int(size[1]) * int(size[1])], mark + size)


def _stored(values: NDArray[np.generic], parsed: Parsed) -> NDArray[np.generic]:
    bits = number(parsed, 0x00280101)
    if not 0 < bits < values.dtype.itemsize * 8:
        return values
    stored: NDArray[np.generic] = values & np.array((1 << bits) - 1, values.dtype)
    return stored


def _above_stored_bits(data: bytes, parsed: Parsed) -> bool:
    """Whether anything but zeros, or copies of the sign, stands above the highest stored bit."""
    allocated, stored = number(parsed, 0x00280100), number(parsed, 0x00280101)
    high = number(parsed, 0x00280102)
    if allocated not in (8, 16, 32) or not 0 < stored < allocated or high != stored - 1:
        return False
    values = _values(data, parsed)
    if not values.size:
        return False
    if number(parsed, 0x00280103):
        signed = values.view(values.dtype.str.replace("u", "i"))
        return bool(signed.max() >= 1 << (stored - 1) or signed.min() < -(1 << (stored - 1)))
    return bool(values.max() >= 1 << stored)
