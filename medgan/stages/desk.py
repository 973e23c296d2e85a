"""Where inputs arrive: each gets its row, each study its next version; both are recorded together.

Bytes first, then the rows of a batch and its studies in one transaction: killed anywhere, the next run ends
with the same artefacts.
"""

from __future__ import annotations

import functools
import json
import logging
import shutil
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

from medgan import digest as digests
from medgan.dicom.index import Header
from medgan.errors import Reason
from medgan.home import Home
from medgan.ledger import Entry, record_json
from medgan.ledger_inputs import Input
from medgan.records import IdentifiedStudy, Intake, Unit
from medgan.sources.reading import Reading
from medgan.stages import stale
from medgan.stages.eligibility import Eligibility
from medgan.store import writable

VERSION = 2
STAGE = "ingest"
LEASE = "ingest-source"
ASIDE = "aside"  # bytes of inputs that were pushed here and could not be taken in: nobody else has them
SEALS = 8  # studies sealed at a time: each waits for the disk
STATES = ("received", "ingested", "duplicate", "conflict", "quarantined", "refused", "unchanged")
logger = logging.getLogger(__name__)


@dataclass(slots=True)
class Arrival:
    """One input that was read: its row so far, and the images it became (their sha256)."""

    row: Input
    folder: Path  # where its images lie until they are sealed
    files: tuple[str, ...] = ()
    label: str | None = None
    unit: Unit = "patient"
    spool: Path | None = None  # the only copy that anyone has: set aside when it cannot be taken in


@dataclass(slots=True)
class Change:
    """What one study becomes: images that join it, and inputs (by instance_key) that leave it."""

    arrivals: list[Arrival] = field(default_factory=list)
    leaving: set[str] = field(default_factory=set)
    patient_key: str = ""


class Judgement(Protocol):
    """What was decided of a batch: see judge.py."""

    arrivals: list[Arrival]
    changes: dict[str, Change]
    also: dict[tuple[str, str, str], Input]  # earlier inputs whose state changes with it


