"""Pixels of a DICOM file: where they are, whether they can be what the header says, and their decoding."""

from __future__ import annotations

import io
import logging
import math
import struct
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError
from pydicom.pixels import get_decoder
from pydicom.uid import UID, RLELossless

from medgan.errors import Reason, StudyRejected

# pydicom quotes values in its warnings and log lines
logging.getLogger("pydicom").setLevel(logging.CRITICAL)
warnings.filterwarnings("ignore", category=UserWarning, module=r"pydicom(\.|$)")

UNREADABLE = (
    InvalidDicomError,
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
MOST_PIXELS, MOST_FRAMES = 1 << 27, 1 << 16  # of one frame, of one file; more is taken for an attack
LONG_VRS = {b"OB", b"OW", b"OF", b"OD", b"OL", b"OV", b"UN"}
UNDEFINED = 0xFFFFFFFF
KEYWORDS = {0x7FE00008: "FloatPixelData", 0x7FE00009: "DoubleFloatPixelData", 0x7FE00010: "PixelData"}


@dataclass(frozen=True, slots=True)
class Pixels:
    """Where a file's pixels are, and how they are stored."""

    file: Path
    offset: int  # of the element's value; -1: inside a deflated stream
    header: Dataset
    syntax: UID
    keyword: str
    rows: int
    columns: int
    samples: int
    allocated: int
    stored: int
    high: int
    signed: bool
    photometric: str
    frames: int
    words: bool  # 8-bit pixels that a big-endian file stores as swapped words


@dataclass(frozen=True, slots=True)
class Element:
    """A pixel element in a file: offset and length (-1 when undefined) of its value."""

    keyword: str = ""
    offset: int = -1
    length: int = 0
    words: bool = False


def pixel_element(handle: Any, syntax: UID) -> Element:
    """The element at which the reader stopped, just before the pixels; an empty one at the end of the file."""
    order = "<" if syntax.is_little_endian else ">"
    head = handle.read(12)
    if len(head) < 8:
        return Element()
    group, element = struct.unpack(f"{order}HH", head[:4])
    keyword = KEYWORDS.get(group << 16 | element, "")
    if syntax.is_implicit_VR:
        length, start = struct.unpack(f"{order}L", head[4:8])[0], handle.tell() - len(head) + 8
    elif head[4:6] in LONG_VRS and len(head) == 12:
        length, start = struct.unpack(f"{order}L", head[8:12])[0], handle.tell()
    else:
        return Element()
    if length == UNDEFINED:
        return Element(keyword, start, -1)
    size = handle.seek(0, io.SEEK_END)
    return Element(keyword, start, min(length, size - start), head[4:6] == b"OW")


def described(file: Path, header: Dataset, element: Element) -> Pixels:
    """How the header says the pixels are stored. Raises one of UNREADABLE when it does not say."""
    keyword = element.keyword
    allocated = int(header.get("BitsAllocated") or {"FloatPixelData": 32, "DoubleFloatPixelData": 64}[keyword])
    stored = int(header.get("BitsStored") or allocated)
    return Pixels(
        file=file,
        offset=element.offset,
        header=header,
        syntax=header.file_meta.TransferSyntaxUID,
        keyword=keyword,
        rows=int(header.Rows),
        columns=int(header.Columns),
        samples=int(header.get("SamplesPerPixel") or 1),
        allocated=allocated,
        stored=stored,
        high=int(header.get("HighBit", stored - 1) or stored - 1),
        signed=bool(header.get("PixelRepresentation", 0)),
        photometric=str(header.get("PhotometricInterpretation", "MONOCHROME2")).strip().upper(),
        frames=int(header.get("NumberOfFrames") or 1),
        words=element.words,
    )


def check(pixels: Pixels, length: int) -> None:
    """Raises StudyRejected when the pixels cannot be what the header says."""
    if (
        min(pixels.rows, pixels.columns, pixels.frames) < 1
        or not 0 < pixels.stored <= pixels.high + 1 <= pixels.allocated
    ):
        raise StudyRejected(Reason.MISSING_ATTRIBUTE, detail="rows, columns, frames or bits are not valid")
    if pixels.rows * pixels.columns > MOST_PIXELS or pixels.frames > MOST_FRAMES:
        raise StudyRejected(Reason.UNSAFE_FILE, detail="more pixels or frames than any modality makes")
    if pixels.photometric not in (*GREYS, *COLOURS, "PALETTE COLOR"):
        raise StudyRejected(Reason.UNSUPPORTED_PHOTOMETRIC, detail="a photometric interpretation that is not handled")
    if pixels.syntax.is_compressed and pixels.offset >= 0:
        try:
            available = get_decoder(pixels.syntax).is_available
        except NotImplementedError:
            available = False
        if not available:
            raise StudyRejected(Reason.UNSUPPORTED_SYNTAX, detail="no decoder for the transfer syntax")
        return
    bits = pixels.rows * pixels.columns * pixels.frames * pixels.samples * pixels.allocated
    if pixels.photometric == "YBR_FULL_422":
        bits = bits * 2 // 3
    if length < math.ceil(bits / 8):
        raise StudyRejected(
            Reason.INCONSISTENT_LENGTH, detail="fewer pixel bytes than rows, columns and frames ask for"
        )


def stored_values(pixels: Pixels, frame: int) -> NDArray[Any]:
    """Stored values [H, W] or [H, W, samples] of one frame, sign and unused bits put right."""
    try:
        if not pixels.syntax.is_compressed and pixels.samples == 1 and pixels.allocated in (8, 16, 32):
            raw = _native(pixels, frame)
        else:
            raw = _decoded(pixels, frame)
    except UNREADABLE:
        raise StudyRejected(Reason.DECODE_FAILED, detail="the pixels of a frame could not be decoded") from None
    return raw


def _native(pixels: Pixels, frame: int) -> NDArray[Any]:
    order = ">" if not pixels.syntax.is_little_endian else "<"
    kind = "f" if pixels.keyword == "FloatPixelData" else "i" if pixels.signed else "u"
    dtype = np.dtype(f"{order}{kind}{pixels.allocated // 8}")
    count = pixels.rows * pixels.columns
    with _source(pixels) as handle:
        handle.seek(frame * count * dtype.itemsize, io.SEEK_CUR)
        data = handle.read(count * dtype.itemsize)
    if order == ">" and pixels.allocated == 8 and len(data) % 2 == 0 and pixels.words:
        data = np.frombuffer(data, np.uint16).byteswap().tobytes()
    raw = np.frombuffer(data, dtype).reshape(pixels.rows, pixels.columns).astype(dtype.newbyteorder("="), copy=False)
    return raw if kind == "f" else _only_stored(raw, pixels)


def _decoded(pixels: Pixels, frame: int) -> NDArray[Any]:
    decoder = get_decoder(pixels.syntax)
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
        options["planar_configuration"] = int(pixels.header.get("PlanarConfiguration", 0) or 0)
    with _source(pixels) as handle:
        raw, _ = decoder.as_array(handle, index=frame, **options)
    return _only_stored(raw, pixels) if pixels.syntax == RLELossless and pixels.samples == 1 else raw


def _only_stored(raw: NDArray[Any], pixels: Pixels) -> NDArray[Any]:
    """Bits above HighBit and below the stored ones cleared, the sign carried up: the container is not trusted."""
    width = 8 * raw.dtype.itemsize
    above, below = width - 1 - pixels.high, pixels.high + 1 - pixels.stored
    if above == 0 and below == 0:
        return raw
    return (raw << above) >> (above + below)  # arithmetic for signed arrays, logical for unsigned


class _source:
    """The file open at the value of its pixel element (inflated first where it is deflated)."""

    def __init__(self, pixels: Pixels) -> None:
        self.pixels = pixels

    def __enter__(self) -> Any:
        if self.pixels.offset < 0:
            self.handle: Any = io.BytesIO(dcmread(self.pixels.file)[self.pixels.keyword].value)
        else:
            self.handle = self.pixels.file.open("rb")
            self.handle.seek(self.pixels.offset)
        return self.handle

    def __exit__(self, *_: object) -> None:
        self.handle.close()


def padding_of(raw: NDArray[Any], header: Dataset) -> NDArray[np.bool_] | None:
    """Which stored values are padding, or None."""
    one = header.get("PixelPaddingValue")
    if one is None or raw.dtype.kind not in "iu":
        return None
    other = header.get("PixelPaddingRangeLimit", one)
    # the VR of both may have been read with the wrong sign: compare modulo the container
    low, high = sorted(int(np.array(int(edge)).astype(raw.dtype)) for edge in (one, other))
    padding: NDArray[np.bool_] = (raw >= low) & (raw <= high)
    return padding if padding.any() else None
