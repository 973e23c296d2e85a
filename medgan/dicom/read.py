"""Image planes of DICOM files: headers parsed now, pixels decoded when asked for.

A file gives one Plane, an enhanced multi-frame file one for each frame, a mosaic one for each tile.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.pixels import apply_color_lut, apply_modality_lut
from pydicom.uid import UID

from medgan.dicom import headers
from medgan.dicom.attributes import ABSENT, WANTED, Header, Odd, number, numbers, parsed, tag_of
from medgan.dicom.mosaic import MOSAIC
from medgan.dicom.pixels import PALETTE, UNREADABLE, Pixels, check, padding_of, storage, stored_values
from medgan.dicom.walk import Element, Raw, Walk
from medgan.errors import Reason, StudyRejected

SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
SIGN = tag_of("PixelRepresentation")
SPACINGS = ("PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing")
# what differs from slice to slice; all the rest is looked at once for the files that have it in common
OWN = (
    *("SOPInstanceUID", "ImagePositionPatient", "InstanceNumber", "AcquisitionNumber", "AcquisitionTime"),
    *("RescaleSlope", "RescaleIntercept", "TemporalPositionIndex", "TemporalPositionIdentifier", "TriggerTime"),
    "FrameReferenceTime",
)
MOST_KEPT = 256  # kinds of header
OWN_TAGS = tuple((keyword, tag_of(keyword)) for keyword in OWN)
COMMON_TAGS = {tag_of(keyword): keyword for keyword in WANTED if keyword not in OWN}


@dataclass(frozen=True, slots=True, repr=False)  # a scheduler's log may show what a task was given
class Plane:
    """One picture: what its header says of it, and where its pixels are."""

    pixels: Pixels
    frame: int
    instance: str  # SOP Instance UID
    series: str
    study: str
    patient: str  # Patient ID: identified
    frame_of_reference: str
    picture: bool  # a picture that became DICOM on a workstation
    modality: str
    body_part: str
    image_type: tuple[str, ...]
    unit: str  # of rescaled values: HU for CT, as the header says for PT (BQML, CNTS, ...), else empty
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
        return self.pixels.size


def read_planes(files: Iterable[Path]) -> tuple[list[Plane], Counter[Reason]]:
    """Every plane of these files, pixels untouched, and why files were refused. One reason a file."""
    planes: list[Plane] = []
    refused: Counter[Reason] = Counter()
    reader = _Reader()
    for file in files:
        try:
            planes.extend(reader.planes_of(file))
        except StudyRejected as error:
            refused[error.reason] += 1
    return planes, refused


def planes_of(file: Path) -> list[Plane]:
    """The planes of one DICOM file. Raises StudyRejected with the file's reason."""
    return _Reader().planes_of(file)


def planes_by_pydicom(file: Path) -> list[Plane]:
    """The same by pydicom's reader alone: slow, for what our own walk does not know. Raises StudyRejected."""
    try:
        found = headers.read(file)
        stored = storage(found.header, found.element.keyword, syntax=found.syntax, lut=found.lut)
        pixels = Pixels(file, found.element.offset, found.element.words, **stored)
        check(pixels, found.element.length)
        return [
            Plane(
                pixels=pixels.tiled(part.tile) if part.tile else pixels,
                frame=part.frame,
                **_shared(part.header),
                **_own(part.header),
            )
            for part in headers.parts(found, pixels.frames)
        ]
    except UNREADABLE:
        raise StudyRejected(
            Reason.MISSING_ATTRIBUTE, detail="an attribute of the image is missing or not valid"
        ) from None


def values(plane: Plane) -> tuple[NDArray[np.float32], NDArray[np.bool_] | None, float]:
    """Decoded, rescaled pixels float32 [H, W] or RGB [H, W, 3]; padding (or None); top of the stored range.

    Padding is found on stored values, before rescale; rescale is the plane's own. Raises StudyRejected.
    """
    raw = stored_values(plane.pixels, plane.frame)
    padding = padding_of(raw, plane.pixels)
    top = float((1 << plane.pixels.stored) - 1) if raw.dtype.kind in "iu" else 1.0
    if plane.pixels.photometric == PALETTE or plane.pixels.lut:
        return _looked_up(raw, plane.pixels, padding, top)
    scaled = raw.astype(np.float32)
    if plane.slope != 1.0:
        scaled *= np.float32(plane.slope)
    if plane.intercept != 0.0:
        scaled += np.float32(plane.intercept)
    return scaled, padding, top


def _looked_up(
    raw: NDArray[Any], pixels: Pixels, padding: NDArray[np.bool_] | None, top: float
) -> tuple[NDArray[np.float32], NDArray[np.bool_] | None, float]:
    try:
        header = headers.dataset(pixels.file)
        if pixels.photometric == PALETTE:
            colours = apply_color_lut(raw, header)
            return colours.astype(np.float32), None, float(np.iinfo(colours.dtype).max)
        return apply_modality_lut(raw, header).astype(np.float32), padding, top
    except UNREADABLE:
        raise StudyRejected(Reason.DECODE_FAILED, detail="a lookup table could not be applied") from None


