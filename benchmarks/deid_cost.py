"""What the metadata part of de-identification costs, in CPU, against a plain read and write of the same files.

    ./run bench deid_cost [--files ZIP] [--rounds 5] [--workers 1 2]

Every file is read and written by pydicom (dcmread, save_as), then opened, scrubbed, written and audited, a study at a
time as gate 1 does; nothing is looked at for burned-in text. The rounds take turns, so that a busy machine slows all
alike; the medians are compared. Without --files the package files of pydicom are taken. The second table repeats the
work in so many processes at once.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import multiprocessing
import statistics
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

from pydicom import dcmread
from pydicom.data import get_testdata_files

from medgan.deid import draft
from medgan.deid.audit import audit
from medgan.deid.audit.elements import parse
from medgan.deid.profiles.profile import profile
from medgan.deid.scrub.tree import read, text

SECRET, PATIENT, MOST_DAYS = b"k" * 32, "ab" * 16, 1825
APPLIED = profile("research")


Files = list[bytes]


def studies(archive: Path | None) -> list[Files]:
    """The files that gate 1 opens, of an archive or of pydicom's package, by study."""
    if archive is None:
        paths = (Path(name) for name in get_testdata_files("*.dcm"))
        found = [path.read_bytes() for path in paths if path.is_file()]
    else:
        with zipfile.ZipFile(archive) as held:
            found = [held.read(name) for name in held.namelist() if not name.endswith("/")]
    grouped: dict[str, Files] = {}
    with draft.quiet():
        for data in found:
            opened = draft.open_draft({"a": data}, PATIENT).instances
            if opened and _copied(data):
                grouped.setdefault(text(opened[0].tree.elements, draft.STUDY), []).append(data)
    return list(grouped.values())


def _copied(data: bytes) -> bool:
    """Whether pydicom itself can read and write the file."""
    try:
        copy([data])
    except draft.UNPARSABLE:
        return False
    return True


def copy(study: Files) -> None:
    for data in study:
        dcmread(io.BytesIO(data), force=True).save_as(io.BytesIO(), enforce_file_format=False)


def scrub(study: Files) -> None:
    """Gate 1 without the audit and its walk over the source."""
    identity = draft.Identity(APPLIED)
    instances = [draft.Instance("a", data, read(data), NOTHING) for data in study]
    for instance in instances:
        identity.add(instance.tree.elements)
    days = draft.pseudonym.shift_days(SECRET, PATIENT, MOST_DAYS)
    scrubber = draft.Scrubber(APPLIED, SECRET, PATIENT, days, identity.known())
    for instance in instances:
        with contextlib.suppress(*draft.UNPARSABLE):  # the full way sets such a file aside
            draft.scrubbed(instance, scrubber)


def everything(study: Files) -> None:
    files = {str(number): data for number, data in enumerate(study)}
    draft.finish(draft.open_draft(files, PATIENT), APPLIED, SECRET, MOST_DAYS)


NOTHING = parse(b"", audit.sequence_tags())
WAYS: dict[str, Callable[[Files], None]] = {
    "pydicom dcmread + save_as": copy,
    "open, scrub, write": scrub,
    "open, scrub, write, audit": everything,
}


def cpu_s(way: Callable[[Files], None], taken: list[Files]) -> float:
    at = time.process_time()
    with draft.quiet():
        for study in taken:
            way(study)
    return time.process_time() - at


def ratios(taken: list[Files], rounds: int) -> None:
    times: dict[str, list[float]] = {name: [] for name in WAYS}
    for _ in range(rounds):
        for name, way in WAYS.items():
            times[name].append(cpu_s(way, taken))
    medians = {name: statistics.median(found) for name, found in times.items()}
    whole = medians["pydicom dcmread + save_as"]
    files = [data for study in taken for data in study]
    size = sum(map(len, files)) >> 20
    print(f"{len(files)} files of {len(taken)} studies, {size} MiB; CPU, median of {rounds}   (goal: 2.0 or less)")
    for name, found in medians.items():
        print(f"  {name:<30}{1000 * found / len(files):>8.2f} ms a file{found / whole:>8.2f} x", flush=True)


def part(share: list[Files]) -> float:
    return cpu_s(everything, share)


def linearity(taken: list[Files], workers: list[int]) -> None:
    by_size = sorted(taken, key=lambda study: -sum(map(len, study)))
    files = sum(map(len, taken))
    print("workers      wall s    CPU s    files a s")
    for count in workers:
        shares = [by_size[n::count] for n in range(count)]
        with multiprocessing.get_context("spawn").Pool(count) as pool:
            pool.map(part, [by_size[-1:]] * count, chunksize=1)
            at = time.perf_counter()
            cpu = sum(pool.map(part, shares, chunksize=1))
            wall = time.perf_counter() - at
        print(f"{count:>7}{wall:>12.2f}{cpu:>9.2f}{files / wall:>13.0f}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--files", type=Path, metavar="ZIP", help="an archive of DICOM files")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    chosen = parser.parse_args()
    taken = studies(chosen.files)
    ratios(taken, chosen.rounds)
    linearity(taken, chosen.workers)


if __name__ == "__main__":
    main()
