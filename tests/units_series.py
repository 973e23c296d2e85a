"""PET with all that SUV needs, and MR whose diffusion stands in vendors' private attributes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from dicom_series import ct_slice
from pydicom.dataset import Dataset

MR, PET = "1.2.840.10008.5.1.4.1.1.4", "1.2.840.10008.5.1.4.1.1.128"
DOSE_BQ, HALF_LIFE_S, WEIGHT_KG = 3.7e8, 6586.2, 70.0
# group, creator, {low byte: (VR, value)} of one vendor
Block = tuple[int, str, Mapping[int, tuple[str, Any]]]


def private(dataset: Dataset, *blocks: Block, at: int = 0x10) -> Dataset:
    """The same with vendors' attributes, each block reserved by its creator at `at`."""
    for group, creator, some in blocks:
        if creator:
            dataset.add_new((group, at), "LO", creator)
        for low, (vr, value) in some.items():
            dataset.add_new((group, at << 8 | low), vr, value)
    return dataset


def siemens(b_value: int, direction: tuple[float, ...] = ()) -> list[Block]:
    some: dict[int, tuple[str, Any]] = {0x0C: ("IS", b_value), 0x0D: ("CS", "DIRECTIONAL" if direction else "NONE")}
    return [(0x0019, "SIEMENS MR HEADER", {**some, **({0x0E: ("FD", list(direction))} if direction else {})})]


def ge(b_value: int, direction: tuple[float, ...] = (0.0, 0.0, 0.0)) -> list[Block]:
    parts = {low: ("DS", str(part)) for low, part in zip((0xBB, 0xBC, 0xBD), direction, strict=True)}
    return [
        (0x0019, "GEMS_ACQU_01", parts),
        (0x0043, "GEMS_PARM_01", {0x39: ("IS", [b_value + (1_000_000_000 if b_value else 0), 8, 0, 0])}),
    ]


def philips(b_value: float, direction: tuple[float, ...] = (0.0, 0.0, 0.0), kind: str = "") -> list[Block]:
    parts = {low: ("FL", part) for low, part in zip((0xB0, 0xB1, 0xB2), direction, strict=True)}
    kind = kind or ("O" if any(direction) else "N")
    return [
        (0x2001, "Philips Imaging DD 001", {0x03: ("FL", b_value), 0x04: ("CS", kind)}),
        (0x2005, "Philips MR Imaging DD 001", parts),
    ]


def uih(b_value: float, direction: tuple[float, ...] = ()) -> list[Block]:
    some: dict[int, tuple[str, Any]] = {0x09: ("FD", b_value)}
    return [(0x0065, "Image Private Header", {**some, **({0x37: ("FD", list(direction))} if direction else {})})]


VENDORS = {"Siemens": siemens, "GE": ge, "Philips": philips, "UIH": uih}


def mr_slice(index: int, shade: int = 0, **more: Any) -> Dataset:
    """A slice of values that `shade` raises; every pass has the same Instance Numbers, so that they tell nothing."""
    pixels = np.full((16, 16), 100 + 10 * index + shade, "<u2").tobytes()
    values = {"SOPClassUID": MR, "Modality": "MR", "PixelData": pixels, "SOPInstanceUID": f"1.2.7.{shade}.{index + 1}"}
    return ct_slice(index, **{**values, "InstanceNumber": 1, **more})


def isotope(**more: Any) -> Dataset:
    item = Dataset()
    values = {"RadionuclideTotalDose": DOSE_BQ, "RadionuclideHalfLife": HALF_LIFE_S}
    for keyword, value in {**values, "RadiopharmaceuticalStartTime": "120000", **more}.items():
        setattr(item, keyword, value)
    return item


def pet_slice(index: int, *, drop: tuple[str, ...] = (), **more: Any) -> Dataset:
    """A slice of 1000 * (index + 1) Bq/mL, less at its edges; injected at 12:00, the scan begun at 13:00."""
    rows = np.array([0, 2, 4, 6, 8, *[10] * 7, 8, 6, 4, 2], "<u2")[:, None]
    values: dict[str, Any] = {
        "SOPClassUID": PET,
        "Modality": "PT",
        "BitsStored": 16,
        "HighBit": 15,
        "PixelData": (np.ones((16, 16), "<u2") * rows * 10 * (index + 1)).astype("<u2").tobytes(),
        "RescaleSlope": 10,
        "RescaleIntercept": 0,
        "Units": "BQML",
        "CorrectedImage": ["DECY", "ATTN", "SCAT"],
        "DecayCorrection": "START",
        "PatientWeight": WEIGHT_KG,
        "SeriesDate": "20200101",
        "SeriesTime": "130000",
        "AcquisitionDate": "20200101",
        "AcquisitionTime": "130500",
        "RadiopharmaceuticalInformationSequence": [isotope()],
    }
    return ct_slice(index, drop=drop, **{**values, **more})
