"""Clean Recognizable Visual Features: no picture of a face can be rendered from the head volumes of a study.

The face is a region of space (faces_surface.py), found once for each frame of reference and overwritten by air in every
instance of it, whatever its direction, spacing or tilt. What may show a face and cannot be treated gets a reason:
photographs, screens, frames without a place, heads in which no brain was found.
"""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from collections.abc import Hashable, Iterable, Sequence
from enum import Enum
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from medgan.deid.draft import quiet
from medgan.deid.faces.planes import NO_VOLUME, Pictured, Plane, extent_mm3, planes, rescale, stored_frames, volume
from medgan.deid.faces.surface import STEP_MM, Zone, find_zone
from medgan.deid.pixels import pixels
from medgan.errors import Reason

UNCLEAR = Reason.FACE_UNCLEAR
VOLUMES = frozenset(("CT", "MR", "PT", "NM"))
# no faces: films, ultrasound, slides, pictures from inside; what is in neither list may be a photograph or a rendering
FILMS = "CR DX RG MG IO PX RF XA US IVUS IVOCT OCT OPT OPTBSV OP SM GM ECG HD RTDOSE RTIMAGE"
FLAT = frozenset(FILMS.split())
HEADS = """
HEAD BRAIN SKULL FACE HEADNECK NECK NECKCHEST ORBIT EYE SINUS JAW MAXILLA MANDIBLE NOSE EAR IAC TMJ HIPPOCAMPUS CAROTID
CSPINE CERVIX WHOLEBODY PAROTID TEETH TONGUE TEMPORAL SELLA
"""
HEAD_PARTS = frozenset(HEADS.split())
HEAD_WORDS = """
head brain skull face facial neuro cereb crani encephal orbit sinus nasal dental jaw mandib maxill pituit sella stroke
temporal hippocamp carotid willis neck whole cct wb dbs kopf schadel hirn gesicht hals tete crane cerveau cou visage
cabeza craneo cerebro cuello cara testa collo viso hoofd hersen hals cabeca
"""
WORDS = tuple(HEAD_WORDS.split())
OTHERS = """
chest thorax lung abdom pelvi liver hepat renal kidney prostat knee shoulder hip ankle wrist elbow hand foot lumbar
thoracic breast mammo cardiac heart coronar colon bowel extremit femur tibia
"""
OTHER_WORDS = tuple(OTHERS.split())
TEXTS = (
    *("StudyDescription", "SeriesDescription", "ProtocolName", "RequestedProcedureDescription"),
    *("PerformedProcedureStepDescription", "BodyPartExamined"),
)
SHORT = 4  # letters up to which a word is one's beginning; longer ones may stand anywhere in a text
CT_AIR_HU = -1000.0
BACKGROUND = 5  # percentile of a frame that is taken for air where the unit says nothing
RAY_MM = 250.0  # to each side of a projection's plane


class Shows(Enum):
    """What an instance says that it shows."""

    HEAD = "head"
    ELSEWHERE = "elsewhere"
    UNSAID = "unsaid"


def deface(instances: Sequence[Pictured]) -> None:
    """Remove the faces of one study. Sets `faceless` and `repainted`, or a reason, on the instances with pixels."""
    with quiet():
        pictured = [i for i in instances if i.reason is None and _has_pixels(i.ds)]
        try:
            _deface(pictured)
        except (RecursionError, *pixels.UNDECODABLE, *NO_VOLUME):
            for instance in pictured:
                instance.reason = instance.reason or UNCLEAR


def _deface(pictured: Sequence[Pictured]) -> None:
    pictured = [i for i in pictured if _modality(i.ds) not in FLAT]
    placed = {id(i): planes(i) for i in pictured if _modality(i.ds) in VOLUMES}
    frames = _by(pictured, lambda i: _frame(i.ds) if placed.get(id(i)) else None)
    heads = any(shows(i.ds) is Shows.HEAD for i in pictured)
    for instances_of in (group for key, group in frames.items() if key is not None):
        zone = _zone(instances_of, placed)
        heads |= zone is not None
        for instance in instances_of:
            _treat(instance, placed[id(instance)], zone)
    for instance in frames.get(None, []):
        if heads or shows(instance.ds) is not Shows.ELSEWHERE:
            instance.reason = UNCLEAR


def shows(ds: Dataset) -> Shows:
    """Whether the texts of an instance name a head, something else, or nothing."""
    part = "".join(letter for letter in str(ds.get("BodyPartExamined") or "").upper() if letter.isalpha())
    text = " ".join(_folded(str(ds.get(name) or "")) for name in TEXTS)
    if part in HEAD_PARTS or _names(text, WORDS):
        return Shows.HEAD
    return Shows.ELSEWHERE if part or _names(text, OTHER_WORDS) else Shows.UNSAID


