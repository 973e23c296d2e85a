"""`medgan deidentify` folder to folder, and the keys for it."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from factories import dicom_bytes

from medgan.cli import main
from medgan.keys import read_keys

Medgan = Callable[..., tuple[int, str, str]]
OWN = """
name = "ours"
options = ["clean_pixel_data", "clean_descriptors", "retain_modified_dates", "retain_institution_identity"]
{decision}
"""
DECISION = '[decision]\nby = "the board"\non = 2026-01-31\nbecause = "sites are compared"\n'


@pytest.fixture
def medgan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Medgan]:
    """Calls the command line with a home that is not there yet."""
    before, handler = dict(os.environ), signal.getsignal(signal.SIGTERM)
    monkeypatch.setenv("MEDGAN_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("MEDGAN_DASK", "serial")

    def call(*words: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["medgan", *map(str, words)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        out, err = capsys.readouterr()
        return int(ended.value.code or 0), out, " ".join(err.split())

    yield call
    signal.signal(signal.SIGTERM, handler)
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture
def src(tmp_path: Path) -> Path:
    (tmp_path / "src").mkdir()
    more = {"PatientName": "Zwiebelbach^Jane", "InstitutionName": "Klinik Nord", "PatientID": "4711-0815"}
    (tmp_path / "src" / "a.dcm").write_bytes(dicom_bytes(**more))
    return tmp_path / "src"


def test_a_folder_is_done_with_a_key_file_and_gone_on_with_an_older_key(
    medgan: Medgan, src: Path, tmp_path: Path
) -> None:
    key = tmp_path / "key"
    assert medgan("key", key, "--new")[0] == 0
    words = ("deidentify", src, tmp_path / "out", "--key-file", key, "--workers", 1, "--json")
    code, out, err = medgan(*words, "--report", tmp_path / "list.csv")
    assert code == 0, err
    first = json.loads(out)
    assert first["written"] == first["files"] == 1 and "deidentify: 1 of 1 files" in err
    assert (tmp_path / "list.csv").read_text().splitlines()[1].endswith(",written,")
    told = json.loads(medgan("key", key, "--new", "--json")[1])
    old, new = told["older"][0], told["newest"]
    assert old == first["applied"]["key_id"] and [one.id for one in read_keys(key)] == [new, old]
    code, _, err = medgan(*words)
    assert code == 1 and f"made with key {old}, this one is {new}" in err
    assert json.loads(medgan(*words, "--key-id", old)[1]) == first
    assert not (tmp_path / "home").exists()


def test_an_own_profile_is_applied_when_somebody_decided_it(medgan: Medgan, src: Path, tmp_path: Path) -> None:
    medgan("key", tmp_path / "key", "--new")
    words = ("deidentify", src, tmp_path / "out", "--key-file", tmp_path / "key", "--profile", tmp_path / "own.toml")
    (tmp_path / "own.toml").write_text(OWN.format(decision=""))
    code, _, err = medgan(*words)
    assert code == 2 and "nobody decided it" in err and not (tmp_path / "out").exists()
    (tmp_path / "own.toml").write_text(OWN.format(decision=DECISION))
    code, out, err = medgan(*words, "--json", "--workers", 1)
    assert code == 0, err
    assert json.loads(out)["applied"]["decided"]["by"] == "the board"
    (file,) = (tmp_path / "out").glob("*/*.dcm")
    assert b"Klinik Nord" in file.read_bytes() and b"Zwiebel" not in file.read_bytes()
    assert "the board" in (tmp_path / "out" / "deidentification.html").read_text()


def test_nothing_usable_ends_with_4_and_the_reasons(medgan: Medgan, tmp_path: Path) -> None:
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "Zwiebelbach.txt").write_text("nothing")
    medgan("key", tmp_path / "key", "--new")
    words = ("deidentify", tmp_path / "src", tmp_path / "out", "--key-file", tmp_path / "key", "--workers", 1)
    code, _, err = medgan(*words)
    assert code == 4 and "not_dicom (1)" in err and "Zwiebel" not in err


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        pytest.param(("only-one",), 2, "both SRC and DST", id="half a pair"),
        pytest.param(("src", "out", "--profile", "own"), 2, "expected research, basic or a TOML file", id="no profile"),
        pytest.param(("src", "out", "--key-file", "none"), 1, "missing", id="no key file"),
        pytest.param(("src", "out", "--key-id", "ab"), 2, "--key-file", id="key id alone"),
        pytest.param(("--workers", "2"), 2, "go with SRC and DST", id="workers of a home"),
        pytest.param(("src", "out", "--workers", "0"), 2, "greater than or equal to 1", id="no workers"),
    ],
)
def test_wrong_usage_is_told(
    medgan: Medgan, src: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], code: int, says: str
) -> None:
    monkeypatch.chdir(src.parent)
    ended, _, err = medgan("deidentify", *words)
    assert ended == code and says in err, err


def test_the_key_of_a_home_is_named_and_not_replaced(medgan: Medgan) -> None:
    told = json.loads(medgan("key", "--json")[1])
    assert len(told["newest"]) == 8 and told["older"] == []
    code, _, err = medgan("key", "--new")
    assert code == 2 and "a home keeps its key" in err
