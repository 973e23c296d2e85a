"""A cohort as files that other programs open: PNG, NIfTI, and labels.csv beside them.

The same images give the same bytes: no time, name or version is written into a file.
"""

from __future__ import annotations

import csv
import gzip
from collections.abc import Iterable
from io import BytesIO, StringIO
from typing import Any

import numpy as np
from numpy.typing import NDArray


def png_bytes(pixels: NDArray[Any]) -> bytes:
    """uint8 or uint16 [D, H, W] as a greyscale PNG; of a volume, the middle slice."""
    from PIL import Image

    middle = np.ascontiguousarray(pixels[len(pixels) // 2])
    out = BytesIO()
    Image.fromarray(middle).save(out, "png", compress_level=6)
    return out.getvalue()


def nifti_bytes(pixels: NDArray[Any], spacing_mm: tuple[float, ...] = ()) -> bytes:
    """uint8 or uint16 [D, H, W] in the patient order of DICOM (left, back, up) as .nii.gz."""
    import nibabel

    depth, row, column = spacing_mm if len(spacing_mm) == 3 else (1.0, *(spacing_mm or (1.0, 1.0)))
    affine = np.diag([-column, -row, depth, 1.0])  # NIfTI counts to the right and the front
    image = nibabel.Nifti1Image(np.ascontiguousarray(pixels.transpose(2, 1, 0)), affine)
    image.header.set_xyzt_units("mm")
    return gzip.compress(image.to_bytes(), compresslevel=6, mtime=0)


def labels_csv(rows: Iterable[tuple[str, str]]) -> str:
    """The text of labels.csv, one (file, label) a row."""
    out = StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(("file", "label"))
    writer.writerows(rows)
    return out.getvalue()
