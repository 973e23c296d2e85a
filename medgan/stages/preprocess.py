"""Study -> Sample, and Samples -> Cohorts: training-ready pictures, stored integers, split by patient."""

from __future__ import annotations

import json
import logging
import math
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import astuple
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from medgan import digest as digests
from medgan import parallel
from medgan.cohort.arrays import PARTS, CohortArrays, write_cohort
from medgan.cohort.assemble import Rows, assemble
from medgan.cohort.source_figures import FIGURES as SOURCE_FIGURES
from medgan.cohort.source_figures import Source, rows_of
from medgan.cohort.split import side, side_of_all
from medgan.dicom.masks import is_mask
from medgan.dicom.read import Plane, read_planes
from medgan.errors import CorruptArtefact, Reason, SourceError, StudyRejected
from medgan.home import Home
from medgan.recipes import PreprocessRecipe
from medgan.records import Cohort, Quarantined, Sample, Study
from medgan.stages.masked import Marking, cohort_masks, markings_of, write_markings
from medgan.stages.onto_grid import Picture, Pictures, counted, files_below, new_place, pictures_of, pictures_of_planes
from medgan.stages.quality import quality_report, write_quality
from medgan.stages.rejections import quarantined

VERSION = 3  # bump when the same study and recipe should give another Sample
STAGE, ASSEMBLE = "preprocess", "assemble"
# what changes a Sample
GRID = {"dims", "size", "depth", "spacing_mm", "slices", "central", "phases", "window_hu", "window_suv"}
GRID |= {"masks", "segments"}
REFUSING = {"min_foreground", "max_clipped", "max_padding", "max_spacing_mm"}
SEALERS = 8
logger = logging.getLogger(__name__)


def preprocess(
    studies: Sequence[Study],
    recipe: PreprocessRecipe,
    home: Home,
    *,
    on_progress: Callable[[int, int], None] | None = None,
) -> list[Sample | Quarantined]:
    """One outcome a study, in order, wide: studies of which nothing is known yet are spread over the workers."""
    return parallel.in_chunks(
        studies,
        preprocess_studies,
        recipe,
        home,
        known=lambda study: _known(study, recipe, home),
        lost=lambda study: _killer(study, recipe, home),
        on_progress=on_progress,
    )


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

    def outcome(study: Study) -> Sample | Quarantined:
        if found := _known(study, recipe, home):
            return found
        try:
            return preprocess_study(study, recipe, home)
        except StudyRejected as error:
            logger.info("set aside: %s", error)
            key, ledger = sample_key(study, recipe, home), home.research.ledger
            return quarantined(error, study_key=study.study_key, stage=STAGE, key=key, ledger=ledger)

    # small studies wait for the disk far longer than they compute; threads let their syncs be grouped
    with ThreadPoolExecutor(SEALERS) as pool:
        return list(pool.map(outcome, studies))


def sample_key(study: Study, recipe: PreprocessRecipe, home: Home) -> str:
    """Only the fields that change a Sample: another split does not open the pictures again."""
    grid = recipe.model_dump(mode="json", include={**dict.fromkeys(GRID, True), "quality": REFUSING})
    return digests.key(STAGE, VERSION, [study.digest], grid=grid, study=study.study_key, key=home.key_fingerprint)


def assemble_cohorts(samples: Sequence[Sample], recipe: PreprocessRecipe, home: Home) -> tuple[Cohort, ...]:
    """One sealed cohort a group, the one with most patients first. Withdrawn patients are left out.

    Patients who were merged are one: on one side of the split, and counted once.
    """
    gone = home.research.ledger.everyone_like(home.research.ledger.buried())
    kept = sorted(
        (sample for sample in samples if sample.patient_key not in gone),
        key=lambda sample: (sample.patient_key, sample.study_key),
    )
    persons = _persons(home)
    groups = sorted({group for sample in kept for group in sample.groups})
    cohorts = [_cohort(group, [s for s in kept if group in s.groups], recipe, home, persons) for group in groups]
    for cohort in cohorts:
        poor = sum(s.refused.get(Reason.LOW_QUALITY, 0) for s in kept if cohort.group in s.groups)
        quality_report(cohort, recipe.quality, home, refused=poor)
    return tuple(sorted(cohorts, key=lambda cohort: (-cohort.patients, -cohort.count, cohort.group)))


