"""Grey frames in JPEG 2000, HTJ2K, JPEG-LS, lossless JPEG and RLE, by imagecodecs: it does not hold the interpreter.

What a code stream says of itself is held against the header.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import imagecodecs
import numpy as np
from numpy.typing import NDArray
from pydicom.uid import (
    HTJ2K,
    JPEG2000,
    HTJ2KLossless,
    HTJ2KLosslessRPCL,
    JPEG2000Lossless,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    RLELossless,
)

from medgan.errors import Reason, StudyRejected

SOF3, SOF55, SOS = 0xC3, 0xF7, 0xDA  # start of a lossless JPEG frame, of a JPEG-LS frame, of a scan
FILL = 0xFF
BARE = frozenset((JPEGLSLossless, JPEGLossless, JPEGLosslessSV1, RLELossless))  # lossless, and they know no sign
ALONE = {0x01, *range(0xD0, 0xD8), FILL}  # markers without a length


@dataclass(frozen=True, slots=True)
class Form:
    """What a header says of a grey frame."""

    rows: int
    columns: int
    allocated: int
    signed: bool

    @property
    def dtype(self) -> np.dtype[Any]:
        return np.dtype(f"{'i' if self.signed else 'u'}{self.allocated // 8}")


@dataclass(frozen=True, slots=True)
class _Stream:
    """What a code stream says of itself."""

    rows: int
    columns: int
    components: int
    bits: int
    signed: bool = False


def decoded(syntax: str, data: memoryview, form: Form, out: NDArray[Any] | None = None) -> NDArray[Any] | None:
    """Stored values [rows, columns] of one frame; None where bits do not fit the header or it cannot be decoded.

    out: memory of that shape and form.dtype, which may come to hold the result. Raises StudyRejected (decode_failed)
    where the code stream is of another size.
    """
    if syntax not in DECODERS or form.allocated not in (8, 16):
        return None
    try:
        return DECODERS[syntax](data, form, out)
    except (RuntimeError, ValueError, TypeError, MemoryError, struct.error):
        return None


Decode = Callable[[memoryview, Form, NDArray[Any] | None], NDArray[Any] | None]


def _by_stream(look: Callable[[memoryview], _Stream | None], codec: Callable[..., NDArray[Any]]) -> Decode:
    """Decode what the look at the code stream finds to fit the header."""

    def decode(data: memoryview, form: Form, out: NDArray[Any] | None) -> NDArray[Any] | None:
        stream = look(data)
        if stream is None:
            return None
        if (stream.rows, stream.columns, stream.components) != (form.rows, form.columns, 1):
            raise StudyRejected(Reason.DECODE_FAILED, detail="a code stream is of another size than its header says")
        if stream.bits > form.allocated:
            return None
        dtype = np.dtype(f"{'i' if stream.signed else 'u'}{1 if stream.bits <= 8 else 2}")
        usable = out is not None and out.dtype.itemsize == dtype.itemsize
        raw = codec(data, out=out.view(dtype)) if out is not None and usable else codec(data)
        if raw.shape != (form.rows, form.columns) or raw.dtype != dtype:
            return None
        return _as_said(raw, stream, form)

    return decode


def _as_said(raw: NDArray[Any], stream: _Stream, form: Form) -> NDArray[Any]:
    """Values in the header's type; where only the header knows a sign, it is carried up from the stream's bits."""
    same = raw.dtype.itemsize == form.dtype.itemsize
    wide = raw.view(form.dtype) if same else raw.astype(form.dtype)
    if stream.signed != form.signed and (above := form.allocated - stream.bits):
        wide <<= above
        wide >>= above
    return wide


def _rle(data: memoryview, form: Form, out: NDArray[Any] | None) -> NDArray[Any] | None:
    # PS3.5 G.5: a segment for each byte of a pixel
    if len(data) < 64 or struct.unpack_from("<I", data)[0] != form.allocated // 8:
        return None
    if out is None:
        out = np.empty((form.rows, form.columns), form.dtype)
    little = form.dtype.newbyteorder("<")
    found = imagecodecs.dicomrle_decode(data, little, out=memoryview(out.view(np.uint8).reshape(-1)))  # type: ignore[arg-type]
    return out if len(found) == out.nbytes else None


def _siz(data: memoryview) -> _Stream | None:
    """Of JPEG 2000: the SIZ segment comes first (ISO 15444-1, A.5.1)."""
    if data[:4] != b"\xff\x4f\xff\x51" or len(data) < 43:
        return None
    width, height, left, top = struct.unpack_from(">4I", data, 8)
    components, depth = struct.unpack_from(">HB", data, 40)
    return _Stream(height - top, width - left, components, (depth & 0x7F) + 1, bool(depth & 0x80))


def _sof(frame: int) -> Callable[[memoryview], _Stream | None]:
    """Of JPEG and JPEG-LS: the start-of-frame segment (ISO 10918-1, B.2.2)."""

    def look(data: memoryview) -> _Stream | None:
        at = 2
        while data[:2] == b"\xff\xd8" and at + 10 <= len(data) and data[at] == 0xFF:
            marker = data[at + 1]
            if marker == frame:
                bits, rows, columns, components = struct.unpack_from(">BHHB", data, at + 4)
                return _Stream(rows, columns, components, bits)
            if marker == SOS:
                return None
            if marker in ALONE:
                at += 1 if marker == FILL else 2
            else:
                at += 2 + struct.unpack_from(">H", data, at + 2)[0]
        return None

    return look


DECODERS: dict[str, Decode] = {
    **dict.fromkeys((JPEG2000Lossless, JPEG2000), _by_stream(_siz, imagecodecs.jpeg2k_decode)),
    **dict.fromkeys((HTJ2KLossless, HTJ2KLosslessRPCL, HTJ2K), _by_stream(_siz, imagecodecs.htj2k_decode)),
    **dict.fromkeys((JPEGLSLossless, JPEGLSNearLossless), _by_stream(_sof(SOF55), imagecodecs.jpegls_decode)),
    **dict.fromkeys((JPEGLossless, JPEGLosslessSV1), _by_stream(_sof(SOF3), imagecodecs.ljpeg_decode)),
    RLELossless: _rle,
}
