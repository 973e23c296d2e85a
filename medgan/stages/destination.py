"""DST of a folder run: what it was made with, which studies are in it, and how a file gets there whole.

    DST/STUDY/INSTANCE.dcm       named by new UIDs
    DST/media/                   DICOMDIR and second names, where SRC had a DICOMDIR
    DST/.medgan/made_with.json   version, profile and key id: a later run with others is refused
    DST/.medgan/studies/KEY.json one sealed entry a finished study, written after its last file
    DST/.medgan/staging/         what is being written

Killed at any moment, the next run finds the finished studies by their entries and does the others again.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import uuid
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from medgan import digest as digests
from medgan.deid.directory import write_directory
from medgan.errors import Busy, HomeError, UsageError
from medgan.store import writable, write_durably

WORK = ".medgan"
MADE_WITH = "made_with.json"


@dataclass(frozen=True)
class Entry:
    """One finished study. Inputs by their keyed id, files by their place in DST; no value of a patient."""

    key: str  # keyed name of the study
    inputs_digest: str  # keyed digest of all its inputs: another set of inputs is done again
    inputs: dict[str, str]  # input id -> "written", or the reason of its quarantine
    files: dict[str, list[Any]]  # place -> [bytes, sha256]
    told: list[dict[str, Any]] = field(default_factory=list)  # for the report, by patient


@dataclass(frozen=True)
class Destination:
    """The folder `root`; `secret` seals its entries. Travels to other processes."""

    root: Path
    secret: bytes = field(repr=False)

    def entry(self, key: str, inputs_digest: str) -> Entry | None:
        """The entry of a study whose inputs were these, when its seal is whole and every file of it is there."""
        found = self._read(self._path(key))
        if found is None or found.inputs_digest != inputs_digest:
            return None
        return found if all(self._is_there(place, size) for place, (size, _) in found.files.items()) else None

    def entries(self) -> list[Entry]:
        """Every finished study, in a fixed order."""
        paths = sorted((self.root / WORK / "studies").glob("*.json"))
        return [entry for entry in map(self._read, paths) if entry is not None]

    def write(self, entry: Entry, files: Mapping[str, bytes]) -> None:
        """Put the files of a study in place, then its entry; what an earlier entry had beyond them goes."""
        before = self._read(self._path(entry.key))
        with writable(), self._staging() as aside:
            for place, data in sorted(files.items()):
                (aside / "file").write_bytes(data)
                (self.root / place).parent.mkdir(parents=True, exist_ok=True)
                (aside / "file").replace(self.root / place)
            for place in set(before.files if before else ()) - set(files):
                (self.root / place).unlink(missing_ok=True)
            sealed = asdict(entry) | {"seal": self._seal(asdict(entry))}
            write_durably(self._path(entry.key), digests.canonical(sealed))

    def write_report(self, name: str, data: bytes) -> None:
        with writable():
            write_durably(self.root / name, data)

    def write_media(self, entries: Iterable[Entry]) -> None:
        """A DICOMDIR of the files of these entries, and each file a second time under the name that it needs."""
        files = [self.root / place for entry in entries for place in entry.files]
        with writable(), self._staging() as aside:
            for file, stub in write_directory(files, aside / "media").items():
                stub.unlink()
                _link(file, stub)
            shutil.rmtree(self.root / "media", ignore_errors=True)
            (aside / "media").replace(self.root / "media")

    def _path(self, key: str) -> Path:
        return self.root / WORK / "studies" / f"{key}.json"

    def _read(self, path: Path) -> Entry | None:
        """An entry; None where there is none, or one that was changed since it was sealed."""
        try:
            content = json.loads(path.read_bytes())
            seal = content.pop("seal")
            return Entry(**content) if seal == self._seal(content) else None
        except (FileNotFoundError, ValueError, KeyError, TypeError, AttributeError):
            return None

    def _seal(self, content: dict[str, Any]) -> str:
        return digests.keyed(self.secret, "entry", digests.canonical(content))

    def _is_there(self, place: str, size: int) -> bool:
        # a size of its own tells a file that a power cut left empty
        try:
            return (self.root / place).stat().st_size == size
        except OSError:
            return False

    @contextlib.contextmanager
    def _staging(self) -> Iterator[Path]:
        folder = self.root / WORK / "staging" / uuid.uuid4().hex
        folder.mkdir(parents=True)
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def open_destination(root: Path, secret: bytes, made_with: Mapping[str, Any]) -> Iterator[Destination]:
    """Hold DST, new or made with the same. Raises UsageError when it is another's, Busy when a run is at it."""
    _check_is_ours(root)
    with writable():
        (root / WORK / "studies").mkdir(parents=True, exist_ok=True)
    with (root / WORK / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise Busy("another run is writing to this DST; this one does nothing") from None
        _compare(root, made_with)
        shutil.rmtree(root / WORK / "staging", ignore_errors=True)  # of a run that was killed
        yield Destination(root, secret)


def _check_is_ours(root: Path) -> None:
    foreign = root.exists() and not (
        root.is_dir() and ((root / WORK / MADE_WITH).is_file() or {child.name for child in root.iterdir()} <= {WORK})
    )
    if foreign:
        raise UsageError("DST exists and is not an empty folder or one of a run before; name a new one")


def _compare(root: Path, made_with: Mapping[str, Any]) -> None:
    path = root / WORK / MADE_WITH
    if not path.exists():
        with writable():
            write_durably(path, digests.canonical(dict(made_with)))
        return
    try:
        before = json.loads(path.read_bytes())
    except ValueError:
        raise HomeError("DST does not say any more what it was made with; name a new one") from None
    differ = _differing(before, made_with)
    if "key" in differ:
        raise HomeError(
            f"DST was made with key {before.get('key')}, this one is {made_with['key']}; give the file of that key "
            "(an older key in it: --key-id), or name a new DST"
        )
    if differ:
        was = ", ".join(f"{name} {before.get(name)}" for name in differ)
        now = ", ".join(f"{name} {made_with.get(name)}" for name in differ)
        raise UsageError(f"DST was made with {was}, this run has {now}; use the same, or name a new DST")


def _differing(before: Any, now: Mapping[str, Any]) -> list[str]:
    found = before if isinstance(before, dict) else {}
    names: Iterable[str] = sorted({*found, *now})
    return [name for name in names if found.get(name) != now.get(name)]


def _link(old: Path, new: Path) -> None:
    """A second name for a file; a copy where the file system knows no links."""
    try:
        os.link(old, new)
    except OSError:
        shutil.copyfile(old, new)
