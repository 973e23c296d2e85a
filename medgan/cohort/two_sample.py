"""The classifier two-sample test: can real and synthetic pictures be told apart at all? AUC 0.5: no; 1: always.

Five folds, a patient's pictures in one of them; a fixed budget and nothing chosen. It sees everything that its
classifier can see, and saturates at 1 where other figures still tell good from bad.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from medgan.cohort.features import class_logits, trained
from medgan.cohort.ridge import auc, ridge_scores

FOLDS = 5


def told_apart(
    real: NDArray[np.float64], fake: NDArray[np.float64], owner: NDArray[Any], rng: np.random.Generator
) -> float:
    """AUC of a ridge classifier on features [N, K] and [M, K]; owner [N] of the real ones. Mean of the folds."""
    features = np.concatenate([real, fake])
    is_fake = np.arange(len(features)) >= len(real)
    found = []
    for test in folds(owner, len(fake), rng):
        scores = ridge_scores(features[~test], np.where(is_fake[~test], 1.0, -1.0)[:, None], features[test])[:, 0]
        if 0 < is_fake[test].sum() < test.sum():
            found.append(auc(scores, is_fake[test]))
    return float(np.mean(found)) if found else 0.5


def told_apart_by_network(
    real: NDArray[np.float32],
    fake: NDArray[np.float32],
    owner: NDArray[Any],
    rng: np.random.Generator,
    *,
    steps: int,
    seed: int,
) -> float:
    """AUC of a small convolutional network that was shown the pictures, [N, C, D, H, W], for `steps` batches a fold."""
    images = np.concatenate([real, fake])
    is_fake = np.arange(len(images)) >= len(real)
    found = []
    for test in folds(owner, len(fake), rng):
        if not 0 < is_fake[test].sum() < test.sum():
            continue
        network = trained(images[~test], is_fake[~test].astype(np.uint16), 2, steps=steps, seed=seed)
        logits = class_logits(network, images[test])
        found.append(auc(logits[:, 1] - logits[:, 0], is_fake[test]))
    return float(np.mean(found)) if found else 0.5


def folds(owner: NDArray[Any], fakes: int, rng: np.random.Generator) -> list[NDArray[np.bool_]]:
    """Masks [N + M] of what each fold tests; the pictures of a patient are in one, a synthetic one is its own."""
    patients, whose = np.unique(owner, return_inverse=True)
    of_patient = rng.permutation(len(patients)) % FOLDS
    fold = np.concatenate([of_patient[whose], rng.permutation(fakes) % FOLDS])
    return [fold == number for number in range(FOLDS)]
