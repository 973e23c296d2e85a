"""Where the frames of an instance lie in the patient, and the volume that frames of one series make."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.pixels import iter_pixels

from medgan.deid.faces.surface import STEP_MM, Array, Slices
from medgan.deid.pixels import pixels
from medgan.errors import Reason

FEWEST_PLANES, LEAST_MM, WIDEST_GAP_MM = 8, 60.0, 16.0
PARALLEL = 0.9995  # cosine between the normals of slices of one volume
SAME_PLACE_MM = 0.05
NO_VOLUME = (ValueError, TypeError, AttributeError, KeyError, IndexError, ArithmeticError)
FORM = ("Rows", "Columns")


class Pictured(Protocol):
    """What is asked of an instance."""

    reason: Reason | None
    repainted: bool
    faceless: bool

    @property
    def ds(self) -> Any: ...


@dataclass(frozen=True, slots=True)
class Plane:
    """One frame in the patient's axes (LPS), mm."""

    instance: Pictured
    frame: int
    origin_mm: Array  # [3]: centre of the first pixel
    along: Array  # [3]
    down: Array  # [3]
    spacing_mm: tuple[float, float]  # between rows, between columns

    @property
    def normal(self) -> Array:
        return np.cross(self.along, self.down)

    def points(self, rows: NDArray[Any], columns: NDArray[Any]) -> Array:
        """[R, C, 3] of some rows and columns."""
        down = self.down * self.spacing_mm[0] * rows[:, None, None]
        return np.asarray(self.origin_mm + down + self.along * self.spacing_mm[1] * columns[:, None])


def planes(instance: Pictured) -> list[Plane]:
    """The frames of an instance; none when anything is missing, is not a number, or tiles lie in one frame."""
    ds = instance.ds
    grey = str(ds.get("PhotometricInterpretation", "")).startswith("MONOCHROME")
    if "MOSAIC" in str(ds.get("ImageType") or "") or not grey:
        return []
    try:
        found = [_plane(instance, n, groups) for n, groups in enumerate(_functional_groups(ds))]
    except NO_VOLUME:
        return []
    return found if all(np.isfinite([*p.origin_mm, *p.normal]).all() and min(p.spacing_mm) > 0 for p in found) else []


def stored_frames(ds: Dataset) -> list[NDArray[Any]]:
    """Stored values, a frame each [H, W]. Raises pixels.Undecodable."""
    try:
        return [np.array(frame) for frame in iter_pixels(ds, raw=True)]
    except pixels.UNDECODABLE:
        raise pixels.Undecodable from None


def rescale(ds: Dataset) -> tuple[float, float]:
    """Slope and intercept from stored values to the modality's unit; those of the first frame of many."""
    shared = next(iter(_functional_groups(ds)), [ds])
    source = next((s for s in _within(shared, "PixelValueTransformationSequence") if "RescaleSlope" in s), ds)
    try:
        slope, intercept = float(source.get("RescaleSlope") or 1), float(source.get("RescaleIntercept") or 0)
    except NO_VOLUME:
        return 1.0, 0.0
    return slope, intercept


def volume(series: Sequence[Plane]) -> Slices | None:
    """The slices of one series, thinned to about STEP_MM; None when they make no volume. Raises Undecodable."""
    chosen = _stack(series)
    heights = np.array([plane.origin_mm @ chosen[0].normal for plane in chosen]) if chosen else np.zeros(0)
    if len(chosen) < FEWEST_PLANES or np.ptp(heights) < LEAST_MM or np.diff(heights).max() > WIDEST_GAP_MM:
        return None
    first = chosen[0]
    factors = [max(1, int(STEP_MM / spacing)) for spacing in first.spacing_mm]
    frames: dict[int, list[NDArray[np.float32]]] = {}
    for plane in chosen:
        if id(plane.instance) not in frames:
            slope, intercept = rescale(plane.instance.ds)
            stored = stored_frames(plane.instance.ds)
            frames[id(plane.instance)] = [_block_means(f, *factors) * slope + intercept for f in stored]
    values = np.stack([frames[id(plane.instance)][plane.frame] for plane in chosen]).astype(np.float32)
    shift = np.array([(factor - 1) / 2 for factor in factors])
    origins = np.stack([plane.points(shift[:1], shift[1:])[0, 0] for plane in chosen])
    spacing = first.spacing_mm[0] * factors[0], first.spacing_mm[1] * factors[1]
    return Slices(values, origins, first.along, first.down, spacing)


