"""A multi-part answer, written part by part into files while it arrives; no part is ever whole in memory."""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from medgan.errors import SourceError

BLOCK = 1 << 20
MAX_HEAD = 64 << 10  # bytes of a part's headers, or before the first boundary
AHEAD = 64 << 10  # bytes read at once where only a few are wanted
HEAD = 4096  # first bytes of a part that are kept: enough for the file meta group
BOUNDARY = re.compile(r';\s*boundary\s*=\s*(?:"([^"]{1,200})"|([^\s";,]{1,200}))', re.IGNORECASE)
LENGTH = re.compile(rb"^content-length[ \t]*:[ \t]*([0-9]{1,18})[ \t]*\r?$", re.IGNORECASE | re.MULTILINE)


class Malformed(Exception):
    """The answer ended before its closing boundary, or is no multi-part answer."""


@dataclass(frozen=True, slots=True)
class Part:
    """A complete part in its file. `cut`: it was over the size; the file ends one byte above, nothing follows."""

    path: Path
    head: bytes
    cut: bool = False


def boundary_of(content_type: str) -> bytes:
    """The boundary that a Content-Type names, quoted or not. Raises SourceError when it names none."""
    found = BOUNDARY.search(content_type)
    if found is None or not content_type.lower().lstrip().startswith("multipart/"):
        raise SourceError("the archive answers with another format; expected multipart/related with DICOM files")
    return (found[1] or found[2]).encode("latin-1", "replace")


def read_parts(read: Callable[[int], bytes], boundary: bytes, landing: Path, *, max_bytes: int) -> Iterator[Part]:
    """Each part, once it is complete in a new file of `landing`.

    read(n): at most n bytes, b"" at the end. A part over `max_bytes` is cut and the last. Raises Malformed; a file
    that did not become complete is removed.
    """
    stream = _Stream(read, bytearray(b"\r\n"))  # so that the first boundary is found like the others
    marker = b"\r\n--" + boundary
    stream.copy_until(marker, _ignore, most=MAX_HEAD)
    while not stream.at_close():
        length = _length(stream.head())
        part = _land(stream, marker, length, landing, max_bytes)
        yield part
        if part.cut:
            return


def read_single(read: Callable[[int], bytes], landing: Path, *, max_bytes: int) -> Part:
    """An answer that is one file, to its end."""
    return _land(_Stream(read), b"", None, landing, max_bytes)


class _TooMuch(Malformed):
    """More came than was allowed."""


def _ignore(_: bytes) -> None:
    """What stands before the first boundary is no part."""


def _length(head: bytes) -> int | None:
    found = LENGTH.search(head)
    return int(found[1]) if found else None


def _land(stream: _Stream, marker: bytes, length: int | None, landing: Path, max_bytes: int) -> Part:
    """One part into one file, which is removed again unless it becomes complete, or is cut."""
    path = landing / f"{secrets.token_hex(16)}.dcm"
    head = bytearray()

    def write(block: bytes) -> None:
        if len(head) < HEAD:
            head.extend(block[: HEAD - len(head)])
        file.write(block)

    try:
        with path.open("xb") as file:
            if length is None:
                stream.copy_until(marker, write, most=max_bytes)
            else:
                stream.copy(length, write, most=max_bytes)
                stream.skip(marker)
    except _TooMuch:
        return Part(path, bytes(head), cut=True)
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    return Part(path, bytes(head))


@dataclass(slots=True)
class _Stream:
    read: Callable[[int], bytes]
    ahead: bytearray = field(default_factory=bytearray)  # read, but not used yet

    def more(self, size: int) -> None:
        block = self.read(size)
        if not block:
            raise Malformed
        self.ahead += block

    def take(self, n: int) -> bytes:
        while len(self.ahead) < n:
            self.more(AHEAD)
        taken = bytes(self.ahead[:n])
        del self.ahead[:n]
        return taken

    def head(self) -> bytes:
        """What is left of the boundary's line, and the headers of the part up to the blank line."""
        while (end := self.ahead.find(b"\r\n\r\n", 0, MAX_HEAD)) < 0:
            if len(self.ahead) >= MAX_HEAD:
                raise Malformed
            self.more(AHEAD)
        return self.take(end + 4)

    def at_close(self) -> bool:
        """Whether the boundary that was just passed is the closing one."""
        while len(self.ahead) < 2:
            self.more(AHEAD)
        return self.ahead.startswith(b"--")

    def skip(self, marker: bytes) -> None:
        if self.take(len(marker)) != marker:
            raise Malformed

    def copy(self, length: int, write: Callable[[bytes], None], *, most: int) -> None:
        """Exactly `length` bytes; over `most`, one more than that and _TooMuch."""
        left = min(length, most + 1)
        if self.ahead:
            taken = self.take(min(left, len(self.ahead)))
            write(taken)
            left -= len(taken)
        while left:
            block = self.read(min(left, BLOCK))
            if not block:
                raise Malformed
            write(block)
            left -= len(block)
        if length > most:
            raise _TooMuch

    def copy_until(self, marker: bytes, write: Callable[[bytes], None], *, most: int) -> None:
        """Everything before `marker`, which is used up (b"": before the end); over `most`, one more and _TooMuch."""
        keep = max(0, len(marker) - 1)  # a marker may begin in one block and end in the next
        written = 0
        while True:
            at = self.ahead.find(marker) if marker else -1
            ready = at if at >= 0 else max(0, len(self.ahead) - keep)
            room = most + 1 - written
            if ready:
                write(bytes(self.ahead[: min(ready, room)]))
            if ready >= room:
                raise _TooMuch
            written += ready
            del self.ahead[: ready + len(marker) if at >= 0 else ready]
            if at >= 0:
                return
            block = self.read(BLOCK)
            if not block and not marker:
                return
            if not block:
                raise Malformed
            self.ahead += block
