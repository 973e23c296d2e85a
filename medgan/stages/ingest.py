"""Take in what a source holds: every input ends in exactly one state, every study is sealed in zone one.

Files are read by child processes (sources/readers.py), judged here (judge.py) and settled batch by batch
(desk.py). A source that did not change is not read again; an archive behind a network is asked what changed
(pull.py).
"""

from __future__ import annotations

import csv
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path

from medgan.errors import InputRejected, SourceError, TooManyQuarantined
from medgan.home import Home
from medgan.ledger_inputs import Input
from medgan.parallel import cores
from medgan.recipes import IngestRecipe
from medgan.records import IdentifiedStudy, Intake
from medgan.sources.entry import Limits
from medgan.sources.inbox import Inbox
from medgan.sources.readers import Readers
from medgan.sources.reading import Reading
from medgan.sources.server import Server
from medgan.sources.source import Item, Source
from medgan.stages import eligibility, merges
from medgan.stages.desk import LEASE, STAGE, VERSION, Arrival, Desk
from medgan.stages.judge import judge_and_settle
from medgan.stages.pull import pull
from medgan.stages.unload import unload
from medgan.store import writable

BATCH, BATCH_BYTES = 256, 256 << 20  # settled at the next change of study, or when eight times as large
AHEAD = 64  # files that are read ahead of the one that is settled
PROGRESS_EVERY = 64
Told = Callable[[int, int], None]


def ingest(
    source: Source | Server | Inbox, recipe: IngestRecipe, home: Home, *, on_progress: Told | None = None
) -> Intake:
    """Take in one source. `received` counts new and changed inputs and is the sum of the states they ended in;
    `unchanged` counts those that were known.

    Raises Busy when another intake runs, HomeError when the disk has less room than its reserve; after everything is
    recorded, TooManyQuarantined over the limit and SourceError when an archive failed or nothing at all was usable.
    """
    told = on_progress or (lambda done, total: None)
    with home.identified_ledger.lease(LEASE):
        home.identified.store.sweep()
        desk = _open_desk(recipe, home)
        with (
            Readers(cores(), seconds=recipe.max_seconds, memory=recipe.max_memory) as readers,
            home.identified.store.staging() as landing,
        ):
            if isinstance(source, Source):
                _take_in(source, desk, recipe, readers, landing, told)
            elif isinstance(source, Inbox):
                unload(source, desk, recipe, readers, landing, told)
            else:
                pull(source, desk, recipe, readers, landing, told)
    intake = desk.intake()
    _check(intake, recipe)
    return intake


def pending(home: Home) -> list[IdentifiedStudy]:
    """The live studies of zone one, in a fixed order; those of buried patients are left out."""
    ledger = home.identified_ledger
    buried = ledger.everyone_like(ledger.buried())
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


def settle_people(home: Home) -> None:
    """Bring merges and the lists of consent and opt-out into force. Raises Busy when an intake is at work.

    Each intake does so; a run that holds the lease of the pipeline does it before, since nothing is erased under it.
    """
    with home.identified_ledger.lease(LEASE):
        _settle_people(home)


def _settle_people(home: Home) -> None:
    merges.apply(home)
    eligibility.enforce(home)


def _open_desk(recipe: IngestRecipe, home: Home) -> Desk:
    """A desk that knows who may enter; what other rules refused is looked at again."""
    home.require_room()
    _settle_people(home)
    lists, ledger = eligibility.read(home), home.identified_ledger
    limits = (VERSION, recipe.max_bytes, recipe.max_ratio, recipe.max_memory, recipe.max_seconds)
    ledger.reconsider_by_rule("rule: limits", ":".join(map(str, limits)), "quarantined")
    ledger.reconsider_by_rule("rule: eligibility", lists.digest, "refused")
    return Desk(home, lists)


def _check(intake: Intake, recipe: IngestRecipe) -> None:
    received, quarantined = intake.states["received"], intake.states["quarantined"]
    if received and quarantined / received > recipe.max_quarantined:
        raise TooManyQuarantined(
            f"{quarantined} of {received} inputs quarantined, the recipe allows a share of "
            f"{recipe.max_quarantined:g}; see the report of `medgan ingest SOURCE --report FILE`"
        )
    if received and received == quarantined and not intake.states["unchanged"]:
        why = ", ".join(f"{reason.value} ({n})" for reason, n in intake.reasons.items())
        raise SourceError(f"no usable image in this source: all {received} inputs were quarantined as {why}")


def _take_in(source: Source, desk: Desk, recipe: IngestRecipe, readers: Readers, landing: Path, told: Told) -> None:
    """Read what is new or changed, and settle it batch by batch, a study that lies together at once."""
    batch: list[Arrival] = []
    for arrival in _arrivals(source, desk, Limits(recipe.max_bytes, recipe.max_ratio), readers, landing, told):
        if batch and _is_full(batch, arrival):
            judge_and_settle(batch, desk, landing)
            batch = []
        batch.append(arrival)
    if batch:
        judge_and_settle(batch, desk, landing)
    told(len(source), len(source))


def _arrivals(
    source: Source, desk: Desk, limits: Limits, readers: Readers, landing: Path, told: Told
) -> Iterator[Arrival]:
    """What is new or changed, in the order of the source; a few files are read ahead."""
    key = desk.source_key(source.name)
    known = desk.ledger.known(key)
    ahead: deque[tuple[Input, Item, Path, Future[Reading]]] = deque()
    for done, item in enumerate(source, start=1):
        if done % PROGRESS_EVERY == 0:
            told(done, len(source))
        locator = desk.locator(item.locator)
        desk.seen.append((locator, item.stamp))
        if known.get(locator) == item.stamp:
            desk.count("unchanged")
            continue
        row = Input(key, locator, "", item.stamp, item.size, "received")
        folder = landing / f"{done}"
        ahead.append((row, item, folder, _reading(item, folder, limits, readers)))
        if len(ahead) > AHEAD:
            yield _arrival(desk, *ahead.popleft())
    for waiting in ahead:
        yield _arrival(desk, *waiting)


def _reading(item: Item, folder: Path, limits: Limits, readers: Readers) -> Future[Reading]:
    """Bring one input into a folder of its own and have it read there."""
    try:
        with writable():
            return readers.submit(item.task(folder, limits))
    except InputRejected as error:
        refused: Future[Reading] = Future()
        refused.set_result(Reading("", item.size, reason=error.reason))
        return refused


def _arrival(desk: Desk, row: Input, item: Item, folder: Path, reading: Future[Reading]) -> Arrival:
    return desk.arrival(row, reading.result(), folder, item.hints.label)


def _is_full(batch: list[Arrival], coming: Arrival) -> bool:
    """Whether to settle before `coming`. A study cut in two would be sealed twice."""
    size = max(len(batch) / BATCH, sum(arrival.row.size for arrival in batch) / BATCH_BYTES)
    return size >= 8 or (size >= 1 and batch[-1].row.study_key != coming.row.study_key)
