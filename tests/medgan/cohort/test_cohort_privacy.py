"""Leaks that were planted are rejected, honest releases pass, and blindness is said."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from toy_chest import chest_films

from medgan.cohort import ranks, treatments
from medgan.cohort.privacy import TESTS, Finding, Gate, Pictures, _smallest, assess

POLICY: dict[str, Any] = {
    "alpha": 0.01,
    "look": 1,
    "smallest_leak": 0.25,
    "max_epsilon": 0.5,
    "unit": "patient",
    "seed": 0,
}


def films(patients: int, seed: int, most: int = 2) -> Pictures:
    images, _, owner = chest_films(patients, size=32, seed=seed, films=(1, most))
    return Pictures(images, owner)


@pytest.fixture(scope="module")
def parts() -> dict[str, Pictures]:
    return {"release": films(120, 1, 1), "train": films(110, 2), "audit": films(80, 3), "fresh": films(30, 4)}


@pytest.fixture(scope="module")
def gate(parts: dict[str, Pictures]) -> Gate:
    return Gate(**parts, level=ranks.spent(0.01, 1) / TESTS, seed=0)


@pytest.fixture(scope="module")
def honest(parts: dict[str, Pictures]) -> Finding:
    return assess(**parts, **POLICY)


def test_an_honest_release_of_about_a_hundred_patients_a_part_is_accepted(honest: Finding) -> None:
    assert honest.card["answer"] == "accept", honest.card["reasons"]
    assert honest.card["flagged"] == 0
    assert honest.card["smallest_leak"] <= 0.25


def test_every_control_gives_what_is_expected(honest: Finding) -> None:
    controls = {control["name"]: control for control in honest.card["controls"]}
    assert {name for name, control in controls.items() if control["kind"] == "positive"} >= {
        "verbatim_replay",
        "treated_replay",
        "mixture_20",
        "one_copy",
    }
    assert {"fresh", "fresh_treated", "fresh_shrunk"} <= set(controls)
    assert all(control["answer"] == control["expected"] for control in controls.values())


def test_finding_is_json_and_names_no_patient(honest: Finding) -> None:
    json.dumps([honest.card, honest.power])
    assert "nearest" not in honest.card
    assert len(honest.restricted["nearest"]) == 120


def test_the_same_seed_gives_the_same_finding(parts: dict[str, Pictures]) -> None:
    few = {name: Pictures(part.images[:12], part.owner[:12]) for name, part in parts.items()}
    assert assess(**few, **POLICY) == assess(**few, **POLICY)


@pytest.mark.parametrize("share", [1.0, 0.2])
@pytest.mark.parametrize("treated", [False, True], ids=["verbatim", "treated"])
def test_copies_of_training_pictures_are_rejected(parts: dict[str, Pictures], gate: Gate, share: float, treated: bool):
    rng = np.random.default_rng(9)
    count = round(share * 120)
    columns = gate.columns["treated" if treated else "verbatim"]
    evidence = gate.weigh(gate.mixture(rng.permutation(columns)[:count], rng))
    assert evidence.rejected(POLICY["max_epsilon"])
    assert evidence.seen_by_tests()


def test_one_copy_among_honest_pictures_is_named(parts: dict[str, Pictures]) -> None:
    release = parts["release"].images[:60].copy()
    release[17] = parts["train"].images[5]
    few = {name: Pictures(part.images[:60], part.owner[:60]) for name, part in parts.items()}
    finding = assess(**{**few, "release": Pictures(release, np.arange(60))}, **POLICY)
    assert finding.card["answer"] == "reject"
    assert finding.card["flagged"] == 1
    assert finding.restricted["flagged"] == [17]
    first = finding.restricted["nearest"][0]
    assert (first["synthetic"], first["train"]) == (17, 5)


def test_one_picture_repeated_is_still_a_copy(parts: dict[str, Pictures], gate: Gate) -> None:
    """A generator that gives one training picture every time has no lone neighbours among its pictures."""
    evidence = gate.weigh(np.repeat(gate.columns["verbatim"][:1], 120))
    assert evidence.rejected(POLICY["max_epsilon"])
    assert len(evidence.flagged) == 120


def test_copies_of_unseen_patients_are_no_leak(parts: dict[str, Pictures], gate: Gate) -> None:
    assert not gate.weigh(gate.columns["fresh"], lone=gate.lone_fresh).rejected(POLICY["max_epsilon"])


def test_members_and_others_changing_places_hides_the_leak_from_a_one_sided_test(parts: dict[str, Pictures]) -> None:
    """The gate looks where the leak is: with the two parts swapped, replaying TRAIN copies nothing it was told of."""
    few = {name: Pictures(part.images[:50], part.owner[:50]) for name, part in parts.items()}
    swapped = {**few, "train": few["audit"], "audit": few["train"]}
    leak = Pictures(treatments.treated(few["train"].images, np.random.default_rng(0)), np.arange(50))
    right = Gate(**{**few, "release": leak}, level=0.001, seed=0).weigh(np.arange(50))
    wrong = Gate(**{**swapped, "release": leak}, level=0.001, seed=0).weigh(np.arange(50))
    assert right.seen_by_tests()
    assert {test["name"]: test["p"] for test in wrong.tests}["patient_rank"] > 0.9


def test_a_few_patients_are_inconclusive() -> None:
    few = {"release": films(30, 1, 1), "train": films(10, 2), "audit": films(7, 3), "fresh": films(4, 4)}
    finding = assess(**few, **POLICY)
    assert finding.card["answer"] == "inconclusive"
    assert any("more patients are needed" in reason for reason in finding.card["reasons"])


@pytest.mark.parametrize("missing", ["release", "train", "audit", "fresh"])
def test_a_missing_part_is_inconclusive(parts: dict[str, Pictures], missing: str) -> None:
    empty = Pictures(parts[missing].images[:0], parts[missing].owner[:0])
    finding = assess(**{**parts, missing: empty}, **POLICY)
    assert finding.card["answer"] == "inconclusive"
    assert finding.card["tests"] == []


def test_an_audit_part_asked_too_often_no_longer_answers(parts: dict[str, Pictures]) -> None:
    few = {name: Pictures(part.images[:12], part.owner[:12]) for name, part in parts.items()}
    first, last = (assess(**few, **{**POLICY, "look": look}) for look in (1, 9))
    assert any("renew it" in reason for reason in last.card["reasons"])
    assert not any("renew it" in reason for reason in first.card["reasons"])
    assert last.card["tests"][0]["level"] < first.card["tests"][0]["level"]


@pytest.mark.parametrize(
    ("power", "least"),
    [
        ([], None),
        ([[0.1, 0.0], [0.5, 0.5]], None),
        ([[0.1, 0.95], [0.2, 0.5], [0.3, 1.0]], 0.3),
        ([[0.1, 0.95], [0.2, 0.9], [0.3, 1.0]], 0.1),
    ],
)
def test_smallest_leak_is_the_share_from_which_on_nearly_all_is_seen(power: list[list[float]], least: float | None):
    assert _smallest(power) == least


def test_a_gate_blinded_on_purpose_withholds_its_verdict(
    parts: dict[str, Pictures], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With distances that say nothing, every control that must be rejected passes: no verdict."""
    rng = np.random.default_rng(0)
    monkeypatch.setattr("medgan.cohort.privacy.distances", lambda a, b: rng.uniform(1, 1.4, (len(a), len(b))))
    finding = assess(**parts, **POLICY)
    assert finding.card["answer"] != "accept"
    assert any(reason.startswith("control verbatim_replay") for reason in finding.card["reasons"])


def test_numbering_of_patients_does_not_matter(parts: dict[str, Pictures]) -> None:
    few = {name: Pictures(part.images[:15], part.owner[:15]) for name, part in parts.items()}
    named = {name: replace(part, owner=np.array([f"p{o}" for o in part.owner])) for name, part in few.items()}
    one, other = assess(**few, **POLICY), assess(**named, **POLICY)
    assert [t["statistic"] for t in one.card["tests"][:2]] == [t["statistic"] for t in other.card["tests"][:2]]


def test_the_patient_tests_see_a_treated_replay_by_themselves(gate: Gate) -> None:
    """Without measuring each picture against its own neighbours, noisy copies hide behind blurred ones."""
    found = {test["name"]: test["p"] for test in gate.weigh(gate.columns["treated"]).tests}
    assert found["patient_rank"] < 1e-9
    assert found["patient_top"] < 1e-4
    assert gate.weigh(gate.columns["treated"]).epsilon > 1
