"""Gate 1 as a stage: studies of zone one become studies of the research zone, or are set aside."""

import io
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from factories import dicom, dicom_bytes
from PIL import Image, ImageDraw, ImageFont
from pydicom import dcmread
from pydicom.filewriter import dcmwrite
from pydicom.uid import ExplicitVRLittleEndian, RLELossless

from medgan import digest as digests
from medgan.errors import Reason
from medgan.home import Home
from medgan.phantom.write import write_phantoms
from medgan.recipes import DeidentifyRecipe, IngestRecipe
from medgan.records import IdentifiedStudy, Quarantined, Study
from medgan.sources.source import open_source
from medgan.stages.deidentify import deidentify_studies, write_report
from medgan.stages.ingest import ingest, pending

RECIPE = DeidentifyRecipe()


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home.create(tmp_path / "home")


def identified(home: Home, files: dict[str, bytes], study: str = "1.2.3", labels: bool = True) -> IdentifiedStudy:
    """Seal a study in zone one, as ingestion does."""
    named = {digests.sha256(data): data for data in files.values()}

    def fill(folder: Path) -> IdentifiedStudy:
        (folder / "instances").mkdir()
        for name, data in named.items():
            (folder / "instances" / f"{name}.dcm").write_bytes(data)
        if labels:
            (folder / "labels.json").write_bytes(digests.canonical(dict.fromkeys(named, "nodule")))
        keys = digests.study_key(home.pseudonym_key, study), digests.patient_key(home.pseudonym_key, "P1")
        return IdentifiedStudy(study_key=keys[0], patient_key=keys[1], digest="", n_instances=len(named))

    return home.identified.make(f"key of {study}", fill, stage="ingest", kind=IdentifiedStudy)


def film(text: str = "", syntax: str = ExplicitVRLittleEndian, **more: Any) -> bytes:
    """A 12-bit film of 200 x 240 pixels, with `text` burned in."""
    rng = np.random.default_rng(1)
    y, x = np.mgrid[0:200, 0:240] / 200
    picture = 600 + 1400 * np.exp(-((x - 0.6) ** 2 + (y - 0.5) ** 2) / 0.1) + rng.normal(0, 20, (200, 240))
    mask = Image.new("L", (240, 200))
    ImageDraw.Draw(mask).text((6, 6), text, font=ImageFont.load_default(size=16), fill=255)
    picture = np.where(np.array(mask) > 127, 4095, picture).astype("<u2")
    ds = dicom(more.pop("instance", "1.2.3.4"), SOPClassUID="1.2.840.10008.5.1.4.1.1.1.1", Modality="DX", **more)
    ds.Rows, ds.Columns, ds.PixelData = 200, 240, picture.tobytes()
    if syntax != ExplicitVRLittleEndian:
        ds.compress(syntax, generate_instance_uid=False)
    file = io.BytesIO()
    dcmwrite(file, ds, enforce_file_format=True)
    return file.getvalue()


def instances(home: Home, study: Study) -> list[Any]:
    folder = home.research.store.path(study.digest) / "instances"
    return [dcmread(file) for file in sorted(folder.iterdir())]


def test_a_study_becomes_a_study_with_its_labels_and_counts(home: Home) -> None:
    study = identified(home, {"a": film(), "b": film(instance="1.2.3.5")})
    (done,) = deidentify_studies([study], RECIPE, home)
    assert isinstance(done, Study) and done.n_instances == 2 and done.modalities == ("DX",)
    assert done.removed > 0 and done.boxes == 0
    folder = home.research.store.path(done.digest)
    described = json.loads((folder / "study.json").read_bytes())
    assert set(described["labels"]) == {file.stem for file in (folder / "instances").iterdir()}
    assert set(described["labels"].values()) == {"nodule"} and "113101" in described["method_codes"]
    assert json.loads((folder / "audit.json").read_bytes())["findings"] == 0
    assert home.research.ledger.patients_of(done.digest) == {study.patient_key}
    assert all(ds.BurnedInAnnotation == "NO" and ds.PatientID == study.patient_key for ds in instances(home, done))


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, RLELossless], ids=["native", "compressed"])
def test_burned_in_text_is_blanked_and_the_rest_of_the_film_kept(home: Home, syntax: str) -> None:
    study = identified(home, {"a": film("DOE JANE 1983", syntax)})
    (done,) = deidentify_studies([study], RECIPE, home)
    assert isinstance(done, Study) and done.boxes >= 1
    (ds,) = instances(home, done)
    before, after = dcmread(io.BytesIO(film("DOE JANE 1983"))).pixel_array, ds.pixel_array
    assert (before == 4095).sum() > 300 and not (after == 4095).any()
    assert np.array_equal(before[60:], after[60:]) and ds.file_meta.TransferSyntaxUID in (
        ExplicitVRLittleEndian,
        syntax,
    )


def test_a_second_time_costs_nothing_and_gives_the_same(home: Home, tmp_path: Path) -> None:
    study = identified(home, {"a": film("DOE JANE 1983")})
    first = deidentify_studies([study], RECIPE, home)
    again = deidentify_studies([study], RECIPE.model_copy(update={"max_quarantined": 0.5}), home)
    assert first == again and len(home.research.ledger.entries("deidentify")) == 1
    copy = Home.create(tmp_path / "other")
    (copy.root / "identified" / "key").write_bytes((home.root / "identified" / "key").read_bytes())
    twin = Home(copy.root)
    assert deidentify_studies([identified(twin, {"a": film("DOE JANE 1983")})], RECIPE, twin) == first


