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
from medgan.deid import officer
from medgan.deid.draft import Draft, Written, open_draft
from medgan.deid.profiles.profile import Profile
from medgan.deid.profiles.table import EDITION
from medgan.errors import Reason, StudyRejected
from medgan.home import Home
from medgan.keys import Key
from medgan.recipes import DeidentifyRecipe
from medgan.records import IdentifiedStudy, Quarantined, Study
from medgan.stages.gate_one import prepare, profile_of, settle
from medgan.stages.officer_report import PAGE, REPORT, report_of
from medgan.stages.rejections import quarantined
from medgan.store import writable, write_durably

VERSION = 3  # bump when the same study and recipe should give another Study
STAGE = "deidentify"
CHUNK_BYTES, CHUNK_STUDIES = 128 << 20, 64  # held in memory together
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
    applied = profile_of(recipe)
    for chunk in _packed((index, _bytes_of(studies[index], home)) for index in waiting):
        drafts = [open_draft(files, studies[index].patient_key) for index, files in chunk]
        prepare(drafts, applied, recipe.ocr_side)
        for (index, _), draft in zip(chunk, drafts, strict=True):
            outcomes[index] = _settle(studies[index], draft, applied, recipe, home)
    return [outcomes[index] for index in range(len(studies))]


def write_report(recipe: DeidentifyRecipe, home: Home, asked_k: int) -> dict[str, Any]:
    """The report of every study in the home under this profile, as a page and as JSON in HOME/research; the JSON back.

    Inputs are counted in instances; a study that was set aside counts with all of its own.
    """
    applied, ledger = profile_of(recipe), home.research.ledger
    studies = [study for study in home.research.records(STAGE, Study) if study.profile == applied.name]
    told = [json.loads((home.research.store.path(study.digest) / "audit.json").read_bytes()) for study in studies]
    sizes = {one.study_key: one.n_instances for one in home.identified.records("ingest", IdentifiedStudy)}
    aside: Counter[str] = Counter()
    for row in ledger.set_aside_rows(STAGE):
        aside[row["reason"]] += sizes.get(row["subject"], 0)
    written = sum(study.n_instances for study in studies)
    counts = {"inputs": written + aside.total(), "written": written, "studies": len(studies)}
    key_id = Key(home.pseudonym_key).id
    report = report_of(told, applied, key_id=key_id, counts=counts, quarantined=aside, asked_k=asked_k)
    document = officer.document(report)
    with writable():
        write_durably(home.root / "research" / PAGE, officer.html(report).encode())
        write_durably(home.root / "research" / REPORT, digests.canonical(document))
    return document


def study_key_of(study: IdentifiedStudy, recipe: DeidentifyRecipe, home: Home) -> str:
    """The key under which the result is known; the limit on quarantines does not change a Study."""
    content = recipe.model_dump(mode="json", exclude={"max_quarantined"})
    subject = {"study": study.study_key, "patient": study.patient_key, "unit": study.unit}
    applied = {"content": content, "profile": profile_of(recipe).digest}
    key = home.key_fingerprint
    return digests.key(STAGE, VERSION, [study.digest], applied=applied, subject=subject, key=key)


def _known(study: IdentifiedStudy, recipe: DeidentifyRecipe, home: Home) -> Study | Quarantined | None:
    key = study_key_of(study, recipe, home)
    if found := home.research.made(key, Study):
        return found
    reason = home.research.ledger.set_aside_reason(study.study_key, STAGE, key)
    return Quarantined(study_key=study.study_key, stage=STAGE, reason=reason) if reason else None


def _settle(
    study: IdentifiedStudy, draft: Draft, applied: Profile, recipe: DeidentifyRecipe, home: Home
) -> Study | Quarantined:
    """Scrub, audit and seal one study; one refused instance sets the whole study aside."""
    key = study_key_of(study, recipe, home)
    try:
        _refuse(draft, study.study_key)
        written, told = settle(draft, applied, home.pseudonym_key, recipe.max_date_shift_days)
        _refuse(draft, study.study_key)
        labels = _labels(study, home)
        return home.research.make(
            key,
            lambda folder: _fill(folder, study, written, told, labels, applied.name),
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
    folder: Path,
    study: IdentifiedStudy,
    written: Written,
    told: Mapping[str, Any],
    labels: Mapping[str, str],
    profile: str,
) -> Study:
    (folder / "instances").mkdir()
    for uid, data in written.files.items():
        (folder / "instances" / f"{uid}.dcm").write_bytes(data)
    described = {
        "labels": {uid: labels[name] for uid, name in written.origins.items() if name in labels},
        "unit": study.unit,
        "edition": EDITION,
        "profile": profile,
        "key": written.key_id,
        "method_codes": written.codes,
    }
    (folder / "study.json").write_bytes(digests.canonical(described))
    (folder / "audit.json").write_bytes(digests.canonical({**told, "findings": 0}))
    return Study(
        study_key=study.study_key,
        patient_key=study.patient_key,
        digest="",
        n_instances=len(written.files),
        modalities=written.modalities,
        profile=profile,
        removed=sum(written.counts.values()),
        boxes=written.boxes,
        unit=study.unit,
    )


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
