"""The factor by which the rescaled values of a PET series become SUV: by body weight, in g/mL.

After the vendor-neutral pseudo-code of QIBA's FDG-PET/CT profile and PS3.3 C.8.9 (PET Series, Isotope and Image
modules), narrowed: where it assumes, as that a dose is of the day of the scan, there is no factor unless nothing else
can be meant. All files of a series must say the same.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Any, TypeVar

from pydicom.dataset import Dataset

from medgan.dicom import headers
from medgan.dicom.attributes import floats, many
from medgan.dicom.pixels import UNREADABLE
from medgan.dicom.read import Plane

DOSE_BQ, HALF_LIFE_S, WEIGHT_KG = (1e5, 1e11), (30.0, 1e7), (0.005, 500.0)  # outside, a value is of another unit
MOST_HALF_LIVES = 10.0  # from injection to scan; nothing is left after
LONGEST_SCAN_S = 4 * 3600.0  # from its start to the acquisition of a slice
SAME_START_S = 60.0  # between starts that slices of one scan give
DAY_S = 86400.0
DAYLONG_S = 8 * 3600.0  # of a longer half-life, images are taken on other days too
GE_PET, PHILIPS_PET = (0x0009, "GEMS_PETD_01"), (0x7053, "Philips PET Private Group")
SCAN_DATETIME, SUV_FACTOR, ACTIVITY_FACTOR = 0x0D, 0x00, 0x09
CORRECTED = {"ATTN", "DECY"}
MOMENT = re.compile(r"(\d{8})(\d{4}(?:\d{2}(?:\.\d{1,6})?)?)([+-]\d{4})?")
ZONE = re.compile(r"[+-]\d{4}")
T = TypeVar("T")


class NoSuv(StrEnum):
    """Why there is no factor: a closed list."""

    UNITS = "units"  # not BQML, CNTS of Philips, or GML by body weight; or values of no one linear scale
    NOT_CORRECTED = "not_corrected"  # for attenuation and decay
    DECAY_CORRECTION = "decay_correction"  # neither to the start of the scan nor to the injection
    RADIOPHARMACEUTICAL = "radiopharmaceutical"  # none or several; no dose or half-life that can be
    WEIGHT = "weight"
    TIMES = "times"  # of scan and injection: missing, or they do not fit one another
    DIFFER = "files_differ"
    UNREADABLE = "unreadable"


class _None(Exception):
    def __init__(self, why: NoSuv) -> None:
        super().__init__(why)
        self.why = why


def suv_factor(planes: Sequence[Plane]) -> tuple[float | None, NoSuv | None]:
    """What the rescaled values of these planes of a PET series are to be multiplied with; or None, and why.

    Opens the header of each file once, pixels untouched. Raises OSError.
    """
    try:
        return _factor(planes), None
    except _None as error:
        return None, error.why
    except (OSError, MemoryError):
        raise  # of the world, not of the file: another time there is a factor
    except UNREADABLE:
        return None, NoSuv.UNREADABLE


def _factor(planes: Sequence[Plane]) -> float:
    # MONOCHROME1 is not of the PET module, and whoever inverts it inverts its numbers
    linear = all(p.rescaled and not p.pixels.lut and p.pixels.photometric == "MONOCHROME2" for p in planes)
    if not linear or any(plane.modality != "PT" for plane in planes):
        raise _None(NoSuv.UNITS)
    files = list(dict.fromkeys(plane.pixels.file for plane in planes))
    found = [headers.dataset(Path(file)) for file in files]
    unit = _agreed(_word(dataset, "Units") for dataset in found)
    if unit == "GML":
        if _agreed(_word(dataset, "SUVType") for dataset in found) not in ("", "BW"):
            raise _None(NoSuv.UNITS)
        return 1.0
    if unit not in ("BQML", "CNTS"):
        raise _None(NoSuv.UNITS)
    _agreed(tuple(sorted(_words(dataset, "CorrectedImage"))) for dataset in found)
    if not _words(found[0], "CorrectedImage").issuperset(CORRECTED):
        raise _None(NoSuv.NOT_CORRECTED)
    corrected = _agreed(_word(dataset, "DecayCorrection") for dataset in found)
    if corrected not in ("START", "ADMIN"):
        raise _None(NoSuv.DECAY_CORRECTION)
    if unit == "BQML":
        return _of_activity(found, corrected)
    if factor := _philips(found, SUV_FACTOR):
        return factor
    if factor := _philips(found, ACTIVITY_FACTOR):
        return factor * _of_activity(found, corrected)
    raise _None(NoSuv.UNITS)


def _of_activity(found: Sequence[Dataset], corrected: str) -> float:
    """g/mL for each Bq/mL."""
    weight = _agreed(_within(floats(dataset.get("PatientWeight")), WEIGHT_KG) for dataset in found)
    if weight is None:
        raise _None(NoSuv.WEIGHT)
    isotope = _agreed(map(_isotope, found))
    if isotope is None:
        raise _None(NoSuv.RADIOPHARMACEUTICAL)
    left = isotope.dose_bq
    if corrected == "START":
        left *= 2 ** -(_elapsed_s(found, isotope) / isotope.half_life_s)
    return 1000 * weight / left


@dataclass(frozen=True, slots=True)
class _Isotope:
    dose_bq: float
    half_life_s: float
    start: str  # date and time, where they are said
    time: str


def _isotope(dataset: Dataset) -> _Isotope | None:
    items: Sequence[Dataset] = dataset.get("RadiopharmaceuticalInformationSequence") or ()
    if len(items) != 1:
        return None
    dose = _within(floats(items[0].get("RadionuclideTotalDose")), DOSE_BQ)
    half_life = _within(floats(items[0].get("RadionuclideHalfLife")), HALF_LIFE_S)
    if dose is None or half_life is None:
        return None
    start, time = (_text(items[0], f"RadiopharmaceuticalStart{word}") for word in ("DateTime", "Time"))
    return _Isotope(dose, half_life, start, time)


def _elapsed_s(found: Sequence[Dataset], isotope: _Isotope) -> float:
    """Seconds from the injection to the moment that values were corrected to."""
    begun = _begun(found, isotope.half_life_s)
    injected = _moment(isotope.start, _text(found[0], "TimezoneOffsetFromUTC"))
    if injected is not None:
        elapsed = (begun - injected).total_seconds()
    else:
        injected = _moment(f"{begun:%Y%m%d}{isotope.time}")
        if isotope.start or injected is None or isotope.half_life_s > DAYLONG_S:
            raise _None(NoSuv.TIMES)
        elapsed = (begun - injected).total_seconds() % DAY_S  # over midnight, where the clock says later
    if not 0 < elapsed <= MOST_HALF_LIVES * isotope.half_life_s:
        raise _None(NoSuv.TIMES)  # 0: whoever made all times one lost them
    return elapsed


def _begun(found: Sequence[Dataset], half_life_s: float) -> datetime:
    """When the scan began: values are corrected to that moment, whichever slice they are of.

    The series' time says so, unless it lies after the acquisition: then the series was made anew.
    """
    acquired = [_date_and_time(dataset, "Acquisition") for dataset in found]
    if any(moment is None for moment in acquired):
        raise _None(NoSuv.TIMES)
    first = min(moment for moment in acquired if moment is not None)
    said = _agreed(_date_and_time(dataset, "Series") for dataset in found)
    scan = _agreed(_moment(_private_text(dataset, *GE_PET, SCAN_DATETIME)) for dataset in found)
    for begun in (said, scan):
        if begun is not None and 0 <= (first - begun).total_seconds() <= LONGEST_SCAN_S:
            return begun
    starts = [
        _reckoned(dataset, moment, half_life_s) for dataset, moment in zip(found, acquired, strict=True) if moment
    ]
    if (max(starts) - min(starts)).total_seconds() > SAME_START_S:
        raise _None(NoSuv.TIMES)
    return min(starts)


def _reckoned(dataset: Dataset, acquired: datetime, half_life_s: float) -> datetime:
    """The start from one slice: Frame Reference Time runs from it to when the frame's count rate was the average."""
    reference, duration = (floats(dataset.get(word)) for word in ("FrameReferenceTime", "ActualFrameDuration"))  # ms
    if len(reference) != 1 or len(duration) != 1 or not 0 < duration[0] <= 1000 * DAY_S:
        raise _None(NoSuv.TIMES)
    rate = math.log(2) / half_life_s
    decay = rate * duration[0] / 1000
    average = math.log(decay / -math.expm1(-decay)) / rate
    if not 0 < reference[0] <= 1000 * LONGEST_SCAN_S:
        raise _None(NoSuv.TIMES)
    return acquired + timedelta(seconds=average - reference[0] / 1000)