def extent_mm3(series: Sequence[Plane]) -> float:
    """How much space a series covers: the largest of several is looked at first."""
    chosen = _stack(series)
    if not chosen:
        return 0.0
    ds, (height, width) = chosen[0].instance.ds, chosen[0].spacing_mm
    depth = float((chosen[-1].origin_mm - chosen[0].origin_mm) @ chosen[0].normal)
    return depth * height * int(ds.Rows) * width * int(ds.Columns)


def _stack(series: Sequence[Plane]) -> list[Plane]:
    """Planes of one direction, size and spacing, the first at each place, in order along their normal."""
    groups: list[list[Plane]] = []
    for plane in series:
        home = next((group for group in groups if _alike(plane, group[0])), None)
        groups.append([plane]) if home is None else home.append(plane)
    group = max(groups, key=len, default=[])
    ordered = sorted(group, key=lambda plane: float(plane.origin_mm @ group[0].normal))
    chosen: list[Plane] = []
    for plane in ordered:
        if not chosen or (plane.origin_mm - chosen[-1].origin_mm) @ group[0].normal > SAME_PLACE_MM:
            chosen.append(plane)
    return chosen


def _alike(a: Plane, b: Plane) -> bool:
    same_size = all(a.instance.ds.get(name) == b.instance.ds.get(name) for name in FORM)
    parallel = a.along @ b.along > PARALLEL and a.down @ b.down > PARALLEL
    return bool(same_size and parallel and np.allclose(a.spacing_mm, b.spacing_mm, rtol=1e-3))


def _functional_groups(ds: Dataset) -> Iterator[list[Dataset]]:
    """For each frame the items in which its attributes stand, the nearest first."""
    shared = list(ds.get("SharedFunctionalGroupsSequence") or [])
    each = list(ds.get("PerFrameFunctionalGroupsSequence") or [])
    for number in range(int(ds.get("NumberOfFrames") or 1)):
        yield [*each[number : number + 1], *shared, ds] if each or shared else [ds]


def _within(groups: Sequence[Dataset], sequence: str) -> Iterator[Dataset]:
    for group in groups:
        yield from group.get(sequence) or []
        if sequence not in group:
            yield group


def _plane(instance: Pictured, number: int, groups: Sequence[Dataset]) -> Plane:
    position = _numbers(groups, "PlanePositionSequence", "ImagePositionPatient", 3)
    orientation = _numbers(groups, "PlaneOrientationSequence", "ImageOrientationPatient", 6)
    spacing = _numbers(groups, "PixelMeasuresSequence", "PixelSpacing", 2)
    along, down = orientation[:3] / np.linalg.norm(orientation[:3]), orientation[3:] / np.linalg.norm(orientation[3:])
    if abs(along @ down) > 0.01 or (number and len(groups) == 1):
        raise ValueError  # oblique axes, or many frames with one place
    return Plane(instance, number, position, along, down, (float(spacing[0]), float(spacing[1])))


def _numbers(groups: Sequence[Dataset], sequence: str, keyword: str, count: int) -> Array:
    values = next(item[keyword].value for item in _within(groups, sequence) if keyword in item)
    found = np.array([float(value) for value in values])
    if found.shape != (count,):
        raise ValueError
    return found


def _block_means(frame: NDArray[Any], rows: int, columns: int) -> NDArray[np.float32]:
    height, width = frame.shape[0] // rows, frame.shape[1] // columns
    blocks = frame[: height * rows, : width * columns].reshape(height, rows, width, columns)
    return np.asarray(blocks.mean(axis=(1, 3), dtype=np.float32))
