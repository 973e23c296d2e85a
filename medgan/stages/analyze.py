"""Cohort + AnalyzeRecipe -> AnalysisModel, and images -> Findings: what a trained discriminator is good for besides.

Not for clinical use. Models and findings hold features of real patients: they stay in the research zone, and a
withdrawal deletes them.
"""

from __future__ import annotations

import csv
import io
import json
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from medgan import digest as digests
from medgan.cohort.arrays import PARTS, CohortArrays, read_cohort
from medgan.cohort.assemble import UNLABELLED
from medgan.errors import CorruptArtefact, UsageError
from medgan.home import Home
from medgan.recipes import AnalyzeRecipe, PreprocessRecipe
from medgan.records import Analysis, AnalysisModel, Checkpoint, Findings
from medgan.stages import newest
from medgan.stages.packed import read_packed
from medgan.store import writable

VERSION = 1  # bump when the same images and recipe should give another model
STAGE, APPLIED = "analyze", "findings"
SCHEMA = 1
TASKS: tuple[str, ...] = get_args(Analysis)
LATER = ("segment", "enhance")
NOTICE = "not for clinical use"
TABLES = {"diagnose": "findings.csv", "retrieve": "neighbours.csv", "anomaly": "scores.csv"}
FIELDS = {"diagnose": {"components"}, "retrieve": {"components"}, "anomaly": {"normal"}}


@dataclass(frozen=True, slots=True)
class Pictures:
    """Images to look at, where each stands in its file, and the digests that name them."""

    arrays: CohortArrays
    places: NDArray[np.intp]
    inputs: list[str]

    @property
    def labels(self) -> list[str]:
        return [self.arrays.classes[index] for index in self.arrays.label]

    @property
    def patients(self) -> list[str]:
        return sorted({str(key) for key in self.arrays.patient_key if str(key).strip("0")})

    def take(self, index: NDArray[Any]) -> Pictures:
        return Pictures(self.arrays.take(index), self.places[index], self.inputs)


def task_of(name: str) -> Analysis:
    """The task of that name. Raises UsageError, also for those that come later."""
    if name in LATER:
        raise UsageError(f"{name} comes in a later version; there are {', '.join(TASKS)}")
    if name not in TASKS:
        raise UsageError(f"no task {name!r}; there are {', '.join(TASKS)}")
    return name  # type: ignore[return-value]


def fit(task: Analysis, data: Path | None, recipe: AnalyzeRecipe, home: Home) -> AnalysisModel:
    """Fit one analysis on features of the home's newest checkpoint. Raises UsageError when the images cannot serve.

    `data`: a packed Zarr cohort (its train part is used) or an npz (all of it); None is the home's newest real cohort.
    """
    checkpoint = newest.checkpoint(home)
    known = _labelled(_pictures(data, _shape(checkpoint, home), checkpoint, home, "train"), task)
    how = recipe.model_dump(mode="json", include=FIELDS[task])
    key = digests.key(STAGE, VERSION, [checkpoint.digest, *known.inputs], task=task, how=how, key=home.key_fingerprint)

    def fill(folder: Path) -> AnalysisModel:
        return _fit_into(folder, task, known, recipe, checkpoint, home)

    return home.research.make(
        key,
        fill,
        stage=STAGE,
        kind=AnalysisModel,
        parents=(checkpoint.digest, *(digest for digest in known.inputs if home.research.store.has(digest))),
        # features come through a network that saw patients too
        patients={*known.patients, *home.research.ledger.patients_of(checkpoint.digest)},
    )


def apply(task: Analysis, model: str, data: Path | None, home: Home, *, neighbours: int = 5) -> Findings:
    """What a model says of images. Raises UsageError for a model of another task, CorruptArtefact for a damaged one.

    `model`: a folder that `fit` wrote, or the digest of one in this home. `data`: a packed Zarr cohort or an npz;
    None is the part of the home's newest real cohort that was kept for choosing: the audit part is the gate's alone.
    """
    folder = _model_folder(model, home)
    about = _about(folder, task)
    seen = _pictures(data, tuple(about["shape"]), None, home, "select", group=about["group"])
    content = [digests.sha256_file(file) for file in sorted(folder.rglob("*")) if file.is_file() and _ours(file)]
    asked = neighbours if task == "retrieve" else 0
    key = digests.key(APPLIED, VERSION, [*content, *seen.inputs], task=task, neighbours=asked, key=home.key_fingerprint)

    def fill(target: Path) -> Findings:
        header, rows = _rows(task, folder, about, seen, neighbours)
        (target / TABLES[task]).write_text(_table(header, rows))
        (target / "about.json").write_bytes(
            digests.canonical({"notice": NOTICE, "task": task, "images": len(seen.places), "model": about})
        )
        return Findings(digest="", task=task, images=len(seen.places), file=TABLES[task])

    return home.research.make(
        key,
        fill,
        stage=APPLIED,
        kind=Findings,
        parents=[d for d in (folder.name, *seen.inputs) if home.research.store.has(d)],
        patients={*seen.patients, *home.research.ledger.patients_of(folder.name)},
    )


