"""The privacy gate: could a recipient of the release tell who was trained on?

TRAIN and AUDIT patients were told apart at random before anything was trained. If the release is honest, the
AUDIT patients lie as near to it as the TRAIN patients. Whether the gate would see a leak at all is shown each
time by controls that must be rejected, controls that must be accepted, and the smallest leak it can see.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medgan.cohort import ranks, treatments
from medgan.cohort.alignment import distances

Index = NDArray[np.intp]
Floats = NDArray[np.floating[Any]]
TESTS = 4
BLOCK = 0.6  # a picture this much nearer than the nearest AUDIT picture is a copy
MIXTURE = 0.2
SHRINK = 0.5
SHARES = (0.02, 0.05, 0.1, 0.15, 0.2, 0.25, 0.35, 0.5, 0.75, 1.0)
TRIALS = 20
DETECTED = 0.9
MIN_MATES = 20
MAX_LOOKS = 8


@dataclass(frozen=True, slots=True)
class Pictures:
    """images float32 [N, C, D, H, W] in [-1, 1]; owner [N], one value for each patient (or image)."""

    images: NDArray[np.float32]
    owner: NDArray[Any]

    def __len__(self) -> int:
        return len(self.images)


@dataclass(frozen=True, slots=True)
class Evidence:
    """What the tests say about one offered set."""

    tests: list[dict[str, Any]]
    flagged: Index  # positions in the offered set
    epsilon: float
    members: Floats  # one calibrated distance a TRAIN patient
    others: Floats

    def seen_by_tests(self) -> bool:
        return any(test["p"] < test["level"] for test in self.tests)

    def rejected(self, max_epsilon: float) -> bool:
        return self.seen_by_tests() or len(self.flagged) > 0 or self.epsilon > max_epsilon

    def least_p(self) -> float:
        return float(min(test["p"] for test in self.tests))


@dataclass(frozen=True, slots=True)
class Finding:
    """`card` goes into the scorecard; `power` beside it; `restricted` names pictures and stays in the research zone."""

    card: dict[str, Any]
    power: list[list[float]] = field(default_factory=list)
    restricted: dict[str, Any] = field(default_factory=dict)


class Gate:
    """All distances between real and offered pictures, computed once; every question is a choice of columns."""

    def __init__(
        self, release: Pictures, train: Pictures, audit: Pictures, fresh: Pictures, *, level: float, seed: int
    ) -> None:
        rng = np.random.default_rng(seed)
        most = max(len(release), 64)
        self.level, self.n_train = level, len(train)
        self.replayed = _some(len(train), most, rng)
        chosen = _some(len(fresh), most, rng)
        replay, honest = train.images[self.replayed], fresh.images[chosen]
        offered = {
            "release": release.images,
            "audit": audit.images,
            "verbatim": replay,
            "treated": treatments.treated(replay, rng),
            "fresh": honest,
            "fresh_treated": treatments.treated(honest, rng),
            "fresh_shrunk": treatments.shrunk(honest, SHRINK) if len(honest) else honest,
        }
        ends = np.cumsum([len(images) for images in offered.values()])
        self.columns = {name: np.arange(end - len(offered[name]), end) for name, end in zip(offered, ends, strict=True)}
        reals = np.concatenate([train.images, audit.images])
        self.far = distances(reals, np.concatenate(list(offered.values())))
        # a blurred picture is near to everyone, a noisy one far: each against its own next neighbours, of both parts
        self.even = self.far / np.maximum(ranks.following(np.ascontiguousarray(self.far.T)), 1e-9)
        self.owners, self.patient = np.unique(
            np.concatenate([_numbered(train.owner, 0), _numbered(audit.owner, len(train))]), return_inverse=True
        )
        self.member = self.owners < len(train)
        self.nearness = ranks.calibrated(np.ascontiguousarray(self.far[: len(train)].T))  # r(s) to TRAIN
        honest_r = self.nearness[self.columns["audit"]]
        self.cut = BLOCK * float(honest_r.min()) if len(honest_r) else 0.0
        # several films of one patient are not independent draws: one each, the first
        self.honest_r = honest_r[np.unique(self.patient[len(train) :], return_index=True)[1]]
        self.lone_fresh = np.unique(fresh.owner[chosen], return_index=True)[1]

    def patients(self, columns: Index, *, leave_out: Index | None = None) -> tuple[Floats, Floats]:
        """The calibrated distance of each TRAIN and each AUDIT patient to an offered set."""
        each = ranks.calibrated(self.even[:, columns])
        if leave_out is not None:
            each = each.copy()
            each[leave_out] = np.inf
        nearest = np.full(len(self.owners), np.inf)
        np.minimum.at(nearest, self.patient, each)
        return nearest[self.member], nearest[~self.member]

    def weigh(self, columns: Index, *, lone: Index | None = None) -> Evidence:
        """Every test on one offered set; `lone` are the positions in it that are independent of each other."""
        members, others = self.patients(columns)
        return self._evidence(members, others, self.nearness[columns], lone)

    def _evidence(self, members: Floats, others: Floats, each: Floats, lone: Index | None = None) -> Evidence:
        nearness = each if lone is None else each[lone]
        found = {
            "patient_rank": ranks.mann_whitney(members, others),
            "patient_top": ranks.top(members, others),
            "picture_tail_1": ranks.picture_tail(nearness, self.honest_r, 1),
            "picture_tail_5": ranks.picture_tail(nearness, self.honest_r, 5),
        }
        n = {True: len(members) + len(others), False: len(nearness) + len(self.honest_r)}
        tests = [
            {"name": name, "statistic": s, "p": p, "n": n[name.startswith("patient")], "level": self.level}
            for name, (s, p) in found.items()
        ]
        epsilon, _, _ = ranks.guessed_epsilon(members, others)
        return Evidence(tests, np.flatnonzero(each < self.cut), epsilon, members, others)

    def mates(self) -> Evidence | None:
        """Second pictures of TRAIN patients offered, their own rows left out; None when there are too few."""
        owner = self.patient[: self.n_train]
        offered: list[int] = []
        rows: list[int] = []
        for column, row in zip(self.columns["verbatim"], self.replayed, strict=True):
            if (owner == owner[row]).sum() > 1 and owner[row] not in owner[rows]:
                offered.append(column)
                rows.append(row)
        if len(rows) < MIN_MATES:
            return None
        out = np.array(rows)
        members, others = self.patients(np.array(offered), leave_out=out)
        seen = np.delete(self.far[: self.n_train], out, axis=0)[:, offered]
        return self._evidence(members, others, ranks.calibrated(np.ascontiguousarray(seen.T)))

    def mixture(self, copies: Index, rng: np.random.Generator) -> Index:
        """The release with as many of its pictures replaced by these columns."""
        release = self.columns["release"].copy()
        copies = copies[: len(release)]
        release[rng.choice(len(release), len(copies), replace=False)] = copies
        return release

    def power(self, rng: np.random.Generator) -> tuple[list[list[float]], list[list[float]]]:
        """[share of TRAIN patients with a treated copy in the release, share of trials detected]: tests, and all."""
        owner = self.patient[self.replayed]
        patients = np.unique(owner)
        by_tests, by_all = [], []
        for share in SHARES:
            count = math.ceil(share * int(self.member.sum()))
            if count > min(len(patients), len(self.columns["release"])):
                break
            tests = everything = 0
            for _ in range(TRIALS):
                chosen = rng.choice(patients, count, replace=False)
                copies = np.array([rng.choice(np.flatnonzero(owner == patient)) for patient in chosen])
                evidence = self.weigh(self.mixture(self.columns["treated"][copies], rng))
                tests += evidence.seen_by_tests()
                everything += evidence.seen_by_tests() or len(evidence.flagged) > 0
            by_tests.append([share, tests / TRIALS])
            by_all.append([share, everything / TRIALS])
        return by_tests, by_all


def assess(
    release: Pictures,
    train: Pictures,
    audit: Pictures,
    fresh: Pictures,
    *,
    alpha: float,
    look: int,
    smallest_leak: float,
    max_epsilon: float,
    unit: str,
    seed: int,
) -> Finding:
    """Judge one release. Evidence that cannot be had makes the answer inconclusive, never accept."""
    patients = {name: len(np.unique(part.owner)) for name, part in (("train", train), ("audit", audit))}
    if not len(release) or min(patients.values()) < 2 or len(np.unique(fresh.owner)) < 1:
        return _nothing(patients, len(np.unique(fresh.owner)), look, unit)
    gate = Gate(release, train, audit, fresh, level=ranks.spent(alpha, look) / TESTS, seed=seed)
    rng = np.random.default_rng([seed, 1])
    evidence = gate.weigh(gate.columns["release"])
    controls = _controls(gate, max_epsilon, rng)
    power, power_all = gate.power(rng)
    leak = _smallest(power)
    auc, rate = ranks.intervals(evidence.members, evidence.others, rng)
    card = {
        "unit": unit,
        "tests": evidence.tests,
        "smallest_leak": leak,
        "smallest_leak_patients": math.ceil(leak * patients["train"]) if leak is not None else None,
        "epsilon_lower": evidence.epsilon,
        "membership_auc": auc,
        "tpr_at_fpr1": rate,
        "controls": controls,
        "flagged": len(evidence.flagged),
        "looks": look,
        "power_with_block": power_all,
    }
    answer, reasons = _answer(card, smallest_leak=smallest_leak, max_epsilon=max_epsilon)
    return Finding({"answer": answer, "reasons": reasons, **card}, power, _restricted(gate, evidence))


def _controls(gate: Gate, max_epsilon: float, rng: np.random.Generator) -> list[dict[str, Any]]:
    columns = gate.columns
    some = math.ceil(MIXTURE * len(columns["release"]))
    copies = columns["treated"][_some(len(columns["treated"]), some, rng)]
    sets: list[tuple[str, str, Evidence | None]] = [
        ("verbatim_replay", "positive", gate.weigh(columns["verbatim"])),
        ("treated_replay", "positive", gate.weigh(columns["treated"])),
        ("mixture_20", "positive", gate.weigh(gate.mixture(copies, rng))),
        ("one_copy", "positive", gate.weigh(gate.mixture(columns["verbatim"][:1], rng))),
        ("patient_mates", "positive", gate.mates()),
        ("fresh", "negative", gate.weigh(columns["fresh"], lone=gate.lone_fresh)),
        ("fresh_treated", "negative", gate.weigh(columns["fresh_treated"], lone=gate.lone_fresh)),
        ("fresh_shrunk", "negative", gate.weigh(columns["fresh_shrunk"], lone=gate.lone_fresh)),
    ]
    return [
        {
            "name": name,
            "kind": kind,
            "expected": "reject" if kind == "positive" else "accept",
            "answer": "reject" if evidence.rejected(max_epsilon) else "accept",
            "p": evidence.least_p(),
        }
        for name, kind, evidence in sets
        if evidence is not None
    ]


def _answer(card: dict[str, Any], *, smallest_leak: float, max_epsilon: float) -> tuple[str, list[str]]:
    against = [
        f"{test['name']}: training patients are nearer to the release (p {test['p']:.2g} < {test['level']:.2g})"
        for test in card["tests"]
        if test["p"] < test["level"]
    ]
    if card["flagged"]:
        against.insert(0, f"{card['flagged']} synthetic pictures are copies of training pictures")
    if card["epsilon_lower"] > max_epsilon:
        against.append(f"epsilon is at least {card['epsilon_lower']:.2f}, allowed is {max_epsilon:.2f}")
    unsure = [
        f"control {control['name']}: expected {control['expected']}, got {control['answer']}"
        for control in card["controls"]
        if control["answer"] != control["expected"]
    ]
    leak = card["smallest_leak"]
    if leak is None or leak > smallest_leak:
        seen = (
            "no leak of any size would be seen"
            if leak is None
            else f"a leak below {leak:.0%} of the training patients would not be seen"
        )
        unsure.append(f"{seen}, allowed is {smallest_leak:.0%}; more patients are needed")
    if card["looks"] > MAX_LOOKS:
        unsure.append(f"the audit part was opened {card['looks']} times, at most {MAX_LOOKS} count; renew it")
    return ("reject" if against else "inconclusive" if unsure else "accept"), against + unsure


def _nothing(patients: dict[str, int], fresh: int, look: int, unit: str) -> Finding:
    reason = (
        f"{patients['train']} training, {patients['audit']} audit and {fresh} fresh {unit}s, and at least 2, 2 and 1 "
        "are needed to test anything; more patients are needed"
    )
    card: dict[str, Any] = {
        "tests": [],
        "controls": [],
        "smallest_leak": None,
        "smallest_leak_patients": None,
        "epsilon_lower": None,
    }
    card |= {"membership_auc": None, "tpr_at_fpr1": None, "flagged": 0, "looks": look, "power_with_block": []}
    return Finding({"answer": "inconclusive", "reasons": [reason], "unit": unit, **card})


def _restricted(gate: Gate, evidence: Evidence) -> dict[str, Any]:
    """Which synthetic pictures are copies, and the nearest training picture of each synthetic one."""
    columns = gate.columns["release"]
    far = gate.far[: gate.n_train, columns]
    nearest = far.argmin(axis=0)
    pairs = [
        {"synthetic": int(s), "train": int(nearest[s]), "distance": float(far[nearest[s], s]), "nearness": float(r)}
        for s, r in enumerate(gate.nearness[columns])
    ]
    return {
        "flagged": [int(position) for position in evidence.flagged],
        "cut": gate.cut,
        "audit_nearness": [float(r) for r in np.sort(gate.honest_r)],
        "nearest": sorted(pairs, key=lambda pair: pair["nearness"]),
    }


def _smallest(power: Sequence[Sequence[float]]) -> float | None:
    """The least share from which on nearly every leak is seen."""
    least = None
    for share, detected in reversed(power):
        if detected < DETECTED:
            break
        least = share
    return least


def _some(count: int, most: int, rng: np.random.Generator) -> Index:
    """At most `most` of `count` positions, in random order."""
    return rng.permutation(count)[:most]


def _numbered(owner: NDArray[Any], start: int) -> Index:
    """Patients as numbers from `start`, below `start` + the number of their pictures."""
    return np.unique(owner, return_inverse=True)[1] + start
