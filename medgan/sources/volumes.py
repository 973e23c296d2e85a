"""A NIfTI volume becomes a CT or MR series at the door, one image a slice, head-feet outermost."""

from __future__ import annotations

import hashlib
import struct
import zlib
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from medgan.dicom.index import Header
from medgan.errors import InputRejected, Reason
from medgan.sources.entry import Limits
from medgan.sources.labels import Hints
from medgan.sources.pictures import content_uid, described, put_pixels, written

CT, MR = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.4"
AIR_HU = -500  # only CT numbers reach so far below zero
SHEAR = 1e-3  # largest cosine between two axes
MAX_SLICES = 4096


def volume_to_dicom(data: bytes, hints: Hints, limits: Limits) -> Iterator[tuple[bytes, Header]]:
    """The slices of a NIfTI file (.nii or .nii.gz) as DICOM. Raises InputRejected.

    Stored axes are turned, never interpolated: columns run to the patient's left, rows to the back, slices
    to the head (LPS+), whatever the file's own order was.
    """
    digest = hashlib.sha256(data).hexdigest()
    values, affine = _volume(_unpacked(data, limits))
    modality = hints.modality.upper() if hints.modality.upper() in ("CT", "MR") else _modality(values)
    stored, slope, intercept = _stored(values)
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    axes = affine[:3, :3] / spacing
    for k in range(stored.shape[2]):
        dataset = described(digest, hints, sop_class=CT if modality == "CT" else MR, instance=k + 1)
        dataset.Modality = modality
        dataset.ImageType = ["DERIVED", "SECONDARY", "AXIAL"]
        dataset.FrameOfReferenceUID = content_uid(f"{digest}/frame")
        dataset.PositionReferenceIndicator = ""
        dataset.PatientPosition = "HFS"
        dataset.ImagePositionPatient = _decimals(affine[:3, 3] + k * affine[:3, 2])
        dataset.ImageOrientationPatient = _decimals(np.concatenate([axes[:, 0], axes[:, 1]]))
        dataset.PixelSpacing = _decimals(spacing[[1, 0]])
        dataset.SliceThickness = _decimals(spacing[2:])[0]
        dataset.SpacingBetweenSlices = _decimals(spacing[2:])[0]
        dataset.RescaleSlope, dataset.RescaleIntercept = slope, intercept
        dataset.RescaleType = "HU" if modality == "CT" else "US"
        if modality == "MR":
            dataset.ScanningSequence, dataset.SequenceVariant = "RM", "NONE"
            dataset.ScanOptions, dataset.MRAcquisitionType = "", "3D"
        put_pixels(dataset, stored[:, :, k].T)
        yield written(dataset)


def _unpacked(data: bytes, limits: Limits) -> bytes:
    """The bytes of the .nii inside a .nii.gz, within limits."""
    if data[:2] != b"\x1f\x8b":
        return data
    stream = zlib.decompressobj(16 + zlib.MAX_WBITS)
    try:
        whole = stream.decompress(data, limits.room(len(data)) + 1)
    except zlib.error:
        raise InputRejected(Reason.UNREADABLE_PICTURE) from None
    limits.check(len(whole), len(data))
    if not stream.eof:
        raise InputRejected(Reason.UNREADABLE_PICTURE)
    return whole


def _volume(data: bytes) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """float32 [X, Y, Z] with axes turned to LPS+, and the affine from indices to LPS millimetres [4, 4]."""
    import nibabel
    from nibabel.orientations import axcodes2ornt, inv_ornt_aff, io_orientation, ornt_transform
    from nibabel.spatialimages import HeaderDataError, ImageDataError
    from nibabel.wrapstruct import WrapStructError

    kind = nibabel.Nifti2Image if data[:4] in (b"\x1c\x02\0\0", b"\0\0\x02\x1c") else nibabel.Nifti1Image
    try:
        image = kind.from_bytes(data)
        shape = image.shape[:3] + (1,) * (3 - len(image.shape))
        if any(n != 1 for n in image.shape[3:]) or min(shape) < 1 or shape[2] > MAX_SLICES:
            raise InputRejected(Reason.UNREADABLE_PICTURE)
        if int(np.prod(shape, dtype=np.int64)) * image.header.get_data_dtype().itemsize > len(data):
            raise InputRejected(Reason.INCONSISTENT_LENGTH)
        values = np.asarray(image.dataobj, dtype=np.float32).reshape(shape)
        affine = np.asarray(image.affine, dtype=np.float64)
        _check_axes(affine)
        turn = ornt_transform(io_orientation(affine), axcodes2ornt(("L", "P", "S")))
        turned = nibabel.orientations.apply_orientation(values, turn)
        affine = np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine @ inv_ornt_aff(turn, shape)
    except (HeaderDataError, ImageDataError, WrapStructError, OSError, ValueError, TypeError, EOFError, struct.error):
        raise InputRejected(Reason.UNREADABLE_PICTURE) from None
    if not np.isfinite(turned).all():
        raise InputRejected(Reason.UNREADABLE_PICTURE)
    return turned, affine


def _check_axes(affine: NDArray[np.float64]) -> None:
    """Raises InputRejected (sheared) unless the three axes are of some length and at right angles."""
    lengths = np.linalg.norm(affine[:3, :3], axis=0)
    if not np.isfinite(affine).all() or lengths.min() <= 0:
        raise InputRejected(Reason.UNREADABLE_PICTURE)
    axes = affine[:3, :3] / lengths
    if np.abs(axes.T @ axes - np.eye(3)).max() > SHEAR:
        raise InputRejected(Reason.SHEARED)


def _modality(values: NDArray[np.float32]) -> str:
    return "CT" if values.min() <= AIR_HU else "MR"


def _stored(values: NDArray[np.float32]) -> tuple[NDArray[np.integer], str, str]:
    """Integers with slope and intercept: as they are where they are whole numbers, else the range on 16 bits."""
    low, high = float(values.min()), float(values.max())
    if np.array_equal(values, np.rint(values)) and low >= -32768 and high <= 65535 and not (low < 0 and high > 32767):
        return values.astype(np.int16 if low < 0 else np.uint16), "1", "0"
    slope, intercept = f"{max(high - low, 1e-12) / 65535:.9g}", f"{low:.9g}"
    scaled = np.rint((values.astype(np.float64) - float(intercept)) / float(slope))
    return np.clip(scaled, 0, 65535).astype(np.uint16), slope, intercept


def _decimals(values: NDArray[np.float64]) -> list[str]:
    """Decimal strings of at most 16 characters (PS3.5 6.2)."""
    return [f"{0.0 if abs(value) < 1e-9 else value:.9g}"[:16] for value in values]
