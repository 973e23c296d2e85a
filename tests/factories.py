"""Tiny DICOM files made by code."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filewriter import dcmwrite
from pydicom.uid import ExplicitVRLittleEndian

CT = "1.2.840.10008.5.1.4.1.1.2"


def dicom(
    instance: str = "1.2.3.4", *, drop: tuple[str, ...] = (), syntax: str = ExplicitVRLittleEndian, **more: Any
) -> Dataset:
    """A CT slice of 8 x 6 pixels, patient P1, study 1.2.3, series 1.2.3.1; `more` sets attributes, `drop` removes."""
    dataset = Dataset()
    dataset.SOPClassUID, dataset.SOPInstanceUID = CT, instance
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = "1.2.3", "1.2.3.1"
    dataset.PatientID, dataset.PatientName, dataset.Modality = "P1", "Doe^Jane", "CT"
    dataset.Rows, dataset.Columns, dataset.SamplesPerPixel = 8, 6, 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, 12, 11, 0
    dataset.add_new(0x7FE00010, "OW", np.arange(48, dtype="<u2").tobytes())
    for keyword, value in more.items():
        setattr(dataset, keyword, value)
    for keyword in drop:
        delattr(dataset, keyword)
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.file_meta.MediaStorageSOPClassUID = dataset.get("SOPClassUID", CT)
    dataset.file_meta.MediaStorageSOPInstanceUID = instance
    return dataset


def dicom_bytes(instance: str = "1.2.3.4", **more: Any) -> bytes:
    """The same as a file."""
    dataset = dicom(instance, **more)
    file = io.BytesIO()
    dcmwrite(file, dataset, enforce_file_format=True)
    return file.getvalue()
