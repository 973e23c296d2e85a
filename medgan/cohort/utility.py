"""Whether synthetic pictures teach what real ones teach: trained on either, tested on the same unseen patients."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medgan.cohort.features import class_logits, trained
from medgan.cohort.ridge import auc

MIN_TEST = 10
RESAMPLES = 200
LOW, HIGH = 2.5, 97.5  # percent: the ends of an interval
Labelled = tuple[NDArray[np.float32], NDArray[np.integer]]
Scores = dict[str, NDArray[np.float64]]


def trained_on_synthetic(
    synthetic: Labelled,
    train: Labelled,
    test: Labelled,
    classes: int,
    *,
    steps: int,
    seed: int,
    owner: NDArray[Any] | None = None,
    subgroups: Mapping[str, NDArray[Any]] | None = None,
) -> dict[str, Any] | None:
    """tstr_auc and trtr_auc with 95 % intervals, the same by class and by subgroup, and n.

    Each pair is (images [N, C, D, H, W], label [N]); owner [N]: the patient of each test picture, the unit of the
    intervals; subgroups: columns [N] of the test pictures, by name. Fixed steps and no choice of a best one: nothing
    is tuned on the test patients. None when these are too few, or of one class.
    """
    images, label = test
    if len(label) < MIN_TEST or not _told(label, classes):
        return None
    logits: Scores = {}
    for name, (pictures, answers) in (("tstr", synthetic), ("trtr", train)):
        if len(np.unique(answers)) < 2:
            return None
        network = trained(pictures, answers, classes, steps=steps, seed=seed)
        logits[name] = class_logits(network, images)
    whose = np.arange(len(label)) if owner is None else owner
    columns = {} if subgroups is None else subgroups
    return {
        **{f"{name}_auc": mean_auc(scores, label, classes) for name, scores in logits.items()},
        **{f"{name}_interval": interval(scores, label, whose, classes, seed=seed) for name, scores in logits.items()},
        "by_class": by_class(logits, label, classes),
        "by_subgroup": {name: by_subgroup(logits, label, column, classes) for name, column in columns.items()},
        "n": len(label),
    }


def mean_auc(scores: NDArray[np.float64], label: NDArray[np.integer], classes: int) -> float:
    """Mean one-against-the-rest AUC of scores [N, K], over the classes that some of the N have and others have not."""
    return float(np.mean([auc(scores[:, c], label == c) for c in _told(label, classes)]))


def interval(
    scores: NDArray[np.float64], label: NDArray[np.integer], owner: NDArray[Any], classes: int, *, seed: int
) -> list[float]:
    """The ends of a 95 % bootstrap interval of `mean_auc`; patients are drawn, with all of their pictures."""
    rng = np.random.default_rng(seed)
    patients, whose = np.unique(owner, return_inverse=True)
    pictures = [np.flatnonzero(whose == patient) for patient in range(len(patients))]
    found = []
    for _ in range(RESAMPLES):
        index = np.concatenate([pictures[patient] for patient in rng.integers(len(patients), size=len(patients))])
        if _told(label[index], classes):
            found.append(mean_auc(scores[index], label[index], classes))
    return [float(end) for end in np.percentile(found, (LOW, HIGH))] if found else [float("nan"), float("nan")]


def by_class(logits: Scores, label: NDArray[np.integer], classes: int) -> list[dict[str, float]]:
    """For each class that can be told: its number, n of the test pictures, and the AUC of each network."""
    return [
        {
            "class": c,
            "n": int((label == c).sum()),
            **{f"{name}_auc": auc(scores[:, c], label == c) for name, scores in logits.items()},
        }
        for c in _told(label, classes)
    ]


def by_subgroup(logits: Scores, label: NDArray[np.integer], column: NDArray[Any], classes: int) -> list[dict[str, Any]]:
    """For each value of a column: n, and the mean AUC of each network within it.

    Values of fewer than 10 test pictures are one row, `other`: a rare value can name a person. An AUC is left out
    where a subgroup is of one class.
    """
    values, of = np.unique(column.astype(str), return_inverse=True)
    counts = np.bincount(of, minlength=len(values))
    named = np.where(counts[of] < MIN_TEST, "other", values[of])
    rows = []
    for value in np.unique(named):
        index = np.flatnonzero(named == value)
        row: dict[str, Any] = {"value": str(value), "n": len(index)}
        if len(index) >= MIN_TEST and _told(label[index], classes):
            row |= {f"{name}_auc": mean_auc(scores[index], label[index], classes) for name, scores in logits.items()}
        rows.append(row)
    return rows


def _told(label: NDArray[np.integer], classes: int) -> list[int]:
    return [c for c in range(classes) if 0 < (label == c).sum() < len(label)]
