"""Every input ends in exactly one state; nothing is done twice; a kill changes no result."""

from __future__ import annotations

import csv
import json
import logging
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from factories import dicom_bytes
from pydicom import dcmread

from medgan import digest
from medgan.errors import Busy, SourceError, TooManyQuarantined
from medgan.home import Home
from medgan.recipes import IngestRecipe
from medgan.records import Intake
from medgan.sources.source import open_source
from medgan.stages import ingest as stage
from medgan.stages.desk import LEASE, labels_of
from medgan.stages.ingest import ingest, pending, report

KEY = "ab" * 32


@pytest.fixture
def home(tmp_path):
    return make_home(tmp_path / "home")


def make_home(root: Path) -> Home:
    """A home with a known key, so that two homes give the same digests."""
    (root / "identified").mkdir(parents=True, mode=0o700)
    key = root / "identified" / "key"
    key.write_text(KEY)
    key.chmod(0o600)
    return Home.create(root)


def take(source: Path, home: Home, **recipe) -> Intake:
    intake = ingest(open_source(str(source)), IngestRecipe(**recipe), home)
    ended = [n for state, n in intake.states.items() if state not in ("received", "unchanged")]
    assert intake.states["received"] == sum(ended)
    return intake


def counts(intake: Intake) -> dict[str, int]:
    return {state: n for state, n in intake.states.items() if n}


def spoil(file: Path) -> None:
    """Other bytes of the same size and time: whoever reads them will notice, whoever does not cannot."""
    if not file.is_symlink():
        info = file.stat()
        file.write_bytes(bytes(info.st_size))
        os.utime(file, ns=(info.st_atime_ns, info.st_mtime_ns))


def hospital(root: Path) -> Path:
    """Two studies of two patients, and one of each thing that goes wrong."""
    root.mkdir()
    for n in range(3):
        (root / f"slice{n}.dcm").write_bytes(dicom_bytes(f"1.2.3.{n}"))
    (root / "other").write_bytes(dicom_bytes("1.9.1", StudyInstanceUID="1.9", PatientID="P2"))
    (root / "x-copy.dcm").write_bytes(dicom_bytes("1.2.3.0"))
    (root / "x-resent.dcm").write_bytes(b"x" * 128 + dicom_bytes("1.2.3.1")[128:])
    (root / "y-conflict.dcm").write_bytes(dicom_bytes("1.2.3.0", PixelData=bytes(96)))
    (root / "y-two-patients.dcm").write_bytes(dicom_bytes("1.2.3.9", PatientID="P3"))
    (root / "z-empty.dcm").write_bytes(b"")
    (root / "z-text.dcm").write_text("Jane Doe was here")
    (root / "z-link.dcm").symlink_to(root / "other")
    return root


def test_every_input_ends_in_exactly_one_state(tmp_path, home):
    intake = take(hospital(tmp_path / "in"), home)
    assert counts(intake) == {"received": 11, "ingested": 4, "duplicate": 2, "conflict": 2, "quarantined": 3}
    assert {reason.value: n for reason, n in intake.reasons.items()} == {
        "empty_file": 1,
        "not_dicom": 1,
        "unsafe_file": 1,
    }
    assert [study.n_instances for study in pending(home)] in ([1, 3], [3, 1])
    assert {s.study_key for s in intake.studies} == {s.study_key for s in pending(home)}


def test_what_is_sealed_is_what_arrived_under_its_content_address(tmp_path, home):
    take(hospital(tmp_path / "in"), home)
    key = digest.study_key(home.pseudonym_key, "1.2.3")
    (study,) = [s for s in pending(home) if s.study_key == key]
    assert study.patient_key == digest.patient_key(home.pseudonym_key, "P1", "")
    files = sorted((home.identified.store.path(study.digest) / "instances").iterdir())
    assert [f.stem for f in files] == sorted(digest.sha256(dicom_bytes(f"1.2.3.{n}")) for n in range(3))
    assert all(digest.sha256_file(f) == f.stem for f in files)
    assert home.identified.store.verify(study.digest)
    assert home.identified_ledger.patients_of(study.digest) == {study.patient_key}


def test_the_second_run_reads_nothing_and_adds_nothing(tmp_path, home):
    source = hospital(tmp_path / "in")
    take(source, home)
    before = home.identified_ledger.inputs()
    for file in source.iterdir():
        spoil(file)
    digests = list(home.identified.store.digests())
    assert counts(take(source, home)) == {"unchanged": 11}
    assert home.identified_ledger.inputs() == before
    assert list(home.identified.store.digests()) == digests


