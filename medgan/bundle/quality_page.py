"""The page about the pictures of one real cohort: each figure's spread, who stands apart, what was left out and why.

It shows patients' pictures and stays in the research zone; a patient is named by pseudonym.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from medgan.bundle import charts, pictures, words
from medgan.bundle.charts import Line, Mark
from medgan.bundle.report import environment

SHOWN, ROWS, BINS, DOTS = 8, 60, 40, 100
KEY_DIGITS = 8  # of a pseudonym that the page shows
TITLES = {
    "foreground": "Foreground",
    "blank": "Blank area",
    "clipped": "Clipped area",
    "contrast": "Contrast",
    "snr": "Signal to noise",
    "blur": "Blur",
    "spacing": "Pixel spacing",
    "step": "Slice distance",
    "slices": "Slices",
    "anisotropy": "Anisotropy",
    "padding": "Padding",
    "cut_off": "Cut off",
}
OF_SOURCE = ("spacing", "step", "slices", "anisotropy", "padding", "cut_off")
SOURCES = {
    "foreground": "Pixels brighter than p0.5 + max(0.1 (p99.5 - p0.5), 0.02 of the scale).",
    "blank": "Pixels whose 3 x 3 neighbourhood holds one value.",
    "clipped": "Pixels at the top of the scale, and those at 0 that no run of zeros along their row or column joins to "
    "the edge.",
    "contrast": "p95 - p5 over the scale.",
    "snr": "20 log10 of the foreground's mean above p0.5, over the noise: Immerkaer's mask (1996) on the calmer half "
    "of the foreground, as in Tai and Yang (2008).",
    "blur": "Crété-Roffet et al. (2007): the part of the differences between neighbours that a low-pass of 9 pixels "
    "leaves.",
    "spacing": "The larger of the distances between rows and between columns, as the header says.",
    "step": "Between neighbouring slices, from their positions.",
    "slices": "Planes of the series of which the picture, or the slice, was made.",
    "anisotropy": "The largest over the smallest distance between voxels: 1 for cubes.",
    "padding": "Where the grid holds no value of the source: around it, or where the source itself says padding.",
    "cut_off": "The part of the source's extent that found no room on the grid.",
}
UNITS = {"snr": "dB", "spacing": "mm", "step": "mm", "slices": "", "anisotropy": ""}  # of all others: a share
DIGITS = {"snr": 1, "spacing": 2, "step": 2, "slices": 0, "anisotropy": 2}


@dataclass(frozen=True, slots=True)
class Column:
    """One figure of all pictures [N], in words, and the values beyond which a picture stands apart.

    A picture that does not have the figure has no number there.
    """

    name: str
    text: str
    values: NDArray[np.float64]
    low: float | None
    high: float | None


@dataclass(frozen=True, slots=True)
class Apart:
    """A picture that stands apart: row, name of the figure, value, robust distance."""

    row: int
    figure: str
    value: float
    z: float


@dataclass(frozen=True, slots=True)
class Sheet:
    """A cohort: images [N, C, D, H, W], key, part and class of each row, figures, and who stands apart.

    about: group, unit, refused, left_out. near_duplicates: left_out, like (keys), part, row, likeness.
    """

    images: NDArray[Any]
    keys: Sequence[str]
    parts: Sequence[str]
    classes: Sequence[str]
    columns: Sequence[Column]
    apart: Sequence[Apart]
    near_duplicates: Sequence[Mapping[str, Any]]
    about: Mapping[str, Any]


def quality_page(sheet: Sheet) -> str:
    """quality.html: one file that needs no network."""
    made = [column for column in sheet.columns if column.name in OF_SOURCE]
    names = {column.name for column in made}
    view = {
        "kind": words.modality(str(sheet.about["group"])),
        "patients": len(set(sheet.keys)),
        "rows_apart": len({one.row for one in sheet.apart}),
        "figures": [_figure(column, sheet) for column in sheet.columns if column.name not in OF_SOURCE],
        "of_source": [_figure(column, sheet) for column in made if not _constant(column)],
        "alike": [(TITLES[column.name], _middle(column)) for column in made if _constant(column)],
        "table": [_row(one, sheet) for one in sheet.apart[:ROWS]],
        "more": max(0, len(sheet.apart) - ROWS),
        "twins": [_twin(one, sheet) for one in sheet.near_duplicates[:ROWS]],
        "sources": [(TITLES[name], text) for name, text in SOURCES.items() if name in names or name not in OF_SOURCE],
    }
    return environment().get_template("quality.html.j2").render(sheet=sheet, about=sheet.about, **view).strip() + "\n"


def shown(name: str, value: float) -> str:
    """A figure's value with its unit."""
    if name not in UNITS:
        return words.percent(value) if abs(value) < 10 else f"{value:.3g}"
    return words.number(value, DIGITS[name]) + (f"\u202f{UNITS[name]}" if UNITS[name] else "")


