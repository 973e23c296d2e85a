"""Siemens mosaics: the slices of a volume tiled into one picture, placed by the scanner's private CSA headers."""

from __future__ import annotations

import math
from dataclasses import dataclass

from medgan.dicom.attributes import Header, numbers
from medgan.dicom.csa import MOST_TILES, Csa, Vector, slices

MOSAIC = "MOSAIC"
OFF_NORMAL = 0.01  # 1 - |cosine| between the slices' normal and that of the picture
Tile = tuple[int, int, int, int]


@dataclass(frozen=True, slots=True)
class Tiles:
    """Tiles (top, left, rows, columns) of the picture, and where the first pixel of each lies in the patient."""

    tiles: tuple[Tile, ...]
    positions_mm: tuple[Vector, ...]


def tiles(csa: Csa, header: Header) -> Tiles | None:
    """The slices of a mosaic; None for another picture, and where its private headers do not place them.

    The header's position is where a picture as large as the mosaic would begin if its centre were that of the first
    slice; the slices follow each other along their normal.
    """
    if MOSAIC not in (word.upper() for word in header["ImageType"]):
        return None
    position, cosines = numbers(header, "ImagePositionPatient", 3), numbers(header, "ImageOrientationPatient", 6)
    spacing, step = numbers(header, "PixelSpacing", 2), numbers(header, "SpacingBetweenSlices", 1)
    if position is None or cosines is None or spacing is None or step is None:
        return None
    picture = int(header["Rows"][0]), int(header["Columns"][0])
    along, down = cosines[:3], cosines[3:]
    halves = picture[0] / 2 * spacing[0], picture[1] / 2 * spacing[1]
    centre = tuple(p + halves[1] * a + halves[0] * d for p, a, d in zip(position, along, down, strict=True))
    count, normal = slices(csa, centre, step[0]) or (0, ())
    if not 1 < count <= MOST_TILES:
        return None
    cross = tuple(along[i - 2] * down[i - 1] - along[i - 1] * down[i - 2] for i in range(3))
    if abs(abs(math.fsum(a * b for a, b in zip(cross, normal, strict=True))) - 1) > OFF_NORMAL:
        return None
    side = math.isqrt(count - 1) + 1  # tiles stand in a square
    (height, lost), (width, cut) = divmod(picture[0], side), divmod(picture[1], side)
    if lost or cut or not height or not width:
        return None
    right, below = (side - 1) * width / 2 * spacing[1], (side - 1) * height / 2 * spacing[0]
    first = [p + right * a + below * d for p, a, d in zip(position, along, down, strict=True)]
    return Tiles(
        tuple((n // side * height, n % side * width, height, width) for n in range(count)),
        tuple(tuple(f + n * step[0] * w for f, w in zip(first, normal, strict=True)) for n in range(count)),
    )
