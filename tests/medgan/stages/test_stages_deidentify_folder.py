"""Folder to folder: every input is accounted for, nothing is done twice, and nobody is named."""

import csv
import json
import os
import zipfile
from pathlib import Path
from typing import Any

import pytest
from factories import dicom_bytes
from pydicom import dcmread
from pydicom.fileset import FileSet

from medgan.deid.scrub.pseudonym import uid
from medgan.errors import Busy, HomeError, SourceError, TooManyQuarantined, UsageError
from medgan.keys import Key
from medgan.recipes import DeidentifyRecipe
from medgan.stages import folder_study
from medgan.stages.deidentify_folder import deidentify_folder, require_within

KEY, OTHER = b"k" * 32, b"o" * 32


def study(folder: Path, number: int, patient: str = "P1", instances: int = 3) -> None:
    """A small study of a made-up patient, in files that carry the name."""
    folder.mkdir(parents=True, exist_ok=True)
    for n in range(instances):
        more: dict[str, Any] = {"StudyInstanceUID": f"1.2.{number}", "SeriesInstanceUID": f"1.2.{number}.1"}
        more |= {"PatientID": patient, "PatientName": "Zwiebelbach^Jane", "PatientAge": "047Y", "PatientSex": "F"}
        (folder / f"Zwiebelbach_{number}_{n}.dcm").write_bytes(dicom_bytes(f"1.2.{number}.1.{n}", **more))


def contents(dst: Path) -> dict[str, bytes]:
    return {str(f.relative_to(dst)): f.read_bytes() for f in sorted(dst.rglob("*")) if f.is_file() and f.stat().st_size}


@pytest.fixture
def src(tmp_path: Path) -> Path:
    for number in range(3, 7):
        study(tmp_path / "Zwiebelbach Jane" / f"s{number}", number, patient=f"P{number % 2}")
    return tmp_path / "Zwiebelbach Jane"


def test_every_input_ends_in_one_state_and_nobody_is_named(src: Path, tmp_path: Path) -> None:
    original = src / "s3" / "Zwiebelbach_3_0.dcm"
    (src / "copy.dcm").write_bytes(original.read_bytes())
    (src / "notes.txt").write_text("Zwiebelbach, Jane")
    (src / "empty").write_bytes(b"")
    (src / "link").symlink_to(original)
    (src / "s9").symlink_to(src / "s3")
    os.mkfifo(src / "pipe")
    (src / "other.dcm").write_bytes(dicom_bytes("1.2.3.1.0", StudyInstanceUID="1.2.3", PatientID="P1"))
    report = deidentify_folder(src, tmp_path / "out", key=KEY, listing=tmp_path / "listing.csv")
    assert report["files"] == 12 + 7 and report["duplicate"] == 1 and report["studies"] == 4
    assert report["quarantined"] == {"empty_file": 1, "not_dicom": 1, "unsafe_file": 3, "bad_uid": 1}
    assert report["written"] + report["duplicate"] + sum(report["quarantined"].values()) == report["files"]
    assert report["applied"]["key_id"] == Key(KEY).id and report["patients"] == 2
    assert report == json.loads((tmp_path / "out" / "deidentification.json").read_bytes())
    files = contents(tmp_path / "out")
    assert len([name for name in files if name.endswith(".dcm")]) == report["written"]
    assert not [name for name, data in files.items() if b"zwiebel" in (name.encode() + data).lower()]
    listed = list(csv.DictReader((tmp_path / "listing.csv").open()))
    assert len(listed) == report["files"] and {row["state"] for row in listed} == {
        "written",
        "duplicate",
        "quarantined",
    }
    aside = list(csv.DictReader((tmp_path / "out" / "quarantined.csv").open()))
    assert len(aside) == sum(report["quarantined"].values())
    assert not {row["input"] for row in aside} & {row["sha256"] for row in listed}


def test_outputs_are_named_by_pseudonymous_uids_only(src: Path, tmp_path: Path) -> None:
    deidentify_folder(src, tmp_path / "out", key=KEY)
    expected = {f"{uid(KEY, f'1.2.{n}')}/{uid(KEY, f'1.2.{n}.1.{i}')}.dcm" for n in range(3, 7) for i in range(3)}
    found = {name for name in contents(tmp_path / "out") if name.endswith(".dcm")}
    assert found == expected


