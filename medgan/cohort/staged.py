"""A part of a cohort as training wants it: one dense array, in memory where it fits, else in a file that is mapped."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from dataclasses import replace
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
    where: Path | str | Place, *names: str, folder: Path, room: int | None = None, masks: bool = False
) -> Iterator[CohortArrays]:
    """The images of these parts of the split; where they take more than `room` bytes they are a numpy.memmap.

    The file behind it lies in `folder` without a name: it is gone when the process is, however that ends. Without
    `room`, half of the memory that is available. masks: with those of the images, which then lie as these do. Raises
    CorruptArtefact, and OSError when the disk is full.
    """
    rows = np.flatnonzero(np.isin([part for _, part in read_owners(where)], [PARTS.index(name) for name in names]))
    first = read_rows(where, rows[:1], masks=masks)
    item = sum(array.nbytes for array in (first.images, first.mask) if array is not None)
    if item * len(rows) <= (OF_AVAILABLE * available() if room is None else room):
        yield read_part(where, *names, masks=masks)
        return
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=folder) as file, tempfile.TemporaryFile(dir=folder) as beside:
        yield _mapped(where, rows, max(1, BLOCK // item), file, beside if first.mask is not None else None)


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


def _mapped(
    where: Path | str | Place, rows: NDArray[np.int64], block: int, file: IO[bytes], beside: IO[bytes] | None
) -> CohortArrays:
    some, columns = read_rows(where, rows[:0], masks=beside is not None), []
    for start in range(0, len(rows), block):
        some = read_rows(where, rows[start : start + block], masks=beside is not None)
        # written, not stored through the map: a full disk raises here and would be a SIGBUS there
        file.write(np.ascontiguousarray(some.images).data)
        if beside is not None and some.mask is not None:
            beside.write(np.ascontiguousarray(some.mask).data)
        columns.append((some.label, some.patient_key, some.split, *(() if some.has_mask is None else (some.has_mask,))))
    label, patient_key, split, *marked = (np.concatenate(column) for column in zip(*columns, strict=True))
    images = _memmap(file, some.images, len(rows))
    found = CohortArrays(images, label, patient_key, split, some.classes, some.attributes)
    if beside is None or some.mask is None:
        return found
    return replace(found, mask=_memmap(beside, some.mask, len(rows)), has_mask=marked[0])


def _memmap(file: IO[bytes], like: NDArray[Any], count: int) -> NDArray[Any]:
    file.flush()
    return np.memmap(file, like.dtype, "r", shape=(count, *like.shape[1:]))
