"""Is this house in order? Each check says what it found and, when it is not, what to do."""

from __future__ import annotations

import importlib
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from medgan import parallel
from medgan.errors import CorruptArtefact, MedganError
from medgan.home import Home, Zone
from medgan.keys import Key
from medgan.settings import settings
from medgan.stages.desk import LEASE
from medgan.stages.desk import STAGE as INGEST
from medgan.stages.places import connections
from medgan.stages.withdraw import PIXELS
from medgan.store import Store, private

RELEASE = "release"  # its artefacts are bundles, in the public zone


@dataclass(frozen=True, slots=True)
class Finding:
    check: str
    fine: bool
    says: str


def doctor(home: Home, *, repair: bool = False) -> list[Finding]:
    """Every check in turn; with `repair`, damaged or lost artefacts go back to wanted and leftovers are removed.

    Raises Busy when a run is at work and something should be repaired: what it has just sealed would look left over.
    """
    found = [Finding(name, *look(home)) for name, look in _checks().items()]
    if not repair:
        return found + list(_artefacts(home, repair=False))
    with home.research.ledger.lease("pipeline"), home.identified_ledger.lease(LEASE):
        return found + list(_artefacts(home, repair=True))


def _checks() -> dict[str, Callable[[Home], tuple[bool, str]]]:
    return {
        "python": lambda _: (sys.version_info >= (3, 11), f"{sys.version.split()[0]}; 3.11 or newer is needed"),
        "room": _room,
        "cores": lambda _: (True, f"{parallel.cores()}"),
        "pseudonym key": _key,
        "identified zone": lambda home: (
            private(home.root / "identified"),
            "closed to others" if private(home.root / "identified") else "others can enter: chmod 700 identified",
        ),
        "connections": _connections,
        "identified ledger": lambda home: (True, f"{sum(home.identified_ledger.input_states().values())} inputs"),
        "research ledger": lambda home: (True, f"{len(home.research.ledger.entries('deidentify'))} studies"),
        "withdrawals": _withdrawn,
        "image codecs": _codecs,
        "text detection": lambda _: _importable(
            "rapidocr", "burned-in text cannot be found; run ./run to set up again"
        ),
        "learning": _torch,
        "orchestration": lambda _: _importable("prefect.server.api.server", "see the caps in pyproject.toml"),
        "registry": lambda _: _importable("mlflow", "run ./run to set up again"),
    }


def _room(home: Home) -> tuple[bool, str]:
    free, reserve = shutil.disk_usage(home.root).free, settings().reserve_bytes
    return home.has_room(), f"{free / 2**30:.1f} GiB free; {reserve / 2**30:g} are kept for ledger and checkpoints"


def _key(home: Home) -> tuple[bool, str]:
    try:
        return True, f"id {Key(home.pseudonym_key).id}"
    except MedganError as error:
        return False, str(error)


def _connections(home: Home) -> tuple[bool, str]:
    try:
        return True, f"{len(connections(home))} hosts with credentials or certificates"
    except MedganError as error:
        return False, str(error)


def _codecs(_: Home) -> tuple[bool, str]:
    missing = [name for name in ("openjpeg", "libjpeg", "rle", "jpeg_ls") if not _there(name)]
    return not missing, "JPEG 2000, JPEG, RLE, JPEG-LS" if not missing else f"missing: {', '.join(missing)}"


def _there(name: str) -> bool:
    try:
        importlib.import_module(name)
    except ImportError:
        return False
    return True


def _importable(name: str, remedy: str) -> tuple[bool, str]:
    try:
        importlib.import_module(name)
    except (ImportError, TypeError) as error:
        return False, f"{type(error).__name__} at import of {name}; {remedy}"
    return True, "ready"


def _torch(_: Home) -> tuple[bool, str]:
    fine, says = _importable("torch", "run ./run to set up again")
    if not fine:
        return fine, says
    from medgan.gan.train import device_name

    return True, device_name()


def _artefacts(home: Home, *, repair: bool) -> Iterator[Finding]:
    for name, zone in (("identified", home.identified), ("research", home.research)):
        damaged = [digest for digest in _sealed_here(zone) if not _whole(zone.store, digest)]
        yield _damage(f"{name} artefacts", damaged, _send_back(zone, damaged) if repair else None)
        strays = zone.strays()
        for digest in strays if repair else ():
            zone.store.drop(digest)
        removed = " ones removed" if repair else ""
        says = f"{len(strays)} unrecorded{removed}, {zone.store.sweep()} half-written ones removed"
        yield Finding(f"{name} leftovers", True, says)
    bundles = [entry.digest for entry in home.research.ledger.entries(RELEASE, state=None)]
    damaged = [digest for digest in bundles if not _whole(home.public, digest)]
    for digest in damaged if repair else ():
        home.public.drop(digest)
        home.research.ledger.unrecord(digest)
    yield _damage("bundles", damaged, 0 if repair else None)


def _damage(check: str, damaged: list[str], unseen: int | None) -> Finding:
    """`unseen`: inputs that must be taken in again; None when nothing was repaired."""
    says = f"{len(damaged)} damaged or lost"
    if damaged:
        says += "; run `medgan doctor --repair`" if unseen is None else " (repaired: the next run makes them again)"
    if unseen:
        says += f"; {unseen} inputs will be read again from their source: run `medgan ingest` on it"
    return Finding(check, not damaged or unseen is not None, says)


def _send_back(zone: Zone, damaged: list[str]) -> int:
    """Let these artefacts be wanted again; returns how many inputs must be read again for that."""
    lost = [e.subject for e in zone.ledger.entries(INGEST, state=None) if e.digest in set(damaged)]
    for digest in damaged:
        zone.store.drop(digest)
        zone.ledger.unrecord(digest)
    return sum(zone.ledger.unsee(study_key) for study_key in lost)


def _withdrawn(home: Home) -> tuple[bool, str]:
    """A tombstone must have nothing beside it: a run that was under way may have sealed something after it."""
    left = 0
    for zone in (home.identified, home.research):
        if not zone.ledger.buried():
            continue
        held = {entry.digest for stage in PIXELS for entry in zone.ledger.entries(stage, state=None)}
        left += len(held & {digest for key in zone.ledger.buried() for digest in zone.ledger.artefacts_of(key)})
    return not left, f"{left} artefacts of withdrawn patients" + ("; withdraw them once more" if left else "")


def _sealed_here(zone: Zone) -> list[str]:
    """What this zone's store should hold; bundles are recorded here and lie in the public zone."""
    bundles = {entry.digest for entry in zone.ledger.entries(RELEASE, state=None)}
    return [digest for digest in zone.ledger.live_digests() if digest not in bundles]


def _whole(store: Store, digest: str) -> bool:
    try:
        store.verify(digest)
    except CorruptArtefact:
        return False
    return True
