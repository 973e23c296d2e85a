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
from medgan.store import private

RESERVE_BYTES = 2 << 30


@dataclass(frozen=True, slots=True)
class Finding:
    check: str
    fine: bool
    says: str


def doctor(home: Home, *, repair: bool = False) -> list[Finding]:
    """Every check in turn; with `repair`, damaged or lost artefacts go back to wanted and leftovers are removed."""
    return [Finding(name, *look(home)) for name, look in _checks().items()] + list(_artefacts(home, repair=repair))


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
        "identified ledger": lambda home: (True, f"{sum(home.identified_ledger.input_states().values())} inputs"),
        "research ledger": lambda home: (True, f"{len(home.research.ledger.entries('deidentify'))} studies"),
        "image codecs": _codecs,
        "text detection": lambda _: _importable(
            "rapidocr", "burned-in text cannot be found; run ./run to set up again"
        ),
        "learning": _torch,
        "orchestration": lambda _: _importable("prefect.server.api.server", "see the caps in pyproject.toml"),
        "registry": lambda _: _importable("mlflow", "run ./run to set up again"),
    }


def _room(home: Home) -> tuple[bool, str]:
    free = shutil.disk_usage(home.root).free
    return (
        free > RESERVE_BYTES,
        f"{free / 2**30:.1f} GiB free; {RESERVE_BYTES >> 30} are kept for ledger and checkpoints",
    )


def _key(home: Home) -> tuple[bool, str]:
    try:
        return True, f"fingerprint {home.key_fingerprint}"
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
        damaged = [digest for digest in _recorded(zone) if not _whole(zone, digest)]
        strays = sorted(set(zone.store.digests()) - set(_recorded(zone)))
        swept = zone.store.sweep()
        if repair:
            for digest in damaged:
                zone.store.drop(digest)
                zone.ledger.unrecord(digest)
            for digest in strays:
                zone.store.drop(digest)
        done = " (repaired: they will be made again)" if repair and damaged else ""
        todo = "" if repair or not damaged else "; run `medgan doctor --repair`"
        yield Finding(f"{name} artefacts", not damaged or repair, f"{len(damaged)} damaged or lost{done}{todo}")
        yield Finding(f"{name} leftovers", True, f"{len(strays)} unrecorded, {swept} half-written ones removed")


def _recorded(zone: Zone) -> list[str]:
    return zone.ledger.live_digests()


def _whole(zone: Zone, digest: str) -> bool:
    try:
        zone.store.verify(digest)
    except CorruptArtefact:
        return False
    return True
