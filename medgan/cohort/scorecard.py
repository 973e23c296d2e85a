"""All evidence about one synthetic cohort: fidelity, usefulness, privacy. The schema stands in registry/gate.py."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medgan.cohort import fidelity, privacy, utility
from medgan.cohort.arrays import CohortArrays
from medgan.cohort.features import features, trained, untrained
from medgan.cohort.privacy import Pictures

SCHEMA = 1
DIGITS = 6
STEPS = 3
LESSONS = 3  # steps of a classifier for each step of the feature network: naming small lesions takes longer
MOST = 2000  # pictures of a set that fidelity and usefulness look at


@dataclass(frozen=True, slots=True)
class Limits:
    """What the privacy gate is asked for: the level of its tests, and what may go unseen."""

    alpha: float
    smallest_leak: float
    max_epsilon: float


@dataclass(frozen=True, slots=True)
class Evidence:
    """`card` becomes scorecard.json; `restricted` names pictures and stays in the research zone."""

    card: dict[str, Any]
    restricted: dict[str, Any] = field(default_factory=dict)


def compose(
    synthetic: CohortArrays,
    real: CohortArrays,
    *,
    limits: Limits,
    look: int,
    steps: int,
    seed: int,
    baseline: CohortArrays | None = None,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> Evidence:
    """Measure one synthetic cohort against the parts of a real one. Fidelity never sees audit or fresh patients.

    Usefulness is tested on the select part, or on the audit part of cohorts that have no select part.
    """
    unit = str(real.attributes.get("unit", "patient"))
    parts = {name: real.part(name) for name in ("train", "select", "audit", "fresh")}
    on_progress(0, STEPS)
    looks = _fidelity(synthetic, parts, baseline, steps=steps, seed=seed)
    on_progress(1, STEPS)
    useful = _utility(synthetic, parts, steps=steps, seed=seed)
    on_progress(2, STEPS)
    finding = privacy.assess(
        Pictures(synthetic.floats(), np.arange(len(synthetic))),
        *(Pictures(parts[name].floats(), owners(parts[name])) for name in ("train", "audit", "fresh")),
        alpha=limits.alpha,
        look=look,
        smallest_leak=limits.smallest_leak,
        max_epsilon=limits.max_epsilon,
        unit=unit,
        seed=seed,
    )
    on_progress(STEPS, STEPS)
    card = {
        "schema": SCHEMA,
        "group": str(real.attributes.get("group", "")),
        "unit": unit,
        "answer": finding.card["answer"],
        "reasons": finding.card["reasons"],
        "counts": {
            "synthetic": len(synthetic),
            **{f"{name}_patients": len(np.unique(owners(part))) for name, part in parts.items()},
            **{f"{name}_images": len(part) for name, part in parts.items()},
        },
        "fidelity": looks,
        "utility": useful,
        "privacy": finding.card,
        "power": finding.power,
    }
    return Evidence(rounded(card), rounded(finding.restricted))


def owners(cohort: CohortArrays) -> NDArray[Any]:
    """One value for each patient; a picture without a key is its own unit."""
    keyless = np.char.strip(cohort.patient_key.astype("U64"), "0") == ""
    return np.where(keyless, np.char.add("image-", np.arange(len(cohort)).astype("U20")), cohort.patient_key)


def rounded(value: Any) -> Any:
    """Numbers to six digits, and what is not finite to null: the same bytes on any processor, and valid JSON."""
    if isinstance(value, dict):
        return {str(key): rounded(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [rounded(inner) for inner in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float):
        return float(f"{value:.{DIGITS}g}") if math.isfinite(value) else None
    return value


def _fidelity(
    synthetic: CohortArrays,
    parts: dict[str, CohortArrays],
    baseline: CohortArrays | None,
    *,
    steps: int,
    seed: int,
) -> dict[str, Any]:
    train = _some(parts["train"], seed)
    seen, owner = train.floats(), owners(train)
    others, strangers = parts["select"].floats(), owners(parts["select"])
    reals, of = np.concatenate([seen, others]), np.concatenate([owner, strangers])
    offered = {"synthetic": _some(synthetic, seed).floats()}
    if baseline is not None:
        offered["baseline"] = _some(baseline, seed).floats()
    classes = len(train.classes)
    eyes = {
        "trained": trained(seen, train.label, classes, steps=steps, seed=seed),
        "untrained": untrained(seen, classes, seed=seed),
    }
    out, width = {}, 0
    for name, encoder in eyes.items():
        fakes = {key: features(encoder, images) for key, images in offered.items()}
        seen_real = features(encoder, reals)
        width = seen_real.shape[1]
        out[name] = fidelity.compare(seen_real, of, fakes, seed=seed)
    figures, floor = out["trained"]
    if not figures:
        return {"n": 0, "features": width, "baseline": None}
    beside = figures.get("baseline")
    plain = out["untrained"][0]["synthetic"]
    return {
        **figures["synthetic"],
        "fd_floor_mean": floor["mean"],
        "fd_floor_sd": floor["sd"],
        "n": int(floor["n"]),
        "features": width,
        "untrained": {name: plain[name] for name in ("fd", "fd_ratio", "coverage", "recall")},
        "baseline": {name: beside[name] for name in ("fd", "fd_ratio", "coverage", "recall")} if beside else None,
    }


def _utility(
    synthetic: CohortArrays, parts: dict[str, CohortArrays], *, steps: int, seed: int
) -> dict[str, float] | None:
    known = {name: index for index, name in enumerate(parts["train"].classes)}
    if not len(synthetic) or set(synthetic.classes) - set(known):
        return None
    # the same class may have another number in the synthetic cohort
    label = np.array([known[name] for name in synthetic.classes], np.uint16)[synthetic.label]
    chosen = np.random.default_rng(seed).permutation(len(synthetic))[:MOST]
    train, test = _some(parts["train"], seed), parts["select"] if len(parts["select"]) else parts["audit"]
    return utility.trained_on_synthetic(
        (synthetic.take(chosen).floats(), label[chosen]),
        (train.floats(), train.label),
        (test.floats(), test.label),
        len(known),
        steps=LESSONS * steps,
        seed=seed,
    )


def _some(cohort: CohortArrays, seed: int) -> CohortArrays:
    return cohort.take(np.random.default_rng(seed).permutation(len(cohort))[:MOST])
