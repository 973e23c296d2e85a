"""Siemens' private CSA headers: how many slices a mosaic holds, and along which normal they follow each other."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from pydicom.dataset import Dataset

from medgan.dicom.attributes import Odd
from medgan.dicom.compiled import ODD, compiled, u32
from medgan.dicom.walk import CREATOR, IMAGE_CSA, SERIES_CSA

BLOCK = "SIEMENS CSA HEADER"
SECOND = b"SV10"  # how the second form of such a header begins
MOST_ITEMS = 1000  # of a tag
MOST_TILES = 1024
OFF_STEP, OFF_MM = 0.01, 0.05  # of what the protocol says of slices: as a share of a step, and of their centre
COUNT, NORMAL = b"NumberOfImagesInMosaic\0", b"SliceNormalVector\0"
PROTOCOL, ROW = (b"### ASCCONV BEGIN", b"### ASCCONV END ###"), b"\nsSliceArray."
SIZE = re.compile(rb"\nsSliceArray\.lSize\s*=\s*(\d{1,4})\s*(?=\n)")
PLACE = re.compile(
    rb"\nsSliceArray\.asSlice\[(\d{1,4})\]\.sPosition\.d(Sag|Cor|Tra)\s*=\s*([^\s]{1,32})\s*(?=\n)",
)
TURNED = b"sSliceArray.ucImageNumb"
AXES = (b"Sag", b"Cor", b"Tra")
DECIMAL = re.compile(rb"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?")
Vector = tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Csa:
    """The headers of the image, and of the series with the protocol; empty where there is none."""

    image: bytes = b""
    series: bytes = b""


def of_dataset(dataset: Dataset) -> Csa:
    """What pydicom read: in the block that its creator reserves, or where none does, by its first word."""
    if CREATOR not in dataset:
        bare = Csa(*(_bytes(dataset, tag) for tag in (IMAGE_CSA, SERIES_CSA)))
        if _is_bare(bare):
            return bare
    try:
        block = dataset.private_block(0x0029, BLOCK)
    except KeyError:
        return Csa()
    return Csa(*(_bytes(dataset, int(block.get_tag(low))) for low in (0x10, 0x20)))


def of_placed(placed: Mapping[int, tuple[bytes, bytes, bool]]) -> Csa:
    """What our own walk found in the first block. Raises Odd where it could be another one."""
    some = [placed.get(tag, (b"", b"", False)) for tag in (IMAGE_CSA, SERIES_CSA)]
    if any(undefined or vr not in (b"OB", b"UN", b"") for vr, _, undefined in some):
        raise Odd
    found = Csa(some[0][1], some[1][1])
    vr, creator, _ = placed.get(CREATOR, (b"", b"", False))
    named = vr in (b"LO", b"") and creator.rstrip(b"\0 ") == BLOCK.encode()
    if not (named if CREATOR in placed else _is_bare(found)):
        raise Odd
    return found


def slices(csa: Csa, centre: Vector, step: float) -> tuple[int, Vector] | None:
    """How many slices, and their normal; None where neither header says. centre: of the picture, mm."""
    return _of_image(csa.image) or _of_protocol(csa.series, centre, step)


def _is_bare(csa: Csa) -> bool:
    """De-identifiers remove creators, and leave what they reserve."""
    return bool(csa.image or csa.series) and all(one.startswith(SECOND) for one in (csa.image, csa.series) if one)


def _bytes(dataset: Dataset, tag: int) -> bytes:
    value = dataset[tag].value if tag in dataset else b""
    return value if isinstance(value, bytes) else b""


@compiled
def _places(data: Any, name: Any, out: Any) -> Any:
    """Where Siemens' CSA header, data, keeps the items of a tag: how many of out int64 [items, 2] were filled, or ODD.

    name: with its zero at the end. The second form begins with SV10, the first has no such word, and counts lengths
    from the number of items of its first tag (as SPM reads it).
    """
    n, second = len(data), len(data) >= 8 and data[0] == 83 and data[1] == 86 and data[2] == 49 and data[3] == 48
    at = 8 if second else 0
    if at + 8 > n:
        return ODD
    count, at, first, found = u32(data, at, False), at + 8, 0, -1
    for tag in range(count):
        if at + 84 > n:
            return ODD
        items = u32(data, at + 76, False)
        if items > MOST_ITEMS:
            return ODD
        first = items if tag == 0 else first
        wanted = np.array_equal(data[at : at + len(name)], name)
        if wanted and found >= 0:
            return ODD
        found = 0 if wanted else found
        at += 84
        for _ in range(items):
            if at + 16 > n:
                return ODD
            length = u32(data, at + 4, False) if second else u32(data, at, False) - first
            at += 16
            if length < 0 or at + length > n:
                return ODD
            if wanted and length > 0:
                if found == len(out):
                    return ODD
                out[found, 0], out[found, 1] = at, at + length
                found += 1
            at += length + -length % 4
    return max(found, 0)


def _of_image(csa: bytes) -> tuple[int, Vector] | None:
    """How many slices, and along which normal, by the image's header; None where it does not say."""
    counts, normal = _items(csa, COUNT, 1), _items(csa, NORMAL, 3)
    if len(counts) != 1 or len(normal) != 3 or not counts[0].is_integer():
        return None
    return int(counts[0]), normal


