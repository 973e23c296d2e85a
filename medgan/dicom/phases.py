"""Several passes over the same places in one series: contrast phases, echoes, b-values, time points, copies."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterable, Sequence
from itertools import combinations
from typing import TypeVar

import numpy as np

from medgan.dicom.pixels import stored_values
from medgan.dicom.read import Plane
from medgan.dicom.spacing import FEWEST_SLICES, Axes, row
from medgan.errors import Reason, StudyRejected

SAME_PLACE_MM = 0.005
# of Plane.phase: stack, time point, echo time, echo number, inversion time, b-value and gradient direction divide
# planes wherever they differ; what follows (trigger, acquisition, reference time ...) may differ from slice to slice of
# one volume
DIVIDING = 7
T = TypeVar("T")
Key = tuple[float | str, ...]


def divided(planes: Sequence[Plane], axes: Axes) -> list[list[Plane]]:
    """Planes apart by stack, time point, echo, inversion time, b-value and direction, each part in order of place."""
    ordered = in_order(planes, axes)
    if len({plane.phase[:DIVIDING] for plane in planes}) == 1:
        return [ordered]
    numbers = _numbers_of_places(ordered, axes)
    columns = [c for c in range(DIVIDING) if not _of_the_slice([p.phase[c] for p in ordered], numbers)]
    parts = by(ordered, lambda plane: tuple(plane.phase[c] for c in columns))
    return [parts[key] for key in sorted(parts)]


def passes(ordered: Sequence[Plane], axes: Axes, corrected: Counter[str]) -> list[list[Plane]]:
    """One plane a place, once or several times; the earliest first. Counts copies that are dropped.

    Raises StudyRejected: multi_phase when planes at one place differ and nothing tells them apart cleanly,
    too_few_slices, or what reading pixels raises.
    """
    places = _places(ordered, axes)
    if len(places) < FEWEST_SLICES:
        raise StudyRejected(Reason.TOO_FEW_SLICES, detail=f"{len(places)} places, expected {FEWEST_SLICES} or more")
    if len(places) == len(ordered):
        return [list(ordered)] if _is_row(ordered, axes) else _interwoven(ordered, axes) or [list(ordered)]
    if parts := _told_apart(ordered, axes) or _numbered(places):
        return parts
    kept = [without_copies(place) for place in places]
    some = [plane for place in kept for plane in place]
    corrected.update(duplicate_dropped=len(ordered) - len(some))
    if len(some) == len(places):
        return [some]
    if parts := _told_apart(some, axes) or _numbered(kept):
        return parts
    raise StudyRejected(Reason.MULTI_PHASE, detail="slices at one place differ, and nothing tells them apart")


def without_copied_passes(parts: Sequence[list[Plane]], corrected: Counter[str]) -> list[list[Plane]]:
    """Passes of which none repeats the pixels of another; middles are compared before wholes."""
    kept: dict[bytes, list[list[Plane]]] = defaultdict(list)
    if len(parts) == 1:
        return list(parts)
    for part in parts:
        alike = kept[_content(part[len(part) // 2])]
        if any(_same_pixels(part, other) for other in alike):
            corrected.update(duplicate_dropped=len(part))
        else:
            alike.append(part)
    unique = {id(part) for alike in kept.values() for part in alike}
    return [part for part in parts if id(part) in unique]


def without_copies(planes: Iterable[Plane]) -> list[Plane]:
    """Planes whose values differ; the first of each. Raises StudyRejected when pixels cannot be read."""
    planes = list(planes)
    if len(planes) == 1:
        return planes
    seen: dict[bytes, Plane] = {}
    for plane in planes:
        seen.setdefault(_content(plane), plane)
    return list(seen.values())


def in_order(planes: Sequence[Plane], axes: Axes) -> list[Plane]:
    """Planes sorted along their normal."""
    along = np.array([plane.position_mm for plane in planes], float) @ np.array(axes[0])
    keyed = [(place, p.instance, p.frame, str(p.pixels.file)) for place, p in zip(along.tolist(), planes, strict=True)]
    return [planes[index] for index in sorted(range(len(planes)), key=keyed.__getitem__)]


def by(planes: Iterable[Plane], name: Callable[[Plane], T]) -> dict[T, list[Plane]]:
    """Planes grouped by what `name` says of each, in the order in which they come."""
    groups: dict[T, list[Plane]] = defaultdict(list)
    for plane in planes:
        groups[name(plane)].append(plane)
    return groups


def _content(plane: Plane) -> bytes:
    raw = stored_values(plane.pixels, plane.frame)
    about = repr((plane.slope, plane.intercept, raw.dtype.str, raw.shape))
    return hashlib.sha256(about.encode() + raw.tobytes()).digest()


def _same_pixels(part: Sequence[Plane], other: Sequence[Plane]) -> bool:
    return len(part) == len(other) and all(_content(a) == _content(b) for a, b in zip(part, other, strict=True))


def _places(ordered: Sequence[Plane], axes: Axes) -> list[list[Plane]]:
    places: list[list[Plane]] = []
    for number, plane in zip(_numbers_of_places(ordered, axes), ordered, strict=True):
        if number == len(places):
            places.append([])
        places[-1].append(plane)
    return places


def _numbers_of_places(ordered: Sequence[Plane], axes: Axes) -> list[int]:
    """For each plane, which place along the normal it lies at, from 0."""
    along = (np.array([plane.position_mm for plane in ordered], float) @ np.array(axes[0])).tolist()
    numbers, start = [0], along[0]
    for here in along[1:]:
        apart = here - start > SAME_PLACE_MM
        numbers.append(numbers[-1] + apart)
        start = here if apart else start
    return numbers


def _of_the_slice(values: Sequence[Hashable], numbers: Sequence[int]) -> bool:
    """Whether an attribute varies with the place only, each value at one place: it then divides nothing."""
    distinct = len(set(values))
    return 1 < distinct == len(set(zip(values, numbers, strict=True)))


def _is_row(planes: Sequence[Plane], axes: Axes) -> bool:
    try:
        row(planes, axes)
    except StudyRejected:
        return False
    return True


def _told_apart(ordered: Sequence[Plane], axes: Axes) -> list[list[Plane]] | None:
    """Parts that one attribute, or two together, tell apart, each a row by itself."""
    columns = [c for c in range(DIVIDING, len(ordered[0].phase)) if len({plane.phase[c] for plane in ordered}) > 1]
    for some in [*combinations(columns, 1), *combinations(columns, 2)]:
        parts = by(ordered, _values_at(some))
        if all(_single_row(part, axes) for part in parts.values()):
            return [parts[key] for key in sorted(parts)]
    return None


def _values_at(columns: Sequence[int]) -> Callable[[Plane], Key]:
    return lambda plane: tuple(plane.phase[c] for c in columns)


def _single_row(part: Sequence[Plane], axes: Axes) -> bool:
    return len(part) >= FEWEST_SLICES and len(_places(part, axes)) == len(part) and _is_row(part, axes)


def _interwoven(ordered: Sequence[Plane], axes: Axes) -> list[list[Plane]] | None:
    """Parts as `_told_apart` finds them whose places lie between one another: two that follow one another are a gap."""
    parts = _told_apart(ordered, axes)
    if parts is None:
        return None
    rank = {id(plane): index for index, plane in enumerate(ordered)}
    spans = sorted((rank[id(part[0])], rank[id(part[-1])]) for part in parts)
    return parts if all(a[1] > b[0] for a, b in zip(spans, spans[1:], strict=False)) else None


def _numbered(places: Sequence[list[Plane]]) -> list[list[Plane]] | None:
    """Passes when Instance Numbers run through all places again and again, each time in one order."""
    if len({len(place) for place in places}) > 1:
        return None
    planes = [(plane.number, plane.frame, index, plane) for index, place in enumerate(places) for plane in place]
    planes.sort(key=lambda row: row[:3])
    count = len(places)
    runs = [planes[start : start + count] for start in range(0, len(planes), count)]
    if any([row[2] for row in run] != [row[2] for row in runs[0]] for run in runs):
        return None
    return [[row[3] for row in sorted(run, key=lambda row: row[2])] for run in runs]
