"""A folder of DICOM series as Zarr volumes with one spacing: no home, no cohort, numbers in the modality's unit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medgan import digest as digests
from medgan.cohort.arrays import write_volume
from medgan.dicom.body_parts import folded
from medgan.dicom.read import read_planes, values
from medgan.dicom.series import Stack, sort_planes
from medgan.errors import SourceError, StudyRejected
from medgan.stages.onto_grid import counted, files_between, in_hu
from medgan.volume.geometry import Volume, reoriented
from medgan.volume.intensity import grey
from medgan.volume.resample import resample, shape_at

AIR_HU = -1024.0


def preprocess_volumes(src: Path, dst: Path, *, spacing_mm: float) -> dict[str, Any]:
    """Every series that is a volume to `dst/NNNN.zarr`, axes (head, back, left), voxels cubes of `spacing_mm`.

    Values are int16, in HU for CT; what is padding holds air, or the lowest value. Raises UsageError and SourceError.
    """
    files = files_between(src, dst)
    planes, refused = read_planes(files)
    found = sort_planes(planes)
    refused.update(found.refused)
    dst.mkdir(parents=True, exist_ok=True)
    rows: list[dict[str, Any]] = []
    for stack in found.stacks:
        try:
            volume = read_volume(stack)
        except StudyRejected as error:
            refused[error.reason] += 1
            continue
        there = reoriented(volume)
        rows.append(_write(dst / f"{len(rows):04d}.zarr", resample(there, shape_at(there.geometry, spacing_mm)), stack))
    if not rows:
        raise SourceError(
            f"no volume in {len(files)} files; {len(found.films)} films, refused: {counted(refused) or 'none'}"
        )
    report = {
        "files": len(files),
        "volumes": rows,
        "films": len(found.films),
        "refused": {reason.value: count for reason, count in sorted(refused.items())},
        "corrected": dict(sorted(found.corrected.items())),
    }
    (dst / "report.json").write_bytes(digests.canonical(report))
    return report


def read_volume(stack: Stack) -> Volume:
    """The voxels of a stack, rescaled slice by slice, and its padding. Raises StudyRejected."""
    voxels = np.empty(stack.geometry.shape, np.float32)
    padding: NDArray[np.bool_] | None = None
    for index, plane in enumerate(stack.planes):
        page, outside, top = values(plane)
        voxels[index] = grey(page, top) if page.ndim == 3 else page
        if outside is not None:
            padding = np.zeros(voxels.shape, bool) if padding is None else padding
            padding[index] = outside
    return Volume(voxels, stack.geometry, padding)


def _write(path: Path, volume: Volume, stack: Stack) -> dict[str, Any]:
    plane = stack.planes[0]
    modality = plane.modality if plane.modality.isalpha() and len(plane.modality) == 2 else "OT"
    voxels = volume.voxels
    if volume.padding is not None:
        inside = voxels[~volume.padding]
        fill = AIR_HU if in_hu(plane) or not inside.size else float(inside.min())
        voxels = np.where(volume.padding, np.float32(fill), voxels)
    limits = np.iinfo(np.int16)
    # a scale other than 1 only where the numbers do not fit: HU stay whole HU
    peak = float(np.abs(voxels).max())
    scale = 1.0 if in_hu(plane) or 255 <= peak <= limits.max else max(peak, 1e-30) / limits.max
    about = {
        "schema": 1,
        "modality": modality,
        "body_part": folded(plane.body_part),
        "values": "HU" if in_hu(plane) else "relative",
        "scale": scale,
        "offset": 0.0,
        "axes": ["head", "back", "left"],
        "spacing_mm": [round(step, 6) for step in volume.geometry.spacing_mm],
        "affine_lps": np.round(volume.geometry.affine, 6).tolist(),
    }
    write_volume(path, np.rint(np.clip(voxels / scale, limits.min, limits.max)).astype(np.int16), about)
    return {"file": path.name, "shape": list(voxels.shape), **{k: about[k] for k in ("modality", "spacing_mm")}}
