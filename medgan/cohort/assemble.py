"""Pictures of many patients into one cohort: units, classes, split and order."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medgan.cohort.arrays import PARTS, CohortArrays
from medgan.cohort.duplicates import units
from medgan.cohort.leakage import Match, matches

LISTED = 200  # near duplicates that a cohort names; all of them are counted
OTHER, UNLABELLED = "other", "unlabelled"


@dataclass(frozen=True, slots=True)
class Rows:
    """Pictures as they come: images [N, C, D, H, W] stored integers, label ("" for none) and patient key of each.

    source: [N, figures] of what each was made of, or None. mask: uint8 [N, 1, D, H, W] and has_mask [N], or None.
    """

    images: NDArray[Any]
    labels: Sequence[str]
    patient_keys: Sequence[str]
    source: NDArray[np.float32] | None = None
    mask: NDArray[np.uint8] | None = None
    has_mask: NDArray[np.uint8] | None = None


def assemble(
    rows: Rows,
    *,
    unit: str,
    min_class_patients: int,
    side: Callable[[str], int],
    attributes: dict[str, Any],
) -> CohortArrays:
    """The cohort of these rows, in their order; `side` gives a patient's part of the split.

    With unit "image" near-identical pictures are joined first: they share the smallest of their keys. A picture
    that nearly duplicates another patient's in an earlier part is left out and counted: nobody changes sides.
    """
    keys = list(rows.patient_keys)
    joined = 0
    if unit == "image":
        keys = joined_keys(rows.images, keys)
        joined = len(set(rows.patient_keys)) - len(set(keys))
    sides = {key: side(key) for key in set(keys)}
    part = np.array([sides[key] for key in keys], np.uint8)
    found = matches(rows.images, part)
    gone = {match.row for match in found}
    kept = [row for row in range(len(keys)) if row not in gone]
    names = folded([rows.labels[row] for row in kept], [keys[row] for row in kept], min_class_patients)
    classes = in_order(names)
    places = {name: index for index, name in enumerate(classes)}
    told = {"joined": joined, "left_out_near_duplicates": len(found), "near_duplicates": _listed(found, keys, part)}
    return CohortArrays(
        images=rows.images[kept] if found else rows.images,
        label=np.array([places[name] for name in names], np.uint16),
        patient_key=np.array(keys, "U32")[kept],
        split=part[kept],
        classes=classes,
        attributes={**attributes, "unit": unit, **told},
        source=None if rows.source is None else rows.source[kept],
        mask=rows.mask if rows.mask is None or not found else rows.mask[kept],
        has_mask=None if rows.has_mask is None else rows.has_mask[kept],
    )


def _listed(found: Sequence[Match], keys: Sequence[str], part: NDArray[np.uint8]) -> list[dict[str, Any]]:
    """Who was left out of which part for whom, the most alike first; `row` of the one that stayed, -1 for none."""
    gone = np.array(sorted(match.row for match in found), np.int64)
    most = sorted(found, key=lambda match: (-match.likeness, match.row))[:LISTED]
    return [
        {
            "left_out": keys[match.row],
            "part": PARTS[part[match.row]],
            "like": keys[match.like],
            "row": -1 if match.like in gone else match.like - int(np.searchsorted(gone, match.like)),
            "likeness": round(match.likeness, 3),
        }
        for match in most
    ]


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
