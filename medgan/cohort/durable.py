"""A new file, on the disk when the call returns, and large ones past the page cache.

Filling fresh pages of the cache costs four times the processor time of the write itself, and pushes out what others
read. Where a file system knows no O_DIRECT the cache takes the bytes as usual.
"""

from __future__ import annotations

import errno
import fcntl
import mmap
import os
import threading

DIRECT = getattr(os, "O_DIRECT", 0)
LARGE = 1 << 18  # bytes of a file that goes past the cache
ROOM = 1 << 20  # bytes written at a time
ALIGNED = 4096  # what disks ask of memory, place and length
_rooms = threading.local()


def write_new(file: str, data: bytes) -> None:
    """Raises FileExistsError, and OSError of the disk, after which a part of the file may stand there."""
    fd = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
    try:
        done = _past_the_cache(fd, data) if DIRECT and len(data) >= LARGE else 0
        view = memoryview(data)
        while done < len(data):
            done += os.write(fd, view[done:])
        os.fsync(fd)
    finally:
        os.close(fd)


def _past_the_cache(fd: int, data: bytes) -> int:
    """How many bytes were written so: all of them, or none where the file system refuses."""
    plain = fcntl.fcntl(fd, fcntl.F_GETFL)
    try:
        fcntl.fcntl(fd, fcntl.F_SETFL, plain | DIRECT)
        for start in range(0, len(data), ROOM):
            _write_aligned(fd, data[start : start + ROOM])
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.EOPNOTSUPP):
            raise
        os.lseek(fd, 0, os.SEEK_SET)
        os.ftruncate(fd, 0)
        return 0
    finally:
        fcntl.fcntl(fd, fcntl.F_SETFL, plain)
    os.ftruncate(fd, len(data))
    return len(data)


def _write_aligned(fd: int, piece: bytes) -> None:
    """Write a piece and zeros up to the next block. Raises OSError (EINVAL where less was taken, so not aligned)."""
    room = _room()
    size = -(-len(piece) // ALIGNED) * ALIGNED
    room[: len(piece)] = piece
    room[len(piece) : size] = bytes(size - len(piece))
    with memoryview(room) as view, view[:size] as part:
        if os.write(fd, part) != size:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))


def _room() -> mmap.mmap:
    """Memory on a page boundary, one for each thread."""
    room: mmap.mmap | None = getattr(_rooms, "room", None)
    if room is None:
        room = _rooms.room = mmap.mmap(-1, ROOM)
    return room
