"""Keyed substitutes repeat, keep distances, and say nothing without the key."""

from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medgan.deid.scrub import pseudonym

SECRET, OTHER = b"a" * 32, b"b" * 32


def test_a_uid_has_one_pseudonym_for_a_key_and_registered_ones_stay() -> None:
    assert pseudonym.uid(SECRET, "1.2.3") == pseudonym.uid(SECRET, "1.2.3") != pseudonym.uid(OTHER, "1.2.3")
    assert pseudonym.uid(SECRET, "1.2.3").startswith("2.25.") and len(pseudonym.uid(SECRET, "1.2.3")) <= 64
    assert pseudonym.uid(SECRET, "1.2.840.10008.1.2") == "1.2.840.10008.1.2"


@given(st.dates(date(1900, 1, 1), date(2090, 1, 1)), st.integers(0, 4000))
def test_intervals_between_dates_are_kept(day: date, gap: int) -> None:
    days = pseudonym.shift_days(SECRET, "p", 1825)
    assert -1825 <= days <= -30
    first = pseudonym.shift_date(day.strftime("%Y%m%d").zfill(8), days)
    second = pseudonym.shift_datetime((day + timedelta(gap)).strftime("%Y%m%d").zfill(8) + "235959.123+0100", days)
    moved = date.fromisoformat(first)
    assert moved == day + timedelta(days)
    assert date.fromisoformat(second[:8]) - moved == timedelta(gap) and second[8:] == "235959.123+0100"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        *(("20240229", "20240130"), ("2024", "2024"), ("202403", "202402"), ("2024.03.01", "20240131"), ("SMITH", "")),
        *(("20230229", ""), ("20231301", ""), ("00010101", ""), ("99991231", "99991201"), ("18991231", "18991201")),
        *(("20240301-20240302", "20240131-20240201"), ("20240301-", "20240131-"), ("-20240301", "-20240131")),
        *(("2024-03-01", "20240131"), ("2024-03.01", ""), ("٢٠٢٤0301", ""), ("20240301x", ""), ("-", ""), ("", "")),
    ],
)
def test_partial_and_wrong_dates(value: str, expected: str) -> None:
    assert pseudonym.shift_date(value, -30) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        *(("2024", "2024"), ("202403", "202402"), ("2024022912", "2024013012"), ("20240229+0100", "20240130+0100")),
        *(("20240229120000.123456-0500", "20240130120000.123456-0500"), ("2024+0100", "2024+0100")),
        *(("20240229120000.1234567", ""), ("2024-02-29", ""), ("20245", ""), ("DOE", "")),
    ],
)
def test_dates_with_times_keep_what_follows_the_day(value: str, expected: str) -> None:
    assert pseudonym.shift_datetime(value, -30) == expected


@pytest.mark.parametrize(
    "old",
    ["1.2.840.10008.19830412.77120", "1.2.840.10008.DOE", "1.2.840.10008.1.02", "1.2.840.100081.2", "1" * 65, "DOE"],
)
def test_what_only_looks_registered_is_mapped(old: str) -> None:
    assert pseudonym.uid(SECRET, old).startswith("2.25.") and pseudonym.registered("1.2.840.10008.5.1.4.1.1.2")


@given(st.text(min_size=1, max_size=70))
def test_every_new_uid_is_a_valid_one(old: str) -> None:
    new = pseudonym.uid(SECRET, old)
    assert len(new) <= 44 and all(part == str(int(part)) for part in new.split("."))


def test_the_key_id_tells_keys_apart() -> None:
    assert pseudonym.key_id(SECRET) == pseudonym.key_id(SECRET) != pseudonym.key_id(OTHER)
    assert len(pseudonym.key_id(SECRET)) == 8 and SECRET.hex()[:8] not in pseudonym.key_id(SECRET)


@pytest.mark.parametrize(("value", "expected"), [("120000.5", "120000.5"), ("12:00", "12:00"), ("DOE", ""), ("", "")])
def test_a_time_stays_and_what_is_none_goes(value: str, expected: str) -> None:
    assert pseudonym.clean_time(value) == expected
