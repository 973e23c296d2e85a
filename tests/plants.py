"""A challenge for de-identification: real files with made-up identity planted in every place where it hides.

`plant(seed)` gives the same files each time. The judge is in plants_check.py.
"""

from __future__ import annotations

import dataclasses
import random
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from io import BytesIO
from itertools import count
from pathlib import Path

import pydicom
from plants_container import CONTAINER, UNREADABLE, beside, born
from plants_objects import MADE, QUICK, REAL, blank, fill, readied, real, written
from plants_people import Person, person
from plants_places import PLACES, after_the_last_pixel, charset_lies, identity
from plants_rows import plant_row, plantable
from plants_scene import Plant, Scene, item, put, put_items
from plants_text import plain
from pydicom.dataset import Dataset
from pydicom.uid import DeflatedExplicitVRLittleEndian

IMAGES = ("CT", "MR", "US", "OT", "CR", "PT", "SC", "XC")
UNDECODABLE = ("1.2.840.10008.1.2.4.53", "1.2.840.10008.1.2.4.55")  # retired lossy JPEG, no decoder
UNREAD = {"pdf", "voice"}  # kinds that may be set aside whole


@dataclass(frozen=True, slots=True)
class Case:
    """One planted file. `number` is its InstanceNumber: unique in the challenge, kept by every profile."""

    number: int
    name: str
    kind: str
    data: bytes
    owner: int
    person: Person
    plants: tuple[Plant, ...]
    may_be_set_aside: bool
    burned: bool

    def source(self) -> Dataset:
        return pydicom.dcmread(BytesIO(self.data), force=True)


@dataclass(frozen=True, slots=True)
class Challenge:
    cases: tuple[Case, ...]
    copies: int
    seed: int

    def write(self, folder: Path) -> int:
        """Write the files below `folder`, with one exact copy and strange neighbours; returns the number of files."""
        for case in self.cases:
            path = folder / case.name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(case.data)
            born(path, Scene(Dataset(), random.Random(0), case.person, case.person.studies[0], str))
        first = self.cases[0]
        (folder / first.name).with_suffix(".copy").write_bytes(first.data)
        scene = Scene(Dataset(), random.Random(self.seed), first.person, first.person.studies[0], str)
        return len(self.cases) + 1 + beside(folder, scene)


