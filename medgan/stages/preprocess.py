"""Study -> Sample, and Samples -> Cohorts: training-ready pictures, stored integers, split by patient."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from medgan import digest as digests
from medgan.cohort.arrays import PARTS, CohortArrays, read_cohort, write_cohort
from medgan.cohort.assemble import Rows, assemble
from medgan.cohort.imported import read_npz
from medgan.cohort.split import side
from medgan.errors import CorruptArtefact, Reason, StudyRejected, UsageError
from medgan.home import Home
from medgan.recipes import PreprocessRecipe
from medgan.records import Cohort, Quarantined, Sample, Study
from medgan.stages.onto_grid import Picture, Pictures, pictures_of
from medgan.stages.rejections import quarantined
from medgan.volume.resample import resize, resize_depth

VERSION = 1  # bump when the same study and recipe should give another Sample
STAGE, ASSEMBLE = "preprocess", "assemble"
logger = logging.getLogger(__name__)


def preprocess_study(study: Study, recipe: PreprocessRecipe, home: Home) -> Sample:
    """Bring one study onto the grid: uint8 [n, C, D, H, W] for each group. Raises StudyRejected."""

    def fill(folder: Path) -> Sample:
        source = home.research.store.path(study.digest)
        labels = json.loads((source / "study.json").read_bytes()).get("labels", {})
        try:
            found = pictures_of(sorted((source / "instances").glob("*.dcm")), recipe)
        except StudyRejected as error:
            raise StudyRejected(error.reason, study.study_key, error.detail) from None
        return _write_sample(folder, study, found, labels)

    return home.research.make(
        sample_key(study, recipe, home),
        fill,
        stage=STAGE,
        kind=Sample,
        subject=study.study_key,
        parents=(study.digest,),
        patients=(study.patient_key,),
    )


def preprocess_studies(studies: Sequence[Study], recipe: PreprocessRecipe, home: Home) -> list[Sample | Quarantined]:
    """One outcome a study, in order; what was rejected under the same recipe before is not tried again."""
    ledger = home.research.ledger
    aside = {row["key"]: Reason(row["reason"]) for row in ledger.set_aside_rows(STAGE)}
    outcomes: list[Sample | Quarantined] = []
    for study in studies:
        key = sample_key(study, recipe, home)
        if key in aside:
            outcomes.append(Quarantined(study_key=study.study_key, stage=STAGE, reason=aside[key]))
            continue
        try:
            outcomes.append(preprocess_study(study, recipe, home))
        except StudyRejected as error:
            logger.info("set aside: %s", error)
            outcomes.append(quarantined(error, study_key=study.study_key, stage=STAGE, key=key, ledger=ledger))
    return outcomes


def sample_key(study: Study, recipe: PreprocessRecipe, home: Home) -> str:
    """Only the fields that change a Sample: another split does not open the pictures again."""
    grid = recipe.model_dump(mode="json", include={"dims", "size", "depth", "slices", "window_hu"})
    return digests.key(STAGE, VERSION, [study.digest], grid=grid, study=study.study_key, key=home.key_fingerprint)


def assemble_cohorts(samples: Sequence[Sample], recipe: PreprocessRecipe, home: Home) -> tuple[Cohort, ...]:
    """One sealed cohort a group, the one with most patients first. Withdrawn patients are left out."""
    gone = home.research.ledger.buried()
    kept = sorted(
        (sample for sample in samples if sample.patient_key not in gone),
        key=lambda sample: (sample.patient_key, sample.study_key),
    )
    groups = sorted({group for sample in kept for group in sample.groups})
    cohorts = [_cohort(group, [s for s in kept if group in s.groups], recipe, home) for group in groups]
    return tuple(sorted(cohorts, key=lambda cohort: (-cohort.patients, -cohort.count, cohort.group)))


def import_cohort(path: Path, recipe: PreprocessRecipe, home: Home) -> Cohort:
    """A packed Zarr cohort or an npz as a sealed real cohort of this home. Raises UsageError.

    A Zarr cohort keeps its grid, split and keys; pictures of an npz are brought onto the recipe's grid, split here.
    """
    if path.is_dir():
        return _seal_zarr(path, recipe, home)
    if not path.is_file():
        raise UsageError("no cohort there; expected a packed Zarr cohort (a folder) or an npz file")
    source = digests.sha256_file(path)
    rows, unit = read_npz(path, lambda one: digests.patient_key(home.pseudonym_key, one, f"npz {source}"))
    volumes = rows.images.shape[2] > 1
    images = np.stack([_onto_grid(image, recipe) for image in rows.images])
    shape = f"{'3d' if volumes else '2d'}-{recipe.size}"
    attributes = _attributes(f"OT-ANY-{shape}", "OT", "ANY", "relative", recipe)
    cohort = assemble(
        Rows(images, rows.labels, rows.patient_keys),
        unit=unit,
        min_class_patients=recipe.min_class_patients,
        side=lambda key: side(home.pseudonym_key, key, recipe.split),
        attributes=attributes,
    )
    return _sealed(cohort, [source], recipe, home, parents=(), patients=set(rows.patient_keys))


def _cohort(group: str, samples: list[Sample], recipe: PreprocessRecipe, home: Home) -> Cohort:
    """Read the samples of one group, assemble and seal them; found again when nothing changed."""
    key = _cohort_key([f"{group} {sample.digest}" for sample in samples], recipe, home)
    if found := home.research.made(key, Cohort):
        return found
    pages, labels, keys = [], [], []
    about: dict[str, Any] = {}
    for sample in samples:
        folder = home.research.store.path(sample.digest)
        about = json.loads((folder / "samples.json").read_bytes())["groups"][group]
        pages.append(_page(folder / f"{group}.npy"))
        labels += about["labels"]
        keys += [sample.patient_key] * len(about["labels"])
    cohort = assemble(
        Rows(np.concatenate(pages), labels, keys),
        unit="image" if any(sample.unit == "image" for sample in samples) else "patient",
        min_class_patients=recipe.min_class_patients,
        side=lambda one: side(home.pseudonym_key, one, recipe.split),
        attributes=_attributes(group, about["modality"], about["body_part"], about["values"], recipe),
    )
    parents = tuple(sample.digest for sample in samples)
    return _seal(key, cohort, recipe, home, parents=parents, patients=set(keys))


def _page(file: Path) -> np.ndarray[Any, Any]:
    try:
        page: np.ndarray[Any, Any] = np.load(file, allow_pickle=False)
    except (OSError, ValueError):
        raise CorruptArtefact(
            "the pictures of a sample are missing or damaged; run `medgan doctor --repair`, then preprocess again"
        ) from None
    return page


def _seal_zarr(path: Path, recipe: PreprocessRecipe, home: Home) -> Cohort:
    try:
        cohort = read_cohort(path)
    except CorruptArtefact:
        raise UsageError("the folder is not a packed cohort, or is damaged; pictures are taken in by ingest") from None
    if not len(cohort) or max(cohort.split) >= len(PARTS) or max(cohort.label) >= len(cohort.classes):
        raise UsageError("the cohort holds no image, or labels and parts that it does not name")
    columns = [cohort.images, cohort.label, cohort.split]
    content = digests.sha256(b"".join(np.ascontiguousarray(column).tobytes() for column in columns))
    keys = sorted({str(key) for key in cohort.patient_key})
    return _sealed(cohort, [content, *cohort.classes, *keys], recipe, home, parents=(), patients=set(keys))


def _sealed(
    cohort: CohortArrays,
    inputs: list[str],
    recipe: PreprocessRecipe,
    home: Home,
    *,
    parents: tuple[str, ...],
    patients: set[str],
) -> Cohort:
    return _seal(_cohort_key(inputs, recipe, home), cohort, recipe, home, parents=parents, patients=patients)


def _cohort_key(inputs: list[str], recipe: PreprocessRecipe, home: Home) -> str:
    return digests.key(ASSEMBLE, VERSION, inputs, recipe, key=home.key_fingerprint)


def _seal(
    key: str,
    cohort: CohortArrays,
    recipe: PreprocessRecipe,
    home: Home,
    *,
    parents: tuple[str, ...],
    patients: set[str],
) -> Cohort:
    def fill(folder: Path) -> Cohort:
        write_cohort(folder / "cohort.zarr", cohort, shard=recipe.shard)
        return record_of(cohort)

    return home.research.make(key, fill, stage=ASSEMBLE, kind=Cohort, parents=parents, patients=sorted(patients))


def record_of(cohort: CohortArrays, digest: str = "") -> Cohort:
    """What travels of a cohort."""
    parts = np.bincount(cohort.split, minlength=len(PARTS))
    return Cohort(
        origin=cohort.attributes.get("origin", "real"),
        digest=digest,
        group=str(cohort.attributes.get("group", "OT-ANY")),
        count=len(cohort),
        patients=len(set(cohort.patient_key.tolist())),
        shape=cohort.images.shape[1:],
        classes=cohort.classes,
        splits={name: int(count) for name, count in zip(PARTS, parts, strict=True)},
        unit=cohort.attributes.get("unit", "patient"),
    )
