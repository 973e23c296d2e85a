"""Cohorts that others packed, Zarr or npz, as cohorts of this home."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from medgan import digest as digests
from medgan.cohort.arrays import PARTS, CohortArrays, read_cohort
from medgan.cohort.assemble import Rows, assemble
from medgan.cohort.imported import read_npz
from medgan.cohort.split import side
from medgan.errors import CorruptArtefact, UsageError
from medgan.home import Home
from medgan.recipes import PreprocessRecipe
from medgan.records import Cohort
from medgan.stages.preprocess import ASSEMBLE, VERSION, attributes, seal
from medgan.volume.crop import inside_square, pad_square
from medgan.volume.resample import resample


def import_cohort(path: Path, recipe: PreprocessRecipe, home: Home) -> Cohort:
    """A packed Zarr cohort or an npz as a sealed real cohort of this home. Raises UsageError.

    A Zarr cohort keeps its grid, split and keys; pictures of an npz are brought onto the recipe's grid, split here.
    """
    cohort, inputs, owners = read_packed(path, recipe, home)
    key = digests.key(ASSEMBLE, VERSION, inputs, recipe, key=home.key_fingerprint)
    return seal(key, cohort, recipe, home, patients=owners)


def read_packed(path: Path, recipe: PreprocessRecipe, home: Home) -> tuple[CohortArrays, list[str], list[str]]:
    """What others packed, digests of its content, and keys of all who were in it. Raises UsageError."""
    if path.is_dir():
        return _read_zarr(path)
    if path.is_file():
        return _read_npz(path, recipe, home)
    raise UsageError("no cohort there; expected a packed Zarr cohort (a folder) or an npz file")


def _read_zarr(path: Path) -> tuple[CohortArrays, list[str], list[str]]:
    try:
        cohort = read_cohort(path)
    except CorruptArtefact:
        raise UsageError("the folder is not a packed cohort, or is damaged; pictures are taken in by ingest") from None
    if not len(cohort) or cohort.split.max() >= len(PARTS) or cohort.label.max() >= len(cohort.classes):
        raise UsageError("the cohort holds no image, or labels and parts that it does not name")
    columns = [cohort.images, cohort.label, cohort.split, cohort.patient_key]
    columns += [column for column in (cohort.source, cohort.mask, cohort.has_mask) if column is not None]
    content = digests.sha256(b"".join(np.ascontiguousarray(column).tobytes() for column in columns))
    inputs = [content, digests.sha256(digests.canonical([*cohort.classes, cohort.attributes]))]
    return cohort, inputs, cohort.patient_key.tolist()


def _read_npz(path: Path, recipe: PreprocessRecipe, home: Home) -> tuple[CohortArrays, list[str], list[str]]:
    source = digests.sha256_file(path)
    rows, unit = read_npz(path, lambda one: digests.patient_key(home.pseudonym_key, one, f"npz {source}"))
    images = np.stack([_regridded(image, recipe) for image in rows.images])
    dims = 3 if images.shape[2] > 1 else 2
    cohort = assemble(
        Rows(images, rows.labels, rows.patient_keys),
        unit=unit,
        min_class_patients=recipe.min_class_patients,
        side=lambda key: side(home.pseudonym_key, key, recipe.split),
        attributes=attributes(
            f"OT-ANY-{dims}d-{recipe.size}", "OT", "ANY", "relative", recipe, dtype=str(images.dtype)
        ),
    )
    return cohort, [source], list(rows.patient_keys)


def _regridded(image: np.ndarray[Any, Any], recipe: PreprocessRecipe) -> np.ndarray[Any, Any]:
    """[1, D, H, W] stored integers, on the recipe's grid, aspect kept; a single slice stays one."""
    depth = recipe.depth if image.shape[1] > 1 else 1
    height, width = inside_square(image.shape[2], image.shape[3], recipe.size)
    grid = resample(image[0], image.shape[1:], (depth, height, width))
    squares = np.stack([pad_square(page, recipe.size, 0.0) for page in grid])
    return np.rint(squares)[None].astype(image.dtype)
