"""A written phantom folder: readable, reproducible, labelled, and every planted identifier on the list."""

from __future__ import annotations

import csv
import datetime
import hashlib
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError

from medgan.errors import MedganError, SourceError, UsageError
from medgan.phantom.anatomy import draw_body
from medgan.phantom.identity import SCRIPTS, Planted, draw_person
from medgan.phantom.patient import PatientOutcome, Scene, phantom_patient, visits, write_ct
from medgan.phantom.plan import BROKEN, deal
from medgan.phantom.write import PhantomSummary, finish, start, write_phantoms

PATIENTS, SEED, FILM = 22, 7, 64
IDENTIFYING = (
    "PatientName PatientID IssuerOfPatientID PatientBirthDate PatientAddress PatientTelephoneNumbers AccessionNumber "
    "ReferringPhysicianName OperatorsName InstitutionName InstitutionAddress StationName DeviceSerialNumber "
    "StudyInstanceUID SeriesInstanceUID SOPInstanceUID FrameOfReferenceUID ReferencedSOPInstanceUID"
)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, PhantomSummary]:
    dst = tmp_path_factory.mktemp("phantom") / "set"
    return dst, write_phantoms(dst, patients=PATIENTS, seed=SEED, film=FILM)


def tree(folder: Path) -> dict[str, str]:
    files = sorted(p for p in folder.rglob("*") if p.is_file())
    return {p.relative_to(folder).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def labels(dst: Path) -> list[dict[str, str]]:
    with (dst / "images" / "labels.csv").open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def load(path: Path) -> object:
    return json.loads(path.read_text(encoding="utf-8"))


def everything(ds: Dataset) -> list[tuple[int, str, object]]:
    """(depth, keyword, value) of every attribute at every depth."""
    found: list[tuple[int, str, object]] = []
    for element in ds:
        found.append((0, element.keyword, element.value))
        if element.VR == "SQ":
            for item in element.value:
                found += [(depth + 1, keyword, value) for depth, keyword, value in everything(item)]
    return found


def test_same_seed_gives_the_same_bytes_and_another_seed_others(tmp_path: Path) -> None:
    for name, seed in (("a", 5), ("b", 5), ("c", 6)):
        write_phantoms(tmp_path / name, patients=8, seed=seed, film=64)
    assert any("truth/seg/" in name for name in tree(tmp_path / "a"))
    assert tree(tmp_path / "a") == tree(tmp_path / "b") != tree(tmp_path / "c")


def test_patients_written_one_by_one_in_any_order_are_the_same_set(written: tuple[Path, PhantomSummary]) -> None:
    dst, summary = written
    other = dst.parent / "mapped"
    start(other, patients=PATIENTS, film=FILM)
    outcomes = [phantom_patient(k, SEED, other, patients=PATIENTS, film=FILM) for k in reversed(range(PATIENTS))]
    assert finish(other, outcomes, seed=SEED, film=FILM) == summary
    assert tree(other) == tree(dst)


def test_every_labelled_file_decodes_and_every_other_is_known_broken(written: tuple[Path, PhantomSummary]) -> None:
    dst, summary = written
    rows = labels(dst)
    assert len(rows) == summary.files == len({row["file"] for row in rows})
    assert {row["label"] for row in rows} == {"normal", "nodule", "opacity", "effusion"}
    for row in rows:
        ds = dcmread(dst / "images" / row["file"])
        assert ds.PatientID == row["patient_id"]
        assert ds.pixel_array.shape == (ds.Rows, ds.Columns) and ds.pixel_array.max() <= 4095
    broken = {b["file"] for b in load(dst / "truth" / "truth.json")["broken"]}  # type: ignore[index]
    good = {row["file"] for row in rows}
    present = set(tree(dst / "images")) - {"labels.csv"}
    assert present == good | broken and not good & broken and len(broken) == summary.broken >= 5


def test_broken_files_are_broken_as_they_say(written: tuple[Path, PhantomSummary]) -> None:
    dst, _ = written
    found = {b["kind"]: dst / "images" / b["file"] for b in load(dst / "truth" / "truth.json")["broken"]}  # type: ignore[index]
    assert set(found) == set(BROKEN)
    good = [dst / "images" / row["file"] for row in labels(dst)]
    assert found["empty"].stat().st_size == 0
    with pytest.raises(InvalidDicomError):
        dcmread(found["text"])
    short = dcmread(found["truncated"])
    assert len(short.PixelData) < short.Rows * short.Columns * 2
    assert "SOPInstanceUID" not in dcmread(found["no_sop_uid"])
    copy = found["duplicate"].read_bytes()
    assert sum(path.read_bytes() == copy for path in good) == 1
    rival = dcmread(found["conflict"])
    twins = [ds for ds in map(dcmread, good) if ds.SOPInstanceUID == rival.SOPInstanceUID]
    assert len(twins) == 1 and (twins[0].pixel_array != rival.pixel_array).any()


def test_every_identifying_value_is_on_the_planted_list(written: tuple[Path, PhantomSummary]) -> None:
    dst, summary = written
    planted = set(load(dst / "truth" / "planted.json"))  # type: ignore[call-overload]
    assert len(planted) == summary.identifiers > 200 and all(len(p) >= 4 or not p.isascii() for p in planted)
    for row in labels(dst):
        for _, keyword, value in everything(dcmread(dst / "images" / row["file"])):
            if keyword in IDENTIFYING.split() and str(value):
                assert str(value) in planted, keyword


def test_identifiers_sit_at_every_depth_in_private_attributes_text_and_names(
    written: tuple[Path, PhantomSummary],
) -> None:
    dst, _ = written
    sets = [dcmread(dst / "images" / row["file"]) for row in labels(dst)]
    assert max(d for ds in sets for d, keyword, _ in everything(ds) if keyword == "PatientID") >= 2
    for ds in sets:
        value = ds.private_block(0x19, "PHANTOM WORKS 1.0")[0x01].value
        # implicit files do not tell the VR of a private attribute
        assert (value if isinstance(value, bytes) else value.encode()).startswith(ds.PatientID.encode())
    assert any(str(ds.PatientName.family_name) in ds.get("ImageComments", "") for ds in sets)
    assert any(ds.PatientID.encode() in ds.preamble for ds in sets)
    assert any(row["patient_id"] in row["file"] for row in labels(dst))
    dates = load(dst / "truth" / "planted_dates.json")
    assert all(ds.StudyDate in dates[ds.PatientID] for ds in sets)  # type: ignore[index]


def test_ct_is_an_even_stack_and_its_lungs_are_a_segmentation_of_it(written: tuple[Path, PhantomSummary]) -> None:
    dst, _ = written
    studies = [s for p in load(dst / "truth" / "truth.json")["patients"] for s in p["studies"] if "ct" in s]  # type: ignore[index]
    assert studies
    for study in studies:
        files = list((dst / "images" / study["ct"]["folder"]).iterdir())
        slices = sorted(map(dcmread, files), key=lambda ds: ds.ImagePositionPatient[2])
        steps = np.diff([float(ds.ImagePositionPatient[2]) for ds in slices])
        assert len(slices) == study["ct"]["slices"] and np.ptp(steps) < 0.01
        assert len({ds.SOPInstanceUID for ds in slices}) == len(slices)
        assert [int(ds.InstanceNumber) for ds in slices] == list(range(1, len(slices) + 1))
        assert slices[0].FrameOfReferenceUID not in {ds.SOPInstanceUID for ds in slices}
        seg = dcmread(dst / "truth" / study["ct"]["lungs"])
        assert seg.StudyInstanceUID == slices[0].StudyInstanceUID and seg.NumberOfFrames == len(slices)
        hu = np.stack([ds.pixel_array.astype(int) - 1024 for ds in slices])
        lungs = seg.pixel_array.astype(bool)
        air = (hu < -500) & (hu > -960)
        assert (air & lungs).sum() > 0.5 * lungs.sum() and lungs.sum() > 5000


@pytest.mark.parametrize("script", range(len(SCRIPTS)), ids=[s[0] + "-" + s[1] for s in SCRIPTS])
def test_patient_with_a_name_in_any_script_can_have_a_ct(tmp_path: Path, script: int) -> None:
    rng = np.random.default_rng(script)
    who = replace(draw_person(rng, 0, "M", datetime.date(1960, 1, 2)), charset=SCRIPTS[script][0])
    family = SCRIPTS[script][1]
    who = replace(who, family=family, name=f"{family}^{SCRIPTS[script][2]}")
    body = draw_body(rng, "M", 60)
    hand = deal(0, 1, 0)
    scene = Scene(who, body, hand, tmp_path, 64, rng, Planted(), PatientOutcome(0, {"studies": []}))
    visit = visits(rng, who, datetime.date(2020, 2, 3))[0]
    found = write_ct(scene, visit, "a", None, "normal")
    seg = dcmread(tmp_path / "truth" / found["lungs"])
    first = dcmread(next((tmp_path / "images" / "a" / "ct").iterdir()))
    assert str(seg.PatientName) == str(first.PatientName) == who.name


def test_burned_in_text_is_where_the_truth_says(written: tuple[Path, PhantomSummary]) -> None:
    dst, _ = written
    films = [s["film"] for p in load(dst / "truth" / "truth.json")["patients"] for s in p["studies"]]  # type: ignore[index]
    burned = [f for f in films if f["burned"]]
    assert burned and len(burned) < len(films) / 3
    for film in burned:
        pixels = dcmread(dst / "images" / film["file"]).pixel_array
        for stamp in film["burned"]:
            x0, y0, x1, y1 = stamp["box"]
            assert 0 <= x0 < x1 <= FILM and 0 <= y0 < y1 <= FILM
            assert np.ptp(pixels[y0:y1, x0:x1].astype(int)) > 1200


REFUSALS = [
    ({"patients": 0, "film": 64}, UsageError, "at least 1"),
    ({"patients": 2, "film": 65}, UsageError, "even number"),
    ({"patients": 2, "film": 32}, UsageError, "from 64"),
]


@pytest.mark.parametrize(("arguments", "error", "message"), REFUSALS, ids=["no-patient", "odd-film", "tiny-film"])
def test_impossible_numbers_are_refused(
    tmp_path: Path, arguments: dict[str, int], error: type[MedganError], message: str
) -> None:
    with pytest.raises(error, match=message):
        write_phantoms(tmp_path / "x", seed=1, **arguments)
    assert not (tmp_path / "x").exists()


def test_folder_with_files_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("keep")
    with pytest.raises(SourceError, match="holds files already"):
        write_phantoms(tmp_path, patients=1, seed=1)
    assert (tmp_path / "mine.txt").read_text() == "keep"


def test_progress_counts_every_patient(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    write_phantoms(tmp_path / "x", patients=2, seed=1, film=64, on_progress=lambda done, of: seen.append((done, of)))
    assert seen == [(1, 2), (2, 2)]
