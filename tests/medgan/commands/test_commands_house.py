"""The verbs on a lived-in home, in this process: what they print, and the code they end with."""

from __future__ import annotations

import io
import json
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from factories import dicom_bytes

from medgan.cli import main
from medgan.errors import Reason
from medgan.home import Home
from medgan.known_sources import everything
from medgan.stages import newest
from medgan.store import Store


class Done(NamedTuple):
    code: int
    out: str
    err: str

    @property
    def told(self) -> dict[str, Any]:
        return json.loads(self.out)


Medgan = Callable[..., Done]


@pytest.fixture
def medgan(home: Home, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Medgan]:
    """Calls the command line on the copied home."""
    import signal

    before, handler = dict(os.environ), signal.getsignal(signal.SIGTERM)
    monkeypatch.setenv("MEDGAN_HOME", str(home.root))
    monkeypatch.setenv("MEDGAN_DASK", "serial")
    monkeypatch.delenv("PREFECT_API_URL", raising=False)

    def call(*words: object) -> Done:
        monkeypatch.setattr(sys, "argv", ["medgan", *map(str, words)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        return Done(int(ended.value.code or 0), *capsys.readouterr())

    yield call
    signal.signal(signal.SIGTERM, handler)
    os.environ.clear()
    os.environ.update(before)


# the house


def test_status_and_doctor_of_a_house_in_order(medgan: Medgan) -> None:
    told = medgan("status", "--json").told
    assert told["studies"]["arrived"] > 0 and told["newest checkpoint"] != "none"
    done = medgan("doctor", "--json")
    assert done.code == 0 and all(row["fine"] for row in done.told["rows"])


def test_doctor_ends_with_1_when_something_is_not_in_order_and_0_when_repaired(medgan: Medgan, home: Home) -> None:
    sample = home.research.ledger.entries("preprocess")[0]
    next(home.research.store.path(sample.digest).glob("*.npy")).write_bytes(b"")
    done = medgan("doctor")
    assert done.code == 1 and "research artefacts" in done.err
    assert medgan("doctor", "--repair").code == 0 == medgan("doctor").code


def test_quarantine_lists_shows_retries_and_drops(medgan: Medgan, home: Home) -> None:
    study = home.research.ledger.entries("preprocess")[0].subject
    home.research.ledger.set_aside(study, "preprocess", "k", Reason.BLANK)
    listed = medgan("quarantine", "list", "--json").told["rows"]
    assert {"what": "study", "key": study, "stage": "preprocess", "reason": "blank", "times": 1} in listed
    assert any(row["what"] == "inputs" for row in listed)
    assert medgan("quarantine", "show", study, "--json").told["rows"][0]["reason"] == "blank"
    assert medgan("quarantine", "retry", study).code == 0
    assert medgan("quarantine", "show", study).code == 2
    home.research.ledger.set_aside(study, "preprocess", "k", Reason.BLANK)
    assert medgan("quarantine", "drop", study).code == 0
    assert not home.research.ledger.entries("preprocess", subject=study)


def test_a_patient_is_withdrawn_by_file_or_by_standard_input_and_never_named(
    medgan: Medgan, home: Home, phantoms: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    patient = (phantoms / "labels.csv").read_text().splitlines()[1].rsplit(",", 1)[1]
    (tmp_path / "list.txt").write_text(patient)
    first = medgan("withdraw", "--patient-file", tmp_path / "list.txt", "--json")
    assert first.code == 0 and first.told["deleted"]["ingest"] > 0
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(f"{patient}\r\n".encode())))
    second = medgan("withdraw", "--patient-file", "-", "--json")
    assert second.told["already"] == 1 and set(second.told["deleted"].values()) == {0}
    assert not [text for done in (first, second) for text in done if patient in str(text)]


def test_a_patient_list_that_is_no_text_is_wrong_usage(medgan: Medgan, tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_bytes(b"M\xfcller")
    done = medgan("withdraw", "--patient-file", tmp_path / "list.txt")
    assert done.code == 2 and "UTF-8" in done.err and "internal" not in done.err


def test_backup_and_restore(medgan: Medgan, home: Home, tmp_path: Path) -> None:
    assert medgan("backup", tmp_path / "b.tgz").code == 0
    assert medgan("backup", tmp_path / "b.tgz").code == 2
    assert medgan("restore", tmp_path / "b.tgz", "--home", tmp_path / "new").code == 0
    assert Home.create(tmp_path / "new").key_fingerprint == home.key_fingerprint
    assert medgan("restore", tmp_path / "b.tgz").code == 1


def test_plan_tells_and_takes_nothing_in(medgan: Medgan, phantoms: Path, home: Home) -> None:
    before = home.identified_ledger.input_states()
    told = medgan("plan", phantoms, "--json").told
    assert told["inputs"] == sum(before.values()) and told["new or changed"] == 0
    assert home.identified_ledger.input_states() == before


def test_deploy_without_a_server_says_what_to_do(medgan: Medgan) -> None:
    done = medgan("deploy")
    assert done.code == 2 and "PREFECT_API_URL" in done.err


# the stages


def test_what_is_done_is_found_and_not_done_again(medgan: Medgan, phantoms: Path, home: Home) -> None:
    before = home.identified_ledger.live_digests(), home.research.ledger.live_digests()
    taken = medgan("ingest", phantoms, "--json").told
    assert taken["received"] == 0 and taken["unchanged"] > 0
    assert medgan("deidentify", "--json").told["studies"] == len(home.research.ledger.entries("deidentify"))
    assert before == (home.identified_ledger.live_digests(), home.research.ledger.live_digests())


def test_ingest_reports_every_input(medgan: Medgan, phantoms: Path, home: Home, tmp_path: Path) -> None:
    assert medgan("ingest", phantoms, "--report", tmp_path / "report.csv").code == 0
    rows = (tmp_path / "report.csv").read_text().splitlines()
    assert len(rows) - 1 == sum(home.identified_ledger.input_states().values())


def test_synthesize_writes_a_cohort_out(medgan: Medgan, tmp_path: Path) -> None:
    done = medgan("synthesize", "-n", 3, "--format", "png", "--out", tmp_path / "out", "--json")
    assert done.code == 0, done.err
    assert len(list((tmp_path / "out" / "png").glob("*.png"))) == done.told["images"] == 3
    assert medgan("synthesize", "-n", 3, "--format", "png", "--out", tmp_path / "out").code == 2
    assert medgan("synthesize", "-n", 3, "--format", "bmp").code == 2


def test_phantoms_do_not_go_into_a_folder_in_use(medgan: Medgan, tmp_path: Path) -> None:
    assert medgan("phantom", tmp_path / "new", "--patients", 1).code == 0
    (tmp_path / "file").write_text("mine")
    for used in ("new", "file"):
        assert medgan("phantom", tmp_path / used, "--patients", 1).code == 2


def test_verify_tells_what_was_changed(medgan: Medgan, tmp_path: Path) -> None:
    from medgan.bundle import sign

    with Store(tmp_path).staging() as folder:
        (folder / "scorecard.json").write_text('{"answer":"accept"}')
        (folder / "report.html").write_text("<!doctype html>")
        sign.sign(folder, sign.read_private(sign.new_key()), {"answer": "accept"})
        digest = Store(tmp_path).seal(folder, sign.KIND, {"stage": sign.KIND})
    bundle = Store(tmp_path).path(digest)
    assert medgan("verify", bundle, "--json").told["problems"] == []
    (bundle / "scorecard.json").write_text("[]")
    done = medgan("verify", bundle)
    assert done.code == 3 and "not what was signed" in done.err


# analysis


@pytest.mark.parametrize("task", ["diagnose", "retrieve", "anomaly"])
def test_a_model_is_fitted_and_applied_and_says_what_it_is_not_for(medgan: Medgan, tmp_path: Path, task: str) -> None:
    fitted = medgan("analyze", task, "fit", "--out", tmp_path / "model", "--json")
    applied = medgan("analyze", task, "apply", tmp_path / "model", "--out", tmp_path / "said", "-k", 1, "--json")
    assert fitted.code == applied.code == 0, fitted.err + applied.err
    assert fitted.told["notice"] == applied.told["notice"] == "not for clinical use"
    (table,) = (tmp_path / "said").glob("*.csv")
    assert str(table) == applied.told["table"] and "not for clinical use" in table.read_text()
    assert json.loads((tmp_path / "said" / "about.json").read_text())["notice"] == "not for clinical use"


def test_images_of_another_size_are_brought_onto_the_grid(medgan: Medgan, tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 255, (5, 23, 31)).astype(np.uint8)
    np.savez(tmp_path / "some.npz", images=images)
    assert medgan("analyze", "anomaly", "fit", "--out", tmp_path / "model").code == 0
    done = medgan("analyze", "anomaly", "apply", tmp_path / "model", tmp_path / "some.npz", "--out", tmp_path / "said")
    assert done.code == 0, done.err
    assert len((tmp_path / "said" / "scores.csv").read_text().splitlines()) == 6


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("segment", "fit"), "later version"),
        (("enhance", "apply"), "later version"),
        (("cure", "fit"), "there are diagnose, retrieve, anomaly"),
        (("diagnose", "guess"), "fit and apply"),
        (("diagnose", "fit"), "--out is missing"),
        (("diagnose", "apply", "--out", "x"), "needs the model"),
        (("diagnose", "apply", "no-such-model", "--out", "x"), "no such model"),
        (("diagnose", "fit", "a", "b", "--out", "x"), "one DATA"),
        (("diagnose", "fit", "no-such-data", "--out", "x"), "no cohort there"),
        (("diagnose", "fit", "--out", "."), "not an empty folder"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_wrong_usage_of_analyze_ends_with_2(
    medgan: Medgan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], says: str
) -> None:
    monkeypatch.chdir(tmp_path)
    done = medgan("analyze", *words)
    assert done.code == 2 and says in " ".join(done.err.split()), done.err
    assert not (tmp_path / "x").exists()


# the whole road, before Prefect is started


def test_an_impossible_recipe_or_source_fails_before_any_server(medgan: Medgan, tmp_path: Path, home: Home) -> None:
    (tmp_path / "own.toml").write_text("[train]\nwidths = 3\n")
    assert medgan("run", tmp_path, "--recipe", tmp_path / "own.toml").code == 2
    assert medgan("run", tmp_path / "nowhere").code == 1
    assert not (home.root / "research" / "prefect").exists()
    assert newest.checkpoint(home)


def test_a_home_that_others_can_read_is_told(medgan: Medgan, home: Home) -> None:
    (home.root / "identified" / "key").chmod(0o644)
    done = medgan("doctor")
    assert done.code == 1 and "chmod 600" in done.err and "internal" not in done.err


def test_a_source_is_followed_by_the_schedule_until_it_is_not(medgan: Medgan, home: Home, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.dcm").write_bytes(dicom_bytes("1.9.8.7", StudyInstanceUID="1.9.8"))
    known = home.root / "identified"
    before = set(everything(known))
    assert medgan("ingest", tmp_path / "in").code == 0 and set(everything(known)) == before
    followed = medgan("ingest", tmp_path / "in", "--follow")
    assert followed.code == 0 and len(set(everything(known)) - before) == 1
    assert str(tmp_path) not in followed.err
    assert medgan("ingest", tmp_path / "in", "--unfollow").code == 0 and set(everything(known)) == before


def test_a_receiver_without_senders_is_wrong_usage(medgan: Medgan) -> None:
    done = medgan("receive")
    assert done.code == 2 and "--allow" in done.err


def test_a_reserve_that_is_no_number_is_wrong_usage(medgan: Medgan, monkeypatch: pytest.MonkeyPatch) -> None:
    for wrong in ("abc", "-1", "inf"):
        monkeypatch.setenv("MEDGAN_RESERVE_GIB", wrong)
        done = medgan("status")
        assert done.code == 2 and "MEDGAN_RESERVE_GIB" in done.err and wrong not in done.err.replace("information", "")


def test_secrets_that_others_can_read_are_found_by_the_doctor(medgan: Medgan, home: Home) -> None:
    path = home.root / "identified" / "connections.json"
    path.write_text('{"h:443": {"token": "t"}}')
    path.chmod(0o644)
    done = medgan("doctor", "--json")
    assert done.code == 1 and not next(row for row in done.told["rows"] if row["check"] == "connections")["fine"]
    path.chmod(0o600)
    assert next(r for r in medgan("doctor", "--json").told["rows"] if r["check"] == "connections")["fine"]
