"""A part of a cohort as training wants it: one dense array, in memory where it fits, else in a file that is mapped."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from medgan.cohort.arrays import PARTS, CohortArrays, read_owners, read_part, read_rows
from medgan.cohort.places import Place

OF_AVAILABLE = 0.5  # of the memory that is available, what images may take
BLOCK = 64 << 20  # bytes of images that are decoded at a time on their way to the file
LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")  # control groups, v2 and v1


@contextlib.contextmanager
def staged_part(
    where: Path | str | Place, *names: str, folder: Path, room: int | None = None
) -> Iterator[CohortArrays]:
    """The images of these parts of the split; where they take more than `room` bytes they are a numpy.memmap.

    The file behind it lies in `folder` without a name: it is gone when the process is, however that ends. Without
    `room`, half of the memory that is available. Raises CorruptArtefact, and OSError when the disk is full.
    """
    rows = np.flatnonzero(np.isin([part for _, part in read_owners(where)], [PARTS.index(name) for name in names]))
    item = read_rows(where, rows[:1]).images.nbytes
    if item * len(rows) <= (OF_AVAILABLE * available() if room is None else room):
        yield read_part(where, *names)
        return
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=folder) as file:
        yield _mapped(where, rows, max(1, BLOCK // item), file)


def available() -> int:
    """Bytes of memory that this process may still take, by the kernel's word and its control group's limit."""
    found = [os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")]
    with contextlib.suppress(OSError):  # not Linux
        told = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
        found.append(int(told["MemAvailable"].split()[0]) << 10)
    for file in LIMITS:
        with contextlib.suppress(OSError, ValueError):  # no such group, or no limit ("max")
            found.append(int(Path(file).read_text()))
    return min(found)


def _mapped(where: Path | str | Place, rows: NDArray[np.int64], block: int, file: IO[bytes]) -> CohortArrays:
    some, columns = read_rows(where, rows[:0]), []
    for start in range(0, len(rows), block):
        some = read_rows(where, rows[start : start + block])
        # written, not stored through the map: a full disk raises here and would be a SIGBUS there
        file.write(np.ascontiguousarray(some.images).data)
        columns.append((some.label, some.patient_key, some.split))
    file.flush()
    shape = (len(rows), *some.images.shape[1:])
    images: NDArray[Any] = np.memmap(file, some.images.dtype, "r", shape=shape)
    label, patient_key, split = (np.concatenate(column) for column in zip(*columns, strict=True))
    return CohortArrays(images, label, patient_key, split, some.classes, some.attributes)
