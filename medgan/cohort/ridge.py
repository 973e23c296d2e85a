"""A linear classifier in closed form on features, and the area under its curve."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

STIFFNESS = 0.1  # of the ridge, in units of a feature's variance


def ridge_scores(
    train: NDArray[np.float64], target: NDArray[np.float64], test: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Scores [M, T] of test [M, K] by a ridge regression of target [N, T] on train [N, K], both centred."""
    middle, spread = train.mean(axis=0), train.std(axis=0) + 1e-9
    x, y = (train - middle) / spread, target - target.mean(axis=0)
    weights = np.linalg.solve(x.T @ x / len(x) + STIFFNESS * np.eye(x.shape[1]), x.T @ y / len(x))
    scores: NDArray[np.float64] = (test - middle) / spread @ weights
    return scores


def class_auc(
    taught: tuple[NDArray[np.float64], NDArray[np.integer]],
    tested: tuple[NDArray[np.float64], NDArray[np.integer]],
    classes: int,
) -> float:
    """Mean one-against-the-rest AUC of features and labels learned on one set and tested on another.

    Of the classes that the tested set can tell: a class that was never taught scores 0.5. Not a number when the
    tested set has fewer than two classes.
    """
    (features, label), (unseen, answers) = taught, tested
    present = [c for c in range(classes) if 0 < (answers == c).sum() < len(answers)]
    if not present:
        return float("nan")
    target = np.where(label[:, None] == np.arange(classes)[None, :], 1.0, 0.0)
    scores = ridge_scores(features, target, unseen)
    return float(np.mean([auc(scores[:, c], answers == c) for c in present]))


def auc(score: NDArray[np.float64], positive: NDArray[np.bool_]) -> float:
    """Share of (positive, negative) pairs in which the positive has the higher score; ties count by half."""
    above = score[positive][:, None] - score[~positive][None, :]
    return float((above > 0).mean() + 0.5 * (above == 0).mean())
