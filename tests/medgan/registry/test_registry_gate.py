"""The release gate weighs evidence; whatever is missing or odd keeps the release inside."""

from __future__ import annotations

import copy
import json
import math
from typing import Any

import pytest

from medgan.registry.gate import NEGATIVE_CONTROLS, POSITIVE_CONTROLS, TESTS, Verdict, judge

LIMITS: dict[str, Any] = {
    "min_coverage": 0.3,
    "max_distance_ratio": 50.0,
    "beat_baseline": True,
    "smallest_leak": 0.25,
    "max_epsilon": 0.5,
}


def good_scorecard() -> dict[str, Any]:
    """A scorecard that may be released: every field of schema 1, nothing against it."""
    controls = [
        {"name": name, "kind": "positive", "expected": "reject", "answer": "reject", "p": 1e-6}
        for name in POSITIVE_CONTROLS
    ] + [
        {"name": name, "kind": "negative", "expected": "accept", "answer": "accept", "p": 0.4}
        for name in NEGATIVE_CONTROLS
    ]
    tests = [{"name": name, "statistic": 1.0, "p": 0.3, "n": 280, "level": 0.001} for name in TESTS]
    return {
        "schema": 1,
        "group": "XR-CHEST-2d-64",
        "unit": "patient",
        "answer": "accept",
        "reasons": [],
        "counts": {"synthetic": 400, "train_patients": 170, "audit_patients": 105, "fresh_patients": 35},
        "fidelity": {
            "fd": 1.2,
            "fd_floor_mean": 0.1,
            "fd_floor_sd": 0.02,
            "fd_ratio": 12.0,
            "kid": 0.01,
            "precision": 0.8,
            "recall": 0.5,
            "density": 0.9,
            "coverage": 0.6,
            "n": 170,
            "features": 64,
            "baseline": {"fd": 5.0, "fd_ratio": 50.0, "coverage": 0.2, "recall": 0.0},
        },
        "utility": {"tstr_auc": 0.8, "trtr_auc": 0.9, "n": 70},
        "privacy": {
            "answer": "accept",
            "reasons": [],
            "unit": "patient",
            "tests": tests,
            "smallest_leak": 0.1,
            "smallest_leak_patients": 17,
            "epsilon_lower": 0.0,
            "membership_auc": [0.45, 0.5, 0.55],
            "tpr_at_fpr1": [0.0, 0.01, 0.03],
            "controls": controls,
            "flagged": 0,
            "looks": 1,
        },
        "power": [[0.05, 0.2], [0.1, 0.95], [0.2, 1.0]],
    }


def with_value(path: str, value: Any) -> dict[str, Any]:
    card = good_scorecard()
    *folders, last = path.split(".")
    place: Any = card
    for name in folders:
        place = place[int(name)] if name.isdigit() else place[name]
    place[int(last) if last.isdigit() else last] = value
    return card


def every_path(value: Any, path: str = "") -> list[str]:
    steps = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    here = [path] if path else []
    return here + [p for name, inner in steps for p in every_path(inner, f"{path}.{name}" if path else str(name))]


def test_complete_evidence_within_the_limits_is_accepted() -> None:
    assert judge(good_scorecard(), **LIMITS) == Verdict("accept", ())


@pytest.mark.parametrize(
    ("path", "value", "answer", "reason"),
    [
        ("privacy.flagged", 1, "reject", "copies of training pictures"),
        ("privacy.tests.0.p", 1e-4, "reject", "patient_rank"),
        ("privacy.epsilon_lower", 0.9, "reject", "epsilon"),
        ("privacy.answer", "reject", "reject", "the scorecard itself says reject"),
        ("privacy.answer", "inconclusive", "inconclusive", "the scorecard itself says inconclusive"),
        ("answer", "inconclusive", "inconclusive", "the scorecard itself says inconclusive"),
        ("answer", "maybe", "inconclusive", "is not accept, reject or inconclusive"),
        ("answer", ["accept"], "inconclusive", "is not accept, reject or inconclusive"),
        ("privacy.smallest_leak", 0.4, "inconclusive", "more patients are needed"),
        ("privacy.smallest_leak", 0.0, "inconclusive", "more patients are needed"),
        ("privacy.controls.0.answer", "accept", "inconclusive", "verbatim_replay: expected reject, got accept"),
        ("privacy.controls.3.answer", "reject", "inconclusive", "fresh: expected accept, got reject"),
        ("privacy.controls.3.expected", "reject", "inconclusive", "negative control fresh is missing"),
        ("privacy.controls", [], "inconclusive", "positive control verbatim_replay is missing"),
        ("privacy.tests", [], "inconclusive", "patient_rank is missing"),
        ("privacy.tests.1.name", "patient_rank", "inconclusive", "holds a name twice"),
        ("privacy.tests.0.level", 0.0, "inconclusive", "not a test"),
        ("privacy.tests.0.n", 0, "inconclusive", "not a test"),
        ("privacy.tests.0.p", 1.5, "inconclusive", "not a test"),
        ("privacy.looks", 99, "inconclusive", "renew it"),
        ("privacy.looks", 0, "inconclusive", "at most"),
        ("counts.audit_patients", 0, "inconclusive", "no audit patients"),
        ("fidelity.coverage", 0.1, "reject", "too little variety"),
        ("fidelity.coverage", 1.2, "inconclusive", "out of their range"),
        ("fidelity.fd_ratio", 80.0, "reject", "times the real-real floor"),
        ("fidelity.baseline.fd", 1.0, "reject", "not below the baseline"),
        ("fidelity", None, "inconclusive", "lacks"),
        ("schema", 2, "inconclusive", "schema 1"),
        ("schema", None, "inconclusive", "schema 1"),
    ],
)
def test_each_fault_keeps_the_release_inside(path: str, value: Any, answer: str, reason: str) -> None:
    verdict = judge(with_value(path, value), **LIMITS)
    assert verdict.answer == answer
    assert any(reason in said for said in verdict.reasons), verdict.reasons


