"""One person under two patient ids: identified/merges.csv joins their pseudonyms; nothing is keyed anew.

From then on both count as one person: in the split, in a cohort's count of patients, in withdrawals and lists.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping

from medgan.cohort.arrays import read_owners
from medgan.errors import UsageError
from medgan.home import Home
from medgan.ledger import Ledger
from medgan.records import Checkpoint, Cohort, Record
from medgan.stages import erasure
from medgan.stages.named import Named, issued, persons, pseudonyms, read_table

FILE = "merges.csv"
Pair = tuple[Named, Named]


class Straddled(Record):
    """A cohort whose split put the parts of one person on different sides, and the models trained on it."""

    cohort: str
    checkpoints: tuple[str, ...]


class Merged(Record):
    """What a reading of the list changed."""

    new: int = 0  # pseudonyms that joined another
    straddled: tuple[Straddled, ...] = ()  # told when something is new; see `straddled`


def apply(home: Home) -> Merged:
    """Note every row of the list in both inner zones. A second call finds nothing to do.

    A row that is taken out of the list later does not part them again. Raises UsageError when the list cannot be
    used, or an id in it belongs to several people; nothing is noted then.
    """
    same = home.identified_ledger.same_person()
    rows = [_joined(number, pair, same, home) for number, pair in enumerate(listed(home), start=1)]
    new = max(_merge(rows, ledger) for ledger in (home.identified_ledger, home.research.ledger))
    _spread(home)
    return Merged(new=new, straddled=straddled(home) if new else ())


def listed(home: Home) -> list[Pair]:
    """Who is the same as whom, by the list; empty when there is none. Raises UsageError."""
    rows = read_table(FILE, home, needs=("patient_id", "into_id"), may=("issuer", "into_issuer")) or []
    return [(Named(r["patient_id"], r["issuer"]), Named(r["into_id"], r["into_issuer"])) for r in rows]


def connected(named: Iterable[Named], pairs: Collection[Pair]) -> set[Named]:
    """These patients, and all that the list joins to one of them, also before any of their images came."""
    found, grown = set(named), True
    while grown:
        ids, bare = {one.patient_id for one in found}, {one.patient_id for one in found if not one.issuer}
        near = {pair for pair in pairs if any(_meets(one, found, ids, bare) for one in pair)}
        grown = not found.issuperset(one for pair in near for one in pair)
        found.update(one for pair in near for one in pair)
    return found


def straddled(home: Home) -> tuple[Straddled, ...]:
    """Cohorts that were made before a merge and have one person on two sides; a model of theirs may be judged by
    pictures of somebody it learned from. Cohorts that were replaced since are named while a model of theirs is there.
    """
    ledger = home.research.ledger
    same = ledger.same_person()
    if not same:
        return ()
    members = {*same, *same.values()}
    newest = {cohort.group: cohort.digest for cohort in home.research.records("assemble", Cohort)}
    models: dict[str, list[str]] = defaultdict(list)
    for made in home.research.records("train", Checkpoint):
        models[made.cohort_digest].append(made.digest)
    return tuple(
        Straddled(cohort=digest, checkpoints=tuple(sorted(models[digest])))
        for digest in sorted({*newest.values(), *models})
        if home.research.store.has(digest)
        and len(ledger.patients_of(digest) & members) > 1
        and _straddles(digest, same, home)
    )


def _straddles(cohort: str, same: dict[str, str], home: Home) -> bool:
    sides: dict[str, set[int]] = defaultdict(set)
    for key, side in read_owners(home.research.store.path(cohort) / "cohort.zarr"):
        sides[same.get(key, key)].add(side)
    return any(len(some) > 1 for some in sides.values())


def _joined(number: int, pair: Pair, same: Mapping[str, str], home: Home) -> tuple[set[str], str]:
    """All pseudonyms of a row, and the one that is to stand for the person: one that came, where there is one."""
    for one in pair:
        if not one.issuer and len(persons(issued(one, home), same)) > 1:
            raise UsageError(
                f"identified/{FILE}, row {number}: an id in it belongs to several patients of different issuers; "
                "fill in the issuer columns. Nothing was merged"
            )
    old, into = (pseudonyms(one, home) for one in pair)
    came = set() if pair[1].issuer else issued(pair[1], home)
    return old | into, min(came or into)


def _merge(rows: Iterable[tuple[set[str], str]], ledger: Ledger) -> int:
    """Join the pseudonyms of each row; returns how many were not joined yet."""
    return ledger.merge((key, into) for keys, into in rows for key in sorted(keys))


def _spread(home: Home) -> None:
    """Who is the same person as one who left has left as well."""
    ledger = home.identified_ledger
    for why in (erasure.WITHDRAWN, erasure.OPTED_OUT):
        buried = ledger.buried(why)
        if not ledger.everyone_like(buried) <= ledger.buried() & home.research.ledger.buried():
            erasure.bury(buried, home, why=why)


def _meets(one: Named, found: set[Named], ids: set[str], bare: set[str]) -> bool:
    return one in found or one.patient_id in (bare if one.issuer else ids)
