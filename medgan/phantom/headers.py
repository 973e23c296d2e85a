"""The attributes of each phantom object, identifiers planted at every depth where hospitals leave them."""

from __future__ import annotations

import datetime
from dataclasses import dataclass

import numpy as np
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import (
    ComputedRadiographyImageStorage,
    CTImageStorage,
    DigitalXRayImageStorageForPresentation,
    MRImageStorage,
)

from medgan.phantom.anatomy import Body
from medgan.phantom.identity import NATIONAL, Person, Planted, original_uid

SOP_CLASSES = {
    "DX": DigitalXRayImageStorageForPresentation,
    "CR": ComputedRadiographyImageStorage,
    "CT": CTImageStorage,
    "MR": MRImageStorage,
}
DESCRIPTIONS = {"DX": "XR CHEST PA", "CR": "XR CHEST", "CT": "CT THORAX", "MR": "MR HEAD"}
PRIVATE_GROUP, PRIVATE_CREATOR = 0x0019, "PHANTOM WORKS 1.0"


@dataclass(frozen=True, slots=True)
class Visit:
    """One study of one person. `chatty` writes names and dates into free text."""

    number: int
    date: datetime.date
    time: datetime.time
    age: int
    accession: str
    before: datetime.date | None  # the visit before this one
    chatty: bool


def describe(
    rng: np.random.Generator, person: Person, body: Body, visit: Visit, series: tuple[str, int], planted: Planted
) -> Dataset:
    """Patient, study, series and equipment of one series (modality, number), without image attributes."""
    modality, number = series
    ds = Dataset()
    ds.SpecificCharacterSet = person.charset.split("\\") if "\\" in person.charset else person.charset
    ds.SOPClassUID = SOP_CLASSES[modality]
    ds.Modality = modality
    ds.StudyInstanceUID = original_uid(person, visit.date, visit.number)
    ds.SeriesInstanceUID = original_uid(person, visit.date, visit.number, number)
    ds.StudyID, ds.SeriesNumber = str(visit.number), str(number)
    patient(ds, person, body, visit)
    when(ds, visit)
    equipment(ds, person, modality)
    ds.AccessionNumber = visit.accession
    ds.ReferringPhysicianName, ds.PerformingPhysicianName = person.doctor, person.doctor
    ds.OperatorsName = person.operator
    ds.StudyDescription, ds.SeriesDescription = DESCRIPTIONS[modality], DESCRIPTIONS[modality]
    ds.BodyPartExamined = "HEAD" if modality == "MR" else "CHEST"
    nested(ds, person, visit)
    private(ds, person)
    if visit.chatty:
        talk(ds, person, visit)
    planted.add(visit.accession, ds.StudyInstanceUID, ds.SeriesInstanceUID)
    planted.add_date(visit.date)
    return ds


def patient(ds: Dataset, person: Person, body: Body, visit: Visit) -> None:
    ds.PatientName, ds.PatientID = person.name, person.patient_id
    if person.issuer:
        ds.IssuerOfPatientID = person.issuer
    ds.PatientBirthDate = person.birth.strftime("%Y%m%d")
    ds.PatientSex, ds.PatientAge = person.sex, f"{visit.age:03d}Y"
    height = (1.71 if person.sex == "M" else 1.74) * body.scale[2]
    ds.PatientSize = f"{height:.2f}"
    ds.PatientWeight = f"{(17.5 + 0.42 * body.fat_mm) * height**2:.0f}"
    ds.PatientAddress, ds.PatientTelephoneNumbers = person.address, person.phone


def when(ds: Dataset, visit: Visit) -> None:
    date, time = visit.date.strftime("%Y%m%d"), visit.time.strftime("%H%M%S")
    ds.StudyDate = ds.SeriesDate = ds.AcquisitionDate = ds.ContentDate = date
    ds.StudyTime = ds.SeriesTime = ds.AcquisitionTime = ds.ContentTime = time
    ds.AcquisitionDateTime = date + time + ".250000"


