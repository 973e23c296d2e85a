"""Siemens mosaics: the slices of a volume tiled into one picture, placed by the scanner's private CSA header."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass

from pydicom.dataset import Dataset

from medgan.dicom.attributes import Header, floats, numbers

MOSAIC = "MOSAIC"
OFF_NORMAL = 0.01  # 1 - |cosine| between the slices' normal and that of the picture
MOST_TILES = 1024
Tile = tuple[int, int, int, int]


@dataclass(frozen=True, slots=True)
class Tiles:
    """Tiles (top, left, rows, columns) of the picture, and where the first pixel of each lies in the patient."""

    tiles: tuple[Tile, ...]
    positions_mm: tuple[tuple[float, ...], ...]


def tiles(dataset: Dataset, header: Header) -> Tiles | None:
    """The slices of a mosaic; None for another picture, and where its private header does not place them.

    The header's position is where a picture as large as the mosaic would begin if its centre were that of the first
    slice; the slices follow each other along their normal.
    """
    if MOSAIC not in (word.upper() for word in header["ImageType"]):
        return None
    count, normal = _said(dataset)
    position, cosines = numbers(header, "ImagePositionPatient", 3), numbers(header, "ImageOrientationPatient", 6)
    spacing, step = numbers(header, "PixelSpacing", 2), floats(dataset.get("SpacingBetweenSlices"))
    if not 1 < count <= MOST_TILES or position is None or cosines is None or spacing is None or len(step) != 1:
        return None
    along, down = cosines[:3], cosines[3:]
    cross = tuple(along[i - 2] * down[i - 1] - along[i - 1] * down[i - 2] for i in range(3))
    if len(normal) != 3 or abs(abs(math.fsum(a * b for a, b in zip(cross, normal, strict=True))) - 1) > OFF_NORMAL:
        return None
    side = math.isqrt(count - 1) + 1  # tiles stand in a square
    (height, lost), (width, cut) = divmod(int(header["Rows"][0]), side), divmod(int(header["Columns"][0]), side)
    if lost or cut or not height or not width:
        return None
    right, below = (side - 1) * width / 2 * spacing[1], (side - 1) * height / 2 * spacing[0]
    first = [p + right * a + below * d for p, a, d in zip(position, along, down, strict=True)]
    return Tiles(
        tuple((n // side * height, n % side * width, height, width) for n in range(count)),
        tuple(tuple(f + n * step[0] * w for f, w in zip(first, normal, strict=True)) for n in range(count)),
    )


def _said(dataset: Dataset) -> tuple[int, tuple[float, ...]]:
    """How many slices, and along which normal; 0 where the header does not say."""
    with warnings.catch_warnings(action="ignore"):
        from nibabel.nicom import csareader  # slow to import, and few files are mosaics
    try:
        csa = csareader.get_csa_header(dataset, "image")
        if csa is None:
            return 0, ()
        normal = csareader.get_slice_normal(csa)
        return int(csareader.get_n_mosaic(csa) or 0), () if normal is None else tuple(float(part) for part in normal)
    except (csareader.CSAError, ValueError, KeyError, IndexError, TypeError, OverflowError):
        return 0, ()
