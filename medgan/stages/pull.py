"""Pull what changed from an archive behind a network: poll, fetch study by study, settle, and see what is gone.

A poll notes what the archive holds and how far its change log was read in one transaction; from then on a changed
study is owed until the transaction that records its images. Killed anywhere, the next run goes on with what is owed.
"""

from __future__ import annotations

import contextlib
import logging
import queue
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from medgan import digest as digests
from medgan.errors import HomeError, MedganError, Reason, SourceError
from medgan.ledger_inputs import Held, Input
from medgan.recipes import IngestRecipe
from medgan.sources.entry import Limits
from medgan.sources.readers import Readers
from medgan.sources.reading import Reading, Task
from medgan.sources.server import Holding, Server
from medgan.stages.desk import Arrival, Desk
from medgan.stages.judge import Judge
from medgan.store import writable

CHUNK, CHUNK_BYTES = 2048, 2 << 30  # a larger study is settled in parts, and gone on with after a kill
BATCH, LINGER_S, LOOK_S = 512, 1.0, 0.05  # small studies are settled together
FEW = 10  # so many studies may always vanish at once
TRIES = 3  # studies that fail one after the other, before the rest is left to the next run
logger = logging.getLogger(__name__)


@dataclass(slots=True)
class _Chunk:
    """Readings of one study, in the order they came; `last` when there are no more, `failed` when not all came."""

    held: Held
    folder: Path
    readings: list[Reading]
    last: bool = False
    failed: MedganError | None = None


def pull(
    server: Server, desk: Desk, recipe: IngestRecipe, readers: Readers, landing: Path, told: Callable[[int, int], None]
) -> None:
    """Take in what changed at the archive since the last time.

    Raises SourceError when the archive failed, or lost more studies than the recipe allows; what came is recorded.
    """
    source = desk.source_key(server.name)
    known = desk.ledger.held(source)
    gone, whole = _poll(server, source, desk, recipe)
    lost = recipe.max_gone < 1 and (len(gone) == known or len(gone) > max(FEW, recipe.max_gone * known))
    if not lost:  # before anything is fetched: what moved from one study to another is free to be taken in there
        _see_off(gone, source, desk, landing)
        if whole:
            desk.ledger.compared(source)
    if recipe.refetch_s:
        desk.ledger.refetch(source, desk.ledger.clock() - recipe.refetch_s)
    due = []
    for held in desk.ledger.owed(source):
        if held.settled or desk.ledger.clock() - held.changed_at >= recipe.stability_s:
            due.append(held)
        else:
            desk.tally["waiting"] += 1
    _Pull(server, source, desk, recipe, readers, landing, told).take_in(due)
    if gone and lost:
        raise SourceError(
            f"{len(gone)} of {known} studies that this archive held are gone at once, the recipe allows a share of "
            f"{recipe.max_gone:g}; nothing was deleted. If they were deleted on purpose, run once with max_gone = 1"
        )


def _poll(server: Server, source: str, desk: Desk, recipe: IngestRecipe) -> tuple[list[Held], bool]:
    """Note what the archive says it holds; returns what it does not hold any more, and whether it told everything."""
    now, cursor = desk.ledger.clock(), desk.ledger.cursor(source)
    poll = server.poll(cursor.cursor, whole=now - cursor.whole_at >= recipe.reconcile_s)
    listed = [_held(holding, desk, now) for holding in poll.holdings]
    desk.tally["compared"] += len(listed)
    desk.seen += [(held.place, held.stamp) for held in listed]
    return desk.ledger.note_poll(source, poll.cursor, listed, whole=poll.whole), poll.whole


def _held(holding: Holding, desk: Desk, now: float) -> Held:
    return Held(
        place=desk.study_key(holding.study_uid),
        address=holding.study_uid,
        stamp=digests.keyed(desk.secret, "stamp", holding.stamp),
        changed_at=now - (holding.age_s or 0.0),
        settled=holding.settled,
        expected=holding.expected,
    )


