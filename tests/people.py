"""Homes of a few patients who sent a film or two each, models that saw them, and what a home still holds of someone."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dicom_series import film
from pydicom.filewriter import dcmwrite

from medgan import digest
from medgan.home import Home
from medgan.ledger import Entry, record_json
from medgan.recipes import DeidentifyRecipe, IngestRecipe, PreprocessRecipe
from medgan.records import Checkpoint, Cohort, Intake, Study
from medgan.registry.tracking import local_uri, open_client
from medgan.sources.source import open_source
from medgan.stages import tracking
from medgan.stages.deidentify import deidentify_studies
from medgan.stages.ingest import ingest, pending
from medgan.stages.preprocess import assemble_cohorts, preprocess_studies
from medgan.stages.rejections import within_limit

KEY = "ab" * 32
GRID = PreprocessRecipe(size=16, split=(0.5, 0.5, 0.0, 0.0), min_class_patients=1)
GROUP = "XR-CHEST-2d-16"
NEEDLE = 64


def new_home(root: Path) -> Home:
    """A home with a fixed key: who falls into which part of the split hangs on it."""
    (root / "identified").mkdir(parents=True, mode=0o700)
    (root / "identified" / "key").write_text(KEY)
    (root / "identified" / "key").chmod(0o600)
    return Home.create(root)


def send(folder: Path, *patients: str | tuple[str, str], visit: int = 1) -> Path:
    """A film of each patient (an id, or id and issuer) as a file of `folder`; another visit is another study."""
    folder.mkdir(parents=True, exist_ok=True)
    for one in patients:
        patient, issuer = (one, "") if isinstance(one, str) else one
        name = f"{patient}-{issuer}-{visit}"
        chance = np.random.default_rng(int(digest.sha256(name.encode())[:8], 16))
        pixels = chance.integers(0, 4096, (32, 32)).astype("<u2")
        more = {"IssuerOfPatientID": issuer} if issuer else {}
        dataset = film(name, pixels, PatientID=patient, BitsStored=12, HighBit=11, **more)
        dcmwrite(folder / f"{digest.sha256(name.encode())[:12]}.dcm", dataset, enforce_file_format=True)
    return folder


def come(home: Home, folder: Path) -> Intake:
    return ingest(open_source(str(folder)), IngestRecipe(), home)


def cohort_of(home: Home) -> Cohort:
    """Go the road up to the cohort of films, as the nightly run does."""
    within_limit(deidentify_studies(pending(home), DeidentifyRecipe(), home), 1.0)
    samples = within_limit(preprocess_studies(home.research.records("deidentify", Study), GRID, home), 1.0)
    return assemble_cohorts(samples, GRID, home)[0]


def key(home: Home, patient: str, issuer: str = "") -> str:
    return digest.patient_key(home.pseudonym_key, patient, issuer)


def needle(folder: Path, patient: str, issuer: str = "", visit: int = 1) -> bytes:
    """A piece of the pixels of a film that `send` wrote: nobody else has it, in any copy of the instance."""
    name = digest.sha256(f"{patient}-{issuer}-{visit}".encode())[:12]
    return (folder / f"{name}.dcm").read_bytes()[-NEEDLE:]


def holds(home: Home, piece: bytes) -> bool:
    """Whether any file of the inner zones has these bytes."""
    zones = (home.root / "identified", home.root / "research")
    return any(piece in file.read_bytes() for zone in zones for file in zone.rglob("*") if file.is_file())


def model(home: Home, name: str, saw: Iterable[str], *, cohort: str = "", group: str = GROUP) -> str:
    """A checkpoint in the ledger, without weights, that learned from these pseudonyms; returns its digest."""
    made = Checkpoint(
        digest=digest.sha256(name.encode()),
        images_seen=1,
        recipe_digest=name,
        cohort_digest=cohort,
        group=group,
        network="residual",
    )
    home.research.ledger.record(Entry(name, made.digest, "train", record_json(made), patients=tuple(saw)))
    return made.digest


def derived(home: Home, stage: str, name: str, parent: str) -> str:
    """An artefact in the ledger that was made from another."""
    made = digest.sha256(name.encode())
    home.research.ledger.record(Entry(name, made, stage, "{}", parents=(parent,)))
    return made


def lists(home: Home, **files: str | None) -> None:
    """Write the house's lists: consent, opt_out, merges; None removes one."""
    for name, text in files.items():
        place = home.root / "identified" / f"{name.replace('_', '-')}.csv"
        if text is None:
            place.unlink()
        else:
            place.write_text(text)


def fill_registry(home: Home, versions: Mapping[tuple[str, str], str], aliases: Mapping[tuple[str, str], int]) -> Any:
    """An MLflow registry of this home: (model, note) -> checkpoint, and (model, alias) -> version."""
    client = open_client(tracking.uri(home))
    for name in dict.fromkeys(name for name, _ in versions):
        client.create_registered_model(name)
    for (name, _), checkpoint in versions.items():
        client.create_model_version(name, "file:///nowhere", tags={"checkpoint": checkpoint})
    for (name, alias), version in aliases.items():
        client.set_registered_model_alias(name, alias, str(version))
    return client


@pytest.fixture(scope="session")
def empty_registry(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A new MLflow database, which takes seconds to make and none to copy."""
    folder = tmp_path_factory.mktemp("registry")
    open_client(local_uri(folder))
    return folder / "mlflow.db"


def with_registry(home: Home, empty: Path) -> None:
    place = home.root / "research" / "mlflow"
    place.mkdir(exist_ok=True)
    shutil.copyfile(empty, place / "mlflow.db")
