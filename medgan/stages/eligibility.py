"""Who may be here: the consent and opt-out lists of the identified zone, read whole or not at all.

    identified/consent.csv   when it is there, only these patients may enter
    identified/opt-out.csv   these may not

Columns patient_id and, where one id means several people, issuer; an empty issuer means whoever issued the id.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable
from dataclasses import dataclass, replace

from medgan import digest as digests
from medgan.errors import Busy, UsageError
from medgan.home import Home
from medgan.records import Record
from medgan.stages import erasure, merges, stale
from medgan.stages.erasure import OPTED_OUT, WITHDRAWN
from medgan.stages.named import Named, pseudonyms, read_table

CONSENT, OPT_OUT = "consent.csv", "opt-out.csv"
RULE = "rule: who may be held"
HOLD = ("ingest", "aside", "deidentify", "preprocess")  # stages whose artefacts are of one patient each
logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Eligibility:
    """The lists as keyed hashes, of patients and of bare ids, with everyone who was merged with one of them."""

    consented: frozenset[str] | None = None  # None: consent is not asked for
    refused: frozenset[str] = frozenset()
    left: frozenset[str] = frozenset()  # of withdrawals: an id withdrawn before anybody came under it
    digest: str = ""  # of the lists; "" when there is none

    def allows(self, patient_key: str, id_key: str) -> bool:
        """Whether this patient may enter. Who has no id is on no list: consent cannot be shown, an opt-out neither."""
        keys = {patient_key, id_key} - {""}
        return (
            not keys & self.refused
            and id_key not in self.left
            and (self.consented is None or bool(keys & self.consented))
        )

    def keeps(self, patient_key: str) -> bool:
        """Whether this patient, whose images came before, may stay."""
        return patient_key not in self.refused and (self.consented is None or patient_key in self.consented)


class Enforced(Record):
    """What the lists changed, in counts."""

    opted_out: int = 0  # pseudonyms held until now that may not be held any more: hidden at once
    taken_back: int = 0  # opted-out pseudonyms that may come in again
    erased: int = 0  # artefacts
    waits: bool = False  # a pipeline is at work: the erasure is done by a later call
    registry_waits: bool = False  # all is erased, but the registry is away: a later call retires the models


def read(home: Home) -> Eligibility:
    """The lists as they are now. Raises UsageError and HomeError, naming the list, when one cannot be relied on."""
    consent, refused = (_listed(name, home) for name in (CONSENT, OPT_OUT))
    for name, found in ((CONSENT, consent), (OPT_OUT, refused)):
        if found is None and home.identified_ledger.cursor(f"list: {name}").cursor:
            raise UsageError(
                f"identified/{name} was in force and is missing; nothing is taken in. Put it back, or write one with "
                f"its header and {'a row *, which is everyone' if name == CONSENT else 'no row'}"
            )
    if consent is not None and not consent:
        raise UsageError(
            f"identified/{CONSENT} names no patient; nothing is taken in. Where consent is not asked for any more, "
            "write one row with *, which is everyone"
        )
    consent = None if consent is not None and Named("*", "") in consent else consent
    left = frozenset(home.identified_ledger.buried(WITHDRAWN))
    if consent is None and refused is None:
        return Eligibility(left=left)
    # the list of merges may name somebody of whom nothing came yet: it widens who is refused, never who consented
    refused = merges.connected(refused or (), merges.listed(home))
    same = home.identified_ledger.same_person()
    sets = [None if some is None else sorted(_bare(some, home)) for some in (consent, refused)]
    return Eligibility(
        consented=None if consent is None else _everyone(consent, home),
        refused=_everyone(refused, home),
        left=left,
        digest=digests.sha256(digests.canonical([*sets, same])),
    )


def enforce(home: Home) -> Enforced:
    """Bring what is held in line with the lists, and finish erasures that were cut off; called by each intake first.

    Who may not be here is buried in both zones at once, and erased as soon as no pipeline is at work. The caller holds
    the lease of the intake. A second call finds nothing to do.
    """
    lists, ledger = read(home), home.identified_ledger
    for name in (CONSENT, OPT_OUT):
        if (home.root / "identified" / name).is_file():
            ledger.rule_changed(f"list: {name}", "in force")
    if ledger.cursor(RULE).cursor == _rule(lists, home) and not home.research.ledger.requested(stale.RETIRE):
        return Enforced()
    taken_back = _let_in(lists, home)
    shut = _held(home) - ledger.buried() if lists.refused or lists.consented is not None else set()
    leavers = {key for key in shut if not lists.keeps(key)}
    # those buried before, too: a kill may have left a tombstone in one zone only
    opted_out = erasure.bury(leavers | ledger.buried(OPTED_OUT), home, why=OPTED_OUT)
    done = _erased(home).model_copy(update={"opted_out": opted_out, "taken_back": taken_back})
    if not done.waits and not done.registry_waits:
        ledger.rule_changed(RULE, _rule(lists, home))
    if done != Enforced():
        logger.info("eligibility: %s", done)
    return done


def _listed(name: str, home: Home) -> set[Named] | None:
    rows = read_table(name, home, needs=("patient_id",), may=("issuer",))
    return None if rows is None else {Named(row["patient_id"], row["issuer"]) for row in rows}


def _bare(named: Iterable[Named], home: Home) -> set[str]:
    """Keys of these patients as the list names them: of id and issuer, and of the id alone where it stands alone."""
    secret, named = home.pseudonym_key, set(named)
    ids = {digests.id_key(secret, one.patient_id) for one in named if not one.issuer}
    return ids | {digests.patient_key(secret, one.patient_id, one.issuer) for one in named}


def _everyone(named: Iterable[Named], home: Home) -> frozenset[str]:
    named = set(named)
    known = {key for one in named for key in pseudonyms(one, home)}
    return frozenset(_bare(named, home) | home.identified_ledger.everyone_like(known))


def _rule(lists: Eligibility, home: Home) -> str:
    """A digest of everything that decides who may be held."""
    ledger = home.identified_ledger
    sets = [None if some is None else sorted(some) for some in (lists.consented, lists.refused)]
    gone = [sorted(ledger.buried(why)) for why in (WITHDRAWN, OPTED_OUT)]
    return digests.sha256(digests.canonical([sets, gone, ledger.same_person()]))


def _held(home: Home) -> set[str]:
    """Pseudonyms of which an inner zone holds an artefact."""
    found: set[str] = set()
    for zone in (home.identified, home.research):
        for entry in (entry for stage in HOLD for entry in zone.ledger.entries(stage, state=None)):
            owner = json.loads(entry.record).get("patient_key")
            found.update([owner] if owner else zone.ledger.patients_of(entry.digest))
    return found


def _let_in(lists: Eligibility, home: Home) -> int:
    """Take back tombstones of those who may be here again; their data will be read again from where it came."""
    ledger = home.identified_ledger
    again = sorted(key for key in ledger.buried(OPTED_OUT) if lists.keeps(key))
    for key in again:  # the tombstone last: cut off before, this is done again
        rows = ledger.inputs(patient_key=key)
        studies = [row.study_key for row in rows if row.study_key]
        there = {*ledger.live("ingest", studies), *ledger.live("ingest", studies, state="partial")}
        lost = [r for r in rows if r.state == "withdrawn" or (r.study_key not in there and r.state != "superseded")]
        ledger.settle([replace(row, state="refused") for row in lost])
        ledger.reconsider(patient_key=key, state="refused")
    home.research.ledger.unbury(again)
    return ledger.unbury(again)


def _erased(home: Home) -> Enforced:
    """Erase whoever is buried and still held, when no pipeline is at work."""
    ledger = home.identified_ledger
    opted_out = ledger.buried(OPTED_OUT)
    if not opted_out and not home.research.ledger.requested(stale.RETIRE) and not erasure.left(home, WITHDRAWN):
        return Enforced()
    try:
        with home.research.ledger.lease("pipeline"):
            finished = erasure.remove(erasure.left(home, WITHDRAWN), home)
            done = erasure.erase(opted_out, home, why=OPTED_OUT)
    except Busy:
        return Enforced(waits=True)
    except ConnectionError:
        return Enforced(registry_waits=True)
    return Enforced(erased=sum(finished.deleted.values()) + sum(done.deleted.values()))
