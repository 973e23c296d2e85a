"""A PNG or JPEG becomes a DICOM Secondary Capture at the door: grey values only, all else is dropped."""

from __future__ import annotations

import hashlib
import io
import re
import struct
import warnings

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filewriter import dcmwrite
from pydicom.uid import UID, ExplicitVRLittleEndian

from medgan.dicom.index import IMPLEMENTATION, Header
from medgan.errors import InputRejected, Reason
from medgan.sources.labels import Hints

SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
MAX_PIXELS = 1 << 26
MODALITIES = frozenset(("CR", "DX", "CT", "MR", "MG", "US", "PT", "NM", "XA", "RF", "OP", "OT"))
EMPTY = ("PatientName", "PatientBirthDate", "StudyDate", "StudyTime", "AccessionNumber", "ReferringPhysicianName")


def picture_to_dicom(data: bytes, hints: Hints) -> tuple[bytes, Header]:
    """A picture as Secondary Capture, 8 or 16 bits, MONOCHROME2. Raises InputRejected."""
    digest = hashlib.sha256(data).hexdigest()
    pixels, lossy = grey(data)
    dataset = described(digest, hints, sop_class=SECONDARY_CAPTURE, instance=1)
    dataset.ConversionType = "WSD"
    dataset.Modality = hints.modality.upper() if hints.modality.upper() in MODALITIES else "OT"
    dataset.ImageType = ["DERIVED", "SECONDARY"]
    if lossy:
        dataset.LossyImageCompression = "01"
    put_pixels(dataset, pixels)
    return written(dataset)


def grey(data: bytes) -> tuple[NDArray[np.unsignedinteger], bool]:
    """The grey values [H, W] (uint8 or uint16) of a PNG or JPEG, and whether it was stored with loss."""
    from PIL import Image

    try:
        with warnings.catch_warnings(action="ignore"), Image.open(io.BytesIO(data), formats=("PNG", "JPEG")) as image:
            if image.width * image.height > MAX_PIXELS:
                raise InputRejected(Reason.UNSAFE_FILE)
            lossy = image.format == "JPEG"
            image.load()
            if image.mode.startswith("I"):
                return _sixteen_bits(np.asarray(image)), lossy
            return np.asarray(image if image.mode == "L" else image.convert("L"), dtype=np.uint8), lossy
    except Image.DecompressionBombError:
        raise InputRejected(Reason.UNSAFE_FILE) from None
    except (OSError, SyntaxError, ValueError, EOFError, struct.error, MemoryError):
        raise InputRejected(Reason.UNREADABLE_PICTURE) from None


def described(digest: str, hints: Hints, *, sop_class: str, instance: int) -> Dataset:
    """What every image from outside DICOM carries. UIDs come from the content: the same picture, the same image."""
    dataset = Dataset()
    if not hints.patient_id.isascii():
        dataset.SpecificCharacterSet = "ISO_IR 192"
    dataset.SOPClassUID = UID(sop_class)
    dataset.SOPInstanceUID = content_uid(f"{digest}/instance/{instance}")
    dataset.StudyInstanceUID = content_uid(f"{digest}/study")
    dataset.SeriesInstanceUID = content_uid(f"{digest}/series")
    for keyword in EMPTY:
        setattr(dataset, keyword, "")
    dataset.PatientID = hints.patient_id or f"IMAGE-{digest[:16]}"
    dataset.PatientSex = {"m": "M", "male": "M", "f": "F", "female": "F"}.get(hints.sex.lower(), "")
    if re.fullmatch(r"\d{1,3}(\.0)?", hints.age):
        dataset.PatientAge = f"{int(float(hints.age)):03d}Y"
    if re.fullmatch(r"[A-Za-z]{2,16}", hints.body_part):
        dataset.BodyPartExamined = hints.body_part.upper()
    if hints.view.upper() in ("AP", "PA", "LL", "RL"):
        dataset.ViewPosition = hints.view.upper()
    dataset.StudyID, dataset.SeriesNumber, dataset.InstanceNumber = "1", 1, instance
    return dataset


def put_pixels(dataset: Dataset, pixels: NDArray[np.integer]) -> None:
    """pixels [H, W], uint8, uint16 or int16, uncompressed."""
    bits = 8 * pixels.dtype.itemsize
    dataset.Rows, dataset.Columns = pixels.shape
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = bits, bits, bits - 1
    dataset.PixelRepresentation = int(pixels.dtype.kind == "i")
    raw = np.ascontiguousarray(pixels, dtype=pixels.dtype.newbyteorder("<")).tobytes()
    dataset.add_new(0x7FE00010, "OB" if bits == 8 else "OW", raw + bytes(len(raw) % 2))


def written(dataset: Dataset) -> tuple[bytes, Header]:
    """The dataset as a file, and its header."""
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    meta.ImplementationClassUID = UID(IMPLEMENTATION)
    dataset.file_meta = meta
    file = io.BytesIO()
    dcmwrite(file, dataset, enforce_file_format=True)
    header = Header(
        sop_instance_uid=str(dataset.SOPInstanceUID),
        sop_class_uid=str(dataset.SOPClassUID),
        study_uid=str(dataset.StudyInstanceUID),
        series_uid=str(dataset.SeriesInstanceUID),
        patient_id=str(dataset.PatientID),
        issuer="",
        modality=str(dataset.Modality),
        transfer_syntax=str(ExplicitVRLittleEndian),
    )
    return file.getvalue(), header


def content_uid(text: str) -> UID:
    """A UID of the 2.25 tree made from content (PS3.5 B.2)."""
    return UID(f"2.25.{int.from_bytes(hashlib.sha256(text.encode()).digest()[:16], 'big')}")


def _sixteen_bits(pixels: NDArray[np.integer]) -> NDArray[np.uint16]:
    if pixels.ndim != 2 or pixels.min() < 0 or pixels.max() > 65535:
        raise InputRejected(Reason.UNREADABLE_PICTURE)
    return pixels.astype(np.uint16)
