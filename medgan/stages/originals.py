"""The inputs of a folder run: where each lies, how to read it again from any process, and whose it is.

Links, pipes and devices are counted and never opened; an archive is read in place.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from medgan import digest as digests
from medgan.deid.draft import open_draft
from medgan.deid.header import Header, read_header
from medgan.errors import InputRejected, Reason, SourceError
from medgan.sources import source as sources
from medgan.sources.entry import Entry, Limits
from medgan.sources.folder import file_entry, printable, read_file

OUTSIDE = -1


@dataclass(frozen=True, slots=True)
class Place:
    """One input: a file of its own, or a member of an archive. `name` is identified."""

    path: str
    name: str
    size: int
    member: int = OUTSIDE
    rejected: Reason | None = None

    def read(self) -> bytes:
        """The bytes. Raises InputRejected with the reason."""
        if self.rejected:
            raise InputRejected(self.rejected)
        if self.member == OUTSIDE:
            return read_file(Path(self.path), Limits())
        return _members(self.path)[self.member].read(Limits())


@dataclass(frozen=True, slots=True)
class Original:
    """What the first pass says of one input. Without a reason it has a study, or is a directory of one."""

    place: Place
    sha256: str = ""  # of the content; empty where it must not be read
    header: Header = Header()
    reason: Reason | None = None


def places(src: Path) -> list[Place]:
    """Every input of a folder, a zip or tar archive, a DICOMDIR or one file. Raises SourceError."""
    if src.name.upper() == "DICOMDIR" and src.is_file():
        src = src.parent
    found = list(_files(src)) if src.is_dir() else [_member(src, *one) for one in enumerate(_members(str(src)))]
    if not found:
        raise SourceError("SRC is empty; expected DICOM files")
    return found


def read_originals(some: Sequence[Place]) -> list[Original]:
    """The first pass over some inputs: each is read once, and judged when it belongs to no study."""
    return [_original(place) for place in some]


def _original(place: Place) -> Original:
    try:
        data = place.read()
    except InputRejected as error:
        return Original(place, reason=error.reason)
    sha256, header = digests.sha256(data), read_header(data)
    if header.directory or header.study_uid:
        return Original(place, sha256, header)
    refused = open_draft({sha256: data}, "").unopened
    return Original(place, sha256, reason=refused.get(sha256, Reason.MISSING_ATTRIBUTE))


def _files(root: Path) -> Iterator[Place]:
    """Everything below a folder, in the order of its path. Names that are not UTF-8 stay what they are."""
    unreadable: list[str] = []
    for folder, below, names in os.walk(root, onerror=lambda error: unreadable.append(str(error.filename))):
        if folder == str(root) and unreadable:
            break
        below.sort()
        links = [name for name in below if (Path(folder) / name).is_symlink()]
        for name in sorted([*names, *links]):
            path = Path(folder) / name
            entry = file_entry(path, printable(str(path.relative_to(root))))
            yield Place(str(path), entry.name, entry.size, rejected=entry.rejected)
    if str(root) in unreadable:
        raise SourceError("SRC cannot be read; check its permissions")
    for closed in unreadable:
        yield Place(closed, printable(os.path.relpath(closed, root)) + "/", 0, rejected=Reason.UNREADABLE)


def _member(src: Path, number: int, entry: Entry) -> Place:
    return Place(str(src), entry.name, entry.size, number, entry.rejected)


@lru_cache(maxsize=2)
def _members(path: str) -> list[Entry]:
    return sources.list_entries(Path(path))