def _items(csa: bytes, name: bytes, most: int) -> Vector:
    """The finite numbers of a tag of a CSA header; none where it has none, or other ones."""
    places = np.zeros((most, 2), np.int64)
    count = _places(np.frombuffer(csa, np.uint8), np.frombuffer(name, np.uint8), places)
    try:
        found = tuple(float(csa[begin:end].split(b"\0")[0]) for begin, end in places[: max(count, 0)].tolist())
    except ValueError:
        return ()
    return found if all(map(math.isfinite, found)) else ()


def _of_protocol(csa: bytes, centre: Vector, step: float) -> tuple[int, Vector] | None:
    """The same by the protocol in the series' header, which says where the centre of each slice was to be.

    None unless these are a straight row of equal steps that begins at the picture's centre. A scanner may number its
    slices the other way round: then the centre lies at the row's end, and readers differ in what follows from it.
    """
    centres = _centres(csa)
    if len(centres) < 2 or step <= 0 or not math.dist(centres[0], centre) < OFF_MM:
        return None
    steps = [tuple((q - p) / step for p, q in zip(one, two, strict=True)) for one, two in pairwise(centres)]
    if not all(math.dist(other, steps[0]) < OFF_STEP for other in steps) or abs(math.hypot(*steps[0]) - 1) > OFF_STEP:
        return None
    whole = [q - p for p, q in zip(centres[0], centres[-1], strict=True)]
    return len(centres), tuple(part / math.hypot(*whole) for part in whole)


def _centres(csa: bytes) -> tuple[Vector, ...]:
    """Centres of the slices in mm; what is zero is not said. NaN, near nothing, for what is no number.

    None where they are numbered the other way round, or the protocol stands twice.
    """
    begin, end = csa.find(PROTOCOL[0]), csa.find(PROTOCOL[1])
    first = csa.find(ROW, begin, end)
    if min(begin, end, first) < 0 or csa.find(PROTOCOL[0], begin + 1) >= 0:
        return ()
    text = csa[first : csa.find(b"\n", csa.rfind(ROW, begin, end) + 1, end) + 1]
    sizes = SIZE.findall(text)
    if len(sizes) != 1 or int(sizes[0]) > MOST_TILES or TURNED in text:
        return ()
    found = [dict.fromkeys(AXES, 0.0) for _ in range(int(sizes[0]))]
    for number, axis, value in PLACE.findall(text):
        if int(number) < len(found):
            found[int(number)][axis] = float(value) if DECIMAL.fullmatch(value) else math.nan
    return tuple(tuple(centre.values()) for centre in found)
