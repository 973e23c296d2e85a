"""Residual risk: how many patients share what is retained of each (k-anonymity over patient characteristics).

One row a patient: keyword -> value as DICOM holds it, `{"PatientAge": "047Y", "PatientSex": "F"}`. Pure functions.
"""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

CHARACTERISTICS = (
    "PatientAge",
    "PatientSex",
    "PatientSize",
    "PatientWeight",
    "EthnicGroup",
    "PregnancyStatus",
    "SmokingStatus",
    "PatientSexNeutered",
)
AGE_BANDS = (1, 5, 10, 20)  # years
SIZE_BAND_M, WEIGHT_BAND_KG = 0.1, 10.0
OLDEST = 90  # ages above 89 are one group, whatever the band
SHOWN = 10  # smallest cells that a report shows
NOT_STATED = "not stated"

Row = Mapping[str, str]

_AGE = re.compile(r"(\d{3})([DWMY])")
_PER_YEAR = {"D": 365, "W": 52, "M": 12, "Y": 1}


@dataclass(frozen=True, slots=True)
class Cell:
    """Patients who look alike: what they share, in words, and how many they are."""

    values: tuple[tuple[str, str], ...]
    patients: int


@dataclass(frozen=True, slots=True)
class Anonymity:
    """k of a set of patients, and what of it is below the k that was asked for."""

    k: int  # patients in the smallest cell; 0 without patients
    asked: int
    patients: int
    cells: int
    below: int  # patients in cells of fewer than `asked`
    smallest: tuple[Cell, ...]  # the SHOWN smallest ones below `asked`
    age_band_years: int
    attributes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Coarser:
    """What reaches a k: ages in bands of so many years, and attributes that are not retained."""

    age_band_years: int
    without: tuple[str, ...]
    k: int


def anonymity(
    rows: Sequence[Row], asked: int = 5, *, age_band_years: int = 1, attributes: Sequence[str] = CHARACTERISTICS
) -> Anonymity:
    """Count the patients in each cell of equal characteristics; an attribute that nobody has does not count."""
    held = tuple(name for name in attributes if any(row.get(name) for row in rows))
    counts = Counter(tuple(_told(name, row.get(name, ""), age_band_years) for name in held) for row in rows)
    small = sorted((count, values) for values, count in counts.items() if count < asked)
    return Anonymity(
        k=min(counts.values(), default=0),
        asked=asked,
        patients=len(rows),
        cells=len(counts),
        below=sum(count for count, _ in small),
        smallest=tuple(Cell(tuple(zip(held, values, strict=True)), count) for count, values in small[:SHOWN]),
        age_band_years=age_band_years,
        attributes=held,
    )


def generalised(
    rows: Sequence[Row], asked: int, *, age_band_years: int = 1, attributes: Sequence[str] = CHARACTERISTICS
) -> Coarser | None:
    """The least that reaches k >= `asked`: wider age bands first, then as few attributes less as possible.

    None when there are fewer patients than `asked`, so that nothing can reach it.
    """
    held = [name for name in attributes if any(row.get(name) for row in rows)]
    bands = [band for band in AGE_BANDS if band >= age_band_years] or [age_band_years]
    tables = {band: _counted(rows, held, band) for band in bands}
    for size in range(len(held) + 1):
        for without in itertools.combinations(range(len(held)), size):
            for band in bands:
                k = _smallest(tables[band], set(without))
                if k >= asked:
                    return Coarser(band, tuple(held[index] for index in without), k)
    return None


def _counted(rows: Iterable[Row], held: Sequence[str], band: int) -> Counter[tuple[str, ...]]:
    return Counter(tuple(_told(name, row.get(name, ""), band) for name in held) for row in rows)


def _smallest(counts: Counter[tuple[str, ...]], without: set[int]) -> int:
    merged: Counter[tuple[str, ...]] = Counter()
    for values, count in counts.items():
        merged[tuple(value for index, value in enumerate(values) if index not in without)] += count
    return min(merged.values(), default=0)


def _told(name: str, value: str, age_band_years: int) -> str:
    """A value as its group, in words that a reader of the report understands."""
    value = value.strip()
    if not value:
        return NOT_STATED
    if name == "PatientAge":
        return _age(value, age_band_years)
    if name == "PatientSize":
        return _band(value, SIZE_BAND_M, "m")
    if name == "PatientWeight":
        return _band(value, WEIGHT_BAND_KG, "kg")
    return value


def _age(value: str, band: int) -> str:
    match = _AGE.fullmatch(value)
    if match is None:
        return NOT_STATED
    years = int(match[1]) // _PER_YEAR[match[2]]
    if years >= OLDEST:
        return "over 89 years"
    low = years // band * band
    return f"{low} years" if band == 1 else f"{low} to {min(low + band, OLDEST) - 1} years"


def _band(value: str, width: float, unit: str) -> str:
    try:
        index = int(float(value) / width)
    except (ValueError, OverflowError):
        return NOT_STATED
    return f"{index * width:g} to {(index + 1) * width:g} {unit}"
