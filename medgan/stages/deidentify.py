"""IdentifiedStudy -> Study: gate 1. What the audit does not clear is quarantined, never passed on."""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from medgan import digest as digests
from medgan import parallel
from medgan.deid.draft import Draft, Written, finish, open_draft, peek
from medgan.deid.look import look
from medgan.deid.profile import EDITION
from medgan.deid.profile import profile as named_profile
from medgan.errors import Reason, SourceError, StudyRejected, UsageError
from medgan.home import Home
from medgan.recipes import DeidentifyRecipe
from medgan.records import IdentifiedStudy, Quarantined, Study
from medgan.stages.rejections import quarantined
from medgan.store import writable, write_durably

VERSION = 1  # bump when the same study and recipe should give another Study
STAGE = "deidentify"
CHUNK_BYTES, CHUNK_STUDIES = 128 << 20, 64  # held in memory together
LARGEST_FILE = 2 << 30
REPORT = "deidentification.json"
logger = logging.getLogger(__name__)
T = TypeVar("T")


def deidentify(
    studies: Sequence[IdentifiedStudy],
    recipe: DeidentifyRecipe,
    home: Home,
    *,
    on_progress: Callable[[int, int], None] | None = None,
) -> list[Study | Quarantined]:
    """One outcome a study, in order, wide: studies of which nothing is known yet are spread over the workers."""
    return parallel.in_chunks(
        studies,
        deidentify_studies,
        recipe,
        home,
        known=lambda study: _known(study, recipe, home),
        on_progress=on_progress,
    )


def deidentify_studies(
    studies: Sequence[IdentifiedStudy], recipe: DeidentifyRecipe, home: Home
) -> list[Study | Quarantined]:
    """One outcome a study, in order. What was done, or rejected, under the same recipe is not done again."""
    outcomes: dict[int, Study | Quarantined] = {}
    waiting: list[int] = []
    for index, study in enumerate(studies):
        if found := _known(study, recipe, home):
            outcomes[index] = found
        else:
            waiting.append(index)
    for chunk in _packed((index, _bytes_of(studies[index], home)) for index in waiting):
        drafts = [open_draft(files, studies[index].patient_key) for index, files in chunk]
        look(drafts, recipe.ocr_side)
        for (index, _), draft in zip(chunk, drafts, strict=True):
            outcomes[index] = _settle(studies[index], draft, recipe, home)
    return [outcomes[index] for index in range(len(studies))]


def deidentify_folder(
    src: Path, dst: Path, *, profile: str, key: bytes, on_progress: Callable[[int, int], None] | None = None
) -> dict[str, Any]:
    """De-identify every DICOM file below `src` into `dst`, by instance: no home, no ledger.

    Files are named by their new UIDs; `dst/deidentification.json` (what is returned) counts each input once, as
    written, duplicate or quarantined with its reason. Raises UsageError and SourceError.
    """
    applied = named_profile(profile)
    _check_folders(src, dst)
    recipe = DeidentifyRecipe()
    reasons: Counter[Reason] = Counter()
    counts: Counter[tuple[str, str]] = Counter()
    tally: Counter[str] = Counter()
    groups = _groups(src, reasons)
    total = sum(len(files) for files in groups.values()) + sum(reasons.values())
    done = sum(reasons.values())
    for chunk in _packed((_owner(*group, key), _addressed(paths)) for group, paths in groups.items()):
        drafts = [open_draft(files, patient) for patient, files in chunk]
        look(drafts, recipe.ocr_side)
        for draft in drafts:
            written = finish(draft, applied, key, recipe.max_date_shift_days)
            tally["written"] += _write_files(written, dst)
            tally["boxes"] += written.boxes
            counts += written.counts
            reasons.update(draft.refused().values())
        done += sum(len(files) for _, files in chunk)
        if on_progress:
            on_progress(done, total)
    report = {
        "profile": applied.name,
        "edition": EDITION,
        "files": total,
        "written": tally["written"],
        "duplicate": total - tally["written"] - sum(reasons.values()),
        "quarantined": {reason.value: count for reason, count in sorted(reasons.items())},
        "boxes": tally["boxes"],
        "actions": _actions(counts),
    }
    with writable():
        dst.mkdir(parents=True, exist_ok=True)
        write_durably(dst / REPORT, digests.canonical(report))
    return report


def study_key_of(study: IdentifiedStudy, recipe: DeidentifyRecipe, home: Home) -> str:
    """The key under which the result is known; the limit on quarantines does not change a Study."""
    content = recipe.model_dump(mode="json", exclude={"max_quarantined"})
    subject = {"study": study.study_key, "patient": study.patient_key, "unit": study.unit}
    return digests.key(STAGE, VERSION, [study.digest], content=content, subject=subject, key=home.key_fingerprint)


def _known(study: IdentifiedStudy, recipe: DeidentifyRecipe, home: Home) -> Study | Quarantined | None:
    key = study_key_of(study, recipe, home)
    if found := home.research.made(key, Study):
        return found
    reason = home.research.ledger.set_aside_reason(study.study_key, STAGE, key)
    return Quarantined(study_key=study.study_key, stage=STAGE, reason=reason) if reason else None


