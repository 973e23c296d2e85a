"""From DICOM files to pictures on the grid of a cohort: what `preprocess` computes, without store or ledger."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from medgan.cohort.arrays import stored
from medgan.cohort.places import Place, place
from medgan.cohort.source_figures import Source, source_of
from medgan.dicom.body_parts import folded
from medgan.dicom.masks import is_mask
from medgan.dicom.read import Plane, read_planes
from medgan.dicom.series import Stack, sort_planes
from medgan.errors import Reason, SourceError, StudyRejected, UsageError
from medgan.recipes import PreprocessRecipe
from medgan.stages.gridded import extent, in_hu, is_pet, on_grid, picture_on_grid, unit_of
from medgan.stages.masked import Drawn, Labels, Marking
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
    """One training image: uint8 [1, D, H, W], the instances it was made of, what its numbers mean, and its mask."""

    group: str
    image: NDArray[np.uint8]
    instances: tuple[str, ...]
    modality: str
    body_part: str
    unit: str  # HU, SUV or relative
    source: Source = Source()
    marking: Marking | None = None


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
        pictured = refused.keys() - {Reason.MASK_UNFIT}  # without its mask a picture still is one
        raise StudyRejected(min(pictured, key=lambda r: (-refused[r], r.value), default=Reason.NO_USABLE_SERIES))
    return made


def pictures_of_planes(planes: Iterable[Plane], recipe: PreprocessRecipe) -> Pictures:
    """The same for planes that were read: possibly no picture at all, every refusal counted."""
    pictured, masks = _apart(planes)
    found = sort_planes(pictured)
    made = Pictures([], Counter(found.refused), found.corrected)
    taken = [stack for stack in found.stacks if stack.phase < recipe.phases]
    if len(taken) < len(found.stacks):
        made.corrected["phase_left_out"] = len(found.stacks) - len(taken)
    drawn = Drawn.read(masks if recipe.masks != "none" else (), recipe.segments)
    for stack in taken:
        try:
            made.pictures.extend(whole(stack, recipe, drawn) if recipe.dims == 3 else slices(stack, recipe, drawn))
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
    _count_masks(made, drawn, taken, masks if recipe.masks == "none" else ())
    if recipe.masks == "required":
        kept, without = [one for one in kept if one.marking], sum(not one.marking for one in kept)
        made.corrected.update({"left_out_without_mask": without} if without else {})
    return Pictures(kept, made.refused, made.corrected)


def _apart(planes: Iterable[Plane]) -> tuple[list[Plane], list[Path]]:
    """Planes of pictures, and the files of masks."""
    pictured: list[Plane] = []
    masks: set[Path] = set()
    for plane in planes:
        if is_mask(plane):
            masks.add(plane.pixels.file)
        else:
            pictured.append(plane)
    return pictured, sorted(masks)


def _count_masks(made: Pictures, drawn: Drawn, stacks: Sequence[Stack], unasked: Sequence[Path]) -> None:
    """What became of the masks of a study that did not become those of its pictures."""
    made.refused.update(drawn.refused)
    if nowhere := drawn.without_a_volume(stacks):
        made.refused[Reason.MASK_UNFIT] += nowhere
    counts = {"segment_without_code": drawn.unnamed, "mask_left_out": len(unasked)}
    made.corrected.update({name: count for name, count in counts.items() if count})


def film(plane: Plane, recipe: PreprocessRecipe) -> Picture:
    """A single picture, whole, squared with black, its own 0.5-99.5 percentile window. Raises StudyRejected."""
    if recipe.dims == 3:
        raise StudyRejected(Reason.TOO_FEW_SLICES, detail="a single picture where a volume was asked for")
    height, width = _inside(plane.size, plane.spacing_mm or (1.0, 1.0), recipe.size)
    picture, padding = picture_on_grid(plane, (height, width))
    image = _squared(picture, padding, recipe, None)[None, None]
    spacing = None if plane.aspect else plane.spacing_mm
    source = source_of(spacing, None, padding=_unfilled(picture.size, padding, image.size))
    return _picture(plane, image, (plane.instance,), recipe, source)


def slices(stack: Stack, recipe: PreprocessRecipe, drawn: Drawn) -> list[Picture]:
    """Evenly spaced slices of a volume, each turned the way it is shown. Raises StudyRejected."""
    _, down, along = stack.geometry.axes
    order, flips = shown_order(down, along)
    limits = limits_of(stack, recipe)
    pictures = []
    indices = evenly(len(stack.planes), recipe.slices, recipe.central)
    for index, labels in zip(indices, _labels_of_slices(stack, indices, recipe, drawn), strict=True):
        plane = stack.planes[index]
        found, outside = picture_on_grid(plane, _inside(plane.size, stack.geometry.spacing_mm[1:], recipe.size))
        picture = turned(found, order, flips)
        padding = None if outside is None else turned(outside, order, flips)
        square = _squared(picture, padding, recipe, limits)
        empty = _unfilled(picture.size, padding, square.size)
        source = source_of(stack.geometry.spacing_mm, len(stack.planes), padding=empty)
        made = _picture(plane, square[None, None], (plane.instance,), recipe, source)
        pictures.append(replace(made, marking=_marking(labels, drawn)))
    return pictures


def _labels_of_slices(
    stack: Stack, indices: Sequence[int], recipe: PreprocessRecipe, drawn: Drawn
) -> Sequence[Labels | None]:
    """What was drawn on each of these slices, [1, size, size], turned and squared as the slice is; None for nothing."""
    geometry = stack.geometry
    order, flips = shown_order(*geometry.axes[1:])
    native = [
        Geometry((1, *stack.planes[n].size), geometry.spacing_mm, stack.planes[n].position_mm, geometry.axes)  # type: ignore[arg-type]
        for n in indices
    ]
    shown = [regridded(one, (1, *_inside(one.shape[1:], one.spacing_mm[1:], recipe.size))) for one in native]
    pages = drawn.on(stack, shown, native)
    if pages is None:
        return [None] * len(indices)
    return [_squared_labels(turned(page[0], order, flips)[None], recipe.size) for page in pages]


def _squared_labels(labels: Labels, size: int) -> Labels:
    return np.stack([pad_square(page.astype(np.float32), size, 0.0) for page in labels]).astype(np.uint8)


def _marking(labels: Labels | None, drawn: Drawn) -> Marking | None:
    return None if labels is None else Marking(labels[None], drawn.codes)


def whole(stack: Stack, recipe: PreprocessRecipe, drawn: Drawn) -> list[Picture]:
    """The volume with axes (head, back, left) on depth x size x size. Raises StudyRejected.

    With `spacing_mm` in cubes of it, cut out or padded around the middle of the body; else whole, in-plane aspect kept.
    """
    placed, order, flips = reoriented(extent(stack))
    limits = limits_of(stack, recipe)
    shape = shape_at(placed, recipe.spacing_mm) if recipe.spacing_mm else _whole_shape(placed, recipe)
    wanted = tuple(shape[order.index(axis)] for axis in range(3))
    voxels, outside = on_grid(stack, wanted, Stored())  # type: ignore[arg-type]
    plane = stack.planes[0]
    low, high = limits or robust_range(voxels, outside)
    bright = window(voxels, low, high)
    if outside is not None:
        bright[outside] = -1.0
    grid = turned(bright, order, flips)
    padding = None if outside is None else turned(outside, order, flips)
    kept, box = grid.size, (recipe.depth, recipe.size, recipe.size)
    (labels,) = drawn.on(stack, [regridded(placed, shape)]) or (None,)
    if recipe.spacing_mm:
        _check_cubes(regridded(placed, shape), recipe.spacing_mm)
        centre = centre_of(grid > MIDDLE_OF_BODY)
        image = cut(grid, centre, box, -1.0)
        labels = None if labels is None else cut(labels, centre, box, 0)
        padding = None if padding is None else cut(padding, centre, box, False)
        kept = math.prod(min(n, wanted) for n, wanted in zip(grid.shape, box, strict=True))
    else:
        image = np.stack([pad_square(page, recipe.size, -1.0) for page in grid])
        labels = None if labels is None else _squared_labels(labels, recipe.size)
    source = source_of(
        placed.spacing_mm,
        len(stack.planes),
        padding=_unfilled(kept, padding, image.size),
        cut_off=1 - kept / grid.size,
    )
    instances = tuple(dict.fromkeys(plane.instance for plane in stack.planes))
    return [replace(_picture(plane, image[None], instances, recipe, source), marking=_marking(labels, drawn))]


def _unfilled(covered: int, padding: NDArray[np.bool_] | None, size: int) -> float:
    """The share of a grid of `size` voxels that holds no value of the source, which covers so many of them."""
    return 1 - (covered - (0 if padding is None else int(padding.sum()))) / size


def _whole_shape(placed: Geometry, recipe: PreprocessRecipe) -> Shape:
    _, height_mm, width_mm = (n * step for n, step in zip(placed.shape, placed.spacing_mm, strict=True))
    return (recipe.depth, *inside_square(height_mm, width_mm, recipe.size))


def _check_cubes(geometry: Geometry, spacing_mm: float) -> None:
    """Raises StudyRejected where a volume is so thin that its voxels cannot be cubes of that size."""
    if max(abs(step / spacing_mm - 1) for step in geometry.spacing_mm) > CUBE:
        raise StudyRejected(Reason.TOO_FEW_SLICES, detail="the volume is thinner than a few voxels of the cohort grid")


def _inside(size: tuple[int, int], spacing_mm: tuple[float, ...], side: int) -> tuple[int, int]:
    return inside_square(size[0] * spacing_mm[0], size[1] * spacing_mm[1], side)


def limits_of(stack: Stack, recipe: PreprocessRecipe) -> tuple[float, float] | None:
    """The recipe's window in a stack's rescaled values; None where each picture has its own.

    Raises StudyRejected (missing_attribute) where PET is wanted in SUV and does not say how it becomes that.
    """
    plane = stack.planes[0]
    if in_hu(plane):
        return recipe.window_hu
    if recipe.window_suv is None or not is_pet(plane):
        return None
    unit = unit_of(stack)
    if unit.no_suv:
        raise StudyRejected(Reason.MISSING_ATTRIBUTE, detail=f"PET values do not become SUV: {unit.no_suv}")
    low, high = recipe.window_suv
    return low / unit.factor, high / unit.factor


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


def _picture(
    plane: Plane, image: NDArray[np.float32], instances: tuple[str, ...], recipe: PreprocessRecipe, source: Source
) -> Picture:
    modality = "XR" if plane.modality in RADIOGRAPHS else plane.modality
    modality = modality if modality in MODALITIES else "OT"
    part = folded(plane.body_part)
    if modality == "CT" and not in_hu(plane):
        modality = "OT"  # a picture of a CT slice holds grey levels, which do not belong beside HU
    if modality == "PT" and recipe.window_suv and not is_pet(plane):
        modality = "OT"  # nor beside SUV
    unit = "HU" if modality == "CT" else "SUV" if modality == "PT" and recipe.window_suv else "relative"
    return Picture(group_name(modality, part, recipe), stored(image), instances, modality, part, unit, source)


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
