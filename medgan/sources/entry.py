"""One place inside a source, whatever the source is: where, how large, how to read it safely."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from medgan.errors import InputRejected, Reason

SMALL = 8 << 20  # below this size a large expansion endangers nothing: a blank image shrinks a thousandfold


@dataclass(frozen=True, slots=True)
class Limits:
    """How much one input may hold, in bytes, and how much it may expand."""

    max_bytes: int = 2 << 30
    max_ratio: float = 200.0

    def check(self, size: int, packed: int | None = None) -> None:
        """Raises InputRejected (unsafe_file) over the size, or over the expansion of `packed` bytes."""
        if size > self.max_bytes or (packed is not None and size > max(SMALL, self.max_ratio * packed)):
            raise InputRejected(Reason.UNSAFE_FILE)

    def room(self, packed: int) -> int:
        """Bytes that `packed` bytes may expand to."""
        return int(min(self.max_bytes, max(SMALL, self.max_ratio * packed)))


@dataclass(frozen=True, slots=True)
class Entry:
    """`name`: posix path inside the source. `stamp` changes when the content does, without reading it.

    `read(limits)` gives the bytes or raises InputRejected; `rejected` says that they must not be read.
    """

    name: str
    stamp: str
    size: int
    read: Callable[[Limits], bytes]
    rejected: Reason | None = None


def refuse(reason: Reason) -> Callable[[Limits], bytes]:
    """A `read` that always refuses."""

    def read(_: Limits) -> bytes:
        raise InputRejected(reason)

    return read