def equipment(ds: Dataset, person: Person, modality: str) -> None:
    ds.Manufacturer, ds.ManufacturerModelName = "Phantom Works", f"Parametric {modality}"
    ds.InstitutionName, ds.InstitutionAddress = person.hospital
    ds.InstitutionalDepartmentName = "Radiology"
    ds.StationName, ds.DeviceSerialNumber = person.station, person.serial
    ds.SoftwareVersions = "1.0"
    ds.ProtocolName = DESCRIPTIONS[modality]


def nested(ds: Dataset, person: Person, visit: Visit) -> None:
    """Identifiers one and two sequences down."""
    request = Dataset()
    request.RequestedProcedureID = visit.accession
    request.ScheduledProcedureStepID = "SPS" + visit.accession
    request.ScheduledProcedureStepDescription = DESCRIPTIONS[ds.Modality]
    request.RequestedProcedureDescription = f"{DESCRIPTIONS[ds.Modality]} for {person.family}"
    ds.RequestAttributesSequence = Sequence([request])
    other = Dataset()
    other.PatientID, other.IssuerOfPatientID, other.TypeOfPatientID = person.other_id, NATIONAL, "TEXT"
    ds.OtherPatientIDsSequence = Sequence([other])
    who = Dataset()
    who.CodeValue, who.CodingSchemeDesignator, who.CodeMeaning = (
        person.serial,
        "99EASTMERE",
        person.doctor.replace("^", " "),
    )
    doctor = Dataset()
    doctor.PersonIdentificationCodeSequence = Sequence([who])
    doctor.InstitutionName = person.hospital[0]
    ds.PerformingPhysicianIdentificationSequence = Sequence([doctor])
    was = Dataset()
    was.PatientName, was.PatientID = person.name, person.other_id
    original = Dataset()
    original.AttributeModificationDateTime = visit.date.strftime("%Y%m%d") + "235900"
    original.ModifyingSystem, original.SourceOfPreviousValues = person.station, person.hospital[0]
    original.ReasonForTheAttributeModification = "CORRECT"
    original.ModifiedAttributesSequence = Sequence([was])
    ds.OriginalAttributesSequence = Sequence([original])
    if visit.before is not None:
        earlier = Dataset()
        earlier.ReferencedSOPClassUID = "1.2.840.10008.3.1.2.3.1"
        earlier.ReferencedSOPInstanceUID = original_uid(person, visit.before, visit.number - 1)
        ds.ReferencedStudySequence = Sequence([earlier])


def private(ds: Dataset, person: Person) -> None:
    """A vendor's block: a name, a nested id, raw bytes with both, and one number that means no harm."""
    block = ds.private_block(PRIVATE_GROUP, PRIVATE_CREATOR, create=True)
    block.add_new(0x01, "LO", f"{person.patient_id}/{person.station}")
    block.add_new(0x02, "PN", person.name)
    inner = Dataset()
    inner.PatientID = person.patient_id
    block.add_new(0x03, "SQ", Sequence([inner]))
    raw = f"hdr:{person.patient_id};{person.phone};{person.serial}".encode()
    block.add_new(0x04, "OB", raw + b"\0" * (len(raw) % 2))
    block.add_new(0x05, "DS", "1.25")


def talk(ds: Dataset, person: Person, visit: Visit) -> None:
    """Free text as it is typed: a name and a date inside a sentence that is worth keeping."""
    day = visit.date.strftime("%d.%m.%Y")
    who = f"{person.given} {person.family}"
    doctor = person.doctor.split("^")[0]
    ds.StudyDescription = f"{DESCRIPTIONS[ds.Modality]} {person.family}"[:64]
    ds.ImageComments = f"Cough for two weeks, {who} seen {day} by Dr {doctor}; no pneumothorax. Call {person.phone}."
    ds.PatientComments = f"{person.family.upper()}, MRN {person.patient_id}: allergic to iodine, walks with a stick."
    ds.AdditionalPatientHistory = f"Lives at {person.address}. Smoker. Born {person.birth.strftime('%d.%m.%Y')}."


