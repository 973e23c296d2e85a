"""What an archive behind a network offers, whatever it speaks: which studies it holds, and their files."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from medgan.sources.entry import Limits


@dataclass(frozen=True, slots=True)
class Holding:
    """One study as the server lists it. The UID is identified."""

    study_uid: str
    stamp: str  # changes with anything that the server tells of the study; identified until it is hashed
    expected: int | None = None  # instances, where the server tells
    age_s: float | None = None  # seconds since its last change, where the server tells; by the server's own clock
    settled: bool = False  # the server itself says that nothing more is expected


@dataclass(frozen=True, slots=True)
class Poll:
    """What changed since a cursor; or, when `whole`, everything: what is not in it is not there any more."""

    holdings: tuple[Holding, ...]
    whole: bool
    cursor: str = ""  # for the next poll; "" where the server has no change log


class Server(Protocol):
    """An archive of studies. `name` is its address without secrets (identified)."""

    name: str
    connections: int  # how many studies may be fetched at the same time

    def poll(self, cursor: str, *, whole: bool) -> Poll:
        """What changed since `cursor`; everything when `whole` is asked, when there is no change log, or when the
        cursor is not of this server's present life (its index was rebuilt). Raises SourceError.
        """

    def fetch(self, study_uid: str, landing: Path, limits: Limits, has: Callable[[str], bool]) -> Iterator[Path]:
        """Write each instance of a study into a new file of `landing`, and yield its path when it is complete.

        Instances of which `has(sop_instance_uid)` is true may be left out. A connection that breaks is taken up
        again inside the study; what cannot be had after some tries raises SourceError. An instance over
        `limits.max_bytes` is cut there, one byte above, so that whoever reads it refuses it.
        """

    def close(self) -> None:
        """End every connection."""
