"""Folder to folder, by instance, without a home: what is clean is written, the rest stays where it is and is counted.

Two passes: whose is each file, then study by study. Studies are done side by side in children; a run that was killed
goes on where it was, and ends with the bytes of one that was not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from medgan import digest as digests
from medgan.errors import Reason, TooManyQuarantined, UsageError
from medgan.keys import Key
from medgan.recipes import DeidentifyRecipe
from medgan.stages.destination import Entry, open_destination
from medgan.stages.folder_account import Account, write_listing, write_reports
from medgan.stages.folder_study import Bench, Work, deidentify_study, given_up
from medgan.stages.gate_one import profile_of
from medgan.stages.originals import Original, Place, places, read_originals
from medgan.workers import Workers

VERSION = 3  # bump when the same files and recipe should give other files
CHUNK, CHUNK_BYTES = 64, 64 << 20  # inputs of the first pass that are handed out together
ASKED_K = 5
Told = Callable[[int, int], None]


def deidentify_folder(
    src: Path,
    dst: Path,
    *,
    key: bytes,
    recipe: DeidentifyRecipe | None = None,
    workers: int = 0,
    listing: Path | None = None,
    asked_k: int = ASKED_K,
    on_read: Told | None = None,
    on_progress: Told | None = None,
) -> dict[str, Any]:
    """De-identify every DICOM file of a folder, an archive or a file into `dst`; what is returned lies there as JSON.

    Each input is counted once: written, duplicate, rebuilt (a DICOMDIR) or quarantined. `workers`: children; 0 does
    it in this process. `listing`: a CSV of sha256, state and reason of every input. Raises UsageError, SourceError,
    HomeError and Busy.
    """
    recipe = recipe or DeidentifyRecipe()
    made_with = _made_with(recipe, key)
    _check_apart(src, dst, listing)
    found = places(src)
    with open_destination(dst, key, made_with) as destination, Workers(workers) as children:
        account = Account(_first_pass(found, children, on_read or _unheard))
        bench = Bench(destination, recipe, key)
        works = _works(account, bench)
        entries = []
        for work, entry in _second_pass(works, bench, children, on_progress or _unheard):
            account.states |= {sha256: entry.inputs[bench.input_id(sha256)] for sha256 in work.inputs()}
            entries.append(entry)
        report = write_reports(account, sorted(entries, key=lambda one: one.key), bench, asked_k)
    if listing is not None:
        write_listing(account, listing)
    return report


def require_within(report: dict[str, Any], limit: float) -> None:
    """Raises TooManyQuarantined when more than that share of the inputs was quarantined, or nothing came through."""
    quarantined = sum(report["quarantined"].values())
    if quarantined > limit * report["files"] or (quarantined and not report["written"]):
        most = sorted(report["quarantined"].items(), key=lambda one: -one[1])[:3]
        raise TooManyQuarantined(
            f"{quarantined} of {report['files']} inputs quarantined, the recipe allows a share of {limit:g}; "
            f"most often: {', '.join(f'{reason} ({n})' for reason, n in most)}; see docs/errors.md for what to do"
        )


def _made_with(recipe: DeidentifyRecipe, key: bytes) -> dict[str, Any]:
    applied = profile_of(recipe)
    return {
        "key": Key(key).id,
        "profile": applied.name,
        "profile digest": applied.digest[:16],
        "version": VERSION,
        "ocr_side": recipe.ocr_side,
        "max_date_shift_days": recipe.max_date_shift_days,
    }


def _check_apart(src: Path, dst: Path, listing: Path | None) -> None:
    a, b = src.resolve(), dst.resolve()
    if a.is_relative_to(b) or b.is_relative_to(a):
        raise UsageError("SRC and DST lie inside each other; name a DST elsewhere")
    if listing is not None and listing.resolve().is_relative_to(b):
        raise UsageError("--report lies inside DST; it says which input is which, so keep it elsewhere")


def _first_pass(found: Sequence[Place], workers: Workers, told: Told) -> list[Original]:
    """Whose each input is, in the order of the source."""
    originals: list[Original] = []
    alone: list[Place] = []  # of chunks in which something killed its child
    for chunk, some in workers.spread(_chunks(found), read_originals, lambda chunk: []):
        originals += some
        alone += chunk[len(some) :]
        told(len(originals), len(found))
    for _, some in workers.spread(([place] for place in alone), read_originals, _poisonous):
        originals += some
        told(len(originals), len(found))
    order = {(place.path, place.member): number for number, place in enumerate(found)}
    return sorted(originals, key=lambda one: order[(one.place.path, one.place.member)])


def _poisonous(some: Sequence[Place]) -> list[Original]:
    return [Original(place, reason=Reason.POISON) for place in some]


def _chunks(found: Iterable[Place]) -> Iterator[list[Place]]:
    chunk: list[Place] = []
    for place in found:
        if chunk and (len(chunk) >= CHUNK or sum(one.size for one in chunk) + place.size > CHUNK_BYTES):
            yield chunk
            chunk = []
        chunk.append(place)
    if chunk:
        yield chunk


def _works(account: Account, bench: Bench) -> list[Work]:
    """The studies to do, in the order of their keys.

    An instance that several studies or patients claim stays with the first; the others are set aside (bad_uid).
    """
    studies: dict[str, dict[str, dict[str, Place]]] = {}
    claimed: dict[str, tuple[str, str]] = {}
    for original in sorted(account.of_studies(), key=lambda one: (one.header.study_uid, one.sha256)):
        owner = (original.header.study_uid, _owner(original, bench.secret))
        if original.header.sop_instance_uid and claimed.setdefault(original.header.sop_instance_uid, owner) != owner:
            account.states[original.sha256] = Reason.BAD_UID.value
            continue
        studies.setdefault(owner[0], {}).setdefault(owner[1], {}).setdefault(original.sha256, original.place)
    return sorted((_work(study, people, bench.secret) for study, people in studies.items()), key=lambda one: one.key)


def _work(study: str, people: dict[str, dict[str, Place]], secret: bytes) -> Work:
    content = {patient: sorted(found) for patient, found in people.items()}
    inputs_digest = digests.keyed(secret, "inputs", digests.canonical(content))
    return Work(digests.study_key(secret, study), inputs_digest, dict(sorted(people.items())))


def _owner(original: Original, secret: bytes) -> str:
    """The patient key of a file; a study without a patient is a patient of its own."""
    header = original.header
    if header.patient_id:
        return digests.patient_key(secret, header.patient_id, header.issuer)
    return digests.keyed(secret, "patient of study", header.study_uid)[: digests.SUBJECT_DIGITS]


def _second_pass(works: Sequence[Work], bench: Bench, workers: Workers, told: Told) -> Iterator[tuple[Work, Entry]]:
    """The entry of each study, found or made."""
    done, total = 0, sum(len(list(work.inputs())) for work in works)
    owed: list[Work] = []
    for work in works:
        if entry := bench.destination.entry(work.key, work.inputs_digest):
            done += len(entry.inputs)
            yield work, entry
        else:
            owed.append(work)
    told(done, total)
    study, lost = partial(deidentify_study, bench), partial(given_up, bench)
    for work, entry in workers.spread(owed, study, lost):
        done += len(entry.inputs)
        told(done, total)
        yield work, entry


def _unheard(done: int, total: int) -> None:
    pass
