"""Small series and studies made by code: a block with a bright corner, sliced in any direction."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from factories import dicom
from pydicom.dataset import Dataset
from pydicom.filewriter import dcmwrite

from medgan import digest as digests
from medgan.dicom.read import read_planes
from medgan.dicom.series import Sorted, sort_planes
from medgan.home import Home
from medgan.records import Study, Unit

AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
SC = "1.2.840.10008.5.1.4.1.1.7"
DX = "1.2.840.10008.5.1.4.1.1.1.1"


def uid(*parts: object) -> str:
    """A UID made of numbers and words."""
    return "2.25." + str(int(digests.sha256(repr(parts).encode())[:24], 16))


def ct_slice(index: int, *, step: float = 2.0, series: str = "1.2.3.1", side: int = 16, **more: Any) -> Dataset:
    """Slice `index` of a CT block of stored values 1024 + 10 * index (HU 10 * index), its first row 500 HU more."""
    pixels = np.full((side, side), 1024 + 10 * index, "<u2")
    pixels[0] += 500
    values: dict[str, Any] = {
        "SeriesInstanceUID": series,
        "FrameOfReferenceUID": "1.2.3.9",
        "BodyPartExamined": "CHEST",
        "ImageType": ["ORIGINAL", "PRIMARY", "AXIAL"],
        "Rows": side,
        "Columns": side,
        "PixelSpacing": [1.0, 1.0],
        "ImageOrientationPatient": list(AXIAL),
        "ImagePositionPatient": [0.0, 0.0, index * step],
        "RescaleSlope": 1,
        "RescaleIntercept": -1024,
        "InstanceNumber": index + 1,
        "PixelData": pixels.tobytes(),
    }
    return dicom(uid(series, index), **{**values, **more})


def film(name: object, pixels: np.ndarray[Any, Any], **more: Any) -> Dataset:
    """A radiograph of uint8 or uint16 pixels."""
    bits = 8 * pixels.dtype.itemsize
    values: dict[str, Any] = {
        "SOPClassUID": DX,
        "StudyInstanceUID": uid(name, "study"),
        "SeriesInstanceUID": uid(name, "series"),
        "Modality": "DX",
        "BodyPartExamined": "CHEST",
        "Rows": pixels.shape[0],
        "Columns": pixels.shape[1],
        "BitsAllocated": bits,
        "BitsStored": bits,
        "HighBit": bits - 1,
        "PixelData": pixels.tobytes(),
    }
    return dicom(uid(name), **{**values, **more})


def write(folder: Path, datasets: Sequence[Dataset]) -> list[Path]:
    """Files with names that say nothing of the order."""
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for number, dataset in enumerate(datasets):
        file = folder / f"{digests.sha256(str((number, dataset.SOPInstanceUID)).encode())[:12]}.dcm"
        dcmwrite(file, dataset, enforce_file_format=True)
        files.append(file)
    return files


def sorted_series(folder: Path, datasets: Sequence[Dataset]) -> Sorted:
    planes, refused = read_planes(write(folder, datasets))
    assert not refused
    return sort_planes(planes)


def sealed_study(
    home: Home,
    datasets: Sequence[Dataset],
    *,
    patient: str,
    label: str | Callable[[str], str] = "",
    unit: Unit = "patient",
) -> Study:
    """A Study as de-identification leaves it."""
    study = digests.study_key(home.pseudonym_key, str(datasets[0].StudyInstanceUID))
    owner = digests.patient_key(home.pseudonym_key, patient)

    def fill(folder: Path) -> Study:
        names = [str(dataset.SOPInstanceUID) for dataset in datasets]
        (folder / "instances").mkdir()
        for name, dataset in zip(names, datasets, strict=True):
            dcmwrite(folder / "instances" / f"{name}.dcm", dataset, enforce_file_format=True)
        labels = {name: label(name) if callable(label) else label for name in names}
        (folder / "study.json").write_text(json.dumps({"labels": labels, "unit": unit}))
        return Study(
            study_key=study,
            patient_key=owner,
            digest="",
            n_instances=len(datasets),
            modalities=("CT",),
            profile="research",
            removed=0,
            boxes=0,
            unit=unit,
        )

    key = digests.key("deidentify", 1, sorted(str(dataset.SOPInstanceUID) for dataset in datasets), patient=owner)
    return home.research.make(key, fill, stage="deidentify", kind=Study, subject=study, patients=(owner,))
