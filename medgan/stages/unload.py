"""Take in what was pushed to the inbox: a study when nothing more of it came for a while.

An arrival's file leaves the inbox only after it is recorded; what cannot be taken in is sealed aside first, since
its sender was told that we have it.
"""

from __future__ import annotations

import itertools
import json
from collections import deque
from collections.abc import Callable, Iterator, Set
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from medgan import digest as digests
from medgan.home import Home
from medgan.ledger_inputs import PUSHED, Input
from medgan.recipes import IngestRecipe
from medgan.sources.inbox import Inbox, Pushed
from medgan.sources.readers import Readers
from medgan.sources.reading import Reading, Task
from medgan.stages.desk import ASIDE, Arrival, Desk, put_back
from medgan.stages.judge import judge_and_settle
from medgan.store import writable

AHEAD, BATCH = 64, 256
PROGRESS_EVERY = 64


def unload(
    inbox: Inbox, desk: Desk, recipe: IngestRecipe, readers: Readers, landing: Path, told: Callable[[int, int], None]
) -> None:
    """Read everything that waits, and settle the studies of which no image came within the recipe's window."""
    _put_back_reconsidered(desk)
    studies: dict[tuple[str, str], list[tuple[Arrival, float]]] = {}
    for arrival, at in _arrivals(inbox.files(), desk, recipe, readers, landing, told):
        studies.setdefault((arrival.row.source, arrival.row.study_key or arrival.row.locator), []).append((arrival, at))
    batch: list[Arrival] = []
    for arrivals in studies.values():
        readable = arrivals[0][0].row.study_key is not None
        if readable and desk.ledger.clock() - max(at for _, at in arrivals) < recipe.stability_s:
            desk.tally["waiting"] += 1
            continue
        batch += [arrival for arrival, _ in arrivals]
        if len(batch) >= BATCH:
            judge_and_settle(batch, desk, landing)
            batch = []
    if batch:
        judge_and_settle(batch, desk, landing)


def _put_back_reconsidered(desk: Desk) -> None:
    """What was set aside and is to be judged again (see Ledger.reconsider) goes back into the inbox first."""
    for entry in desk.ledger.entries(ASIDE):
        rows = desk.ledger.inputs(locator=entry.subject, sha256=json.loads(entry.record)["sha256"])
        if any(row.stamp == "" for row in rows) and desk.zone.store.has(entry.digest):
            put_back(entry, desk.home)


def forget_pushed(keys: Set[str], home: Home) -> int:
    """Delete what waits in the inbox of these patients (by pseudonym, or keyed id); returns how many files went."""
    files, secret, gone = Inbox(home.inbox).files(), home.pseudonym_key, 0
    if not files:
        return 0
    with Readers(1) as readers, home.identified.store.staging() as landing:
        for number, pushed in enumerate(files):
            reading = readers.submit(_lent(pushed, landing / f"{number}")).result()
            owner = (reading.header.patient_id, reading.header.issuer) if reading.header else reading.owner
            if owner is None or not owner[0]:
                continue
            if not keys.isdisjoint((digests.patient_key(secret, *owner), digests.id_key(secret, owner[0]))):
                pushed.path.unlink(missing_ok=True)
                gone += 1
    return gone


def _lent(pushed: Pushed, folder: Path, **limits: Any) -> Task:
    """A second name for a pushed file, to be read under."""
    with writable():
        folder.mkdir()
        (folder / "raw").hardlink_to(pushed.path)
    return Task(folder / "raw", **limits)


def _arrivals(
    files: list[Pushed],
    desk: Desk,
    recipe: IngestRecipe,
    readers: Readers,
    landing: Path,
    told: Callable[[int, int], None],
) -> Iterator[tuple[Arrival, float]]:
    ahead: deque[tuple[Pushed, Path, Future[Reading]]] = deque()
    for done, pushed in enumerate(itertools.chain(files, [None] * AHEAD), start=1):
        if pushed is not None:
            folder = landing / f"{done}"
            task = _lent(pushed, folder, max_bytes=recipe.max_bytes, max_ratio=recipe.max_ratio)
            ahead.append((pushed, folder, readers.submit(task)))
        if ahead and (pushed is None or len(ahead) > AHEAD):
            first, folder, reading = ahead.popleft()
            yield _arrival(desk, first, folder, reading.result()), first.at
        if done % PROGRESS_EVERY == 0 and done <= len(files):
            told(done, len(files))
    told(len(files), len(files))


def _arrival(desk: Desk, pushed: Pushed, folder: Path, reading: Reading) -> Arrival:
    """Its place is its sender and its UID: the same sender saying something new of an instance corrects it."""
    uid = reading.header.sop_instance_uid if reading.header else f"?{reading.sha256}"
    locator = desk.locator(f"inbox/{pushed.sender}/{uid}")
    row = Input(desk.source_key(f"inbox/{pushed.sender}"), locator, "", PUSHED, 0, "received")
    arrival = desk.arrival(row, reading, folder)
    arrival.spool = pushed.path
    return arrival
