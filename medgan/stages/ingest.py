"""Take in what a source holds: every input ends in exactly one state, every study is sealed in zone one.

Bytes first, then the rows of a batch and its studies in one transaction: killed anywhere, the next run ends
with the same artefacts. A source that did not change is not read again.
"""

from __future__ import annotations

import csv
import json
import logging
import shutil
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from medgan import digest as digests
from medgan.dicom.index import Header, content_digest
from medgan.errors import InputRejected, Reason, SourceError, TooManyQuarantined
from medgan.home import Home
from medgan.ledger import Entry, Input, record_json
from medgan.recipes import IngestRecipe
from medgan.records import IdentifiedStudy, Intake, Unit
from medgan.sources.entry import Limits
from medgan.sources.source import Item, Source
from medgan.store import writable

VERSION = 1
STAGE = "ingest"
LEASE = "ingest-source"
BATCH, BATCH_BYTES = 256, 256 << 20  # settled at the next change of study, or when eight times as large
PROGRESS_EVERY = 64
STATES = ("received", "ingested", "duplicate", "conflict", "quarantined", "refused", "unchanged")
logger = logging.getLogger(__name__)


def ingest(
    source: Source, recipe: IngestRecipe, home: Home, *, on_progress: Callable[[int, int], None] | None = None
) -> Intake:
    """Take in one source. `received` counts new and changed inputs and is the sum of the states they ended in;
    `unchanged` counts those that were known.

    Raises Busy when another intake runs; after everything is recorded, TooManyQuarantined over the limit and
    SourceError when nothing at all was usable.
    """
    with home.identified_ledger.lease(LEASE):
        home.identified.store.sweep()
        desk = _Desk(
            home, digests.keyed(home.pseudonym_key, "source", source.name), Limits(recipe.max_bytes, recipe.max_ratio)
        )
        desk.take_in(source, on_progress or (lambda done, total: None))
    intake = desk.intake()
    received, quarantined = intake.states["received"], intake.states["quarantined"]
    if received and quarantined / received > recipe.max_quarantined:
        raise TooManyQuarantined(
            f"{quarantined} of {received} inputs quarantined, the recipe allows a share of "
            f"{recipe.max_quarantined:g}; see the report of `medgan ingest SOURCE --report FILE`"
        )
    if received and received == quarantined and not intake.states["unchanged"]:
        why = ", ".join(f"{reason.value} ({n})" for reason, n in intake.reasons.items())
        raise SourceError(f"no usable image in this source: all {received} inputs were quarantined as {why}")
    return intake


def pending(home: Home) -> list[IdentifiedStudy]:
    """The live studies of zone one, in a fixed order; those of buried patients are left out."""
    buried = home.identified_ledger.buried()
    studies = [s for s in home.identified.records(STAGE, IdentifiedStudy) if s.patient_key not in buried]
    return sorted(studies, key=lambda study: (study.patient_key, study.study_key))


def report(home: Home, path: Path) -> int:
    """Write sha256, state and reason of every input as CSV; returns how many rows."""
    rows = home.identified_ledger.inputs()
    with path.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("sha256", "state", "reason"))
        writer.writerows((row.sha256, row.state, row.reason.value if row.reason else "") for row in rows)
    return len(rows)


@dataclass(slots=True)
class _Arrival:
    """One input that was read, its row so far, and the images it became (their sha256)."""

    row: Input
    label: str | None = None
    unit: Unit = "patient"
    files: list[str] = field(default_factory=list)