def test_the_same_files_from_another_place_are_duplicates(tmp_path, home):
    take(hospital(tmp_path / "in"), home)
    with zipfile.ZipFile(tmp_path / "again.zip", "w") as archive:
        for n in range(3):
            archive.writestr(f"{n}", dicom_bytes(f"1.2.3.{n}"))
    assert counts(take(tmp_path / "again.zip", home)) == {"received": 3, "duplicate": 3}


def test_a_touched_file_is_read_once_more_and_then_known(tmp_path, home):
    source = hospital(tmp_path / "in")
    take(source, home)
    rows = home.identified_ledger.input_states()
    os.utime(source / "slice0.dcm", (1, 1))
    os.utime(source / "z-text.dcm", (1, 1))
    assert counts(take(source, home)) == {"unchanged": 11}
    spoil(source / "slice0.dcm")
    assert counts(take(source, home)) == {"unchanged": 11}
    assert home.identified_ledger.input_states() == rows


def test_a_late_image_makes_a_new_version_of_its_study(tmp_path, home):
    source = hospital(tmp_path / "in")
    take(source, home)
    old = {s.study_key: s for s in pending(home)}
    (source / "late.dcm").write_bytes(dicom_bytes("1.2.3.77"))
    intake = take(source, home)
    assert counts(intake) == {"received": 1, "ingested": 1, "unchanged": 11}
    (study,) = intake.studies
    assert (old[study.study_key].n_instances, study.n_instances) == (3, 4)
    assert len(pending(home)) == 2
    assert home.identified.store.verify(study.digest)


def test_studies_are_the_same_however_the_images_came(tmp_path):
    whole, bit_by_bit = make_home(tmp_path / "a"), make_home(tmp_path / "b")
    source = tmp_path / "in"
    source.mkdir()
    for n in range(6):
        (source / f"{n}").write_bytes(dicom_bytes(f"1.2.3.{n}"))
        take(source, bit_by_bit)
    take(source, whole)
    assert pending(whole) == pending(bit_by_bit)


def test_a_study_that_lies_together_is_sealed_once(tmp_path, home, monkeypatch):
    monkeypatch.setattr(stage, "BATCH", 4)
    (tmp_path / "in").mkdir()
    for study in range(3):
        for n in range(6):
            data = dicom_bytes(f"1.2.{study}.{n}", StudyInstanceUID=f"1.2.{study}", PatientID=f"P{study}")
            (tmp_path / "in" / f"{study}-{n}").write_bytes(data)
    take(tmp_path / "in", home)
    assert [study.n_instances for study in pending(home)] == [6, 6, 6]
    assert len(list(home.identified.store.digests())) == 3


def test_labels_are_sealed_by_content_and_follow_the_table(tmp_path, home):
    source = tmp_path / "in"
    source.mkdir()
    (source / "a").write_bytes(dicom_bytes("1.2.3.1"))
    (source / "b").write_bytes(dicom_bytes("1.2.3.2"))
    name = digest.sha256(dicom_bytes("1.2.3.1"))
    for label in ("nodule", "normal"):
        (source / "labels.csv").write_text(f"file,label,patient_id\na,{label},P1\n")
        take(source, home)
        (study,) = pending(home)
        assert labels_of(home.identified.store.path(study.digest)) == {name: label}
    assert home.identified_ledger.input_states() == {"ingested": 2}


def test_a_buried_patient_is_refused_and_nothing_of_theirs_is_kept(tmp_path, home):
    home.identified_ledger.bury(digest.patient_key(home.pseudonym_key, "P2", ""), "withdrawn")
    assert counts(take(hospital(tmp_path / "in"), home))["refused"] == 1
    assert [study.n_instances for study in pending(home)] == [3]
    assert b"P2" not in b"".join(f.read_bytes() for f in home.identified.store.root.rglob("*.dcm"))


def test_an_image_of_nobody_is_a_unit_of_its_own(tmp_path, home):
    (tmp_path / "in").mkdir()
    for n in range(2):
        (tmp_path / "in" / f"{n}").write_bytes(dicom_bytes(f"1.2.{n}.1", StudyInstanceUID=f"1.2.{n}", PatientID=""))
    take(tmp_path / "in", home)
    assert len({study.patient_key for study in pending(home)}) == 2
    assert {study.unit for study in pending(home)} == {"image"}


def test_what_other_limits_refused_is_tried_again_with_new_ones(tmp_path, home):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a").write_bytes(dicom_bytes())
    with pytest.raises(SourceError, match=r"no usable image.*unsafe_file \(1\)"):
        take(tmp_path / "in", home, max_bytes=100)
    assert counts(take(tmp_path / "in", home, max_bytes=100)) == {"unchanged": 1}
    assert counts(take(tmp_path / "in", home)) == {"received": 1, "ingested": 1}


