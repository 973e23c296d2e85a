"""The report for a data protection officer, added up from what gate 1 said of each study."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from medgan.deid.audit.validity import available
from medgan.deid.cells import anonymity, generalised
from medgan.deid.officer import Applied, Decision, Report
from medgan.deid.profiles.profile import Profile
from medgan.deid.profiles.table import EDITION, keyword

REPORT, PAGE = "deidentification.json", "deidentification.html"
PRIVATE = "private ("  # how a creator of Table E.3.10-1 is counted


def report_of(
    told: Sequence[Mapping[str, Any]],
    applied: Profile,
    *,
    key_id: str,
    counts: Mapping[str, int],
    quarantined: Mapping[str, int],
    asked_k: int,
) -> Report:
    """`told`: what gate_one.told_of gave for each study; `counts`: inputs, written, duplicate and studies."""
    people = _people(told)
    rows = list(people.values())
    risk = anonymity(rows, asked_k, age_band_years=applied.age_band_years) if rows else None
    actions = _added(one["actions"] for one in told)
    private = {name: sum(done.values()) for name, done in actions.items() if name.startswith(PRIVATE)}
    return Report(
        applied=_applied(applied, key_id, {code for one in told for code in one["codes"]}),
        **counts,
        quarantined=dict(quarantined),
        patients=len(people),
        looked=sum(one["looked"] for one in told),
        boxes=sum(one["boxes"] for one in told),
        actions={name: done for name, done in actions.items() if name not in private},
        private={name[len(PRIVATE) : -1]: count for name, count in private.items()},
        faces={"instances without a face": sum(one["faceless"] for one in told)} if applied.removes_faces else {},
        validated=sum(one["validity"]["checked"] for one in told) if available() else None,
        less_valid=dict(sum((Counter(one["validity"]["worse"]) for one in told), Counter())),  # asdict breaks a Counter
        risk=risk,
        coarser=generalised(rows, asked_k, age_band_years=applied.age_band_years) if risk and risk.below else None,
    )


def _applied(profile: Profile, key_id: str, ran: set[str]) -> Applied:
    decided = profile.decided
    return Applied(
        name=profile.name,
        edition=EDITION,
        digest=profile.digest[:16],
        key_id=key_id,
        temporal=profile.temporal,
        codes=profile.claims(ran),
        cautions=profile.cautions,
        rules=tuple((keyword(rule.tag), rule.action, rule.because) for rule in profile.rules),
        decided=Decision(decided.by, decided.on.isoformat(), decided.because) if decided else None,
    )


def _people(told: Iterable[Mapping[str, Any]]) -> dict[str, dict[str, str]]:
    """One row a patient: of several studies, what the first says of each characteristic."""
    people: dict[str, dict[str, str]] = {}
    for one in told:
        for patient, row in one["people"].items():
            people[patient] = {**row, **people.get(patient, {})}
    return people


def _added(many: Iterable[Mapping[str, Mapping[str, int]]]) -> dict[str, dict[str, int]]:
    total: dict[str, Counter[str]] = {}
    for actions in many:
        for name, done in actions.items():
            total.setdefault(name, Counter()).update(done)
    return {name: dict(sorted(done.items())) for name, done in sorted(total.items())}