class _Desk:
    """Where inputs arrive: reads them one by one, settles them batch by batch."""

    def __init__(self, home: Home, source: str, limits: Limits) -> None:
        self.home, self.source, self.limits = home, source, limits
        self.zone, self.ledger, self.secret = home.identified, home.identified_ledger, home.pseudonym_key
        self.known, self.buried = self.ledger.known(source), self.ledger.buried()
        self.states: Counter[str] = Counter()
        self.reasons: Counter[Reason] = Counter()
        self.studies: dict[str, IdentifiedStudy] = {}
        self.seen: list[tuple[str, str]] = []

    def take_in(self, source: Source, on_progress: Callable[[int, int], None]) -> None:
        """Read what is new or changed, and settle it batch by batch, a study that lies together at once."""
        batch: list[_Arrival] = []
        with self.zone.store.staging() as landing:
            for done, item in enumerate(source, start=1):
                if done % PROGRESS_EVERY == 0:
                    on_progress(done, len(source))
                arrival = self._look_at(item, landing)
                if arrival is None:
                    continue
                if batch and _is_full(batch, arrival):
                    self.settle(batch, landing, keep=arrival.files)
                    batch = []
                batch.append(arrival)
            if batch:
                self.settle(batch, landing)
        on_progress(len(source), len(source))

    def settle(self, batch: list[_Arrival], landing: Path, *, keep: Sequence[str] = ()) -> None:
        """Decide the state of each arrival, seal the studies they belong to, and record both."""
        keys = [a.row.instance_key for a in batch if a.row.instance_key]
        subjects = [a.row.study_key for a in batch if a.row.study_key]
        judge = _Judge(self, landing, self.ledger.instances(keys), self.ledger.live(STAGE, subjects))
        for arrival in batch:
            judge.decide(arrival)
        entries = []
        for study_key, arrivals in judge.changed.items():
            entry, self.studies[study_key] = self._seal(study_key, arrivals, judge.live.get(study_key), landing)
            entries.append(entry)
        self.ledger.add_inputs([arrival.row for arrival in batch], entries)
        for name in {name for arrival in batch for name in arrival.files} - set(keep):
            (landing / f"{name}.dcm").unlink(missing_ok=True)
        logger.debug("intake: %d inputs settled, %d studies sealed", len(batch), len(judge.changed))

    def intake(self) -> Intake:
        states = {state: self.states[state] for state in STATES}
        batch = digests.keyed(self.secret, "batch", digests.canonical(sorted(self.seen)))
        return Intake(batch=batch, states=states, reasons=dict(self.reasons), studies=tuple(self.studies.values()))

    def count(self, state: str, reason: Reason | None = None) -> None:
        self.states[state] += 1
        if state != "unchanged":
            self.states["received"] += 1
        if reason is not None:
            self.reasons[reason] += 1

    def _look_at(self, item: Item, landing: Path) -> _Arrival | None:
        """Read an input that is new or changed; None when it is known."""
        locator = digests.keyed(self.secret, "locator", item.locator)
        self.seen.append((locator, item.stamp))
        # another version, or other limits, may let in what was refused
        refused = f"{item.stamp}|{VERSION}:{self.limits.max_bytes}:{self.limits.max_ratio:g}"
        if self.known.get(locator) in (item.stamp, refused):
            self.count("unchanged")
            return None
        arrival = self._receive(item, locator, landing)
        if arrival.row.state == "quarantined":
            arrival.row = replace(arrival.row, stamp=refused)
        return arrival

    def _receive(self, item: Item, locator: str, landing: Path) -> _Arrival:
        """Read one input and write the images it holds to `landing`."""
        arrival = _Arrival(Input(self.source, locator, "", item.stamp, item.size, "received"))
        try:
            data = item.read(self.limits)
            arrival.row = replace(arrival.row, sha256=digests.sha256(data), size=len(data))
            for instance in item.instances(data, self.limits):
                name = digests.sha256(instance.data)
                with writable():
                    (landing / f"{name}.dcm").write_bytes(instance.data)
                if not arrival.files:
                    arrival.row = self._keyed(arrival.row, instance.header)
                    arrival.label, arrival.unit = instance.label, instance.unit
                arrival.files.append(name)
        except InputRejected as error:
            arrival.row = replace(arrival.row, state="quarantined", reason=error.reason)
            arrival.files.clear()
        return arrival

    def _keyed(self, row: Input, header: Header) -> Input:
        if header.patient_id:
            patient = digests.patient_key(self.secret, header.patient_id, header.issuer)
        else:  # nobody knows whose: the study is a unit of its own
            patient = digests.keyed(self.secret, "patient of study", header.study_uid)[: digests.SUBJECT_DIGITS]
        return replace(
            row,
            instance_key=digests.keyed(self.secret, "instance", header.sop_instance_uid),
            study_key=digests.study_key(self.secret, header.study_uid),
            patient_key=patient,
        )

    def _seal(
        self, study_key: str, arrivals: list[_Arrival], old: Entry | None, landing: Path
    ) -> tuple[Entry, IdentifiedStudy]:
        """Seal one study: what it held before, and what arrived."""
        folder = landing / study_key
        instances = folder / "instances"
        labels: dict[str, str] = {}
        with writable():
            instances.mkdir(parents=True)
            if old is not None:
                before = self.zone.store.path(old.digest)
                labels = labels_of(before)
                for file in (before / "instances").iterdir():
                    _link(file, instances / file.name)
            for arrival in arrivals:
                for name in arrival.files:
                    (landing / f"{name}.dcm").replace(instances / f"{name}.dcm")
                    labels.pop(name, None)
                    labels.update({name: arrival.label} if arrival.label is not None else {})
            if labels:
                (folder / "labels.json").write_bytes(digests.canonical(labels))
        names = sorted(file.stem for file in instances.iterdir())
        key = digests.key(STAGE, VERSION, names, study=study_key, labels=labels, fingerprint=self.home.key_fingerprint)
        digest = self.zone.store.seal(folder, STAGE, {"stage": STAGE})
        patient = arrivals[0].row.patient_key or ""
        unit: Unit = "image" if any(arrival.unit == "image" for arrival in arrivals) else "patient"
        record = IdentifiedStudy(
            study_key=study_key, patient_key=patient, digest=digest, n_instances=len(names), unit=unit
        )
        return Entry(key, digest, STAGE, record_json(record), study_key, patients=(patient,)), record


