"""What a release writes: the bundle's folder, and the report that stays in the research zone."""

from __future__ import annotations

import importlib.metadata
import json
import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from medgan import digest as digests
from medgan.bundle import sign
from medgan.bundle.croissant import croissant
from medgan.bundle.datasheet import datasheet, licence, model_card
from medgan.bundle.report import Facts, Gallery, Research, public_report, research_report
from medgan.cohort.arrays import CohortArrays, read_cohort
from medgan.errors import CorruptArtefact, MedganError
from medgan.home import Home
from medgan.recipes import EvaluateRecipe, ReleaseRecipe
from medgan.records import Checkpoint, Cohort, Scorecard, Study
from medgan.registry.gate import Verdict
from medgan.store import private, writable

DATA = ("cohort.zarr", "png", "dicom", "nifti", "labels.csv")  # of a synthetic artefact; nothing else leaves
UNPUBLISHED = ("real",)  # of a scorecard: digests of identifiable content are keyed or stay inside
TEXTS = {".json", ".html", ".md", ".csv", ".txt"}
SUBJECT = re.compile(rf"\b[0-9a-f]{{{digests.SUBJECT_DIGITS}}}\b")


@dataclass(frozen=True, slots=True)
class Case:
    """One release under judgement: the records, and what was read of them."""

    scorecard: Scorecard
    synthetic: Cohort
    checkpoint: Checkpoint
    card: dict[str, Any]
    verdict: Verdict
    recipe: ReleaseRecipe
    limits: EvaluateRecipe
    lineage: Mapping[str, float | None]


def fill_bundle(folder: Path, case: Case, home: Home) -> None:
    """Write and sign everything a bundle holds. Raises MedganError when a patient's key is found in it."""
    source = home.research.store.path(case.synthetic.digest)
    (folder / "data").mkdir()
    for name in DATA:
        if (source / name).is_dir():
            shutil.copytree(source / name, folder / "data" / name)
        elif (source / name).is_file():
            shutil.copyfile(source / name, folder / "data" / name)
    synthetic = read_cohort(folder / "data" / "cohort.zarr")
    key = signing_key(home)
    card = {name: value for name, value in case.card.items() if name not in UNPUBLISHED}
    (folder / "scorecard.json").write_bytes(digests.canonical(card))
    facts = _facts(case, card, fingerprint=sign.fingerprint(key.public_key()), files=0)
    training = _training(case, home)
    classes = dict(zip(synthetic.classes, np.bincount(synthetic.label, minlength=len(synthetic.classes)), strict=True))
    formats = tuple(
        name.removesuffix(".csv").replace("cohort.zarr", "zarr")
        for name in DATA[:-1]
        if (folder / "data" / name).is_dir()
    )
    counted = {name: int(n) for name, n in classes.items() if n}
    (folder / "DATASHEET.md").write_text(datasheet(facts, training=training, classes=counted, formats=formats))
    (folder / "MODEL_CARD.md").write_text(model_card(facts, training=training))
    (folder / "LICENCE.txt").write_text(licence(case.recipe.licence))
    (folder / "croissant.json").write_bytes(croissant(folder / "data", facts, cohort=case.synthetic.digest))
    files = sum(len(names) for _, _, names in os.walk(folder)) + len(("report", "key", "sums", "statement", "manifest"))
    facts = _facts(case, card, fingerprint=sign.fingerprint(key.public_key()), files=files)
    (folder / "report.html").write_text(public_report(facts, gallery(synthetic)))
    _no_patient(folder, home.research.ledger.patients_of(case.checkpoint.digest))
    sign.sign(folder, key, _predicate(case))


def fill_report(folder: Path, case: Case, home: Home) -> None:
    """Write report.html of the research zone, and the verdict beside it as JSON."""
    store = home.research.store
    restricted = store.path(case.scorecard.digest) / "restricted.json"
    history = store.path(case.checkpoint.digest) / "history.json"
    synthetic = read_cohort(store.path(case.synthetic.digest) / "cohort.zarr")
    real = _real(case.checkpoint, home)
    facts = _facts(case, case.card, fingerprint="", files=None)
    research = Research(
        real=gallery(real) if real is not None else Gallery(synthetic.images[:0], synthetic.label[:0], ()),
        history=_json(history, []),
        restricted=_json(restricted, {}),
    )
    (folder / "report.html").write_text(research_report(facts, gallery(synthetic), research))
    verdict = {"answer": case.verdict.answer, "reasons": list(case.verdict.reasons)}
    (folder / "verdict.json").write_bytes(digests.canonical(verdict))


