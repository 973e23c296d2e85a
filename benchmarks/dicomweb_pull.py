"""Pull from a real Orthanc over DICOMweb into a home, against the raw bytes and against dicomweb-client.

    ./run bench dicomweb_pull [--studies 20] [--images 100] [--side 512] [--rounds 3]

All in turn in each round, against one archive. "medgan" is the whole intake: fetch, hash, checks in child processes,
sealed studies, ledger. "raw" downloads the same studies whole, over as many connections, and keeps nothing; "raw,
kept" writes each to a file and syncs it. "dicomweb-client" retrieves image by image with its defaults, a sample of
them. Prints the median rate of each, CPU seconds of this process with its children, the ratios, and what part of the
intake's CPU time the ledger took.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import os
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import requests
from dicomweb_client.api import DICOMwebClient

from medgan.home import Home
from medgan.ledger import Ledger
from medgan.recipes import IngestRecipe
from medgan.stages.ingest import ingest
from medgan.stages.places import opened
from tests.factories import dicom_bytes
from tests.orthanc_server import Orthanc, orthanc, unavailable

SAMPLE = 60  # images that dicomweb-client retrieves in a round
WHOLE = {"Accept": 'multipart/related; type="application/dicom"', "Accept-Encoding": "identity"}


@dataclass(frozen=True, slots=True)
class Run:
    """Wall seconds, and CPU seconds of this process with the children that ended meanwhile; of the ledger alone."""

    seconds: float
    cpu: float
    ledger: float = 0.0


def fill(archive: Orthanc, studies: int, images: int, side: int) -> None:
    noise = np.random.default_rng(0)
    for study in range(studies):
        for image in range(images):
            pixels = noise.integers(0, 4096, (side, side), dtype=np.uint16).tobytes()
            uid = f"1.2.826.0.1.{study + 1}"
            more = {"StudyInstanceUID": uid, "SeriesInstanceUID": f"{uid}.1", "PatientID": f"P{study}"}
            data = dicom_bytes(f"{uid}.1.{image + 1}", Rows=side, Columns=side, PixelData=pixels, **more)
            archive.put(data)


def raw(archive: Orthanc, keep: Path | None = None, connections: int = 4) -> int:
    """Download every study whole, in memory or into a file each; returns bytes."""
    uids = [row["0020000D"]["Value"][0] for row in archive.get("/dicom-web/studies")]

    def download(uid: str) -> int:
        data = requests.get(f"{archive.url}/dicom-web/studies/{uid}", headers=WHOLE, timeout=600).content
        if keep is not None:
            with (keep / uid).open("wb") as file:
                file.write(data)
                os.fsync(file.fileno())
        return len(data)

    with ThreadPoolExecutor(connections) as pool:
        return sum(pool.map(download, uids))


def kept(archive: Orthanc, ground: Path) -> None:
    raw(archive, Path(tempfile.mkdtemp(dir=ground)))


def one_by_one(archive: Orthanc, most: int) -> int:
    """dicomweb-client as it comes; returns images."""
    client = DICOMwebClient(f"{archive.url}/dicom-web")
    rows = client.search_for_instances(limit=most)
    for row in rows:
        study, series, image = (row[tag]["Value"][0] for tag in ("0020000D", "0020000E", "00080018"))
        client.retrieve_instance(study, series, image)
    return len(rows)


def intake(address: str, images: int, recipe: IngestRecipe, ground: Path) -> Run:
    """A new home takes in everything."""
    with ledger_seconds() as ledger:
        home = Home.create(Path(tempfile.mkdtemp(dir=ground)) / "home")
        with opened(address, home) as place:
            run = timed(lambda: ingest(place, recipe, home))
        states = home.identified_ledger.input_states()
        assert states == {"ingested": images}, states
    return Run(run.seconds, run.cpu, ledger[0])


@contextlib.contextmanager
def ledger_seconds() -> Iterator[list[float]]:
    """CPU seconds of all calls of a ledger meanwhile, by all threads."""
    spent, inside = [0.0], threading.local()
    names = [name for name in dir(Ledger) if not name.startswith("_") and name != "lease"]
    real = {name: getattr(Ledger, name) for name in names if callable(getattr(Ledger, name))}

    def measured(call: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(call)
        def wrapped(*args: Any, **more: Any) -> Any:
            if getattr(inside, "a_call", False):
                return call(*args, **more)
            inside.a_call, at = True, time.thread_time()
            try:
                return call(*args, **more)
            finally:
                inside.a_call = False
                spent[0] += time.thread_time() - at

        return wrapped

    for name, call in real.items():
        setattr(Ledger, name, measured(call))
    try:
        yield spent
    finally:
        for name, call in real.items():
            setattr(Ledger, name, call)


def timed(call: Callable[[], object]) -> Run:
    at, before = time.perf_counter(), psutil.Process().cpu_times()
    call()
    took, after = time.perf_counter() - at, psutil.Process().cpu_times()
    return Run(took, sum(after[:4]) - sum(before[:4]))


def compare(calls: dict[str, tuple[int, Callable[[], Run]]], rounds: int) -> dict[str, float]:
    """Run each in turn, so many rounds, and print medians; `calls` have the images each brings. Returns the rates."""
    runs: dict[str, list[Run]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name, (_, call) in calls.items():
            runs[name].append(call())
    print(f"{'':<18}{'images/s':>10}{'CPU ms/image':>14}")
    rates = {}
    for name, (images, _) in calls.items():
        rates[name] = images / statistics.median(run.seconds for run in runs[name])
        print(
            f"{name:<18}{rates[name]:>10.1f}{1000 * statistics.median(run.cpu for run in runs[name]) / images:>14.2f}"
        )
    share = statistics.median(run.ledger / run.cpu for run in runs["medgan"])
    print(f"ledger, share of CPU:      {share:.1%}   (goal: 3 % or less)")
    return rates


def main() -> None:
    parser = argparse.ArgumentParser()
    for name, default in (("studies", 20), ("images", 100), ("side", 512), ("rounds", 3)):
        parser.add_argument(f"--{name}", type=int, default=default)
    asked = parser.parse_args()
    if why := unavailable():
        raise SystemExit(why)
    total = asked.studies * asked.images
    sample = min(SAMPLE, total)
    with tempfile.TemporaryDirectory() as folder, orthanc(Path(folder)) as archive:
        fill(archive, asked.studies, asked.images, asked.side)
        print(
            f"{total} images of {asked.side} x {asked.side}, {asked.studies} studies, medians of {asked.rounds} rounds"
        )
        # nothing is removed before the end: ext4 searches long for an inode right after thousands were freed
        ground = Path(folder) / "kept"
        ground.mkdir()
        recipe = IngestRecipe(stability_s=0)
        calls = {
            "medgan": (total, lambda: intake(archive.dicomweb, total, recipe, ground)),
            "raw": (total, lambda: timed(lambda: raw(archive))),
            "raw, kept": (total, lambda: timed(lambda: kept(archive, ground))),
            "dicomweb-client": (sample, lambda: timed(lambda: one_by_one(archive, sample))),
        }
        rates = compare(calls, asked.rounds)
    for name, goal in (("dicomweb-client", "10 or more"), ("raw", "0.8 or more"), ("raw, kept", "no goal")):
        print(f"{'medgan / ' + name + ':':<27}{rates['medgan'] / rates[name]:.2f}   ({goal})")


if __name__ == "__main__":
    main()