def _date_and_time(dataset: Dataset, of: str) -> datetime | None:
    return _moment(_text(dataset, f"{of}Date") + _text(dataset, f"{of}Time"))


def _moment(text: str, zone: str = "") -> datetime | None:
    """A date with a time of minutes at least, in the zone of the series where both say theirs."""
    found = MOMENT.fullmatch(text)
    if not found:
        return None
    day, time, own = found.groups()
    try:
        moment = datetime.strptime(f"{day}{time[:6]:0<6}", "%Y%m%d%H%M%S")
    except ValueError:
        return None
    moment += timedelta(seconds=float(f"0{time[6:]}"))
    return moment + (_offset(zone) - _offset(own)) if own and ZONE.fullmatch(zone) else moment


def _offset(zone: str) -> timedelta:
    away = timedelta(hours=int(zone[1:3]), minutes=int(zone[3:]))
    return -away if zone[0] == "-" else away


def _philips(found: Sequence[Dataset], low: int) -> float | None:
    return _agreed(_within(floats(_private(dataset, *PHILIPS_PET, low)), (1e-12, 1e12)) for dataset in found)


def _private(dataset: Dataset, group: int, creator: str, low: int) -> Any:
    """A value of a creator's block, also where its VR was lost on the way; None where there is none."""
    block = next((b for b in range(0x10, 0x100) if _plain(dataset.get((group, b))).strip() == creator), None)
    value = None if block is None else dataset.get((group, block << 8 | low))
    value = value if value is None else value.value
    return value.decode("ascii", "replace").strip("\0 ") if isinstance(value, bytes) else value


def _private_text(dataset: Dataset, group: int, creator: str, low: int) -> str:
    return _plain(_private(dataset, group, creator, low))


def _plain(element: Any) -> str:
    value = getattr(element, "value", element)
    return "" if value is None else str(value).strip()


def _text(dataset: Dataset, keyword: str) -> str:
    return _plain(dataset.get(keyword))


def _word(dataset: Dataset, keyword: str) -> str:
    return _text(dataset, keyword).upper()


def _words(dataset: Dataset, keyword: str) -> set[str]:
    return {str(word).strip().upper() for word in many(dataset.get(keyword))}


def _within(some: tuple[float, ...], limits: tuple[float, float]) -> float | None:
    return some[0] if len(some) == 1 and limits[0] <= some[0] <= limits[1] else None


def _agreed(some: Iterable[T]) -> T:
    """What all files say. Raises _None."""
    first, *others = some
    if any(other != first for other in others):
        raise _None(NoSuv.DIFFER)
    return first
