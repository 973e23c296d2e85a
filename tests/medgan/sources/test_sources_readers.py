"""Children that read untrusted files: what they say, and what happens when a file kills, hangs or swells them."""

from __future__ import annotations

import hashlib
import os
import random
import signal
import subprocess
import sys
import threading
import time
import zlib
from concurrent.futures import CancelledError
from pathlib import Path

import numpy as np
import pytest
from dicom_draft import COLUMNS, DEFLATED, IMPLICIT, PIXELS, REQUESTS, ROWS, Draft, el, item
from factories import dicom_bytes
from hostile import hostile
from PIL import Image

from medgan.dicom.index import content_digest
from medgan.errors import HomeError, MedganError, Reason
from medgan.sources.entry import SMALL
from medgan.sources.labels import Hints
from medgan.sources.readers import Readers
from medgan.sources.reading import Task, kind_of, read

ROOT = Path(__file__).resolve().parents[3]


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def raw(folder: Path, data: bytes, name: str = "raw") -> Path:
    path = folder / name
    path.write_bytes(data)
    return path


def picture(folder: Path, name: str = "film.png") -> Path:
    Image.fromarray(np.arange(64, dtype=np.uint8).reshape(8, 8)).save(folder / "p.png")
    return (folder / "p.png").replace(folder / name)


def volume(folder: Path) -> Path:
    import nibabel

    path = folder / "head.nii"
    nibabel.save(nibabel.Nifti1Image(np.arange(60, dtype=np.int16).reshape(5, 4, 3), np.eye(4)), path)
    return path


def slow(folder: Path) -> Task:
    """A small true file of millions of empty items: some seconds of walking, in little memory."""
    draft = Draft(random.Random(1))
    body = draft.body(order=[tag for tag in sorted(draft.elements) if tag < REQUESTS])
    body += el(REQUESTS, "SQ", item(b"") * (3 << 20)) + el(PIXELS, *draft.elements[PIXELS])
    return Task(raw(folder, draft.deflated(body), "slow"), max_ratio=1e6)


def readers_of(pid: int) -> list[int]:
    """The children of a process, as Linux tells."""
    found = []
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = status.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == pid and fields[0] != "Z":
            found.append(int(status.parent.name))
    return found


def working_on(path: Path, pid: int | None = None) -> list[int]:
    """The children that have this file open: they are in the midst of it."""
    found = []
    for child in readers_of(pid or os.getpid()):
        try:
            if str(path) in Path(f"/proc/{child}/maps").read_text():
                found.append(child)
        except OSError:
            continue
    return found


def killed_while_working(path: Path, times: int, seconds: float = 60.0) -> set[int]:
    """Kill whoever works on the file, so many times."""
    killed: set[int] = set()
    deadline = time.monotonic() + seconds
    while len(killed) < times and time.monotonic() < deadline:
        for child in set(working_on(path)) - killed:
            os.kill(child, signal.SIGKILL)
            killed.add(child)
        time.sleep(0.02)
    return killed


def test_a_good_image_is_named_by_its_content_and_told_of(tmp_path):
    data = dicom_bytes(IssuerOfPatientID="H")
    with Readers(1) as readers:
        reading = readers.submit(Task(raw(tmp_path, data))).result()
    assert (reading.sha256, reading.size, reading.files) == (sha256(data), len(data), (sha256(data),))
    assert (reading.contents, reading.reason, reading.unit) == ((content_digest(data),), None, "patient")
    assert (reading.header.patient_id, reading.header.issuer, reading.header.study_uid) == ("P1", "H", "1.2.3")
    assert [file.name for file in tmp_path.iterdir()] == [f"{sha256(data)}.dcm"]


