"""Encapsulated frames of a file: where each lies, from its offset table and fragments."""

from __future__ import annotations

import os
import struct
import threading
from functools import lru_cache
from pathlib import Path

ITEM, SEQUENCE_END = 0xE000FFFE, 0xE0DDFFFE  # as they stand in little-endian bytes
MOST_BYTES = 1 << 30  # of one frame
MOST_KEPT = 1 << 25  # bytes that a thread keeps for its next frame
_kept = threading.local()
Fragments = tuple[tuple[int, int], ...]  # offset in the file, length


def frame_bytes(file: Path, offset: int, *, frame: int, frames: int) -> memoryview | None:
    """One encoded frame of the pixel element whose value begins at `offset`; None where it cannot be told apart.

    The memory is used again by the next call in the same thread. Raises OSError.
    """
    fd = os.open(file, os.O_RDONLY | os.O_CLOEXEC)
    try:
        at = os.fstat(fd)
        if frames == 1:
            rest = at.st_size - offset
            return _only_frame(_read(fd, ((offset, rest),))) if 0 < rest <= MOST_BYTES else None
        places = _places(file, offset, frames, (at.st_size, at.st_mtime_ns, at.st_ino))
        if places is None or sum(length for _, length in places[frame]) > MOST_BYTES:
            return None
        return _read(fd, places[frame])
    finally:
        os.close(fd)


def _read(fd: int, places: Fragments) -> memoryview:
    """Parts of a file behind each other, in memory that the thread keeps: fresh pages cost more than reading."""
    size = sum(length for _, length in places)
    if len(getattr(_kept, "buffer", b"")) < size:
        _kept.buffer = bytearray(size)
    view = memoryview(_kept.buffer)[:size]
    if size > MOST_KEPT:
        del _kept.buffer
    at = 0
    for begin, length in places:
        at += os.preadv(fd, [view[at : at + length]], begin)
    return view[:at]


def _only_frame(value: memoryview) -> memoryview | None:
    """The fragments behind the offset table, joined."""
    at, parts = 0, []
    while at + 8 <= len(value):
        tag, length = struct.unpack_from("<II", value, at)
        if tag == SEQUENCE_END:
            break
        if tag != ITEM or at + 8 + length > len(value):
            return None
        parts.append(value[at + 8 : at + 8 + length])
        at += 8 + length
    if len(parts) == 2:
        return parts[1]
    return memoryview(b"".join(parts[1:])) if len(parts) > 2 else None


@lru_cache(maxsize=8)
def _places(file: Path, offset: int, frames: int, version: tuple[int, ...]) -> tuple[Fragments, ...] | None:
    """The fragments of each frame. version: of the file, so that a changed one is looked at anew."""
    with file.open("rb", buffering=0) as handle:
        fd = handle.fileno()
        fragments: list[tuple[int, int]] = []
        at = offset
        while at + 8 <= version[0]:
            tag, length = struct.unpack("<II", os.pread(fd, 8, at))
            if tag == SEQUENCE_END:
                break
            if tag != ITEM or at + 8 + length > version[0]:
                return None
            fragments.append((at + 8, length))
            at += 8 + length
        if not fragments:
            return None
        table = os.pread(fd, fragments[0][1], fragments[0][0]) if fragments[0][1] == 4 * frames else b""
    return _by_frame(fragments, table, frames)


def _by_frame(fragments: list[tuple[int, int]], table: bytes, frames: int) -> tuple[Fragments, ...] | None:
    """Fragments shared out by the offset table, or one a frame where there is none."""
    (start, length), rest = fragments[0], fragments[1:]
    if length == 0 and len(rest) == frames:
        return tuple((place,) for place in rest)
    if not table:
        return None
    # PS3.5 A.4: offsets count from the item behind the table to the item that begins a frame
    number = {begin - 8 - (start + length): index for index, (begin, _) in enumerate(rest)}
    firsts = [number.get(offset, -1) for offset in struct.unpack(f"<{frames}I", table)]
    if firsts[0] != 0 or -1 in firsts or sorted(set(firsts)) != firsts:
        return None
    return tuple(tuple(rest[a:b]) for a, b in zip(firsts, [*firsts[1:], len(rest)], strict=True))
