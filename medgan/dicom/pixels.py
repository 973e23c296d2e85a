"""Pixels of a DICOM file: where they are, whether they can be what the header says, and their stored values."""

from __future__ import annotations

import io
import logging
import math
import os
import struct
import warnings
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from pydicom import dcmread
from pydicom.errors import BytesLengthException, InvalidDicomError
from pydicom.pixels import get_decoder
from pydicom.uid import UID, RLELossless

from medgan.dicom.attributes import Header, whole
from medgan.dicom.decode import BARE, DECODERS, Form, decoded
from medgan.dicom.fragments import frame_bytes
from medgan.errors import Reason, StudyRejected

# pydicom quotes values in its warnings and log lines
logging.getLogger("pydicom").setLevel(logging.CRITICAL)
warnings.filterwarnings("ignore", category=UserWarning, module=r"pydicom(\.|$)")

UNREADABLE = (
    InvalidDicomError,
    BytesLengthException,
    OSError,
    EOFError,
    ValueError,
    TypeError,
    KeyError,
    IndexError,
    AttributeError,
    NotImplementedError,
    RuntimeError,  # RecursionError too
    OverflowError,
    MemoryError,
    struct.error,
)
GREYS = ("MONOCHROME1", "MONOCHROME2")
COLOURS = ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT", "YBR_PARTIAL_422", "YBR_PARTIAL_420")
PALETTE = "PALETTE COLOR"
PHOTOMETRIC = frozenset((*GREYS, *COLOURS, PALETTE))
MOST_PIXELS, MOST_FRAMES = 1 << 27, 1 << 16  # of one frame, of one file; more is taken for an attack
FLOATS = {"FloatPixelData": 32, "DoubleFloatPixelData": 64}
DTYPES = {(kind, bits): np.dtype(f"{kind}{bits // 8}") for kind in "iu" for bits in (8, 16, 32)}
DTYPES["f", 32] = np.dtype("f4")


@dataclass(frozen=True, slots=True, repr=False)
class Pixels:
    """Where a file's pixels are, and how they are stored."""

    file: Path
    offset: int  # of the element's value; -1: inside a deflated stream
    words: bool  # a big-endian file of 16-bit words: 8-bit pixels stand swapped in them
    syntax: UID
    keyword: str
    rows: int
    columns: int
    samples: int
    planar: int
    allocated: int
    stored: int
    high: int
    signed: bool
    photometric: str
    frames: int
    padding: tuple[float, float] | None  # first and last stored value of padding, as the header writes them
    lut: bool = False  # the header holds a lookup table of the modality
    tile: tuple[int, int, int, int] | None = None  # top, left, rows, columns of a plane inside the picture

    @property
    def size(self) -> tuple[int, int]:
        """Rows and columns of a plane."""
        return (self.rows, self.columns) if self.tile is None else self.tile[2:]

    @property
    def native(self) -> np.dtype[Any] | None:
        """The type in which uncompressed single-sample pixels stand in the file; None for others."""
        (compressed, little), dtype = _traits(self.syntax), self.dtype
        if compressed or dtype is None:
            return None
        return dtype if little else dtype.newbyteorder(">")

    @property
    def dtype(self) -> np.dtype[Any] | None:
        """The type of stored values where a pixel is one integer of 8, 16 or 32 bits, or a float of 32."""
        if self.samples != 1 or self.allocated not in (8, 16, 32):
            return None
        return DTYPES["f" if self.keyword == "FloatPixelData" else "i" if self.signed else "u", self.allocated]

    def tiled(self, tile: tuple[int, int, int, int]) -> Pixels:
        return replace(self, tile=tile)


def storage(header: Header, keyword: str, *, syntax: UID, lut: bool = False) -> dict[str, Any]:
    """How the header says the pixels of a file are stored: Pixels but for the place of its value.

    Raises StudyRejected (missing_attribute) or one of UNREADABLE when it does not say.
    """
    allocated = whole(header, "BitsAllocated", 0) or FLOATS[keyword]
    stored = whole(header, "BitsStored", 0) or allocated
    return {
        "syntax": syntax,
        "keyword": keyword,
        "rows": whole(header, "Rows"),
        "columns": whole(header, "Columns"),
        "samples": whole(header, "SamplesPerPixel", 0) or 1,
        "planar": whole(header, "PlanarConfiguration", 0),
        "allocated": allocated,
        "stored": stored,
        "high": whole(header, "HighBit", 0) or stored - 1,
        "signed": bool(whole(header, "PixelRepresentation", 0)),
        "photometric": header["PhotometricInterpretation"].upper() or "MONOCHROME2",
        "frames": whole(header, "NumberOfFrames", 0) or 1,
        "padding": _float_padding(header, keyword) if keyword in FLOATS else _padding(header),
        "lut": lut,
    }


