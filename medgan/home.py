"""One home folder: three zones with a store and a ledger each, and the secrets of the house.

    HOME/identified/  0700   originals, their ledger, the pseudonym key and its fingerprint (0600)
    HOME/research/           de-identified data, models, Prefect, MLflow, logs, the keys of releases (0600)
    HOME/public/             released bundles

A Home travels to other processes as its path.
"""

from __future__ import annotations

import contextlib
import secrets
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TypeVar

from medgan.errors import HomeError
from medgan.keys import KEY_BYTES, Key, read_key
from medgan.ledger import Entry, Ledger, open_ledger, record_json
from medgan.records import Record
from medgan.settings import settings
from medgan.store import Store, writable, write_durably

FINGERPRINT = "key.fingerprint"
_AT_WORK: ContextVar[frozenset[Path]] = ContextVar(
    "homes in which this context holds the pipeline", default=frozenset()
)
R = TypeVar("R", bound=Record)


@dataclass(frozen=True)
class Zone:
    """A store and its ledger."""

    store: Store
    ledger: Ledger

    def made(self, key: str, kind: type[R]) -> R | None:
        """The record of an artefact that is recorded under `key` and whose bytes are there."""
        entry = self.ledger.find(key)
        if entry is None or not self.store.has(entry.digest):
            return None
        if entry.state == "superseded":  # wanted once more, by an earlier recipe
            self.ledger.revive(key)
        return kind.model_validate_json(entry.record)

    def make(
        self,
        key: str,
        fill: Callable[[Path], R],
        *,
        stage: str,
        kind: type[R],
        subject: str = "",
        parents: Iterable[str] = (),
        patients: Iterable[str] = (),
    ) -> R:
        """The artefact wanted under `key`: found, or filled, sealed and recorded, in that order.

        `fill` writes the files into a folder and returns the record with an empty digest.
        """
        if found := self.made(key, kind):
            return found
        with self.store.staging() as folder:
            record = fill(folder)
            digest = self.store.seal(folder, stage, {"stage": stage})
        sealed = record.model_copy(update={"digest": digest})
        self.ledger.record(Entry(key, digest, stage, record_json(sealed), subject, tuple(parents), tuple(patients)))
        return sealed

    def records(self, stage: str, kind: type[R]) -> list[R]:
        """Records of every live artefact of a stage, oldest first."""
        return [kind.model_validate_json(entry.record) for entry in self.ledger.entries(stage)]

    def strays(self) -> list[str]:
        """Digests of sealed artefacts that no row knows: of a run that was killed before it wrote the row."""
        return sorted(set(self.store.digests()) - set(self.ledger.live_digests()))


@dataclass(frozen=True)
class Home:
    """The home at `root`. `create` makes the folders and, for a new home, the keys."""

    root: Path
    created: bool = field(default=False, compare=False)

    @classmethod
    def create(cls, root: Path | None = None) -> Home:
        root = (root or settings().home).absolute()
        with writable():
            for zone, mode in (("identified", 0o700), ("research", 0o750), ("public", 0o755)):
                (root / zone).mkdir(parents=True, exist_ok=True, mode=mode)
            (root / "identified").chmod(0o700)
            (root / "research" / "keys").mkdir(exist_ok=True, mode=0o700)
            (root / "research" / "logs").mkdir(exist_ok=True)
        fresh = not (root / "identified" / "key").exists()
        home = cls(root, created=fresh)
        if fresh:
            if (root / "identified" / "ledger.db").exists() and home.identified_ledger.input_states():
                raise HomeError(
                    "the pseudonym key is missing beside a ledger that has entries; put it back from the backup "
                    "(identified/key): a new key would give every patient a second identity"
                )
            with writable():
                write_durably(root / "identified" / "key", secrets.token_hex(KEY_BYTES).encode(), mode=0o600)
        if not (root / "research" / "keys" / "cohort").exists():
            with writable():
                write_durably(root / "research" / "keys" / "cohort", secrets.token_hex(KEY_BYTES).encode(), mode=0o600)
        return home

    @contextlib.contextmanager
    def at_work(self) -> Iterator[None]:
        """Hold the lease of the pipeline, so that nobody is withdrawn meanwhile; a flow inside another shares it.

        Raises Busy when another run, or a withdrawal, is at it.
        """
        if self.root in _AT_WORK.get():
            yield
            return
        with self.research.ledger.lease("pipeline"):
            mark = _AT_WORK.set(_AT_WORK.get() | {self.root})
            try:
                yield
            finally:
                _AT_WORK.reset(mark)

    @property
    def inbox(self) -> Path:
        """Where pushed files wait."""
        return self.root / "identified" / "inbox"

    def has_room(self) -> bool:
        """Whether the disk has more room than the reserve for ledgers and checkpoints."""
        return shutil.disk_usage(self.root).free > settings().reserve_bytes

    def require_room(self) -> None:
        """Raises HomeError below the reserve: nothing more is taken in then."""
        if not self.has_room():
            raise HomeError(
                "the disk of the home folder has less room than its reserve (MEDGAN_RESERVE_GIB), so nothing more is "
                "taken in; free some and run again: what waits is not lost"
            )

    @cached_property
    def pseudonym_key(self) -> bytes:
        """The secret of zone one. Raises HomeError when missing, readable by others, damaged, or of another home."""
        key, mark = Key(read_key(self.root / "identified" / "key")), self.root / "identified" / FINGERPRINT
        if not mark.exists():
            with contextlib.suppress(HomeError), writable():  # a home that is only looked at may be read-only
                write_durably(mark, key.fingerprint.encode(), mode=0o600)
        elif mark.read_text().strip() != key.fingerprint:
            raise HomeError(
                f"the key file holds another key ({key.id}) than the one that made this home; put that one back from "
                "the backup: a new key would give every patient a second identity"
            )
        return key.secret

    @cached_property
    def cohort_key(self) -> bytes:
        """The secret from which the names and UIDs of synthetic objects come."""
        return read_key(self.root / "research" / "keys" / "cohort")

    @cached_property
    def key_fingerprint(self) -> str:
        return Key(self.pseudonym_key).fingerprint

    @cached_property
    def identified_ledger(self) -> Ledger:
        return open_ledger(settings().identified_url or self.root / "identified")

    @cached_property
    def identified(self) -> Zone:
        return Zone(Store(self.root / "identified", secret=self.pseudonym_key), self.identified_ledger)

    @cached_property
    def research(self) -> Zone:
        return Zone(Store(self.root / "research"), open_ledger(settings().research_url or self.root / "research"))

    @cached_property
    def public(self) -> Store:
        return Store(self.root / "public")

    @property
    def work(self) -> Path:
        """Where a long stage keeps what it needs to go on (research/work/KEY)."""
        return self.root / "research" / "work"

    def __reduce__(self) -> tuple[type[Home], tuple[Path]]:
        return Home, (self.root,)
