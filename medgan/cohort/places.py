"""Where cohorts and volumes lie: a folder, or a prefix in a bucket of S3, Google Cloud or Azure.

Both hold objects under keys like `images/c/0/0/0/0/0`. What is being written is not yet there for a reader: a folder
is filled under a temporary name and renamed; a bucket knows no renaming, so the root's `zarr.json` comes last, and a
place without it is not complete. No object is ever replaced. What a killed writer left beside a folder is removed by
the next writer to the same place on the same host.

Credentials, region and end point of a bucket are those that obstore finds (AWS_ACCESS_KEY_ID, AWS_ENDPOINT_URL ...).
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import shutil
import socket
import uuid
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from medgan.cohort.durable import write_new
from medgan.errors import SourceError, UsageError

if TYPE_CHECKING:
    from obstore.store import ObjectStore

ROOT = "zarr.json"
SCHEMES = ("s3", "gs", "az")
AT_ONCE = 8  # objects of a bucket that are fetched together
TAKEN = "something stands there already; name a new place"


class Place(Protocol):
    """Objects under keys; keys are relative, with slashes."""

    def get(self, key: str) -> bytes:
        """The bytes of an object. Raises FileNotFoundError."""

    def get_many(self, keys: Sequence[str]) -> Iterator[bytes]:
        """The bytes of objects, in order; in a bucket the next few are on their way. Raises FileNotFoundError."""

    def put(self, key: str, data: bytes) -> None:
        """Add an object, never over another. Raises UsageError when the key holds other bytes."""

    def keys(self, below: str) -> set[str]:
        """The keys under the folder `below`."""

    def at(self, name: str) -> Place:
        """The place `name` in this one."""

    def building(self) -> contextlib.AbstractContextManager[Place]:
        """Where to put what is to stand here, `zarr.json` last. Raises UsageError when something does already."""


def place(where: Path | str | Place) -> Place:
    """A path as a folder; `s3://`, `gs://` and `az://` as a bucket. Raises UsageError for another scheme."""
    if isinstance(where, Path):
        return Folder(where)
    if not isinstance(where, str):
        return where
    scheme, found, _ = where.partition("://")
    if not found:
        return Folder(Path(where))
    if scheme not in SCHEMES:
        raise UsageError("not an address of an object store; expected s3://, gs:// or az://, then bucket/prefix")
    from obstore.exceptions import BaseError
    from obstore.store import from_url

    try:
        return Bucket(from_url(where))
    except (BaseError, ValueError) as error:
        raise UsageError(f"the object store cannot be reached by its address ({type(error).__name__})") from None


@dataclass(frozen=True, slots=True)
class Folder:
    """A place on a file system."""

    root: Path

    def get(self, key: str) -> bytes:
        try:
            return (self.root / key).read_bytes()
        except (NotADirectoryError, IsADirectoryError):
            raise FileNotFoundError(errno.ENOENT, "no such object") from None

    def get_many(self, keys: Sequence[str]) -> Iterator[bytes]:
        return map(self.get, keys)

    def put(self, key: str, data: bytes) -> None:
        file = f"{self.root}/{key}"
        os.makedirs(file.rpartition("/")[0], exist_ok=True)  # noqa: PTH103 - half the time of Path's
        write_new(file, data)

    def keys(self, below: str) -> set[str]:
        return {file.relative_to(self.root).as_posix() for file in (self.root / below).rglob("*") if file.is_file()}

    def at(self, name: str) -> Folder:
        return Folder(self.root / name)

    @contextlib.contextmanager
    def building(self) -> Iterator[Folder]:
        if self.root.is_file() or (self.root.is_dir() and any(self.root.iterdir())):
            raise UsageError(TAKEN)
        self._sweep()
        aside = self.root.with_name(f"{self._aside()}{os.getpid()}-{uuid.uuid4().hex[:8]}")
        aside.mkdir(parents=True)
        try:
            yield Folder(aside)
            for folder, _, _ in os.walk(aside):
                _sync(folder)
            _rename(aside, self.root)
        finally:
            shutil.rmtree(aside, ignore_errors=True)
        _sync(self.root.parent)

    def _aside(self) -> str:
        """How names of what is being written here begin: another host's writers look the same on a shared disk."""
        return f".{self.root.name}.{socket.gethostname()}-"

    def _sweep(self) -> None:
        """Remove what writers of this host to this place left when they were killed."""
        written = re.compile(re.escape(self._aside()) + r"(\d+)-[0-9a-f]{8}")
        with contextlib.suppress(FileNotFoundError):
            for folder in list(self.root.parent.iterdir()):
                if (found := written.fullmatch(folder.name)) and _gone(int(found[1])):
                    shutil.rmtree(folder, ignore_errors=True)


@dataclass(frozen=True, slots=True)
class Bucket:
    """A place in an object store, below `prefix` ("" or "NAME/") of the store's own."""

    store: ObjectStore
    prefix: str = ""

    def get(self, key: str) -> bytes:
        with _asked():
            return self.store.get(self.prefix + key).bytes().to_bytes()

    def get_many(self, keys: Sequence[str]) -> Iterator[bytes]:
        """Of an object that is on its way the bytes lie in memory: AT_ONCE of them at most."""
        pool = ThreadPoolExecutor(min(AT_ONCE, max(1, len(keys))))
        coming: deque[Future[bytes]] = deque()
        try:
            for key in keys:
                if len(coming) == AT_ONCE:
                    yield coming.popleft().result()
                coming.append(pool.submit(self.get, key))
            while coming:
                yield coming.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)

    def put(self, key: str, data: bytes) -> None:
        from obstore.exceptions import AlreadyExistsError

        try:
            with _asked():
                # in one piece: a multipart upload cannot be told to leave what is there
                self.store.put(self.prefix + key, data, mode="create", use_multipart=False)
        except AlreadyExistsError:
            # an interrupted write is completed by the same write; of two writers, one stops at the first difference
            if self.get(key) != data:
                raise UsageError("the place holds another or half a result; empty it or name a new one") from None
        except FileNotFoundError:
            raise SourceError("the object store has no such bucket; make it first") from None

    def keys(self, below: str) -> set[str]:
        start = len(self.prefix)
        with _asked():
            return {one["path"][start:] for page in self.store.list(f"{self.prefix}{below}/") for one in page}

    def at(self, name: str) -> Bucket:
        return Bucket(self.store, f"{self.prefix}{name}/")

    @contextlib.contextmanager
    def building(self) -> Iterator[Bucket]:
        with contextlib.suppress(FileNotFoundError):
            self.get(ROOT)
            raise UsageError(TAKEN)
        yield self


@contextlib.contextmanager
def _asked() -> Iterator[None]:
    """Turn obstore's errors into ours or an OSError; its own text quotes addresses and answers."""
    from obstore.exceptions import AlreadyExistsError, BaseError, PermissionDeniedError, UnauthenticatedError

    try:
        yield
    except AlreadyExistsError:
        raise
    except FileNotFoundError:
        raise FileNotFoundError(errno.ENOENT, "no such object, or no such bucket") from None
    except (PermissionDeniedError, UnauthenticatedError):
        raise SourceError("the object store refused; check the credentials and what they may do there") from None
    except BaseError as error:
        raise OSError(f"the object store did not do as asked ({type(error).__name__}); check its address") from None


def _gone(pid: int) -> bool:
    """Whether no process of this host has this number."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        pass
    return False


def _rename(folder: Path, target: Path) -> None:
    try:
        folder.rename(target)
    except OSError as error:
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
            raise UsageError(TAKEN) from None  # another writer was first
        raise


def _sync(folder: Path | str) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
