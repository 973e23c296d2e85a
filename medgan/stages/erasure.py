"""Erase patients from both inner zones: tombstone, bytes, rows, unfinished training, registry, proof; in that order.

Pixels of a patient, or features of them, lie in these places and nowhere else:

- sealed artefacts of the stages in PIXELS, in the stores of both zones, whatever their state;
- strays: sealed bytes that no row names, and staging folders, of runs that were killed;
- research/work/KEY: the state of an unfinished training run. It holds weights, no pixels; but it can never be gone on
  with once its cohort is erased, and nothing would name it as one that learned from the patient.

Not pixels, and kept: checkpoints, synthetic cohorts, scorecards, pictures of samples in research/spool and MLflow, and
releases. They are named as stale instead. Logs, Prefect's database and results hold keys and counts only.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from dataclasses import dataclass

from medgan import digest as digests
from medgan.errors import Busy
from medgan.home import Home, Zone
from medgan.ledger import Entry
from medgan.records import Record
from medgan.stages import proof, stale, tracking

# what holds pixels of the patient, or features of them, and is deleted; models and releases are named instead
PIXELS = ("ingest", "aside", "deidentify", "preprocess", "assemble", "quality", "report", "analyze", "findings")
WITHDRAWN, OPTED_OUT = "withdrawn", "opted_out"


class Erasure(Record):
    """What an erasure did, in counts and digests."""

    tombstones: int  # made by this call, one a pseudonym
    deleted: dict[str, int]  # artefacts by stage; "work": unfinished training runs
    inputs: int
    erased_cohorts: tuple[str, ...]  # real ones that held them; the next preprocessing makes others
    stale_cohorts: tuple[str, ...]  # synthetic ones, of a model that learned from them
    stale_checkpoints: tuple[str, ...]
    stale_releases: tuple[str, ...]
    retired: tuple[str, ...] = ()  # model versions tagged in the registry, as NAME VERSION
    aliases: tuple[str, ...] = ()  # taken away from them, as NAME@ALIAS
    proof: str = ""  # file in identified/withdrawals/proofs; also that of an earlier call for the same patients


@dataclass(frozen=True, slots=True)
class Removed:
    """What one removal took away."""

    deleted: dict[str, int]
    inputs: int
    cohorts: tuple[str, ...]


def bury(keys: Iterable[str], home: Home, *, why: str) -> int:
    """Leave tombstones for these persons, under every pseudonym, in both zones; returns how many are new.

    First it is noted what must be trained anew, so that nothing of that is lost when this is cut off.
    """
    ledgers = (home.identified_ledger, home.research.ledger)
    everyone = ledgers[0].everyone_like(keys)
    here, there = (ledger.buried() for ledger in ledgers)
    new = everyone - (here & there)
    if new:
        stale.ask(here & there, here | there | everyone, home)
    if why == WITHDRAWN:  # an opt-out may be taken back, a withdrawal may not
        new |= everyone & ledgers[0].buried(OPTED_OUT) | everyone & ledgers[1].buried(OPTED_OUT)
    for key in sorted(new):
        for ledger in ledgers:
            ledger.bury(key, why)
    return len(everyone - here)


def erase(keys: Iterable[str], home: Home, *, why: str) -> Erasure:
    """Erase these persons, under every pseudonym of theirs. A second call finds nothing to do.

    The caller holds the leases of pipeline and intake. Raises ConnectionError when the registry is away, after
    everything else is done; called again, it goes on there.
    """
    everyone = home.identified_ledger.everyone_like(keys)
    draft = proof.open_draft(home, why, everyone)
    if not everyone <= home.identified_ledger.buried() & home.research.ledger.buried():
        draft.begin()
    tombstones = bury(everyone, home, why=why)
    removed = remove(everyone, home, draft)
    saw = stale.learned_from(everyone, home)
    to_prove = saw.checkpoints if draft.open else ()
    versions, aliases = _retired({*home.research.ledger.requested(stale.RETIRE), *to_prove}, home)
    done = Erasure(
        tombstones=tombstones,
        deleted=removed.deleted,
        inputs=removed.inputs,
        erased_cohorts=removed.cohorts,
        stale_cohorts=saw.cohorts,
        stale_checkpoints=saw.checkpoints,
        stale_releases=saw.releases,
        retired=versions,
        aliases=aliases,
    )
    name = draft.close(_facts(done, everyone, home), anew=bool(tombstones or sum(removed.deleted.values())))
    home.research.ledger.answered(stale.RETIRE)
    return done.model_copy(update={"proof": name})


def left(home: Home, why: str) -> set[str]:
    """Pseudonyms with this tombstone of which something is still held: an erasure was cut off, or had to wait."""
    zones = [(zone, _held(zone)) for zone in (home.identified, home.research)]
    everyone = home.identified_ledger.everyone_like(home.identified_ledger.buried(why))
    return {
        key for key in everyone for zone, held in zones if not held.keys().isdisjoint(zone.ledger.artefacts_of(key))
    }


def remove(keys: Iterable[str], home: Home, draft: proof.Draft | None = None) -> Removed:
    """Delete everything that holds pixels of these pseudonyms, bytes first, then the row that names them."""
    keys, deleted = sorted(keys), dict.fromkeys((*PIXELS, "work"), 0)
    found = [(zone, entry) for zone in (home.identified, home.research) for entry in _theirs(zone, keys)]
    if draft is not None:
        draft.note((entry.stage, entry.digest) for _, entry in found)
    for zone, entry in found:
        zone.store.drop(entry.digest)
        zone.ledger.forget(entry.digest)
        if entry.stage == "ingest":
            home.research.ledger.take_back(entry.subject)
            # whoever else's images were said to be of this study: it is free now
            home.identified_ledger.reconsider(study_key=entry.subject, state="conflict")
        deleted[entry.stage] += 1
    inputs = sum(home.identified_ledger.withdraw_inputs(key) for key in keys)
    for zone in (home.identified, home.research):  # bytes of a killed run, which no row names
        for digest in zone.strays():
            zone.store.drop(digest)
        zone.store.sweep()
    deleted["work"] = _end_runs(home)
    cohorts = {entry.digest for _, entry in found if entry.stage == "assemble"}
    return Removed(deleted, inputs, tuple(sorted(cohorts)))


def _held(zone: Zone) -> dict[str, Entry]:
    return {entry.digest: entry for stage in PIXELS for entry in zone.ledger.entries(stage, state=None)}


def _theirs(zone: Zone, keys: Iterable[str]) -> list[Entry]:
    held, theirs = _held(zone), {digest for key in keys for digest in zone.ledger.artefacts_of(key)}
    return [held[digest] for digest in sorted(held.keys() & theirs)]


def _end_runs(home: Home) -> int:
    """Drop unfinished training runs whose cohort is gone, or that nothing says the cohort of; returns how many."""
    ended = 0
    for folder in sorted(home.work.glob("*/")):
        cohort = _cohort_of(folder.name, home)
        if not cohort or not home.research.store.has(cohort):
            shutil.rmtree(folder)
            ended += 1
    return ended


def _cohort_of(run: str, home: Home) -> str:
    """The cohort that a training run said it was on, in the spool it keeps for the registry."""
    from medgan.registry.tracking import read_spool

    for file in sorted(tracking.spool_file(home, "*").parent.glob(f"train-*-{run[:12]}.jsonl")):
        for row in read_spool(file):
            if row["kind"] == "tags" and "cohort" in row["values"]:
                return str(row["values"]["cohort"])
    return ""


def _retired(checkpoints: set[str], home: Home) -> tuple[tuple[str, ...], tuple[str, ...]]:
    if not checkpoints:
        return (), ()
    try:
        with home.research.ledger.lease("registry"):
            return stale.retire(checkpoints, home)
    except Busy:
        raise ConnectionError("everything was erased, but the registry is in use by a release; run it again") from None
    except ConnectionError:
        raise ConnectionError(
            "everything was erased, but MLflow is away: models that learned from these patients may still be "
            "champion there; run the same once more when it is back"
        ) from None


def _facts(done: Erasure, everyone: set[str], home: Home) -> dict[str, object]:
    """What the proof says beside the counts of its draft; no pseudonym is in it."""
    ledger = home.identified_ledger
    rows = sum(len(ledger.inputs(patient_key=key, state="withdrawn")) for key in sorted(everyone))
    held = sum(len(_theirs(zone, everyone)) for zone in (home.identified, home.research))
    return {
        "tombstones": len(everyone & ledger.buried() & home.research.ledger.buried()),
        "inputs": rows,
        "left": held,
        "stale_cohorts": done.stale_cohorts,
        "stale_checkpoints": done.stale_checkpoints,
        "stale_releases": done.stale_releases,
        "registry": {"versions": done.retired, "aliases": done.aliases},
        "ledgers": {
            name: _state(zone) for name, zone in (("identified", home.identified), ("research", home.research))
        },
    }


def _state(zone: Zone) -> str:
    """sha256 over what this zone's ledger holds and whom it has buried."""
    return digests.sha256(digests.canonical([zone.ledger.live_digests(), sorted(zone.ledger.buried())]))
