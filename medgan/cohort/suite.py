"""Every figure of fidelity for sets of pictures beside real ones, each with its floor. 2-D and 3-D.

A set is looked at once (`seen`); the draws of cohort/floor.py then compare rows of what was seen.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medgan.cohort import fidelity, floor, similarity, spectra
from medgan.cohort.ridge import class_auc
from medgan.cohort.two_sample import told_apart

SIGNED = ("kid", "ms_ssim_gap")
IN_FEATURES = ("fd", "kid", "precision", "recall", "density", "coverage", "authenticity", "c2st_auc", "class_auc")
IN_PICTURES = ("swd", "log_psd", "ms_ssim_gap")
LEAST_SPREAD = 0.1
Figures = dict[str, float]


@dataclass(frozen=True, slots=True)
class Seen:
    """What was seen of a set of N pictures.

    images: float32 [N, C, D, H, W] in [-1, 1]; label [N]; owner [N], one value for each patient; features [N, K];
    power: log power [N, rings]; slices: projections [N, 128] of each level.
    """

    images: NDArray[np.float32]
    label: NDArray[np.integer]
    owner: NDArray[Any]
    features: NDArray[np.float64]
    power: NDArray[np.float64]
    slices: list[NDArray[np.float64]]

    def __len__(self) -> int:
        return len(self.images)


def seen(
    images: NDArray[np.float32],
    label: NDArray[np.integer],
    owner: NDArray[Any] | None,
    features: NDArray[np.float64],
    *,
    seed: int,
) -> Seen:
    """Look at a set; without owners every picture is its own. The seed decides the directions: one for all sets."""
    whose = np.arange(len(images)) if owner is None else owner
    return Seen(images, label, whose, features, spectra.log_power(images), spectra.projected(images, seed=seed))


def in_features(
    real: tuple[NDArray[np.float64], NDArray[np.integer], NDArray[Any]],
    fake: tuple[NDArray[np.float64], NDArray[np.integer]],
    classes: int,
    rng: np.random.Generator,
) -> Figures:
    """IN_FEATURES of (features, label, owner) of real pictures and (features, label) of as many others.

    `class_auc` is left out where the real ones are of one class.
    """
    (of_real, answers, owner), (of_fake, label) = real, fake
    taught = class_auc((of_fake, label), (of_real, answers), classes)
    return {
        **fidelity.figures(of_real, of_fake, owner, rng),
        "c2st_auc": told_apart(of_real, of_fake, owner, rng),
        **({"class_auc": taught} if np.isfinite(taught) else {}),
    }


def in_pictures(
    real: Seen, fake: Seen, spread: Sequence[float], among_real: float, rng: np.random.Generator
) -> Figures:
    """IN_PICTURES of as many real as other pictures.

    `spread` of each level is from all real ones; `among_real` is `alike(real)`, which left out of this is paid once.
    """
    gap = alike(fake, rng) - among_real
    return {
        "swd": spectra.sliced_distance(fake.slices, real.slices, spread),
        "log_psd": spectra.power_distance(fake.power, real.power),
        **({"ms_ssim_gap": gap} if np.isfinite(gap) else {}),
    }


def alike(some: Seen, rng: np.random.Generator) -> float:
    """Mean MS-SSIM of random pairs of two patients."""
    most = similarity.enough(some.images.shape[1:])
    return similarity.alike(some.images, similarity.pairs(some.owner, rng, most=most))


def rows(some: Seen, index: NDArray[np.intp]) -> Seen:
    """The pictures of an index."""
    return Seen(
        some.images[index],
        some.label[index],
        some.owner[index],
        some.features[index],
        some.power[index],
        [level[index] for level in some.slices],
    )


def scale(real: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean and spread of each feature of real pictures [N, K]; a spread is at least a tenth of the middle one.

    Otherwise a feature that hardly varies, such as the level of an always black border, would be all that counts.
    """
    spread = real.std(axis=0)
    return real.mean(axis=0), np.maximum(spread, max(LEAST_SPREAD * float(np.median(spread)), 1e-9))


def spreads(real: Seen) -> list[float]:
    """The standard deviation of each level's projections."""
    return [float(level.std()) for level in real.slices]


def measured(
    features: Mapping[str, NDArray[np.float64]],
    label: Mapping[str, NDArray[np.integer]],
    owner: NDArray[Any],
    drawn: Sequence[floor.Draw],
    classes: int,
    *,
    seed: int,
) -> dict[str, dict[str, Figures]]:
    """IN_FEATURES with their floors for each set of fakes, by its name; the real ones are called `real`.

    features: [N, K] of each set, as one network sees them; they are scaled to unit spread over all real ones.
    """
    middle, spread = scale(features["real"])
    scaled = {name: (some - middle) / spread for name, some in features.items()}

    def figures(draw: floor.Draw, name: str | None, number: int) -> Figures:
        other, index = ("real", draw.b) if name is None else (name, draw.fakes[name])
        real = (scaled["real"][draw.a], label["real"][draw.a], owner[draw.a])
        # the same chance for every set of a draw
        rng = np.random.default_rng([seed, number])
        return in_features(real, (scaled[other][index], label[other][index]), classes, rng)

    return floor.measured(drawn, [name for name in features if name != "real"], figures, signed=SIGNED)


def pictured(sets: Mapping[str, Seen], drawn: Sequence[floor.Draw], *, seed: int) -> dict[str, dict[str, Figures]]:
    """IN_PICTURES with their floors for each set of fakes, by its name; the real ones are called `real`."""
    real, spread = sets["real"], spreads(sets["real"])
    among_real = [alike(rows(real, draw.a), np.random.default_rng([seed, i, 1])) for i, draw in enumerate(drawn)]

    def figures(draw: floor.Draw, name: str | None, number: int) -> Figures:
        other = rows(real, draw.b) if name is None else rows(sets[name], draw.fakes[name])
        rng = np.random.default_rng([seed, number, 2])
        return in_pictures(rows(real, draw.a), other, spread, among_real[number], rng)

    return floor.measured(drawn, [name for name in sets if name != "real"], figures, signed=SIGNED)


def median(
    networks: Sequence[Mapping[str, Mapping[str, Figures]]], lead: str
) -> tuple[dict[str, dict[str, Figures]], dict[str, tuple[float, float]]]:
    """Of several networks the one in the middle, figure by figure, as the set `lead` has them; and their range.

    Returns (figures of every set, from the network chosen for that figure; {figure: (least, most)} of `lead`).
    """
    chosen: dict[str, dict[str, Figures]] = {name: {} for name in networks[0]}
    spread = {}
    for figure in networks[0][lead]:
        values = [network[lead][figure]["value"] for network in networks]
        order = np.argsort(values, kind="stable")
        spread[figure] = (values[order[0]], values[order[-1]])
        middle = networks[order[len(order) // 2]]
        for name in chosen:
            if figure in middle[name]:  # a set of other classes has no figure of classes
                chosen[name][figure] = dict(middle[name][figure])
    return chosen, spread