def test_a_zip_and_a_single_file_give_what_the_folder_gives(src: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "all.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(src.rglob("*.dcm")):
            archive.write(file, file.relative_to(src))
    report = deidentify_folder(src, tmp_path / "folder", key=KEY)
    assert deidentify_folder(tmp_path / "all.zip", tmp_path / "zip", key=KEY) == report
    assert contents(tmp_path / "zip") == contents(tmp_path / "folder")
    one = deidentify_folder(src / "s3" / "Zwiebelbach_3_0.dcm", tmp_path / "one", key=KEY)
    assert one["files"] == one["written"] == 1
    (written,) = (tmp_path / "one").rglob("*.dcm")
    assert written.read_bytes() == contents(tmp_path / "folder")[str(written.relative_to(tmp_path / "one"))]


def test_in_children_it_gives_the_same_bytes_as_in_this_process(src: Path, tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    report = deidentify_folder(
        src, tmp_path / "two", key=KEY, workers=2, on_progress=lambda done, total: told.append((done, total))
    )
    assert report == deidentify_folder(src, tmp_path / "none", key=KEY)
    assert contents(tmp_path / "two") == contents(tmp_path / "none")
    assert told[0] == (0, 12) and told[-1] == (12, 12)


def test_a_run_that_was_killed_goes_on_and_ends_with_the_same_bytes(
    src: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deidentify_folder(src, tmp_path / "whole", key=KEY)
    done: list[str] = []
    settle = folder_study.settle

    class Killed(BaseException):
        pass

    def dies(draft: Any, *more: Any) -> Any:
        done.append(draft.patient_key)
        if len(done) == 3:
            raise Killed
        return settle(draft, *more)

    monkeypatch.setattr(folder_study, "settle", dies)
    with pytest.raises(Killed):
        deidentify_folder(src, tmp_path / "out", key=KEY)
    (tmp_path / "out" / ".medgan" / "staging" / "left").mkdir(parents=True)  # by a kill in the middle of a file
    (tmp_path / "out" / ".medgan" / "staging" / "left" / "file").write_bytes(b"half")
    assert not (tmp_path / "out" / "deidentification.json").exists()
    deidentify_folder(src, tmp_path / "out", key=KEY)
    assert len(done) == 3 + 2  # two were finished, the third and the last are done now
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")
    deidentify_folder(src, tmp_path / "out", key=KEY)
    assert len(done) == 3 + 2


@pytest.mark.parametrize(
    "spoil",
    [
        pytest.param(lambda out: next(out.rglob("*.dcm")).write_bytes(b""), id="a file emptied by a power cut"),
        pytest.param(lambda out: next(out.rglob("*.dcm")).unlink(), id="a file deleted"),
        pytest.param(
            lambda out: next((out / ".medgan" / "studies").iterdir()).write_text('{"key": "x"}'), id="an entry damaged"
        ),
        pytest.param(
            lambda out: [f.write_bytes(f.read_bytes().replace(b'"boxes":0', b'"boxes":7')) for f in entries(out)],
            id="entries changed by hand",
        ),
    ],
)
def test_what_was_damaged_is_made_again(src: Path, tmp_path: Path, spoil: Any) -> None:
    out = tmp_path / "out"
    deidentify_folder(src, out, key=KEY)
    before = contents(out)
    spoil(out)
    assert contents(out) != before
    deidentify_folder(src, out, key=KEY)
    assert contents(out) == before


def entries(out: Path) -> list[Path]:
    return sorted((out / ".medgan" / "studies").iterdir())


def test_a_study_that_changed_at_its_source_is_done_again_and_leaves_nothing_behind(src: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    deidentify_folder(src, out, key=KEY)
    (src / "s4" / "Zwiebelbach_4_2.dcm").unlink()
    report = deidentify_folder(src, out, key=KEY)
    assert report["files"] == report["written"] == len(list(out.rglob("*.dcm"))) == 11
    deidentify_folder(src, tmp_path / "new", key=KEY)
    assert contents(out) == contents(tmp_path / "new")


def test_another_key_profile_or_recipe_is_refused_with_a_remedy(src: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    deidentify_folder(src, out, key=KEY)
    before = contents(out)
    with pytest.raises(HomeError, match=f"made with key {Key(KEY).id}, this one is {Key(OTHER).id}.*--key-id"):
        deidentify_folder(src, out, key=OTHER)
    with pytest.raises(UsageError, match="profile research.*profile basic.*new DST"):
        deidentify_folder(src, out, key=KEY, recipe=DeidentifyRecipe(profile="basic"))
    with pytest.raises(UsageError, match="max_date_shift_days 1825.*has max_date_shift_days 30"):
        deidentify_folder(src, out, key=KEY, recipe=DeidentifyRecipe(max_date_shift_days=30))
    assert contents(out) == before


def test_a_second_run_on_the_same_dst_does_nothing(src: Path, tmp_path: Path) -> None:
    def again(done: int, total: int) -> None:
        with pytest.raises(Busy, match="another run"):
            deidentify_folder(src, tmp_path / "out", key=KEY)

    deidentify_folder(src, tmp_path / "out", key=KEY, on_progress=again)


def test_an_instance_of_two_patients_is_given_to_one_of_them(src: Path, tmp_path: Path) -> None:
    other = dicom_bytes("1.2.3.1.0", StudyInstanceUID="1.2.3", PatientID="somebody else")
    (src / "z.dcm").write_bytes(other)
    report = deidentify_folder(src, tmp_path / "out", key=KEY)
    assert report["quarantined"] == {"bad_uid": 1} and report["written"] == 12 == len(
        list(tmp_path.glob("out/*/*.dcm"))
    )


def test_the_same_patient_is_the_same_in_every_study_and_set(src: Path, tmp_path: Path) -> None:
    deidentify_folder(src, tmp_path / "out", key=KEY)
    deidentify_folder(src / "s3", tmp_path / "part", key=KEY)
    whole = {dcmread(file).PatientID for file in (tmp_path / "out").rglob("*.dcm")}
    part = {dcmread(file).PatientID for file in (tmp_path / "part").rglob("*.dcm")}
    assert len(whole) == 2 and len(part) == 1 and part < whole


def test_bytes_that_nobody_foresaw_are_set_aside_and_tried_again(
    src: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: Any) -> Any:
        raise ZeroDivisionError("Zwiebelbach")

    with monkeypatch.context() as patch:
        patch.setattr(folder_study, "prepare", fails)
        report = deidentify_folder(src, tmp_path / "out", key=KEY)
    assert report["quarantined"] == {"poison": 12} and not list((tmp_path / "out").rglob("*.dcm"))
    assert deidentify_folder(src, tmp_path / "out", key=KEY)["written"] == 12


def test_a_directory_is_rebuilt_from_the_clean_files(src: Path, tmp_path: Path) -> None:
    old = FileSet()
    for file in sorted(src.rglob("*.dcm")):
        ds = dcmread(file)
        ds.StudyDate, ds.StudyTime, ds.StudyID, ds.AccessionNumber = "20200101", "101010", "77", "Zwiebelbach"
        ds.SeriesNumber, ds.InstanceNumber, ds.StudyDescription = 1, 1, "Zwiebelbach"
        old.add(ds)
    old.write(tmp_path / "cd")
    report = deidentify_folder(tmp_path / "cd" / "DICOMDIR", tmp_path / "out", key=KEY)
    assert report["rebuilt"] == 1 and report["written"] == 12 and report["files"] == 13
    before = contents(tmp_path / "out")
    assert b"Zwiebel" not in before["media/DICOMDIR"]
    new = FileSet(tmp_path / "out" / "media" / "DICOMDIR")
    assert len(new) == 12 and all(len(part) <= 8 for one in new for part in Path(one.FileID).parts)
    written = {data for name, data in before.items() if name.startswith("2.25.")}
    assert {Path(one.path).read_bytes() for one in new} == written
    deidentify_folder(tmp_path / "cd", tmp_path / "out", key=KEY)
    assert contents(tmp_path / "out") == before


@pytest.mark.parametrize(
    ("src_", "dst", "error", "message"),
    [
        pytest.param("none", "out", SourceError, "not found", id="no source"),
        pytest.param("bare", "out", SourceError, "empty", id="empty source"),
        pytest.param("src", "src/out", UsageError, "inside each other", id="output in the input"),
        pytest.param("full/in", "full", UsageError, "inside each other", id="input in the output"),
        pytest.param("src", "full", UsageError, "not an empty folder", id="output holds files"),
        pytest.param("src", "full/x", UsageError, "not an empty folder", id="output is a file"),
    ],
)
def test_wrong_use_is_said(tmp_path: Path, src_: str, dst: str, error: type[Exception], message: str) -> None:
    for folder in ("src", "full", "bare"):
        (tmp_path / folder).mkdir()
    study(tmp_path / "src", 3)
    (tmp_path / "full" / "x").write_text("x")
    with pytest.raises(error, match=message):
        deidentify_folder(tmp_path / src_, tmp_path / dst, key=KEY)
    with pytest.raises(UsageError, match="--report lies inside DST"):
        deidentify_folder(tmp_path / "src", tmp_path / "out", key=KEY, listing=tmp_path / "out" / "list.csv")


def test_too_much_quarantined_is_told_with_the_reasons() -> None:
    require_within({"files": 4, "written": 3, "quarantined": {"not_dicom": 1}}, 0.25)
    with pytest.raises(TooManyQuarantined, match=r"1 of 4.*not_dicom \(1\)"):
        require_within({"files": 4, "written": 3, "quarantined": {"not_dicom": 1}}, 0.2)
    with pytest.raises(TooManyQuarantined):
        require_within({"files": 1, "written": 0, "quarantined": {"not_dicom": 1}}, 1.0)
    require_within({"files": 1, "written": 0, "quarantined": {}}, 0.0)


def test_names_that_are_no_text_are_read_all_the_same(tmp_path: Path) -> None:
    folder = Path(os.fsdecode(os.fsencode(tmp_path / "M") + b"\xfcller"))
    study(folder, 3)
    assert deidentify_folder(tmp_path / folder.name, tmp_path / "out", key=KEY, workers=1)["written"] == 3


def test_a_directory_of_nothing_clean_is_empty(tmp_path: Path) -> None:
    (tmp_path / "cd").mkdir()
    FileSet().write(tmp_path / "cd")
    report = deidentify_folder(tmp_path / "cd", tmp_path / "out", key=KEY)
    assert report["rebuilt"] == report["files"] == 1 and len(FileSet(tmp_path / "out" / "media" / "DICOMDIR")) == 0
