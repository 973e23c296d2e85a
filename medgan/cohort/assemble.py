"""Pictures of many patients into one cohort: units, classes, split and order."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medgan.cohort.arrays import CohortArrays
from medgan.cohort.duplicates import units

OTHER, UNLABELLED = "other", "unlabelled"


@dataclass(frozen=True, slots=True)
class Rows:
    """Pictures as they come: images [N, C, D, H, W] stored integers, label ("" for none) and patient key of each."""

    images: NDArray[Any]
    labels: Sequence[str]
    patient_keys: Sequence[str]


def assemble(
    rows: Rows,
    *,
    unit: str,
    min_class_patients: int,
    side: Callable[[str], int],
    attributes: dict[str, Any],
) -> CohortArrays:
    """The cohort of these rows, in their order; `side` gives a patient's part of the split.

    With unit "image" near-identical pictures are joined first: they share the smallest of their keys.
    """
    keys = list(rows.patient_keys)
    joined = 0
    if unit == "image":
        keys = joined_keys(rows.images, keys)
        joined = len(set(rows.patient_keys)) - len(set(keys))
    names = folded(rows.labels, keys, min_class_patients)
    classes = in_order(names)
    places = {name: index for index, name in enumerate(classes)}
    sides = {key: side(key) for key in set(keys)}
    return CohortArrays(
        images=rows.images,
        label=np.array([places[name] for name in names], np.uint16),
        patient_key=np.array(keys, "U32"),
        split=np.array([sides[key] for key in keys], np.uint8),
        classes=classes,
        attributes={**attributes, "unit": unit, "joined": joined},
    )


def folded(labels: Sequence[str], patient_keys: Sequence[str], fewest: int) -> list[str]:
    """Labels with those of fewer than `fewest` patients under "other" and missing ones under "unlabelled"."""
    patients: dict[str, set[str]] = defaultdict(set)
    for label, patient in zip(labels, patient_keys, strict=True):
        patients[label].add(patient)
    kept = {label for label, some in patients.items() if label and len(some) >= fewest}
    return [label if label in kept else OTHER if label else UNLABELLED for label in labels]


def in_order(names: Sequence[str]) -> tuple[str, ...]:
    """The classes that occur, by name, "other" and "unlabelled" last."""
    last = {OTHER: 1, UNLABELLED: 2}
    return tuple(sorted(set(names), key=lambda name: (last.get(name, 0), name)))


def joined_keys(images: NDArray[Any], keys: Sequence[str]) -> list[str]:
    """Keys in which near-identical pictures, and all pictures of one key, share the smallest key of theirs."""
    leader: dict[str, str] = {key: key for key in keys}

    def lead(key: str) -> str:
        while leader[key] != key:
            key = leader[key]
        return key

    for index, first in enumerate(units(images)):
        one, other = sorted((lead(keys[index]), lead(keys[int(first)])))
        leader[other] = one
    return [lead(key) for key in keys]
