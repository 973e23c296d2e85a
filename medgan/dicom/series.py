"""Which planes make a volume: split, sorted by position, checked, or refused with a reason.

No library both reads everything and refuses bad geometry, so the rules are here. They look at headers only;
pixels are opened just where two planes lie at one place.
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from statistics import median
from typing import TypeVar

from medgan.dicom.pixels import stored_values
from medgan.dicom.read import Plane
from medgan.errors import Reason, StudyRejected
from medgan.volume.geometry import Geometry, Vector, dot, plane_axes

STEP_MM, STEP_SHARE = 0.0101, 0.01  # steps may differ by the larger: positions are often rounded to 0.01 mm
SAME_PLACE_MM = 0.005
SIDEWAYS_MM, SIDEWAYS_SHARE = 0.1, 0.002  # of a plane, off the line along the normal; a tilt of 0.1 degrees
SAME_COSINE = 1e-3
SAME_SPACING = 1e-3
TILT_DEG = 0.5
FEWEST_SLICES = 3  # two steps: with fewer, no gap can be seen
PROJECTIONS = {"CR", "DX", "RG", "MG", "IO", "PX", "RF", "XA"}
CROSS_SECTIONS = {"CT", "MR", "PT", "NM"}
MR_PARTS = {"M", "P", "R", "I", "MAGNITUDE", "PHASE", "REAL", "IMAGINARY", "M_FFE", "P_FFE"}
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Stack:
    """Planes in order along their normal, one step apart, and the grid they span."""

    planes: tuple[Plane, ...]
    geometry: Geometry


@dataclass(slots=True)
class Sorted:
    """What the planes of a study are: single pictures, volumes, and what was refused or corrected."""

    films: list[Plane] = field(default_factory=list)
    stacks: list[Stack] = field(default_factory=list)
    refused: Counter[Reason] = field(default_factory=Counter)  # one for each part of a series
    corrected: Counter[str] = field(default_factory=Counter)  # duplicate_dropped, multi_phase_split


def sort_planes(planes: Iterable[Plane]) -> Sorted:
    """Films, volumes and refusals of one study; the order in which planes come changes nothing."""
    found = Sorted()
    ordered = sorted(planes, key=lambda plane: (plane.series, plane.instance, plane.frame))
    films = [plane for plane in ordered if _is_film(plane)]
    for same_file in _by(films, lambda plane: plane.instance).values():
        found.films.append(same_file[len(same_file) // 2])  # a cine loop gives its middle frame
    sections = [plane for plane in ordered if not _is_film(plane)]
    for series in _by(sections, lambda plane: plane.series).values():
        _sort_series(series, found)
    return found


def stack(planes: Sequence[Plane], corrected: Counter[str] | None = None) -> Stack:
    """The volume that planes of one size, spacing and orientation make. Raises StudyRejected."""
    first = planes[0]
    if first.orientation is None or first.spacing_mm is None or any(p.position_mm is None for p in planes):
        raise StudyRejected(Reason.NO_POSITION, detail="a slice has no position, orientation or spacing")
    normal, down, along = plane_axes(first.orientation)
    chosen = _one_phase(planes, normal, corrected if corrected is not None else Counter())
    if len(chosen) < FEWEST_SLICES:
        raise StudyRejected(Reason.TOO_FEW_SLICES, detail=f"{len(chosen)} slices, expected {FEWEST_SLICES} or more")
    step = _step([_place(plane, normal) for plane in chosen])
    _check_upright(chosen, normal)
    geometry = Geometry(
        shape=(len(chosen), *first.size),
        spacing_mm=(step, *first.spacing_mm),
        origin_mm=chosen[0].position_mm,  # type: ignore[arg-type]
        axes=(normal, down, along),
    )
    return Stack(tuple(chosen), geometry)


def _is_film(plane: Plane) -> bool:
    if plane.modality in PROJECTIONS and plane.pixels.frames == 1:
        return True
    if plane.position_mm is not None and plane.orientation is not None:
        return False
    return plane.modality not in CROSS_SECTIONS or plane.picture


def _sort_series(planes: list[Plane], found: Sorted) -> None:
    usable = []
    unwanted: set[Reason] = set()
    for plane in planes:
        if reason := _unwanted(plane):
            unwanted.add(reason)
        else:
            usable.append(plane)
    found.refused.update(unwanted)
    groups = sorted(_groups(usable), key=lambda group: (-len(group), group[0].instance, group[0].frame))
    for group in groups:
        if len(group) < FEWEST_SLICES and group is not groups[0]:
            found.refused[_difference(group[0], groups[0][0])] += 1
            continue
        try:
            found.stacks.append(stack(group, found.corrected))
        except StudyRejected as error:
            found.refused[error.reason] += 1


def _unwanted(plane: Plane) -> Reason | None:
    if "LOCALIZER" in plane.image_type or "SCOUT" in plane.image_type:
        return Reason.LOCALIZER
    if "MOSAIC" in plane.image_type:
        return Reason.MOSAIC  # many slices tiled into one picture; where they are is in private attributes
    if plane.position_mm is None or plane.orientation is None:
        return Reason.NO_POSITION
    return None


def _groups(planes: list[Plane]) -> list[list[Plane]]:
    """Planes that could be of one volume: same frame of reference, size, class, then orientation and spacing."""
    groups = []
    for same in _by(planes, _class).values():
        for oriented in _clusters(same, lambda a, b: _close(a.orientation, b.orientation, SAME_COSINE)):
            groups += _clusters(oriented, _same_spacing)
    return groups


def _class(plane: Plane) -> Hashable:
    parts = tuple(sorted(MR_PARTS.intersection(plane.image_type)))
    return plane.frame_of_reference, plane.size, plane.pixels.photometric, plane.modality, plane.image_type[:3], parts


def _difference(plane: Plane, main: Plane) -> Reason:
    """Why a plane is not of the main volume of its series."""
    if plane.size != main.size:
        return Reason.MIXED_SIZE
    if not _close(plane.orientation, main.orientation, SAME_COSINE):
        return Reason.MIXED_ORIENTATION
    if not _same_spacing(plane, main):
        return Reason.MIXED_SPACING
    return Reason.TOO_FEW_SLICES


def _one_phase(planes: Sequence[Plane], normal: Vector, corrected: Counter[str]) -> list[Plane]:
    """One plane a place, in order. Raises StudyRejected (multi_phase) when several cannot be told apart."""
    ordered = sorted(planes, key=lambda plane: (_place(plane, normal), plane.instance, plane.frame))
    places = _places(ordered, normal)
    if len(places) == len(ordered):
        return ordered
    if phase := _first_phase(places):
        corrected["multi_phase_split"] += 1
        return phase
    kept = [_without_copies(place) for place in places]
    dropped = len(ordered) - sum(len(place) for place in kept)
    if dropped:
        corrected["duplicate_dropped"] += dropped
    if all(len(place) == 1 for place in kept):
        return [place[0] for place in kept]
    if phase := _first_phase(kept):
        corrected["multi_phase_split"] += 1
        return phase
    raise StudyRejected(Reason.MULTI_PHASE, detail="slices at one place differ, and nothing tells them apart")


def _first_phase(places: list[list[Plane]]) -> list[Plane] | None:
    """The first of several whole passes over all places that time, echo, b-value or the like tell apart."""
    passes = len(places[0])
    if passes < 2 or any(len(place) != passes for place in places):
        return None
    numbers = range(len(places[0][0].phase))
    for some in [*combinations(numbers, 1), *combinations(numbers, 2)]:
        values = [sorted(tuple(plane.phase[i] for i in some) for plane in place) for place in places]
        if len(set(values[0])) == passes and all(value == values[0] for value in values):
            first = values[0][0]
            return [p for place in places for p in place if tuple(p.phase[i] for i in some) == first]
    return _first_numbered(places)


def _first_numbered(places: list[list[Plane]]) -> list[Plane] | None:
    """The first pass when Instance Numbers run through all places again and again, each time in one order."""
    numbered = sorted(
        ((plane.number, plane.instance, plane.frame, index) for index, place in enumerate(places) for plane in place)
    )
    if len({(number, frame) for number, _, frame, _ in numbered}) < len(numbered):
        return None
    order = [index for *_, index in numbered]
    count = len(places)
    if any(order[start : start + count] != order[:count] for start in range(0, len(order), count)):
        return None
    first = {row[1:3] for row in numbered[:count]}
    return [plane for place in places for plane in place if (plane.instance, plane.frame) in first]


def _without_copies(place: list[Plane]) -> list[Plane]:
    """Planes whose stored pixels differ; the first of each."""
    if len(place) == 1:
        return place
    seen: dict[bytes, Plane] = {}
    for plane in place:
        raw = stored_values(plane.pixels, plane.frame)
        seen.setdefault(hashlib.sha256(raw.tobytes()).digest(), plane)
    return list(seen.values())


def _places(ordered: list[Plane], normal: Vector) -> list[list[Plane]]:
    places: list[list[Plane]] = []
    last = -math.inf
    for plane in ordered:
        here = _place(plane, normal)
        if here - last > SAME_PLACE_MM:
            places.append([])
            last = here
        places[-1].append(plane)
    return places


def _step(places: list[float]) -> float:
    """The distance between neighbours, mm. Raises StudyRejected when it is not one distance."""
    steps = [b - a for a, b in zip(places, places[1:], strict=False)]
    usual = median(steps)
    for step in steps:
        times = round(step / usual)
        if abs(step - usual) <= max(STEP_MM, STEP_SHARE * usual):
            continue
        if times >= 2 and abs(step - times * usual) <= times * max(STEP_MM, STEP_SHARE * usual):
            raise StudyRejected(Reason.MISSING_SLICE, detail=f"a gap of {step:.2f} mm, expected {usual:.2f}")
        raise StudyRejected(Reason.UNEVEN_STEP, detail=f"steps of {step:.2f} and {usual:.2f} mm, expected one")
    return (places[-1] - places[0]) / len(steps)


def _check_upright(planes: Sequence[Plane], normal: Vector) -> None:
    """Raises StudyRejected (sheared) when slices drift sideways, or a tilt is declared that positions do not show."""
    start = planes[0].position_mm or (0.0, 0.0, 0.0)
    for plane in planes:
        x, y, z = (b - a for a, b in zip(start, plane.position_mm or start, strict=True))
        height = dot((x, y, z), normal)
        sideways = math.sqrt(max(0.0, x * x + y * y + z * z - height * height))
        if sideways > max(SIDEWAYS_MM, SIDEWAYS_SHARE * abs(height)):
            raise StudyRejected(Reason.SHEARED, detail=f"slices lie {sideways:.2f} mm off the line along their normal")
    if abs(planes[0].tilt_deg) > TILT_DEG and abs(normal[2]) > math.cos(math.radians(TILT_DEG)):
        raise StudyRejected(Reason.SHEARED, detail="a gantry tilt is declared, but slices are said to be upright")


def _place(plane: Plane, normal: Vector) -> float:
    return dot(plane.position_mm or (0.0, 0.0, 0.0), normal)


def _same_spacing(a: Plane, b: Plane) -> bool:
    if a.spacing_mm is None or b.spacing_mm is None:
        return a.spacing_mm == b.spacing_mm
    return all(abs(x - y) <= SAME_SPACING * y for x, y in zip(a.spacing_mm, b.spacing_mm, strict=True))


def _close(a: tuple[float, ...] | None, b: tuple[float, ...] | None, most: float) -> bool:
    return a is not None and b is not None and all(abs(x - y) <= most for x, y in zip(a, b, strict=True))


def _clusters(planes: list[Plane], same: Callable[[Plane, Plane], bool]) -> list[list[Plane]]:
    """Planes gathered around the first of their kind."""
    clusters: list[list[Plane]] = []
    for plane in planes:
        home = next((cluster for cluster in clusters if same(plane, cluster[0])), None)
        if home is None:
            clusters.append([plane])
        else:
            home.append(plane)
    return clusters


def _by(planes: Iterable[Plane], name: Callable[[Plane], T]) -> dict[T, list[Plane]]:
    groups: dict[T, list[Plane]] = defaultdict(list)
    for plane in planes:
        groups[name(plane)].append(plane)
    return groups
