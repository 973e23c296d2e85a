"""The pixels of an instance: frames as they are shown, and text painted over in the values as they are stored.

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
from pydicom.dataset import Dataset
from pydicom.encaps import generate_fragments
from pydicom.pixels import apply_color_lut, iter_pixels
from pydicom.uid import UID, ExplicitVRLittleEndian, JPEG2000Lossless, JPEGLSLossless, RLELossless

from medgan.deid.pixels.detect import Box

PIXEL_TAG = 0x7FE00010
PIXEL_TAGS = (0x7FE00008, 0x7FE00009, PIXEL_TAG)
TOO_MANY_BYTES = 1 << 31  # decoded, of one instance
BORDER = 3  # pixels around a blanked patch that say what is drawn into it
WEIGHT = 1 << 16
ENCODERS = {RLELossless: "pylibjpeg", JPEG2000Lossless: "pylibjpeg", JPEGLSLossless: "pyjpegls"}
BEGINNINGS = (b"\xff\xd8\xff", b"\xff\x4f\xff\x51")
MOST_ENCODED = 1 << 25  # values; more take the encoders too long
PIXEL_FORM = ("PhotometricInterpretation", "PlanarConfiguration")
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


UNSEEN = (Undecodable, *UNDECODABLE)


def frames(ds: Dataset) -> Iterator[NDArray[Any]]:
    """Displayed frames [H, W] or [H, W, 3] one by one: palettes resolved, YBR as RGB. Raises Undecodable."""
    try:
        size = int(ds.Rows) * int(ds.Columns) * int(ds.get("NumberOfFrames") or 1) * int(ds.get("SamplesPerPixel") or 1)
        if not 0 < size * int(ds.get("BitsAllocated", 8)) // 8 <= TOO_MANY_BYTES:
            raise Undecodable
        if _streams(ds) > int(ds.get("NumberOfFrames") or 1):
            raise Undecodable  # the decoder would show the first of them
        for frame in iter_pixels(ds):
            yield apply_color_lut(frame, ds) if has_palette(ds) else frame
    except UNDECODABLE:
        raise Undecodable from None


def _streams(ds: Dataset) -> int:
    """How many fragments begin a picture of JPEG, JPEG-LS or JPEG 2000."""
    if PIXEL_TAG not in ds or not UID(str(ds.file_meta.TransferSyntaxUID)).is_encapsulated:
        return 0
    return sum(fragment.startswith(BEGINNINGS) for fragment in generate_fragments(ds.PixelData))


def has_palette(ds: Dataset) -> bool:
    return bool(ds.get("PhotometricInterpretation") == "PALETTE COLOR")


def blank(ds: Dataset, boxes: Sequence[Sequence[Box]]) -> None:
    """Overwrite boxes (a list for each frame) in the stored values by what surrounds them, without loss.

    Raises Undecodable. The history of lossy compression stays declared.
    """
    colour = int(ds.get("SamplesPerPixel") or 1) > 1
    draw = fill_with_one if has_palette(ds) else fill
    try:
        stored = np.stack([np.array(frame) for frame in iter_pixels(ds, raw=not colour)])
    except UNDECODABLE:
        raise Undecodable from None
    for frame, found in zip(stored, boxes, strict=True):
        draw(frame, found)
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


def clear_bits(ds: Dataset, boxes: Sequence[Sequence[Box]]) -> None:
    """Set boxes (a list for each frame) of single-bit frames to 0. Raises Undecodable unless frames are whole bytes."""
    rows, columns, count = int(ds.Rows), int(ds.Columns), int(ds.get("NumberOfFrames") or 1)
    native = ds.original_encoding[1] and not UID(str(ds.file_meta.TransferSyntaxUID)).is_encapsulated
    size = rows * columns // 8
    if not native or rows * columns % 8 or len(boxes) != count or not size * count <= len(ds.PixelData):
        raise Undecodable
    data = bytearray(ds.PixelData)
    for number, found in enumerate(boxes):
        if found:
            place = slice(number * size, (number + 1) * size)
            frame = np.unpackbits(np.frombuffer(data[place], np.uint8), bitorder="little").reshape(rows, columns)
            for box in found:
                frame[box.top : box.bottom, box.left : box.right] = 0
            data[place] = np.packbits(frame.ravel(), bitorder="little").tobytes()
    ds[PIXEL_TAG].value = bytes(data)


def encode_as(ds: Dataset, syntax: str) -> None:
    """Compress uncompressed pixels as `syntax` does, where that is lossless, quick and proved on every value."""
    size = int(ds.Rows) * int(ds.Columns) * int(ds.get("NumberOfFrames") or 1) * int(ds.get("SamplesPerPixel") or 1)
    if UID(syntax) not in ENCODERS or size > MOST_ENCODED or has_palette(ds) and UID(syntax) != RLELossless:
        return
    plain = {tag: ds[tag] for tag in (PIXEL_TAG, *PIXEL_FORM) if tag in ds}
    before = [np.array(frame) for frame in iter_pixels(ds, raw=True)]
    try:
        ds.compress(syntax, encoding_plugin=ENCODERS[UID(syntax)], generate_instance_uid=False)
        exact = all(np.array_equal(a, b) for a, b in zip(before, iter_pixels(ds, raw=True), strict=True))
    except UNDECODABLE:
        exact = False
    if not exact:
        for tag, element in plain.items():
            ds[tag] = element
        ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian


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


def fill_with_one(frame: NDArray[Any], boxes: Sequence[Box]) -> None:
    """Draw the commonest value around each box into it: between the numbers of two colours lies any other."""
    mask = np.zeros(frame.shape, bool)
    for box in boxes:
        mask[box.top : box.bottom, box.left : box.right] = True
    for box in boxes:
        rows = slice(max(0, box.top - BORDER), box.bottom + BORDER)
        region = rows, slice(max(0, box.left - BORDER), box.right + BORDER)
        around = frame[region][~mask[region]]
        values, counts = np.unique(around if around.size else np.zeros(1, frame.dtype), return_counts=True)
        frame[box.top : box.bottom, box.left : box.right] = values[counts.argmax()]


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
