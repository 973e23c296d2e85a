"""One made-up patient from birth to file: a few visits, a film at each, for some a CT or a head MR."""

from __future__ import annotations

import datetime
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset

from medgan.phantom import burn, encode, headers, masks, mischief, truth
from medgan.phantom.anatomy import Array, Body, draw_body
from medgan.phantom.bones import Cloud, join, skeleton
from medgan.phantom.head import draw_head, scan_head
from medgan.phantom.headers import Visit
from medgan.phantom.identity import Person, Planted, draw_person, plant_person
from medgan.phantom.lesions import Lesion, draw_lesion
from medgan.phantom.plan import Deal, deal
from medgan.phantom.radiograph import draw_shot, expose
from medgan.phantom.tomography import draw_scan, fine_structure, lungs_of, scan_chest
from medgan.phantom.vessels import vessels

SUFFIXES = (".dcm", ".dcm", ".DCM", "", ".IMA", ".dic")
MONOCHROME1_SHARE, CHATTY_SHARE, PREAMBLE_SHARE, OVERLAY_SHARE, MARKER_SHARE = 0.15, 0.3, 0.2, 0.04, 0.3


@dataclass(slots=True)
class PatientOutcome:
    """What was written for one patient. labels: (file, label, patient id) of every good image file."""

    index: int
    truth: dict[str, Any]
    labels: list[tuple[str, str, str]] = field(default_factory=list)
    broken: list[tuple[str, str]] = field(default_factory=list)  # file, kind
    planted: list[str] = field(default_factory=list)
    dates: list[str] = field(default_factory=list)
    studies: int = 0


@dataclass(slots=True)
class Scene:
    """What the writers of one patient share."""

    person: Person
    body: Body
    dealt: Deal
    dst: Path
    film: int
    rng: np.random.Generator
    planted: Planted
    out: PatientOutcome
    native: Path | None = None  # a film in a native syntax, for the mischief

    @property
    def images(self) -> Path:
        return self.dst / "images"


def phantom_patient(index: int, seed: int, dst: Path, *, patients: int, film: int = 256) -> PatientOutcome:
    """Write patient `index` of `patients` below `dst`; the same arguments give the same bytes."""
    rng = np.random.default_rng(np.random.SeedSequence([seed, 1, index]))
    sex = "F" if rng.random() < 0.48 else "M"
    age = int(np.clip(rng.normal(57, 19), 19, 97))
    first = datetime.date(2019, 1, 7) + datetime.timedelta(days=int(rng.integers(0, 1700)))
    birth = first - datetime.timedelta(days=int(age * 365.25 + rng.integers(1, 360)))
    person = draw_person(rng, index, sex, birth)
    body = draw_body(rng, sex, age)
    out = PatientOutcome(index, {"patient_id": person.patient_id, "sex": sex, "studies": []})
    scene = Scene(person, body, deal(index, patients, seed), dst, film, rng, Planted(), out)
    plant_person(scene.planted, person)
    lesion = draw_lesion(rng, body, scene.dealt.label)
    fine = join([skeleton(body), vessels(body)])
    for visit in visits(rng, person, first):
        write_visit(scene, visit, fine, lesion if stays(rng, scene, visit) else None)
    if scene.native is not None:
        for kind in scene.dealt.broken:
            broken = mischief.break_file(kind, scene.native, scene.images, seed * 1009 + index)
            out.broken.append((broken.relative_to(scene.images).as_posix(), kind))
    out.planted, out.dates = sorted(scene.planted.strings), sorted(scene.planted.dates)
    return out


def visits(rng: np.random.Generator, person: Person, first: datetime.date) -> list[Visit]:
    """One to three visits, months apart."""
    found: list[Visit] = []
    date = first
    for number in range(1, 2 + int(rng.choice(3, p=(0.5, 0.3, 0.2)))):
        found.append(
            Visit(
                number=number,
                date=date,
                time=datetime.time(int(rng.integers(7, 19)), int(rng.integers(60)), int(rng.integers(60))),
                age=(date - person.birth).days * 100 // 36525,
                accession=f"A{date:%y}{person.index:05d}{number}{rng.integers(100, 999)}",
                before=found[-1].date if found else None,
                chatty=bool(rng.random() < CHATTY_SHARE),
            )
        )
        date += datetime.timedelta(days=int(rng.integers(35, 260)))
    return found


def stays(rng: np.random.Generator, scene: Scene, visit: Visit) -> bool:
    """Whether the lesion is there at this visit: opacities and fluid may clear, nodules do not."""
    return visit.number == 1 or scene.dealt.label == "nodule" or rng.random() < 0.6


