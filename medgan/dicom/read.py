"""Image planes of DICOM files: headers parsed now, pixels decoded when asked for.

A file gives one Plane, an enhanced multi-frame file one for each frame.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.pixels import apply_color_lut, apply_modality_lut
from pydicom.uid import DeflatedExplicitVRLittleEndian

from medgan.dicom.pixels import (
    KEYWORDS,
    PALETTE,
    UNREADABLE,
    Element,
    Pixels,
    check,
    described,
    padding_of,
    pixel_element,
    stored_values,
)
from medgan.errors import Reason, StudyRejected

SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"


@dataclass(frozen=True, slots=True)
class Plane:
    """One picture: what its header says of it, and where its pixels are."""

    pixels: Pixels
    frame: int
    instance: str  # SOP Instance UID
    series: str
    frame_of_reference: str
    picture: bool  # a picture that became DICOM on a workstation
    modality: str
    body_part: str
    image_type: tuple[str, ...]
    spacing_mm: tuple[float, float] | None  # between rows, between columns
    position_mm: tuple[float, float, float] | None
    orientation: tuple[float, ...] | None
    slope: float
    intercept: float
    rescaled: bool  # whether the file says how stored values become the modality's unit
    number: int  # Instance Number: only an order, never a position
    tilt_deg: float
    phase: tuple[float | str, ...]  # what tells apart planes at one place: time, echo, b-value, acquisition

    @property
    def size(self) -> tuple[int, int]:
        return self.pixels.rows, self.pixels.columns


def read_planes(files: Iterable[Path]) -> tuple[list[Plane], Counter[Reason]]:
    """Every plane of these files, pixels untouched, and why files were refused. One reason a file."""
    planes: list[Plane] = []
    refused: Counter[Reason] = Counter()
    for file in files:
        try:
            planes.extend(planes_of(file))
        except StudyRejected as error:
            refused[error.reason] += 1
    return planes, refused


def planes_of(file: Path) -> list[Plane]:
    """The planes of one DICOM file. Raises StudyRejected with the file's reason."""
    try:
        header, element = _header(file)
    except UNREADABLE:
        raise StudyRejected(Reason.UNREADABLE, detail="a file could not be parsed as DICOM") from None
    if not element.keyword:
        raise StudyRejected(Reason.NO_PIXELS, detail="a file holds no pixel data")
    try:
        pixels = described(file, header, element)
        check(pixels, element.length)
        return list(_frames(header, pixels))
    except UNREADABLE:
        raise StudyRejected(
            Reason.MISSING_ATTRIBUTE, detail="an attribute of the image is missing or not valid"
        ) from None


def values(plane: Plane) -> tuple[NDArray[np.float32], NDArray[np.bool_] | None, float]:
    """Decoded, rescaled pixels float32 [H, W] or RGB [H, W, 3]; padding (or None); top of the stored range.

    Padding is found on stored values, before rescale; rescale is the plane's own. Raises StudyRejected.
    """
    raw = stored_values(plane.pixels, plane.frame)
    try:
        padding = padding_of(raw, plane.pixels.header) if raw.ndim == 2 else None
        top = float((1 << plane.pixels.stored) - 1) if raw.dtype.kind in "iu" else 1.0
        if plane.pixels.photometric == PALETTE:
            colours = apply_color_lut(raw, plane.pixels.header)
            return colours.astype(np.float32), None, float(np.iinfo(colours.dtype).max)
        if "ModalityLUTSequence" in plane.pixels.header:
            return apply_modality_lut(raw, plane.pixels.header).astype(np.float32), padding, top
    except UNREADABLE:
        raise StudyRejected(Reason.DECODE_FAILED, detail="a lookup table could not be applied") from None
    scaled = raw.astype(np.float32)
    if plane.slope != 1.0:
        scaled *= np.float32(plane.slope)
    if plane.intercept != 0.0:
        scaled += np.float32(plane.intercept)
    return scaled, padding, top


def _header(file: Path) -> tuple[Dataset, Element]:
    with file.open("rb") as handle:
        header = dcmread(handle, stop_before_pixels=True)
        syntax = header.file_meta.TransferSyntaxUID
        if syntax != DeflatedExplicitVRLittleEndian:
            return header, pixel_element(handle, syntax)
    whole = dcmread(file)
    keyword = next((name for name in KEYWORDS.values() if name in whole), "")
    return header, Element(keyword, -1, len(whole[keyword].value) if keyword else 0)


def _frames(header: Dataset, pixels: Pixels) -> Iterator[Plane]:
    shared = _first(header, "SharedFunctionalGroupsSequence")
    each: Sequence[Dataset] = header.get("PerFrameFunctionalGroupsSequence") or ()
    if each and len(each) != pixels.frames:
        raise ValueError("functional groups and frames differ in number")
    for frame in range(pixels.frames):
        yield _plane(header, pixels, frame, (each[frame], shared) if each else (shared,))


