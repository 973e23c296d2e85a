"""Whether the figures can tell good from bad at all: real pictures of other patients, spoiled in known ways.

EXPECTED says which figure must move, and where to. What a figure is blind to is not in it: see docs/gan.md. A figure
that stands still, or moves the other way, has shown nothing about the synthetic pictures either.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from medgan.cohort import floor, suite

Pictures = NDArray[np.float32]  # [N, C, D, H, W] in [-1, 1]
Labelled = tuple[Pictures, NDArray[np.integer]]
UP, DOWN = 1, -1
LEAST, MOST = 48, 400  # pictures of a side
SURE = 100  # pictures of a side from which on a check that fails counts: with fewer, chance moves figures too
DRAWS = 2
TAUGHT = 0.6  # class_auc of real pictures below which their labels cannot be seen to matter
MODES = 0.1  # share of pictures that a collapsed generator keeps
NOISE = 0.1  # of a range of 2: 5 % of it
GAIN, SHIFT = 0.8, 0.15
FADED = 0.5

EXPECTED: dict[str, dict[str, int]] = {
    "blur": {"fd": UP, "kid": UP, "precision": DOWN, "coverage": DOWN, "c2st_auc": UP, "swd": UP, "log_psd": UP},
    "noise": {
        **{"fd": UP, "kid": UP, "precision": DOWN, "density": DOWN, "coverage": DOWN},
        **{"c2st_auc": UP, "swd": UP, "log_psd": UP},
    },
    "contrast": {"fd": UP, "kid": UP, "coverage": DOWN, "c2st_auc": UP, "swd": UP, "log_psd": UP},
    "few_modes": {"fd": UP, "recall": DOWN, "coverage": DOWN},
    "faded": {"fd": UP, "recall": DOWN, "c2st_auc": UP, "ms_ssim_gap": UP},
    "dropped_classes": {"fd": UP, "coverage": DOWN, "class_auc": DOWN},
    "copies": {"authenticity": DOWN, "fd": DOWN},
    "mislabelled": {"class_auc": DOWN},
}


def blurred(fakes: Labelled, real: Labelled, rng: np.random.Generator) -> Labelled:
    """A Gaussian of one voxel."""
    sigma = [0, 0, *(1.0 if side > 1 else 0.0 for side in fakes[0].shape[2:])]
    return ndimage.gaussian_filter(fakes[0], sigma), fakes[1]


def noisy(fakes: Labelled, real: Labelled, rng: np.random.Generator) -> Labelled:
    """Noise of 5 % of the range."""
    return fakes[0] + rng.normal(0, NOISE, fakes[0].shape).astype(np.float32), fakes[1]


def rewindowed(fakes: Labelled, real: Labelled, rng: np.random.Generator) -> Labelled:
    """Another window: less contrast, and lighter."""
    return (fakes[0] * np.float32(GAIN) + np.float32(SHIFT)).astype(np.float32), fakes[1]


def few_modes(fakes: Labelled, real: Labelled, rng: np.random.Generator) -> Labelled:
    """Every tenth picture ten times."""
    kept = rng.permutation(len(fakes[0]))[: max(1, round(MODES * len(fakes[0])))]
    index = np.resize(kept, len(fakes[0]))
    return fakes[0][index], fakes[1][index]


def faded(fakes: Labelled, real: Labelled, rng: np.random.Generator) -> Labelled:
    """Half way to the mean picture: little variety, as a weak generator has."""
    mean = fakes[0].mean(axis=0, keepdims=True)
    return (mean + (fakes[0] - mean) * np.float32(FADED)).astype(np.float32), fakes[1]


def without_classes(fakes: Labelled, real: Labelled, rng: np.random.Generator) -> Labelled:
    """Pictures of the rarest class only, as often as it takes."""
    names, counts = np.unique(fakes[1], return_counts=True)
    index = np.resize(rng.permutation(np.flatnonzero(fakes[1] == names[counts.argmin()])), len(fakes[0]))
    return fakes[0][index], fakes[1][index]


def copies(fakes: Labelled, real: Labelled, rng: np.random.Generator) -> Labelled:
    """The pictures that they are compared with."""
    return real


def mislabelled(fakes: Labelled, real: Labelled, rng: np.random.Generator) -> Labelled:
    """Each class called by the name of the next."""
    names = np.unique(fakes[1])
    return fakes[0], np.roll(names, 1)[np.searchsorted(names, fakes[1])]


KINDS: dict[str, Callable[[Labelled, Labelled, np.random.Generator], Labelled]] = {
    "blur": blurred,
    "noise": noisy,
    "contrast": rewindowed,
    "few_modes": few_modes,
    "faded": faded,
    "dropped_classes": without_classes,
    "copies": copies,
    "mislabelled": mislabelled,
}
NEEDS_CLASSES = ("dropped_classes", "mislabelled")


def moved(
    reals: suite.Seen,
    features: Callable[[Pictures], NDArray[np.float64]],
    classes: int,
    *,
    seed: int,
    kinds: Sequence[str] = tuple(KINDS),
) -> dict[str, dict[str, tuple[float, float]]]:
    """{corruption: {figure: (as it was, as it became)}}, every figure of the suite; nothing where there are too few.

    Real pictures of half of the patients are compared with those of the other half, before and after: a paired
    comparison, in which only the corruption differs. Means of two draws.
    """
    if not side(reals.owner, seed=seed):
        return {}
    drawn = floor.draws(reals.owner, {}, seed=seed, count=DRAWS, most=MOST)
    found = [_one_draw(reals, draw, features, classes, [seed, number], kinds) for number, draw in enumerate(drawn)]
    return {
        kind: {
            name: (
                float(np.mean([one[kind][name][0] for one in found])),
                float(np.mean([one[kind][name][1] for one in found])),
            )
            for name in found[0][kind]
        }
        for kind in found[0]
        if all(kind in one for one in found)
    }


def _one_draw(
    reals: suite.Seen,
    draw: floor.Draw,
    features: Callable[[Pictures], NDArray[np.float64]],
    classes: int,
    seed: list[int],
    kinds: Sequence[str],
) -> dict[str, dict[str, tuple[float, float]]]:
    middle, spread = suite.scale(reals.features)
    widths, a, b = suite.spreads(reals), suite.rows(reals, draw.a), suite.rows(reals, draw.b)

    among_real = suite.alike(a, np.random.default_rng([*seed, 3]))

    def figures(other: suite.Seen) -> dict[str, float]:
        rng = np.random.default_rng([*seed, 1])
        real, fake = (a.features - middle) / spread, (other.features - middle) / spread
        return {
            **suite.in_features((real, a.label, a.owner), (fake, other.label), classes, rng),
            **suite.in_pictures(a, other, widths, among_real, rng),
        }

    clean, found = figures(b), {}
    for kind in kinds:
        if kind in NEEDS_CLASSES and min(len(np.unique(side.label)) for side in (a, b)) < 2:
            continue
        images, label = KINDS[kind]((b.images, b.label), (a.images, a.label), np.random.default_rng([*seed, 2]))
        owner = a.owner if kind == "copies" else b.owner
        other = suite.Seen(images, label, owner, b.features, b.power, b.slices)
        if images is not b.images:
            other = suite.seen(images, label, owner, features(images), seed=seed[0])
        now = figures(other)
        found[kind] = {name: (clean[name], now[name]) for name in clean if name in now}
    return found


def side(owner: NDArray[Any], *, seed: int) -> int:
    """How many pictures of a side `moved` compares; 0 where it does not."""
    drawn = floor.draws(owner, {}, seed=seed, count=DRAWS, most=MOST)
    return drawn[0].n if drawn and drawn[0].n >= LEAST else 0


def checks(found: dict[str, dict[str, tuple[float, float]]]) -> list[dict[str, Any]]:
    """A row for each corruption and figure of EXPECTED: corruption, figure, expected, clean, spoiled, ok.

    ok is None where real labels teach too little for any change of them to show.
    """
    rows = []
    for kind, figures in found.items():
        for figure, direction in EXPECTED[kind].items():
            if figure not in figures:
                continue
            clean, spoiled = figures[figure]
            blind = figure == "class_auc" and clean < TAUGHT
            rows.append(
                {
                    "corruption": kind,
                    "figure": figure,
                    "expected": "up" if direction == UP else "down",
                    "clean": clean,
                    "spoiled": spoiled,
                    "ok": None if blind else bool((spoiled - clean) * direction > 0),
                }
            )
    return rows
