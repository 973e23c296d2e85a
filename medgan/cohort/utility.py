"""Whether synthetic pictures teach what real ones teach: trained on either, tested on the same unseen patients."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from medgan.cohort.features import class_logits, trained

MIN_TEST = 10


def trained_on_synthetic(
    synthetic: tuple[NDArray[np.float32], NDArray[np.uint16]],
    train: tuple[NDArray[np.float32], NDArray[np.uint16]],
    test: tuple[NDArray[np.float32], NDArray[np.uint16]],
    classes: int,
    *,
    steps: int,
    seed: int,
) -> dict[str, float] | None:
    """tstr_auc, trtr_auc and n; each pair is (images [N, C, D, H, W], label [N]).

    Fixed steps and no choice of a best one: nothing is tuned on the test patients. None when these are too few,
    or of one class.
    """
    images, label = test
    present = [c for c in range(classes) if 0 < (label == c).sum() < len(label)]
    if len(label) < MIN_TEST or not present:
        return None
    figures = {}
    for name, (pictures, answers) in (("tstr_auc", synthetic), ("trtr_auc", train)):
        if len(np.unique(answers)) < 2:
            return None
        network = trained(pictures, answers, classes, steps=steps, seed=seed, turns=False)
        logits = class_logits(network, images)
        figures[name] = float(np.mean([auc(logits[:, c], label == c) for c in present]))
    return {**figures, "n": len(label)}


def auc(score: NDArray[np.float64], positive: NDArray[np.bool_]) -> float:
    """Share of (positive, negative) pairs in which the positive has the higher score."""
    above = score[positive][:, None] - score[~positive][None, :]
    return float((above > 0).mean() + 0.5 * (above == 0).mean())
