"""Sealed artefacts: written aside, synced, renamed to their content address, then never changed.

    ROOT/store/ab/ab12…/manifest.json   every file with sha256 and size, the kind, and a little metadata
    ROOT/staging/HOST-PID-…/            what is being written; swept when its writer is gone

The digest of an artefact is the sha256 of its manifest, keyed (HMAC) where the content is identified.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
import socket
import stat
import uuid
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from medgan import digest as digests
from medgan.errors import CorruptArtefact, HomeError

MANIFEST = "manifest.json"
SYNCS = 16


class Store:
    """One zone's sealed artefacts below `root`. With `secret`, digests are keyed."""

    def __init__(self, root: Path, *, secret: bytes | None = None) -> None:
        self.root, self.secret = root, secret

    def path(self, digest: str) -> Path:
        """The folder of a sealed artefact. Raises CorruptArtefact when it is not there."""
        folder = self._address(digest)
        if not (folder / MANIFEST).is_file():
            raise CorruptArtefact(
                f"artefact {digest[:12]} is recorded but its files are gone; run `medgan doctor --repair`"
            )
        return folder

    def has(self, digest: str) -> bool:
        return (self._address(digest) / MANIFEST).is_file()

    def manifest(self, digest: str) -> dict[str, Any]:
        try:
            manifest: dict[str, Any] = json.loads((self.path(digest) / MANIFEST).read_bytes())
        except ValueError:
            raise CorruptArtefact(f"artefact {digest[:12]}: its manifest is not readable JSON") from None
        return manifest

    def verify(self, digest: str) -> dict[str, Any]:
        """Read every byte back and compare. Raises CorruptArtefact; returns the manifest."""
        manifest = self.manifest(digest)
        if self._digest(manifest) != digest:
            raise CorruptArtefact(f"artefact {digest[:12]}: its manifest was changed after sealing")
        folder = self.path(digest)
        for name, entry in manifest["files"].items():
            file = folder / name
            if not file.is_file() or digests.sha256_file(file) != entry["sha256"]:
                raise CorruptArtefact(
                    f"artefact {digest[:12]} ({manifest['kind']}): a file is missing or changed; "
                    "drop it with `medgan doctor --repair` and run again to make it anew"
                )
        return manifest

    @contextlib.contextmanager
    def staging(self) -> Iterator[Path]:
        """A private folder to write into; whatever is left of it at the end is removed."""
        folder = self.root / "staging" / f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:8]}"
        with writable():
            folder.mkdir(parents=True)
        try:
            with writable():
                yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def seal(
        self,
        folder: Path,
        kind: str,
        meta: dict[str, Any] | None = None,
        *,
        hashed: Mapping[str, str] | None = None,
    ) -> str:
        """Make `folder` (from staging) an artefact; returns its digest. Sealing the same bytes twice is one.

        hashed: file (posix path in the folder) -> sha256, where the caller has it from reading these very files.
        """
        hashed = hashed or {}
        files = {}
        with writable():
            found = sorted(p for p in folder.rglob("*") if p.is_file())
            _sync_files(found)
            for file in found:
                name = file.relative_to(folder).as_posix()
                files[name] = {"sha256": hashed.get(name) or digests.sha256_file(file), "size": file.stat().st_size}
            manifest = {"kind": kind, "files": files, "meta": meta or {}}
            digest = self._digest(manifest)
            target = self._address(digest)
            if self.has(digest):
                return digest
            write_durably(folder / MANIFEST, digests.canonical(manifest))
            target.parent.mkdir(parents=True, exist_ok=True)
            try:
                folder.rename(target)
            except OSError as error:
                # another process sealed the same bytes first: theirs are ours
                if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                    raise
                if not self.has(digest):  # what a killed `drop` left
                    shutil.rmtree(target)
                    folder.rename(target)
            _sync_folder(target.parent)
        return digest

    def drop(self, digest: str) -> None:
        """Delete an artefact, manifest first, so that a half-deleted one is never taken for whole.

        Raises HomeError rather than leave bytes behind.
        """
        folder = self._address(digest)
        with writable():
            (folder / MANIFEST).unlink(missing_ok=True)
            if folder.exists():
                shutil.rmtree(folder)

    def digests(self) -> Iterator[str]:
        for manifest in sorted((self.root / "store").glob(f"*/*/{MANIFEST}")):
            yield manifest.parent.name

    def sweep(self) -> int:
        """Remove staging folders whose writer on this host is gone; returns how many."""
        swept = 0
        for folder in (self.root / "staging").glob(f"{socket.gethostname()}-*"):
            pid = int(folder.name.rsplit("-", 2)[1])
            if not alive(pid):
                shutil.rmtree(folder, ignore_errors=True)
                swept += 1
        return swept

    def _address(self, digest: str) -> Path:
        return self.root / "store" / digest[:2] / digest

    def _digest(self, manifest: dict[str, Any]) -> str:
        data = digests.canonical(manifest)
        return digests.keyed(self.secret, "artefact", data) if self.secret else digests.sha256(data)


def write_durably(path: Path, data: bytes, *, mode: int = 0o644) -> None:
    """Write aside, sync, rename: a reader sees the old bytes or the new ones, never a part."""
    aside = path.with_name(f".{path.name}.{os.getpid()}-{uuid.uuid4().hex[:8]}")
    try:
        with os.fdopen(os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)
    _sync_folder(path.parent)


@contextlib.contextmanager
def writable() -> Iterator[None]:
    """Turn the errors of a full or read-only disk into a HomeError that says so."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise HomeError("no room left on the disk of the home folder; free some and run again") from None
        if error.errno in (errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOTDIR, errno.EEXIST):
            raise HomeError("the home folder cannot be written; choose another with --home") from None
        raise


def alive(pid: int) -> bool:
    """Whether a process of this host runs (a zombie does not)."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    status = Path(f"/proc/{pid}/stat")
    try:
        return status.read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return True


def private(path: Path) -> bool:
    """Whether only its owner can read or write `path`."""
    return not stat.S_IMODE(path.stat().st_mode) & 0o077


def _sync_files(files: Sequence[Path]) -> None:
    """Many at a time: a journal settles what waits together, ten times faster than one after the other."""
    with ThreadPoolExecutor(SYNCS) as pool:
        list(pool.map(_sync_file, files))


def _sync_file(file: Path) -> None:
    with file.open("rb") as handle:
        os.fsync(handle.fileno())


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