def _settle(study: IdentifiedStudy, draft: Draft, recipe: DeidentifyRecipe, home: Home) -> Study | Quarantined:
    """Scrub, audit and seal one study; one refused instance sets the whole study aside."""
    key = study_key_of(study, recipe, home)
    try:
        _refuse(draft, study.study_key)
        written = finish(draft, named_profile(recipe.profile), home.pseudonym_key, recipe.max_date_shift_days)
        _refuse(draft, study.study_key)
        labels = _labels(study, home)
        return home.research.make(
            key,
            lambda folder: _fill(folder, study, written, labels, recipe),
            stage=STAGE,
            kind=Study,
            subject=study.study_key,
            parents=(study.digest,),
            patients=(study.patient_key,),
        )
    except StudyRejected as error:
        logger.info("set aside: %s", error)
        return quarantined(error, study_key=study.study_key, stage=STAGE, key=key, ledger=home.research.ledger)


def _refuse(draft: Draft, study_key: str) -> None:
    """Raise StudyRejected for the reason that most instances have; the first of the closed list on a tie."""
    reasons = Counter(draft.refused().values())
    if reasons or not draft.instances:
        order = list(Reason)
        reason = max(reasons, key=lambda r: (reasons[r], -order.index(r)), default=Reason.NO_PIXELS)
        raise StudyRejected(reason, study_key)


def _fill(
    folder: Path, study: IdentifiedStudy, written: Written, labels: Mapping[str, str], recipe: DeidentifyRecipe
) -> Study:
    (folder / "instances").mkdir()
    for uid, data in written.files.items():
        (folder / "instances" / f"{uid}.dcm").write_bytes(data)
    described = {
        "labels": {uid: labels[name] for uid, name in written.origins.items() if name in labels},
        "unit": study.unit,
        "profile": recipe.profile,
        "edition": EDITION,
        "method_codes": written.codes,
    }
    checked = {"actions": _actions(written.counts), "boxes": written.boxes, "findings": 0}
    (folder / "study.json").write_bytes(digests.canonical(described))
    (folder / "audit.json").write_bytes(digests.canonical(checked))
    return Study(
        study_key=study.study_key,
        patient_key=study.patient_key,
        digest="",
        n_instances=len(written.files),
        modalities=written.modalities,
        profile=recipe.profile,
        removed=sum(written.counts.values()),
        boxes=written.boxes,
        unit=study.unit,
    )


def _actions(counts: Counter[tuple[str, str]]) -> dict[str, dict[str, int]]:
    actions: dict[str, dict[str, int]] = {}
    for (keyword, action), count in sorted(counts.items()):
        actions.setdefault(keyword, {})[action] = count
    return actions


def _labels(study: IdentifiedStudy, home: Home) -> dict[str, str]:
    file = home.identified.store.path(study.digest) / "labels.json"
    labels: dict[str, str] = json.loads(file.read_bytes()) if file.is_file() else {}
    return labels


def _bytes_of(study: IdentifiedStudy, home: Home) -> dict[str, bytes]:
    folder = home.identified.store.path(study.digest) / "instances"
    return {file.stem: file.read_bytes() for file in sorted(folder.glob("*.dcm"))}


def _packed(studies: Iterable[tuple[T, dict[str, bytes]]]) -> Iterator[list[tuple[T, dict[str, bytes]]]]:
    """Studies with their bytes, as many at once as fit the limits; a very large study still comes whole."""
    chunk: list[tuple[T, dict[str, bytes]]] = []
    size = 0
    for study, files in studies:
        weight = sum(len(data) for data in files.values())
        if chunk and (size + weight > CHUNK_BYTES or len(chunk) >= CHUNK_STUDIES):
            yield chunk
            chunk, size = [], 0
        chunk.append((study, files))
        size += weight
    if chunk:
        yield chunk


def _check_folders(src: Path, dst: Path) -> None:
    if not src.is_dir():
        raise SourceError("SRC is not a folder; expected one with DICOM files")
    inside = dst.resolve().is_relative_to(src.resolve()) or src.resolve().is_relative_to(dst.resolve())
    if inside:
        raise UsageError("SRC and DST lie inside each other; name a DST elsewhere")
    if dst.exists() and (not dst.is_dir() or any(dst.iterdir())):
        raise UsageError("DST exists and is not an empty folder; name a new one")


def _groups(src: Path, reasons: Counter[Reason]) -> dict[tuple[str, str], list[Path]]:
    """Files by (patient, study); what has neither is opened alone and judged there. Links are never followed."""
    groups: dict[tuple[str, str], list[Path]] = {}
    for file in sorted(src.rglob("*")):
        if file.is_dir() and not file.is_symlink():
            continue
        if file.is_symlink() or not file.is_file() or file.stat().st_size > LARGEST_FILE:
            reasons[Reason.UNSAFE_FILE] += 1
            continue
        patient, issuer, study = peek(file)
        groups.setdefault((f"{issuer}|{patient}" if patient else "", study), []).append(file)
    return groups


def _owner(patient: str, study: str, key: bytes) -> str:
    """The patient key of a group; a study without a patient is a patient of its own."""
    issuer, _, number = patient.partition("|")
    if patient:
        return digests.patient_key(key, number, issuer)
    return digests.keyed(key, "patient of study", study)[: digests.SUBJECT_DIGITS]


def _addressed(paths: Sequence[Path]) -> dict[str, bytes]:
    files = (path.read_bytes() for path in paths)
    return {digests.sha256(data): data for data in files}


def _write_files(written: Written, dst: Path) -> int:
    folder = dst / written.study_uid
    with writable():
        for uid, data in written.files.items():
            folder.mkdir(parents=True, exist_ok=True)
            (folder / f"{uid}.dcm").write_bytes(data)
    return len(written.files)