def test_a_missing_baseline_or_utility_is_no_fault() -> None:
    card = with_value("fidelity.baseline", None)
    card["utility"] = None
    assert judge(card, **LIMITS).answer == "accept"


NUMBERS_THAT_GATE = (
    "privacy.tests.0.p", "privacy.tests.3.level", "privacy.smallest_leak", "privacy.epsilon_lower", "privacy.flagged",
    "privacy.looks", "privacy.membership_auc.1", "privacy.tpr_at_fpr1.0", "fidelity.fd", "fidelity.fd_ratio",
    "fidelity.coverage", "fidelity.n", "counts.train_patients", "counts.synthetic", "fidelity.baseline.fd",
)  # fmt: skip


@pytest.mark.parametrize("path", NUMBERS_THAT_GATE)
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, None, "0.3", True, [0.3]])
def test_a_figure_that_is_not_a_number_never_passes(path: str, value: Any) -> None:
    assert judge(with_value(path, value), **LIMITS).answer != "accept"


@pytest.mark.parametrize("limit", ["min_coverage", "max_distance_ratio", "smallest_leak", "max_epsilon"])
def test_a_limit_that_is_not_a_number_never_passes(limit: str) -> None:
    assert judge(good_scorecard(), **{**LIMITS, limit: math.nan}).answer == "inconclusive"


MAY_BE_ABSENT = ("group", "unit", "utility", "power", "fidelity.fd_floor", "fidelity.kid", "fidelity.precision",
    "fidelity.recall", "fidelity.density", "fidelity.features", "fidelity.baseline", "counts.", "privacy.unit",
    "privacy.smallest_leak_patients", "privacy.reasons", "reasons")  # fmt: skip


@pytest.mark.parametrize("path", [p for p in every_path(good_scorecard()) if not p.split(".")[-1].isdigit()])
def test_missing_evidence_is_a_refusal(path: str) -> None:
    card = good_scorecard()
    *folders, last = path.split(".")
    place: Any = card
    for name in folders:
        place = place[int(name)] if name.isdigit() else place[name]
    del place[last]
    judged = judge(card, **LIMITS).answer
    described = any(path.startswith(name) for name in MAY_BE_ABSENT) or last in ("statistic", "kind", "p")
    assert judged == "inconclusive" or described
    if path in ("fidelity", "privacy", "counts", "answer", "privacy.tests", "privacy.controls", "privacy.flagged"):
        assert judged == "inconclusive"


@pytest.mark.parametrize("card", [{}, [], None, "accept", {"schema": 1, "answer": "accept"}])
def test_what_is_no_scorecard_is_inconclusive(card: Any) -> None:
    assert judge(card, **LIMITS).answer == "inconclusive"


@pytest.mark.parametrize("answer", ["accept", "reject", "inconclusive"])
def test_a_gate_that_always_gives_one_answer_cannot_release(answer: str) -> None:
    card = good_scorecard()
    for control in card["privacy"]["controls"]:
        control["answer"] = answer
    assert judge(card, **LIMITS).answer == "inconclusive"


def test_judging_changes_nothing_and_survives_json() -> None:
    card = good_scorecard()
    before = copy.deepcopy(card)
    assert judge(json.loads(json.dumps(card)), **LIMITS) == judge(card, **LIMITS)
    assert card == before


def test_the_heaviest_reason_comes_first() -> None:
    card = with_value("privacy.flagged", 3)
    card["privacy"]["smallest_leak"] = 0.9
    verdict = judge(card, **LIMITS)
    assert verdict.answer == "reject"
    assert verdict.reasons[0].startswith("3 synthetic pictures")