def write_visit(scene: Scene, visit: Visit, fine: Cloud, lesion: Lesion | None) -> None:
    """All objects of one study of the chest, and of the head study that some first visits bring."""
    if lesion is not None and lesion.kind == "nodule":
        lesion = replace(lesion, radius_mm=lesion.radius_mm * (1 + 0.1 * (visit.number - 1)))
    label = lesion.kind if lesion else "normal"
    folder = study_folder(scene, visit)
    study: dict[str, Any] = {"label": label, "age": visit.age, "date": visit.date.isoformat(), "folder": folder}
    study["film"] = write_film(scene, visit, folder, fine, lesion, label)
    if scene.dealt.has_ct and visit.number == 1:
        study["ct"] = write_ct(scene, visit, folder, lesion, label)
    if scene.dealt.has_mr and visit.number == 1:
        study["mr"] = write_mr(scene, visit, folder, label)
    scene.out.truth["studies"].append(study)
    scene.out.studies += 1


def study_folder(scene: Scene, visit: Visit) -> str:
    """A folder as people and machines name them; half of them give the patient away."""
    person, style = scene.person, (scene.person.index + visit.number) % 4
    if style == 0 and person.plain:
        name = f"{person.family}_{person.given}_{person.patient_id}"
        scene.planted.add(name)
        return f"{name}/chest_{visit.number}"
    if style == 1:
        return f"PACS_export/{visit.date.year}/{person.patient_id}/study{visit.number}"
    return f"PACS_export/{visit.date.year}/{scene.person.index:05d}_{visit.number}"


def write_film(
    scene: Scene, visit: Visit, folder: str, fine: Cloud, lesion: Lesion | None, label: str
) -> dict[str, Any]:
    """The frontal radiograph of a visit; returns its truth."""
    rng, person, film = scene.rng, scene.person, scene.film
    modality = "DX" if rng.random() < 0.7 else "CR"
    view = "AP" if modality == "CR" and rng.random() < 0.55 else "PA"
    shot = draw_shot(rng, scene.body, view)
    picture = expose(scene.body, fine, lesion, shot, film)
    picture, known = write_on(scene, visit, picture)
    inverse = bool(rng.random() < MONOCHROME1_SHARE)
    ds = headers.describe(rng, person, scene.body, visit, (modality, 1), scene.planted)
    headers.radiograph(ds, view, inverse, shot.field_mm / film, shot.source_mm)
    if known["burned"] and rng.random() < 0.5:
        ds.BurnedInAnnotation = "YES" if rng.random() < 0.5 else "NO"  # the declaration may lie
    ds.SOPInstanceUID = f"{ds.SeriesInstanceUID}.1"
    stored = np.round(picture * 4095).astype(np.uint16)
    encode.set_pixels(ds, 4095 - stored if inverse else stored, 12)
    if rng.random() < OVERLAY_SHARE:
        add_overlay(ds, scene, film)
    name = f"IM{visit.number:04d}{SUFFIXES[int(rng.integers(len(SUFFIXES)))]}"
    syntax = "explicit" if scene.dealt.broken else encode.draw_syntax(rng)
    path = save(scene, ds, f"{folder}/{name}", syntax, label)
    scene.planted.add(f"{ds.SeriesInstanceUID}.{mischief.CUT}")
    if scene.native is None:
        scene.native = path
    box = truth.box_in_film(scene.body, lesion, shot, film) if lesion else None
    return {"file": f"{folder}/{name}", "modality": modality, "view": view, "syntax": syntax, "box": box, **known}


def write_on(scene: Scene, visit: Visit, picture: Array) -> tuple[Array, dict[str, Any]]:
    """Side marker and burned-in text, and what is known about them."""
    rng, person = scene.rng, scene.person
    stamps: list[burn.Stamp] = []
    marker: burn.Stamp | None = None
    if scene.dealt.burned:
        day = visit.date.strftime("%d.%m.%Y")
        who = f"{person.family.upper()}, {person.given}" if person.plain else f"ID {person.patient_id}"
        lines = [[who, f"{person.patient_id} {day}"], [who], [f"{person.patient_id}", day]][int(rng.integers(3))]
        picture, stamps = burn.burn(rng, picture, lines)
        scene.planted.add(*(line for line in lines if line != day))
    elif rng.random() < MARKER_SHARE:
        picture, marker = burn.mark_side(rng, picture)
    burned = [{"text": s.text, "box": list(s.box), "bright": s.bright} for s in stamps]
    return picture, {"burned": burned, "marker": {"text": marker.text, "box": list(marker.box)} if marker else None}


