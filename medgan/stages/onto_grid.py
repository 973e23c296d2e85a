"""From DICOM files to pictures on the grid of a cohort: what `preprocess` computes, without store or ledger."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from medgan.cohort.arrays import stored
from medgan.dicom.body_parts import folded
from medgan.dicom.read import Plane, read_planes, values
from medgan.dicom.series import Stack, sort_planes
from medgan.errors import Reason, SourceError, StudyRejected, UsageError
from medgan.recipes import PreprocessRecipe
from medgan.volume.crop import evenly, inside_square, pad_square
from medgan.volume.geometry import HEAD_BACK_LEFT, alignment, shown_order, turned
from medgan.volume.intensity import grey, robust_range, window
from medgan.volume.resample import resize_depth, resize_padded

RADIOGRAPHS = {"CR", "DX", "RG"}  # one modality to a cohort: XR
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
    for stack in found.stacks:
        try:
            made.pictures.extend(whole(stack, recipe) if recipe.dims == 3 else slices(stack, recipe))
        except StudyRejected as error:
            made.refused[error.reason] += 1
    for plane in found.films:
        try:
            made.pictures.append(film(plane, recipe))
        except StudyRejected as error:
            made.refused[error.reason] += 1
    return made


def film(plane: Plane, recipe: PreprocessRecipe) -> Picture:
    """A single picture, whole, squared with black, its own 0.5-99.5 percentile window. Raises StudyRejected."""
    if recipe.dims == 3:
        raise StudyRejected(Reason.TOO_FEW_SLICES, detail="a single picture where a volume was asked for")
    picture, padding = _loaded(plane)
    square = _squared(picture, padding, plane.spacing_mm or (1.0, 1.0), recipe.size, None)
    return _picture(plane, square[None, None], (plane.instance,), recipe)


def slices(stack: Stack, recipe: PreprocessRecipe) -> list[Picture]:
    """Evenly spaced slices of a volume, each turned the way it is shown. Raises StudyRejected."""
    _, down, along = stack.geometry.axes
    order, flips = shown_order(down, along)
    spacing = tuple(stack.geometry.spacing_mm[1:][axis] for axis in order)
    pictures = []
    for index in evenly(len(stack.planes), recipe.slices):
        plane = stack.planes[index]
        picture, padding = _loaded(plane)
        square = _squared(
            turned(picture, order, flips),
            None if padding is None else turned(padding, order, flips),
            (spacing[0], spacing[1]),
            recipe.size,
            recipe.window_hu if in_hu(plane) else None,
        )
        pictures.append(_picture(plane, square[None, None], (plane.instance,), recipe))
    return pictures


def whole(stack: Stack, recipe: PreprocessRecipe) -> list[Picture]:
    """The volume with axes (head, back, left) on depth x size x size, in-plane aspect kept. Raises StudyRejected."""
    order, flips = alignment(stack.geometry.axes, HEAD_BACK_LEFT)
    extent = [n * step for n, step in zip(stack.geometry.shape, stack.geometry.spacing_mm, strict=True)]
    target = (recipe.depth, *inside_square(extent[order[1]], extent[order[2]], recipe.size))
    wanted = [target[order.index(axis)] for axis in range(3)]
    pages, outsides = [], []
    for plane in stack.planes:
        picture, padding = _loaded(plane)
        page, outside = resize_padded(picture, padding, wanted[1], wanted[2])
        pages.append(page)
        outsides.append(np.zeros(page.shape, bool) if outside is None else outside)
    voxels, outside = np.stack(pages), np.stack(outsides)
    plane = stack.planes[0]
    low, high = recipe.window_hu if in_hu(plane) else robust_range(voxels, outside)
    bright = window(voxels, low, high)
    bright[outside] = -1.0
    grid = turned(resize_depth(bright, wanted[0]), order, flips)
    image = np.stack([pad_square(page, recipe.size, -1.0) for page in grid])
    instances = tuple(dict.fromkeys(plane.instance for plane in stack.planes))
    return [_picture(plane, image[None], instances, recipe)]


def group_name(modality: str, body_part: str, recipe: PreprocessRecipe) -> str:
    return f"{modality}-{body_part}-{recipe.dims}d-{recipe.size}"


def _loaded(plane: Plane) -> tuple[NDArray[np.float32], NDArray[np.bool_] | None]:
    """Pixels [H, W] in which more is brighter (in HU for CT), and padding."""
    if in_hu(plane) and not plane.rescaled:
        raise StudyRejected(Reason.MISSING_ATTRIBUTE, detail="a CT slice does not say how its values become HU")
    picture, padding, top = values(plane)
    if picture.ndim == 3:
        picture = grey(picture, top)
    if plane.pixels.photometric == "MONOCHROME1" and not in_hu(plane):
        picture = -picture
    return picture, padding


def _squared(
    picture: NDArray[np.float32],
    padding: NDArray[np.bool_] | None,
    spacing_mm: tuple[float, float],
    size: int,
    limits: tuple[float, float] | None,
) -> NDArray[np.float32]:
    """[H, W] as float32 [size, size] in [-1, 1], aspect kept; `limits` None: the picture's own percentiles."""
    rows, columns = picture.shape
    height, width = inside_square(rows * spacing_mm[0], columns * spacing_mm[1], size)
    small, outside = resize_padded(np.ascontiguousarray(picture), padding, height, width)
    low, high = limits or robust_range(small, outside)
    bright = window(small, low, high)
    if outside is not None:
        bright[outside] = -1.0
    return pad_square(bright, size, -1.0)


def _picture(plane: Plane, image: NDArray[np.float32], instances: tuple[str, ...], recipe: PreprocessRecipe) -> Picture:
    modality = "XR" if plane.modality in RADIOGRAPHS else plane.modality
    modality = modality if modality in MODALITIES else "OT"
    part = folded(plane.body_part)
    if modality == "CT" and not in_hu(plane):
        modality = "OT"  # a picture of a CT slice holds grey levels, which do not belong beside HU
    unit = "HU" if modality == "CT" else "relative"
    return Picture(group_name(modality, part, recipe), stored(image), instances, modality, part, unit)


def in_hu(plane: Plane) -> bool:
    """Whether a plane's rescaled values are Hounsfield units."""
    return plane.modality == "CT" and not plane.picture


def files_between(src: Path, dst: Path) -> list[Path]:
    """The files below `src`, in a fixed order, for a result in `dst`. Raises UsageError and SourceError."""
    if dst.exists() and any(dst.iterdir()):
        raise UsageError("DST exists and is not empty; name a new folder")
    if not src.is_dir():
        raise SourceError("SRC is not a folder; expected one with DICOM files")
    return sorted(file for file in src.rglob("*") if file.is_file() and not file.is_symlink())


def counted(refused: Counter[Reason]) -> str:
    """The three commonest reasons with their counts, for a message."""
    return ", ".join(f"{reason.value} ({count})" for reason, count in refused.most_common(3))
