"""A patient leaves: no byte of theirs stays in the inner zones, and they do not come back."""

from __future__ import annotations

import csv
import json
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from factories import dicom_bytes
from people import (
    cohort_of,
    come,
    derived,
    empty_registry,  # noqa: F401 - a fixture
    fill_registry,
    holds,
    key,
    lists,
    model,
    needle,
    new_home,
    send,
    with_registry,
)
from pydicom import dcmread
from small import go_the_road

from medgan import digest
from medgan.errors import HomeError, UsageError
from medgan.home import Home
from medgan.ledger import Entry, Ledger
from medgan.recipes import IngestRecipe
from medgan.sources.source import open_source
from medgan.stages import tracking
from medgan.stages.desk import LEASE
from medgan.stages.doctor import doctor
from medgan.stages.ingest import ingest, pending
from medgan.stages.newest import real_cohorts
from medgan.stages.proof import Draft
from medgan.stages.withdraw import PIXELS, listed, patient_ids, withdraw
from medgan.store import Store

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
    assert set(second.deleted.values()) == {0} and set(second.deleted) == {*PIXELS, "work", "inbox"}
    assert second.stale_checkpoints == first.stale_checkpoints
    assert second.tombstones == 0 and second.proof == first.proof and len(proofs(home)) == 1
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
    with pytest.raises(UsageError, match="2 patients of different issuers"):
        withdraw(["17"], home)  # one of the two has left: which was meant is still open
    withdraw(["17\tNORTH"], home)
    assert withdraw(["17"], home).deleted["ingest"] == 0 and not pending(home)


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
    gone = key_of(patients[cut_off], home)
    for zone in (home.identified, home.research):
        zone.ledger.bury(gone, "withdrawn")
    for entry in home.identified_ledger.entries("ingest"):
        if entry.digest in home.identified_ledger.artefacts_of(gone):
            home.identified.store.drop(entry.digest)
    assert not doctor_fine(home, "withdrawals")
    withdraw([other], home)
    assert doctor_fine(home, "withdrawals")
    after = bytes_of(home.root / "research")
    assert not [piece for piece in needles(patients[cut_off]) if piece in after]


@dataclass(frozen=True)
class Case:
    """Films that came, a list, and what is left: (patient, issuer) of the films that are still held."""

    came: list[tuple[str, str]]
    asked: list[str]
    stays: list[tuple[str, str]]
    merges: str = ""
    again: list[tuple[str, str]] = field(default_factory=list)  # come afterwards, and are all refused
    admitted: int = 0  # of those that come again


