"""The split depends on patient and key alone: growing data moves nobody, and its shares are what was asked for."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom

from medgan.cohort.arrays import PARTS
from medgan.cohort.assemble import Rows, assemble
from medgan.cohort.split import side, side_of_all

SHARES = (0.5, 0.1, 0.3, 0.1)
AUDIT = PARTS.index("audit")
KEYS = st.lists(st.text("0123456789abcdef", min_size=32, max_size=32), min_size=1, max_size=20, unique=True)


def split_of(keys: list[str]) -> dict[str, int]:
    return {key: side(b"house", key, SHARES) for key in keys}


@given(KEYS, KEYS)
def test_nobody_changes_sides_as_data_grows(early: list[str], late: list[str]) -> None:
    grown = split_of(list(dict.fromkeys([*late, *early])))
    assert {key: grown[key] for key in early} == split_of(early)


def test_nobody_changes_sides_as_a_cohort_grows() -> None:
    def cohort(count: int) -> dict[str, int]:
        keys = [f"{number:032x}" for number in range(count)]
        rows = Rows(np.zeros((count, 1, 1, 16, 16), np.uint8), [""] * count, keys)
        part = split_of(keys)
        made = assemble(rows, unit="patient", min_class_patients=1, side=part.__getitem__, attributes={})
        return dict(zip(made.patient_key.tolist(), made.split.tolist(), strict=True))

    assert cohort(40).items() < cohort(90).items()


def test_new_patients_renew_the_audit() -> None:
    keys = [f"{number:032x}" for number in range(1000)]
    audits = [{key for key in keys[:upto] if side(b"house", key, SHARES) == AUDIT} for upto in (250, 500, 1000)]
    assert audits[0] < audits[1] < audits[2]
    assert abs(len(audits[2] - audits[1]) - 150) < 50


def test_shares_lie_within_binomial_bounds() -> None:
    counts = np.bincount([side(b"house", f"{number:032x}", SHARES) for number in range(10_000)], minlength=4)
    for count, share in zip(counts, SHARES, strict=True):
        low, high = binom.interval(0.9999, 10_000, share)
        assert low <= count <= high


def test_another_key_is_another_and_independent_split() -> None:
    keys = [f"{number:032x}" for number in range(10_000)]
    both = np.mean([side(b"house", key, SHARES) == side(b"other", key, SHARES) for key in keys])
    assert abs(both - sum(share**2 for share in SHARES)) < 0.03


@given(KEYS)
def test_a_person_of_several_ids_never_leaves_train(keys: list[str]) -> None:
    own = {key: side(b"house", key, SHARES) for key in keys}
    together = side_of_all(b"house", keys, SHARES)
    assert together == min(own.values())
    assert together <= side_of_all(b"house", keys[:1], SHARES) == own[keys[0]]


def test_a_merge_moves_nobody_else() -> None:
    keys = [f"{number:032x}" for number in range(200)]
    person = {keys[3]: keys[:4], keys[9]: keys[8:10]}
    before = [side(b"house", key, SHARES) for key in keys]
    after = [side_of_all(b"house", person.get(key, [key]), SHARES) for key in keys]
    assert [key for key, a, b in zip(keys, before, after, strict=True) if a != b] == [
        key for key in person if side(b"house", key, SHARES) != side_of_all(b"house", person[key], SHARES)
    ]
