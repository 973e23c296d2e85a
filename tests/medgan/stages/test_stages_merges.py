"""Two ids of one person count as one person from the merge on, everywhere; no file is keyed anew for it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from people import GRID, cohort_of, come, key, lists, model, new_home, send

from medgan.cohort.arrays import read_cohort, read_owners
from medgan.cohort.split import side
from medgan.errors import UsageError
from medgan.home import Home
from medgan.records import Study
from medgan.stages.merges import Merged, Straddled, apply, straddled


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return new_home(tmp_path / "home")


def people(home: Home, *patients: str) -> list[set[str]]:
    """These patients by person, as both zones know them."""
    found = []
    for ledger in (home.identified_ledger, home.research.ledger):
        same = ledger.same_person()
        roots: dict[str, set[str]] = {}
        for one in patients:
            mine = key(home, *one.split("@")) if "@" in one else key(home, one)
            roots.setdefault(same.get(mine, mine), set()).add(one)
        found.append(sorted(roots.values(), key=min))
    assert found[0] == found[1]
    return found[0]


MERGES = {
    "one row": ("patient_id,into_id\n17,18\n", [{"17", "18"}, {"19"}, {"20"}]),
    "a chain": ("patient_id,into_id\n17,18\n18,19\n", [{"17", "18", "19"}, {"20"}]),
    "a chain from its end": ("patient_id,into_id\n18,19\n17,18\n", [{"17", "18", "19"}, {"20"}]),
    "rows again and again": ("patient_id,into_id\n17,18\n17,18\n18,17\n", [{"17", "18"}, {"19"}, {"20"}]),
    "a circle": ("patient_id,into_id\n17,18\n18,19\n19,17\n", [{"17", "18", "19"}, {"20"}]),
    "into oneself": ("patient_id,into_id\n17,17\n", [{"17"}, {"18"}, {"19"}, {"20"}]),
    "two into one": ("patient_id,into_id\n17,19\n18,19\n", [{"17", "18", "19"}, {"20"}]),
    "one into two": ("patient_id,into_id\n17,18\n17,19\n", [{"17", "18", "19"}, {"20"}]),
    "two pairs, then joined": ("into_id;patient_id\n18;17\n20;19\n19;17\n", [{"17", "18", "19", "20"}]),
    "nobody": ("patient_id,issuer,into_id,into_issuer\n", [{"17"}, {"18"}, {"19"}, {"20"}]),
}


@pytest.mark.parametrize(("text", "persons"), MERGES.values(), ids=MERGES)
def test_both_zones_know_who_is_one_person_and_a_second_reading_changes_nothing(
    home: Home, text: str, persons: list[set[str]]
) -> None:
    lists(home, merges=text)
    first = apply(home)
    assert people(home, "17", "18", "19", "20") == persons
    assert first.new == 4 - len(persons) and apply(home) == Merged()


def test_without_a_list_nothing_happens(home: Home) -> None:
    assert apply(home) == Merged() and straddled(home) == ()


@pytest.mark.parametrize("first", [True, False], ids=["the list first", "the films first"])
def test_an_id_without_issuer_is_whoever_came_under_it(home: Home, tmp_path: Path, first: bool) -> None:
    if first:
        lists(home, merges="patient_id,into_id\n17,18\n")
        apply(home)
    come(home, send(tmp_path / "in", ("17", "NORTH"), ("18", "SOUTH")))
    lists(home, merges="patient_id,into_id\n17,18\n")
    apply(home)
    assert people(home, "17@NORTH", "18@SOUTH", "17", "18") == [{"17@NORTH", "18@SOUTH", "17", "18"}]


def test_an_id_of_several_people_must_say_which_and_nothing_is_merged_before(home: Home, tmp_path: Path) -> None:
    come(home, send(tmp_path / "in", ("17", "NORTH"), ("17", "SOUTH"), "18", "19"))
    lists(home, merges="patient_id,into_id\n18,19\n17,18\n")
    with pytest.raises(UsageError, match="row 2: an id in it belongs to several patients") as told:
        apply(home)
    assert "17" not in str(told.value) and not home.research.ledger.same_person()
    lists(home, merges="patient_id,issuer,into_id\n17,SOUTH,18\n")
    assert apply(home).new == 1
    assert people(home, "17@NORTH", "17@SOUTH", "18") == [{"17@NORTH"}, {"17@SOUTH", "18"}]


@pytest.mark.parametrize(
    ("text", "says"),
    [("patient_id\n17\n", "no column into_id"), ("patient_id,into_id\n17,\n", "line 2"), ("", "no column patient_id")],
    ids=["half a table", "half a row", "empty"],
)
def test_a_list_in_doubt_stops_the_intake(home: Home, tmp_path: Path, text: str, says: str) -> None:
    lists(home, merges=text)
    with pytest.raises(UsageError, match=says):
        come(home, send(tmp_path / "in", "17"))
    assert not home.identified_ledger.input_states()


def on_two_sides(home: Home) -> tuple[str, str]:
    """Two ids that the split puts on different sides."""
    sides = {n: side(home.pseudonym_key, key(home, n), GRID.split) for n in map(str, range(17, 40))}
    first = next(iter(sides))
    return first, next(n for n in sides if sides[n] != sides[first])


def test_a_rebuilt_cohort_has_one_person_on_one_side_and_counts_one(home: Home, tmp_path: Path) -> None:
    one, other = on_two_sides(home)
    come(home, send(tmp_path / "in", one, other, "50", "51"))
    before = cohort_of(home)
    saw = model(home, "m", [key(home, one)], cohort=before.digest)
    studies = home.research.records("deidentify", Study)
    lists(home, merges=f"patient_id,into_id\n{one},{other}\n")
    told = apply(home)
    assert told == Merged(new=1, straddled=(Straddled(cohort=before.digest, checkpoints=(saw,)),))

    after = cohort_of(home)
    assert (before.patients, after.patients, after.count) == (4, 3, before.count) and after.digest != before.digest
    cohort = read_cohort(home.research.store.path(after.digest) / "cohort.zarr")
    theirs = cohort.patient_key == key(home, other)
    assert theirs.sum() == 2 and len(set(cohort.split[theirs])) == 1
    assert home.research.records("deidentify", Study) == studies  # nothing was keyed anew
    assert {key(home, one), key(home, other)} <= home.research.ledger.patients_of(after.digest)
    assert [told.cohort for told in straddled(home)] == [before.digest]  # the new one does not; the old one has a model
    assert cohort_of(home) == after and apply(home) == Merged()


def test_a_merge_on_one_side_straddles_nothing(home: Home, tmp_path: Path) -> None:
    one, other = on_two_sides(home)
    sides = {n: side(home.pseudonym_key, key(home, n), GRID.split) for n in map(str, range(17, 40))}
    twin = next(n for n in sides if sides[n] == sides[one] and n != one)
    come(home, send(tmp_path / "in", one, twin, other))
    cohort_of(home)
    lists(home, merges=f"patient_id,into_id\n{one},{twin}\n")
    assert apply(home) == Merged(new=1)


def test_without_merges_a_cohort_is_the_one_it_always_was(home: Home, tmp_path: Path) -> None:
    come(home, send(tmp_path / "in", "17", "18", "19"))
    before = cohort_of(home)
    lists(home, merges="patient_id,into_id\n98,99\n")
    apply(home)
    assert cohort_of(home) == before


def test_who_is_merged_with_one_who_withdrew_or_opted_out_leaves_too(home: Home, tmp_path: Path) -> None:
    from medgan.stages.withdraw import withdraw

    folder = send(tmp_path / "in", "17", "18", "19", "20")
    come(home, folder)
    withdraw(["17"], home)
    lists(home, merges="patient_id,into_id\n18,17\n20,19\n", opt_out="patient_id\n19\n")
    come(home, folder)
    assert home.research.ledger.buried("withdrawn") >= {key(home, "17"), key(home, "18")}
    assert home.research.ledger.buried("opted_out") == {key(home, "19"), key(home, "20")}
    assert not home.identified.store.root.joinpath("store").exists() or not list(home.identified.store.digests())


def test_owners_are_read_without_the_images(home: Home, tmp_path: Path) -> None:
    come(home, send(tmp_path / "in", "17", "18"))
    place = home.research.store.path(cohort_of(home).digest) / "cohort.zarr"
    whole = read_cohort(place)
    assert read_owners(place) == list(zip(whole.patient_key.tolist(), np.asarray(whole.split).tolist(), strict=True))
