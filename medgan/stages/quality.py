"""How good the pictures of a real cohort are: what is refused, and a page on which a person sees the rest.

usable             pictures of a study without those that are beyond use
quality_report     Cohort -> Quality: quality.html and quality.json, sealed in the research zone
write_quality      the same two files into any folder
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from medgan import digest as digests
from medgan.bundle.quality_page import Apart, Column, Sheet, quality_page
from medgan.cohort import quality, source_figures
from medgan.cohort.arrays import PARTS, CohortArrays, read_cohort
from medgan.cohort.source_figures import Source
from medgan.home import Home
from medgan.recipes import QualityRecipe
from medgan.records import Cohort, Record

VERSION = 2
STAGE = "quality"
PAGE, FIGURES = "quality.html", "quality.json"


class Quality(Record):
    """The page about a real cohort that stays in the research zone: it shows real pictures."""

    digest: str
    cohort_digest: str
    group: str
    outliers: dict[str, int]  # pictures that stand apart, by figure
    refused: int  # pictures that were beyond use
    left_out: int  # near duplicates across the split


class Imaged(Protocol):
    """Whatever holds an image, stored integers [C, D, H, W], and says what it was made of."""

    @property
    def image(self) -> NDArray[Any]: ...

    @property
    def source(self) -> Source: ...


P = TypeVar("P", bound=Imaged)


def usable(pictures: Sequence[P], limits: QualityRecipe) -> tuple[list[P], int]:
    """Those that are not beyond use, in order, and how many are; all on one grid."""
    if not pictures:
        return [], 0
    bad = quality.unusable(
        np.stack([picture.image for picture in pictures]),
        min_foreground=limits.min_foreground,
        max_clipped=limits.max_clipped,
    ) | source_figures.unfit(
        [picture.source for picture in pictures],
        max_padding=limits.max_padding,
        max_spacing_mm=limits.max_spacing_mm,
    )
    return [picture for picture, out in zip(pictures, bad, strict=True) if not out], int(bad.sum())


def quality_report(cohort: Cohort, limits: QualityRecipe, home: Home, *, refused: int = 0) -> Quality:
    """The sealed page and figures of a cohort; `refused` counts pictures of its group that were beyond use before."""

    def fill(folder: Path) -> Quality:
        arrays = read_cohort(home.research.store.path(cohort.digest) / "cohort.zarr")
        found = write_quality(folder, arrays, limits, refused=refused)
        return Quality(
            digest="",
            cohort_digest=cohort.digest,
            group=cohort.group,
            outliers=found,
            refused=refused,
            left_out=_left_out(arrays),
        )

    return home.research.make(
        digests.key(STAGE, VERSION, [cohort.digest], limits, refused=refused),
        fill,
        stage=STAGE,
        kind=Quality,
        parents=(cohort.digest,),
        patients=home.research.ledger.patients_of(cohort.digest),
    )


def report_file(made: Quality, home: Home) -> Path:
    """quality.html in the research zone."""
    return home.research.store.path(made.digest) / PAGE


def write_quality(folder: Path, cohort: CohortArrays, limits: QualityRecipe, *, refused: int = 0) -> dict[str, int]:
    """Write quality.html and quality.json; pictures that stand apart, by figure."""
    columns = quality.measure(cohort.images)
    columns |= source_figures.columns_of(cohort.source, cohort.attributes.get("source_figures", ()))
    found = quality.outliers(columns, limits.outlier_z, _figures(columns))
    sheet = _sheet(cohort, columns, found, limits, refused)
    (folder / PAGE).write_text(quality_page(sheet))
    counts = Counter(one.figure for one in found)
    (folder / FIGURES).write_bytes(digests.canonical(_told(cohort, columns, found, counts)))
    return dict(sorted(counts.items()))


def _sheet(
    cohort: CohortArrays,
    columns: dict[str, NDArray[np.float64]],
    found: Sequence[quality.Outlier],
    limits: QualityRecipe,
    refused: int,
) -> Sheet:
    about = {
        "group": str(cohort.attributes.get("group", "OT-ANY")),
        "unit": str(cohort.attributes.get("unit", "patient")),
        "outlier_z": limits.outlier_z,
        "refused": refused,
        "left_out": _left_out(cohort),
    }
    drawn = [
        Column(f.name, f.text, columns[f.name], *quality.limits(columns[f.name], f, limits.outlier_z))
        for f in _figures(columns)
    ]
    return Sheet(
        images=cohort.images,
        keys=cohort.patient_key.tolist(),
        parts=[PARTS[part] for part in cohort.split],
        classes=[cohort.classes[label] for label in cohort.label],
        columns=drawn,
        apart=[Apart(one.row, one.figure, one.value, one.z) for one in found],
        near_duplicates=cohort.attributes.get("near_duplicates", []),
        about=about,
    )


def _told(
    cohort: CohortArrays,
    columns: dict[str, NDArray[np.float64]],
    found: Sequence[quality.Outlier],
    counts: Counter[str],
) -> dict[str, Any]:
    """Percentiles of each figure, and all pictures that stand apart, by row and pseudonym."""
    percentiles = (0, 5, 25, 50, 75, 95, 100)
    measured = {name: column[np.isfinite(column)] for name, column in columns.items()}
    return {
        "schema": 1,
        "figures": {
            name: {
                f"p{p}": round(float(value), 6)
                for p, value in zip(percentiles, np.percentile(column, percentiles), strict=True)
            }
            for name, column in measured.items()
            if len(column)
        },
        "outliers": dict(sorted(counts.items())),
        "apart": [
            {
                "row": one.row,
                "patient_key": str(cohort.patient_key[one.row]),
                "figure": one.figure,
                "value": round(one.value, 6),
                "z": round(one.z, 3),
            }
            for one in found
        ],
    }


def _figures(columns: dict[str, NDArray[np.float64]]) -> list[quality.Figure]:
    """The figures that a cohort has: one that others packed says nothing of its sources."""
    return [figure for figure in (*quality.FIGURES, *source_figures.FIGURES) if figure.name in columns]


def _left_out(cohort: CohortArrays) -> int:
    return int(cohort.attributes.get("left_out_near_duplicates", 0))
