"""From DICOM files to pictures on the grid of a cohort: what `preprocess` computes, without store or ledger."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from medgan.cohort.arrays import stored
from medgan.cohort.places import Place, place
from medgan.dicom.body_parts import folded
from medgan.dicom.read import Plane, read_planes
from medgan.dicom.series import Stack, sort_planes
from medgan.errors import Reason, SourceError, StudyRejected, UsageError
from medgan.recipes import PreprocessRecipe
from medgan.stages.gridded import extent, in_hu, on_grid, picture_on_grid
from medgan.stages.quality import usable
from medgan.volume.crop import centre_of, cut, evenly, inside_square, pad_square
from medgan.volume.geometry import Geometry, regridded, reoriented, shape_at, shown_order, turned
from medgan.volume.intensity import robust_range, window
from medgan.volume.resample import Shape, Stored

RADIOGRAPHS = {"CR", "DX", "RG"}  # one modality to a cohort: XR
MIDDLE_OF_BODY = -0.4  # of [-1, 1]: brighter is body, for where its middle lies
CUBE = 0.1  # by which a voxel may differ from a cube of the wanted size
MODALITIES = {"XR", "CT", "MR", "PT", "NM", "US", "MG", "IO", "PX", "RF", "XA", "OT", "XC", "ES"}


@dataclass(frozen=True, slots=True)
class Picture:
    """One training image: uint8 [1, D, H, W], the instances it was made of, and what its numbers mean."""

    group: str
    image: NDArray[np.uint8]
    instances: tuple[str, ...]
    modality: str
    body_part: str
    unit: str  # HU or relative


@dataclass(frozen=True, slots=True)
class Pictures:
    """All pictures of a study, what was refused (by file or part of a series) and what was corrected."""

    pictures: list[Picture]
    refused: Counter[Reason]
    corrected: Counter[str]


def pictures_of(files: Iterable[Path], recipe: PreprocessRecipe) -> Pictures:
    """Bring the images of one study onto the grid of `recipe`. Raises StudyRejected when none is usable."""
    planes, unread = read_planes(files)
    made = pictures_of_planes(planes, recipe)
    made.refused.update(unread)
    if not made.pictures:
        refused = made.refused
        raise StudyRejected(min(refused, key=lambda r: (-refused[r], r.value), default=Reason.NO_USABLE_SERIES))
    return made


def pictures_of_planes(planes: Iterable[Plane], recipe: PreprocessRecipe) -> Pictures:
    """The same for planes that were read: possibly no picture at all, every refusal counted."""
    found = sort_planes(planes)
    made = Pictures([], Counter(found.refused), found.corrected)
    taken = [stack for stack in found.stacks if stack.phase < recipe.phases]
    if len(taken) < len(found.stacks):
        made.corrected["phase_left_out"] = len(found.stacks) - len(taken)
    for stack in taken:
        try:
            made.pictures.extend(whole(stack, recipe) if recipe.dims == 3 else slices(stack, recipe))
        except StudyRejected as error:
            made.refused[error.reason] += 1
    for plane in found.films:
        try:
            made.pictures.append(film(plane, recipe))
        except StudyRejected as error:
            made.refused[error.reason] += 1
    kept, poor = usable(made.pictures, recipe.quality)
    if poor:
        made.refused[Reason.LOW_QUALITY] += poor
    return Pictures(kept, made.refused, made.corrected)


def film(plane: Plane, recipe: PreprocessRecipe) -> Picture:
    """A single picture, whole, squared with black, its own 0.5-99.5 percentile window. Raises StudyRejected."""
    if recipe.dims == 3:
        raise StudyRejected(Reason.TOO_FEW_SLICES, detail="a single picture where a volume was asked for")
    height, width = _inside(plane.size, plane.spacing_mm or (1.0, 1.0), recipe.size)
    picture, padding = picture_on_grid(plane, (height, width))
    return _picture(plane, _squared(picture, padding, recipe, None)[None, None], (plane.instance,), recipe)


def slices(stack: Stack, recipe: PreprocessRecipe) -> list[Picture]:
    """Evenly spaced slices of a volume, each turned the way it is shown. Raises StudyRejected."""
    _, down, along = stack.geometry.axes
    order, flips = shown_order(down, along)
    pictures = []
    for index in evenly(len(stack.planes), recipe.slices, recipe.central):
        plane = stack.planes[index]
        found, outside = picture_on_grid(plane, _inside(plane.size, stack.geometry.spacing_mm[1:], recipe.size))
        picture = turned(found, order, flips)
        padding = None if outside is None else turned(outside, order, flips)
        square = _squared(picture, padding, recipe, recipe.window_hu if in_hu(plane) else None)
        pictures.append(_picture(plane, square[None, None], (plane.instance,), recipe))
    return pictures


def whole(stack: Stack, recipe: PreprocessRecipe) -> list[Picture]:
    """The volume with axes (head, back, left) on depth x size x size. Raises StudyRejected.

    With `spacing_mm` in cubes of it, cut out or padded around the middle of the body; else whole, in-plane aspect kept.
    """
    placed, order, flips = reoriented(extent(stack))
    shape = shape_at(placed, recipe.spacing_mm) if recipe.spacing_mm else _whole_shape(placed, recipe)
    wanted = tuple(shape[order.index(axis)] for axis in range(3))
    voxels, outside = on_grid(stack, wanted, Stored())  # type: ignore[arg-type]
    plane = stack.planes[0]
    low, high = recipe.window_hu if in_hu(plane) else robust_range(voxels, outside)
    bright = window(voxels, low, high)
    if outside is not None:
        bright[outside] = -1.0
    grid = turned(bright, order, flips)
    if recipe.spacing_mm:
        _check_cubes(regridded(placed, shape), recipe.spacing_mm)
        image = cut(grid, centre_of(grid > MIDDLE_OF_BODY), (recipe.depth, recipe.size, recipe.size), -1.0)
    else:
        image = np.stack([pad_square(page, recipe.size, -1.0) for page in grid])
    instances = tuple(dict.fromkeys(plane.instance for plane in stack.planes))
    return [_picture(plane, image[None], instances, recipe)]


def _whole_shape(placed: Geometry, recipe: PreprocessRecipe) -> Shape:
    _, height_mm, width_mm = (n * step for n, step in zip(placed.shape, placed.spacing_mm, strict=True))
    return (recipe.depth, *inside_square(height_mm, width_mm, recipe.size))


def _check_cubes(geometry: Geometry, spacing_mm: float) -> None:
    """Raises StudyRejected where a volume is so thin that its voxels cannot be cubes of that size."""
    if max(abs(step / spacing_mm - 1) for step in geometry.spacing_mm) > CUBE:
        raise StudyRejected(Reason.TOO_FEW_SLICES, detail="the volume is thinner than a few voxels of the cohort grid")


def _inside(size: tuple[int, int], spacing_mm: tuple[float, ...], side: int) -> tuple[int, int]:
    return inside_square(size[0] * spacing_mm[0], size[1] * spacing_mm[1], side)


def group_name(modality: str, body_part: str, recipe: PreprocessRecipe) -> str:
    return f"{modality}-{body_part}-{recipe.dims}d-{recipe.size}"


def _squared(
    picture: NDArray[np.float32],
    padding: NDArray[np.bool_] | None,
    recipe: PreprocessRecipe,
    limits: tuple[float, float] | None,
) -> NDArray[np.float32]:
    """[h, w] as float32 [size, size] in [-1, 1]; `limits` None: the picture's own percentiles."""
    low, high = limits or robust_range(picture, padding)
    bright = window(picture, low, high)
    if padding is not None:
        bright[padding] = -1.0
    return pad_square(bright, recipe.size, -1.0)


