"""Which class an image shows: multinomial logistic regression on whitened features, probabilities calibrated.

Not for clinical use.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from medgan.analysis.features import Floats, Whitening, folds, one_thread, whitening
from medgan.errors import UsageError

STRENGTHS = (0.001, 0.01, 0.1, 1.0)  # inverse weight of the ridge; the best by held-out patients is taken
TEMPERATURES = (-2.0, 3.0)  # range of the logarithm
BINS = 10


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """Class logits are coordinates @ weights + offset, divided by a temperature."""

    white: Whitening
    weights: Floats  # [K, classes]
    offset: Floats  # [classes]
    temperature: float

    def probabilities(self, features: Floats) -> Floats:
        """[N, F] to [N, classes], each row adding up to 1."""
        return np.asarray(softmax((self.white(features) @ self.weights + self.offset) / self.temperature, axis=1))

    def tensors(self) -> dict[str, NDArray[Any]]:
        return {
            **self.white.tensors(),
            "weights": self.weights,
            "offset": self.offset,
            "temperature": np.array([self.temperature]),
        }

    @classmethod
    def of(cls, tensors: dict[str, NDArray[Any]]) -> Diagnosis:
        white = Whitening(tensors["mean"], tensors["turn"])
        return cls(white, tensors["weights"], tensors["offset"], float(tensors["temperature"][0]))


TENSORS = ("mean", "turn", "weights", "offset", "temperature")


def fit(
    features: Floats, label: NDArray[np.integer], owners: NDArray[Any], *, classes: int, keep: int
) -> tuple[Diagnosis, dict[str, float]]:
    """The model and what it does on patients it did not learn from. features [N, F], label [N], owners [N].

    Raises UsageError when fewer than two classes are there.
    """
    present = np.unique(label)
    if len(present) < 2 or classes < 2:
        raise UsageError("images of one class only; a diagnosis tells classes apart, so two are needed")
    with one_thread():
        held = [_held_out(features, label, owners, classes, keep, strength) for strength in STRENGTHS]
        losses = [_loss(logits, label, 1.0) for logits in held]
        best = int(np.argmin(losses))
        temperature = _temperature(held[best], label)
        white = whitening(features, keep)
        weights, offset = _regression(white(features), label, classes, STRENGTHS[best])
    return Diagnosis(white, weights, offset, temperature), _figures(held[best] / temperature, label)


def _held_out(
    features: Floats, label: NDArray[np.integer], owners: NDArray[Any], classes: int, keep: int, strength: float
) -> Floats:
    """Logits [N, classes], each from a model that did not see the image's patient."""
    logits = np.zeros((len(label), classes))
    for learn, look in folds(owners):
        white = whitening(features[learn], keep)
        weights, offset = _regression(white(features[learn]), label[learn], classes, strength)
        logits[look] = white(features[look]) @ weights + offset
    return logits


def _regression(x: Floats, label: NDArray[np.integer], classes: int, strength: float) -> tuple[Floats, Floats]:
    """Weights [K, classes] and offsets; a class that is not there gets no weight and a very low offset."""
    present = np.unique(label)
    weights, offset = np.zeros((x.shape[1], classes)), np.full(classes, -30.0)
    if len(present) == 1:
        offset[present] = 0.0
        return weights, offset
    with warnings.catch_warnings(action="ignore", category=ConvergenceWarning):
        fitted = LogisticRegression(C=strength, max_iter=300, tol=1e-5).fit(x, label)
    if len(present) == 2:  # sklearn keeps one row of two
        weights[:, present[1]], offset[present] = fitted.coef_[0], (0.0, float(fitted.intercept_[0]))
    else:
        weights[:, present], offset[present] = fitted.coef_.T, fitted.intercept_
    return weights, offset


def _temperature(logits: Floats, label: NDArray[np.integer]) -> float:
    found = minimize_scalar(lambda log: _loss(logits, label, float(np.exp(log))), bounds=TEMPERATURES, method="bounded")
    return float(np.exp(found.x))


def _loss(logits: Floats, label: NDArray[np.integer], temperature: float) -> float:
    """Mean negative log-likelihood."""
    return float(-log_softmax(logits / temperature, axis=1)[np.arange(len(label)), label].mean())


def _figures(logits: Floats, label: NDArray[np.integer]) -> dict[str, float]:
    """What held-out patients say: accuracy beside that of the largest class, mean one-against-rest AUC, calibration."""
    probability = np.asarray(softmax(logits, axis=1))
    right = probability.argmax(axis=1) == label
    aucs = [roc_auc_score(label == one, probability[:, one]) for one in np.unique(label)]
    return {
        "accuracy": float(right.mean()),
        "largest_class": float(np.bincount(label).max() / len(label)),
        "auc": float(np.mean(aucs)),
        "log_loss": _loss(logits, label, 1.0),
        "calibration_error": calibration_error(probability.max(axis=1), right),
    }


def calibration_error(confidence: Floats, right: NDArray[np.bool_]) -> float:
    """Mean gap between confidence and accuracy over ten equal bins of confidence, weighted by their images."""
    place = np.minimum((confidence * BINS).astype(int), BINS - 1)
    gaps = [abs(confidence[place == b].sum() - right[place == b].sum()) for b in range(BINS)]
    return float(sum(gaps) / len(confidence))
