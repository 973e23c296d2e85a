"""One study of a folder run, in a child: read, de-identified, audited, put into DST with its entry."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass, field

from medgan import digest as digests
from medgan.deid.draft import open_draft
from medgan.errors import InputRejected, MedganError, Reason, seen_at
from medgan.recipes import DeidentifyRecipe
from medgan.stages.destination import Destination, Entry
from medgan.stages.gate_one import prepare, profile_of, settle
from medgan.stages.originals import Place

WRITTEN = "written"
logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Work:
    """One study still with its identity: patient key -> sha256 -> place, of each patient whose files say this study."""

    key: str
    inputs_digest: str
    people: dict[str, dict[str, Place]]

    def inputs(self) -> Iterator[str]:
        return (sha256 for found in self.people.values() for sha256 in found)


@dataclass(frozen=True)
class Bench:
    """What a child needs beside the work itself."""

    destination: Destination
    recipe: DeidentifyRecipe
    secret: bytes = field(repr=False)

    def input_id(self, sha256: str) -> str:
        """The name of an input in DST. A plain digest of a small file could be guessed back to what it says."""
        return digests.keyed(self.secret, "input", sha256)[: digests.SUBJECT_DIGITS]


def deidentify_study(bench: Bench, work: Work) -> Entry:
    """Everything that is done to one study, with its files in DST at the end."""
    try:
        entry, files = _done(bench, work)
    except (MedganError, OSError):
        raise
    except Exception as error:  # noqa: BLE001 - hostile bytes met code that did not foresee them; nothing is written
        logger.error("given up: %s", seen_at(error))
        return given_up(bench, work)
    bench.destination.write(entry, files)
    return entry


def given_up(bench: Bench, work: Work) -> Entry:
    """The entry of a study that killed its children. It is not kept, so the next run tries again."""
    return Entry(work.key, work.inputs_digest, {bench.input_id(one): Reason.POISON.value for one in work.inputs()}, {})


def _done(bench: Bench, work: Work) -> tuple[Entry, dict[str, bytes]]:
    applied = profile_of(bench.recipe)
    refused: dict[str, Reason] = {}
    drafts = [open_draft(_bytes(found, refused), patient) for patient, found in work.people.items()]
    prepare(drafts, applied, bench.recipe.ocr_side)
    files: dict[str, bytes] = {}
    results = []
    for draft in drafts:
        written, told = settle(draft, applied, bench.secret, bench.recipe.max_date_shift_days)
        refused |= draft.refused()
        kept = [uid for uid in written.files if written.origins[uid] not in refused]
        files |= {f"{written.study_uid}/{uid}.dcm": written.files[uid] for uid in kept}
        results.append(told)
    states = {bench.input_id(one): refused[one].value if one in refused else WRITTEN for one in work.inputs()}
    sealed = {place: [len(data), digests.sha256(data)] for place, data in files.items()}
    return Entry(work.key, work.inputs_digest, states, sealed, results), files


def _bytes(found: dict[str, Place], refused: dict[str, Reason]) -> dict[str, bytes]:
    """The bytes of the inputs as they were in the first pass; what changed since may be of another study."""
    read: dict[str, bytes] = {}
    for sha256, place in found.items():
        try:
            data = place.read()
        except InputRejected as error:
            refused[sha256] = error.reason
            continue
        if digests.sha256(data) == sha256:
            read[sha256] = data
        else:
            refused[sha256] = Reason.UNREADABLE
    return read
