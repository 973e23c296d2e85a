"""DICOM SEG objects made by code, frame by frame, so that a mask can lie, and lie about, anything."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from dicom_series import AXIAL, uid
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence as Items
from pydicom.uid import ExplicitVRLittleEndian

SEG = "1.2.840.10008.5.1.4.1.1.66.4"
LUNG, LIVER = ("39607008", "SCT", "Lung"), ("10200004", "SCT", "Liver")
LEFT, RIGHT = ("7771000", "SCT", "Left"), ("24028007", "SCT", "Right")
ORGAN = ("123037004", "SCT", "Anatomical Structure")
Code = tuple[str, str, str]


def item(**values: Any) -> Dataset:
    found = Dataset()
    for keyword, value in values.items():
        setattr(found, keyword, value)
    return found


def one(**values: Any) -> Items:
    return Items([item(**values)])


def coded(code: Code) -> Items:
    return one(CodeValue=code[0], CodingSchemeDesignator=code[1], CodeMeaning=code[2])


def segment(number: int, code: Code, side: Code | None = None, **more: Any) -> Dataset:
    kind = coded(code)
    if side:
        kind[0].SegmentedPropertyTypeModifierCodeSequence = coded(side)
    found = item(SegmentNumber=number, SegmentLabel=f"segment {number}", SegmentAlgorithmType="MANUAL")
    found.SegmentedPropertyCategoryCodeSequence, found.SegmentedPropertyTypeCodeSequence = coded(ORGAN), kind
    for keyword, value in more.items():
        setattr(found, keyword, value)
    return found


def segmentation(
    slices: Sequence[Dataset],
    marked: np.ndarray[Any, Any],
    segments: Sequence[Dataset] | None = None,
    *,
    name: object = "mask",
    origin: Sequence[float] | None = None,
    step: Sequence[float] | None = None,
    orientation: Sequence[float] = AXIAL,
    spacing: Sequence[float] | None = None,
    fractional: int = 0,
    references: bool = True,
    overlap: Mapping[int, np.ndarray[Any, Any]] | None = None,
    **more: Any,
) -> Dataset:
    """A SEG of `marked`, int [D, H, W] of segment numbers, or floats of segment 1 when `fractional` is its full value.

    Empty frames are left out. It lies where `slices` do, unless origin, step (from slice to slice), orientation or
    spacing say otherwise. overlap: more frames, bool [D, H, W] by segment.
    """
    first = slices[0]
    origin = np.array(first.ImagePositionPatient if origin is None else origin, float)
    step = np.array([0.0, 0.0, 2.0] if step is None else step, float)
    numbers = [1] if fractional else [int(n) for n in np.unique(marked) if n]
    pages = {n: marked if fractional else marked == n for n in numbers} | dict(overlap or {})
    frames = [(n, d, page[d]) for n, page in pages.items() for d in range(len(page)) if page[d].any()]
    found = item(SOPClassUID=SEG, SOPInstanceUID=uid(name), Modality="SEG", ImageType=["DERIVED", "PRIMARY"])
    for keyword in ("StudyInstanceUID", "PatientID", "PatientName", "FrameOfReferenceUID"):
        setattr(found, keyword, first.get(keyword, ""))
    found.SeriesInstanceUID, found.InstanceNumber, found.SeriesNumber = uid(name, "series"), 1, 9
    found.Manufacturer, found.ContentLabel, found.ContentDescription = "nobody", "MASK", ""
    found.SamplesPerPixel, found.PhotometricInterpretation, found.PixelRepresentation = 1, "MONOCHROME2", 0
    found.Rows, found.Columns, found.NumberOfFrames = marked.shape[1], marked.shape[2], len(frames)
    _add_kind(found, fractional)
    found.SegmentSequence = Items(segments or [segment(n, LUNG if n == 1 else LIVER) for n in pages])
    found.SharedFunctionalGroupsSequence = one(
        PlaneOrientationSequence=one(ImageOrientationPatient=list(orientation)),
        PixelMeasuresSequence=one(PixelSpacing=list(spacing or first.PixelSpacing), SliceThickness=2.0),
    )
    _add_dimensions(found, uid(name, "dimensions"))
    found.PerFrameFunctionalGroupsSequence = Items(
        item(
            FrameContentSequence=one(DimensionIndexValues=[n, d + 1]),
            SegmentIdentificationSequence=one(ReferencedSegmentNumber=n),
            PlanePositionSequence=one(ImagePositionPatient=[float(round(c, 6)) for c in origin + d * step]),
            DerivationImageSequence=one(SourceImageSequence=_references(slices[:1]) if references else Items([])),
        )
        for n, d, _ in frames
    )
    if references:
        found.ReferencedSeriesSequence = one(
            SeriesInstanceUID=first.SeriesInstanceUID, ReferencedInstanceSequence=_references(slices)
        )
    values = np.stack([page for *_, page in frames])
    data = np.rint(values).astype(np.uint8) if fractional else np.packbits(values.ravel(), bitorder="little")
    found.add_new(0x7FE00010, "OB", data.tobytes() + bytes(data.size % 2))
    for keyword, value in more.items():
        setattr(found, keyword, value)
    _add_meta(found)
    return found


def _add_kind(found: Dataset, fractional: int) -> None:
    bits = 8 if fractional else 1
    found.BitsAllocated, found.BitsStored, found.HighBit = bits, bits, bits - 1
    found.SegmentationType = "FRACTIONAL" if fractional else "BINARY"
    if fractional:
        found.SegmentationFractionalType, found.MaximumFractionalValue = "PROBABILITY", fractional


def _add_dimensions(found: Dataset, organized: str) -> None:
    found.DimensionOrganizationSequence = one(DimensionOrganizationUID=organized)
    found.DimensionIndexSequence = Items(
        item(DimensionOrganizationUID=organized, DimensionIndexPointer=pointer, FunctionalGroupPointer=group)
        for pointer, group in ((0x0062000B, 0x0062000A), (0x00200032, 0x00209113))
    )


def _add_meta(found: Dataset) -> None:
    found.file_meta = FileMetaDataset()
    found.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    found.file_meta.MediaStorageSOPClassUID, found.file_meta.MediaStorageSOPInstanceUID = SEG, found.SOPInstanceUID


def _references(slices: Sequence[Dataset]) -> Items:
    return Items(item(ReferencedSOPClassUID=s.SOPClassUID, ReferencedSOPInstanceUID=s.SOPInstanceUID) for s in slices)