def check_out(out: Path) -> None:
    """Raises UsageError when `out` is there and not an empty folder."""
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UsageError("the output exists and is not an empty folder; name a new one")


def export(digest: str, out: Path, home: Home) -> None:
    """Copy a sealed model or its findings to `out`, whole or not at all. Raises UsageError when it holds files."""
    check_out(out)
    aside = out.with_name(f".{out.name}.partial")
    with writable():
        shutil.rmtree(aside, ignore_errors=True)
        shutil.copytree(home.research.store.path(digest), aside, ignore=shutil.ignore_patterns("manifest.json"))
        if out.exists():
            out.rmdir()
        aside.rename(out)


def _fit_into(
    folder: Path, task: Analysis, known: Pictures, recipe: AnalyzeRecipe, checkpoint: Checkpoint, home: Home
) -> AnalysisModel:
    from medgan.analysis import anomaly, diagnose, features, retrieve

    source = home.research.store.path(checkpoint.digest)
    seen = features.pooled(features.eyes(source), known.arrays.floats())
    label, owners = known.arrays.label.astype(np.int64), known.arrays.patient_key
    classes = known.arrays.classes
    model: diagnose.Diagnosis | retrieve.Index | anomaly.Normality
    about: dict[str, Any] = {}
    if task == "diagnose":
        model, figures = diagnose.fit(seen, label, owners, classes=len(classes), keep=recipe.components)
    elif task == "retrieve":
        model, figures = retrieve.fit(seen, label, owners, keep=recipe.components)
    else:
        about = {"normal": _normal(recipe.normal, known)}
        model, figures = anomaly.fit(seen, label == classes.index(about["normal"]), owners)
    figures = {name: round(value, 6) for name, value in figures.items()}
    about |= {
        "schema": SCHEMA,
        "notice": NOTICE,
        "task": task,
        "classes": list(classes),
        "shape": list(known.arrays.images.shape[1:]),
        "group": checkpoint.group,
        "checkpoint": checkpoint.digest,
        "images": len(known.places),
        "figures": figures,
    }
    (folder / "model.safetensors").write_bytes(features.packed(model.tensors()))
    (folder / "model.json").write_bytes(digests.canonical(about))
    (folder / "network").mkdir()
    for name in ("discriminator.safetensors", "state.json"):
        shutil.copyfile(source / name, folder / "network" / name)
    return AnalysisModel(
        digest="",
        task=task,
        checkpoint_digest=checkpoint.digest,
        images=len(known.places),
        classes=classes,
        figures=figures,
    )


def _rows(
    task: Analysis, folder: Path, about: dict[str, Any], seen: Pictures, neighbours: int
) -> tuple[list[str], Iterable[Sequence[Any]]]:
    """Header and rows of the table; each row names its image by its place in the file."""
    from medgan.analysis import anomaly, diagnose, features, retrieve

    vectors = features.pooled(features.eyes(folder / "network"), seen.arrays.floats())
    data, classes = (folder / "model.safetensors").read_bytes(), about["classes"]
    places, labels = seen.places.tolist(), seen.labels
    if task == "diagnose":
        shares = diagnose.Diagnosis.of(features.unpacked(data, diagnose.TENSORS)).probabilities(vectors)
        header = ["image", "label", "finding", *(f"p_{name}" for name in classes)]
        return header, [
            (place, label, classes[row.argmax()], *(f"{p:.6f}" for p in row))
            for place, label, row in zip(places, labels, shares, strict=True)
        ]
    if task == "retrieve":
        index = retrieve.Index.of(features.unpacked(data, retrieve.TENSORS))
        near, cosines = index.neighbours(vectors, neighbours)
        return ["image", "label", "rank", "neighbour", "neighbour_label", "cosine"], [
            (place, label, rank + 1, int(other), classes[int(index.label[other])], f"{cosine:.6f}")
            for place, label, others, alike in zip(places, labels, near, cosines, strict=True)
            for rank, (other, cosine) in enumerate(zip(others, alike, strict=True))
        ]
    normality = anomaly.Normality.of(features.unpacked(data, anomaly.TENSORS))
    distances = normality.distances(vectors)
    return ["image", "label", "distance", "share_of_normal_as_far"], [
        (place, label, f"{distance:.6f}", f"{share:.6f}")
        for place, label, distance, share in zip(places, labels, distances, normality.shares(distances), strict=True)
    ]