class _Judge:
    """Decides the state of each arrival of one batch, in the order of the source."""

    def __init__(self, desk: _Desk, landing: Path, instances: dict[str, str], live: dict[str, Entry]) -> None:
        self.desk, self.landing, self.instances, self.live = desk, landing, instances, live
        self.owners = {k: IdentifiedStudy.model_validate_json(e.record).patient_key for k, e in live.items()}
        self.changed: dict[str, list[_Arrival]] = {}
        self.fresh: dict[str, str] = {}  # keyed UID -> file of an image that this batch takes in

    def decide(self, arrival: _Arrival) -> None:
        """Set the state in the arrival's row, count it, and note its study when that changes."""
        row = arrival.row
        before = self._same_place_and_content(row)
        if before is not None and (before.state != "quarantined" or row.state == "quarantined"):
            arrival.row = replace(before, stamp=row.stamp)
            if before.state == "ingested":
                self._relabel(arrival)
            self.desk.count("unchanged")
            return
        state = row.state if row.state == "quarantined" else self._state(arrival)
        arrival.row = replace(row, state=state)
        self.desk.count(state, row.reason)
        if state == "ingested" and row.instance_key and row.study_key:
            self.instances[row.instance_key] = row.sha256
            self.fresh[row.instance_key] = arrival.files[0]
            self.owners.setdefault(row.study_key, row.patient_key or "")
            self.changed.setdefault(row.study_key, []).append(arrival)

    def _state(self, arrival: _Arrival) -> str:
        row = arrival.row
        if row.patient_key in self.desk.buried:
            return "refused"
        there = self.instances.get(row.instance_key or "")
        if there is not None:
            return "duplicate" if there == row.sha256 or self._same_content(arrival, there) else "conflict"
        # one study of two patients: whose it is cannot be told
        return "ingested" if self.owners.get(row.study_key or "", row.patient_key) == row.patient_key else "conflict"

    def _same_place_and_content(self, row: Input) -> Input | None:
        """The row of this very input, when only its stamp changed (it was copied, touched or relabelled)."""
        if row.locator not in self.desk.known:
            return None
        rows = self.desk.ledger.inputs(source=row.source, locator=row.locator, sha256=row.sha256)
        return rows[0] if rows else None

    def _same_content(self, arrival: _Arrival, there: str) -> bool:
        """Whether two files of one UID differ only in preamble and file meta."""
        fresh = self.fresh.get(arrival.row.instance_key or "")
        if fresh is not None:
            other = self.landing / f"{fresh}.dcm"
        elif (entry := self.live.get(arrival.row.study_key or "")) is not None:
            other = self.desk.zone.store.path(entry.digest) / "instances" / f"{there}.dcm"
        else:
            return False
        mine = self.landing / f"{arrival.files[0]}.dcm"
        return other.is_file() and content_digest(other.read_bytes()) == content_digest(mine.read_bytes())

    def _relabel(self, arrival: _Arrival) -> None:
        study = arrival.row.study_key or ""
        if study not in self.live or not arrival.files:
            return
        labels = labels_of(self.desk.zone.store.path(self.live[study].digest))
        if any(labels.get(name) != arrival.label for name in arrival.files):
            self.changed.setdefault(study, []).append(arrival)


def _is_full(batch: list[_Arrival], coming: _Arrival) -> bool:
    """Whether to settle before `coming`. A study cut in two would be sealed twice."""
    size = max(len(batch) / BATCH, sum(arrival.row.size for arrival in batch) / BATCH_BYTES)
    return size >= 8 or (size >= 1 and batch[-1].row.study_key != coming.row.study_key)


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