class Desk:
    """Reads nothing itself: turns readings into arrivals, and settles them batch by batch."""

    def __init__(self, home: Home, eligibility: Eligibility) -> None:
        self.home, self.eligibility = home, eligibility
        self.zone, self.ledger, self.secret = home.identified, home.identified_ledger, home.pseudonym_key
        self.buried = self.ledger.everyone_like(self.ledger.buried())
        self.same = self.ledger.same_person()
        self.states: Counter[str] = Counter()
        self.reasons: Counter[Reason] = Counter()
        self.tally: Counter[str] = Counter()  # superseded, compared, gone, waiting
        self.studies: dict[str, IdentifiedStudy] = {}
        self.seen: list[tuple[str, str]] = []

    def intake(self) -> Intake:
        states = {state: self.states[state] for state in STATES}
        batch = digests.keyed(self.secret, "batch", digests.canonical(sorted(self.seen)))
        return Intake(
            batch=batch,
            states=states,
            reasons=dict(self.reasons),
            superseded=self.tally["superseded"],
            compared=self.tally["compared"],
            gone=self.tally["gone"],
            waiting=self.tally["waiting"],
            studies=tuple(self.studies.values()),
        )

    def count(self, state: str, reason: Reason | None = None) -> None:
        self.states[state] += 1
        if state != "unchanged":
            self.states["received"] += 1
        if reason is not None:
            self.reasons[reason] += 1

    def source_key(self, name: str) -> str:
        return digests.keyed(self.secret, "source", name)

    def locator(self, place: str) -> str:
        return digests.keyed(self.secret, "locator", place)

    def study_key(self, study_uid: str) -> str:
        return digests.study_key(self.secret, study_uid)

    def person(self, patient_key: str | None) -> str:
        """The pseudonym that stands for this one, where patients were merged."""
        return self.same.get(patient_key or "", patient_key or "")

    def admits(self, row: Input) -> bool:
        """Whether this patient may enter: not withdrawn, not opted out, with consent where that is asked for."""
        if row.patient_key in self.buried or self.person(row.patient_key) in self.buried:
            return False
        return self.eligibility.allows(row.patient_key or "", row.id_key or "")

    def arrival(self, row: Input, reading: Reading, folder: Path, label: str | None = None) -> Arrival:
        """What was read, as an arrival; `row` says where it lay, its images lie in `folder`."""
        row = replace(row, sha256=reading.sha256, size=reading.size)
        if reading.reason is not None or reading.header is None:
            if reading.owner is not None:  # whose it is, so that it leaves with its patient
                patient_id, issuer = reading.owner
                patient = digests.patient_key(self.secret, patient_id, issuer)
                row = replace(row, patient_key=patient, id_key=digests.id_key(self.secret, patient_id))
            return Arrival(replace(row, state="quarantined", reason=reading.reason), folder)
        row = self._keyed(row, reading.header, reading.contents[0])
        return Arrival(row, folder, reading.files, label, reading.unit)

    def settle(
        self,
        judge: Judgement,
        landing: Path,
        *,
        partial: Collection[str] = (),
        closed: Collection[str] = (),
        taken: Iterable[tuple[str, str, str]] = (),
        left: Iterable[tuple[str, str]] = (),
    ) -> None:
        """Seal the studies that change, and record them with the rows of what arrived.

        partial: studies (by key) of which more is coming; closed: of which nothing more is. taken, left: see
        Ledger.settle.
        """
        before = self._versions(judge.changes)
        # what another source brings does not complete a study that its archive is still sending
        waiting = {key for key, entry in before.items() if entry.state == "partial"} - set(closed)
        partial = {*partial, *waiting}
        entries = [self._aside(arrival, landing) for arrival in judge.arrivals if _only_here(arrival)]
        with ThreadPoolExecutor(SEALS) as pool:
            seal = functools.partial(self._seal, before=before, landing=landing, partial=partial)
            sealed = dict(zip(judge.changes, pool.map(seal, judge.changes.items()), strict=True))
        empty = [key for key, entry in sealed.items() if entry is None]
        if empty:  # before the rows, so that it is done again after a kill
            stale.ask_without(empty, self.home)
        for study_key in empty:
            forget_study(self.home, study_key)
        entries += [entry for entry in sealed.values() if entry is not None]
        rows = [*(arrival.row for arrival in judge.arrivals), *judge.also.values()]
        self.ledger.settle(rows, entries, taken=taken, left=left)
        for arrival in judge.arrivals:
            if arrival.spool is not None:
                arrival.spool.unlink(missing_ok=True)
        logger.debug("intake: %d inputs settled, %d studies sealed", len(judge.arrivals), len(entries))

    def _versions(self, study_keys: Iterable[str]) -> dict[str, Entry]:
        """The newest version of each study, also one that is still arriving."""
        keys = list(study_keys)
        return {**self.ledger.live(STAGE, keys), **self.ledger.live(STAGE, keys, state="partial")}

    def owners(self, study_keys: Iterable[str]) -> dict[str, str]:
        """study_key -> whose it is, of studies that are known."""
        found = self._versions(study_keys)
        return {key: IdentifiedStudy.model_validate_json(entry.record).patient_key for key, entry in found.items()}

    def labels(self, study_keys: Iterable[str]) -> dict[str, dict[str, str]]:
        """study_key -> sha256 of an image -> its label, of studies that are known."""
        return {key: labels_of(self.zone.store.path(e.digest)) for key, e in self._versions(study_keys).items()}

    def _keyed(self, row: Input, header: Header, content: str) -> Input:
        if header.patient_id:
            patient = digests.patient_key(self.secret, header.patient_id, header.issuer)
        else:  # nobody knows whose: the study is a unit of its own
            patient = digests.keyed(self.secret, "patient of study", header.study_uid)[: digests.SUBJECT_DIGITS]
        return replace(
            row,
            content=content,
            instance_key=digests.keyed(self.secret, "instance", header.sop_instance_uid),
            study_key=self.study_key(header.study_uid),
            patient_key=patient,
            id_key=digests.id_key(self.secret, header.patient_id),
        )

    def _seal(
        self, changed: tuple[str, Change], *, before: Mapping[str, Entry], landing: Path, partial: Collection[str]
    ) -> Entry | None:
        """The next version of one study: what it held before without what leaves, and what arrived."""
        study_key, change = changed
        old = before.get(study_key)
        folder = landing / f"study-{study_key}"
        owners: dict[str, str] = {}  # file -> the input it came with
        labels: dict[str, str] = {}
        with writable():
            (folder / "instances").mkdir(parents=True)
            if old is not None:
                owners, labels = self._keep(old, change.leaving, folder)
            for arrival in change.arrivals:
                for name in arrival.files:
                    (arrival.folder / f"{name}.dcm").replace(folder / "instances" / f"{name}.dcm")
                    owners[name] = arrival.row.instance_key or ""
                    labels.pop(name, None)
                    labels.update({name: arrival.label} if arrival.label is not None else {})
            if not owners:
                shutil.rmtree(folder)
                return None
            (folder / "inputs.json").write_bytes(digests.canonical(owners))
            if labels:
                (folder / "labels.json").write_bytes(digests.canonical(labels))
        names = sorted(owners)
        key = digests.key(
            STAGE,
            VERSION,
            names,
            study=study_key,
            labels=labels,
            patient=change.patient_key,
            partial=study_key in partial,
            fingerprint=self.home.key_fingerprint,
        )
        hashed = {f"instances/{name}.dcm": name for name in names}
        digest = self.zone.store.seal(folder, STAGE, {"stage": STAGE}, hashed=hashed)
        unit: Unit = "image" if any(arrival.unit == "image" for arrival in change.arrivals) else "patient"
        record = IdentifiedStudy(
            study_key=study_key, patient_key=change.patient_key, digest=digest, n_instances=len(names), unit=unit
        )
        if study_key not in partial:
            self.studies[study_key] = record
        state = "partial" if study_key in partial else "live"
        return Entry(key, digest, STAGE, record_json(record), study_key, patients=(change.patient_key,), state=state)

    def _keep(self, old: Entry, leaving: set[str], folder: Path) -> tuple[dict[str, str], dict[str, str]]:
        """Take over from the version before what stays of it: the inputs and the labels of its images."""
        before = self.zone.store.path(old.digest)
        inputs: dict[str, str] = json.loads((before / "inputs.json").read_bytes())
        stays = {name: key for name, key in inputs.items() if key not in leaving}
        for name in stays:
            _link(before / "instances" / f"{name}.dcm", folder / "instances" / f"{name}.dcm")
        return stays, {name: label for name, label in labels_of(before).items() if name in stays}

    def _aside(self, arrival: Arrival, landing: Path) -> Entry:
        """Seal the bytes of an input that could not be taken in."""
        assert arrival.spool is not None
        name, sender = arrival.row.sha256, arrival.spool.parent.name
        folder = landing / f"aside-{sender}-{name}"
        with writable():
            folder.mkdir()
            _link(arrival.spool, folder / "input")
        # the place makes it an artefact of its own: another sender may have pushed the same bytes
        digest = self.zone.store.seal(folder, ASIDE, {"stage": ASIDE, "place": arrival.row.locator})
        key = digests.key(ASIDE, VERSION, [name], source=arrival.row.source, locator=arrival.row.locator)
        patients = (arrival.row.patient_key,) if arrival.row.patient_key else ()
        record = json.dumps({"sender": sender, "sha256": name})
        return Entry(key, digest, ASIDE, record, arrival.row.locator, patients=patients)


