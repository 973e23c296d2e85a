"""A folder tree as a source: regular files only; links, pipes and devices are counted, never opened."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from medgan.errors import InputRejected, Reason, SourceError
from medgan.sources.entry import Entry, Limits, refuse


def list_folder(root: Path) -> Iterator[Entry]:
    """Everything below `root`, in the order of its path."""
    pending = [""]
    while pending:
        below = pending.pop()
        try:
            with os.scandir(root / below) as found:
                children = sorted(found, key=lambda child: child.name)
        except OSError as error:
            if not below:
                raise SourceError("the source folder cannot be read; check its permissions") from None
            _raise_if_of_the_world(error)
            yield Entry(printable(below) + "/", "closed", 0, refuse(Reason.UNREADABLE), Reason.UNREADABLE)
            continue
        folders = []
        for child in children:
            name = f"{below}/{child.name}" if below else child.name
            if child.is_dir(follow_symlinks=False):
                folders.append(name)
            else:
                yield file_entry(root / name, printable(name))
        pending.extend(reversed(folders))


def file_entry(path: Path, name: str) -> Entry:
    """One file of a folder; anything but a regular file is unsafe."""
    try:
        info = path.lstat()
    except OSError as error:
        _raise_if_of_the_world(error)
        return Entry(name, "closed", 0, refuse(Reason.UNREADABLE), Reason.UNREADABLE)
    if not stat.S_ISREG(info.st_mode):
        return Entry(name, f"special:{stat.S_IFMT(info.st_mode)}", 0, refuse(Reason.UNSAFE_FILE), Reason.UNSAFE_FILE)
    return Entry(name, f"{info.st_size}:{info.st_mtime_ns}", info.st_size, lambda limits: read_file(path, limits))


def read_file(path: Path, limits: Limits) -> bytes:
    """The bytes of a regular file. Raises InputRejected; SourceError when the disk itself fails."""
    try:
        # a file may have been replaced by a link or a pipe since it was listed
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENXIO):
            raise InputRejected(Reason.UNSAFE_FILE) from None
        _raise_if_of_the_world(error)
        raise InputRejected(Reason.UNREADABLE) from None
    try:
        with os.fdopen(handle, "rb") as file:
            info = os.fstat(file.fileno())
            if not stat.S_ISREG(info.st_mode):
                raise InputRejected(Reason.UNSAFE_FILE)
            limits.check(info.st_size)
            data = file.read(limits.max_bytes + 1)
    except OSError as error:
        _raise_if_of_the_world(error)
        raise InputRejected(Reason.UNREADABLE) from None
    limits.check(len(data))
    return data


def printable(name: str) -> str:
    """A file name that is not valid UTF-8 becomes text that can be hashed."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def _raise_if_of_the_world(error: OSError) -> None:
    """A failing disk or mount stops the stage; a closed or vanished file is that file's matter."""
    if error.errno not in (errno.EACCES, errno.EPERM, errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG):
        code = errno.errorcode.get(error.errno or 0, "EIO")
        raise SourceError(f"the source stopped answering while it was read ({code}); run again") from None
