"""Masks of the pictures of a study: DICOM SEG, brought onto the very grid of the picture they belong to.

Labels are numbered from 1 in the order of their codes (dicom/segments.py), so that a number means the same in a whole
cohort. A volume of which one mask does not fit has none: half of what was drawn would call the other half background.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medgan.dicom.masks import Mask, Segmentation, read_segmentation
from medgan.dicom.segments import meaning_of, wanted_as
from medgan.dicom.series import Stack
from medgan.errors import Reason, StudyRejected, UsageError
from medgan.recipes import PreprocessRecipe
from medgan.volume.geometry import Geometry
from medgan.volume.masks import nearest, unfit_labels, volumes_mm3

MOST = 255  # labels of a uint8 mask
Labels = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Marking:
    """The mask of one picture: labels uint8 [1, D, H, W]; label `k` is `codes[k - 1]`, 0 is nothing."""

    labels: Labels
    codes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class CohortMasks:
    """mask uint8 [N, 1, D, H, W], has_mask [N], and what a cohort says of its labels; none where no picture has one."""

    mask: NDArray[np.uint8] | None = None
    has_mask: NDArray[np.uint8] | None = None
    attributes: dict[str, Any] = field(default_factory=dict)


@dataclass(slots=True)
class Drawn:
    """The masks of a study, and the codes of its labels; counts what was refused, and segments without a code."""

    codes: tuple[str, ...] = ()
    masks: list[tuple[Segmentation, dict[int, int]]] = field(default_factory=list)  # number of a segment -> label
    refused: Counter[Reason] = field(default_factory=Counter)
    unnamed: int = 0

    @classmethod
    def read(cls, files: Iterable[Path], wanted: tuple[str, ...]) -> Drawn:
        """Those in these SEG files, and of their segments those that are wanted; empty: all that have a code."""
        found = cls(wanted)
        read = [one for file in files if (one := found._opened(file))]
        found.unnamed = sum(not code for one in read for code in one.codes.values())
        named = [{number: wanted_as(code, wanted) for number, code in one.codes.items()} for one in read]
        found.codes = wanted or tuple(sorted({code for some in named for code in some.values()} - {""}))
        if len(found.codes) > MOST:
            found.refused[Reason.MASK_UNFIT] += len(read)
            return found
        for one, codes in zip(read, named, strict=True):
            if labels := {number: found.codes.index(code) + 1 for number, code in codes.items() if code}:
                found.masks.append((one, labels))
        return found

    def _opened(self, file: Path) -> Segmentation | None:
        try:
            return read_segmentation(file)
        except StudyRejected as error:
            self.refused[error.reason] += 1
            return None

    def on(self, stack: Stack, grids: Sequence[Geometry], native: Sequence[Geometry] = ()) -> list[Labels] | None:
        """Labels on each of `grids`, [D, H, W]; None where nothing was drawn on the volume, or does not fit (counted).

        native: the grids of the volume that `grids` stand for, where those are a part of it: of a label on them at
        least half must be found again.
        """
        found = [one for one in self.masks if one[0].drawn_on(stack)]
        pages: list[Labels] = [np.zeros(grid.shape, np.uint8) for grid in grids]
        try:
            for segmentation, labels in found:
                mask = segmentation.labels(labels, step_mm=stack.geometry.spacing_mm[0])
                table = np.zeros(1 << 16, np.uint8)
                table[list(labels)] = list(labels.values())
                for page, moved in zip(pages, moved_onto(mask, grids, native), strict=True):
                    _lay_over(page, table[moved])
        except StudyRejected as error:
            self.refused[error.reason] += 1
            return None
        return pages if found else None

    def without_a_volume(self, stacks: Iterable[Stack]) -> int:
        """How many masks were drawn on none of these."""
        some = list(stacks)
        return sum(not any(mask.drawn_on(stack) for stack in some) for mask, _ in self.masks)


def moved_onto(mask: Mask, grids: Sequence[Geometry], native: Sequence[Geometry] = ()) -> list[NDArray[np.uint16]]:
    """A mask on each of `grids`: the nearest voxel's label. Raises StudyRejected (mask_unfit) for a label that goes,
    or swells.

    That is measured against the whole mask, or against what of it lies on the grids `native`.
    """
    pages = [nearest(mask.labels, mask.geometry, grid) for grid in grids]
    before: Counter[int] = Counter()
    for grid in native:
        before.update(volumes_mm3(nearest(mask.labels, mask.geometry, grid), grid))
    after: Counter[int] = Counter()
    for page, grid in zip(pages, grids, strict=True):
        after.update(volumes_mm3(page, grid))
    if unfit := unfit_labels(dict(before) if native else volumes_mm3(mask.labels, mask.geometry), dict(after)):
        raise StudyRejected(Reason.MASK_UNFIT, detail=f"{len(unfit)} labels of a mask go or swell on the grid")
    return pages


def write_markings(folder: Path, group: str, markings: Sequence[Marking | None]) -> dict[str, Any]:
    """`GROUP.mask.npy` with the masks of those pictures that have one, and what is told of it: nothing for none."""
    some = [one for one in markings if one is not None]
    if not some:
        return {}
    np.save(folder / f"{group}.mask.npy", np.stack([one.labels for one in some]), allow_pickle=False)
    return {"masks": {"has_mask": [one is not None for one in markings], "codes": list(some[0].codes)}}


def markings_of(pages: NDArray[np.uint8], told: dict[str, Any]) -> list[Marking | None]:
    """What `write_markings` wrote, a picture each."""
    rows, codes = iter(pages), tuple(told["codes"])
    return [Marking(next(rows), codes) if there else None for there in told["has_mask"]]


def cohort_masks(markings: Sequence[Marking | None], recipe: PreprocessRecipe) -> CohortMasks:
    """The masks of all pictures of a cohort. Raises UsageError when there are more labels than a mask can hold."""
    some = [one for one in markings if one is not None]
    if not some:
        return CohortMasks()
    codes = recipe.segments or tuple(sorted({code for one in some for code in one.codes}))
    if len(codes) > MOST:
        raise UsageError(f"{len(codes)} kinds of segments, expected at most {MOST}; name those wanted in `segments`")
    mask = np.zeros((len(markings), *some[0].labels.shape), np.uint8)
    for row, marking in enumerate(markings):
        if marking is not None:
            mask[row] = np.array([0, *(codes.index(code) + 1 for code in marking.codes)], np.uint8)[marking.labels]
    named = [{"label": n, "code": code, "meaning": meaning_of(code)} for n, code in enumerate(codes, start=1)]
    return CohortMasks(mask, np.array([one is not None for one in markings], np.uint8), {"segments": named})


def _lay_over(page: Labels, labels: Labels) -> None:
    """Add labels to a page, in place. Raises StudyRejected where two claim one voxel."""
    there = labels > 0
    if np.any(there & (page > 0) & (page != labels)):
        raise StudyRejected(Reason.MASK_UNFIT, detail="two masks of a series claim the same voxel for different labels")
    page[there] = labels[there]
