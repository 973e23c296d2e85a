"""A zip or tar archive as a source: members are read in place, nothing is extracted."""

from __future__ import annotations

import lzma
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from medgan.errors import InputRejected, Reason, SourceError
from medgan.sources.entry import SMALL, Entry, Limits, refuse

TAR_RATIO = 200  # a compressed tar must be expanded to be listed: refuse where only a bomb goes on
BROKEN = (zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, EOFError, NotImplementedError, RuntimeError)


def list_zip(path: Path) -> list[Entry]:
    """The members of a zip archive, in the order of the archive. Raises SourceError when it is not one."""
    try:
        archive = zipfile.ZipFile(path)
    except (*BROKEN, OSError, ValueError):
        raise SourceError("the zip archive cannot be read; copy it again") from None
    return [_zip_entry(archive, info) for info in archive.infolist() if not info.is_dir()]


def list_tar(path: Path) -> list[Entry]:
    """The members of a tar archive (also compressed). Raises SourceError when it is not one."""
    info = path.stat()
    whole = f"{info.st_size}:{info.st_mtime_ns}"
    try:
        archive = tarfile.open(path)  # noqa: SIM115 members are read later
        return list(_tar_entries(archive, whole, info.st_size))
    except (*BROKEN, OSError):
        raise SourceError("the tar archive cannot be read; copy it again") from None


def _zip_entry(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> Entry:
    name, stamp = info.filename, f"{info.CRC:08x}:{info.file_size}"
    mode = stat.S_IFMT(info.external_attr >> 16)
    if _outside(name) or mode not in (0, stat.S_IFREG):
        return Entry(name, stamp, info.file_size, refuse(Reason.UNSAFE_FILE), Reason.UNSAFE_FILE)

    def read(limits: Limits) -> bytes:
        limits.check(info.file_size, info.compress_size)
        try:
            with archive.open(info) as member:
                data = member.read(info.file_size + 1)
        except (*BROKEN, OSError):  # also an encrypted member, or one whose checksum is wrong
            raise InputRejected(Reason.UNREADABLE) from None
        if len(data) != info.file_size:
            raise InputRejected(Reason.UNREADABLE)
        return data

    return Entry(name, stamp, info.file_size, read)


def _tar_entries(archive: tarfile.TarFile, whole: str, packed: int) -> Iterator[Entry]:
    while (info := archive.next()) is not None:
        stamp = f"{whole}:{info.offset}"
        if info.isdir():
            continue
        if info.offset_data + info.size > max(SMALL, TAR_RATIO * packed):
            raise SourceError("the tar archive expands far beyond its size; pack it again, or give the folder")
        if not info.isreg() or _outside(info.name):
            yield Entry(info.name, stamp, info.size, refuse(Reason.UNSAFE_FILE), Reason.UNSAFE_FILE)
        else:
            yield _tar_entry(archive, info, stamp)


def _tar_entry(archive: tarfile.TarFile, info: tarfile.TarInfo, stamp: str) -> Entry:
    def read(limits: Limits) -> bytes:
        limits.check(info.size)
        try:
            member = archive.extractfile(info)
            data = member.read(info.size + 1) if member else b""
        except (*BROKEN, OSError):
            raise InputRejected(Reason.UNREADABLE) from None
        if len(data) != info.size:
            raise InputRejected(Reason.UNREADABLE)
        return data

    return Entry(info.name, stamp, info.size, read)


def _outside(name: str) -> bool:
    path = PurePosixPath(name.replace("\\", "/"))
    return path.is_absolute() or ".." in path.parts or "\0" in name
