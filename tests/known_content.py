"""Series of known content: a voxel's value is a linear function of where it lies in the patient.

Linear, so that a tool that interpolates is right too. Values are HU, or what stands for them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from dicom_series import AXIAL, SC, uid
from factories import dicom
from numpy.typing import NDArray
from pydicom.dataset import Dataset

SLOPES = np.array([4.0, 10.0, 18.0])  # HU for each mm towards left, back and head: whole numbers in axial series
SLOPE_HU = float(np.linalg.norm(SLOPES))
COUNT, SIZE, SPACING_MM, STEP_MM = 10, (12, 16), (1.5, 1.25), 2.0
CORNER = np.array([-10.0, -8.0, 3.0])
CORONAL, MR, PET = (1.0, 0.0, 0.0, 0.0, 0.0, -1.0), "1.2.840.10008.5.1.4.1.1.4", "1.2.840.10008.5.1.4.1.1.128"
SHADE = 137.0  # HU between one pass and the next
PADDING = -2000
Floats = NDArray[np.float64]
Change = Callable[[int], Mapping[str, Any]]


def content(positions: Floats) -> Floats:
    """HU at positions [..., 3] in millimetres."""
    return positions @ SLOPES + 50.0


def off_hu(values: NDArray[Any], affine: Floats, known: NDArray[np.bool_], shades: Sequence[float]) -> float:
    """How far voxels [D, H, W] are at most from what should lie where `affine` puts them, for the likeliest pass."""
    index = np.moveaxis(np.indices(values.shape), 0, -1)
    wanted = content(index @ affine[:3, :3].T + affine[:3, 3])
    return min(float(np.abs(values - wanted - shade)[known].max()) for shade in shades)


def place(index: float, orientation: Sequence[float] = AXIAL, step: float = STEP_MM) -> Floats:
    normal = np.cross(orientation[:3], orientation[3:])
    return CORNER + index * step * normal


def cut(
    at: Floats, orientation: Sequence[float] = AXIAL, *, name: object = 0, shade: float = 0.0, **more: Any
) -> Dataset:
    """The slice whose first pixel lies at `at`; `more` sets attributes, RescaleSlope and PixelSpacing among them."""
    rows, columns = more.pop("size", SIZE)
    spacing = more.get("PixelSpacing", SPACING_MM)
    slope, intercept = more.get("RescaleSlope", 1), more.get("RescaleIntercept", -1024)
    r, c = np.indices((rows, columns))
    along, down = np.array(orientation[:3]), np.array(orientation[3:])
    where = at + (r * spacing[0])[..., None] * down + (c * spacing[1])[..., None] * along
    stored = np.rint((content(where) + shade - intercept) / slope).astype("<i4")
    values: dict[str, Any] = {
        "SeriesInstanceUID": "1.2.3.1",
        "FrameOfReferenceUID": "1.2.3.9",
        "PatientPosition": "HFS",
        "ImageType": ["ORIGINAL", "PRIMARY", "AXIAL"],
        "SeriesNumber": 3,
        "Rows": rows,
        "Columns": columns,
        "PixelSpacing": list(spacing),
        "SliceThickness": STEP_MM,
        "ImageOrientationPatient": list(orientation),
        "ImagePositionPatient": [round(float(x), 9) for x in at],
        "InstanceNumber": 1,
        "Manufacturer": "GE MEDICAL SYSTEMS",
        "PixelRepresentation": 1,
        "BitsStored": 16,
        "HighBit": 15,
        "RescaleSlope": slope,
        "RescaleIntercept": intercept,
        "PixelData": stored.astype("<u2").tobytes(),
    }
    dataset = dicom(uid("trap", name, at.tolist(), shade), **{**values, **more})
    if dataset.Modality != "CT":
        dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = {"MR": MR, "PT": PET}[dataset.Modality]
    return dataset


def block(
    count: int = COUNT,
    orientation: Sequence[float] = AXIAL,
    *,
    step: float = STEP_MM,
    shade: float = 0.0,
    first: int = 1,
    each: Change = lambda index: {},
    **more: Any,
) -> list[Dataset]:
    """Slices one step apart, Instance Numbers from `first`; `each` sets attributes by index."""
    return [
        cut(place(i, orientation, step), orientation, shade=shade, **{"InstanceNumber": first + i, **more, **each(i)})
        for i in range(count)
    ]


def without(slices: list[Dataset], *indices: int) -> list[Dataset]:
    return [dataset for index, dataset in enumerate(slices) if index not in indices]


def replaced(index: int, dataset: Dataset) -> list[Dataset]:
    slices = block()
    dataset.InstanceNumber = index + 1
    slices[index] = dataset
    return slices


def tilted(degrees: float, aside: Callable[[int], float] = lambda index: 0.0, **more: Any) -> list[Dataset]:
    """Slices of a gantry that leans back, the table moving along z."""
    lean = math.radians(degrees)
    orientation = (1.0, 0.0, 0.0, 0.0, math.cos(lean), -math.sin(lean))
    return [
        cut(CORNER + np.array([aside(i), 0, STEP_MM * i]), orientation, InstanceNumber=i + 1, **more)
        for i in range(COUNT)
    ]


def turned(degrees: float, about: Sequence[float]) -> tuple[float, ...]:
    """Row and column directions turned about an axis, as nine decimals of text."""
    axis = np.array(about) / np.linalg.norm(about)
    cosine, sine = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    turn = [
        np.array(v) * cosine + np.cross(axis, v) * sine + axis * (axis @ np.array(v)) * (1 - cosine)
        for v in (AXIAL[:3], AXIAL[3:])
    ]
    return tuple(round(float(x), 12) for x in np.concatenate(turn))


def altered(change: Callable[[NDArray[Any]], NDArray[Any]], **more: Any) -> list[Dataset]:
    """A block whose stored values were changed in their bits."""
    slices = block(**more)
    for dataset in slices:
        dataset.PixelData = change(np.frombuffer(dataset.PixelData, "<u2")).astype("<u2").tobytes()
    return slices


def padded() -> list[Dataset]:
    def outside(values: NDArray[Any]) -> NDArray[Any]:
        return np.where(np.arange(values.size) < SIZE[1], PADDING, values.astype("<i2")).astype("<i2").view("<u2")

    slices = altered(outside, RescaleIntercept=0, PixelRepresentation=1)
    for dataset in slices:
        dataset.add_new("PixelPaddingValue", "SS", PADDING)
    return slices


def rounded(step: float) -> list[Dataset]:
    slices = block(step=step)
    for dataset in slices:
        dataset.ImagePositionPatient = [round(float(x), 1) for x in dataset.ImagePositionPatient]
    return slices


def enhanced(times: int = 1) -> list[Dataset]:
    """One file of all slices in falling order, `times` times over; each frame has its own position and rescale."""
    frames, pixels = [], []
    for time in range(times):
        for index, one in reversed(list(enumerate(block(shade=time * SHADE)))):
            position, rescale, about = Dataset(), Dataset(), Dataset()
            position.ImagePositionPatient = one.ImagePositionPatient
            rescale.RescaleSlope, rescale.RescaleIntercept, rescale.RescaleType = 1, -1024, "HU"
            about.TemporalPositionIndex, about.StackID, about.InStackPositionNumber = time + 1, "1", index + 1
            about.DimensionIndexValues = [time + 1, index + 1]
            frame = Dataset()
            frame.PlanePositionSequence, frame.PixelValueTransformationSequence = [position], [rescale]
            frame.FrameContentSequence = [about]
            frames.append(frame)
            pixels.append(one.PixelData)
    shared, orientation, measures = Dataset(), Dataset(), Dataset()
    orientation.ImageOrientationPatient, measures.PixelSpacing = list(AXIAL), list(SPACING_MM)
    measures.SliceThickness = STEP_MM
    shared.PlaneOrientationSequence, shared.PixelMeasuresSequence = [orientation], [measures]
    whole = block(1)[0]
    for keyword in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "RescaleSlope"):
        delattr(whole, keyword)
    whole.SOPClassUID = whole.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.2.1"
    whole.DimensionIndexSequence = [_dimension(0x00209128), _dimension(0x00209057)]
    whole.NumberOfFrames, whole.PixelData = len(frames), b"".join(pixels)
    whole.SharedFunctionalGroupsSequence, whole.PerFrameFunctionalGroupsSequence = [shared], frames
    return [whole]


def _dimension(pointer: int) -> Dataset:
    dimension = Dataset()
    dimension.DimensionIndexPointer, dimension.FunctionalGroupPointer = pointer, 0x00209111
    return dimension


def screen() -> list[Dataset]:
    """A picture of a workstation's screen: no position."""
    made = block(1, first=31, SOPClassUID=SC, ConversionType="WSD", ImageType=["DERIVED", "SECONDARY"])
    for number, dataset in enumerate(made):
        dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = uid("screen", number)
        dataset.file_meta.MediaStorageSOPClassUID = SC
        for keyword in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing"):
            delattr(dataset, keyword)
    return made


def steps(*distances: float) -> list[Dataset]:
    return [
        cut(place(at / STEP_MM), InstanceNumber=number + 1)
        for number, at in enumerate([0.0, *np.cumsum(distances).tolist()])
    ]


OBLIQUE = turned(33, (0.4, -0.7, 0.6))