def gallery(cohort: CohortArrays) -> Gallery:
    return Gallery(cohort.images, cohort.label, cohort.classes)


def signing_key(home: Home) -> sign.Ed25519PrivateKey:
    """The house's signing key, made on first use; its public half lies in the public zone, to be handed out."""
    path = home.root / "research" / "keys" / "signing.pem"
    with writable():
        if not path.exists():
            aside = path.with_name(f".signing.{os.getpid()}")
            aside.unlink(missing_ok=True)
            with os.fdopen(os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                file.write(sign.new_key())
                file.flush()
                os.fsync(file.fileno())
            try:
                os.link(aside, path)  # unlike a rename, never over the key that another run made just now
            except FileExistsError:
                pass
            finally:
                aside.unlink()
        if not private(path):
            raise MedganError("the signing key can be read by others; `chmod 600` it, and consider it known")
        key = sign.read_private(path.read_bytes())
        published = home.root / "public" / sign.PUBLIC_KEY
        if not published.exists():
            published.write_bytes(sign.public_pem(key))
    return key


def ancestry(case_checkpoint: Checkpoint, home: Home) -> dict[str, float | None]:
    """Counts of the de-identified studies that a checkpoint learned from; none for a cohort brought in ready."""
    ledger = home.research.ledger
    ancestors = ledger.made_of(case_checkpoint.digest)
    studies = [s for s in home.research.records("deidentify", Study) if s.digest in ancestors]
    if not studies:
        return {}
    return {
        "received": sum(study.n_instances for study in studies),
        "studies": len(studies),
        "removed": sum(study.removed for study in studies),
        "boxes": sum(study.boxes for study in studies),
    }


def _facts(case: Case, card: Mapping[str, Any], *, fingerprint: str, files: int | None) -> Facts:
    limits = case.limits
    return Facts(
        card=card,
        answer=case.verdict.answer,
        reasons=case.verdict.reasons,
        group=case.synthetic.group,
        limits={
            "smallest_leak": limits.smallest_leak,
            "max_epsilon": limits.max_epsilon,
            "min_coverage": limits.min_coverage,
            "max_distance_ratio": limits.max_distance_ratio,
        },
        counts={**case.lineage, "images_seen": case.checkpoint.images_seen, "files": files},
        about={
            "licence": case.recipe.licence,
            "intended_use": case.recipe.intended_use,
            "fingerprint": fingerprint,
            "version": version(),
        },
    )


def _predicate(case: Case) -> dict[str, Any]:
    """What is signed beside the files: the gate's answer, what it weighed, and the limits it held."""
    return {
        "answer": case.verdict.answer,
        "reasons": list(case.verdict.reasons),
        "group": case.synthetic.group,
        "cohort": case.synthetic.digest,
        "checkpoint": case.checkpoint.digest,
        "scorecard": case.scorecard.digest,
        "limits": case.limits.model_dump(mode="json"),
        "recipe": case.recipe.model_dump(mode="json"),
        "made_with": {"name": "medgan", "version": version()},
    }


def version() -> str:
    try:
        return importlib.metadata.version("medgan")
    except importlib.metadata.PackageNotFoundError:
        return "from a checkout"


def _training(case: Case, home: Home) -> dict[str, Any]:
    checkpoint = case.checkpoint
    state = _json(home.research.store.path(checkpoint.digest) / "state.json", {})
    return {
        "network": checkpoint.network,
        "images_seen": checkpoint.images_seen,
        "checkpoint": checkpoint.digest,
        "shape": case.synthetic.shape,
        "classes": state.get("classes", []),
        "recipe": state.get("recipe", {}),
    }


def _real(checkpoint: Checkpoint, home: Home) -> CohortArrays | None:
    """The training part, while it is still there: a withdrawal deletes it."""
    store = home.research.store
    if not store.has(checkpoint.cohort_digest):
        return None
    return read_cohort(store.path(checkpoint.cohort_digest) / "cohort.zarr").part("train")


def _json(path: Path, default: Any) -> Any:
    if not path.is_file():
        return default
    try:
        return json.loads(path.read_bytes())
    except ValueError:
        raise CorruptArtefact(f"{path.name} of a sealed artefact is not readable; run `medgan doctor`") from None


def _no_patient(folder: Path, patients: set[str]) -> None:
    """The last look before the signature: no key of a patient stands in a text that leaves."""
    for file in sorted(folder.rglob("*")):
        if file.suffix in TEXTS and patients.intersection(SUBJECT.findall(file.read_text(errors="replace"))):
            raise MedganError("a patient's key was found in a text of the bundle; nothing was released")
