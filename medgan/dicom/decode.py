"""Grey frames in JPEG 2000, HTJ2K, JPEG-LS, lossless JPEG and RLE, by imagecodecs: it does not hold the interpreter.

What a code stream says of itself is held against the header; where they do not fit, the answer is None.
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

SOF3, SOF55 = 0xC3, 0xF7  # lossless JPEG, JPEG-LS
Bytes = bytes | memoryview
ALONE = {0x01, *range(0xD0, 0xD8)}  # markers without a length


@dataclass(frozen=True, slots=True)
class Form:
    """What a header says of a grey frame."""

    rows: int
    columns: int
    allocated: int
    stored: int
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


def decoded(syntax: str, data: Bytes, form: Form) -> NDArray[Any] | None:
    """Stored values [rows, columns] of one frame; None where header and code stream do not fit or it is not decoded."""
    if syntax not in DECODERS or form.allocated not in (8, 16):
        return None
    return DECODERS[syntax](data, form)


def _jpeg2000(decode: Callable[[Bytes], NDArray[Any]]) -> Callable[[Bytes, Form], NDArray[Any] | None]:
    return lambda data, form: _checked(_siz(data), decode, data, form)


def _jpeg(frame: int, decode: Callable[[Bytes], NDArray[Any]]) -> Callable[[Bytes, Form], NDArray[Any] | None]:
    return lambda data, form: _checked(_sof(data, frame), decode, data, form)


def _checked(
    stream: _Stream | None, decode: Callable[[Bytes], NDArray[Any]], data: Bytes, form: Form
) -> NDArray[Any] | None:
    if (
        stream is None
        or (stream.rows, stream.columns, stream.components) != (form.rows, form.columns, 1)
        or stream.bits > form.allocated
    ):
        return None
    try:
        raw = decode(data)
    except (RuntimeError, ValueError, TypeError, MemoryError):
        return None
    if raw.shape != (form.rows, form.columns) or raw.dtype.kind not in "iu" or raw.dtype.itemsize > form.allocated // 8:
        return None
    return _as_said(raw, stream, form)


def _as_said(raw: NDArray[Any], stream: _Stream, form: Form) -> NDArray[Any]:
    """Values in the header's type; where only the header knows a sign, it is carried up from the stream's bits."""
    if stream.signed == form.signed:
        return raw.astype(form.dtype, copy=False)
    wide = raw.astype(form.dtype)
    if above := form.allocated - stream.bits:
        wide <<= above
        wide >>= above
    return wide


def _rle(data: Bytes, form: Form) -> NDArray[Any] | None:
    # PS3.5 G.5: a segment for each byte of a pixel
    if len(data) < 64 or struct.unpack_from("<I", data)[0] != form.allocated // 8:
        return None
    size = form.rows * form.columns * form.allocated // 8
    try:
        raw = imagecodecs.dicomrle_decode(data, form.dtype.newbyteorder("<"), out=size)
    except (RuntimeError, ValueError, TypeError):
        return None
    if len(raw) != size:
        return None
    return np.frombuffer(raw, form.dtype.newbyteorder("<")).reshape(form.rows, form.columns)


def _siz(data: Bytes) -> _Stream | None:
    """Of JPEG 2000: the SIZ segment comes first (ISO 15444-1, A.5.1)."""
    if data[:4] != b"\xff\x4f\xff\x51" or len(data) < 43:
        return None
    width, height, left, top = struct.unpack_from(">4I", data, 8)
    components, depth = struct.unpack_from(">HB", data, 40)
    if components != 1:
        return None
    return _Stream(height - top, width - left, components, (depth & 0x7F) + 1, bool(depth & 0x80))


def _sof(data: Bytes, frame: int) -> _Stream | None:
    """Of JPEG and JPEG-LS: the start-of-frame segment (ISO 10918-1, B.2.2)."""
    at = 2
    while data[:2] == b"\xff\xd8" and at + 10 <= len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if marker == 0xFF or marker in ALONE:
            at += 1 if marker == 0xFF else 2
            continue
        if marker == frame:
            bits, rows, columns, components = struct.unpack_from(">BHHB", data, at + 4)
            return _Stream(rows, columns, components, bits)
        if marker == 0xDA:
            return None
        at += 2 + struct.unpack_from(">H", data, at + 2)[0]
    return None


DECODERS: dict[str, Callable[[Bytes, Form], NDArray[Any] | None]] = {
    **dict.fromkeys((JPEG2000Lossless, JPEG2000), _jpeg2000(imagecodecs.jpeg2k_decode)),
    **dict.fromkeys((HTJ2KLossless, HTJ2KLosslessRPCL, HTJ2K), _jpeg2000(imagecodecs.htj2k_decode)),
    **dict.fromkeys((JPEGLSLossless, JPEGLSNearLossless), _jpeg(SOF55, imagecodecs.jpegls_decode)),
    **dict.fromkeys((JPEGLossless, JPEGLosslessSV1), _jpeg(SOF3, imagecodecs.ljpeg_decode)),
    RLELossless: _rle,
}
