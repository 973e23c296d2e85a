"""What one child process does: read one untrusted file, say what it is, write the images that it holds.

The parent lends it files of a private folder and talks with it in lines of JSON; a child that dies, hangs or
asks for too much memory takes nothing with it. Nothing is printed: libraries quote what they read.
"""

from __future__ import annotations

import errno
import hashlib
import json
import mmap
import os
import re
import resource
import signal
import sys
from collections.abc import Iterator
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any, BinaryIO, Literal

from medgan.dicom.index import Header, content_digest, missing_start, peek_owner, read_header
from medgan.errors import InputRejected, Reason
from medgan.sources.entry import Limits
from medgan.sources.labels import Hints, is_picture, is_volume

Kind = Literal["dicom", "picture", "volume"]
VOLUME_SHARE = 4  # a volume is unfolded whole, as float32: its child may take so many times the memory
MAX_HANDLES = 64
SHA256 = re.compile("[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Task:
    """One raw file to read. It lies in a private folder, and is gone when it has been read.

    `kind` is what the name of the input promises: a file that begins as DICOM is read as DICOM all the same.
    """

    path: Path
    kind: Kind = "dicom"
    hints: Hints = Hints()
    companion: bool = False
    max_bytes: int = 2 << 30
    max_ratio: float = 200.0


@dataclass(frozen=True, slots=True)
class Reading:
    """What one file turned out to be. With a `reason` it holds nothing usable.

    `files` are the sha256 of the images that now lie beside the raw file as `<sha256>.dcm`, `contents` the
    digests of their data sets without preamble and file meta, `header` that of the first. The header is identified.
    """

    sha256: str
    size: int
    files: tuple[str, ...] = ()
    contents: tuple[str, ...] = ()
    header: Header | None = None
    unit: Literal["patient", "image"] = "patient"
    reason: Reason | None = None
    owner: tuple[str, str] | None = None  # patient id and issuer of a file that cannot be used; identified


def kind_of(name: str) -> Kind:
    """What the name of an input promises."""
    return "picture" if is_picture(name) else "volume" if is_volume(name) else "dicom"


def read(task: Task) -> Reading:
    """Read one file in this process. Raises OSError when the disk fails, never for what the file holds."""
    reading = look(task)
    settle(task, reading)
    return reading


def settle(task: Task, reading: Reading) -> None:
    """Give the raw file the name of its content where it is an image as it stands; else remove it."""
    if reading.files == (reading.sha256,):
        task.path.replace(task.path.with_name(f"{reading.sha256}.dcm"))
    else:
        task.path.unlink()


def look(task: Task) -> Reading:
    """The same as `read`, but the raw file stays where it is."""
    with task.path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) if size else b""
    sha256 = hashlib.sha256(data).hexdigest()
    try:
        return _accepted(task, data, sha256)
    except InputRejected as error:
        reason = error.reason
    except MemoryError:
        reason = Reason.UNSAFE_FILE
    except OSError as error:
        if error.errno != errno.EFBIG:
            raise
        reason = Reason.UNSAFE_FILE
    remove_parts(task.path)
    return Reading(sha256, size, reason=reason, owner=_owner(data))


def _owner(data: bytes | mmap.mmap) -> tuple[str, str] | None:
    """Whose a file is that cannot be used, where that can be read."""
    try:
        return peek_owner(data)
    except (InputRejected, MemoryError):
        return None


def remove_parts(path: Path) -> None:
    """Remove what a reading of this raw file left half written."""
    for part in path.parent.glob(f"{path.name}.*.part"):
        part.unlink(missing_ok=True)


def _accepted(task: Task, data: bytes | mmap.mmap, sha256: str) -> Reading:
    """Raises InputRejected when the file cannot be used."""
    if not data:
        raise InputRejected(Reason.EMPTY_FILE)
    limits = Limits(task.max_bytes, task.max_ratio)
    limits.check(len(data))
    if task.companion:
        raise InputRejected(Reason.COMPANION)
    if task.kind == "dicom" or data[128:132] == b"DICM":
        return _image(task, data, sha256, limits)
    files, contents, first = [], [], None
    for number, (image, header) in enumerate(_converted(task, data[:], limits)):
        files.append(_write_part(task.path, number, image))
        contents.append(content_digest(image))
        first = first or header
    _name_parts(task.path, files)
    unit: Literal["patient", "image"] = "patient" if task.hints.patient_id else "image"
    return Reading(sha256, len(data), tuple(files), tuple(contents), first, unit)