def check(pixels: Pixels, length: int) -> None:
    """Raises StudyRejected when the pixels cannot be what the header says."""
    if (
        min(pixels.rows, pixels.columns, pixels.frames) < 1
        or not 0 < pixels.stored <= pixels.high + 1 <= pixels.allocated
    ):
        raise StudyRejected(Reason.MISSING_ATTRIBUTE, detail="rows, columns, frames or bits are not valid")
    if pixels.rows * pixels.columns > MOST_PIXELS or pixels.frames > MOST_FRAMES:
        raise StudyRejected(Reason.UNSAFE_FILE, detail="more pixels or frames than any modality makes")
    if pixels.photometric not in PHOTOMETRIC:
        raise StudyRejected(Reason.UNSUPPORTED_PHOTOMETRIC, detail="a photometric interpretation that is not handled")
    if _traits(pixels.syntax)[0] and pixels.offset >= 0:
        if not _decodable(pixels.syntax):
            raise StudyRejected(Reason.UNSUPPORTED_SYNTAX, detail="no decoder for the transfer syntax")
        return
    bits = pixels.rows * pixels.columns * pixels.frames * pixels.samples * pixels.allocated
    if pixels.photometric == "YBR_FULL_422":
        bits = bits * 2 // 3
    if length < math.ceil(bits / 8):
        raise StudyRejected(
            Reason.INCONSISTENT_LENGTH, detail="fewer pixel bytes than rows, columns and frames ask for"
        )


def stored_values(pixels: Pixels, frame: int, out: NDArray[Any] | None = None) -> NDArray[Any]:
    """Stored values [H, W] or [H, W, samples] of one frame (of its tile), sign and unused bits put right.

    out: memory that may come to hold the result, C-contiguous, [H, W] of pixels.dtype; fresh memory costs more than
    reading does. Raises StudyRejected (decode_failed).
    """
    if out is not None and (out.shape != pixels.size or out.dtype != pixels.dtype or not out.flags.c_contiguous):
        raise ValueError(f"out: {out.dtype} {out.shape}, expected {pixels.dtype} {pixels.size}")
    try:
        return _whole(pixels, frame, out) if pixels.tile is None else _tile(pixels, frame, pixels.tile)
    except UNREADABLE:
        raise StudyRejected(Reason.DECODE_FAILED, detail="the pixels of a frame could not be decoded") from None


def padding_of(raw: NDArray[Any], pixels: Pixels) -> NDArray[np.bool_] | None:
    """Which stored values [H, W] are padding, or None."""
    if pixels.padding is None or raw.ndim != 2 or raw.dtype.kind not in "iuf":
        return None
    padding = _float_padding_of(raw, pixels.padding) if raw.dtype.kind == "f" else _int_padding_of(raw, pixels.padding)
    return padding if padding.any() else None


def _int_padding_of(raw: NDArray[Any], edges: tuple[float, float]) -> NDArray[np.bool_]:
    # the VR of both may have been read with the wrong sign: compare modulo the container
    low, high = sorted(int(np.array(int(edge)).astype(raw.dtype)) for edge in edges)
    return np.asarray(raw == low if low == high else (raw >= low) & (raw <= high), bool)


def _float_padding_of(raw: NDArray[Any], edges: tuple[float, float]) -> NDArray[np.bool_]:
    """Padding that is not a number covers all that are none, whatever their bits."""
    padding = np.isnan(raw) if any(map(math.isnan, edges)) else np.zeros(raw.shape, bool)
    if limits := [edge for edge in edges if not math.isnan(edge)]:
        padding |= (raw >= min(limits)) & (raw <= max(limits))
    return padding


def _padding(header: Header) -> tuple[int, int] | None:
    if not header["PixelPaddingValue"]:
        return None
    one = whole(header, "PixelPaddingValue")
    return one, whole(header, "PixelPaddingRangeLimit", one)


def _float_padding(header: Header, keyword: str) -> tuple[float, float] | None:
    name = f"{keyword.removesuffix('Data')}Padding"
    first, last = header[f"{name}Value"], header[f"{name}RangeLimit"]
    if not first:
        return None
    # one object for all that is not a number: such Pixels stay equal
    one, other = (math.nan if math.isnan(edge) else float(edge) for edge in (first[0], (last or first)[0]))
    return one, other


