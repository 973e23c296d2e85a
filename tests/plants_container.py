"""Identity around the data set: preamble, file meta, bytes after the end, names of files and what lies beside them."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from plants_scene import Scene, put
from pydicom.uid import DeflatedExplicitVRLittleEndian


def preamble(scene: Scene) -> None:
    words = b"II*\0" + scene.secret("preamble").encode("latin-1")
    scene.late.append(lambda data: words.ljust(128)[:128] + data[128:])


def file_meta(scene: Scene) -> None:
    meta, station = scene.ds.file_meta, scene.study.station
    for tag in (0x00020016, 0x00020017, 0x00020018):
        put(meta, tag, "AE", f"{station[:7]}{scene.nonce('meta, AE title')}"[:16])
    for tag in (0x00020026, 0x00020027, 0x00020028):
        put(meta, tag, "UR", f"dicom://{station.lower()}.{scene.nonce('meta, address').lower()}.example:104")
    put(meta, 0x00020013, "SH", f"{scene.nonce('meta, version')}"[:16])
    put(meta, 0x00020012, "UI", scene.new_uid())
    put(meta, 0x00020100, "UI", scene.new_uid())
    put(meta, 0x00020102, "OB", scene.secret("meta, private").encode("latin-1").ljust(64))


def after_the_end(scene: Scene) -> None:
    """Bytes after the data set: what a crashed writer, or one with something to hide, leaves."""
    if scene.ds.file_meta.TransferSyntaxUID != DeflatedExplicitVRLittleEndian:
        words = scene.secret("after the data set").encode("utf-16-le")
        scene.late.append(lambda data: data + bytes(16) + words)


def padding(scene: Scene) -> None:
    words = scene.secret("trailing padding").encode("latin-1")
    put(scene.ds, 0xFFFCFFFC, "OB", words + b" " * (len(words) % 2))


CONTAINER: tuple[Callable[[Scene], None], ...] = (preamble, file_meta, padding)
UNREADABLE: tuple[Callable[[Scene], None], ...] = (after_the_end,)  # a judge may also set such a file aside


def beside(folder: Path, scene: Scene) -> int:
    """Things in the source folder that are no DICOM files; returns how many.

    A link with the patient's name to a file outside, a text, an empty file, a picture: all to be counted, none read.
    """
    name = f"{scene.person.family}_{scene.person.patient_id}"
    outside = folder.parent / f"{folder.name}_outside.txt"
    outside.write_text(scene.secret("behind a link"))
    (folder / f"{name}.link.dcm").symlink_to(outside)
    (folder / f"{name}.txt").write_text(scene.secret("text file"))
    (folder / f"{name}.empty.dcm").touch()
    (folder / "Thumbs.db").write_bytes(scene.secret("thumbnail").encode("utf-16-le"))
    return 4


def born(path: Path, scene: Scene) -> None:
    """The birth date as the time of the file, and the name in an extended attribute where the disk has those."""
    stamp = scene.person.birth.toordinal() - 719163
    os.utime(path, (stamp * 86400, stamp * 86400))
    if hasattr(os, "setxattr"):
        try:
            os.setxattr(path, "user.patient", scene.person.name.encode())
        except OSError:
            return  # a file system without extended attributes has no such place