def preprocess_folder(src: Path, dst: Path | str, recipe: PreprocessRecipe) -> dict[str, Any]:
    """A folder of DICOM to `dst/GROUP.zarr` and report.json, without a home; `dst` may be in an object store.

    Raises UsageError and SourceError.

    Patients are numbered in the order of their study UIDs: the keys in the result say nothing about them.
    """
    files, site = files_below(src), new_place(dst)
    planes, refused = read_planes(files)
    rows: dict[str, list[tuple[str, Picture]]] = defaultdict(list)
    corrected: Counter[str] = Counter()
    for key, study in _by_study(planes):
        made = pictures_of_planes(study, recipe)
        refused.update(made.refused)
        corrected.update(made.corrected)
        for picture in made.pictures:
            rows[picture.group].append((key, picture))
    if not rows:
        raise SourceError(f"no usable picture in {len(files)} files; {counted(refused) or 'nothing was found'}")
    for group, some in rows.items():
        first, masks = some[0][1], cohort_masks([picture.marking for _, picture in some], recipe)
        cohort = assemble(
            Rows(
                np.stack([p.image for _, p in some]),
                [""] * len(some),
                [key for key, _ in some],
                rows_of([p.source for _, p in some]),
                masks.mask,
                masks.has_mask,
            ),
            unit="patient",
            min_class_patients=recipe.min_class_patients,
            side=lambda one: side(b"", one, recipe.split),
            attributes=attributes(group, first.modality, first.body_part, first.unit, recipe) | masks.attributes,
        )
        write_cohort(site.at(f"{group}.zarr"), cohort, shard=recipe.shard)
        with TemporaryDirectory() as folder:
            write_quality(Path(folder), cohort, recipe.quality, refused=refused[Reason.LOW_QUALITY])
            for file in sorted(Path(folder).iterdir()):
                site.put(f"{group}.{file.name}", file.read_bytes())
    report = {
        "files": len(files),
        "planes": sum(not is_mask(plane) for plane in planes),
        "groups": {group: len(some) for group, some in sorted(rows.items())},
        "refused": {reason.value: count for reason, count in sorted(refused.items())},
        "corrected": dict(sorted(corrected.items())),
    }
    site.put("report.json", digests.canonical(report))
    return report


def _known(study: Study, recipe: PreprocessRecipe, home: Home) -> Sample | Quarantined | None:
    key = sample_key(study, recipe, home)
    if found := home.research.made(key, Sample):
        return found
    reason = home.research.ledger.set_aside_reason(study.study_key, STAGE, key)
    return Quarantined(study_key=study.study_key, stage=STAGE, reason=reason) if reason else None


def _killer(study: Study, recipe: PreprocessRecipe, home: Home) -> Quarantined:
    """The study under which workers died is set aside, as one that is rejected."""
    error, key = StudyRejected(Reason.POISON, study.study_key), sample_key(study, recipe, home)
    return quarantined(error, study_key=study.study_key, stage=STAGE, key=key, ledger=home.research.ledger)


def _write_sample(folder: Path, study: Study, found: Pictures, labels: dict[str, str]) -> Sample:
    """One .npy a group, and samples.json with what belongs to them."""
    groups: dict[str, list[Picture]] = defaultdict(list)
    for picture in found.pictures:
        groups[picture.group].append(picture)
    about = {}
    for group, some in groups.items():
        np.save(folder / f"{group}.npy", np.stack([picture.image for picture in some]), allow_pickle=False)
        about[group] = {
            "labels": [_label(picture, labels) for picture in some],
            "source": [_figures(picture.source) for picture in some],
            "modality": some[0].modality,
            "body_part": some[0].body_part,
            "values": some[0].unit,
            **write_markings(folder, group, [picture.marking for picture in some]),
        }
    refused = dict(sorted(found.refused.items()))
    (folder / "samples.json").write_bytes(
        digests.canonical(
            {
                "schema": 1,
                # without its owner, two patients with equal pictures would share one artefact
                "study_key": study.study_key,
                "patient_key": study.patient_key,
                "unit": study.unit,
                "groups": about,
                "refused": {reason.value: count for reason, count in refused.items()},
                "corrected": dict(sorted(found.corrected.items())),
            }
        )
    )
    return Sample(
        study_key=study.study_key,
        patient_key=study.patient_key,
        digest="",
        groups={group: len(some) for group, some in sorted(groups.items())},
        refused=refused,
        unit=study.unit,
    )


def _label(picture: Picture, labels: dict[str, str]) -> str:
    """The label of most of the instances a picture was made of; "" when there is none."""
    votes = Counter(labels[one] for one in picture.instances if labels.get(one))
    return min(votes, key=lambda label: (-votes[label], label), default="")


def _figures(source: Source) -> list[float | None]:
    """As JSON has it, which knows no number that is none."""
    return [round(value, 6) if math.isfinite(value) else None for value in astuple(source)]


def _persons(home: Home) -> dict[str, tuple[str, ...]]:
    """Each merged pseudonym -> all pseudonyms of that person, the one that stands for it first."""
    members: dict[str, list[str]] = defaultdict(list)
    for key, stands in sorted(home.research.ledger.same_person().items()):
        members[stands].append(key)
    return {key: (stands, *keys) for stands, keys in members.items() for key in (stands, *keys)}


