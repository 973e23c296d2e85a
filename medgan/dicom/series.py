"""Which planes make a volume: split, sorted by position, checked, or refused with a reason.

No library both reads everything and refuses bad geometry, so the rules are here. They look at headers only;
pixels are opened just where planes may be copies of one another.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass, field

from medgan.dicom.phases import by, divided, passes, without_copied_passes, without_copies
from medgan.dicom.read import Plane
from medgan.dicom.spacing import FEWEST_SLICES, Axes, Row, rows
from medgan.errors import Reason, StudyRejected
from medgan.volume.geometry import Geometry, plane_axes

SAME_COSINE = 1e-3
SAME_SPACING = 1e-3
PROJECTIONS = {"CR", "DX", "RG", "MG", "IO", "PX", "RF", "XA"}
CROSS_SECTIONS = {"CT", "MR", "PT", "NM"}
# words of Image Type that tell pictures of one place apart, beside its first three values
MR_PARTS = {"M", "P", "R", "I", "MAGNITUDE", "PHASE", "REAL", "IMAGINARY", "M_FFE", "P_FFE", "FIELD_MAP"}
DIXON = {"W", "F", "WATER", "FAT", "IP", "OP", "IN", "OPP", "IN_PHASE", "OUT_PHASE", "OPP_PHASE"}
COMPUTED = {"MPR", "MIP", "MINIP", "MNIP", "PROJECTION IMAGE", "ADC", "FA", "TRACEW", "SUBTRACTION", "RCBF", "RCBV"}


@dataclass(frozen=True, slots=True, repr=False)
class Stack:
    """Planes in order along their normal, one step apart, and the upright grid they span.

    A plane is shifted beside the normal by `shear` mm (down the rows, along the columns) from the plane before it,
    so that plane `i` lies `i * shear` off the grid.
    """

    planes: tuple[Plane, ...]
    geometry: Geometry
    series: str
    phase: int = 0  # of several passes over the same places, in order of what tells them apart
    shear: tuple[float, float] = (0.0, 0.0)


@dataclass(slots=True)
class Sorted:
    """What the planes of a study are: single pictures, volumes, and what was refused or corrected.

    Corrections: duplicate_dropped (planes), multi_phase_split (volumes beyond the first), tilt_removed,
    uneven_step_split and positions_rounded (volumes).
    """

    films: list[Plane] = field(default_factory=list)
    stacks: list[Stack] = field(default_factory=list)
    refused: Counter[Reason] = field(default_factory=Counter)  # one for each part of a series
    corrected: Counter[str] = field(default_factory=Counter)


def sort_planes(planes: Iterable[Plane]) -> Sorted:
    """Films, volumes and refusals of one study; the order in which planes come changes nothing."""
    found = Sorted()
    ordered = sorted(planes, key=lambda plane: (plane.series, plane.instance, plane.frame, str(plane.pixels.file)))
    sections: list[Plane] = []
    films: list[Plane] = []
    for plane in ordered:
        (films if _is_film(plane) else sections).append(plane)
    for same in by(films, lambda plane: plane.instance).values():
        _sort_films(same, found)
    for series in by(sections, lambda plane: plane.series).values():
        _sort_series(series, found)
    found.corrected = +found.corrected
    return found


def _is_film(plane: Plane) -> bool:
    if plane.modality in PROJECTIONS and plane.pixels.frames == 1:
        return True
    if plane.position_mm is not None and plane.orientation is not None:
        return False
    return plane.modality not in CROSS_SECTIONS or plane.picture


def _sort_films(planes: list[Plane], found: Sorted) -> None:
    """The middle frame of each file of one instance, copies of a file left out."""
    middles = [frames[len(frames) // 2] for frames in by(planes, lambda plane: plane.pixels.file).values()]
    try:
        films = without_copies(middles)
    except StudyRejected as error:
        found.refused[error.reason] += 1
        return
    found.films.extend(films)
    found.corrected["duplicate_dropped"] += len(middles) - len(films)


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
        else:
            _sort_group(group, found)


def _sort_group(planes: list[Plane], found: Sorted) -> None:
    """Every pass of planes of one size, spacing and orientation as a stack, or why it is none."""
    try:
        axes = _axes(planes[0])
    except StudyRejected as error:
        found.refused[error.reason] += 1
        return
    stacks: list[list[Stack]] = []
    for part in _parts(planes, axes, found):
        try:
            some = rows(part, axes)
        except StudyRejected as error:
            found.refused[error.reason] += 1
            continue
        stacks.append([_stack(row, axes, len(stacks)) for row in some])
        _count(some, found.corrected)
    found.corrected["multi_phase_split"] += max(0, len(stacks) - 1)
    found.stacks += [stack for part in stacks for stack in part]


def _parts(planes: list[Plane], axes: Axes, found: Sorted) -> list[list[Plane]]:
    parts: list[list[Plane]] = []
    for part in divided(planes, axes):
        try:
            parts += passes(part, axes, found.corrected)
        except StudyRejected as error:
            found.refused[error.reason] += 1
    try:
        return without_copied_passes(parts, found.corrected)
    except StudyRejected as error:
        found.refused[error.reason] += 1
        return []


def _axes(plane: Plane) -> Axes:
    if plane.orientation is None or plane.spacing_mm is None or plane.aspect:
        raise StudyRejected(Reason.NO_POSITION, detail="a slice has no orientation or spacing")
    return plane_axes(plane.orientation)


def _stack(row: Row, axes: Axes, phase: int) -> Stack:
    first = row.planes[0]
    geometry = Geometry(
        shape=(len(row.planes), *first.size),
        spacing_mm=(row.step_mm, *first.spacing_mm),  # type: ignore[misc]
        origin_mm=first.position_mm,  # type: ignore[arg-type]
        axes=axes,
    )
    return Stack(row.planes, geometry, first.series, phase, row.shear_mm)


def _count(some: Sequence[Row], corrected: Counter[str]) -> None:
    corrected["uneven_step_split"] += len(some) - 1
    corrected["tilt_removed"] += sum(row.shear_mm != (0.0, 0.0) for row in some)
    corrected["positions_rounded"] += sum(row.rounded for row in some)


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
    equal = by(planes, _exactly).values()
    classes: dict[Hashable, list[list[Plane]]] = {}
    for some in equal:
        classes.setdefault(_class(some[0]), []).append(some)
    groups = []
    for same in classes.values():
        for oriented in _clusters(same, lambda a, b: _close(a.orientation, b.orientation, SAME_COSINE)):
            groups += [[plane for some in cluster for plane in some] for cluster in _clusters(oriented, _same_spacing)]
    return groups


def _exactly(plane: Plane) -> Hashable:
    return (
        plane.orientation,
        plane.spacing_mm,
        plane.image_type,
        plane.frame_of_reference,
        plane.size,
        plane.pixels.photometric,
        plane.modality,
        _pet_unit(plane),
    )


def _class(plane: Plane) -> Hashable:
    parts = frozenset((MR_PARTS | DIXON | COMPUTED).intersection(plane.image_type))
    kind = plane.pixels.photometric, plane.modality, plane.image_type[:3], parts, _pet_unit(plane)
    return plane.frame_of_reference, plane.size, *kind


def _pet_unit(plane: Plane) -> str:
    """Counts and activities are not of one volume; a CT slice of unknown unit is refused when its pixels are read."""
    return plane.unit if plane.modality == "PT" else ""


def _difference(plane: Plane, main: Plane) -> Reason:
    """Why a plane is not of the main volume of its series."""
    if plane.size != main.size:
        return Reason.MIXED_SIZE
    if not _close(plane.orientation, main.orientation, SAME_COSINE):
        return Reason.MIXED_ORIENTATION
    if not _same_spacing(plane, main):
        return Reason.MIXED_SPACING
    return Reason.TOO_FEW_SLICES


def _same_spacing(a: Plane, b: Plane) -> bool:
    if a.spacing_mm is None or b.spacing_mm is None:
        return a.spacing_mm == b.spacing_mm
    return all(abs(x - y) <= SAME_SPACING * y for x, y in zip(a.spacing_mm, b.spacing_mm, strict=True))


def _close(a: tuple[float, ...] | None, b: tuple[float, ...] | None, most: float) -> bool:
    return a is not None and b is not None and all(abs(x - y) <= most for x, y in zip(a, b, strict=True))


def _clusters(some: list[list[Plane]], same: Callable[[Plane, Plane], bool]) -> list[list[list[Plane]]]:
    """Equal planes gathered around the first of their kind."""
    clusters: list[list[list[Plane]]] = []
    for planes in some:
        home = next((cluster for cluster in clusters if same(planes[0], cluster[0][0])), None)
        if home is None:
            clusters.append([planes])
        else:
            home.append(planes)
    return clusters