class _Pull:
    """Fetches in threads, one a study, through a bounded queue; judges and settles in the thread that called."""

    def __init__(
        self,
        server: Server,
        source: str,
        desk: Desk,
        recipe: IngestRecipe,
        readers: Readers,
        landing: Path,
        told: Callable[[int, int], None],
    ) -> None:
        self.server, self.source, self.desk, self.readers = server, source, desk, readers
        self.landing, self.told, self.patience_s = landing, told, recipe.patience_s
        self.limits = Limits(recipe.max_bytes, recipe.max_ratio)
        self.chunks: queue.Queue[_Chunk] = queue.Queue(2 * server.connections)
        self.stop = threading.Event()
        self.seen: set[str] = set()  # places of which something came before, maybe in a pull that was killed
        self.unread: set[str] = set()  # places of which something came that could not be told apart
        self.again: set[str] = set()  # places that must be asked once more
        self.arrived: dict[str, set[str]] = {}  # place -> locators that came, of studies that come in several chunks

    def take_in(self, due: list[Held]) -> None:
        """Fetch and settle these studies. Raises the first error of the archive after the rest was settled."""
        self.seen = self.desk.ledger.studies_seen(self.source, [held.place for held in due])
        in_a_row = 0
        total, done = sum(held.expected or 1 for held in due), 0
        failures: list[MedganError] = []
        with ThreadPoolExecutor(self.server.connections, thread_name_prefix="pull") as pool:
            jobs = [pool.submit(self._fetch, held) for held in due]
            try:
                while ready := self._ready(jobs):
                    self._settle(ready)
                    done += sum(len(chunk.readings) for chunk in ready)
                    self.told(min(done, total), total)
                    for chunk in ready:
                        failures += [chunk.failed] if chunk.failed else []
                        in_a_row = in_a_row + 1 if chunk.failed else in_a_row * (not chunk.last)
                    if in_a_row >= TRIES:
                        for job in jobs:
                            job.cancel()
            finally:
                self.stop.set()
                for job in jobs:
                    job.cancel()
        for job in jobs:
            if not job.cancelled():
                job.result()  # a bug in a thread is told, not lost
        if failures:
            left = len(self.desk.ledger.owed(self.source))
            raise SourceError(f"{failures[0]} ({len(failures)} studies did not come whole, {left} are still owed)")

    def _ready(self, jobs: Sequence[Future[None]]) -> list[_Chunk]:
        """Chunks to settle together: as many as make a batch, or come within a second; none when all jobs ended."""
        ready: list[_Chunk] = []
        deadline = time.monotonic() + LINGER_S
        while sum(len(chunk.readings) for chunk in ready) < BATCH:
            ended = all(job.done() for job in jobs)
            try:
                ready.append(self.chunks.get(block=not ended, timeout=LOOK_S))
            except queue.Empty:
                if ended or (ready and time.monotonic() > deadline):
                    break
        return ready

    def _fetch(self, held: Held) -> None:
        """In a thread: bring one study, and have each file read as it arrives."""
        folder = self.landing / f"pull-{held.place}"
        failed: MedganError | None = None
        futures: list[Future[Reading]] = []
        try:
            with writable():
                folder.mkdir()
                size = 0
                for path in self.server.fetch(held.address, folder, self.limits, self._has(held)):
                    size += path.stat().st_size
                    task = Task(path, max_bytes=self.limits.max_bytes, max_ratio=self.limits.max_ratio)
                    futures.append(self.readers.submit(task))
                    if len(futures) >= CHUNK or size >= CHUNK_BYTES:
                        self._hand_over(_Chunk(held, folder, [future.result() for future in futures]))
                        futures, size = [], 0
                    if self.stop.is_set():
                        return
        except (SourceError, HomeError) as error:
            failed = error
        readings = [future.result() for future in futures]
        self._hand_over(_Chunk(held, folder, readings, last=True, failed=failed))

    def _hand_over(self, chunk: _Chunk) -> None:
        """Wait for room in the queue: a slow disk holds the archive back."""
        while not self.stop.is_set():
            with contextlib.suppress(queue.Full):
                self.chunks.put(chunk, timeout=0.5)
                return

    def _has(self, held: Held) -> Callable[[str], bool]:
        """Whether an instance of the present state of a study was settled before a kill."""
        here = self._here(held)
        return (lambda uid: self._locator(held, uid) in here) if here else (lambda uid: False)

    def _here(self, held: Held) -> set[str]:
        """Locators of what was settled of the present state of a study in an earlier pull."""
        rows = self._before(held)
        return {row.locator for row in rows if row.stamp == held.stamp and row.state != "superseded"}

    def _before(self, held: Held) -> list[Input]:
        """Everything that came of a study from this archive."""
        if held.place not in self.seen:
            return []
        return self.desk.ledger.inputs(source=self.source, study_key=held.place)

    def _locator(self, held: Held, sop_instance_uid: str) -> str:
        return self.desk.locator(f"{held.address}/{sop_instance_uid}")

    def _settle(self, chunks: list[_Chunk]) -> None:
        """Judge and record what came; a study that came whole is owed no longer."""
        self.desk.home.require_room()
        arrivals: list[Arrival] = []
        leaving: list[Input] = []
        taken: dict[str, tuple[str, str, str]] = {}
        for chunk in chunks:
            held, came = chunk.held, list(self._arrivals(chunk))
            seen = self.arrived.setdefault(held.place, set())
            seen.update(arrival.row.locator for arrival in came)
            if any(arrival.row.instance_key is None for arrival in came):
                self.unread.add(held.place)
            arrivals += came
            if chunk.last and chunk.failed is None and self._is_whole(held, seen):
                taken[held.place] = (self.source, held.place, held.stamp)
                leaving += self._missing(held, seen)
            elif chunk.last:
                self.desk.tally["waiting"] += 1
        partial = {chunk.held.place for chunk in chunks} - set(taken)
        judge = Judge(self.desk, arrivals, leaving, closing=taken)
        judge.decide()
        self.again |= judge.again
        done = [taken[place] for place in taken if place not in self.again]
        self.desk.settle(judge, self.landing, partial=partial, closed=taken, taken=done)
        self.seen.update(chunk.held.place for chunk in chunks if not chunk.last)
        for chunk in chunks:
            if chunk.last:
                self.arrived.pop(chunk.held.place, None)
                shutil.rmtree(chunk.folder, ignore_errors=True)

    def _arrivals(self, chunk: _Chunk) -> Iterator[Arrival]:
        held = chunk.held
        for reading in chunk.readings:
            uid = reading.header.sop_instance_uid if reading.header else f"?{reading.sha256}"
            row = Input(self.source, self._locator(held, uid), "", held.stamp, 0, "received", study_key=held.place)
            if reading.header is not None and reading.header.study_uid != held.address:
                reading = Reading(reading.sha256, reading.size, reason=Reason.WRONG_STUDY)
            yield self.desk.arrival(row, reading, chunk.folder)

    def _is_whole(self, held: Held, seen: set[str]) -> bool:
        """Whether all came that the archive announced; after some patience, what came is all, but never nothing."""
        there = seen | self._here(held)
        patient = self.desk.ledger.clock() - held.noted_at < self.patience_s
        return bool(there) and (held.expected is None or len(there) >= held.expected or not patient)

    def _missing(self, held: Held, seen: set[str]) -> list[Input]:
        """What came of this study earlier, and is not in it any more: it may be what came now and could not be read."""
        if held.place in self.unread:
            return []
        rows = self._before(held)
        return [row for row in rows if row.locator not in seen and row.stamp != held.stamp]


def _see_off(gone: list[Held], source: str, desk: Desk, landing: Path) -> None:
    """What an archive does not hold any more leaves."""
    for held in gone:
        judge = Judge(desk, [], desk.ledger.inputs(source=source, study_key=held.place))
        judge.decide()
        desk.settle(judge, landing, left=[(source, held.place)])
        desk.tally["gone"] += 1
