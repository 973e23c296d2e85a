"""A patient leaves: what is deleted, what is stale, and a tombstone so that they do not come back."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable, Iterator

from medgan import digest as digests
from medgan.errors import Busy, HomeError, UsageError
from medgan.home import Home
from medgan.stages import erasure
from medgan.stages.desk import LEASE
from medgan.stages.erasure import OPTED_OUT, PIXELS, WITHDRAWN, Erasure, erase
from medgan.stages.named import Named, issued, persons, pseudonyms
from medgan.stages.unload import forget_pushed

__all__ = ["PIXELS", "Withdrawal", "erase", "listed", "patient_ids", "withdraw"]

LISTS = "withdrawals"  # folder of the identified zone
NAME = re.compile(r"[\w-]{1,100}")


class Withdrawal(Erasure):
    """What a withdrawal did, in counts and digests."""

    patients: int  # lines of the list
    already: int  # withdrawn before
    unknown: int  # never seen here; refused should they come


def withdraw(patients: Iterable[str], home: Home) -> Withdrawal:
    """Erase these patients from both inner zones. A second call finds nothing to do.

    patients: ids, or id, tab and issuer where one id means several people; everyone merged with them is covered.
    Raises UsageError when the list is empty or an id is ambiguous, HomeError when a run is at work; nothing is deleted
    then. Raises ConnectionError when the registry is away, after everything else was done: called again, it goes on
    there. Bundles that have left the house cannot be called back: they are named.
    """
    wanted = sorted({line.strip() for line in patients if line.strip()})
    if not wanted:
        raise UsageError("the list holds no patient id; give one a line")
    with _alone(home):
        leavers = [_keys(line, home) for line in wanted]
        ledger = home.identified_ledger
        buried, withdrawn = ledger.buried(), ledger.buried(WITHDRAWN)
        already = sum(not withdrawn.isdisjoint(keys) for keys in leavers)
        unknown = sum(buried.isdisjoint(keys) and not any(_seen(key, home) for key in keys) for keys in leavers)
        everyone = ledger.everyone_like(key for keys in leavers for key in keys)
        cut_off = (erasure.left(home, WITHDRAWN) | erasure.left(home, OPTED_OUT)) - everyone
        if cut_off:
            erasure.remove(cut_off, home)
        done = erase(everyone, home, why=WITHDRAWN)
        pushed = forget_pushed(everyone, home)
    said = done.model_copy(update={"deleted": {**done.deleted, "inbox": pushed}}).model_dump()
    return Withdrawal(**said, patients=len(leavers), already=already, unknown=unknown)


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


def _keys(line: str, home: Home) -> set[str]:
    """The pseudonyms of one line. An id without issuer that nobody came under is refused whoever issues it later."""
    one = Named(*(part.strip() for part in line.split("\t", 1)))
    ledger, keys = home.identified_ledger, pseudonyms(one, home)
    if one.issuer:
        return keys
    known = issued(one, home)
    if len(persons(known, ledger.same_person())) > 1 and not known <= ledger.buried(WITHDRAWN):
        raise UsageError(
            f"an id of the list belongs to {len(known)} patients of different issuers; write the issuer behind it, "
            "after a tab. Nothing was withdrawn"
        )
    return keys if known else keys | {digests.id_key(home.pseudonym_key, one.patient_id)}


def _seen(key: str, home: Home) -> bool:
    ledger = home.identified_ledger
    return bool(ledger.artefacts_of(key) or ledger.inputs(patient_key=key) or home.research.ledger.artefacts_of(key))