def radiograph(ds: Dataset, view: str, inverse: bool, pitch_mm: float, distance_mm: float) -> None:
    """Image attributes of a frontal chest film; pitch at the detector."""
    ds.ImageType = ["ORIGINAL", "PRIMARY"]
    ds.PatientOrientation, ds.ViewPosition = ["L", "F"], view
    ds.ImageLaterality, ds.InstanceNumber = "U", "1"
    ds.PhotometricInterpretation = "MONOCHROME1" if inverse else "MONOCHROME2"
    ds.ImagerPixelSpacing = [f"{pitch_mm:.6g}"] * 2
    if ds.Modality == "DX":
        ds.PixelSpacing = [f"{pitch_mm:.6g}"] * 2
        ds.PresentationIntentType, ds.PresentationLUTShape = "FOR PRESENTATION", "INVERSE" if inverse else "IDENTITY"
        ds.PixelIntensityRelationship, ds.PixelIntensityRelationshipSign = "LOG", 1 if inverse else -1
        ds.RescaleIntercept, ds.RescaleSlope, ds.RescaleType = "0", "1", "US"
        ds.DetectorType, ds.AcquisitionContextSequence = "DIRECT", Sequence([])
        region = Dataset()
        region.CodeValue, region.CodingSchemeDesignator, region.CodeMeaning = "51185008", "SCT", "Chest"
        ds.AnatomicRegionSequence = Sequence([region])
    ds.DistanceSourceToDetector, ds.KVP = f"{distance_mm:.0f}", "120" if view == "PA" else "90"
    ds.WindowCenter, ds.WindowWidth, ds.LossyImageCompression = "2048", "4096", "00"


def plane(ds: Dataset, origin_mm: tuple[float, float, float], pixel_mm: float, slice_mm: float) -> None:
    """What all axial slices of a volume share."""
    ds.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"] if ds.Modality == "CT" else ["ORIGINAL", "PRIMARY", "M", "SE"]
    ds.FrameOfReferenceUID = ds.SeriesInstanceUID + ".900"  # above any instance number
    ds.PositionReferenceIndicator = ""
    ds.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    ds.PixelSpacing, ds.SliceThickness = [f"{pixel_mm:g}"] * 2, f"{slice_mm:g}"
    ds.PatientPosition, ds.PhotometricInterpretation = "HFS", "MONOCHROME2"
    if ds.Modality == "CT":
        ds.RescaleIntercept, ds.RescaleSlope, ds.RescaleType = "-1024", "1", "HU"
        ds.KVP, ds.ConvolutionKernel = "120", "SOFT"
        ds.WindowCenter, ds.WindowWidth = ["40", "-600"], ["400", "1500"]
    else:
        ds.ScanningSequence, ds.SequenceVariant, ds.ScanOptions, ds.MRAcquisitionType = "SE", "NONE", "", "2D"
        ds.RepetitionTime, ds.EchoTime, ds.EchoTrainLength, ds.MagneticFieldStrength = "550", "12", "1", "1.5"
        ds.SpacingBetweenSlices = f"{slice_mm:g}"
        ds.WindowCenter, ds.WindowWidth = "800", "1600"


def slice_at(ds: Dataset, k: int, origin_mm: tuple[float, float, float], slice_mm: float) -> None:
    """What slice k (from 0, feet to head) has of its own."""
    x, y, z = origin_mm
    for keyword in ("InstanceNumber", "SOPInstanceUID", "ImagePositionPatient", "SliceLocation"):
        if keyword in ds:
            delattr(ds, keyword)  # elements are shared with the datasets of earlier slices; a new one is not
    ds.InstanceNumber = str(k + 1)
    ds.SOPInstanceUID = f"{ds.SeriesInstanceUID}.{k + 1}"
    ds.ImagePositionPatient = [f"{x:.3f}", f"{y:.3f}", f"{z + k * slice_mm:.3f}"]
    ds.SliceLocation = f"{z + k * slice_mm:.3f}"