def _plane(header: Dataset, pixels: Pixels, frame: int, groups: tuple[Dataset, ...]) -> Plane:
    get = _Attributes(header, groups)
    return Plane(
        pixels=pixels,
        frame=frame,
        instance=str(header.SOPInstanceUID),
        series=str(header.SeriesInstanceUID),
        frame_of_reference=str(header.get("FrameOfReferenceUID", "")),
        picture=_is_picture(header),
        modality=str(header.get("Modality", "OT") or "OT").strip().upper(),
        body_part=_text(get("BodyPartExamined")) or _text(get("AnatomicRegion")),
        image_type=tuple(str(word).strip().upper() for word in _many(get.frame_type() or header.get("ImageType"))),
        spacing_mm=_spacing(get),
        position_mm=_numbers(get("ImagePositionPatient", "PlanePositionSequence"), 3),  # type: ignore[arg-type]
        orientation=_numbers(get("ImageOrientationPatient", "PlaneOrientationSequence"), 6),
        slope=_number(get("RescaleSlope", "PixelValueTransformationSequence"), 1.0),
        intercept=_number(get("RescaleIntercept", "PixelValueTransformationSequence"), 0.0),
        rescaled=get("RescaleIntercept", "PixelValueTransformationSequence") is not None,
        number=int(_number(header.get("InstanceNumber"), 0.0)),
        tilt_deg=_number(get("GantryDetectorTilt", "CTGeometrySequence"), 0.0),
        phase=_phase(get),
    )


def _is_picture(header: Dataset) -> bool:
    """Screens saved on a workstation are Secondary Capture too, but say what they show in a third value."""
    return (
        str(header.get("SOPClassUID")) == SECONDARY_CAPTURE
        and _text(header.get("ConversionType")) == "WSD"
        and len(_many(header.get("ImageType"))) < 3
    )


class _Attributes:
    """One attribute from a frame's functional group, the shared one, or the header itself."""

    def __init__(self, header: Dataset, groups: tuple[Dataset, ...]) -> None:
        self.header, self.groups = header, groups

    def __call__(self, keyword: str, group: str = "") -> Any:
        if group:
            for some in self.groups:
                if (item := _first(some, group)) and keyword in item:
                    return item[keyword].value
        return self.header.get(keyword)

    def frame_type(self) -> Any:
        for some in self.groups:
            for name in ("MRImageFrameTypeSequence", "CTImageFrameTypeSequence", "PETFrameTypeSequence"):
                if item := _first(some, name):
                    return item.get("FrameType")
        return None


def _phase(get: _Attributes) -> tuple[float | str, ...]:
    """Stack, time, echo, b-value and acquisition of a plane, coarsest first."""
    b_value = get("DiffusionBValue", "MRDiffusionSequence")
    return (
        _text(get("StackID", "FrameContentSequence")),
        _number(get("TemporalPositionIndex", "FrameContentSequence") or get("TemporalPositionIdentifier"), 0.0),
        _number(get("EffectiveEchoTime", "MREchoSequence") or get("EchoTime"), 0.0),
        _number(get("EchoNumbers"), 0.0),
        _number(get("InversionTime"), 0.0),
        _number(b_value, 0.0),
        _number(get("TriggerTime") or get("NominalCardiacTriggerDelayTime", "CardiacSynchronizationSequence"), 0.0),
        _number(get("AcquisitionNumber"), 0.0),
        _number(get("FrameReferenceTime"), 0.0),
        _text(get("AcquisitionTime")),
    )


def _spacing(get: _Attributes) -> tuple[float, float] | None:
    for keyword in ("PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing"):
        numbers = _numbers(get(keyword, "PixelMeasuresSequence"), 2)
        if numbers and min(numbers) > 0:
            return numbers[0], numbers[1]
    aspect = _numbers(get("PixelAspectRatio"), 2)  # vertical, horizontal
    return (aspect[0], aspect[1]) if aspect and min(aspect) > 0 else None


def _first(item: Dataset, keyword: str) -> Dataset:
    sequence = item.get(keyword)
    return sequence[0] if sequence else Dataset()


def _number(value: Any, default: float) -> float:
    numbers = _floats(value)
    return numbers[0] if numbers and math.isfinite(numbers[0]) else default


def _numbers(value: Any, count: int) -> tuple[float, ...] | None:
    numbers = _floats(value)
    return numbers if len(numbers) == count and all(math.isfinite(number) for number in numbers) else None


def _floats(value: Any) -> tuple[float, ...]:
    try:
        return tuple(float(part) for part in _many(value))
    except (ValueError, TypeError, OverflowError):
        return ()


def _many(value: Any) -> list[Any]:
    if value is None or value == "":
        return []
    return [value] if isinstance(value, str | int | float) or not isinstance(value, Iterable) else list(value)


def _text(value: Any) -> str:
    return str(value).strip() if value is not None else ""
