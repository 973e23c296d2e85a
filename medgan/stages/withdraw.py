"""A patient leaves: what is deleted, what is stale, and a tombstone so that they do not come back."""

from __future__ import annotations

from collections.abc import Iterable

from medgan.digest import patient_key
from medgan.errors import UsageError
from medgan.home import Home, Zone
from medgan.records import Record

# what holds pixels of the patient and is deleted; models and releases are named instead
PIXELS = ("ingest", "deidentify", "preprocess", "assemble", "report")


class Withdrawal(Record):
    """Proof of a withdrawal, in counts and digests."""

    patients: int
    already: int
    deleted: dict[str, int]  # artefacts by stage
    inputs: int
    stale_checkpoints: tuple[str, ...]
    stale_releases: tuple[str, ...]


def withdraw(patient_ids: Iterable[str], home: Home) -> Withdrawal:
    """Erase these patients from both inner zones. A second call finds nothing to do.

    Raises UsageError when the list is empty. Bundles that have left the house cannot be called back: they are named.
    """
    keys = {patient_key(home.pseudonym_key, patient) for patient in patient_ids if patient.strip()}
    if not keys:
        raise UsageError("the list holds no patient id; give one a line")
    already = len(keys & home.identified_ledger.buried())
    deleted = dict.fromkeys(PIXELS, 0)
    checkpoints: set[str] = set()
    releases: set[str] = set()
    inputs = 0
    for key in sorted(keys):
        for zone in (home.identified, home.research):
            zone.ledger.bury(key, "withdrawn")
            seen = zone.ledger.artefacts_of(key)
            for stage in PIXELS:
                deleted[stage] += _erase(zone, stage, seen)
        inputs += home.identified_ledger.withdraw_inputs(key)
        descendants = set(home.research.ledger.artefacts_of(key))
        for digest in list(descendants):
            descendants |= home.research.ledger.made_from(digest)
        checkpoints |= {e.digest for e in home.research.ledger.entries("train") if e.digest in descendants}
        releases |= {e.digest for e in home.research.ledger.entries("release") if e.digest in descendants}
    return Withdrawal(
        patients=len(keys),
        already=already,
        deleted=deleted,
        inputs=inputs,
        stale_checkpoints=tuple(sorted(checkpoints)),
        stale_releases=tuple(sorted(releases)),
    )


def _erase(zone: Zone, stage: str, digests: set[str]) -> int:
    gone = {entry.digest for entry in zone.ledger.entries(stage, state=None) if entry.digest in digests}
    for digest in gone:
        zone.store.drop(digest)
        zone.ledger.forget(digest)
    return len(gone)