def plant(seed: int, n_studies: int = 14, real_folder: Path | None = None) -> Challenge:
    """`n_studies` studies of made-up patients, some with several; every row and place comes up in turn."""
    rng = random.Random(seed)
    bases = list(_bases(rng, real_folder))
    uids = _uids(rng)
    numbers, rows = count(1), _endless(rng, plantable())
    places = _endless(rng, list(PLACES))
    cases: list[Case] = []
    owner = 0
    while n_studies > 0:
        visits = min(rng.choice((1, 2, 3)), n_studies)
        who = person(rng, visits)
        frame = uids()
        for visit in range(visits):
            left = n_studies - visit
            mine = [bases.pop() for _ in range(min(len(bases), max(2, -(-len(bases) // left))))]
            cases += _study(rng, who, visit, owner, frame, mine, uids, numbers, rows, places)
        owner, n_studies = owner + 1, n_studies - visits
    return Challenge(tuple(cases), 1, seed)


def quick(seed: int) -> Challenge:
    """A small challenge for the suite: a few files without pictures that take long to read."""
    rng = random.Random(seed)
    names = [(name, real(name)) for name in QUICK] + [(kind, blank(kind)) for kind in MADE[:3]]
    uids, numbers, rows = _uids(rng), count(1), _endless(rng, plantable())
    places = _endless(rng, list(PLACES))
    who, other = person(rng, 2), person(rng, 1)
    frame = uids()
    cases = _study(rng, who, 0, 0, frame, names[::3], uids, numbers, rows, places)
    cases += _study(rng, who, 1, 0, frame, names[1::3], uids, numbers, rows, places)
    cases += _study(rng, other, 0, 1, uids(), names[2::3], uids, numbers, rows, places)
    return Challenge(tuple(cases), 1, seed)


def _bases(rng: random.Random, real_folder: Path | None) -> Iterator[tuple[str, Dataset]]:
    found = [(name, real(name)) for name in REAL] + [(kind, blank(kind)) for kind in (*MADE, "burned", "burned")]
    if real_folder is not None:
        found += list(_from_zips(rng, real_folder))
    rng.shuffle(found)
    yield from found


def _from_zips(rng: random.Random, folder: Path, most: int = 24) -> Iterator[tuple[str, Dataset]]:
    """A sample of the readable files in the archives of a folder, the smaller ones."""
    for archive in sorted(folder.glob("*.zip")):
        with zipfile.ZipFile(archive) as files:
            names = [one.filename for one in files.infolist() if 1000 < one.file_size < 700_000 and _dicom(files, one)]
            for name in rng.sample(names, min(most, len(names))):
                ds = pydicom.dcmread(BytesIO(files.read(name)), force=True)
                if ds.get("SOPClassUID") and ds.file_meta.get("TransferSyntaxUID"):
                    yield f"real {ds.get('Modality', '')}", readied(ds)


def _dicom(files: zipfile.ZipFile, one: zipfile.ZipInfo) -> bool:
    with files.open(one) as file:
        return file.read(132)[128:] == b"DICM"


def _endless(rng: random.Random, values: list) -> Callable[[int], list]:  # type: ignore[type-arg]
    """A dealer: hands out `n` values at a time, each value once before any comes twice."""
    pile: list = []  # type: ignore[type-arg]

    def deal(n: int) -> list:  # type: ignore[type-arg]
        while len(pile) < n:
            pile[:0] = rng.sample(values, len(values))
        return [pile.pop() for _ in range(n)]

    return deal


def _uids(rng: random.Random) -> Callable[[], str]:
    return lambda: f"1.3.6.1.4.1.99999.{rng.randrange(1, 10**9)}.{rng.randrange(10**14, 10**15)}"


def _study(rng, who, visit, owner, frame, bases, uids, numbers, rows, places) -> list[Case]:  # type: ignore[no-untyped-def]
    """Plant one study: instances first, then the references among them, then the bytes."""
    scenes: list[tuple[int, str, Scene]] = []
    study_uid = uids()
    for kind, ds in bases:
        mine = who if _takes_accents(ds) else _without_accents(who)
        scene = Scene(ds, rng, mine, mine.studies[visit], uids)
        number = next(numbers)
        _file(scene, kind, number, study_uid, frame)
        for place in places(8):
            if place is not charset_lies or ds.SpecificCharacterSet == "ISO_IR 100":
                place(scene)
        for tag in rows(30):
            plant_row(scene, ds, tag)
        _rows_in_an_item(scene, rows(10))
        for container in CONTAINER:
            container(scene)
        scenes.append((number, kind, scene))
    _refer(scenes)
    return [_case(rng, number, kind, scene, owner, who) for number, kind, scene in scenes]


def _file(scene: Scene, kind: str, number: int, study_uid: str, frame: str) -> None:
    ds = scene.ds
    put(ds, 0x00080018, "UI", scene.new_uid())
    put(ds, 0x0020000D, "UI", study_uid)
    put(ds, 0x0020000E, "UI", scene.new_uid())
    put(ds, 0x00200013, "IS", str(number))
    if "FrameOfReferenceUID" in ds:
        put(ds, 0x00200052, "UI", frame)
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
    identity(scene)
    if kind in MADE:
        fill(kind, scene)


def _rows_in_an_item(scene: Scene, tags: list[int]) -> None:
    """The same rows inside a sequence that the table does not name."""
    inner, above = Dataset(), (0x00540304,)
    for tag in tags:
        plant_row(scene, inner, tag, above)
    put_items(scene.ds, above[0], inner)


def _refer(scenes: list[tuple[int, str, Scene]]) -> None:
    """Each instance refers to the next of its study, in kept sequences of several kinds."""
    for (_, _, scene), (_, _, other) in zip(scenes, scenes[1:] + scenes[:1], strict=True):
        to = item((0x00081150, "UI", other.ds.SOPClassUID), (0x00081155, "UI", other.ds.SOPInstanceUID))
        put_items(scene.ds, 0x00081140, to)
        there = item((0x0020000E, "UI", other.ds.SeriesInstanceUID))
        put_items(
            there,
            0x0008114A,
            item((0x00081150, "UI", other.ds.SOPClassUID), (0x00081155, "UI", other.ds.SOPInstanceUID)),
        )
        put_items(scene.ds, 0x00081115, there)


def _takes_accents(ds: Dataset) -> bool:
    declared = ds.SpecificCharacterSet
    return isinstance(declared, str) and declared in ("ISO_IR 100", "ISO_IR 192", "GB18030")


def _without_accents(who: Person) -> Person:
    def spelt(record):  # type: ignore[no-untyped-def]
        changed = {f.name: plain(getattr(record, f.name)) for f in dataclasses.fields(record) if f.type == "str"}
        return dataclasses.replace(record, **changed)

    return dataclasses.replace(spelt(who), studies=tuple(spelt(study) for study in who.studies))


def _case(rng, number, kind, scene, owner, who) -> Case:  # type: ignore[no-untyped-def]
    odd = rng.random() < 0.1
    if odd:
        for place in UNREADABLE:
            place(scene)
    if rng.random() < 0.3:
        after_the_last_pixel(scene)
    data = written(scene.ds)
    for change in scene.late:
        data = change(data)
    family = plain(who.family)
    name = f"{family}_{plain(who.given)}/{who.birth:%d.%m.%Y}/{scene.study.accession}_{number}.dcm"
    aside = kind in UNREAD or odd or scene.ds.file_meta.TransferSyntaxUID in UNDECODABLE
    burned = kind in ("burned", "photo")
    inside = _inflated(data) if scene.ds.file_meta.TransferSyntaxUID == DeflatedExplicitVRLittleEndian else data
    kept = tuple(plant for plant in scene.plants if plant.path is not None or _is_in(inside, plant.needles))
    return Case(number, name, kind, data, owner, who, kept, aside, burned)


def _is_in(data: bytes, needles: tuple[str, ...]) -> bool:
    """Whether a plant is still there: a later place may have taken its element away."""
    encodings = ("latin-1", "utf-8", "utf-16-le", "gb18030", "iso2022_jp", "euc_kr")
    spelt = {needle.encode(encoding, "ignore") for needle in needles for encoding in encodings}
    forms = {form[3:-3] if form.startswith(b"\x1b") else form for form in spelt}
    return not needles or any(len(form) >= 4 and form in data for form in forms | {form.lower() for form in forms})


def _inflated(data: bytes) -> bytes:
    start = 144 + int.from_bytes(data[140:144], "little")
    return data + zlib.decompressobj(-zlib.MAX_WBITS).decompress(data[start:])
