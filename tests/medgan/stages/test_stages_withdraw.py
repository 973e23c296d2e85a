"""A patient leaves: no byte of theirs stays in the inner zones, and they do not come back."""

from __future__ import annotations

import csv
from collections import defaultdict
from pathlib import Path

import pytest
from factories import dicom_bytes
from pydicom import dcmread
from small import go_the_road

from medgan import digest
from medgan.errors import HomeError, UsageError
from medgan.home import Home
from medgan.ledger import Entry
from medgan.recipes import IngestRecipe
from medgan.sources.source import open_source
from medgan.stages.doctor import doctor
from medgan.stages.ingest import LEASE, ingest, pending
from medgan.stages.newest import real_cohorts
from medgan.stages.withdraw import PIXELS, listed, patient_ids, withdraw

NEEDLE = 64  # bytes from the middle of a picture: enough to be nobody else's


def files_by_patient(phantoms: Path) -> dict[str, list[Path]]:
    found: dict[str, list[Path]] = defaultdict(list)
    with (phantoms / "labels.csv").open(encoding="utf-8") as table:
        for row in csv.DictReader(table):
            found[row["patient_id"]].append(phantoms / row["file"])
    return found


def bytes_of(folder: Path) -> bytes:
    return b"".join(file.read_bytes() for file in sorted(folder.rglob("*")) if file.is_file())


def needles(files: list[Path]) -> list[bytes]:
    """A piece of the stored pixels of each file: they stay the same bytes in every later copy of the instance."""
    pieces = []
    for file in files:
        pixels = dcmread(file, force=True).PixelData
        middle = len(pixels) // 2
        pieces.append(pixels[middle : middle + NEEDLE])
    return [piece for piece in pieces if len(set(piece)) > 8]


def test_no_byte_of_the_patients_pixels_stays_and_all_others_do(home: Home, phantoms: Path) -> None:
    patients = files_by_patient(phantoms)
    leaver, stayer = sorted(patients)[:2]
    gone, kept = needles(patients[leaver]), needles(patients[stayer])
    before = bytes_of(home.root / "identified") + bytes_of(home.root / "research")
    assert gone and all(piece in before for piece in gone)
    done = withdraw([leaver], home)
    assert (done.patients, done.already, done.unknown) == (1, 0, 0)
    assert all(done.deleted[stage] > 0 for stage in ("ingest", "deidentify", "preprocess", "assemble"))
    after = bytes_of(home.root / "identified") + bytes_of(home.root / "research")
    assert not [piece for piece in gone if piece in after]
    assert kept and all(piece in after for piece in kept if piece in before)
    for zone in (home.identified, home.research):
        assert set(zone.store.digests()) == set(zone.ledger.live_digests())
    assert len({study.patient_key for study in pending(home)}) == len(patients) - 1


def key_of(files: list[Path], home: Home) -> str:
    header = dcmread(files[0], force=True, stop_before_pixels=True)
    return digest.patient_key(home.pseudonym_key, header.PatientID, header.get("IssuerOfPatientID", ""))


def test_models_and_releases_that_learned_from_the_patient_are_named_and_no_others(home: Home, phantoms: Path) -> None:
    (trained,) = home.research.ledger.entries("train")
    learned = home.research.ledger.patients_of(trained.digest)
    home.research.ledger.record(Entry("k", "bundle", "release", "{}", parents=(trained.digest,)))
    keys = {patient: key_of(files, home) for patient, files in files_by_patient(phantoms).items()}
    judge = next(patient for patient, key in keys.items() if key not in learned)
    pupil = next(patient for patient, key in keys.items() if key in learned)
    assert withdraw([judge], home).stale_checkpoints == withdraw([judge], home).stale_releases == ()
    done = withdraw([pupil], home)
    assert done.stale_checkpoints == (trained.digest,) and done.stale_releases == ("bundle",)


def test_a_second_call_finds_nothing_to_do(home: Home, phantoms: Path) -> None:
    leaver = min(files_by_patient(phantoms))
    first = withdraw([leaver], home)
    ledgers = home.identified_ledger.input_states(), home.research.ledger.live_digests()
    second = withdraw([leaver, f" {leaver} "], home)
    assert (second.patients, second.already, second.unknown, second.inputs) == (1, 1, 0, 0)
    assert set(second.deleted.values()) == {0} and set(second.deleted) == set(PIXELS)
    assert second.stale_checkpoints == first.stale_checkpoints
    assert ledgers == (home.identified_ledger.input_states(), home.research.ledger.live_digests())


def test_the_patient_is_refused_when_they_come_again(home: Home, phantoms: Path, tmp_path: Path) -> None:
    patients = files_by_patient(phantoms)
    leaver = min(patients)
    withdraw([leaver], home)
    (tmp_path / "again").mkdir()
    for number, file in enumerate(patients[leaver]):
        (tmp_path / "again" / f"{number}.dcm").write_bytes(file.read_bytes())
    intake = ingest(open_source(str(tmp_path / "again")), IngestRecipe(), home)
    assert intake.states["refused"] == intake.states["received"] == len(patients[leaver])
    assert not intake.studies