class _Reader:
    """Reads files one after the other; what they have in common is looked at once."""

    def __init__(self) -> None:
        self._walk = Walk()
        self._common: dict[Hashable, _Common] = {}

    def planes_of(self, file: Path) -> list[Plane]:
        with suppress(Odd, StudyRejected, *UNREADABLE):
            return self._planes(file, *self._walk(file))
        return planes_by_pydicom(file)

    def _planes(self, file: Path, syntax: UID, raw: Raw, element: Element) -> list[Plane]:
        common = self._in_common(syntax, raw, element.keyword)
        header = common.header.copy()
        for keyword, tag in OWN_TAGS:
            if tag in raw:
                header[keyword] = parsed(keyword, *raw[tag])
        pixels = Pixels(file, element.offset, element.words, **common.stored)
        check(pixels, element.length)
        own = _own(header)
        return [Plane(pixels=pixels, frame=frame, **common.shared, **own) for frame in range(pixels.frames)]

    def _in_common(self, syntax: UID, raw: Raw, keyword: str) -> _Common:
        key = (syntax, keyword, *map(raw.get, COMMON_TAGS))
        found = self._common.get(key)
        if found is None:
            if len(self._common) >= MOST_KEPT:
                self._common.clear()
            header = _header(raw)
            found = _Common(header, _shared(header), storage(header, keyword, syntax=syntax))
            self._common[key] = found
        return found


@dataclass(frozen=True, slots=True)
class _Common:
    """What files have in common: of their headers, of their planes, of their pixels."""

    header: Header
    shared: dict[str, Any]
    stored: dict[str, Any]


def _header(raw: Raw) -> Header:
    """Common values in their forms. Raises Odd."""
    signed = raw.get(SIGN, (b"", b""))[1] == b"\1\0"
    present = [(keyword, tag) for tag, keyword in COMMON_TAGS.items() if tag in raw]
    header = {**ABSENT, **{keyword: parsed(keyword, *raw[tag], signed=signed) for keyword, tag in present}}
    if MOSAIC in header["ImageType"]:
        raise Odd
    return header


def _shared(header: Header) -> dict[str, Any]:
    """The attributes of a Plane that most slices of a series have in common."""
    modality, picture = header["Modality"].upper() or "OT", _is_picture(header)
    return {
        "series": header["SeriesInstanceUID"],
        "study": header["StudyInstanceUID"],
        "patient": header["PatientID"],
        "frame_of_reference": header["FrameOfReferenceUID"],
        "picture": picture,
        "modality": modality,
        "body_part": header["BodyPartExamined"],
        "image_type": tuple(word.upper() for word in header["ImageType"]),
        "spacing_mm": _spacing(header),
        "orientation": numbers(header, "ImageOrientationPatient", 6),
        "tilt_deg": number(header, "GantryDetectorTilt"),
    }


def _own(header: Header) -> dict[str, Any]:
    """The attributes of a Plane that differ from slice to slice."""
    return {
        "instance": header["SOPInstanceUID"],
        "position_mm": numbers(header, "ImagePositionPatient", 3),
        "slope": number(header, "RescaleSlope", 1.0),
        "intercept": number(header, "RescaleIntercept"),
        "rescaled": bool(header["RescaleIntercept"]),
        "unit": _unit(header),
        "number": int(number(header, "InstanceNumber")),
        "phase": _phase(header),
    }


def _is_picture(header: Header) -> bool:
    """Screens saved on a workstation are Secondary Capture too, but say what they show in a third value."""
    return (
        header["SOPClassUID"] == SECONDARY_CAPTURE
        and header["ConversionType"] == "WSD"
        and len(header["ImageType"]) < 3
    )


def _unit(header: Header) -> str:
    if header["Modality"].upper() == "CT":
        return "HU" if header["RescaleIntercept"] and not _is_picture(header) else ""
    return header["Units"].upper() if header["Modality"].upper() == "PT" else ""


def _phase(header: Header) -> tuple[float | str, ...]:
    """Stack, time, echo, b-value and acquisition of a plane, coarsest first."""
    return (
        header["StackID"],
        number(header, "TemporalPositionIndex") or number(header, "TemporalPositionIdentifier"),
        number(header, "EffectiveEchoTime") or number(header, "EchoTime"),
        number(header, "EchoNumbers"),
        number(header, "InversionTime"),
        number(header, "DiffusionBValue"),
        number(header, "TriggerTime") or number(header, "NominalCardiacTriggerDelayTime"),
        number(header, "AcquisitionNumber"),
        number(header, "FrameReferenceTime"),
        header["AcquisitionTime"],
    )


def _spacing(header: Header) -> tuple[float, float] | None:
    for keyword in SPACINGS:
        steps = numbers(header, keyword, 2)
        if steps and min(steps) > 0:
            return steps[0], steps[1]
    aspect = numbers(header, "PixelAspectRatio", 2)  # vertical, horizontal
    return (aspect[0], aspect[1]) if aspect and min(aspect) > 0 else None
