"""Bad input ends in one sentence, the right exit code, and nothing half-written."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]


def medgan(*words: object, home: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    return subprocess.run(
        [sys.executable, "-m", "medgan.cli", *map(str, words)],
        env={**inherited, "PYTHONPATH": str(ROOT), "MEDGAN_HOME": str(home), "MEDGAN_DASK": "serial", **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def make_zip_of_nothing(path: Path) -> Path:
    import zipfile

    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme.txt", "no picture here")
    return path


def source(tmp_path: Path, kind: str) -> Path:
    path = tmp_path / "source"
    if kind == "empty":
        path.mkdir()
    elif kind == "no image":
        return make_zip_of_nothing(tmp_path / "source.zip")
    elif kind == "not a zip":
        path = tmp_path / "source.zip"
        path.write_bytes(b"PK but not really")
    return path


@pytest.mark.parametrize("kind", ["missing", "empty", "no image", "not a zip"])
@pytest.mark.parametrize("verb", ["run", "ingest"])
def test_a_source_that_cannot_serve_is_refused_in_a_sentence(tmp_path: Path, kind: str, verb: str) -> None:
    done = medgan(verb, source(tmp_path, kind), "--recipe", "smoke", home=tmp_path / "home")
    assert done.returncode == 1, done.stderr
    said = done.stderr.strip().splitlines()[-1]
    assert said.startswith("medgan: ") and "Traceback" not in done.stderr and "internal error" not in done.stderr
    assert not list((tmp_path / "home").glob("*/staging/*"))


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        pytest.param(("run", ".", "--recipe", "no-such"), 2, "presets are", id="no such recipe"),
        pytest.param(("train", "--images", "0"), 2, "images", id="impossible field"),
        pytest.param(("train", "--budget", "soon"), 1, "no cohort", id="nothing to train on"),
        pytest.param(("evaluate",), 2, "medgan train", id="nothing to evaluate"),
        pytest.param(("release",), 2, "medgan evaluate", id="nothing to release"),
        pytest.param(("synthesize", "-n", "0"), 2, "greater than or equal to 1", id="no images asked"),
        pytest.param(("deidentify", "only-one"), 2, "both SRC and DST", id="half a pair"),
        pytest.param(("quarantine", "retry", "abc"), 2, "set aside", id="no such study"),
        pytest.param(("no-such-verb",), 2, "No such command", id="no such verb"),
        pytest.param(("withdraw", "--patient-file", "no-such-file"), 2, "cannot be read", id="no patient file"),
    ],
)
def test_wrong_usage_is_told(tmp_path: Path, words: tuple[str, ...], code: int, says: str) -> None:
    done = medgan(*words, home=tmp_path / "home")
    assert done.returncode == code, done.stderr
    assert says in done.stderr and "Traceback" not in done.stderr


def test_a_home_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "home").write_text("a file, where a folder should be")
    done = medgan("status", home=tmp_path / "home")
    assert done.returncode == 1 and "home folder" in done.stderr and "internal error" not in done.stderr


def test_json_is_the_only_thing_on_stdout(tmp_path: Path) -> None:
    import json

    done = medgan("status", "--json", home=tmp_path / "home")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["studies"]["arrived"] == 0