def test_a_bare_data_set_is_written_with_the_start_it_lacks(tmp_path):
    data = dicom_bytes()
    bare = data[data.index(b"\x08\x00\x16\x00UI") :]
    reading = read(Task(raw(tmp_path, bare)))
    assert reading.sha256 == sha256(bare) != reading.files[0]
    written = (tmp_path / f"{reading.files[0]}.dcm").read_bytes()
    assert written[128:132] == b"DICM" and sha256(written) == reading.files[0]
    assert reading.contents == (content_digest(data),)
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize(("make", "count"), [(picture, 1), (volume, 3)], ids=["a picture", "a volume"])
def test_pictures_and_volumes_become_dicom_and_are_gone(tmp_path, make, count):
    path = make(tmp_path)
    with Readers(1) as readers:
        reading = readers.submit(Task(path, kind_of(path.name), Hints(patient_id="P9"))).result()
    assert (len(reading.files), reading.header.patient_id, reading.unit) == (count, "P9", "patient")
    assert sorted(file.name for file in tmp_path.iterdir()) == sorted(f"{name}.dcm" for name in reading.files)
    for name, content in zip(reading.files, reading.contents, strict=True):
        written = (tmp_path / f"{name}.dcm").read_bytes()
        assert (sha256(written), content_digest(written)) == (name, content)


def test_a_dicom_file_called_a_picture_is_read_as_dicom(tmp_path):
    assert read(Task(raw(tmp_path, dicom_bytes()), "picture")).header.modality == "CT"


def test_without_a_patient_the_image_is_the_unit(tmp_path):
    assert read(Task(raw(tmp_path, dicom_bytes(PatientID="")))).unit == "image"
    assert read(Task(picture(tmp_path), "picture")).unit == "image"


REFUSED = [
    (lambda folder: Task(raw(folder, b"")), Reason.EMPTY_FILE, "empty"),
    (lambda folder: Task(raw(folder, b"Jane Doe" * 99)), Reason.NOT_DICOM, "text"),
    (lambda folder: Task(raw(folder, dicom_bytes()), companion=True), Reason.COMPANION, "a companion"),
    (lambda folder: Task(raw(folder, dicom_bytes()), max_bytes=99), Reason.UNSAFE_FILE, "too large"),
    (lambda folder: Task(raw(folder, b"GIF89a..."), "picture"), Reason.UNREADABLE_PICTURE, "no picture"),
    (lambda folder: Task(raw(folder, b"\x1f\x8b..."), "volume"), Reason.UNREADABLE_PICTURE, "no volume"),
    (lambda folder: Task(picture(folder), "picture", max_bytes=300), Reason.UNSAFE_FILE, "an image over the limit"),
]


@pytest.mark.parametrize(("make", "reason"), [row[:2] for row in REFUSED], ids=[row[2] for row in REFUSED])
def test_what_cannot_be_used_is_hashed_removed_and_named_by_its_reason(tmp_path, make, reason):
    task = make(tmp_path)
    digest, size = sha256(task.path.read_bytes()), task.path.stat().st_size
    with Readers(1) as readers:
        reading = readers.submit(task).result()
    assert (reading.sha256, reading.size, reading.reason) == (digest, size, reason)
    assert (reading.files, reading.header, list(tmp_path.iterdir())) == ((), None, [])


