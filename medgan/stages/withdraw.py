"""A patient leaves: what is deleted, what is stale, and a tombstone so that they do not come back."""

from __future__ import annotations

import contextlib
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator

from medgan.dicom.index import read_header
from medgan.digest import patient_key
from medgan.errors import Busy, CorruptArtefact, HomeError, InputRejected, UsageError
from medgan.home import Home
from medgan.records import Record
from medgan.stages.ingest import LEASE, pending

# what holds pixels of the patient, or features of them, and is deleted; models and releases are named instead
PIXELS = ("ingest", "deidentify", "preprocess", "assemble", "report", "analyze", "findings")
LISTS = "withdrawals"  # folder of the identified zone
NAME = re.compile(r"[\w-]{1,100}")


class Withdrawal(Record):
    """Proof of a withdrawal, in counts and digests."""

    patients: int
    already: int  # withdrawn before
    unknown: int  # never seen here; refused should they come
    deleted: dict[str, int]  # artefacts by stage
    inputs: int
    stale_checkpoints: tuple[str, ...]  # that learned from anyone who was ever withdrawn: the retrain list
    stale_releases: tuple[str, ...]


def withdraw(patients: Iterable[str], home: Home) -> Withdrawal:
    """Erase these patients from both inner zones. A second call finds nothing to do.

    patients: ids, or id, tab and issuer where one id means several people. Raises UsageError when the list is empty or
    an id is ambiguous, HomeError when a run is at work; nothing is deleted then. Bundles that have left the house
    cannot be called back: they are named.
    """
    wanted = sorted({line.strip() for line in patients if line.strip()})
    if not wanted:
        raise UsageError("the list holds no patient id; give one a line")
    with _alone(home):
        leavers = _keys(wanted, home)
        buried = home.identified_ledger.buried()
        already = sum(not buried.isdisjoint(keys) for keys in leavers)
        unknown = sum(buried.isdisjoint(keys) and not any(_seen(key, home) for key in keys) for keys in leavers)
        for key in sorted({key for keys in leavers for key in keys}):
            # first of all, so that what follows can be done again after a kill
            home.identified.ledger.bury(key, "withdrawn")
            home.research.ledger.bury(key, "withdrawn")
        gone = sorted(home.identified_ledger.buried())  # also those whose withdrawal was cut off
        stale = _learned(gone, home)
        deleted = {stage: _erase(stage, gone, home) for stage in PIXELS}
        inputs = sum(home.identified_ledger.withdraw_inputs(key) for key in gone)
        for zone in (home.identified, home.research):  # bytes of a killed run, which no row names
            for digest in zone.strays():
                zone.store.drop(digest)
            zone.store.sweep()
    return Withdrawal(
        patients=len(leavers),
        already=already,
        unknown=unknown,
        deleted=deleted,
        inputs=inputs,
        stale_checkpoints=_recorded("train", stale, home),
        stale_releases=_recorded("release", stale, home),
    )


def patient_ids(data: bytes) -> list[str]:
    """The lines of a patient list. Raises UsageError when it is not text."""
    try:
        return data.decode("utf-8-sig").splitlines()
    except UnicodeDecodeError:
        raise UsageError("the patient file is not UTF-8 text; expected one patient id a line") from None


def listed(name: str, home: Home) -> list[str]:
    """The list `identified/withdrawals/NAME.txt`: who asks by name says nothing about a patient. Raises UsageError."""
    try:
        if NAME.fullmatch(name):
            return patient_ids((home.root / "identified" / LISTS / f"{name}.txt").read_bytes())
    except OSError:
        pass
    raise UsageError("no patient list of that name; expected identified/withdrawals/NAME.txt in the home folder")


@contextlib.contextmanager
def _alone(home: Home) -> Iterator[None]:
    """No intake and no pipeline meanwhile: what they have in hand could be sealed after it was erased."""
    try:
        with home.research.ledger.lease("pipeline"), home.identified_ledger.lease(LEASE):
            yield
    except Busy:
        raise HomeError(
            "a run is at work in this home, so nothing was withdrawn; try again when it has ended"
        ) from None


def _keys(lines: list[str], home: Home) -> list[tuple[str, ...]]:
    """The keys of each line: that of the id alone, and that under which its issuer made it known."""
    plain = {line: patient_key(home.pseudonym_key, *line.split("\t", 1)) for line in lines}
    buried = home.identified_ledger.buried()
    asked = {line for line, key in plain.items() if "\t" not in line and key not in buried}
    issued = _issued(home) if asked else {}
    for line in asked:
        if len(issued.get(line, set()) - {plain[line]}) > 1:
            raise UsageError(
                f"an id of the list belongs to {len(issued[line])} patients of different issuers; write the issuer "
                "behind it, after a tab. Nothing was withdrawn"
            )
    return [tuple(sorted({key, *(issued.get(line, ()) if line in asked else ())})) for line, key in plain.items()]


def _issued(home: Home) -> dict[str, set[str]]:
    """Patient id -> keys of those who have it, read from one original of each patient."""
    one_of_each = {study.patient_key: study.digest for study in pending(home)}
    found: dict[str, set[str]] = defaultdict(set)
    for key, digest in one_of_each.items():
        try:
            file = min((home.identified.store.path(digest) / "instances").glob("*.dcm"), default=None)
            if file is not None:
                found[read_header(file.read_bytes()).patient_id.strip()].add(key)
        except (InputRejected, CorruptArtefact, OSError):
            continue  # a damaged original names nobody; doctor tells of it
    return found


def _seen(key: str, home: Home) -> bool:
    ledger = home.identified_ledger
    return bool(ledger.artefacts_of(key) or ledger.inputs(patient_key=key) or home.research.ledger.artefacts_of(key))


def _learned(keys: Iterable[str], home: Home) -> set[str]:
    """What learned from these patients, at any remove; a model of which they only were judges is not among it."""
    ledger = home.research.ledger
    models = {entry.digest for entry in ledger.entries("train", state=None)}
    found = {digest for key in keys for digest in ledger.artefacts_of(key)} & models
    return found.union(*(ledger.made_from(digest) for digest in found))


def _recorded(stage: str, digests: set[str], home: Home) -> tuple[str, ...]:
    return tuple(sorted({e.digest for e in home.research.ledger.entries(stage, state=None)} & digests))


def _erase(stage: str, keys: Iterable[str], home: Home) -> int:
    """Bytes first, then the row: killed between the two, the next call does it again."""
    count = 0
    for zone in (home.identified, home.research):
        digests = {digest for key in keys for digest in zone.ledger.artefacts_of(key)}
        gone = {e.digest: e for e in zone.ledger.entries(stage, state=None) if e.digest in digests}
        for digest, entry in gone.items():
            zone.store.drop(digest)
            zone.ledger.forget(digest)
            if stage == "ingest":
                home.research.ledger.take_back(entry.subject)
        count += len(gone)
    return count