def _figure(column: Column, sheet: Sheet) -> dict[str, Any]:
    beyond = [one for one in sheet.apart if one.figure == column.name]
    furthest = [one.row for one in beyond[:SHOWN]] or _worst(column)
    known = _known(column)
    middle = float(np.median(known)) if len(known) else 0.0
    # what is not a number is sorted to the end
    typical = np.argsort(np.abs(column.values - middle), kind="stable")[: min(SHOWN, len(known))].tolist()
    return {
        "title": TITLES.get(column.name, column.name),
        "text": column.text,
        "count": len(beyond),
        "middle": _middle(column),
        "unknown": len(column.values) - len(known),
        "chart": _histogram(column, [one.value for one in beyond]),
        "furthest": [_tile(row, column, sheet) for row in furthest],
        "typical": [_tile(row, column, sheet) for row in typical],
    }


def _known(column: Column) -> NDArray[np.float64]:
    return column.values[np.isfinite(column.values)]


def _constant(column: Column) -> bool:
    """Whether the page has nothing to draw of it: all pictures that have the figure show the same value."""
    known = _known(column)
    return len({shown(column.name, value) for value in known.tolist()}) < 2


def _middle(column: Column) -> str:
    known = _known(column)
    return shown(column.name, float(np.median(known))) if len(known) else "–"


def _worst(column: Column) -> list[int]:
    """The rows on the worse side when none is beyond its limit; on both sides, when both are worse."""
    order = np.argsort(column.values, kind="stable")[: len(_known(column))].tolist()
    if column.low is not None and column.high is not None:
        half = min(SHOWN // 2, len(order) // 2)
        return order[:half] + order[len(order) - half :][::-1]
    return order[:SHOWN] if column.high is None else order[::-1][:SHOWN]


def _histogram(column: Column, beyond: Sequence[float]) -> Markup | None:
    known = _known(column)
    if not len(known):
        return None

    def show(value: float) -> str:
        return f"{value:g}" if column.name in UNITS else charts.percent(round(value, 4))

    x = charts.straight([float(known.min()), float(known.max())], show)
    counts, edges = np.histogram(known, BINS, (x.low, x.high))
    y = charts.straight([0.0, float(counts.max())], lambda value: words.number(value, 0))
    steps = [(float(edge), float(count)) for i, count in enumerate(counts) for edge in edges[i : i + 2]]
    return charts.chart(
        [
            Line(steps, column.text, "real", area=True),
            *(Line([(value, 0.0)], "", "stop", dots=True) for value in beyond[:DOTS]),
        ],
        x,
        y,
        x_title=column.text,
        title=f"{TITLES.get(column.name, column.name)}: {column.text}, by number of pictures",
        marks=[Mark(limit, "limit", "stop") for limit in (column.low, column.high) if limit and x.low < limit < x.high],
    )


def _tile(row: int, column: Column, sheet: Sheet) -> dict[str, str]:
    value = shown(column.name, float(column.values[row]))
    return {"picture": _picture(row, sheet), "value": value, "title": f"{_name(row, sheet)}, {value}"}


def _row(one: Apart, sheet: Sheet) -> dict[str, Any]:
    return {
        "picture": _picture(one.row, sheet),
        "name": _name(one.row, sheet),
        "part": sheet.parts[one.row],
        "label": sheet.classes[one.row],
        "figure": TITLES.get(one.figure, one.figure),
        "value": shown(one.figure, one.value),
        "z": f"{one.z:+.1f}".replace("-", "\u2212"),
    }


def _twin(pair: Mapping[str, Any], sheet: Sheet) -> dict[str, Any]:
    row = int(pair["row"])
    return {
        "picture": _picture(row, sheet) if 0 <= row < len(sheet.keys) else "",
        "stayed": str(pair["like"])[:KEY_DIGITS],
        "left": str(pair["left_out"])[:KEY_DIGITS],
        "part": pair["part"],
        "likeness": float(pair["likeness"]),
    }


def _name(row: int, sheet: Sheet) -> str:
    return f"{sheet.keys[row][:KEY_DIGITS]} no. {row}"


def _picture(row: int, sheet: Sheet) -> str:
    return pictures.data_uri(pictures.planar(sheet.images[row : row + 1])[0])
