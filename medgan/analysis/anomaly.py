"""How unlike the normal ones an image is: Mahalanobis distance in features of one class. Not for clinical use."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from medgan.analysis.features import Floats, Whitening, folds, one_thread, whitening

TENSORS = ("mean", "turn", "known")


@dataclass(frozen=True, slots=True)
class Normality:
    """The whitening of normal images, and the distances of normal images it did not learn from, in order."""

    white: Whitening
    known: Floats  # [N]

    def distances(self, features: Floats) -> Floats:
        """[N, F] to [N]: how many spreads from the mean of the normal ones, over all directions."""
        with one_thread():
            return np.asarray(np.linalg.norm(self.white(features), axis=1))

    def shares(self, distances: Floats) -> Floats:
        """The share of held-out normal images at least as far out [N]; never 0, their number is the limit."""
        farther = len(self.known) - np.searchsorted(self.known, distances, side="left")
        return np.asarray((farther + 1) / (len(self.known) + 1))

    def tensors(self) -> dict[str, NDArray[Any]]:
        return {**self.white.tensors(), "known": self.known}

    @classmethod
    def of(cls, tensors: dict[str, NDArray[Any]]) -> Normality:
        return cls(Whitening(tensors["mean"], tensors["turn"]), tensors["known"])


def fit(features: Floats, normal: NDArray[np.bool_], owners: NDArray[Any]) -> tuple[Normality, dict[str, float]]:
    """The model of the normal images, and how well it tells the others from normal ones of patients it did not see."""
    mine = features[normal]
    known = np.zeros(len(mine))
    beside = np.zeros((~normal).sum())
    parts = folds(owners[normal])
    for learn, look in parts:
        white = whitening(mine[learn])
        with one_thread():
            known[look] = np.linalg.norm(white(mine[look]), axis=1)
            beside += np.linalg.norm(white(features[~normal]), axis=1) / len(parts)
    figures = {"normal_images": float(len(mine))}
    if len(beside):
        told = roc_auc_score(np.r_[np.zeros(len(known)), np.ones(len(beside))], np.r_[known, beside])
        figures["auc"] = float(told)
    return Normality(whitening(mine), np.sort(known)), figures
