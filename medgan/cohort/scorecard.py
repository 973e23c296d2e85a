"""All evidence about one synthetic cohort: fidelity, usefulness, privacy. The schema stands in registry/gate.py."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medgan.cohort import privacy, utility
from medgan.cohort.arrays import PARTS, CohortArrays
from medgan.cohort.likeness import Offered, likeness
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
    weights: Path | None = None,
    subgroups: Mapping[str, NDArray[Any]] | None = None,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> Evidence:
    """Measure one synthetic cohort against the parts of a real one. Fidelity never sees audit or fresh patients.

    Usefulness is tested on the select part, or on the audit part of cohorts that have no select part; by subgroup
    too, where columns [len(real)] are given. weights: a file of another feature network, see external.py.
    """
    unit = str(real.attributes.get("unit", "patient"))
    parts = {name: real.part(name) for name in ("train", "select", "audit", "fresh")}
    on_progress(0, STEPS)
    looks = _fidelity(synthetic, parts, baseline, steps=steps, seed=seed, weights=weights)
    on_progress(1, STEPS)
    useful = _utility(synthetic, real, parts, subgroups or {}, steps=steps, seed=seed)
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
        **_answer(finding.card, looks),
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


def _answer(finding: dict[str, Any], looks: dict[str, Any]) -> dict[str, Any]:
    """The privacy answer, and inconclusive where fidelity figures could not tell spoiled pictures from good ones."""
    answer, reasons, checks = finding["answer"], list(finding["reasons"]), looks["checks"]
    if not checks.get("binding") or not checks["failed"] or answer == "reject":
        return {"answer": answer, "reasons": reasons}
    return {"answer": "inconclusive", "reasons": [*reasons, *checks["failed"]]}


def _fidelity(
    synthetic: CohortArrays,
    parts: dict[str, CohortArrays],
    baseline: CohortArrays | None,
    *,
    steps: int,
    seed: int,
    weights: Path | None,
) -> dict[str, Any]:
    train, select = _some(parts["train"], seed), parts["select"]
    known = {name: index for index, name in enumerate(train.classes)}
    offered = {"synthetic": _some(synthetic, seed), **({"baseline": _some(baseline, seed)} if baseline else {})}
    return likeness(
        Offered(
            np.concatenate([train.floats(), select.floats()]),
            np.concatenate([train.label, select.label]),
            np.concatenate([owners(train), owners(select)]),
        ),
        {name: Offered(some.floats(), _numbered(some, known), None) for name, some in offered.items()},
        len(train),
        len(known),
        steps=steps,
        seed=seed,
        weights=weights,
    )


def _utility(
    synthetic: CohortArrays,
    real: CohortArrays,
    parts: dict[str, CohortArrays],
    subgroups: Mapping[str, NDArray[Any]],
    *,
    steps: int,
    seed: int,
) -> dict[str, Any] | None:
    known = {name: index for index, name in enumerate(parts["train"].classes)}
    label = _numbered(synthetic, known)
    if not len(synthetic) or label is None:
        return None
    chosen = np.random.default_rng(seed).permutation(len(synthetic))[:MOST]
    train, tested = _some(parts["train"], seed), "select" if len(parts["select"]) else "audit"
    test, rows = parts[tested], np.flatnonzero(real.split == PARTS.index(tested))
    found = utility.trained_on_synthetic(
        (synthetic.take(chosen).floats(), label[chosen]),
        (train.floats(), train.label),
        (test.floats(), test.label),
        len(known),
        steps=LESSONS * steps,
        seed=seed,
        owner=owners(test),
        subgroups={name: column[rows] for name, column in subgroups.items()},
    )
    if found is not None:
        found["by_class"] = [{**row, "class": train.classes[row["class"]]} for row in found["by_class"]]
    return found


def _numbered(synthetic: CohortArrays, known: Mapping[str, int]) -> NDArray[np.uint16] | None:
    """Labels as the real cohort numbers its classes, or None where a class is none of its."""
    if set(synthetic.classes) - set(known):
        return None
    return np.array([known[name] for name in synthetic.classes], np.uint16)[synthetic.label]


def _some(cohort: CohortArrays, seed: int) -> CohortArrays:
    return cohort.take(np.random.default_rng(seed).permutation(len(cohort))[:MOST])
