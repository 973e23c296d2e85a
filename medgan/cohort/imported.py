"""Cohorts that others packed: a Zarr cohort of ours, or an npz of arrays."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medgan.cohort.assemble import Rows
from medgan.errors import UsageError

MOST_BYTES = 16 << 30
PARTS = ("", "train_", "val_", "test_")  # MedMNIST keeps its pictures in three parts
EXPECTED = (
    "expected `images` (N,H,W or N,D,H,W; or train_images, val_images, test_images), `labels` and `patient_ids` "
    "optional, of equal length"
)


def read_npz(path: Path, patient_key: Callable[[str], str]) -> tuple[Rows, str]:
    """Rows uint8 or uint16 [N, 1, D, H, W] of an npz, and their unit. Raises UsageError.

    Without `patient_ids` each picture is its own patient and the unit is "image".
    """
    arrays = _arrays(path)
    parts = [part for part in PARTS if f"{part}images" in arrays]
    if not parts:
        raise UsageError(f"an npz without images; {EXPECTED}")
    images = np.concatenate([_boxed(arrays[f"{part}images"]) for part in parts])
    labels = _column(arrays, parts, "labels", len(images))
    names = arrays.get("classes", arrays.get("class_names"))
    if names is not None and all(label.isdigit() and int(label) < len(names) for label in labels or [""]):
        labels = [str(names[int(label)]) for label in labels]
    ids = _column(arrays, parts, "patient_ids", len(images)) or _column(arrays, parts, "patient_id", len(images))
    unit = "patient" if ids else "image"
    keys = [patient_key(one) for one in ids or (f"picture {index}" for index in range(len(images)))]
    return Rows(_integers(images), labels or [""] * len(images), keys), unit


def _arrays(path: Path) -> dict[str, NDArray[Any]]:
    try:
        with zipfile.ZipFile(path) as archive:
            size = sum(member.file_size for member in archive.infolist())
        if size > MOST_BYTES:
            raise UsageError(f"an npz of {size >> 30} GiB unpacked; at most {MOST_BYTES >> 30} GiB are read")
        with np.load(path, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        raise UsageError(f"the file is not a readable npz, or holds Python objects; {EXPECTED}") from None


def _boxed(images: NDArray[Any]) -> NDArray[Any]:
    """[N, H, W], [N, H, W, 1], [N, D, H, W] or [N, 1, D, H, W] as [N, 1, D, H, W]."""
    if images.ndim == 4 and images.shape[-1] == 1:
        images = images[..., 0]
    if images.ndim == 4 and images.shape[-1] in (3, 4):
        raise UsageError(f"coloured images in an npz; grey ones are expected: {EXPECTED}")
    if images.ndim == 5 and images.shape[1] == 1:
        images = images[:, 0]
    if images.ndim not in (3, 4) or images.dtype.kind not in "uif" or 0 in images.shape:
        raise UsageError(f"images of {images.ndim} axes and type {images.dtype} in an npz; {EXPECTED}")
    return images[:, None, None] if images.ndim == 3 else images[:, None]


def _integers(images: NDArray[Any]) -> NDArray[Any]:
    """uint8 and uint16 as they are; anything else stretched over uint8, one range for all."""
    if images.dtype in (np.uint8, np.uint16):
        return images
    if not np.isfinite(images).all():
        raise UsageError("images in an npz hold NaN or infinity; expected finite numbers")
    low, high = float(images.min()), float(images.max())
    if images.dtype.kind == "f" and low >= 0 and high <= 1:
        low, high = 0.0, 1.0
    elif images.dtype.kind == "f" and low >= -1 and high <= 1:
        low, high = -1.0, 1.0
    elif images.dtype.kind in "iu" and low >= 0 and high <= 255:
        low, high = 0.0, 255.0
    scale = 255 / (high - low) if high > low else 0.0
    return np.rint((images.astype(np.float32) - low) * scale).astype(np.uint8)


def _column(arrays: dict[str, NDArray[Any]], parts: list[str], name: str, count: int) -> list[str]:
    """One text a picture, or none at all. Raises UsageError when there are too few or too many."""
    found = [arrays[part + name] for part in parts if part + name in arrays]
    if not found:
        return []
    column = np.concatenate([some.reshape(len(some), -1) for some in found])
    if column.shape != (count, 1):
        raise UsageError(f"{name} of shape {column.shape} for {count} images in an npz; {EXPECTED}")
    return [_name(value) for value in column[:, 0].tolist()]


def _name(value: Any) -> str:
    if isinstance(value, bytes):
        return value.decode(errors="replace").strip()
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value).strip()
