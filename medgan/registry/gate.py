"""The release gate: a scorecard against limits, and a verdict with its reasons. Pure; there is no override.

scorecard.json, schema 1 (cohort/scorecard.py writes it):

    schema, group, unit, answer, reasons, counts{...}
    fidelity   fd, fd_floor_mean, fd_floor_sd, fd_ratio, kid, precision, recall, density, coverage, n, features,
               baseline {fd, fd_ratio, coverage, recall} or null
               untrained {...}: the same by a network that learned nothing; metrics, networks, draws, external,
               checks: see cohort/scorecard.py, told and not judged here
    utility    tstr_auc, trtr_auc, n and their parts, or null
    privacy    answer, reasons, unit, tests, smallest_leak, smallest_leak_patients, epsilon_lower,
               membership_auc [low, mid, high], tpr_at_fpr1 [low, mid, high], controls, flagged, looks
               smallest_leak is null when no leak of any size would be seen
    power      [[share of training patients copied, share of trials detected], ...]

The gate does not believe the answers that a scorecard gives about itself: it reads the evidence again.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from medgan.records import Answer

SCHEMA = 1
TESTS = ("patient_rank", "patient_top", "picture_tail_1", "picture_tail_5")
POSITIVE_CONTROLS = ("verbatim_replay", "treated_replay", "mixture_20")
NEGATIVE_CONTROLS = ("fresh", "fresh_treated", "fresh_shrunk")
MAX_LOOKS = 8  # after that many, an audit part has been asked too often to answer
SEVERITY: dict[Answer, int] = {"accept": 0, "inconclusive": 1, "reject": 2}


@dataclass(frozen=True, slots=True)
class Verdict:
    """accept only when there are no reasons against it."""

    answer: Answer
    reasons: tuple[str, ...]


class _Unusable(Exception):
    """A piece of evidence is missing, of the wrong kind, or not a finite number."""


def judge(
    scorecard: dict[str, Any],
    *,
    min_coverage: float,
    max_distance_ratio: float,
    beat_baseline: bool,
    smallest_leak: float,
    max_epsilon: float,
) -> Verdict:
    """Weigh one scorecard. Missing, malformed or not-a-number evidence is inconclusive, never accepted."""
    findings: list[tuple[Answer, str]] = []
    for name, value in (
        ("min_coverage", min_coverage),
        ("max_distance_ratio", max_distance_ratio),
        ("smallest_leak", smallest_leak),
        ("max_epsilon", max_epsilon),
    ):
        if not _finite(value):
            findings.append(("inconclusive", f"the limit {name} is not a number"))
    for weigh in (
        _schema,
        _copies,
        _tests,
        _controls,
        lambda card: _sight(card, smallest_leak=smallest_leak, max_epsilon=max_epsilon),
        _own_answers,
        lambda card: _fidelity(card, min_coverage, max_distance_ratio, beat_baseline=beat_baseline),
    ):
        try:
            findings += weigh(scorecard)
        except _Unusable as error:
            findings.append(("inconclusive", str(error)))
    answer: Answer = max((answer for answer, _ in findings), key=SEVERITY.__getitem__, default="accept")
    ordered = sorted(findings, key=lambda finding: -SEVERITY[finding[0]])
    return Verdict(answer, tuple(dict.fromkeys(reason for _, reason in ordered)))


def _schema(card: dict[str, Any]) -> list[tuple[Answer, str]]:
    if not isinstance(card, dict) or card.get("schema") != SCHEMA:
        raise _Unusable(f"the scorecard is not of schema {SCHEMA}; evaluate again")
    for part in ("train_patients", "audit_patients", "fresh_patients", "synthetic"):
        if _number(card, "counts", part) < 1:
            raise _Unusable(f"the scorecard counts no {part.replace('_', ' ')}")
    return []


def _copies(card: dict[str, Any]) -> list[tuple[Answer, str]]:
    flagged = _number(card, "privacy", "flagged")
    if flagged < 0:
        raise _Unusable("the number of copied pictures is below zero")
    return [("reject", f"{flagged:g} synthetic pictures are copies of training pictures")] if flagged else []


def _tests(card: dict[str, Any]) -> list[tuple[Answer, str]]:
    rows = _named(card, "privacy", "tests")
    findings: list[tuple[Answer, str]] = []
    for name in TESTS:
        if name not in rows:
            raise _Unusable(f"the privacy test {name} is missing")
    for name, row in rows.items():
        p, level, n = (_number(row, column) for column in ("p", "level", "n"))
        if not 0 <= p <= 1 or not 0 < level < 1 or n < 1:
            raise _Unusable(f"the privacy test {name} has p {p:g} at level {level:g} with n {n:g}: not a test")
        if p < level:
            findings.append(
                ("reject", f"{name}: training patients are nearer to the release (p {p:.2g} < {level:.2g})")
            )
    return findings


def _controls(card: dict[str, Any]) -> list[tuple[Answer, str]]:
    rows = _named(card, "privacy", "controls")
    findings: list[tuple[Answer, str]] = []
    for names, kind, expected in ((POSITIVE_CONTROLS, "positive", "reject"), (NEGATIVE_CONTROLS, "negative", "accept")):
        for name in names:
            row = rows.get(name)
            if row is None or row.get("kind") != kind or row.get("expected") != expected:
                raise _Unusable(f"the {kind} control {name} is missing")
    for name, row in rows.items():
        if row.get("answer") != row.get("expected") or row.get("expected") not in ("accept", "reject"):
            findings.append(
                ("inconclusive", f"control {name}: expected {row.get('expected')}, got {row.get('answer')}")
            )
    return findings


def _sight(card: dict[str, Any], *, smallest_leak: float, max_epsilon: float) -> list[tuple[Answer, str]]:
    """Whether the gate could have seen a leak, and how much it saw."""
    findings: list[tuple[Answer, str]] = []
    epsilon = _number(card, "privacy", "epsilon_lower")
    if epsilon < 0:
        raise _Unusable("the lower bound of epsilon is below zero")
    if epsilon > max_epsilon:
        findings.append(("reject", f"epsilon is at least {epsilon:.2f}, allowed is {max_epsilon:.2f}"))
    leak = _get(card, "privacy", "smallest_leak")
    if leak is None:
        findings.append(("inconclusive", f"no leak of any size would be seen{_allowed(smallest_leak)}"))
    elif not 0 < _number(card, "privacy", "smallest_leak") <= smallest_leak:
        seen = f"a leak below {leak:.0%} of the training patients would not be seen"
        findings.append(("inconclusive", f"{seen}{_allowed(smallest_leak)}"))
    looks = _number(card, "privacy", "looks")
    if not 1 <= looks <= MAX_LOOKS:
        findings.append(
            ("inconclusive", f"the audit part was opened {looks:g} times, at most {MAX_LOOKS} count; renew it")
        )
    for name in ("membership_auc", "tpr_at_fpr1"):
        interval = _get(card, "privacy", name)
        if not isinstance(interval, list) or len(interval) != 3 or not all(_finite(value) for value in interval):
            raise _Unusable(f"privacy.{name} is not an interval of three numbers")
    return findings


def _allowed(smallest_leak: float) -> str:
    return f", allowed is {smallest_leak:.0%}; more patients are needed"


def _own_answers(card: dict[str, Any]) -> list[tuple[Answer, str]]:
    """A scorecard may be stricter than the evidence shows, never milder."""
    findings: list[tuple[Answer, str]] = []
    for path in (("privacy", "answer"), ("answer",)):
        answer = _get(card, *path)
        if not isinstance(answer, str) or answer not in SEVERITY:
            raise _Unusable(f"{'.'.join(path)} is not accept, reject or inconclusive")
        if answer != "accept":
            reasons = _get(card, *path[:-1], "reasons")
            said = [str(reason) for reason in reasons] if isinstance(reasons, list) else []
            findings += [(answer, reason) for reason in said or [f"the scorecard itself says {answer}"]]
    return findings


def _fidelity(
    card: dict[str, Any], min_coverage: float, max_distance_ratio: float, *, beat_baseline: bool
) -> list[tuple[Answer, str]]:
    findings: list[tuple[Answer, str]] = []
    coverage, ratio, distance = (_number(card, "fidelity", name) for name in ("coverage", "fd_ratio", "fd"))
    if _number(card, "fidelity", "n") < 2 or not 0 <= coverage <= 1 or ratio < 0 or distance < 0:
        raise _Unusable("the fidelity figures are out of their range")
    if coverage < min_coverage:
        findings.append(("reject", f"coverage {coverage:.2f} is below {min_coverage:.2f}: too little variety"))
    if ratio > max_distance_ratio:
        findings.append(("reject", f"FD is {ratio:.3g} times the real-real floor, allowed is {max_distance_ratio:.3g}"))
    if beat_baseline and _get(card, "fidelity").get("baseline") is not None:
        baseline = _number(card, "fidelity", "baseline", "fd")
        if distance >= baseline:
            findings.append(("reject", f"FD {distance:.3g} is not below the baseline's {baseline:.3g}"))
    return findings


def _get(card: Any, *path: str) -> Any:
    for name in path:
        if not isinstance(card, dict) or name not in card:
            raise _Unusable(f"the scorecard lacks {'.'.join(path)}")
        card = card[name]
    return card


def _number(card: Any, *path: str) -> float:
    value = _get(card, *path)
    if not _finite(value):
        raise _Unusable(f"{'.'.join(path)} is not a finite number")
    return float(value)


def _named(card: dict[str, Any], *path: str) -> dict[str, dict[str, Any]]:
    rows = _get(card, *path)
    if not isinstance(rows, list) or not all(isinstance(row, dict) and "name" in row for row in rows):
        raise _Unusable(f"{'.'.join(path)} is not a list of named rows")
    named = {str(row["name"]): row for row in rows}
    if len(named) != len(rows):
        raise _Unusable(f"{'.'.join(path)} holds a name twice")
    return named


def _finite(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