def air(ds: Dataset, frame: NDArray[Any]) -> int:
    """The stored value of air: by its unit in CT, else that of the darkest parts of the frame."""
    if _modality(ds) != "CT":
        return int(np.percentile(frame, BACKGROUND))
    slope, intercept = rescale(ds)
    bits, signed = int(ds.get("BitsStored") or ds.BitsAllocated), int(ds.get("PixelRepresentation") or 0)
    low, high = (-(1 << bits - 1), (1 << bits - 1) - 1) if signed else (0, (1 << bits) - 1)
    return int(np.clip(round((CT_AIR_HU - intercept) / slope), low, high))


def hidden(plane: Plane, shape: tuple[int, int], zone: Zone) -> NDArray[np.bool_]:
    """The pixels [H, W] of a frame that lie in the face; of a scout, those whose rays meet the face and no skull."""
    localizer = "LOCALIZER" in _kind(plane.instance.ds) and _modality(plane.instance.ds) == "CT"
    found = np.zeros(shape, bool)
    rows, columns = _window(plane, shape, zone)
    points = plane.points(rows, columns)
    if not localizer:
        found[np.ix_(rows, columns)] = zone.depth_at(points) > 0
    elif points.size:
        met = np.zeros(points.shape[:2], bool)
        brain = met.copy()
        for step in np.arange(-RAY_MM, RAY_MM, 2 * STEP_MM):
            met |= zone.depth_at(points + step * plane.normal) > 0
            brain |= zone.near_brain(points + step * plane.normal)
        found[np.ix_(rows, columns)] = met & ~brain
    return found


def _window(plane: Plane, shape: tuple[int, int], zone: Zone) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """The rows and columns between which the zone's corners lie."""
    corners = zone.corners() - plane.origin_mm
    found = []
    for axis, spacing, size in zip((plane.down, plane.along), plane.spacing_mm, shape, strict=True):
        places = corners @ axis / spacing
        found.append(np.arange(max(0, int(places.min())), min(size, int(places.max()) + 2), dtype=np.intp))
    return found[0], found[1]


def _zone(instances: Sequence[Pictured], placed: dict[int, list[Plane]]) -> Zone | None:
    """The face of a frame of reference: from the series that covers most, of those in which a brain is found."""
    usable = [i for i in instances if _searched(i.ds)]
    series = [[p for i in group for p in placed[id(i)]] for group in _by(usable, _series).values()]
    for group in sorted(series, key=extent_mm3, reverse=True):
        try:
            slices = volume(group)
            zone = None if slices is None else find_zone(slices, _modality(group[0].instance.ds))
        except (pixels.Undecodable, *NO_VOLUME):
            continue
        if zone is not None:
            return zone
    return None


def _searched(ds: Dataset) -> bool:
    """A brain in CT is known by its skull; in MR a liver could pass for one, so there the text counts."""
    modality = _modality(ds)
    if "LOCALIZER" in _kind(ds):
        return False
    return modality == "CT" or modality == "MR" and shows(ds) is not Shows.ELSEWHERE


def _treat(instance: Pictured, places: Sequence[Plane], zone: Zone | None) -> None:
    if zone is None:
        if shows(instance.ds) is not Shows.ELSEWHERE:
            instance.reason = UNCLEAR
        return
    try:
        frames = stored_frames(instance.ds)
        changed = [_overwritten(frame, place, zone) for frame, place in zip(frames, places, strict=True)]
        if any(changed):
            pixels.write_stored(instance.ds, np.stack(frames))
            instance.repainted = True
        instance.faceless = True
    except (pixels.Undecodable, *NO_VOLUME):
        instance.reason = UNCLEAR


def _overwritten(frame: NDArray[Any], plane: Plane, zone: Zone) -> bool:
    """Put air into the face; padding stays what it is. Returns whether anything changed."""
    ds = plane.instance.ds
    mask, value = hidden(plane, frame.shape, zone), air(ds, frame)
    if ds.get("PixelPaddingValue") is not None:
        mask &= frame != int(ds.PixelPaddingValue)
    changed = bool((frame[mask] != value).any())
    frame[mask] = value
    return changed


def _modality(ds: Dataset) -> str:
    return str(ds.get("Modality") or "")


def _kind(ds: Dataset) -> str:
    return str(ds.get("ImageType") or "")


def _has_pixels(ds: Dataset) -> bool:
    return any(tag in ds for tag in pixels.PIXEL_TAGS)


def _frame(ds: Dataset) -> str:
    return str(ds.get("FrameOfReferenceUID") or ds.get("SeriesInstanceUID"))


def _series(instance: Pictured) -> str:
    return str(instance.ds.get("SeriesInstanceUID"))


def _names(text: str, words: Sequence[str]) -> bool:
    found = re.findall(r"[^\W\d_]+", text)
    return any(word in text if len(word) > SHORT else any(f.startswith(word) for f in found) for word in words)


def _folded(text: str) -> str:
    plain = unicodedata.normalize("NFKD", text.casefold())
    return "".join(letter for letter in plain if not unicodedata.combining(letter))


def _by(instances: Iterable[Pictured], name: Any) -> dict[Hashable, list[Pictured]]:
    groups: dict[Hashable, list[Pictured]] = defaultdict(list)
    for instance in instances:
        groups[name(instance)].append(instance)
    return groups
