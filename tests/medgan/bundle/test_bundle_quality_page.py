"""The page about a real cohort shows who stands apart by pseudonym, loads nothing and escapes what it shows."""

import re
from dataclasses import replace

import numpy as np
import pytest

from medgan.bundle.quality_page import Apart, Column, Sheet, quality_page, shown

KEYS = [f"{number:02d}" * 16 for number in range(30)]
TWIN = {"left_out": "ab" * 16, "like": KEYS[4], "part": "audit", "row": 4, "likeness": 0.97}


def sheet(count: int = 30, *, apart: tuple[Apart, ...] = (), **more: object) -> Sheet:
    chance = np.random.default_rng(0)
    columns = [
        Column("blur", "how soft", chance.uniform(0.3, 0.5, count), None, 0.6),
        Column("snr", "spread over noise, in dB", chance.uniform(20, 30, count), 10.0, None),
        Column("foreground", "share lit", chance.uniform(0.4, 0.6, count), 0.1, 0.9),
    ]
    about = {"group": "XR-CHEST-2d-16", "unit": "patient", "outlier_z": 6.0, "refused": 0, "left_out": 0}
    return Sheet(
        images=chance.integers(0, 255, (count, 1, 1, 16, 16), np.uint8),
        keys=KEYS[:count],
        parts=["train"] * count,
        classes=["<b>nodule</b>"] * count,
        columns=columns,
        apart=apart,
        near_duplicates=more.pop("near_duplicates", ()),  # type: ignore[arg-type]
        about=about | more,
    )


APART = (Apart(3, "blur", 0.9, 12.0), Apart(7, "snr", 4.0, -8.0))


def test_who_stands_apart_is_named_by_pseudonym_and_row_alone() -> None:
    page = quality_page(sheet(apart=APART))
    assert "2 of 30 radiographs stand apart" in page
    assert f"{KEYS[3][:8]} no. 3" in page and f"{KEYS[7][:8]} no. 7" in page and "4.0\u202fdB" in page
    assert not re.search(r"\b[0-9a-f]{32}\b", page)


def test_the_page_says_that_it_stays_in_the_house_and_loads_nothing() -> None:
    page = quality_page(sheet(apart=APART, near_duplicates=[TWIN], left_out=1))
    assert "Keep it in the house" in page
    assert "http" not in page.replace("http-equiv", "") and "<script" not in page
    assert set(re.findall(r'src="([^:"]+):', page)) == {"data"}


def test_a_class_name_cannot_write_markup() -> None:
    page = quality_page(sheet(apart=APART))
    assert "<b>nodule" not in page and "&lt;b&gt;nodule" in page


def test_a_picture_of_two_patients_is_told() -> None:
    page = quality_page(sheet(near_duplicates=[TWIN], left_out=1))
    assert "One picture, two patients" in page and "abababab" in page and KEYS[4][:8] in page
    assert "One picture, two patients" not in quality_page(sheet())


def test_a_calm_cohort_shows_its_furthest_pictures() -> None:
    page = quality_page(sheet())
    assert "No picture stands apart" in page and page.count("Furthest, though not apart") == 3
    assert page.count("<figure") == 3 * 16


@pytest.mark.parametrize("count", [1, 2, 5])
def test_a_small_cohort_still_makes_a_page(count: int) -> None:
    page = quality_page(sheet(count, near_duplicates=[TWIN | {"row": -1}], unit="image"))
    assert "</html>" in page and "nan" not in page.lower() and page.count('class="chart"') == 3


def test_the_same_sheet_gives_the_same_bytes() -> None:
    assert quality_page(sheet(apart=APART)) == quality_page(sheet(apart=APART))


def test_values_have_their_units() -> None:
    assert [shown("snr", 12.34), shown("blur", 0.5), shown("clipped", 0.004)] == [
        "12.3\u202fdB",
        "50\u202f%",
        "0.4\u202f%",
    ]


def made_of(**values: list[float]) -> str:
    base = sheet(4)
    columns = [Column(name, name, np.array(column), None, None) for name, column in values.items()]
    return quality_page(replace(base, columns=[*base.columns, *columns]))


def test_what_pictures_were_made_of_is_drawn_where_it_differs_and_named_where_it_does_not() -> None:
    page = made_of(spacing=[0.7, 0.8, 0.75, float("nan")], slices=[120.0] * 4, step=[float("nan")] * 3 + [2.5])
    assert "What the pictures were made of" in page and page.count('class="chart"') == 4
    assert "0.75\u202fmm" in page and "Not known of 1." in page
    assert "slices 120" in page and "slice distance 2.50\u202fmm" in page
    assert "nan" not in page.lower() and "What the pictures were made of" not in quality_page(sheet())
