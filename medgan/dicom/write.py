"""Synthetic images as DICOM: Secondary Capture, marked synthetic, with invented identity and new UIDs.

Nothing here has a source: there is no SourceImageSequence, dates are one constant day, and names, ids and
UIDs come from a keyed hash, so that they are fresh, unlinkable and the same each time.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import (
    UID,
    ExplicitVRLittleEndian,
    MultiFrameGrayscaleByteSecondaryCaptureImageStorage,
    MultiFrameGrayscaleWordSecondaryCaptureImageStorage,
    SecondaryCaptureImageStorage,
)

from medgan import digest as digests

NOTICE = "SYNTHETIC - NOT A PATIENT"
DAY = "20000101"  # invented, and the same for all: a shifted real date would still carry a patient's calendar
IMPLEMENTATION_UID = "2.25.204717383927145938218731906716224870271"
IMPLEMENTATION_NAME = "MEDGAN"


@dataclass(frozen=True, slots=True)
class Identity:
    """The invented patient, study, series and instance of one synthetic image."""

    patient_id: str
    patient_name: str
    study_uid: str
    series_uid: str
    instance_uid: str


@dataclass(frozen=True, slots=True)
class Origin:
    """What made the images: the generator's name and short digest, and what they show."""

    model: str
    version: str
    modality: str = "OT"
    body_part: str = ""
    spacing_mm: tuple[float, ...] = ()  # slices, rows, columns; empty where unknown


def identity(secret: bytes, checkpoint: str, seed: int, index: int) -> Identity:
    """The identity of image `index`: repeatable with the house's secret, unlinkable without it."""

    def drawn(purpose: str) -> str:
        return digests.keyed(secret, purpose, f"{checkpoint}|{seed}|{index}")

    def uid(purpose: str) -> str:
        # PS3.5 B.2: "2.25." and a UUID as a decimal number
        return f"2.25.{uuid.UUID(drawn(purpose)[:32], version=4).int}"

    person = drawn("synthetic patient")[:12].upper()
    return Identity(
        f"SYN-{person}",
        f"SYNTHETIC^{person[:8]}",
        uid("synthetic study"),
        uid("synthetic series"),
        uid("synthetic instance"),
    )


def dicom_bytes(pixels: NDArray[Any], who: Identity, origin: Origin, *, label: str = "") -> bytes:
    """One synthetic image as a DICOM file.

    pixels: uint8 or uint16 [D, H, W]; D of 1 gives a Secondary Capture, more a multi-frame one, a frame a slice.
    """
    if pixels.ndim != 3 or pixels.dtype not in (np.uint8, np.uint16):
        raise ValueError(f"pixels: {pixels.dtype} {pixels.shape}, expected uint8 or uint16 [D, H, W]")
    dataset = _file(who.instance_uid, _sop_class(pixels))
    _patient_and_study(dataset, who)
    _series(dataset, who, origin)
    _synthetic(dataset, origin, label)
    _pixels(dataset, pixels, origin)
    out = BytesIO()
    dataset.save_as(out, enforce_file_format=True)
    return out.getvalue()


def _sop_class(pixels: NDArray[Any]) -> UID:
    if len(pixels) == 1:
        return SecondaryCaptureImageStorage
    if pixels.dtype == np.uint8:
        return MultiFrameGrayscaleByteSecondaryCaptureImageStorage
    return MultiFrameGrayscaleWordSecondaryCaptureImageStorage


def _file(instance_uid: str, sop_class: UID) -> FileDataset:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = sop_class
    meta.MediaStorageSOPInstanceUID = UID(instance_uid)
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.ImplementationClassUID = UID(IMPLEMENTATION_UID)
    meta.ImplementationVersionName = IMPLEMENTATION_NAME
    dataset = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    dataset.SpecificCharacterSet = "ISO_IR 192"
    dataset.SOPClassUID = sop_class
    dataset.SOPInstanceUID = instance_uid
    return dataset


def _patient_and_study(dataset: Dataset, who: Identity) -> None:
    dataset.PatientName = who.patient_name
    dataset.PatientID = who.patient_id
    dataset.PatientBirthDate = ""
    dataset.PatientSex = ""
    dataset.PatientIdentityRemoved = "YES"
    dataset.DeidentificationMethod = "Synthetic: no patient was imaged"
    dataset.StudyInstanceUID = who.study_uid
    dataset.StudyDate = DAY
    dataset.StudyTime = "000000"
    dataset.ReferringPhysicianName = ""
    dataset.StudyID = "1"
    dataset.AccessionNumber = ""
    dataset.StudyDescription = NOTICE


def _series(dataset: Dataset, who: Identity, origin: Origin) -> None:
    dataset.Modality = origin.modality
    dataset.SeriesInstanceUID = who.series_uid
    dataset.SeriesNumber = 1
    dataset.SeriesDescription = NOTICE
    if origin.body_part:
        dataset.BodyPartExamined = origin.body_part
    dataset.Manufacturer = "medgan"
    dataset.ConversionType = "SYN"  # PS3.3 C.8.6.1: synthetic image
    dataset.InstanceNumber = 1
    dataset.PatientOrientation = ""
    dataset.ContentDate = DAY
    dataset.ContentTime = "000000"


def _synthetic(dataset: Dataset, origin: Origin, label: str) -> None:
    dataset.SyntheticData = "YES"
    dataset.ImageType = ["DERIVED", "SECONDARY"]
    dataset.BurnedInAnnotation = "NO"
    dataset.ImageComments = f"{NOTICE}; label: {label}" if label else NOTICE
    dataset.DerivationDescription = "Sampled from a generative adversarial network; derived from no image"
    dataset.DerivationCodeSequence = [_code("GAN", "99MEDGAN", "Sampled from a generative adversarial network")]
    equipment = Dataset()
    equipment.PurposeOfReferenceCodeSequence = [_code("109102", "DCM", "Processing Equipment")]
    equipment.Manufacturer = "medgan"
    equipment.ManufacturerModelName = origin.model[:64]
    equipment.SoftwareVersions = origin.version[:64]
    equipment.ContributionDescription = "Synthetic image generation"
    dataset.ContributingEquipmentSequence = [equipment]


def _code(value: str, scheme: str, meaning: str) -> Dataset:
    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = value, scheme, meaning
    return code


def _pixels(dataset: Dataset, pixels: NDArray[Any], origin: Origin) -> None:
    depth, rows, columns = pixels.shape
    bits = 8 * pixels.dtype.itemsize
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.Rows, dataset.Columns = rows, columns
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = bits, bits, bits - 1
    dataset.PixelRepresentation = 0
    dataset.LossyImageCompression = "00"
    if origin.spacing_mm:
        dataset.NominalScannedPixelSpacing = [_decimal(mm) for mm in origin.spacing_mm[-2:]]
    if depth > 1:
        step = origin.spacing_mm[0] if len(origin.spacing_mm) == 3 else 1.0
        dataset.NumberOfFrames = depth
        dataset.FrameIncrementPointer = 0x00182005  # Slice Location Vector
        dataset.SliceLocationVector = [_decimal(step * index) for index in range(depth)]
        dataset.PresentationLUTShape = "IDENTITY"
        dataset.RescaleIntercept, dataset.RescaleSlope, dataset.RescaleType = 0, 1, "US"
    little = np.ascontiguousarray(pixels, dtype=pixels.dtype.newbyteorder("<"))
    data = little.tobytes()
    dataset.add_new(0x7FE00010, "OW" if bits == 16 else "OB", data + b"\0" * (len(data) % 2))


def _decimal(value: float) -> str:
    return f"{value:.6g}"  # DS holds 16 characters
