"""A folder of DICOM series as OME-Zarr volumes of one spacing: no home, no cohort."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medgan import digest as digests
from medgan import parallel
from medgan.cohort.places import Place, place
from medgan.cohort.volumes import write_volume
from medgan.dicom.body_parts import folded
from medgan.dicom.masks import MODALITY, Segmentation, is_mask, read_segmentation
from medgan.dicom.read import read_planes
from medgan.dicom.series import Stack, sort_planes
from medgan.errors import Reason, SourceError, StudyRejected
from medgan.stages.gridded import extent, in_hu, on_grid, unit_of
from medgan.stages.masked import moved_onto
from medgan.stages.onto_grid import counted, files_below, new_place
from medgan.volume.geometry import Geometry, regridded, reoriented, shape_at, turned
from medgan.volume.intensity import robust_range
from medgan.volume.masks import grown_labels, volumes_mm3
from medgan.volume.resample import Stored

AIR_HU = -1024.0
WHOLE = np.iinfo(np.int16).max
PET_UNITS = {  # PS3.3 C.8.9.1.1.3; whatever else a header says stays there
    *("CNTS", "NONE", "CM2", "CM2ML", "PCNT", "CPS", "BQML", "MGMINML", "UMOLMINML", "MLMING", "MLG", "1CM", "UMOLML"),
    *("PROPCNTS", "PROPCPS", "MLMINML", "MLML", "GML", "STDDEV"),
}
FEWEST_GREYS = 255  # a range that whole numbers of the unit show well enough


@dataclass(frozen=True, slots=True)
class Grid:
    """Cubes of `spacing_mm`. With `window` (HU; other modalities: their percentiles) uint8, else int16 of the unit."""

    spacing_mm: float
    window: tuple[float, float] | None = None


def preprocess_volumes(src: Path, dst: Path | str, grid: Grid) -> dict[str, Any]:
    """Every series that is a volume to `dst/NNNN.ome.zarr`, axes (head, back, left); each phase is a volume.

    A DICOM SEG of a series becomes `NNNN.mask-M.ome.zarr` on the same grid. `dst` may be in an object store. What is
    padding holds air, or the lowest value. Raises UsageError and SourceError.
    """
    files, site = files_below(src), new_place(dst)
    read, refused = read_planes(files)
    planes = [replace(plane, patient="", study="") for plane in read]  # no task needs to know whose they are
    masks = sorted({plane.pixels.file for plane in planes if is_mask(plane)})
    found = sort_planes(plane for plane in planes if not is_mask(plane))
    refused.update(found.refused)
    numbered = [(f"{number:04d}", stack) for number, stack in enumerate(found.stacks)]
    made = parallel.over(numbered, _outcome, dst, grid)
    rows = [row for row in made if not isinstance(row, Reason)]
    refused.update(row for row in made if isinstance(row, Reason))
    written = {row["name"] for row in rows}
    there = [(name, stack) for name, stack in numbered if name in written]
    for number, file in enumerate(masks):
        try:
            rows.append(_write_mask(read_segmentation(file), number, there, site, grid))
        except StudyRejected as error:
            refused[error.reason] += 1
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
    site.put("report.json", digests.canonical(report))
    return report


def _outcome(numbered: tuple[str, Stack], dst: Path | str, grid: Grid) -> dict[str, Any] | Reason:
    name, stack = numbered
    try:
        return {"name": name, **write_stack(stack, place(dst).at(f"{name}.ome.zarr"), grid)}
    except StudyRejected as error:
        return error.reason


def _write_mask(
    segments: Segmentation, number: int, there: list[tuple[str, Stack]], site: Place, grid: Grid
) -> dict[str, Any]:
    """Labels on the grid of the series they were drawn on. Raises StudyRejected (mask_unfit)."""
    drawn_on = [(name, stack) for name, stack in there if segments.drawn_on(stack)]
    if not drawn_on:
        raise StudyRejected(Reason.MASK_UNFIT, detail="a mask of a series that is not among the volumes")
    name, stack = drawn_on[0]
    placed, _, _ = reoriented(extent(stack))
    onto = regridded(placed, shape_at(placed, grid.spacing_mm))
    mask = segments.labels(step_mm=stack.geometry.spacing_mm[0])
    (labels,) = moved_onto(mask, [onto])
    grown = grown_labels(volumes_mm3(mask.labels, mask.geometry), volumes_mm3(labels, onto))
    named = f"{name}.mask-{number}"
    about = {"schema": 2, "values": "label", "labels": np.unique(labels[labels > 0]).tolist(), **_placed(onto)}
    write_volume(site.at(f"{named}.ome.zarr"), labels, about)
    row = {"name": named, "shape": list(labels.shape), "modality": MODALITY, "spacing_mm": about["spacing_mm"]}
    return {**row, "grown": grown} if grown else row


def _placed(geometry: Geometry) -> dict[str, Any]:
    return {
        "axes": ["head", "back", "left"],
        "spacing_mm": [round(step, 6) for step in geometry.spacing_mm],
        "affine_lps": np.round(geometry.affine, 6).tolist(),
    }


def write_stack(stack: Stack, where: Path | str | Place, grid: Grid) -> dict[str, Any]:
    """Write one volume; its shape, modality, spacing and unit: HU, SUV or arbitrary, and why a PET has no SUV.

    Raises StudyRejected and UsageError.
    """
    placed, order, flips = reoriented(extent(stack))
    shape = shape_at(placed, grid.spacing_mm)
    wanted = tuple(shape[order.index(axis)] for axis in range(3))
    voxels, numbers = _numbers(stack, wanted, grid.window)  # type: ignore[arg-type]
    there, plane, unit = regridded(placed, shape), stack.planes[0], unit_of(stack)
    about = {
        "schema": 2,
        "modality": plane.modality if plane.modality.isalpha() and len(plane.modality) == 2 else "OT",
        "body_part": folded(plane.body_part),
        "values": unit.name,
        **({"no_suv": unit.no_suv, "units": plane.unit if plane.unit in PET_UNITS else ""} if unit.no_suv else {}),
        **{name: number * unit.factor for name, number in numbers.items()},
        **_placed(there),
    }
    write_volume(where, turned(voxels, order, flips), about)
    said = ("modality", "spacing_mm", "values", "no_suv")
    return {"shape": list(shape), **{key: about[key] for key in said if key in about}}


def _numbers(
    stack: Stack, shape: tuple[int, int, int], window: tuple[float, float] | None
) -> tuple[NDArray[Any], dict[str, float]]:
    """Stored voxels along the stack's own axes, and what they mean: value = stored * scale + offset."""
    plane = stack.planes[0]
    if in_hu(plane):
        stored = _windowed(*window) if window else Stored("int16", fill=AIR_HU)
        return on_grid(stack, shape, stored)[0], _meaning(stored)
    values, outside = on_grid(stack, shape, Stored())
    inside = values if outside is None else values[~outside]
    lowest, highest = (float(inside.min()), float(inside.max())) if inside.size else (0.0, 0.0)
    if outside is not None:
        values = np.where(outside, values.dtype.type(lowest), values)
    stored = _windowed(*robust_range(values, outside)) if window else _whole(lowest, highest)
    limits = np.iinfo(stored.dtype)
    numbers = np.rint(np.clip(values * stored.scale + stored.offset, limits.min, limits.max)).astype(stored.dtype)
    return numbers, _meaning(stored)


def _windowed(low: float, high: float) -> Stored:
    scale = 255 / (high - low)
    return Stored("uint8", scale, -low * scale, fill=low)


def _whole(low: float, high: float) -> Stored:
    """A scale other than 1 only where whole numbers of the unit do not fit, or say too little; an offset other than 0
    only where values that do not fit lie far from 0, and close together.
    """
    peak, span = max(-low, high), high - low
    if peak > WHOLE and span < peak / 2:
        scale = 1.0 if FEWEST_GREYS <= span <= 2 * WHOLE else 2 * WHOLE / max(span, 1e-6 * peak)
        return Stored("int16", scale, -round((low + high) / 2) * scale)
    return Stored("int16", 1.0 if FEWEST_GREYS <= peak <= WHOLE else WHOLE / max(peak, 1e-30))


def _meaning(stored: Stored) -> dict[str, float]:
    return {"scale": 1 / stored.scale, "offset": -stored.offset / stored.scale}