def test_the_old_source_read_again_brings_nobody_back(home: Home, phantoms: Path) -> None:
    before = real_cohorts(home)
    leaver = min(files_by_patient(phantoms))
    withdraw([leaver], home)
    cohort, _ = go_the_road(phantoms, home)
    was = next(c for c in before if c.group == cohort.group)
    assert cohort.patients == was.patients - 1 and cohort.count < was.count
    assert dict(doctor_says(home))["withdrawals"].startswith("0 ")


def doctor_says(home: Home) -> list[tuple[str, str]]:
    return [(finding.check, finding.says) for finding in doctor(home)]


def small_home(tmp_path: Path, **studies: dict) -> Home:
    """A home with one film of each of these patients."""
    (tmp_path / "in").mkdir()
    for name, more in studies.items():
        number = len(list((tmp_path / "in").iterdir())) + 1
        file = dicom_bytes(f"1.2.{number}", StudyInstanceUID=f"1.9.{number}", **more)
        (tmp_path / "in" / name).write_bytes(file)
    home = Home.create(tmp_path / "small")
    ingest(open_source(str(tmp_path / "in")), IngestRecipe(), home)
    return home


def test_an_id_that_came_with_an_issuer_is_found_without_it(tmp_path: Path) -> None:
    home = small_home(tmp_path, a={"PatientID": "17", "IssuerOfPatientID": "NORTH"}, b={"PatientID": "18"})
    done = withdraw(["17"], home)
    assert done.deleted["ingest"] == 1 and done.unknown == 0
    assert withdraw(["17"], home).already == 1


def test_an_id_of_two_issuers_must_say_which_and_nothing_is_deleted_before(tmp_path: Path) -> None:
    two = {n: {"PatientID": "17", "IssuerOfPatientID": n} for n in ("NORTH", "SOUTH")}
    home = small_home(tmp_path, **two)
    with pytest.raises(UsageError, match="2 patients of different issuers"):
        withdraw(["17"], home)
    assert len(pending(home)) == 2 and not home.identified_ledger.buried()
    assert withdraw(["17\tSOUTH"], home).deleted["ingest"] == 1
    assert len(pending(home)) == 1


def test_one_who_never_came_is_told_and_refused_in_advance(tmp_path: Path) -> None:
    home = small_home(tmp_path, a={"PatientID": "17"})
    assert withdraw(["99"], home).unknown == 1
    (tmp_path / "in" / "late").write_bytes(dicom_bytes("1.2.77", StudyInstanceUID="1.9.77", PatientID="99"))
    assert ingest(open_source(str(tmp_path / "in")), IngestRecipe(), home).states["refused"] == 1


def test_bytes_that_a_killed_run_left_are_erased_too(tmp_path: Path) -> None:
    home = small_home(tmp_path, a={"PatientID": "17"})
    with home.identified.store.staging() as folder:
        (folder / "instance.dcm").write_bytes(dicom_bytes("1.2.5", PatientID="17"))
        stray = home.identified.store.seal(folder, "ingest")
    withdraw(["17"], home)
    assert not home.identified.store.has(stray) and not bytes_of(home.root / "identified" / "store")


def test_while_a_run_is_at_work_nothing_is_withdrawn(tmp_path: Path) -> None:
    home = small_home(tmp_path, a={"PatientID": "17"})
    for lease in (home.research.ledger.lease("pipeline"), home.identified_ledger.lease(LEASE)):
        with lease, pytest.raises(HomeError, match="try again"):
            withdraw(["17"], home)
    assert len(pending(home)) == 1 and not home.identified_ledger.buried()


def test_a_withdrawal_that_was_cut_off_is_finished_by_the_next_call_for_anyone(home: Home, phantoms: Path) -> None:
    patients = files_by_patient(phantoms)
    cut_off, other = sorted(patients)[:2]
    key = key_of(patients[cut_off], home)
    for zone in (home.identified, home.research):
        zone.ledger.bury(key, "withdrawn")
    for entry in home.identified_ledger.entries("ingest"):
        if entry.digest in home.identified_ledger.artefacts_of(key):
            home.identified.store.drop(entry.digest)
    assert not doctor_fine(home, "withdrawals")
    withdraw([other], home)
    assert doctor_fine(home, "withdrawals")
    after = bytes_of(home.root / "research")
    assert not [piece for piece in needles(patients[cut_off]) if piece in after]


def doctor_fine(home: Home, check: str) -> bool:
    return next(finding.fine for finding in doctor(home) if finding.check == check)


@pytest.mark.parametrize("lines", [[], ["", "  "]], ids=["none", "blank"])
def test_an_empty_list_is_wrong_usage(tmp_path: Path, lines: list[str]) -> None:
    with pytest.raises(UsageError, match="no patient id"):
        withdraw(lines, Home.create(tmp_path / "home"))


def test_a_list_is_named_and_its_name_is_no_path(tmp_path: Path) -> None:
    home = Home.create(tmp_path / "home")
    folder = home.root / "identified" / "withdrawals"
    folder.mkdir()
    (folder / "may.txt").write_bytes("\ufeffP 1\r\nMüller\t北\n".encode())
    assert listed("may", home) == ["P 1", "Müller\t北"]
    for name in ("june", "../key", "may.txt", "", "/etc/passwd"):
        with pytest.raises(UsageError, match="no patient list of that name") as told:
            listed(name, home)
        assert not name or name not in str(told.value)
    with pytest.raises(UsageError, match="not UTF-8"):
        patient_ids(b"M\xfcller")
