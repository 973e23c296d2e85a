"""Two cohorts -> a scorecard: how good the synthetic pictures are, and whether a patient can be found in them."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from medgan import digest as digests
from medgan.cohort import external
from medgan.cohort import scorecard as cards
from medgan.cohort.arrays import PARTS, CohortArrays, read_cohort, stored
from medgan.errors import CorruptArtefact, UsageError
from medgan.home import Home
from medgan.recipes import EvaluateRecipe
from medgan.records import Answer, Checkpoint, Cohort, Scorecard
from medgan.registry.gate import judge

VERSION = 2
PART_FROM_AUDIT = 0.25  # of the audit patients, when no fresh part is given
MIN_UNITS = 4
BESIDE = ("swd", "log_psd", "c2st_auc", "class_auc", "authenticity")  # figures of the suite that a record keeps

logger = logging.getLogger(__name__)


def evaluate(
    synthetic: Cohort,
    real: Cohort,
    recipe: EvaluateRecipe,
    home: Home,
    *,
    checkpoint: Checkpoint | None = None,
    baseline: Cohort | None = None,
    weights: Path | None = None,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> Scorecard:
    """Score a synthetic cohort against the parts of the real one. Opens the audit part; each look is counted.

    weights: a file of another feature network (cohort/external.py); its digest is part of the key.
    """
    key = digests.key(
        "evaluate",
        VERSION,
        [synthetic.digest, real.digest],
        recipe,
        synthetic=synthetic.digest,
        checkpoint=checkpoint.digest if checkpoint else "",
        baseline=baseline.digest if baseline else "",
        weights=external.load(weights).digest if weights else "",
    )

    def fill(folder: Path) -> Scorecard:
        look = home.research.ledger.look(real.digest, key)
        offered, reals, plain = (
            read_cohort(home.research.store.path(cohort.digest) / "cohort.zarr") if cohort else None
            for cohort in (synthetic, real, baseline)
        )
        if offered is None or reals is None:
            raise CorruptArtefact("a cohort is recorded but cannot be read; run `medgan doctor --repair`")
        evidence = score(offered, reals, recipe, look=look, baseline=plain, weights=weights, on_progress=on_progress)
        card = evidence.card | {
            "cohort": synthetic.digest,
            "checkpoint": checkpoint.digest if checkpoint else "",
            "real": real.digest,
        }
        _write(folder / "scorecard.json", card)
        _write(folder / "restricted.json", evidence.restricted)
        return Scorecard(
            digest="",
            cohort_digest=synthetic.digest,
            checkpoint_digest=checkpoint.digest if checkpoint else "",
            answer=cast(Answer, card["answer"]),
            reasons=tuple(card["reasons"]),
            figures=_figures(card),
        )

    parents = [cohort.digest for cohort in (synthetic, real, checkpoint, baseline) if cohort]
    return home.research.make(key, fill, stage="evaluate", kind=Scorecard, parents=parents)


def score(
    synthetic: CohortArrays,
    real: CohortArrays,
    recipe: EvaluateRecipe,
    *,
    look: int = 1,
    baseline: CohortArrays | None = None,
    weights: Path | None = None,
    subgroups: Mapping[str, NDArray[Any]] | None = None,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> cards.Evidence:
    """Compose the evidence and let the release gate judge it. Raises UsageError when the grids differ.

    subgroups: columns of the real cohort [N], by name; usefulness is given for each of their values too.
    """
    for other in (synthetic, *([baseline] if baseline is not None else [])):
        if other.images.shape[1:] != real.images.shape[1:]:
            raise UsageError(
                f"the synthetic pictures are {_grid(other)} and the real ones {_grid(real)} (channels, depth, height, "
                "width); bring both onto one grid with `medgan preprocess`"
            )
    evidence = cards.compose(
        synthetic,
        real,
        limits=cards.Limits(recipe.alpha, recipe.smallest_leak, recipe.max_epsilon),
        look=look,
        steps=recipe.feature_steps,
        seed=recipe.seed,
        baseline=baseline,
        weights=weights,
        subgroups=subgroups,
        on_progress=on_progress,
    )
    verdict = judge(
        evidence.card,
        min_coverage=recipe.min_coverage,
        max_distance_ratio=recipe.max_distance_ratio,
        beat_baseline=recipe.beat_baseline,
        smallest_leak=recipe.smallest_leak,
        max_epsilon=recipe.max_epsilon,
    )
    logger.info("evaluated %d synthetic pictures: %s", len(synthetic), verdict.answer)
    return replace(evidence, card=evidence.card | {"answer": verdict.answer, "reasons": list(verdict.reasons)})


def evaluate_paths(
    synthetic: Path, train: Path, reference: Path, fresh: Path | None, recipe: EvaluateRecipe
) -> dict[str, Any]:
    """The scorecard of cohorts that lie outside a home: packed Zarr cohorts, or npz with images and labels.

    `reference` is the audit part. Without `fresh`, a quarter of its patients is cut off for the gate's negative
    controls. Nothing counts the looks here: the answer holds for a first look only. Raises UsageError.
    """
    parts = {"train": read_pictures(train), "audit": read_pictures(reference)}
    if fresh is not None:
        parts["fresh"] = read_pictures(fresh)
    else:
        parts["audit"], parts["fresh"] = _cut(parts["audit"], PART_FROM_AUDIT, recipe.seed)
    _disjoint(parts)
    real = joined(parts)
    return score(read_pictures(synthetic), real, recipe).card


def read_pictures(path: Path) -> CohortArrays:
    """A packed Zarr cohort (or a folder that holds cohort.zarr), or an npz. Raises UsageError that says what is off."""
    for place in (path / "cohort.zarr", path):
        if place.is_dir() and (place / "zarr.json").is_file():
            return read_cohort(place)
    if not path.is_file():
        raise UsageError("no cohort there: expected a packed Zarr cohort, or an npz with `images`")
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in ("images", "labels", "patient_ids") if name in file}
    except (OSError, ValueError, EOFError, AttributeError, TypeError):
        raise UsageError("not an npz of plain arrays: expected `images`, and perhaps `labels`, `patient_ids`") from None
    if "images" not in arrays:
        raise UsageError("the npz has no array `images` of N,H,W or N,D,H,W")
    return _packed(arrays)


def joined(parts: dict[str, CohortArrays]) -> CohortArrays:
    """One cohort of several, each becoming a part of the split; classes are matched by name."""
    classes = tuple(dict.fromkeys(name for part in parts.values() for name in part.classes))
    first = next(iter(parts.values()))
    for name, part in parts.items():
        if part.images.shape[1:] != first.images.shape[1:]:
            raise UsageError(f"the {name} pictures are {_grid(part)}, expected {_grid(first)} as the others")
    return CohortArrays(
        images=np.concatenate([stored(part.floats(), "uint16") for part in parts.values()]),
        label=np.concatenate(
            [np.array([classes.index(c) for c in part.classes], np.uint16)[part.label] for part in parts.values()]
        ),
        patient_key=np.concatenate([_owners(part, name) for name, part in parts.items()]),
        split=np.concatenate([np.full(len(part), PARTS.index(name), np.uint8) for name, part in parts.items()]),
        classes=classes,
        attributes={"group": first.attributes.get("group", ""), "unit": first.attributes.get("unit", "patient")},
    )


def _packed(arrays: dict[str, Any]) -> CohortArrays:
    images = arrays["images"]
    if images.ndim not in (3, 4, 5) or not len(images) or images.dtype.kind not in "uif":
        raise UsageError(
            f"`images` has {images.ndim} axes of kind {images.dtype.kind}; expected numbers N,H,W or N,D,H,W"
        )
    count = len(images)
    labels, ids = arrays.get("labels", np.zeros(count, int)), arrays.get("patient_ids")
    if len(labels) != count or (ids is not None and len(ids) != count):
        raise UsageError("`labels` and `patient_ids` must have one row for each image")
    names, label = np.unique(np.asarray(labels).reshape(count, -1)[:, 0].astype(str), return_inverse=True)
    if images.dtype not in (np.uint8, np.uint16):
        low, high = _bounds(images)
        images = stored(((images - low) * (2 / (high - low)) - 1).astype(np.float32), "uint16")
    grid = {3: (1, 1), 4: (1,), 5: ()}[images.ndim]
    return CohortArrays(
        images=images.reshape(count, *grid, *images.shape[1:]),
        label=label.astype(np.uint16),
        patient_key=np.zeros(count, "U1") if ids is None else np.asarray(ids).reshape(count).astype("U64"),
        split=np.zeros(count, np.uint8),
        classes=tuple(map(str, names)),
        attributes={"unit": "image" if ids is None else "patient"},
    )


def _bounds(images: Any) -> tuple[float, float]:
    """What is black and white in an array that does not say: [-1, 1], [0, 1], [0, 255], else its own range."""
    low, high = float(images.min()), float(images.max())
    if not np.isfinite([low, high]).all():
        raise UsageError("`images` holds values that are not finite numbers")
    known = [(0.0, 1.0), (-1.0, 1.0), (0.0, 255.0), (0.0, 65535.0)]
    return next((pair for pair in known if pair[0] <= low and high <= pair[1]), (low, max(high, low + 1e-9)))


def _owners(part: CohortArrays, name: str) -> Any:
    keyless = np.char.strip(part.patient_key.astype("U64"), "0") == ""
    return np.where(keyless, np.char.add(f"{name}-", cards.owners(part).astype("U32")), part.patient_key)


def _cut(cohort: CohortArrays, share: float, seed: int) -> tuple[CohortArrays, CohortArrays]:
    owner = cards.owners(cohort)
    patients = np.random.default_rng(seed).permutation(np.unique(owner))
    if len(patients) < MIN_UNITS:
        raise UsageError(f"the reference holds {len(patients)} patients, too few to cut a fresh part; give --fresh")
    chosen = np.isin(owner, patients[: max(1, round(share * len(patients)))])
    return cohort.take(np.flatnonzero(~chosen)), cohort.take(np.flatnonzero(chosen))


def _disjoint(parts: dict[str, CohortArrays]) -> None:
    seen: set[str] = set()
    for name, part in parts.items():
        keys = {key for key in part.patient_key.astype("U64") if key.strip("0")}
        if keys & seen:
            raise UsageError(
                f"{len(keys & seen)} patients of the {name} part are in another part too; split by patient"
            )
        seen |= keys


def _grid(cohort: CohortArrays) -> str:
    return "x".join(map(str, cohort.images.shape[1:]))


def _figures(card: dict[str, Any]) -> dict[str, float]:
    chosen = {name: card["fidelity"].get(name) for name in ("fd", "fd_ratio", "coverage", "recall", "precision")}
    chosen |= {name: card["privacy"].get(name) for name in ("smallest_leak", "epsilon_lower", "flagged", "looks")}
    chosen["membership_auc"] = (card["privacy"].get("membership_auc") or [None, None])[1]
    chosen["tstr_auc"] = (card["utility"] or {}).get("tstr_auc")
    metrics = card["fidelity"].get("metrics", {})
    chosen |= {name: metrics.get(name, {}).get("value") for name in BESIDE}
    chosen |= {f"{name}_ratio": metrics.get(name, {}).get("ratio") for name in BESIDE}
    return {name: float(value) for name, value in chosen.items() if value is not None}


def _write(path: Path, value: dict[str, Any]) -> None:
    path.write_text(json.dumps(value, sort_keys=True, indent=1, allow_nan=False) + "\n")
