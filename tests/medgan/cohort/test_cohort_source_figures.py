"""Figures of what pictures were made of: unknown ones are no numbers, refuse nothing and stand nowhere apart."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from test_cohort_assemble import blobs

from medgan.cohort.arrays import read_cohort, read_rows, write_cohort
from medgan.cohort.assemble import Rows, assemble
from medgan.cohort.quality import outliers
from medgan.cohort.source_figures import FIGURES, Source, columns_of, rows_of, source_of, unfit

NAMES = [figure.name for figure in FIGURES]
CT = source_of((2.5, 0.7, 0.8), 120, padding=0.25, cut_off=0.1)
FILM = source_of((0.2, 0.1), None)
UNKNOWN = source_of(None, None, padding=0.5)


def test_figures_of_a_series_a_film_and_a_picture_of_unknown_size() -> None:
    assert Source(0.8, 2.5, 120, 2.5 / 0.7, padding=0.25, cut_off=0.1) == CT
    assert (FILM.spacing, FILM.anisotropy) == (0.2, 2.0)
    assert np.isnan([FILM.step, FILM.slices, UNKNOWN.spacing, UNKNOWN.anisotropy]).all() and UNKNOWN.padding == 0.5


def test_rows_and_columns_have_the_order_of_the_figures() -> None:
    columns = columns_of(rows_of([CT, FILM, UNKNOWN]), NAMES)
    assert list(columns) == NAMES
    assert columns["step"][0] == 2.5 and np.isnan(columns["step"][1:]).all()
    assert columns["padding"].tolist() == [0.25, 0.0, 0.5]
    assert set(columns_of(rows_of([FILM, UNKNOWN]), NAMES)) == {"spacing", "anisotropy", "padding", "cut_off"}
    assert columns_of(None, NAMES) == {} and rows_of([]).shape == (0, len(NAMES))


def test_a_column_of_a_later_medgan_is_passed_over() -> None:
    rows = np.concatenate([np.full((2, 1), 9, np.float32), rows_of([CT, CT])], axis=1)
    assert columns_of(rows, ["moon", *NAMES])["step"].tolist() == [2.5, 2.5]


@pytest.mark.parametrize(
    ("limits", "out"),
    [
        ({"max_padding": 1.0, "max_spacing_mm": None}, [False, False, False]),
        ({"max_padding": 0.4, "max_spacing_mm": None}, [False, False, True]),
        ({"max_padding": 1.0, "max_spacing_mm": 2.0}, [True, False, False]),
        ({"max_padding": 1.0, "max_spacing_mm": 0.15}, [True, True, False]),
    ],
)
def test_only_what_is_known_can_be_too_much(limits: dict[str, float | None], out: list[bool]) -> None:
    assert unfit([CT, FILM, UNKNOWN], **limits).tolist() == out  # type: ignore[arg-type]


def test_the_odd_series_stands_apart_and_the_unknown_does_not() -> None:
    chance = np.random.default_rng(0)
    many = [source_of((2.0, side, side), 100, padding=0.1) for side in chance.uniform(0.6, 0.8, 40)]
    many[3], many[5], many[7] = source_of((9.0, 0.7, 0.7), 100), source_of((2.0, 0.7, 0.7), 5), UNKNOWN
    found = {(one.row, one.figure) for one in outliers(columns_of(rows_of(many), NAMES), 6.0, FIGURES)}
    assert found == {(3, "step"), (3, "anisotropy"), (5, "slices"), (7, "padding")}


def test_each_picture_keeps_its_own_figures_in_a_cohort(tmp_path: Path) -> None:
    """Also where the picture before it is left out, as a copy of another patient's."""
    images = np.concatenate([blobs(12)[:1], blobs(12)])
    rows = rows_of([source_of((float(number), 1.0, 1.0), number) for number in range(1, 14)])
    keys = [f"{number:032x}" for number in range(13)]
    made = assemble(
        Rows(images, [""] * 13, keys, rows),
        unit="patient",
        min_class_patients=1,
        side=lambda key: 2 if int(key, 16) == 1 else 0,
        attributes={"source_figures": NAMES},
    )
    assert made.source is not None and made.source[:, 1].tolist() == [1.0, *range(3, 14)]
    write_cohort(tmp_path / "c.zarr", made, shard=8)
    whole, some = read_cohort(tmp_path / "c.zarr"), read_rows(tmp_path / "c.zarr", np.array([9, 2]))
    assert whole.source is not None and np.array_equal(whole.source, made.source, equal_nan=True)
    assert some.source is not None and some.source[:, 1].tolist() == [11.0, 4.0]
    taken = whole.take(np.array([2]))
    assert taken.source is not None and taken.source[:, 1].tolist() == [4.0]
    write_cohort(tmp_path / "d.zarr", replace(made, source=None))
    assert read_cohort(tmp_path / "d.zarr").source is None