def _cohort(
    group: str, samples: list[Sample], recipe: PreprocessRecipe, home: Home, persons: Mapping[str, tuple[str, ...]]
) -> Cohort:
    """Read the samples of one group, assemble and seal them; found again when nothing changed."""
    inputs = [sample.digest for sample in samples]
    owners = {sample.patient_key for sample in samples}
    merged = {owner: persons[owner][0] for owner in owners if owner in persons}
    more = {"persons": {owner: persons[owner] for owner in merged}} if merged else {}
    key = digests.key(ASSEMBLE, VERSION, inputs, recipe, group=group, key=home.key_fingerprint, **more)
    if found := home.research.made(key, Cohort):
        return found
    pages, labels, keys, sources = [], [], [], []
    about: dict[str, Any] = {}
    markings: list[Marking | None] = []
    for sample in samples:
        folder = home.research.store.path(sample.digest)
        about = json.loads((folder / "samples.json").read_bytes())["groups"][group]
        pages.append(_page(folder / f"{group}.npy"))
        labels += about["labels"]
        sources += about["source"]
        keys += [merged.get(sample.patient_key, sample.patient_key)] * len(about["labels"])
        told, marked = about.get("masks"), folder / f"{group}.mask.npy"
        markings += markings_of(_page(marked), told) if told else [None] * len(about["labels"])
    masks = cohort_masks(markings, recipe)
    cohort = assemble(
        Rows(np.concatenate(pages), labels, keys, np.array(sources, np.float32), masks.mask, masks.has_mask),
        unit="image" if any(sample.unit == "image" for sample in samples) else "patient",
        min_class_patients=recipe.min_class_patients,
        side=lambda one: side_of_all(home.pseudonym_key, persons.get(one, (one,)), recipe.split),
        attributes=attributes(group, about["modality"], about["body_part"], about["values"], recipe) | masks.attributes,
    )
    return seal(key, cohort, recipe, home, parents=inputs, patients=[*keys, *owners])


def attributes(
    group: str, modality: str, body_part: str, values: str, recipe: PreprocessRecipe, *, dtype: str = "uint8"
) -> dict[str, Any]:
    """What a cohort of stored `dtype` says of itself; value = stored * scale + offset, in HU, SUV or as a share of the
    picture's range.
    """
    low, high = {"HU": recipe.window_hu, "SUV": recipe.window_suv}.get(values) or (0.0, 1.0)
    return {
        "schema": 1,
        "source_figures": [figure.name for figure in SOURCE_FIGURES],
        "origin": "real",
        "group": group,
        "modality": modality,
        "body_part": body_part,
        "values": values,
        "scale": (high - low) / np.iinfo(dtype).max,
        "offset": low,
    }


def seal(
    key: str,
    cohort: CohortArrays,
    recipe: PreprocessRecipe,
    home: Home,
    *,
    parents: Sequence[str] = (),
    patients: Sequence[str] | None = None,
) -> Cohort:
    """Patients: those of the pictures; a cohort of joined pictures names fewer keys than it has patients."""

    def fill(folder: Path) -> Cohort:
        write_cohort(folder / "cohort.zarr", cohort, shard=recipe.shard)
        return record_of(cohort)

    owners = sorted({str(one) for one in (cohort.patient_key if patients is None else patients)})
    return home.research.make(key, fill, stage=ASSEMBLE, kind=Cohort, parents=parents, patients=owners)


def record_of(cohort: CohortArrays) -> Cohort:
    """What travels of a cohort; the digest comes with its sealing."""
    parts = np.bincount(cohort.split, minlength=len(PARTS))
    return Cohort(
        origin=cohort.attributes.get("origin", "real"),
        digest="",
        group=str(cohort.attributes.get("group", "OT-ANY")),
        count=len(cohort),
        patients=len(set(cohort.patient_key.tolist())),
        shape=cohort.images.shape[1:],
        classes=cohort.classes,
        splits={name: int(count) for name, count in zip(PARTS, parts, strict=True)},
        unit=cohort.attributes.get("unit", "patient"),
    )


def _page(file: Path) -> np.ndarray[Any, Any]:
    try:
        page: np.ndarray[Any, Any] = np.load(file, allow_pickle=False)
    except (OSError, ValueError):
        raise CorruptArtefact(
            "the pictures of a sample are missing or damaged; run `medgan doctor --repair`, then preprocess again"
        ) from None
    return page


def _by_study(planes: Sequence[Plane]) -> list[tuple[str, list[Plane]]]:
    """Planes of each study with the number of its patient as 32 hex digits."""
    studies: dict[str, list[Plane]] = defaultdict(list)
    for plane in planes:
        studies[plane.study].append(plane)
    numbers: dict[str, int] = {}
    numbered = []
    for uid in sorted(studies):
        patient = studies[uid][0].patient or uid
        numbered.append((f"{numbers.setdefault(patient, len(numbers) + 1):032x}", studies[uid]))
    return numbered