def add_overlay(ds: Dataset, scene: Scene, film: int) -> None:
    text = scene.person.patient_id
    ds.add_new(0x60000010, "US", film)
    ds.add_new(0x60000011, "US", film)
    ds.add_new(0x60000022, "LO", f"Overlay of {scene.person.patient_id}")
    ds.add_new(0x60000040, "CS", "G")
    ds.add_new(0x60000050, "SS", [1, 1])
    ds.add_new(0x60000100, "US", 1)
    ds.add_new(0x60000102, "US", 0)
    ds.add_new(0x60003000, "OW", burn.overlay_bits(text, film))


def write_ct(scene: Scene, visit: Visit, folder: str, lesion: Lesion | None, label: str) -> dict[str, Any]:
    """The axial series of the chest and its true lungs; returns its truth."""
    body = scene.body
    scan = draw_scan(scene.rng, body)
    volume = scan_chest(body, fine_structure(body), lesion, scan)
    ds = headers.describe(scene.rng, scene.person, body, visit, ("CT", 2), scene.planted)
    headers.plane(ds, scan.origin_mm, scan.pixel_mm, scan.slice_mm)
    slices = write_slices(scene, ds, folder, (volume + 1024).astype(np.uint16), scan.origin_mm, scan.slice_mm, label)
    name = f"lungs_{scene.person.index:05d}_{visit.number}.dcm"
    masks.write_lungs(scene.dst / "truth" / "seg" / name, slices, lungs_of(body, scan))
    box = truth.box_in_scan(body, lesion, scan) if lesion else None
    return {"folder": f"{folder}/ct", "slices": scan.slices, "lungs": f"seg/{name}", "box": box}


def write_mr(scene: Scene, visit: Visit, folder: str, label: str) -> dict[str, Any]:
    """The axial series of the head; returns its truth."""
    head = draw_head(scene.rng, scene.person.sex, visit.age)
    ds = headers.describe(scene.rng, scene.person, scene.body, visit, ("MR", 3), scene.planted)
    headers.plane(ds, head.origin_mm, head.pixel_mm, head.slice_mm)
    write_slices(scene, ds, folder, scan_head(head), head.origin_mm, head.slice_mm, label)
    return {"folder": f"{folder}/mr", "slices": head.slices, "atrophy": round(head.atrophy, 3)}


def write_slices(
    scene: Scene,
    ds: Dataset,
    folder: str,
    volume: npt.NDArray[np.uint16],
    origin_mm: tuple[float, float, float],
    slice_mm: float,
    label: str,
) -> list[Dataset]:
    """One file a slice, named so that their order says nothing; returns the datasets without pixels."""
    kind = ds.Modality.lower()
    order = scene.rng.permutation(len(volume))
    suffix, written = SUFFIXES[int(scene.rng.integers(len(SUFFIXES)))], []
    syntax = "explicit" if scene.rng.random() < 0.6 else str(scene.rng.choice(["implicit", "j2k", "jls"]))
    scene.planted.add(ds.FrameOfReferenceUID)
    for k, pixels in enumerate(volume):
        headers.slice_at(ds, k, origin_mm, slice_mm)
        encode.set_pixels(ds, pixels, 12)
        save(scene, ds, f"{folder}/{kind}/{order[k]:04d}{suffix}", syntax, label)
        bare = Dataset()
        bare.update({element.tag: element for element in ds if element.keyword != "PixelData"})
        del bare.SpecificCharacterSet, bare.PatientName  # a written name remembers its old encoding
        bare.SpecificCharacterSet = "ISO_IR 192"  # highdicom refuses the empty first value of ISO 2022 sets
        bare.PatientName = scene.person.name
        written.append(bare)
    return written


def save(scene: Scene, ds: Dataset, file: str, syntax: str, label: str) -> Path:
    """Write an object below images/ and note its label and identifiers."""
    preamble = b""
    if scene.rng.random() < PREAMBLE_SHARE and scene.person.plain:
        preamble = f"exported for {scene.person.family} {scene.person.patient_id}".encode()
    path = scene.images / file
    encode.write(path, ds, syntax, station=scene.person.station, preamble=preamble)
    scene.planted.add(ds.SOPInstanceUID)
    scene.out.labels.append((file, label, scene.person.patient_id))
    return path
