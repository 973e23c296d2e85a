"""Kill -9 in the middle of each stage, run again, and compare every digest with an undisturbed run.

    ./run bench kills [--patients 60] [--seed 0] [--work FOLDER]

Image budgets only, so that everything DESIGN binds by digest must be the same. Prints one row a stage: when the
process was killed, what the second run said, and whether the digests of all live artefacts are equal.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

from medgan.home import Home
from medgan.stages.phantom import phantom

ROOT = Path(__file__).resolve().parent.parent
# smoke, but content with the power that some dozens of patients give: so that the release stage has work to do
RECIPE = 'base = "smoke"\n[evaluate]\nsmallest_leak = 1.0\n'
STAGES = ("ingest", "deidentify", "preprocess", "train", "synthesize", "evaluate", "release")


def start(home: Path, source: Path, log: Path) -> subprocess.Popen[bytes]:
    recipe = log.parent / "recipe.toml"
    recipe.write_text(RECIPE)
    words = [sys.executable, "-m", "medgan.cli", "run", str(source), "--home", str(home), "--recipe", str(recipe)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with log.open("wb") as file:
        return subprocess.Popen(words, env=environment, stdout=file, stderr=file)


def ends(log: Path) -> dict[str, bool]:
    """Stages whose last progress line was printed, by the log so far."""
    done: dict[str, bool] = {}
    for line in log.read_text(errors="replace").splitlines():
        words = line.split()
        if len(words) >= 4 and words[0].rstrip(":") in STAGES and words[2] == "of":
            done[words[0].rstrip(":")] = words[1] == words[3]
    return done


def undisturbed(home: Path, source: Path, log: Path) -> dict[str, float]:
    """Run through; returns how long each stage took, in seconds."""
    process, at, took = start(home, source, log), time.monotonic(), {}
    while process.poll() is None:
        for stage, done in ends(log).items():
            if done and stage not in took:
                took[stage] = time.monotonic() - at
                at = time.monotonic()
        time.sleep(0.05)
    took["release"] = time.monotonic() - at
    assert process.returncode in (0, 3), log.read_text()
    return took


def kill_in(stage: str, after: float, home: Path, source: Path, log: Path) -> None:
    """Kill `after` seconds past the end of the stage before; its helper processes are ended too."""
    process = start(home, source, log)
    before = STAGES[STAGES.index(stage) - 1] if stage != "ingest" else None
    while process.poll() is None and not (before is None or ends(log).get(before)):
        time.sleep(0.02)
    time.sleep(after)
    helpers = psutil.Process(process.pid).children(recursive=True) if process.poll() is None else []
    process.send_signal(signal.SIGKILL)
    process.wait()
    for helper in helpers:
        if helper.is_running():
            helper.kill()


def digests(home: Path) -> dict[str, set[str]]:
    opened = Home.create(home)
    return {
        "identified": set(opened.identified.ledger.live_digests()),
        "research": set(opened.research.ledger.live_digests()),
        "public": set(opened.public.digests()),
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--patients", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()) / "medgan-kills")
    asked = parser.parse_args()
    shutil.rmtree(asked.work, ignore_errors=True)
    asked.work.mkdir(parents=True)
    source = phantom(asked.work / "phantom", patients=asked.patients, seed=asked.seed)
    chance = random.Random(asked.seed)
    whole = asked.work / "whole"
    took = undisturbed(whole, source, asked.work / "whole.log")
    expected = digests(whole)
    print(
        f"undisturbed: {sum(took.values()):.0f} s; " + ", ".join(f"{n} {len(d)} artefacts" for n, d in expected.items())
    )
    print(f"{'killed in':<12}{'after s':>8}{'again s':>9}  {'exit':>4}  digests")
    for stage in STAGES:
        home = asked.work / stage
        for name in ("identified/key", "research/keys/cohort", "research/keys/signing.pem"):
            if (whole / name).exists():
                (home / name).parent.mkdir(parents=True, exist_ok=True, mode=0o700)
                shutil.copy2(whole / name, home / name)
        after = chance.uniform(0.15, 0.85) * took.get(stage, 1.0)
        kill_in(stage, after, home, source, asked.work / f"{stage}-killed.log")
        begun = time.monotonic()
        again = start(home, source, asked.work / f"{stage}-again.log")
        again.wait()
        same = {name: digests(home)[name] == wanted for name, wanted in expected.items()}
        said = "equal" if all(same.values()) else "DIFFERENT in " + ", ".join(n for n, ok in same.items() if not ok)
        print(f"{stage:<12}{after:>8.1f}{time.monotonic() - begun:>9.0f}  {again.returncode:>4}  {said}", flush=True)


if __name__ == "__main__":
    main()
