"""Whether a result is less valid than its source, by `dciodvfy` (dicom3tools), where it is installed.

It reads from memory, so that no source touches a disk. An error becomes a kind: words, tag, attribute and module of
its line, never a value.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections import Counter
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass, field

PROGRAM = "dciodvfy"
LONGEST_S = 20
FAILED = "the validator could not read it"

_ERROR = re.compile(r"(?:^|\s)Error - (.*)")
_VALUE = re.compile(r'[<"=]|\(0x|\d')  # a message is told up to the first of these
_WORDS = re.compile(r"[A-Za-z][A-Za-z'\-]*")
_PARTS = re.compile(r"\(0x([0-9a-f]{4}),0x([0-9a-f]{4})\)|(?:Element|Module)=<(\w+)>|attribute <([\w '/()-]+)>")


@dataclass
class Validity:
    """What the validator said of the results of a run: how many were held against their source, and new errors."""

    available: bool
    checked: int = 0
    unread: int = 0  # sources that it could not read, so that nothing can be said of their results
    worse: Counter[str] = field(default_factory=Counter)

    def weigh(self, source: bytes, result: bytes) -> list[str]:
        """Count one pair; the kinds of errors that are new in its result."""
        if not self.available:
            return []
        before = kinds(source)
        if before is None:
            self.unread += 1
            return []
        self.checked += 1
        new = _new(before, kinds(result))
        self.worse.update(new)
        return new


def available() -> bool:
    """Whether files can be checked here: the program is installed, and memory can be handed to it as a file."""
    return shutil.which(PROGRAM) is not None and hasattr(os, "memfd_create")


def worse(source: bytes, result: bytes) -> list[str]:
    """Kinds of errors of `result` that `source` does not have; none where the source itself cannot be read."""
    before = kinds(source)
    return [] if before is None else _new(before, kinds(result))


def kinds(data: bytes) -> frozenset[str] | None:
    """The kinds of errors in a file; None when the program is not there, fails, or takes longer than LONGEST_S."""
    program = shutil.which(PROGRAM)
    if program is None or not available():
        return None
    memory = os.memfd_create("instance")
    try:
        with os.fdopen(memory, "w+b") as file:
            file.write(data)
            file.seek(0)
            done = subprocess.run(
                [program], stdin=file, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, timeout=LONGEST_S, check=False
            )
    except (subprocess.TimeoutExpired, OSError):
        return None
    if done.returncode < 0:
        return None  # killed by a signal of its own making
    lines = done.stderr.decode("latin-1").splitlines()
    return frozenset(_kind(match[1]) for line in lines if (match := _ERROR.search(line)))


def one_each(instances: Mapping[str, tuple[Hashable, ...]]) -> list[str]:
    """The first name of every group, such as (SOP class, series): a process a file is too many for all."""
    first: dict[tuple[Hashable, ...], str] = {}
    for name in sorted(instances):
        first.setdefault(instances[name], name)
    return sorted(first.values())


def _new(before: Iterable[str], after: frozenset[str] | None) -> list[str]:
    return [FAILED] if after is None else sorted(after - frozenset(before))


def _kind(message: str) -> str:
    """A message without the values that it quotes: `Missing attribute Type Required PatientID Patient`."""
    start = _VALUE.search(message)
    told = " ".join(_WORDS.findall(message[: start.start()] if start else message))
    parts = [f"{m[1]},{m[2]}" if m[1] else m[3] or m[4] for m in _PARTS.finditer(message)]
    return " ".join([told, *parts]).strip()
