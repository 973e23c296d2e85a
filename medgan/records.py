"""What travels between stages and lands in Prefect's database: keys, counts and digests.

Never an array, a source path, or anything that could name a person.
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict

from medgan.errors import Reason

Unit = Literal["patient", "image"]
Answer = Literal["accept", "reject", "inconclusive"]
Analysis = Literal["diagnose", "retrieve", "anomaly"]


class Record(BaseModel):
    """Frozen, closed, and silent about bad values (pydantic would quote them in its errors)."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class IdentifiedStudy(Record):
    """One study in the identified zone. Only stages/ingest.py and stages/deidentify.py accept it."""

    study_key: str  # keyed hash of the Study Instance UID
    patient_key: str  # keyed hash of issuer and Patient ID
    digest: str  # keyed content digest in the identified store
    n_instances: int
    unit: Unit = "patient"


class Intake(Record):
    """What one ingestion found: every input counted once, by state and by reason."""

    batch: str  # keyed digest of what was seen
    states: dict[str, int]  # received, ingested, duplicate, conflict, quarantined, refused; unchanged
    reasons: dict[Reason, int]
    superseded: int = 0  # earlier inputs that a correction, or a deletion at their source, has overtaken
    compared: int = 0  # studies that an archive listed, or told to have changed
    gone: int = 0  # studies that their archive does not hold any more
    waiting: int = 0  # studies that may still be arriving: a later run takes them in
    studies: tuple[IdentifiedStudy, ...] = ()  # new or changed by this ingestion


class Study(Record):
    """One de-identified study, audited."""

    study_key: str
    patient_key: str
    digest: str
    n_instances: int
    modalities: tuple[str, ...]
    profile: str
    removed: int  # identifying values removed, replaced or shifted
    boxes: int  # burned-in text boxes blanked
    unit: Unit = "patient"


class Sample(Record):
    """The training-ready volumes of one study: stored integers with scale and offset."""

    study_key: str
    patient_key: str
    digest: str
    groups: dict[str, int]  # group name (modality-part-grid) -> number of images
    refused: dict[Reason, int] = {}  # series of this study that were refused
    unit: Unit = "patient"


class Cohort(Record):
    """Many images on one grid, real or synthetic."""

    origin: Literal["real", "synthetic"]
    digest: str
    group: str
    count: int
    patients: int
    shape: tuple[int, int, int, int]  # C, D, H, W
    classes: tuple[str, ...]
    splits: dict[str, int]  # images by part
    unit: Unit = "patient"


class Checkpoint(Record):
    """A trained generator and discriminator."""

    digest: str
    images_seen: int
    recipe_digest: str
    cohort_digest: str
    group: str
    network: str


class Scorecard(Record):
    """Fidelity, utility and privacy of one synthetic cohort, judged."""

    digest: str
    cohort_digest: str
    checkpoint_digest: str
    answer: Answer
    reasons: tuple[str, ...]
    figures: dict[str, float]


class Release(Record):
    """What left the house, and the model version that made it."""

    answer: Answer
    reasons: tuple[str, ...]
    bundle_digest: str = ""
    model_version: str = ""
    alias: str = ""
    scorecard_digest: str = ""


class Report(Record):
    """The page about one scorecard that stays in the research zone: it shows real pictures."""

    digest: str
    scorecard_digest: str
    answer: Answer


class AnalysisModel(Record):
    """What was fitted on the features of a discriminator. Not for clinical use."""

    digest: str
    task: Analysis
    checkpoint_digest: str
    images: int
    classes: tuple[str, ...]
    figures: dict[str, float]  # on patients that the model did not learn from


class Findings(Record):
    """What an analysis model said of some images. Not for clinical use."""

    digest: str
    task: Analysis
    images: int
    file: str  # its table


class Quarantined(Record):
    """A study set aside, with a reason of the closed list and nothing else."""

    study_key: str
    stage: str
    reason: Reason
