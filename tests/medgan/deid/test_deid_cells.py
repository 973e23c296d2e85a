"""k-anonymity over what is retained: cells count every patient once, and what is proposed really reaches k."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medgan.deid.cells import AGE_BANDS, Cell, anonymity, generalised

PEOPLE = [
    {"PatientAge": "041Y", "PatientSex": "F"},
    {"PatientAge": "043Y", "PatientSex": "F"},
    {"PatientAge": "044Y", "PatientSex": "F"},
    {"PatientAge": "046Y", "PatientSex": "M"},
    {"PatientAge": "047Y", "PatientSex": "M"},
]


def person() -> Any:
    ages = st.integers(0, 95).map(lambda years: f"{years:03d}Y")
    return st.fixed_dictionaries(
        {"PatientAge": ages | st.just(""), "PatientSex": st.sampled_from(["F", "M", "O", ""])},
        optional={"PatientWeight": st.floats(2, 200).map(lambda kg: f"{kg:.1f}"), "SmokingStatus": st.just("NO")},
    )


def test_everybody_is_unique_by_year_and_fewer_are_in_bands() -> None:
    exact, banded = anonymity(PEOPLE, 2), anonymity(PEOPLE, 2, age_band_years=5)
    assert (exact.k, exact.cells, exact.below) == (1, 5, 5)
    assert (banded.k, banded.cells, banded.below) == (2, 2, 0)
    assert exact.smallest[0] == Cell((("PatientAge", "41 years"), ("PatientSex", "F")), 1)
    assert anonymity(PEOPLE, 3, age_band_years=5).smallest[0].values[0] == ("PatientAge", "45 to 49 years")


def test_wider_bands_come_before_dropping_an_attribute() -> None:
    coarser = generalised(PEOPLE, 2)
    assert coarser is not None and (coarser.age_band_years, coarser.without, coarser.k) == (5, (), 2)
    coarser = generalised(PEOPLE, 5)
    assert coarser is not None and (coarser.age_band_years, coarser.without, coarser.k) == (10, ("PatientSex",), 5)
    assert generalised(PEOPLE, 6) is None and generalised([], 1) is None


@pytest.mark.parametrize(
    ("age", "band", "told"),
    [
        pytest.param("090Y", 10, "over 89 years", id="capped"),
        pytest.param("089Y", 20, "80 to 89 years", id="a band that ends at 89"),
        pytest.param("006M", 10, "0 to 9 years", id="months"),
        pytest.param("003W", 1, "0 years", id="weeks"),
        pytest.param("", 1, "not stated", id="none"),
        pytest.param("old", 1, "not stated", id="not an age"),
    ],
)
def test_ages_are_told_in_bands(age: str, band: int, told: str) -> None:
    (cell,) = anonymity([{"PatientAge": age, "PatientSex": "F"}], age_band_years=band).smallest
    assert dict(cell.values).get("PatientAge", "not stated") == told


def test_sizes_and_weights_are_told_in_bands() -> None:
    (cell,) = anonymity([{"PatientSize": "1.78", "PatientWeight": "81.5"}]).smallest
    assert dict(cell.values) == {"PatientSize": "1.7 to 1.8 m", "PatientWeight": "80 to 90 kg"}


@given(st.lists(person(), max_size=30), st.integers(1, 6), st.sampled_from(AGE_BANDS))
@settings(max_examples=60, deadline=None)
def test_every_patient_is_in_one_cell_and_a_proposal_holds(rows: list[dict[str, str]], asked: int, band: int) -> None:
    found = anonymity(rows, asked, age_band_years=band)
    assert found.patients == len(rows) and found.cells <= len(rows)
    assert (found.below == 0) == (found.k >= asked or not rows)
    assert sum(cell.patients for cell in found.smallest) <= found.below
    coarser = generalised(rows, asked, age_band_years=band)
    assert (coarser is None) == (len(rows) < asked)
    if coarser is not None:
        left = [name for name in found.attributes if name not in coarser.without]
        again = anonymity(rows, asked, age_band_years=coarser.age_band_years, attributes=left)
        assert again.k == coarser.k >= asked and coarser.age_band_years >= band
