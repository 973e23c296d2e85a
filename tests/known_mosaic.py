"""A mosaic of known content: the slices of a volume tiled into one picture, their number and normal in a CSA header."""

from __future__ import annotations

import math
import struct

import numpy as np
from known_content import COUNT, SIZE, SPACING_MM, STEP_MM, block, place
from pydicom.dataset import Dataset

CSA = {
    "NumberOfImagesInMosaic": ("US", [f"{COUNT}"]),
    "SliceNormalVector": ("FD", ["0.00000000", "0.00000000", "1.00000000"]),
    "ProtocolSliceNumber": ("IS", ["0"]),
}


def mosaic(time: int, shade: float) -> Dataset:
    """All slices of the block in one file, at one time point."""
    slices = block(shade=shade, Modality="MR")
    side = math.isqrt(COUNT - 1) + 1
    rows, columns = SIZE
    picture = np.zeros((side * rows, side * columns), "<u2")
    for number, one in enumerate(slices):
        top, left = number // side * rows, number % side * columns
        picture[top : top + rows, left : left + columns] = np.frombuffer(one.PixelData, "<u2").reshape(SIZE)
    # as if a picture as large as the mosaic had its centre where the first slice has it
    corner = place(0) - (side - 1) / 2 * np.array([columns * SPACING_MM[1], rows * SPACING_MM[0], 0])
    whole = slices[0]
    whole.update({"Manufacturer": "SIEMENS", "ImageType": ["ORIGINAL", "PRIMARY", "M", "ND", "MOSAIC"]})
    whole.Rows, whole.Columns, whole.PixelData = *picture.shape, picture.tobytes()
    whole.SpacingBetweenSlices, whole.ImagePositionPatient = STEP_MM, [float(x) for x in corner]
    whole.InstanceNumber = whole.AcquisitionNumber = time + 1
    whole.AcquisitionTime = f"12000{2 * time}.000000"
    whole.private_block(0x29, "SIEMENS CSA HEADER", create=True).add_new(0x10, "OB", _csa())
    return whole


def _csa() -> bytes:
    """The second form of Siemens' header: names of 64 bytes, each with its values."""
    parts = [b"SV10\4\3\2\1", struct.pack("<2L", len(CSA), 77)]
    for name, (kind, values) in CSA.items():
        parts.append(struct.pack("<64sl4slll", name.encode(), len(values), kind.encode(), 0, 6, 77))
        for value in [*values, *[""] * (6 - len(values))]:
            text = value.encode() + b"\0" if value else b""
            parts.append(struct.pack("<4l", 0, len(text), 77, 0) + text + b"\0" * (-len(text) % 4))
    whole = b"".join(parts)
    return whole + b"\0" * (-len(whole) % 2)
