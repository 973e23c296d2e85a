"""What the functional groups of an enhanced multi-frame file say of each of its frames."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.uid import UID, ExplicitVRBigEndian, ImplicitVRLittleEndian

from medgan.dicom import compiled
from medgan.dicom.attributes import OWN, Header, Odd, parsed
from medgan.dicom.vrs import vr_code
from medgan.dicom.walk import EACH, SHARED, little

# attributes that a frame's functional group, or the shared one, may hold, and in which sequence (in its first item)
GROUPS = {
    "StackID": ("FrameContentSequence",),
    "TemporalPositionIndex": ("FrameContentSequence",),
    "EffectiveEchoTime": ("MREchoSequence",),
    "DiffusionBValue": ("MRDiffusionSequence",),
    "DiffusionDirectionality": ("MRDiffusionSequence",),
    "DiffusionGradientOrientation": ("MRDiffusionSequence", "DiffusionGradientDirectionSequence"),
    "NominalCardiacTriggerDelayTime": ("CardiacSynchronizationSequence",),
    "PixelSpacing": ("PixelMeasuresSequence",),
    "ImagerPixelSpacing": ("PixelMeasuresSequence",),
    "NominalScannedPixelSpacing": ("PixelMeasuresSequence",),
    "ImagePositionPatient": ("PlanePositionSequence",),
    "ImageOrientationPatient": ("PlaneOrientationSequence",),
    "RescaleSlope": ("PixelValueTransformationSequence",),
    "RescaleIntercept": ("PixelValueTransformationSequence",),
    "GantryDetectorTilt": ("CTGeometrySequence",),
}
FRAME_TYPES = ("MRImageFrameTypeSequence", "CTImageFrameTypeSequence", "PETFrameTypeSequence")

Slot = tuple[str, tuple[str, ...], str]  # keyword in a Header, sequences, attribute
Value = tuple[bytes, bytes, bool]  # of a placed sequence: VR, bytes, whether its length was undefined


def _tag(keyword: str) -> int:
    return int(tag_for_keyword(keyword) or 0)


SLOTS: list[Slot] = sorted(
    [(keyword, path, keyword) for keyword, path in GROUPS.items()]
    + [("ImageType", (name,), "FrameType") for name in FRAME_TYPES],
    key=lambda slot: _tag(slot[1][0]),
)
VRS = [dictionary_VR(attribute) for _, _, attribute in SLOTS]
TABLE = np.array(
    [
        (_tag(path[0]), _tag(name), vr_code(vr.encode()), keyword == "ImageType", _tag(path[1]) if path[1:] else 0)
        for (keyword, path, name), vr in zip(SLOTS, VRS, strict=True)
    ],
    np.int64,
).T.copy()
TYPES = [next(n for n, slot in enumerate(SLOTS) if slot[1] == (name,)) for name in FRAME_TYPES]
OTHERS = [n for n in range(len(SLOTS)) if n not in TYPES]
KEYWORDS = [*(SLOTS[n][0] for n in OTHERS), "ImageType"]
OWN_PLACES = [n for n, keyword in enumerate(KEYWORDS) if keyword in OWN]
COMMON_PLACES = [n for n, keyword in enumerate(KEYWORDS) if keyword not in OWN]
WRITTEN = [*(VRS[n].encode() for n in OTHERS), b"CS"]
Row = list[bytes | None]


def of_frames(placed: Mapping[int, Value], frames: int, syntax: UID) -> Iterator[tuple[Header, Header]]:
    """What the groups of each frame, and for the rest the shared ones, say: of slices in common, of a slice.

    placed: what the walk found of the two sequences. The first header is the same object wherever it is the same.
    Raises Odd.
    """
    shared: Row = next(iter(_rows(placed.get(SHARED), 1, syntax)), [None] * len(SLOTS))
    each = _rows(placed.get(EACH), frames, syntax)
    if each and len(each) != frames:
        raise Odd
    known: dict[tuple[int, bytes], Any] = {}
    commons: dict[tuple[bytes | None, ...], Header] = {}
    for row in each or [shared] * frames:
        values = _merged(row, shared)
        own = {KEYWORDS[n]: _form(n, values[n], syntax, known) for n in OWN_PLACES if values[n] is not None}
        key = tuple([values[n] for n in COMMON_PLACES])
        if (common := commons.get(key)) is None:
            present = [n for n in COMMON_PLACES if values[n] is not None]
            common = commons[key] = {KEYWORDS[n]: _form(n, values[n], syntax, known) for n in present}
        yield common, own


def _merged(row: Row, shared: Row) -> Row:
    values = [shared[n] if row[n] is None else row[n] for n in OTHERS]
    kinds = [group[n] for group in (row, shared) for n in TYPES if group[n] is not None]
    return [*values, kinds[0] if kinds else None]


def _form(n: int, value: Any, syntax: UID, known: dict[tuple[int, bytes], Any]) -> Any:
    if (n, value) not in known:
        one = little(WRITTEN[n], value) if syntax == ExplicitVRBigEndian else value
        known[n, value] = parsed(KEYWORDS[n], WRITTEN[n], one)
    return known[n, value]


def _rows(value: Value | None, most: int, syntax: UID) -> list[Row]:
    """Values of an item for each slot, item by item."""
    if value is None:
        return []
    vr, data, undefined = value
    explicit, big = syntax != ImplicitVRLittleEndian, syntax == ExplicitVRBigEndian
    if explicit and vr != b"SQ":
        raise Odd
    places = np.full((most, len(SLOTS), 2), -1, np.int32)
    count = compiled.groups(np.frombuffer(data, np.uint8), undefined, explicit, big, TABLE, places)
    if count < 0:
        raise Odd
    return [[data[begin:end] if begin >= 0 else None for begin, end in row] for row in places[:count].tolist()]
