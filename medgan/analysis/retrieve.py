"""Which known images are most like this one: cosine between whitened features. Not for clinical use."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medgan.analysis.features import TINY, Floats, Whitening, one_thread, whitening
from medgan.errors import UsageError

TENSORS = ("mean", "turn", "index", "label")
AT = 5  # neighbours that the precision is counted over
ROWS = 1024


@dataclass(frozen=True, slots=True)
class Index:
    """Directions of the known images, float [N, K] of length 1, and their labels [N]."""

    white: Whitening
    index: Floats
    label: NDArray[np.integer]

    def neighbours(self, features: Floats, count: int) -> tuple[NDArray[np.intp], Floats]:
        """Places in the index [n, count] and cosines [n, count] of the nearest, the nearest first."""
        if not 1 <= count <= len(self.index):
            raise UsageError(f"{count} neighbours asked for, the index holds {len(self.index)} images")
        places, cosines = [], []
        with one_thread():
            for start in range(0, len(features), ROWS):
                alike = directions(self.white, features[start : start + ROWS]) @ self.index.T
                place, cosine = nearest(alike, count)
                places.append(place)
                cosines.append(cosine)
        return np.concatenate(places), np.concatenate(cosines)

    def tensors(self) -> dict[str, NDArray[Any]]:
        return {**self.white.tensors(), "index": self.index, "label": self.label}

    @classmethod
    def of(cls, tensors: dict[str, NDArray[Any]]) -> Index:
        return cls(Whitening(tensors["mean"], tensors["turn"]), tensors["index"], tensors["label"])


def fit(
    features: Floats, label: NDArray[np.integer], owners: NDArray[Any], *, keep: int
) -> tuple[Index, dict[str, float]]:
    """The index, and how often a neighbour of another patient has the image's label."""
    white = whitening(features, keep)
    with one_thread():
        index = Index(white, directions(white, features), label)
        alike = index.index @ index.index.T
    alike[owners[:, None] == owners[None, :]] = -np.inf
    others = (np.isfinite(alike)).sum(axis=1)
    asked = np.flatnonzero(others >= AT)
    if not len(asked):
        return index, {}
    place, _ = nearest(alike[asked], AT)
    shares = np.bincount(label) / len(label)
    return index, {
        f"precision_at_{AT}": float((label[place] == label[asked][:, None]).mean()),
        "by_chance": float((shares**2).sum()),
    }


def nearest(alike: Floats, count: int) -> tuple[NDArray[np.intp], Floats]:
    """Columns of the largest values of each row, largest first, ties by place."""
    place = np.argsort(-alike, axis=1, kind="stable")[:, :count]
    return place, np.take_along_axis(alike, place, axis=1)


def directions(white: Whitening, features: Floats) -> Floats:
    """Whitened features [N, K] of length 1."""
    x = white(features)
    return np.asarray(x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), TINY))
