import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from medgan.errors import CorruptArtefact, HomeError
from medgan.store import Store, alive, write_durably


def seal(store: Store, **files: str) -> str:
    with store.staging() as folder:
        for name, text in files.items():
            (folder / name).write_text(text)
        return store.seal(folder, "test", {"n": len(files)})


def test_the_same_bytes_are_one_artefact(tmp_path: Path) -> None:
    store = Store(tmp_path)
    assert seal(store, a="1", b="2") == seal(store, b="2", a="1")
    assert len(list(store.digests())) == 1
    assert not any((tmp_path / "staging").iterdir())


def test_other_bytes_names_or_kinds_are_another(tmp_path: Path) -> None:
    store = Store(tmp_path)
    assert len({seal(store, a="1"), seal(store, a="2"), seal(store, b="1")}) == 3


def test_identified_digests_cannot_be_guessed_without_the_secret(tmp_path: Path) -> None:
    assert (
        len(
            {seal(Store(tmp_path / s, secret=s.encode()), a="1") for s in ("x", "y")}
            | {seal(Store(tmp_path / "z"), a="1")}
        )
        == 3
    )


@pytest.mark.parametrize(
    "harm",
    [
        pytest.param(lambda folder: (folder / "a").write_text("2"), id="changed byte"),
        pytest.param(lambda folder: (folder / "a").unlink(), id="lost file"),
        pytest.param(lambda folder: (folder / "manifest.json").write_text("{"), id="torn manifest"),
        pytest.param(
            lambda folder: (folder / "manifest.json").write_text(
                json.dumps({**json.loads((folder / "manifest.json").read_text()), "kind": "other"})
            ),
            id="rewritten manifest",
        ),
    ],
)
def test_harm_to_sealed_bytes_is_found(tmp_path: Path, harm) -> None:
    store = Store(tmp_path)
    digest = seal(store, a="1")
    store.verify(digest)
    harm(store.path(digest))
    with pytest.raises(CorruptArtefact):
        store.verify(digest)


def test_a_half_deleted_artefact_is_not_there(tmp_path: Path) -> None:
    store = Store(tmp_path)
    digest = seal(store, a="1")
    (store.path(digest) / "manifest.json").unlink()
    assert not store.has(digest)
    store.drop(digest)
    assert seal(store, a="1") == digest and store.has(digest)


def test_sweeping_removes_what_dead_writers_left_and_nothing_else(tmp_path: Path) -> None:
    store = Store(tmp_path)
    killed = subprocess.run(
        [
            sys.executable,
            "-c",
            f"import os, pathlib; from medgan.store import Store\n"
            f"with Store(pathlib.Path({str(tmp_path)!r})).staging() as f: os.kill(os.getpid(), 9)",
        ],
        check=False,
    )
    assert killed.returncode == -9
    with store.staging() as mine:
        assert store.sweep() == 1
        assert mine.exists()


def test_a_failed_write_leaves_the_old_bytes_and_nothing_aside(tmp_path: Path, monkeypatch) -> None:
    target = tmp_path / "f"
    write_durably(target, b"old")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_durably(target, b"new")
    assert target.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["f"]


def test_a_full_disk_is_told_in_a_sentence_and_leaves_no_artefact(tmp_path: Path, monkeypatch) -> None:
    store = Store(tmp_path)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(HomeError, match="no room left"):
        seal(store, a="1")
    assert not list(store.digests()) and not any((tmp_path / "staging").iterdir())


def test_a_dead_process_is_not_alive() -> None:
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    assert alive(os.getpid()) and not alive(child.pid)
