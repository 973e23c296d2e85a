"""Burned-in text: clean | found | could not tell; and what else hides in the pixel bytes.

A frame that cannot be decoded was not looked at: that is never "looked and clean".
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator, Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate, generate_frames
from pydicom.pixels import iter_pixels
from pydicom.uid import UID, ExplicitVRLittleEndian

from medgan.deid.detect import Box
from medgan.deid.sessions import Gray

PIXEL_TAG = 0x7FE00010
PIXEL_TAGS = (0x7FE00008, 0x7FE00009, PIXEL_TAG)
TOO_MANY_BYTES = 1 << 31  # decoded, of one instance
FAINT_RANGE = 0.6  # a narrower bulk of the histogram gets a rendering of its own
VOLUME_MODALITIES = ("CT", "MR", "PT")
SMALL_SIDE = 128  # frames up to this cost so little that all are looked at, whatever the gate says
CONSTANT_PIXELS = 24  # pixels at the very maximum of a frame: drawn, not measured
BORDER = 3  # pixels around a blanked patch that say what is drawn into it
WEIGHT = 1 << 16
UNDECODABLE = (
    ValueError,
    RuntimeError,
    NotImplementedError,
    AttributeError,
    KeyError,
    TypeError,
    IndexError,
    OSError,
    MemoryError,
    OverflowError,
    AssertionError,
    struct.error,
    zlib.error,
)


class Undecodable(Exception):
    """The frames of an instance could not be made; says nothing about why."""


def frames(ds: Dataset) -> Iterator[NDArray[Any]]:
    """Displayed frames [H, W] or [H, W, 3] one by one: palettes resolved, YBR as RGB. Raises Undecodable."""
    try:
        size = int(ds.Rows) * int(ds.Columns) * int(ds.get("NumberOfFrames") or 1) * int(ds.get("SamplesPerPixel") or 1)
        if not 0 < size * int(ds.get("BitsAllocated", 8)) // 8 <= TOO_MANY_BYTES:
            raise Undecodable
        palette = ds.get("PhotometricInterpretation") == "PALETTE COLOR"
        for frame in iter_pixels(ds):
            yield _paint(frame, ds) if palette else frame
    except UNDECODABLE:
        raise Undecodable from None


def render(frame: NDArray[Any]) -> list[Gray]:
    """One or two uint8 pictures of a frame, so that text shows whether it is the extreme or amid the tissue."""
    if frame.ndim == 3:
        gray, brightest = frame[..., :3].mean(axis=-1), frame[..., :3].max(axis=-1)
        return [_window(gray, gray.min(), gray.max()), _window(brightest, brightest.min(), brightest.max())]
    values = frame.astype(np.float32)
    values = np.nan_to_num(values, nan=0.0, posinf=0.0, neginf=0.0)
    low, high = float(values.min()), float(values.max())
    pictures = [_window(values, low, high)]
    sample = values[:: max(1, values.shape[0] // 256), :: max(1, values.shape[1] // 256)]
    bulk_low, bulk_high = (float(v) for v in np.percentile(sample, (0.5, 99.5)))
    if bulk_high - bulk_low < FAINT_RANGE * (high - low):
        pictures.append(_window(values, bulk_low, max(bulk_high, bulk_low + 1e-6)))
    return pictures


def every_frame(ds: Dataset) -> bool:
    """Whether each frame must be read in full: all but original CT, MR and PET slices of some size."""
    return not is_slice(ds) or max(int(ds.get("Rows") or 0), int(ds.get("Columns") or 0)) <= SMALL_SIDE


def is_slice(ds: Dataset) -> bool:
    """Whether the frames are original CT, MR or PET slices that do not admit to text."""
    kind = [str(v) for v in ds.get("ImageType") or []]
    return (
        str(ds.get("Modality", "")) in VOLUME_MODALITIES
        and kind[:2] == ["ORIGINAL", "PRIMARY"]
        and str(ds.get("BurnedInAnnotation", "")) != "YES"
        and int(ds.get("SamplesPerPixel") or 1) == 1
    )


def drawn(frame: NDArray[Any]) -> bool:
    """Whether a frame holds a constant at its very top, as burned-in text does and tissue seldom."""
    return int(np.count_nonzero(frame == frame.max())) >= CONSTANT_PIXELS


def projections(stack: Sequence[NDArray[Any]]) -> list[Gray]:
    """Minimum, maximum and variance over the frames of a series: text stands still, anatomy moves."""
    low = np.array(stack[0], np.float32)
    high, total, squares = low.copy(), low.astype(np.float64), low.astype(np.float64) ** 2
    for frame in stack[1:]:
        values = frame.astype(np.float32)
        np.minimum(low, values, out=low)
        np.maximum(high, values, out=high)
        total += values
        squares += values.astype(np.float64) ** 2
    variance = squares / len(stack) - (total / len(stack)) ** 2
    spread = np.sqrt(np.maximum(variance, 0))
    return [picture for plane in (low, high, spread) for picture in render(plane)[:1]]


def blank(ds: Dataset, boxes: Sequence[Sequence[Box]]) -> None:
    """Overwrite boxes (a list for each frame) in the stored values by what surrounds them; lossless, uncompressed.

    Raises Undecodable. The history of lossy compression stays declared.
    """
    colour = int(ds.get("SamplesPerPixel") or 1) > 1
    try:
        stored = np.stack([np.array(frame) for frame in iter_pixels(ds, raw=not colour)])
    except UNDECODABLE:
        raise Undecodable from None
    for frame, found in zip(stored, boxes, strict=True):
        fill(frame, found)
    write_stored(ds, stored)


def write_stored(ds: Dataset, stored: NDArray[Any]) -> None:
    """Put stored values [F, H, W] or [F, H, W, S] into `ds` as Explicit VR Little Endian would hold them."""
    if stored.dtype.kind == "f" or int(ds.BitsAllocated) not in (8, 16, 32):
        raise Undecodable
    big = not ds.original_encoding[1]
    compressed = UID(str(ds.file_meta.TransferSyntaxUID)).is_encapsulated
    dtype = stored.dtype.newbyteorder(">") if big and not compressed else stored.dtype.newbyteorder("<")
    data = np.ascontiguousarray(stored).astype(dtype).tobytes()
    if stored.ndim == 4:
        ds.PhotometricInterpretation = "RGB"
        ds.PlanarConfiguration = 0
    wide = int(ds.BitsAllocated) > 8
    del ds[0x7FE00010]
    ds.add_new(0x7FE00010, "OW" if wide or ds.original_encoding[0] else "OB", data + b"\0" * (len(data) & 1))
    if compressed:
        ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian


def trim(ds: Dataset) -> bool:
    """Drop what hides around the pixels: bytes after the last one, bits above BitsStored, comments in streams.

    Returns whether anything was changed.
    """
    element = ds._dict.get(0x7FE00010)  # type: ignore[call-overload]
    if element is None or not isinstance(element.value, bytes):
        return False
    if UID(str(ds.file_meta.TransferSyntaxUID)).is_encapsulated:
        return _trim_streams(ds, element)
    length = _native_length(ds)
    data = element.value[: length + (length & 1)]
    if len(data) > length:
        data = data[:length] + b"\0"
    data = _without_high_bits(ds, data)
    if data == element.value:
        return False
    _replace(ds, element, data, len(data))
    return True


def _native_length(ds: Dataset) -> int:
    samples = int(ds.get("SamplesPerPixel") or 1)
    pixels = int(ds.Rows) * int(ds.Columns) * int(ds.get("NumberOfFrames") or 1)
    if ds.get("PhotometricInterpretation") == "YBR_FULL_422":
        return pixels * 2 * int(ds.BitsAllocated) // 8
    return -(-pixels * samples * int(ds.BitsAllocated) // 8)


def _without_high_bits(ds: Dataset, data: bytes) -> bytes:
    """Overlay planes can sit in the unused high bits: BitsStored bits of the value stay, sign-extended."""
    allocated, stored = int(ds.BitsAllocated), int(ds.get("BitsStored") or ds.BitsAllocated)
    high_bit = int(ds.get("HighBit") if ds.get("HighBit") is not None else stored - 1)
    if allocated not in (8, 16, 32) or not 0 < stored < allocated or high_bit != stored - 1:
        return data
    order = "<" if ds.original_encoding[1] else ">"
    signed = bool(int(ds.get("PixelRepresentation") or 0))
    values = np.frombuffer(data[: len(data) // (allocated // 8) * (allocated // 8)], f"{order}i{allocated // 8}")
    shift = allocated - stored
    clean = (values << shift) >> shift if signed else values & np.array((1 << stored) - 1, values.dtype)
    if np.array_equal(clean, values):
        return data
    return clean.astype(values.dtype).tobytes() + data[values.nbytes :]


def _replace(ds: Dataset, element: Any, data: bytes, length: int) -> None:
    """Put other pixel bytes in place; a raw element becomes a DataElement once a decoder has seen it."""
    if isinstance(element, RawDataElement):
        ds._dict[element.tag] = element._replace(value=data, length=length)
    else:
        element.value = data


def _trim_streams(ds: Dataset, element: Any) -> bool:
    try:
        streams = list(generate_frames(element.value, number_of_frames=int(ds.get("NumberOfFrames") or 1)))
    except UNDECODABLE:
        raise Undecodable from None
    cleaned = [_without_comments(stream) for stream in streams]
    if cleaned == streams:
        return False
    _replace(ds, element, encapsulate(cleaned), 0xFFFFFFFF)
    return True


def _without_comments(stream: bytes) -> bytes:
    """JPEG, JPEG-LS and JPEG 2000 comment and application segments, overwritten by zeros in place."""
    out = bytearray(stream)
    j2k = stream[:4] == b"\xff\x4f\xff\x51"
    if not j2k and stream[:2] != b"\xff\xd8":
        return stream
    place = 2
    while place + 4 <= len(out) and out[place] == 0xFF:
        marker, length = out[place + 1], int.from_bytes(out[place + 2 : place + 4], "big")
        if marker in ((0x90, 0x93) if j2k else (0xDA,)):
            break
        comment = marker == 0x64 if j2k else marker == 0xFE or 0xE1 <= marker <= 0xED and marker != 0xE8
        if comment:
            keep = 2 if j2k else 0  # registration value of a COM segment
            out[place + 4 + keep : place + 2 + length] = bytes(max(0, length - 2 - keep))
        place += 2 + length
    return bytes(out)


def _paint(frame: NDArray[Any], ds: Dataset) -> NDArray[Any]:
    from pydicom.pixels import apply_color_lut

    painted: NDArray[Any] = apply_color_lut(frame, ds)
    return painted


def _window(values: NDArray[Any], low: float, high: float) -> Gray:
    scale = 255.0 / (high - low) if high > low else 0.0
    return np.clip((values - low) * scale, 0, 255).astype(np.uint8)


def fill(frame: NDArray[Any], boxes: Sequence[Box]) -> None:
    """Draw what surrounds the boxes into them, in integers; every value outside them stays."""
    mask = np.zeros(frame.shape[:2], np.uint8)
    for box in boxes:
        mask[box.top : box.bottom, box.left : box.right] = 1
    count, patches, stats, _ = cv2.connectedComponentsWithStats(mask)
    for patch in range(1, count):
        left, top, width, height, _ = (int(value) for value in stats[patch])
        rows = slice(max(0, top - BORDER), top + height + BORDER)
        region = rows, slice(max(0, left - BORDER), left + width + BORDER)
        part, hidden, inside = frame[region], mask[region] > 0, patches[region] == patch
        for sample in np.moveaxis(part[..., None] if part.ndim == 2 else part, -1, 0):
            sample[inside] = _interpolated(sample, hidden)[inside]


def _interpolated(values: NDArray[Any], hidden: NDArray[np.bool_]) -> NDArray[Any]:
    """Each hidden value from the nearest seen ones to its four sides, the nearer the heavier.

    What is seen is a mean over BORDER pixels, so that grain does not become a streak.
    """
    seen = (~hidden).astype(np.float64)
    size = (2 * BORDER - 1, 2 * BORDER - 1)  # whole numbers: the sums are exact
    near = cv2.boxFilter(values * seen, cv2.CV_64F, size, normalize=False, borderType=cv2.BORDER_CONSTANT)
    count = cv2.boxFilter(seen, cv2.CV_64F, size, normalize=False, borderType=cv2.BORDER_CONSTANT)
    mean = np.rint(near / np.maximum(count, 1)).astype(np.int64)
    total, weights = np.zeros(values.shape, np.int64), np.zeros(values.shape, np.int64)
    for turn in range(4):
        shade, distance = _from_the_left(np.rot90(mean, turn), np.rot90(hidden, turn))
        weight = np.rot90(np.where(distance > 0, WEIGHT // np.maximum(distance, 1), 0), -turn)
        total += weight * np.rot90(shade, -turn)
        weights += weight
    return ((2 * total + weights) // np.maximum(2 * weights, 1)).astype(values.dtype)


def _from_the_left(values: NDArray[np.int64], hidden: NDArray[np.bool_]) -> tuple[NDArray[Any], NDArray[Any]]:
    """For each place the last seen value at or before it in its row, and how far away; 0 where there is none."""
    columns = np.arange(values.shape[1])
    last = np.maximum.accumulate(np.where(hidden, -1, columns), axis=1)
    distance = np.where(last >= 0, columns - last, 0)
    return np.take_along_axis(values, np.maximum(last, 0), axis=1), distance