def _whole(pixels: Pixels, frame: int, out: NDArray[Any] | None = None) -> NDArray[Any]:
    native = pixels.native
    if native is not None:
        return _put_right(_native(pixels, native, frame, out), pixels)
    if pixels.syntax in DECODERS and pixels.samples == 1 and pixels.keyword == "PixelData":
        form = Form(pixels.rows, pixels.columns, pixels.allocated, pixels.signed)
        data = frame_bytes(pixels.file, pixels.offset, frame=frame, frames=pixels.frames)
        if data is not None and (raw := decoded(pixels.syntax, data, form, out)) is not None:
            return _put_right(raw, pixels) if pixels.syntax in BARE else raw
    return _by_pydicom(pixels, frame)


def _tile(pixels: Pixels, frame: int, tile: tuple[int, int, int, int]) -> NDArray[Any]:
    """Of native pixels only the rows that hold the tile are read."""
    top, left, rows, columns = tile
    if pixels.native is not None and pixels.offset >= 0 and not pixels.words:
        skipped = pixels.offset + (frame * pixels.rows + top) * pixels.columns * pixels.native.itemsize
        band = replace(pixels, offset=skipped, rows=rows, tile=None)
        return np.ascontiguousarray(_whole(band, 0)[:, left : left + columns])
    return np.ascontiguousarray(_whole(pixels, frame)[top : top + rows, left : left + columns])


def _native(pixels: Pixels, dtype: np.dtype[Any], frame: int, out: NDArray[Any] | None) -> NDArray[Any]:
    raw = np.empty((pixels.rows, pixels.columns), dtype) if out is None else out.view(dtype)
    if pixels.offset < 0:
        inflated = dcmread(pixels.file)[pixels.keyword].value
        raw[:] = np.frombuffer(inflated, dtype, raw.size, frame * raw.nbytes).reshape(raw.shape)
        return raw
    fd = os.open(pixels.file, os.O_RDONLY | os.O_CLOEXEC)
    try:
        if os.preadv(fd, [raw.data], pixels.offset + frame * raw.nbytes) != raw.nbytes:
            raise EOFError
    finally:
        os.close(fd)
    if pixels.words and dtype.itemsize == 1 and raw.nbytes % 2 == 0:
        raw.reshape(-1).view(np.uint16).byteswap(inplace=True)
    return raw


def _by_pydicom(pixels: Pixels, frame: int) -> NDArray[Any]:
    options: dict[str, Any] = {
        "rows": pixels.rows,
        "columns": pixels.columns,
        "number_of_frames": pixels.frames,
        "samples_per_pixel": pixels.samples,
        "bits_allocated": pixels.allocated,
        "bits_stored": pixels.stored,
        "photometric_interpretation": pixels.photometric,
        "pixel_keyword": pixels.keyword,
    }
    if pixels.keyword == "PixelData":
        options["pixel_representation"] = int(pixels.signed)
    if pixels.samples > 1:
        options["planar_configuration"] = pixels.planar
    with _source(pixels) as handle:
        raw, _ = get_decoder(pixels.syntax).as_array(handle, index=frame, **options)
    native = not _traits(pixels.syntax)[0] or pixels.syntax == RLELossless
    return _put_right(raw, pixels) if native and pixels.samples == 1 else raw


def _put_right(raw: NDArray[Any], pixels: Pixels) -> NDArray[Any]:
    """In native byte order, bits above HighBit and below the stored ones cleared, the sign carried up.

    The container is not trusted: a look at its least and largest value is cheaper than clearing.
    """
    if not raw.dtype.isnative:
        raw = raw.astype(raw.dtype.newbyteorder("="))
    if raw.dtype.kind == "f":
        return raw
    above, below = 8 * raw.dtype.itemsize - 1 - pixels.high, pixels.high + 1 - pixels.stored
    if below == 0 and (above == 0 or _fits(raw, pixels.stored)):
        return raw
    return (raw << above) >> (above + below)  # arithmetic for signed arrays, logical for unsigned


def _fits(raw: NDArray[Any], bits: int) -> bool:
    if raw.dtype.kind == "u":
        return int(raw.max()) < 1 << bits
    half = 1 << (bits - 1)
    return int(raw.min()) >= -half and int(raw.max()) < half


@lru_cache(maxsize=64)
def _traits(syntax: UID) -> tuple[bool, bool]:
    """Whether a transfer syntax is compressed (deflated is), and little endian."""
    return syntax.is_compressed, syntax.is_little_endian


@lru_cache(maxsize=64)
def _decodable(syntax: UID) -> bool:
    try:
        return syntax in DECODERS or get_decoder(syntax).is_available
    except NotImplementedError:
        return False


def _source(pixels: Pixels) -> BinaryIO:
    """The file open at the value of its pixel element (inflated first where it is deflated)."""
    if pixels.offset < 0:
        return io.BytesIO(dcmread(pixels.file)[pixels.keyword].value)
    handle = pixels.file.open("rb")
    handle.seek(pixels.offset)
    return handle