N, S = ("17", "NORTH"), ("17", "SOUTH")
CASES = {
    "an id": Case([("17", ""), ("18", "")], ["17"], [("18", "")], again=[("17", "")]),
    "blanks around an id": Case([("17", ""), ("18", "")], ["  17 "], [("18", "")]),
    "several of one list": Case([("17", ""), ("18", ""), ("19", "")], ["17", "19"], [("18", "")]),
    "an id with its issuer": Case([N, S], ["17\tNORTH"], [S], again=[N]),
    "an id that came with an issuer, and comes without": Case([N], ["17"], [], again=[N, ("17", "")]),
    "an id that came both ways": Case([N, ("17", "")], ["17"], [], again=[N]),
    "an id that came without issuer, and comes with one": Case([("17", "")], ["17"], [], again=[N]),
    "an id that never came, and comes with an issuer": Case([("18", "")], ["17"], [("18", "")], again=[N, ("17", "")]),
    "another issuer's id comes later": Case([N], ["17"], [], again=[S], admitted=1),
    "merged patients": Case([("17", ""), ("18", ""), ("19", "")], ["17"], [("19", "")], merges="17,18"),
    "merged the other way": Case([("17", ""), ("18", "")], ["18"], [], merges="17,18", again=[("17", "")]),
    "merged in a chain": Case([("17", ""), ("19", "")], ["19"], [], merges="17,18\n18,19"),
    "one id of two issuers, merged into one person": Case(
        [N, S, ("18", "")], ["17"], [("18", "")], merges="17,NORTH,17,SOUTH", again=[N, S]
    ),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_who_is_asked_for_leaves_and_nobody_else(tmp_path: Path, case: Case) -> None:
    home = new_home(tmp_path / "home")
    folder = send(tmp_path / "in", *case.came)
    if case.merges:
        columns = "patient_id,issuer,into_id,into_issuer" if case.merges.count(",") > 2 else "patient_id,into_id"
        lists(home, merges=f"{columns}\n{case.merges}\n")
    come(home, folder)
    cohort_of(home)
    withdraw(case.asked, home)
    assert sorted(one for one in case.came if holds(home, needle(folder, *one))) == sorted(case.stays)
    assert {study.patient_key for study in pending(home)} == {key(home, *one) for one in case.stays}
    assert doctor_fine(home, "withdrawals")
    if case.again:
        states = come(home, send(tmp_path / "again", *case.again, visit=2)).states
        assert (states["refused"], states["ingested"]) == (len(case.again) - case.admitted, case.admitted)
    second = withdraw(case.asked, home) if not case.admitted else None
    assert second is None or (second.deleted["ingest"], second.already) == (0, len(case.asked))


def proofs(home: Home) -> list[dict[str, Any]]:
    files = sorted((home.root / "identified" / "withdrawals" / "proofs").iterdir())
    assert not [file for file in files if file.suffix != ".json"]
    return [json.loads(file.read_bytes()) for file in files]


def test_the_proof_counts_what_went_and_names_nobody(tmp_path: Path) -> None:
    home = new_home(tmp_path / "home")
    come(home, send(tmp_path / "in", "17", "18"))
    cohort = cohort_of(home)
    saw = model(home, "m", [key(home, "17")], cohort=cohort.digest)
    fake, bundle = derived(home, "synthesize", "s", saw), derived(home, "release", "r", saw)
    done = withdraw(["17"], home)
    (proof,) = proofs(home)
    file = home.root / "identified" / "withdrawals" / "proofs" / done.proof
    assert file.stat().st_mode & 0o777 == 0o600 and file.parent.stat().st_mode & 0o777 == 0o700
    assert proof["deleted"] == {"ingest": 1, "deidentify": 1, "preprocess": 1, "assemble": 1, "quality": 1}
    assert (proof["inputs"], proof["left"], proof["why"]) == (1, 0, "withdrawn")
    assert proof["erased_cohorts"] == [cohort.digest] and done.erased_cohorts == (cohort.digest,)
    assert (proof["stale_checkpoints"], proof["stale_cohorts"], proof["stale_releases"]) == ([saw], [fake], [bundle])
    assert file.name.startswith(proof["made_at"][:10]) and all(len(one) == 64 for one in proof["ledgers"].values())
    secrets = (key(home, "17"), digest.id_key(home.pseudonym_key, "17"), '"17"', home.pseudonym_key.hex())
    assert not [one for one in secrets if one in file.read_text()]


STEPS = {  # where a withdrawal may be cut off, with how many calls of it before go through
    "the first tombstone": (Ledger, "bury", 0),
    "between the tombstones": (Ledger, "bury", 1),
    "the first bytes": (Store, "drop", 0),
    "later bytes": (Store, "drop", 2),
    "a row": (Ledger, "forget", 1),
    "the inputs": (Ledger, "withdraw_inputs", 0),
    "the proof": (Draft, "close", 0),
    "the last mark": (Ledger, "answered", 0),
}


@pytest.mark.parametrize("step", STEPS)
def test_cut_off_anywhere_the_second_call_ends_the_same_and_proves_all_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    home = new_home(tmp_path / "home")
    folder = send(tmp_path / "in", "17", "18")
    come(home, folder)
    saw = model(home, "m", [key(home, "17")], cohort=cohort_of(home).digest)
    with monkeypatch.context() as cut:
        fail_at(cut, *STEPS[step])
        with pytest.raises(OSError, match="cut off"):
            withdraw(["17"], home)
    done = withdraw(["17"], home)
    (proof,) = proofs(home)
    assert proof["deleted"] == {"ingest": 1, "deidentify": 1, "preprocess": 1, "assemble": 1, "quality": 1}
    assert (proof["inputs"], proof["left"], proof["tombstones"]) == (1, 0, 2)  # of the id, and of whoever issued it
    assert done.stale_checkpoints == (saw,) and home.research.ledger.requested("retrain") == [saw]
    assert not holds(home, needle(folder, "17")) and holds(home, needle(folder, "18"))
    assert not home.research.ledger.requested("retire")
    assert come(home, send(tmp_path / "in", "17", visit=2)).states["refused"] == 1


def test_a_tombstone_in_advance_is_proved_too_also_when_the_first_call_was_cut_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = new_home(tmp_path / "home")
    with monkeypatch.context() as cut:
        fail_at(cut, Draft, "close", 0)
        with pytest.raises(OSError, match="cut off"):
            withdraw(["99\tEAST"], home)
    done = withdraw(["99\tEAST"], home)
    (proof,) = proofs(home)
    assert done.proof and (proof["tombstones"], proof["deleted"]) == (1, {})


def fail_at(cut: pytest.MonkeyPatch, owner: type, name: str, after: int) -> None:
    """Let the method fail as a full disk would, once `after` calls of it went through."""
    whole, calls = getattr(owner, name), iter(range(100))

    def failing(*args: Any, **more: Any) -> Any:
        if next(calls) >= after:
            raise OSError("cut off")
        return whole(*args, **more)

    cut.setattr(owner, name, failing)


def test_the_next_intake_finishes_a_withdrawal_that_was_cut_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = new_home(tmp_path / "home")
    folder = send(tmp_path / "in", "17", "18")
    come(home, folder)
    with monkeypatch.context() as cut:
        fail_at(cut, Store, "drop", 0)
        with pytest.raises(OSError, match="cut off"):
            withdraw(["17"], home)
    assert holds(home, needle(folder, "17"))
    come(home, folder)
    assert not holds(home, needle(folder, "17")) and doctor_fine(home, "withdrawals")


def test_who_opted_out_and_then_withdraws_never_comes_back(tmp_path: Path) -> None:
    home = new_home(tmp_path / "home")
    folder = send(tmp_path / "in", "17", "18")
    come(home, folder)
    lists(home, opt_out="patient_id\n17\n")
    come(home, folder)
    assert key(home, "17") in home.research.ledger.buried("opted_out")
    done = withdraw(["17"], home)
    assert done.already == 0 and key(home, "17") in home.research.ledger.buried("withdrawn")
    lists(home, opt_out="patient_id\n")
    assert come(home, folder).states["ingested"] == 0 and len(pending(home)) == 1


def test_inputs_that_were_set_aside_are_erased_too(tmp_path: Path) -> None:
    home = new_home(tmp_path / "home")
    with home.identified.store.staging() as folder:
        (folder / "input").write_bytes(b"pushed, and set aside")
        aside = home.identified.store.seal(folder, "aside")
    home.identified_ledger.record(Entry("k", aside, "aside", "{}", "place", patients=(key(home, "17"),)))
    assert withdraw(["17"], home).deleted["aside"] == 1
    assert not holds(home, b"pushed, and set aside")


def test_unfinished_training_on_an_erased_cohort_ends_and_any_other_goes_on(tmp_path: Path) -> None:
    home = new_home(tmp_path / "home")
    come(home, send(tmp_path / "in", "17"))
    erased = cohort_of(home).digest
    with home.research.store.staging() as folder:
        (folder / "of another group").touch()
        other = home.research.store.seal(folder, "assemble")
    home.research.ledger.record(Entry("other", other, "assemble", "{}"))
    runs = {"a" * 64: erased, "b" * 64: other, "c" * 64: ""}
    for run, cohort in runs.items():
        (home.work / run / "000000000008").mkdir(parents=True)
        if cohort:
            tracking.spool(home, f"train-residual-{run[:12]}").tags({"cohort": cohort})
    assert withdraw(["17"], home).deleted["work"] == 2
    assert [folder.name for folder in home.work.iterdir()] == ["b" * 64]


@dataclass(frozen=True)
class Asked:
    """Models in the order they were trained (name, whom they saw, group), who leaves, and which are asked for."""

    trained: list[tuple[str, str, str]]
    leaves: str
    asked: list[str]


ASKED = {
    "the newest saw them": Asked([("m1", "17", "X"), ("m2", "17", "X")], "17", ["m2"]),
    "the newest did not": Asked([("m1", "17", "X"), ("m2", "18", "X")], "17", []),
    "one of each group": Asked([("m1", "17", "X"), ("m2", "17", "Y"), ("m3", "18", "Z")], "17", ["m1", "m2"]),
    "they were never learned from": Asked([("m1", "18", "X")], "17", []),
}


@pytest.mark.parametrize("case", ASKED.values(), ids=ASKED)
def test_retraining_is_asked_for_unless_a_successor_is_there(tmp_path: Path, case: Asked) -> None:
    home = new_home(tmp_path / "home")
    for name, who, group in case.trained:
        model(home, name, [key(home, who)], group=group)
    withdraw([case.leaves], home)
    wanted = [digest.sha256(name.encode()) for name in case.asked]
    assert sorted(home.research.ledger.requested("retrain")) == sorted(wanted)


def test_retraining_is_answered_by_a_model_that_never_saw_them_and_not_asked_for_again(
    home: Home, phantoms: Path
) -> None:
    (trained,) = home.research.ledger.entries("train")
    learned = home.research.ledger.patients_of(trained.digest)
    files = files_by_patient(phantoms)
    leaver = next(patient for patient in sorted(files) if key_of(files[patient], home) in learned)
    withdraw([leaver], home)
    assert home.research.ledger.requested("retrain") == [trained.digest]
    _, made = go_the_road(phantoms, home)
    assert made.digest != trained.digest and not home.research.ledger.requested("retrain")
    withdraw([leaver], home)
    assert not home.research.ledger.requested("retrain")


def test_versions_in_the_registry_are_retired_and_the_proof_says_which(
    tmp_path: Path,
    empty_registry: Path,  # noqa: F811
) -> None:
    home = new_home(tmp_path / "home")
    with_registry(home, empty_registry)
    come(home, send(tmp_path / "in", "17", "18"))
    saw, other = model(home, "m1", [key(home, "17")]), model(home, "m2", [key(home, "18")])
    held = {("medgan", "1"): saw, ("medgan", "2"): other}
    client = fill_registry(home, held, {("medgan", "champion"): 1, ("medgan", "challenger"): 2})
    done = withdraw(["17"], home)
    assert (done.retired, done.aliases) == (("medgan 1",), ("medgan@champion",))
    assert client.get_model_version("medgan", "1").tags["retrain_reason"] == "withdrawal"
    assert dict(client.get_registered_model("medgan").aliases) == {"challenger": 2}
    (proof,) = proofs(home)
    assert proof["registry"] == {"versions": ["medgan 1"], "aliases": ["medgan@champion"]}
    assert not withdraw(["17"], home).retired and len(proofs(home)) == 1


def test_a_registry_that_is_away_fails_the_call_after_everything_else_and_the_next_one_ends_it(
    tmp_path: Path,
    empty_registry: Path,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    home = new_home(tmp_path / "home")
    folder = send(tmp_path / "in", "17", "18")
    come(home, folder)
    saw = model(home, "m", [key(home, "17")])
    with monkeypatch.context() as away:
        away.setenv("MEDGAN_TRACKING_URI", "http://127.0.0.1:9")
        with pytest.raises(ConnectionError, match="everything was erased"):
            withdraw(["17"], home)
        assert not holds(home, needle(folder, "17")) and home.research.ledger.requested("retire") == [saw]
        assert come(home, folder).states["ingested"] == 0  # an intake does not fail for it
    with_registry(home, empty_registry)
    client = fill_registry(home, {("medgan", "1"): saw}, {("medgan", "champion"): 1})
    come(home, folder)  # which does what is left to do; the proof still waits for the call that it is about
    assert not client.get_registered_model("medgan").aliases
    done = withdraw(["17"], home)
    assert done.aliases == ("medgan@champion",)
    (proof,) = proofs(home)
    assert proof["deleted"]["ingest"] == 1 and proof["registry"]["versions"] == ["medgan 1"]
    assert not home.research.ledger.requested("retire")
    monkeypatch.setenv("MEDGAN_TRACKING_URI", "http://127.0.0.1:9")
    assert withdraw(["98"], home).unknown == 1  # no model saw them: the registry is not asked


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