def forget_study(home: Home, study_key: str) -> int:
    """Delete what both inner zones hold of a study, bytes first; its rows stay. Returns how many artefacts went."""
    count = 0
    for zone in (home.identified, home.research):
        for stage in (STAGE, "deidentify", "preprocess"):
            for entry in zone.ledger.entries(stage, subject=study_key, state=None):
                zone.store.drop(entry.digest)
                zone.ledger.forget(entry.digest)
                count += 1
    return count


def put_back(entry: Entry, home: Home) -> None:
    """Lay bytes that were set aside into the inbox again, first; then they are set aside no more."""
    said = json.loads(entry.record)
    with writable():
        folder = home.inbox / said["sender"]
        folder.mkdir(parents=True, exist_ok=True)
        target = folder / f"{said['sha256']}.dcm"
        if not target.exists():
            target.hardlink_to(home.identified.store.path(entry.digest) / "input")
    home.identified.store.drop(entry.digest)
    home.identified_ledger.forget(entry.digest)


def _only_here(arrival: Arrival) -> bool:
    return arrival.spool is not None and arrival.row.state in ("quarantined", "conflict")


def labels_of(folder: Path) -> dict[str, str]:
    """sha256 -> label of a sealed study; empty when it has none."""
    file = folder / "labels.json"
    return dict(json.loads(file.read_bytes())) if file.is_file() else {}


def _link(file: Path, to: Path) -> None:
    """The same bytes under a second name; a copy where the disk knows no links."""
    try:
        to.hardlink_to(file)
    except OSError:
        shutil.copyfile(file, to)
