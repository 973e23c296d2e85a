"""Ledgers and keys in one closed file, and back."""

from __future__ import annotations

import io
import stat
import tarfile
from pathlib import Path

import pytest

from medgan import known_sources
from medgan.errors import HomeError, UsageError
from medgan.home import Home
from medgan.stages.backup import LEDGERS, SECRETS, backup, restore


def saved(home: Home, tmp_path: Path) -> Path:
    backup(home, tmp_path / "backup.tgz")
    return tmp_path / "backup.tgz"


def test_restored_into_a_new_home_keys_and_ledgers_are_the_same(home: Home, tmp_path: Path) -> None:
    known_sources.remember(home.root / "identified", "/somewhere", secret=home.pseudonym_key)
    archive = saved(home, tmp_path)
    told = restore(archive, tmp_path / "new")
    new = Home.create(tmp_path / "new")
    assert not new.created and new.key_fingerprint == home.key_fingerprint and new.cohort_key == home.cohort_key
    assert new.identified_ledger.input_states() == home.identified_ledger.input_states()
    assert new.identified_ledger.live_digests() == home.identified_ledger.live_digests()
    assert new.research.ledger.live_digests() == home.research.ledger.live_digests()
    assert known_sources.everything(new.root / "identified") == known_sources.everything(home.root / "identified")
    assert set(told["holds"]) <= {*LEDGERS, *SECRETS}


def test_with_the_stores_copied_beside_it_the_new_home_is_whole(home: Home, tmp_path: Path) -> None:
    import shutil

    archive = saved(home, tmp_path)
    restore(archive, tmp_path / "new")
    for zone in ("identified", "research"):
        shutil.copytree(home.root / zone / "store", tmp_path / "new" / zone / "store")
    new = Home.create(tmp_path / "new")
    for zone in (new.identified, new.research):
        assert zone.ledger.live_digests() and all(zone.store.verify(digest) for digest in zone.ledger.live_digests())


def test_the_file_and_what_comes_out_of_it_are_closed_to_others(home: Home, tmp_path: Path) -> None:
    archive = saved(home, tmp_path)
    restore(archive, tmp_path / "new")
    for file in (archive, *(tmp_path / "new" / name for name in (*LEDGERS, SECRETS[0]))):
        assert not stat.S_IMODE(file.stat().st_mode) & 0o077, file.name
    assert stat.S_IMODE((tmp_path / "new" / "identified").stat().st_mode) == 0o700


def test_nothing_is_overwritten(home: Home, tmp_path: Path) -> None:
    archive = saved(home, tmp_path)
    with pytest.raises(UsageError, match="exists already"):
        backup(home, archive)
    other = Home.create(tmp_path / "other")
    key = other.pseudonym_key
    with pytest.raises(HomeError, match="already has"):
        restore(archive, other.root)
    assert Home.create(tmp_path / "other").pseudonym_key == key


def test_cut_off_it_can_be_called_again(home: Home, tmp_path: Path) -> None:
    archive = saved(home, tmp_path)
    restore(archive, tmp_path / "new")
    (tmp_path / "new" / "research" / "ledger.db").unlink()
    restore(archive, tmp_path / "new")
    assert Home.create(tmp_path / "new").research.ledger.live_digests() == home.research.ledger.live_digests()


def tar(**files: bytes) -> bytes:
    held = io.BytesIO()
    with tarfile.open(fileobj=held, mode="w:gz") as archive:
        for name, data in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    return held.getvalue()


@pytest.mark.parametrize(
    ("data", "says"),
    [
        pytest.param(b"", "cannot be read", id="empty"),
        pytest.param(b"no archive at all", "cannot be read", id="other bytes"),
        pytest.param(tar(**{"identified/key": b"k" * 5000})[:60], "cannot be read", id="cut off"),
        pytest.param(tar(**{"../key": b"k"}), "1 unknown", id="path outside"),
        pytest.param(tar(**{"research/keys/cohort": b"k"}), "no pseudonym key", id="without the key"),
    ],
)
def test_what_is_no_backup_is_refused_before_anything_is_written(tmp_path: Path, data: bytes, says: str) -> None:
    (tmp_path / "file").write_bytes(data)
    with pytest.raises(UsageError, match=says):
        restore(tmp_path / "file", tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_damaged_bytes_are_no_backup(home: Home, tmp_path: Path) -> None:
    archive = saved(home, tmp_path)
    data = bytearray(archive.read_bytes())
    data[len(data) // 2 : len(data) // 2 + 64] = bytes(64)
    archive.write_bytes(data)
    with pytest.raises(UsageError, match="backup"):
        restore(archive, tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_a_place_that_cannot_take_the_file_is_told(home: Home, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="does not exist"):
        backup(home, tmp_path / "no" / "such" / "folder")
