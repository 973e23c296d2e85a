"""New files are whole whichever way they are written, and a full disk is told."""

import errno
import os
import threading
from pathlib import Path

import pytest

from medgan.cohort import durable
from medgan.cohort.durable import LARGE, ROOM, write_new

SIZES = (0, 1, LARGE - 1, LARGE, LARGE + 1, ROOM, ROOM + 4096, 3 * ROOM + 17)


@pytest.mark.parametrize("size", SIZES)
def test_what_is_written_is_read_back(size: int, tmp_path: Path) -> None:
    data = os.urandom(size)
    write_new(str(tmp_path / "file"), data)
    assert (tmp_path / "file").read_bytes() == data


def test_large_files_go_past_the_cache_where_the_file_system_lets_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    real = durable._write_aligned

    def seen(fd: int, piece: bytes) -> None:
        asked.append(len(piece))
        real(fd, piece)

    monkeypatch.setattr(durable, "_write_aligned", seen)
    try:
        os.close(os.open(tmp_path / "probe", os.O_WRONLY | os.O_CREAT | durable.DIRECT))
    except OSError:
        pytest.skip("this file system knows no O_DIRECT")
    write_new(str(tmp_path / "small"), bytes(LARGE - 1))
    assert not asked
    write_new(str(tmp_path / "large"), bytes(ROOM + 5))
    assert asked == [ROOM, 5]


@pytest.mark.parametrize("when", [0, 1])
def test_a_file_system_that_refuses_gets_the_bytes_as_usual(
    when: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    left, real = [when], durable._write_aligned

    def refused(fd: int, piece: bytes) -> None:
        if not left[0]:
            raise OSError(errno.EINVAL, "not aligned")
        left[0] -= 1
        real(fd, piece)

    monkeypatch.setattr(durable, "_write_aligned", refused)
    data = os.urandom(2 * ROOM + 3)
    write_new(str(tmp_path / "file"), data)
    assert (tmp_path / "file").read_bytes() == data


def test_a_full_disk_is_told_and_nothing_is_written_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(fd: int, piece: bytes) -> None:
        raise OSError(errno.ENOSPC, "full")

    write_new(str(tmp_path / "file"), b"first")
    with pytest.raises(FileExistsError):
        write_new(str(tmp_path / "file"), b"second")
    assert (tmp_path / "file").read_bytes() == b"first"
    monkeypatch.setattr(durable, "_write_aligned", full)
    with pytest.raises(OSError) as error:
        write_new(str(tmp_path / "other"), bytes(LARGE))
    assert error.value.errno == errno.ENOSPC


def test_threads_do_not_write_each_others_bytes(tmp_path: Path) -> None:
    datas = {f"{n}": bytes([n]) * (2 * ROOM + n) for n in range(6)}
    threads = [threading.Thread(target=write_new, args=(str(tmp_path / name), data)) for name, data in datas.items()]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all((tmp_path / name).read_bytes() == data for name, data in datas.items())