def _image(task: Task, data: bytes | mmap.mmap, sha256: str, limits: Limits) -> Reading:
    """A file that is a DICOM image, or would be one if its sender had not left off the start."""
    start, size, name = missing_start(data), len(data), sha256
    if start:
        data = start + data[:]
    header = read_header(data, room=limits.room(len(data)))
    if start:
        name = _write_part(task.path, 0, data[:])
        _name_parts(task.path, [name])
    unit: Literal["patient", "image"] = "patient" if header.patient_id else "image"
    return Reading(sha256, size, (name,), (content_digest(data),), header, unit)


def _converted(task: Task, data: bytes, limits: Limits) -> Iterator[tuple[bytes, Header]]:
    if task.kind == "picture":
        from medgan.sources.pictures import picture_to_dicom

        yield picture_to_dicom(data, task.hints)
    else:
        from medgan.sources.volumes import volume_to_dicom

        yield from volume_to_dicom(data, task.hints, limits)


def _write_part(raw: Path, number: int, image: bytes) -> str:
    raw.with_name(f"{raw.name}.{number}.part").write_bytes(image)
    return hashlib.sha256(image).hexdigest()


def _name_parts(raw: Path, files: list[str]) -> None:
    """Only when all are written do they get their names: a reading leaves all of its images, or none."""
    for number, name in enumerate(files):
        raw.with_name(f"{raw.name}.{number}.part").replace(raw.with_name(f"{name}.dcm"))


# what parent and child say to each other: one line of JSON a task, one an answer


def task_line(task: Task) -> bytes:
    parts = (str(task.path), task.kind, astuple(task.hints), task.companion, task.max_bytes, task.max_ratio)
    return json.dumps(parts).encode() + b"\n"


def parse_task(line: bytes) -> Task:
    path, kind, hints, *more = json.loads(line)
    return Task(Path(path), kind, Hints(*hints), *more)


def answer_line(answer: Reading | OSError) -> bytes:
    """An error of the disk goes to the parent as its number: it is no fault of the file."""
    parts: Any = [answer.errno or errno.EIO] if isinstance(answer, OSError) else astuple(answer)
    return json.dumps(parts).encode() + b"\n"


def parse_answer(line: bytes) -> Reading:
    """Raises OSError for an error of the disk, ValueError for what no healthy child says."""
    parts = json.loads(line)
    if len(parts) == 1:
        raise OSError(int(parts[0]), "")
    try:
        sha256, size, files, contents, header, unit, reason, owner = parts
        if not all(SHA256.fullmatch(name) for name in (sha256, *files)):
            raise ValueError
        return Reading(
            sha256,
            size,
            tuple(files),
            tuple(contents),
            Header(*header) if header else None,
            unit,
            Reason(reason) if reason else None,
            (str(owner[0]), str(owner[1])) if owner else None,
        )
    except TypeError:
        raise ValueError from None


def main() -> None:
    """Answer tasks on standard input until it ends. Arguments: the parent's process id, bytes of memory."""
    parent, memory = int(sys.argv[1]), int(sys.argv[2])
    answers = _shut_in(parent)
    limit = _Limit(memory)
    answers.write(b"\n")  # ready
    answers.flush()
    for line in sys.stdin.buffer:
        task = parse_task(line)
        limit.set_for(task)
        try:
            answer: Reading | OSError = look(task)
        except OSError as error:
            answer = error
        answers.write(answer_line(answer))
        answers.flush()


def _shut_in(parent: int) -> BinaryIO:
    """Keep standard output for answers alone, end with the parent, and leave no trace of a crash."""
    answers = os.fdopen(os.dup(1), "wb")
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):  # the parent decides when a child ends
        signal.signal(number, signal.SIG_IGN)
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG: when the parent's thread ends
    if os.getppid() != parent:
        sys.exit(1)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _lower(resource.RLIMIT_NOFILE, MAX_HANDLES)
    return answers


class _Limit:
    """How much memory and how large files the child may have, set anew where a task needs other limits."""

    def __init__(self, memory: int) -> None:
        self.memory = memory
        self.now: tuple[int, int] = (0, 0)

    def set_for(self, task: Task) -> None:
        wanted = (self.memory * (VOLUME_SHARE if task.kind == "volume" else 1), task.max_bytes)
        if wanted != self.now:
            _lower(resource.RLIMIT_DATA, wanted[0])  # a mapped file does not count
            _lower(resource.RLIMIT_FSIZE, wanted[1])
            self.now = wanted


def _lower(limit: int, value: int) -> None:
    """Set a soft limit, within the hard one that the machine's owner may have set."""
    hard = resource.getrlimit(limit)[1]
    resource.setrlimit(limit, (value if hard == resource.RLIM_INFINITY else min(value, hard), hard))


if __name__ == "__main__":
    main()
