"""The whole road in `smoke` size, under Prefect with its embedded server, as a user runs it."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from medgan.home import Home
from medgan.phantom.write import write_phantoms

ROOT = Path(__file__).resolve().parent.parent
PATIENTS, SEED = 40, 11
pytestmark = pytest.mark.timeout(700)  # the road itself is within the time of the first test
SHORTEST = 5  # a planted value of fewer characters would be found by chance in compressed bytes


class Ran(NamedTuple):
    home: Home
    phantom: Path
    code: int
    summary: dict
    stderr: str


def run(home: Path, source: Path) -> subprocess.CompletedProcess[str]:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PREFECT_")}
    return subprocess.run(
        [sys.executable, "-m", "medgan.cli", "run", str(source), "--home", str(home), "--recipe", "smoke", "--json"],
        env={**environment, "PYTHONPATH": str(ROOT), "MEDGAN_DASK": ""},
        capture_output=True,
        text=True,
        check=False,
        timeout=580,
    )


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Ran:
    folder = tmp_path_factory.mktemp("road")
    write_phantoms(folder / "phantom", patients=PATIENTS, seed=SEED)
    done = run(folder / "home", folder / "phantom" / "images")
    assert done.returncode in (0, 3), done.stderr
    return Ran(Home.create(folder / "home"), folder / "phantom", done.returncode, json.loads(done.stdout), done.stderr)


def digests(home: Home) -> set[str]:
    return {*home.identified.ledger.live_digests(), *home.research.ledger.live_digests()}


def test_every_input_is_accounted_for(ran: Ran) -> None:
    inputs = dict(ran.summary["inputs"])
    files = sum(1 for path in (ran.phantom / "images").rglob("*") if path.is_file() and path.name != "labels.csv")
    assert inputs.pop("received") == sum(inputs.values()) == files
    assert {"ingested", "duplicate", "conflict", "quarantined"} <= set(inputs)


def test_the_answer_the_exit_code_and_what_was_released_agree(ran: Ran) -> None:
    accepted = ran.summary["verdict"].startswith("accept")
    assert accepted == (ran.code == 0) == bool(list(ran.home.public.digests()))
    if accepted:
        checked = subprocess.run(
            [sys.executable, "-m", "medgan.cli", "verify", ran.summary["bundle"]],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            check=False,
        )
        assert checked.returncode == 0


def test_the_gates_own_controls_came_out_right(ran: Ran) -> None:
    refused, planted = re.match(r"(\d+) of (\d+) refused", ran.summary["planted leaks"]).groups()
    assert refused == planted and int(planted) > 0


def test_every_sealed_artefact_verifies(ran: Ran) -> None:
    for zone in (ran.home.identified, ran.home.research):
        for digest in zone.ledger.live_digests():
            zone.store.verify(digest)


def test_a_second_run_makes_nothing_new(ran: Ran) -> None:
    before = digests(ran.home)
    stamps = {
        p: p.stat().st_mtime_ns for z in ("identified", "research") for p in (ran.home.root / z / "store").rglob("*")
    }
    again = run(ran.home.root, ran.phantom / "images")
    assert again.returncode == ran.code, again.stderr
    assert digests(ran.home) == before
    after = {
        p: p.stat().st_mtime_ns for z in ("identified", "research") for p in (ran.home.root / z / "store").rglob("*")
    }
    assert after == stamps
    assert {k: v for k, v in json.loads(again.stdout).items() if k != "model"} == {
        k: v for k, v in ran.summary.items() if k != "model"
    }


def test_no_identifier_is_in_any_byte_outside_the_identified_zone(ran: Ran) -> None:
    """Stores, Prefect's database, MLflow, logs, the terminal: nothing planted in the patients is there."""
    planted = [v for v in json.loads((ran.phantom / "truth" / "planted.json").read_text()) if len(v) >= SHORTEST]
    assert len(planted) > 100
    needles = sorted({form for value in planted for form in forms(value)})
    pattern = re.compile(b"|".join(re.escape(needle) for needle in needles))
    held = {
        str(p.relative_to(ran.home.root)): p for z in ("research", "public") for p in (ran.home.root / z).rglob("*")
    }
    assert any("prefect.db" in name for name in held) and any("mlflow.db" in name for name in held)
    found = {name for name, path in held.items() if path.is_file() and pattern.search(path.read_bytes())}
    found |= {name for name in held if pattern.search(name.encode())}
    assert not found
    assert not pattern.search(ran.stderr.encode()) and not pattern.search(json.dumps(ran.summary).encode())


def test_the_scan_itself_would_find_what_was_planted(ran: Ran) -> None:
    planted = [v for v in json.loads((ran.phantom / "truth" / "planted.json").read_text()) if len(v) >= SHORTEST]
    originals = b"".join(p.read_bytes() for p in (ran.home.root / "identified" / "store").rglob("*.dcm"))
    seen = sum(any(form in originals for form in forms(value)) for value in planted)
    assert seen > 0.5 * len(planted)


def forms(value: str) -> set[bytes]:
    """The encodings in which a planted value stands in files."""
    made = {value.encode("utf-8"), value.encode("utf-16-le")}
    for charset in ("latin-1", "iso2022_jp", "euc_kr", "gb18030"):
        try:
            made.add(value.encode(charset))
        except UnicodeEncodeError:
            continue
    return made