def _table(header: list[str], rows: Iterable[Sequence[Any]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*header, "notice"])
    writer.writerows((*row, NOTICE) for row in rows)
    return text.getvalue()


def _pictures(
    data: Path | None,
    shape: tuple[int, ...],
    checkpoint: Checkpoint | None,
    home: Home,
    part: str,
    *,
    group: str = "",
) -> Pictures:
    """Images on the network's grid: of a file, or a part of the home's newest real cohort."""
    if data is None:
        real = newest.choose(newest.real_cohorts(home), checkpoint.group if checkpoint else group)
        home.research.store.verify(real.digest)
        arrays, inputs = read_cohort(home.research.store.path(real.digest) / "cohort.zarr"), [real.digest]
    else:
        _, depth, _, side = shape
        grid = PreprocessRecipe(dims=2 if depth == 1 else 3, size=side, depth=max(4, depth))
        arrays, inputs, _ = read_packed(data, grid, home)
    whole = Pictures(arrays, np.arange(len(arrays)), inputs)
    packed_by_us = data is None or data.is_dir()
    if not packed_by_us or (data is not None and part != "train"):
        return whole
    chosen = whole.take(np.flatnonzero(arrays.split == PARTS.index(part)))
    if not len(chosen.places):
        raise UsageError(f"the cohort has no image in its {part} part; use more patients or another preprocess.split")
    return chosen


def _labelled(known: Pictures, task: Analysis) -> Pictures:
    """Without the unlabelled images, which say nothing about a class."""
    if task == "retrieve" or UNLABELLED not in known.arrays.classes:
        return known
    kept = known.take(np.flatnonzero(known.arrays.label != known.arrays.classes.index(UNLABELLED)))
    if not len(kept.places):
        raise UsageError("the images have no labels; give some with a label table, or use retrieve")
    return kept


def _normal(wanted: str, known: Pictures) -> str:
    classes = known.arrays.classes
    counts = np.bincount(known.arrays.label, minlength=len(classes))
    if not wanted:
        return classes[int(counts.argmax())]
    if wanted not in classes or not counts[classes.index(wanted)]:
        raise UsageError(f"no image of the class {wanted!r}; classes are {', '.join(classes)}")
    return wanted


def _shape(checkpoint: Checkpoint, home: Home) -> tuple[int, ...]:
    from medgan.gan.checkpoint import read_state

    return tuple(read_state(home.research.store.path(checkpoint.digest))["shape"])


def _model_folder(model: str, home: Home) -> Path:
    if Path(model).is_dir():
        return Path(model)
    found = [one for one in home.research.records(STAGE, AnalysisModel) if model and one.digest.startswith(model)]
    if not found:
        raise UsageError("no such model: expected the folder that `medgan analyze TASK fit --out` wrote, or its digest")
    return home.research.store.path(found[-1].digest)


def _about(folder: Path, task: Analysis) -> dict[str, Any]:
    try:
        about: dict[str, Any] = json.loads((folder / "model.json").read_bytes())
        found, schema = about["task"], about["schema"]
        _ = about["shape"], about["group"], about["classes"]
    except OSError:
        raise UsageError("not a model: expected the folder that `medgan analyze TASK fit --out` wrote") from None
    except (ValueError, KeyError, TypeError):
        raise CorruptArtefact("the model's model.json is damaged; fit it again") from None
    if schema != SCHEMA or found != task:
        raise UsageError(f"a model for {found!r} of schema {schema!r}, expected {task!r} of schema {SCHEMA}")
    return about


def _ours(file: Path) -> bool:
    return file.name in ("model.json", "model.safetensors", "discriminator.safetensors", "state.json")
