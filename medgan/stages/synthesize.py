"""Checkpoint + seed -> Cohort (synthetic): sampled, sealed, and written as the files that people open."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medgan import digest as digests
from medgan.cohort.arrays import CohortArrays, read_cohort, stored, write_cohort
from medgan.cohort.pictures import labels_csv, nifti_bytes, png_bytes
from medgan.errors import CorruptArtefact, MedganError, UsageError
from medgan.home import Home
from medgan.recipes import SynthesizeRecipe
from medgan.records import Checkpoint, Cohort

VERSION = 2
CHUNK = 64  # images sampled before the next report of progress
ENDINGS = {"png": "png", "nifti": "nii.gz", "dicom": "dcm"}  # the first one present is named in labels.csv
OnProgress = Callable[[int, int], None]


def synthesize(
    checkpoint: Checkpoint, recipe: SynthesizeRecipe, home: Home, *, on_progress: OnProgress | None = None
) -> Cohort:
    """Sample `recipe.images` images and seal them: cohort.zarr, labels.csv and a folder for each other format.

    Raises UsageError for a label the model does not know, MedganError for values that are not finite.
    """
    zone = home.research
    state = read_state(zone.store.path(checkpoint.digest))
    labels = choose_labels(state, recipe)
    secret = digests.keyed(home.cohort_key, "fingerprint", "")[:16]
    key = digests.key("synthesize", VERSION, [checkpoint.digest], recipe, secret=secret)

    def fill(folder: Path) -> Cohort:
        images = sample_images(zone.store.path(checkpoint.digest), labels, recipe, on_progress)
        cohort = _arrays(images, labels, state, checkpoint, recipe)
        write_cohort(folder / "cohort.zarr", cohort)
        write_files(folder, cohort, recipe.formats, home.cohort_key)
        return _record(cohort, state, checkpoint)

    return zone.make(
        key,
        fill,
        stage="synthesize",
        kind=Cohort,
        parents=[checkpoint.digest],
        patients=zone.ledger.patients_of(checkpoint.digest),
    )


def export(cohort: Cohort, out: Path, formats: Sequence[str], home: Home) -> None:
    """Write a synthetic cohort to a new folder in these formats, with labels.csv. Raises UsageError otherwise."""
    if cohort.origin != "synthetic":
        raise UsageError("only a synthetic cohort can be exported; this one is real")
    if unknown := sorted(set(formats) - {"zarr", *ENDINGS}):
        raise UsageError(f"format: found {unknown[0]!r}, expected some of zarr, {', '.join(ENDINGS)}")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UsageError("the output exists and is not an empty folder; name a new one")
    sealed = home.research.store.path(cohort.digest)
    aside = out.with_name(f".{out.name}.partial")
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir(parents=True)
    missing = []
    for name in sorted(set(formats)):
        source = sealed / ("cohort.zarr" if name == "zarr" else name)
        if source.is_dir():
            shutil.copytree(source, aside / source.name)
        else:
            missing.append(name)
    write_files(aside, read_cohort(sealed / "cohort.zarr"), missing, home.cohort_key, listed=formats)
    if out.exists():
        out.rmdir()
    aside.rename(out)


def read_state(folder: Path) -> dict[str, Any]:
    """What a checkpoint says about itself. Raises CorruptArtefact when it cannot be read."""
    try:
        state: dict[str, Any] = json.loads((folder / "state.json").read_text())
    except (OSError, ValueError):
        raise CorruptArtefact("a checkpoint's state.json is missing or damaged; train again") from None
    return state


def choose_labels(state: dict[str, Any], recipe: SynthesizeRecipe) -> NDArray[np.int64]:
    """Class of each image: in the proportions of training, or in equal shares of `recipe.labels`."""
    from medgan.gan.labels import in_proportion

    classes = list(state["classes"])
    if unknown := [label for label in recipe.labels if label not in classes]:
        raise UsageError(
            f"recipe field synthesize.labels: the model has no class {unknown[0]!r}; classes are {', '.join(classes)}"
        )
    shares = [float(name in recipe.labels) for name in classes] if recipe.labels else state["proportions"]
    return in_proportion(shares, recipe.images)


def sample_images(
    folder: Path, labels: NDArray[np.int64], recipe: SynthesizeRecipe, on_progress: OnProgress | None
) -> NDArray[Any]:
    """uint8 [N, C, D, H, W] from the generator in `folder`."""
    from medgan.gan.checkpoint import load_generator
    from medgan.gan.sample import sample

    generator = load_generator(folder)
    parts = []
    for start in range(0, len(labels), CHUNK):
        part = sample(
            generator, labels[start : start + CHUNK], seed=recipe.seed, truncation=recipe.truncation, first=start
        )
        if not np.isfinite(part).all():
            raise MedganError("the generator gave values that are not finite; train again with a lower lr")
        parts.append(stored(part))
        if on_progress:
            on_progress(start + len(part), len(labels))
    return np.concatenate(parts)


def write_files(
    folder: Path, cohort: CohortArrays, formats: Sequence[str], secret: bytes, *, listed: Sequence[str] = ()
) -> None:
    """Every image as a file of each format, and labels.csv, which names one file for each image."""
    names = [cohort.classes[index] for index in cohort.label]
    spacing = tuple(float(mm) for mm in cohort.attributes.get("spacing_mm", ()))
    for kind in ENDINGS:
        if kind not in formats:
            continue
        (folder / kind).mkdir()
        for index, pixels in enumerate(cohort.images[:, 0]):
            if kind == "dicom":
                data = _dicom(pixels, index, names[index], cohort.attributes, secret)
            else:
                data = png_bytes(pixels) if kind == "png" else nifti_bytes(pixels, spacing)
            (folder / _file(kind, index)).write_bytes(data)
    shown = next((kind for kind in ENDINGS if kind in {*formats, *listed}), "")
    files = [_file(shown, index) if shown else str(index) for index in range(len(names))]
    (folder / "labels.csv").write_text(labels_csv(zip(files, names, strict=True)), encoding="utf-8")


def _file(kind: str, index: int) -> str:
    return f"{kind}/{index:05d}.{ENDINGS[kind]}"


def _dicom(pixels: NDArray[Any], index: int, label: str, attributes: dict[str, Any], secret: bytes) -> bytes:
    from medgan.dicom.write import Origin, dicom_bytes, identity

    made_by = str(attributes["checkpoint"])
    part = str(attributes["group"]).split("-")[1:2]
    origin = Origin(
        model=f"medgan {attributes['network']}",
        version=made_by[:16],
        body_part=part[0] if part and part[0] != "ANY" else "",
        spacing_mm=tuple(float(mm) for mm in attributes.get("spacing_mm", ())),
    )
    return dicom_bytes(pixels, identity(secret, made_by, int(attributes["seed"]), index), origin, label=label)


def _arrays(
    images: NDArray[Any],
    labels: NDArray[np.int64],
    state: dict[str, Any],
    checkpoint: Checkpoint,
    recipe: SynthesizeRecipe,
) -> CohortArrays:
    attributes = {
        "group": checkpoint.group,
        "origin": "synthetic",
        "unit": state.get("unit", "patient"),
        "scale": 2 / np.iinfo(images.dtype).max,
        "offset": -1.0,
        "checkpoint": checkpoint.digest,
        "network": checkpoint.network,
        "seed": recipe.seed,
    }
    count = len(images)
    return CohortArrays(
        images=images,
        label=labels.astype(np.uint16),
        patient_key=np.full(count, "", dtype="U32"),
        split=np.zeros(count, np.uint8),
        classes=tuple(state["classes"]),
        attributes=attributes,
    )


def _record(cohort: CohortArrays, state: dict[str, Any], checkpoint: Checkpoint) -> Cohort:
    count, channels, depth, height, width = cohort.images.shape
    return Cohort(
        origin="synthetic",
        digest="",
        group=checkpoint.group,
        count=count,
        patients=0,
        shape=(channels, depth, height, width),
        classes=cohort.classes,
        splits={"train": count},
        unit=state.get("unit", "patient"),
    )