def test_a_study_gets_the_same_bytes_in_any_company(tmp_path: Path) -> None:
    """A run killed half-way goes on with the rest of a batch: what it makes must not differ."""
    write_phantoms(tmp_path / "phantoms", patients=11, seed=5, film=128)
    batch = Home.create(tmp_path / "batch")
    ingest(open_source(str(tmp_path / "phantoms" / "images")), IngestRecipe(), batch)
    studies = [study for study in pending(batch) if study.n_instances == 1]
    for name in ("alone", "reversed"):
        shutil.copytree(batch.root, tmp_path / name)
    alone, backwards = Home(tmp_path / "alone"), Home(tmp_path / "reversed")
    together = deidentify_studies(studies, RECIPE, batch)
    one_by_one = [outcome for study in studies for outcome in deidentify_studies([study], RECIPE, alone)]
    assert together == one_by_one == deidentify_studies(studies[::-1], RECIPE, backwards)[::-1]
    assert len(together) >= 15 and sum(isinstance(o, Study) and o.boxes > 0 for o in together) >= 1


def test_one_bad_instance_sets_its_study_aside_and_the_others_go_on(home: Home) -> None:
    undecodable = dcmread(io.BytesIO(film()))
    undecodable.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.4.90"
    undecodable.PixelData = b"\xfe\xff\x00\xe0\0\0\0\0\xfe\xff\x00\xe0\x04\0\0\0abcd\xfe\xff\xdd\xe0\0\0\0\0"
    undecodable["PixelData"].is_undefined_length = True
    file = io.BytesIO()
    dcmwrite(file, undecodable, enforce_file_format=True)
    studies = [
        identified(home, {"a": file.getvalue(), "b": film(instance="1.2.3.5")}, "1.2.3"),
        identified(home, {"a": film(StudyInstanceUID="1.2.4")}, "1.2.4", labels=False),
        identified(home, {"a": dicom_bytes()[:-30]}, "1.2.5"),
    ]
    outcomes = deidentify_studies(studies, RECIPE, home)
    assert [getattr(outcome, "reason", None) for outcome in outcomes] == [Reason.TEXT_UNCLEAR, None, Reason.UNREADABLE]
    assert outcomes == deidentify_studies(studies, RECIPE, home)
    assert [row["times"] for row in home.research.ledger.set_aside_rows("deidentify")] == [1, 1]
    assert isinstance(outcomes[0], Quarantined) and outcomes[0].study_key == studies[0].study_key


def test_the_report_of_a_home_counts_what_was_done_and_what_was_set_aside(home: Home) -> None:
    more = {"PatientAge": "047Y", "PatientName": "Zwiebelbach^Jane", "PatientID": "4711-0815"}
    studies = [
        identified(home, {"a": film(**more), "b": film(instance="1.2.3.5", **more)}),
        identified(home, {"a": dicom_bytes()[:-30], "b": dicom_bytes("1.2.5.2")}, "1.2.5"),
    ]
    deidentify_studies(studies, RECIPE, home)
    report = write_report(RECIPE, home, 5)
    assert (report["inputs"], report["written"], report["studies"], report["patients"]) == (4, 2, 1, 1)
    assert report["quarantined"] == {"unreadable": 2} and report["looked"] == 2
    assert report["risk"]["k"] == 1 and sum(report["actions"]["PatientName"].values()) == 2
    page = (home.root / "research" / "deidentification.html").read_text()
    assert "PatientName" in page and not any(value in page for value in ("Zwiebel", "4711", "1.2.3"))


def test_text_in_one_slice_of_a_series_is_blanked(home: Home) -> None:
    def slice_(number: int) -> bytes:
        rng = np.random.default_rng(number)
        y, x = np.mgrid[0:160, 0:160] / 160
        body = np.where(np.hypot(x - 0.5, y - 0.5) < 0.4, 1000 + 60 * np.sin(9 * x * y + number), 0)
        picture = body + rng.normal(0, 10, (160, 160))
        mask = Image.new("L", (160, 160))
        text = "DOE JANE" if number == 3 else ""
        ImageDraw.Draw(mask).text((30, 140), text, font=ImageFont.load_default(size=14), fill=255)
        picture = np.where(np.array(mask) > 127, 3000, np.clip(picture, 0, 2500)).astype("<u2")
        ds = dicom(f"1.2.3.{number}", ImageType=["ORIGINAL", "PRIMARY", "AXIAL"])
        ds.Rows, ds.Columns, ds.PixelData = 160, 160, picture.tobytes()
        file = io.BytesIO()
        dcmwrite(file, ds, enforce_file_format=True)
        return file.getvalue()

    (done,) = deidentify_studies([identified(home, {str(n): slice_(n) for n in range(8)})], RECIPE, home)
    assert isinstance(done, Study) and done.boxes >= 1
    assert max(ds.pixel_array.max() for ds in instances(home, done)) <= 2500
