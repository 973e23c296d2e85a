"""Kill -9 at random moments of a DICOMweb pull, run again, and count what was lost and what came twice.

    ./run bench dicomweb_kills [--kills 10] [--studies 60] [--images 40] [--side 128] [--seed 0]

Each kill begins with an empty home that has the same key; it falls at random within the half second after a number of
inputs, drawn at random too, was recorded. After the second run every image must be live exactly once, every study
sealed with the digest of the undisturbed one, and nothing left in staging.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import psutil

from benchmarks.dicomweb_pull import fill
from medgan.home import Home
from medgan.stages.ingest import pending
from tests.orthanc_server import orthanc, unavailable

ROOT = Path(__file__).resolve().parent.parent
RECIPE = 'base = "smoke"\n[ingest]\nstability_s = 0\n'


def start(home: Path, address: str, recipe: Path) -> subprocess.Popen[bytes]:
    words = [sys.executable, "-m", "medgan.cli", "ingest", address, "--home", str(home), "--recipe", str(recipe)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(words, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def wait_for(inputs: int, process: subprocess.Popen[bytes], home: Path) -> None:
    """Until so many inputs are recorded, or the process has ended."""
    ledger = home / "identified" / "ledger.db"
    while process.poll() is None:
        try:
            with sqlite3.connect(f"file:{ledger}?mode=ro", uri=True) as db:
                if db.execute("select count(*) from inputs").fetchone()[0] >= inputs:
                    return
        except sqlite3.OperationalError:
            pass  # not made yet, or locked
        time.sleep(0.02)


def kill(process: subprocess.Popen[bytes]) -> None:
    """The process alone: its readers must end by themselves."""
    readers = psutil.Process(process.pid).children(recursive=True) if process.poll() is None else []
    process.send_signal(signal.SIGKILL)
    process.wait()
    _, alive = psutil.wait_procs(readers, timeout=5)
    assert not alive, "readers outlived their parent"


def state(root: Path) -> tuple[dict[str, str], dict[str, int], int, int]:
    """Digest of each live study, inputs by state, images that are live more than once, folders left in staging."""
    home = Home.create(root)
    live = Counter(row.instance_key for row in home.identified_ledger.inputs(state="ingested"))
    twice = sum(n > 1 for n in live.values())
    left = len(list((root / "identified" / "staging").glob("*")))
    return {s.study_key: s.digest for s in pending(home)}, home.identified_ledger.input_states(), twice, left


def main() -> None:
    parser = argparse.ArgumentParser()
    for name, default in (("kills", 10), ("studies", 60), ("images", 40), ("side", 128), ("seed", 0)):
        parser.add_argument(f"--{name}", type=int, default=default)
    asked = parser.parse_args()
    if why := unavailable():
        raise SystemExit(why)
    chance, bad = random.Random(asked.seed), 0
    with tempfile.TemporaryDirectory() as folder, orthanc(Path(folder) / "orthanc") as archive:
        fill(archive, asked.studies, asked.images, asked.side)
        recipe, whole = Path(folder) / "recipe.toml", Path(folder) / "whole"
        recipe.write_text(RECIPE)
        at = time.monotonic()
        assert start(whole, archive.dicomweb, recipe).wait() == 0
        took, expected = time.monotonic() - at, state(whole)
        print(f"undisturbed: {took:.1f} s, {asked.studies * asked.images} images, {expected[1]}")
        print(f"{'killed after s':>15}{'recorded then':>15}{'exit':>6}{'lost':>6}{'twice':>7}  studies")
        for number in range(asked.kills):
            home = Path(folder) / f"home{number}"
            (home / "identified").mkdir(parents=True, mode=0o700)
            shutil.copy2(whole / "identified" / "key", home / "identified" / "key")
            process, at = start(home, archive.dicomweb, recipe), time.monotonic()
            wait_for(chance.randrange(asked.studies * asked.images), process, home)
            time.sleep(chance.uniform(0, 0.5))
            after = time.monotonic() - at
            kill(process)
            then = sum(state(home)[1].values())
            code = start(home, archive.dicomweb, recipe).wait()
            studies, states, twice, left = state(home)
            lost = asked.studies * asked.images - states.get("ingested", 0)
            same = studies == expected[0] and states == expected[1] and not left
            bad += bool(lost or twice or code or not same)
            said = "equal" if same else "DIFFERENT"
            print(f"{after:>15.2f}{then:>15}{code:>6}{lost:>6}{twice:>7}  {said}", flush=True)
            shutil.rmtree(home)
    print(f"{asked.kills - bad} of {asked.kills} as if nothing had happened")
    raise SystemExit(bool(bad))


if __name__ == "__main__":
    main()