def test_many_threads_get_each_their_own_answers(tmp_path):
    answers: dict[str, list] = {}

    def ask(k: int) -> None:
        found = []
        for n in range(25):
            data = dicom_bytes(f"1.2.{k}.{n}") if n % 5 else b"no image %d %d" % (k, n)
            found.append((data, readers.submit(Task(raw(tmp_path, data, f"raw-{k}-{n}")))))
        answers[str(k)] = [(data, future.result()) for data, future in found]

    with Readers(2) as readers:
        threads = [threading.Thread(target=ask, args=(k,)) for k in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    pairs = [pair for found in answers.values() for pair in found]
    assert len(pairs) == 200 and all(reading.sha256 == sha256(data) for data, reading in pairs)
    good = {reading.sha256 for _, reading in pairs if reading.reason is None}
    assert len(good) == 160 and {file.stem for file in tmp_path.iterdir()} == good


def test_a_child_that_dies_once_costs_nothing(tmp_path):
    task = slow(tmp_path)
    with Readers(1) as readers:
        future = readers.submit(task)
        assert len(killed_while_working(task.path, 1)) == 1
        assert future.result().reason is None


def test_a_file_that_no_child_survives_is_poison_and_its_neighbours_are_read(tmp_path):
    task = slow(tmp_path)
    digest = sha256(task.path.read_bytes())
    with Readers(2) as readers:
        others = [readers.submit(Task(raw(tmp_path, dicom_bytes(f"1.2.{k}"), f"good-{k}"))) for k in range(5)]
        future = readers.submit(task)
        assert len(killed_while_working(task.path, 2)) == 2
        reading = future.result()
        after = readers.submit(Task(raw(tmp_path, dicom_bytes("1.2.9"), "good-9"))).result()
    assert (reading.sha256, reading.reason, reading.files) == (digest, Reason.POISON, ())
    assert all(other.result().reason is None for other in others) and after.reason is None
    assert len(list(tmp_path.iterdir())) == 6


def test_a_file_that_takes_too_long_is_unsafe(tmp_path):
    with Readers(1, seconds=0.1) as readers:
        assert readers.submit(slow(tmp_path)).result().reason == Reason.UNSAFE_FILE
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_asks_for_too_much_memory_is_unsafe_and_the_child_goes_on(tmp_path):
    stream = zlib.compressobj(9, wbits=-15)
    draft = Draft(random.Random(2))
    bomb = draft.meta(DEFLATED) + stream.compress(bytes(400 << 20)) + stream.flush()
    with Readers(1, memory=200 << 20) as readers:
        readers.submit(Task(raw(tmp_path, dicom_bytes("1.2.1")))).result()
        before = readers_of(os.getpid())
        task = Task(raw(tmp_path, bomb), max_ratio=1e6)
        assert readers.submit(task).result().reason == Reason.UNSAFE_FILE
        assert readers.submit(Task(raw(tmp_path, dicom_bytes("1.2.2")))).result().reason is None
        assert readers_of(os.getpid()) == before
    assert len(bomb) < SMALL


def test_a_full_disk_is_the_worlds_fault_not_the_files(tmp_path):
    path = picture(tmp_path)
    (tmp_path / "film.png.0.part").symlink_to("/dev/full")
    with Readers(1) as readers, pytest.raises(HomeError, match="no room left on the disk"):
        readers.submit(Task(path, "picture")).result()
    assert path.exists()


def test_a_raw_file_that_is_not_there_is_the_worlds_fault(tmp_path):
    with Readers(1) as readers, pytest.raises(HomeError, match="ENOENT") as caught:
        readers.submit(Task(tmp_path / "Jane-Doe")).result()
    assert "Jane" not in str(caught.value)


def test_children_that_cannot_start_are_no_fault_of_the_file(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "executable", "/bin/false")
    path = raw(tmp_path, dicom_bytes())
    with Readers(1) as readers, pytest.raises(MedganError, match="could not be started"):
        readers.submit(Task(path)).result()
    assert path.exists()


def test_a_child_is_replaced_after_many_files(tmp_path, monkeypatch):
    monkeypatch.setattr("medgan.sources.readers.RETIRE", 3)
    seen, others = set(), set(readers_of(os.getpid()))  # of other tests
    with Readers(1) as readers:
        for k in range(7):
            assert readers.submit(Task(raw(tmp_path, dicom_bytes(f"1.2.{k}")))).result().reason is None
            seen |= set(readers_of(os.getpid())) - others
    assert len(seen) == 3


def test_on_leaving_all_children_have_ended_and_nothing_waits_for_ever(tmp_path):
    before = readers_of(os.getpid())
    with pytest.raises(KeyError), Readers(1) as readers:
        running = readers.submit(slow(tmp_path))
        waiting = readers.submit(Task(raw(tmp_path, dicom_bytes())))
        while not working_on(tmp_path / "slow"):
            time.sleep(0.02)
        raise KeyError
    assert readers_of(os.getpid()) == before
    assert isinstance(running.exception(), MedganError)
    with pytest.raises(CancelledError):
        waiting.result()
    with pytest.raises(CancelledError):
        readers.submit(Task(raw(tmp_path, dicom_bytes()))).result()


def test_a_killed_parent_leaves_no_child(tmp_path):
    path = slow(tmp_path).path
    program = (
        f"import sys; sys.path[:0] = [{str(ROOT)!r}]\nfrom pathlib import Path\n"
        "from medgan.sources.readers import Readers\nfrom medgan.sources.reading import Task\n"
        f"with Readers(1) as readers: readers.submit(Task(Path({str(path)!r}), max_ratio=1e6)).result()"
    )
    parent = subprocess.Popen([sys.executable, "-c", program])
    while not (children := working_on(path, parent.pid)):
        assert parent.poll() is None
        time.sleep(0.02)
    for child in children:
        os.kill(child, signal.SIGSTOP)  # so that it cannot notice by itself
    parent.kill()
    parent.wait()
    deadline = time.monotonic() + 30
    while left := [child for child in children if Path(f"/proc/{child}").exists()]:
        if time.monotonic() > deadline:
            for child in left:
                os.kill(child, signal.SIGKILL)
            pytest.fail("a child outlived its parent")
        time.sleep(0.05)


def mutated(data: bytes, rng: random.Random) -> bytes:
    """A few random changes: bytes, cuts, repeats, and lengths of all ones."""
    changed = bytearray(data)
    for _ in range(rng.randrange(1, 4)):
        at = rng.randrange(len(changed))
        kind = rng.randrange(5)
        if kind == 0:
            changed[at] ^= 1 << rng.randrange(8)
        elif kind == 1:
            changed[at : at + 4] = rng.choice(
                (b"\xff\xff\xff\xff", b"\xfe\xff\xff\xff", b"\0\0\0\0", b"\xfe\xff\x00\xe0")
            )
        elif kind == 2:
            del changed[at : at + rng.randrange(1, 30)]
        elif kind == 3:
            changed[at:at] = changed[at : at + rng.randrange(1, 60)]
        else:
            changed[at : at + 2] = rng.randbytes(2)
        changed = changed or bytearray(b"\0")
    return bytes(changed)


@pytest.mark.parametrize("syntax", ["explicit", "implicit", "deflated"])
def test_a_file_mutated_anywhere_gives_a_reading_never_an_error(tmp_path, syntax):
    rng = random.Random(f"mutations of {syntax}")
    reasons = set()
    for k in range(250):
        draft = Draft(rng)
        draft.put((ROWS, "US", 8), (COLUMNS, "US", 8), (PIXELS, "OW", bytes(128)))
        draft.put((REQUESTS, "SQ", item(b"", undefined=True)))
        data = {
            "explicit": draft.file,
            "implicit": lambda draft=draft: draft.file(IMPLICIT),
            "deflated": draft.deflated,
        }[syntax]()
        changed = mutated(data, rng)
        reading = read(Task(raw(tmp_path, changed, f"raw-{k}")))
        assert reading.sha256 == sha256(changed)
        reasons.add(reading.reason)
    assert None in reasons and len(reasons) > 3


def test_of_hostile_files_none_bad_is_read_and_none_good_is_refused(tmp_path):
    (tmp_path / "source").mkdir()
    (tmp_path / "landing").mkdir()
    cases = [case for case in hostile(20, 300, tmp_path / "source") if case.opened]
    with Readers(2) as readers:
        futures = []
        for k, case in enumerate(cases):
            path = (tmp_path / "source" / case.name).replace(tmp_path / "landing" / f"raw-{k}")
            futures.append(readers.submit(Task(path)))
        readings = [future.result() for future in futures]
    wrong = [
        (case.kind, reading.reason)
        for case, reading in zip(cases, readings, strict=True)
        if case.expected != "either" and (case.expected == "good") != (reading.reason is None)
    ]
    assert wrong == []
    assert Reason.POISON not in {reading.reason for reading in readings}