def test_more_quarantined_than_the_recipe_allows_fails_after_recording(tmp_path, home):
    with pytest.raises(TooManyQuarantined, match="3 of 11"):
        take(hospital(tmp_path / "in"), home, max_quarantined=0.2)
    assert sum(home.identified_ledger.input_states().values()) == 11


def test_a_second_intake_at_the_same_time_does_nothing(tmp_path, home):
    with home.identified_ledger.lease(LEASE), pytest.raises(Busy):
        take(hospital(tmp_path / "in"), home)
    assert home.identified_ledger.input_states() == {}


def test_the_report_lists_every_input(tmp_path, home):
    take(hospital(tmp_path / "in"), home)
    assert report(home, tmp_path / "report.csv") == 11
    with (tmp_path / "report.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert {"sha256": digest.sha256(b"Jane Doe was here"), "state": "quarantined", "reason": "not_dicom"} in rows
    assert len(rows) == 11


def test_nothing_that_names_anyone_is_recorded_or_logged(tmp_path, home, caplog):
    caplog.set_level(logging.DEBUG)
    source = hospital(tmp_path / "Doe-Jane")
    intake = take(source, home)
    with home.identified_ledger.engine.connect() as db:
        dump = "\n".join(db.connection.driver_connection.iterdump())
    for value in ("Doe", "Jane", "P1", "slice0", "1.2.3", str(tmp_path)):
        assert value not in dump
        assert value not in intake.model_dump_json()
        assert value not in "\n".join(r.getMessage() for r in caplog.records if r.name.startswith("medgan"))


def test_a_volume_is_one_input_and_one_study(tmp_path, home):
    import nibabel
    import numpy as np

    (tmp_path / "in").mkdir()
    nibabel.save(nibabel.Nifti1Image(np.ones((4, 4, 5), np.int16), np.eye(4)), tmp_path / "in" / "v.nii.gz")
    assert counts(take(tmp_path / "in", home)) == {"received": 1, "ingested": 1}
    (study,) = pending(home)
    assert (study.n_instances, study.unit) == (5, "image")
    files = (home.identified.store.path(study.digest) / "instances").iterdir()
    assert {dcmread(file).Modality for file in files} == {"MR"}


KILLED = """
import os, signal, sys
from pathlib import Path
import medgan.stages.ingest as stage
from medgan.home import Home
from medgan.ledger import Ledger
from medgan.recipes import IngestRecipe
from medgan.sources.source import open_source
from medgan.store import Store

stage.BATCH, where, times = 4, sys.argv[3], int(sys.argv[4])

def deadly(owner, name, before):
    real = getattr(owner, name)
    def wrapped(*args, **more):
        global times
        times -= 1
        if times < 0 and before:
            os.kill(os.getpid(), signal.SIGKILL)
        done = real(*args, **more)
        if times < 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return done
    setattr(owner, name, wrapped)

places = {"seal": (Store, "seal", False), "rows": (Ledger, "settle", True), "after": (Ledger, "settle", False)}
deadly(*places[where])
stage.ingest(open_source(sys.argv[1]), IngestRecipe(), Home.create(Path(sys.argv[2])))
"""


@pytest.mark.parametrize(("where", "times"), [("seal", 1), ("rows", 1), ("after", 1)])
def test_killed_anywhere_the_next_run_ends_with_the_same_artefacts(tmp_path, where, times):
    source = hospital(tmp_path / "in")
    undisturbed, killed = make_home(tmp_path / "a"), make_home(tmp_path / "b")
    take(source, undisturbed)
    command = [sys.executable, "-c", KILLED, str(source), str(killed.root), where, str(times)]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
    assert subprocess.run(command, env=environment, capture_output=True).returncode == -9
    take(source, killed)
    assert pending(killed) == pending(undisturbed)
    assert killed.identified_ledger.input_states() == undisturbed.identified_ledger.input_states()
    assert list((killed.identified.store.root / "staging").iterdir()) == []


def test_json_of_labels_is_canonical(tmp_path, home):
    source = tmp_path / "in"
    source.mkdir()
    (source / "a").write_bytes(dicom_bytes("1.2.3.1"))
    (source / "labels.csv").write_text("file,label\na,Ödem\n")
    take(source, home)
    (study,) = pending(home)
    data = (home.identified.store.path(study.digest) / "labels.json").read_bytes()
    assert data == digest.canonical(json.loads(data))
