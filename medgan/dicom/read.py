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

from medgan.dicom import diffusion, headers
from medgan.dicom.attributes import (
    ABSENT,
    OWN,
    PRIVATE_VRS,
    WANTED,
    Header,
    Odd,
    number,
    numbers,
    parsed,
    swapped,
    tag_of,
)
from medgan.dicom.csa import of_placed
from medgan.dicom.groups import of_frames
from medgan.dicom.mosaic import MOSAIC, Tiles, tiles
from medgan.dicom.pixels import PALETTE, UNREADABLE, Pixels, check, padding_of, storage, stored_values
from medgan.dicom.walk import LUT, Raw, Walk, Walked
from medgan.errors import Reason, StudyRejected

SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
SIGN = tag_of("PixelRepresentation")
SPACINGS = ("PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing")
MOST_KEPT, MOST_KNOWN = 256, 4096  # kinds of header, values
SHORT = 32  # bytes of a value that may come again; UIDs do not
OWN_TAGS = {tag_of(keyword): keyword for keyword in OWN}
ONCE = {tag_of(keyword) for keyword in OWN[:3]}  # values that hardly come again
COMMON_TAGS = {tag_of(keyword): keyword for keyword in WANTED if keyword not in OWN and keyword not in PRIVATE_VRS}
MODALITY = tag_of("Modality")


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
    phase: tuple[float | str, ...]  # what tells apart planes at one place: time, echo, diffusion, acquisition

    aspect: bool = False  # spacing_mm is a ratio alone: nothing says how many millimetres

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
        private = diffusion.of_dataset(found.dataset)
        return [
            Plane(
                pixels=pixels.tiled(part.tile) if part.tile else pixels,
                frame=part.frame,
                **_shared(part.header),
                **_own({**part.header, **diffusion.said(part.header, private)}),
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
    kind = np.float64 if raw.dtype.itemsize > 2 else np.float32  # 32-bit integers have more digits than float32
    scaled: NDArray[Any] = raw.astype(kind)
    if plane.slope != 1.0:
        scaled *= kind(plane.slope)
    if plane.intercept != 0.0:
        scaled += kind(plane.intercept)
    return scaled.astype(np.float32, copy=False), padding, top


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
        self._walk = Walk(OWN_TAGS)
        self._common: dict[Hashable, _Common] = {}
        self._mr: set[bytes] = set()
        self._known: dict[Hashable, Any] = {}

    def planes_of(self, file: Path) -> list[Plane]:
        with suppress(Odd, *UNREADABLE):
            return self._planes(file, self._walk(file))
        return planes_by_pydicom(file)

    def _planes(self, file: Path, walked: Walked) -> list[Plane]:
        common = self._in_common(walked)
        header = common.header.copy()
        for tag, item in walked.own.items():
            header[OWN_TAGS[tag]] = self._parsed(tag, OWN_TAGS[tag], item)
        pixels = Pixels(file, walked.element.offset, walked.element.words, **common.stored)
        check(pixels, walked.element.length)
        if walked.placed:
            return _parts(pixels, header, common, walked)
        own = _own(header)
        return [Plane(pixels=pixels, frame=frame, **common.shared, **own) for frame in range(pixels.frames)]

    def _in_common(self, walked: Walked) -> _Common:
        told = walked.private if walked.common in self._mr else b""
        found = self._common.get((walked.syntax, walked.element.keyword, walked.common, told))
        return found or self._looked_at(walked)

    def _looked_at(self, walked: Walked) -> _Common:
        if len(self._common) >= MOST_KEPT:
            self._common.clear()
            self._mr.clear()
        raw, told = self._walk.unpacked(walked.common, walked.syntax), b""
        if raw.get(MODALITY, (b"", b""))[1].strip(b"\0 ").upper() == b"MR":  # others need not pay for it
            self._mr.add(walked.common)
            told = walked.private
        private = diffusion.of_raw(self._walk.unpacked(told, walked.syntax)) if told else {}
        header = self._header(raw)
        said = {**header, **diffusion.said(header, private)}
        stored = storage(header, walked.element.keyword, syntax=walked.syntax, lut=swapped(LUT) in raw)
        found = _Common(said, _shared(said), stored, header, private)
        self._common[walked.syntax, walked.element.keyword, walked.common, told] = found
        return found

    def _header(self, raw: Raw) -> Header:
        """Common values in their forms. Raises Odd."""
        signed = raw.get(SIGN, (b"", b""))[1] == b"\1\0"
        present = [(tag, keyword) for tag, keyword in COMMON_TAGS.items() if tag in raw]
        return {**ABSENT, **{keyword: self._parsed(tag, keyword, raw[tag], signed) for tag, keyword in present}}

    def _parsed(self, tag: int, keyword: str, item: tuple[bytes, bytes], signed: bool = False) -> Any:
        """A value in its form, looked up where it came before. Raises Odd."""
        found = self._known.get((tag, item, signed))
        if found is None:
            found = parsed(keyword, *item, signed=signed)
            if tag not in ONCE and len(item[1]) <= SHORT:
                if len(self._known) >= MOST_KNOWN:
                    self._known.clear()
                self._known[tag, item, signed] = found
        return found


@dataclass(frozen=True, slots=True)
class _Common:
    """What files have in common: of their headers, of their planes, of their pixels."""

    header: Header
    shared: dict[str, Any]
    stored: dict[str, Any]
    bare: Header  # without what vendors' private attributes say
    private: diffusion.Private


def _parts(pixels: Pixels, header: Header, common: _Common, walked: Walked) -> list[Plane]:
    """The planes of a mosaic, and of a file with functional groups. Raises Odd."""
    if MOSAIC in common.shared["image_type"] and (placed := tiles(of_placed(walked.placed), header)):
        return _tiles(pixels, header, common, placed)
    planes, kinds = [], dict[int, tuple[Header, dict[str, Any]]]()
    own = {keyword: header[keyword] for keyword in OWN if keyword in header}
    for frame, (others, some) in enumerate(of_frames(walked.placed, pixels.frames, walked.syntax)):
        if id(others) not in kinds:
            said = {**common.bare, **own, **others}
            said |= diffusion.said(said, common.private)
            kinds[id(others)] = said, _shared(said)
        said, shared = kinds[id(others)]
        planes.append(Plane(pixels=pixels, frame=frame, **shared, **_own({**said, **some})))
    return planes


def _tiles(whole: Pixels, header: Header, common: _Common, placed: Tiles) -> list[Plane]:
    words = tuple(word for word in header["ImageType"] if word.upper() != MOSAIC)
    shared, own = _shared({**header, "ImageType": words}), _own(header)
    planes = []
    for tile, position in zip(placed.tiles, placed.positions_mm, strict=True):
        own["position_mm"] = numbers({"ImagePositionPatient": position}, "ImagePositionPatient", 3)
        pixels = Pixels(whole.file, whole.offset, whole.words, **{**common.stored, "tile": tile})
        planes.append(Plane(pixels=pixels, frame=0, **shared, **own))
    return planes


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
        **dict(zip(("spacing_mm", "aspect"), _spacing(header), strict=True)),
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
    """Stack, time, echo, b-value, gradient direction and acquisition of a plane, coarsest first."""
    b_value = number(header, "DiffusionBValue")
    return (
        header["StackID"],
        number(header, "TemporalPositionIndex") or number(header, "TemporalPositionIdentifier"),
        number(header, "EffectiveEchoTime") or number(header, "EchoTime"),
        number(header, "EchoNumbers"),
        number(header, "InversionTime"),
        b_value,
        diffusion.direction(header, b_value),
        number(header, "TriggerTime") or number(header, "NominalCardiacTriggerDelayTime"),
        number(header, "AcquisitionNumber"),
        number(header, "FrameReferenceTime"),
        header["AcquisitionTime"],
    )


def _spacing(header: Header) -> tuple[tuple[float, float] | None, bool]:
    """Between rows and between columns; and whether that is a ratio alone, not in mm."""
    for keyword in SPACINGS:
        steps = numbers(header, keyword, 2)
        if steps and min(steps) > 0:
            return (steps[0], steps[1]), False
    aspect = numbers(header, "PixelAspectRatio", 2)  # vertical, horizontal
    return ((aspect[0], aspect[1]), True) if aspect and min(aspect) > 0 else (None, False)