def _picture(plane: Plane, image: NDArray[np.float32], instances: tuple[str, ...], recipe: PreprocessRecipe) -> Picture:
    modality = "XR" if plane.modality in RADIOGRAPHS else plane.modality
    modality = modality if modality in MODALITIES else "OT"
    part = folded(plane.body_part)
    if modality == "CT" and not in_hu(plane):
        modality = "OT"  # a picture of a CT slice holds grey levels, which do not belong beside HU
    unit = "HU" if modality == "CT" else "relative"
    return Picture(group_name(modality, part, recipe), stored(image), instances, modality, part, unit)


def new_place(dst: Path | str) -> Place:
    """Where a result goes, a folder or a prefix in an object store. Raises UsageError where something lies already."""
    site = place(dst)
    if site.keys(""):
        raise UsageError("DST holds something already; name a new place")
    return site


def files_below(src: Path) -> list[Path]:
    """The files below a folder, in a fixed order. Raises SourceError."""
    if not src.is_dir():
        raise SourceError("SRC is not a folder; expected one with DICOM files")
    return sorted(file for file in src.rglob("*") if file.is_file() and not file.is_symlink())


def counted(refused: Counter[Reason]) -> str:
    """The three commonest reasons with their counts, for a message."""
    return ", ".join(f"{reason.value} ({count})" for reason, count in refused.most_common(3))
