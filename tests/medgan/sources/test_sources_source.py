"""Folders and archives: what counts as an input, and what is never opened."""

from __future__ import annotations

import io
import os
import tarfile
import tempfile
import zipfile
from pathlib import Path

import pytest
from factories import dicom_bytes

from medgan.errors import InputRejected, Reason, SourceError, UsageError
from medgan.sources.entry import Limits
from medgan.sources.reading import read
from medgan.sources.source import Item, open_source


def outcome(item: Item, limits: Limits | None = None) -> str:
    with tempfile.TemporaryDirectory() as folder:
        try:
            reading = read(item.task(Path(folder) / "input", limits or Limits()))
        except InputRejected as error:
            return error.reason.value
    return reading.reason.value if reading.reason else f"{len(reading.files)} images"


def outcomes(address, **more) -> dict[str, str]:
    return {item.locator: outcome(item, **more) for item in open_source(str(address))}


def test_a_folder_is_read_whole_and_in_a_fixed_order(tmp_path):
    for name in ("b/2", "a.dcm", "b/1.DCM", "c/d/e.ima"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(dicom_bytes())
    source = open_source(str(tmp_path))
    assert [item.locator for item in source] == ["a.dcm", "b/1.DCM", "b/2", "c/d/e.ima"]
    assert (source.unit, len(source)) == ("patient", 4)


def test_links_and_pipes_are_counted_but_never_opened(tmp_path):
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "secret.dcm").write_bytes(dicom_bytes())
    root = tmp_path / "source"
    root.mkdir()
    (root / "good.dcm").write_bytes(dicom_bytes())
    (root / "link.dcm").symlink_to(tmp_path / "outside" / "secret.dcm")
    (root / "folder").symlink_to(tmp_path / "outside")
    (root / "dangling").symlink_to(tmp_path / "nowhere")
    os.mkfifo(root / "pipe.dcm")  # opening it would wait for ever
    assert outcomes(root) == {
        "good.dcm": "1 images",
        "link.dcm": "unsafe_file",
        "folder": "unsafe_file",
        "dangling": "unsafe_file",
        "pipe.dcm": "unsafe_file",
    }


def test_a_file_replaced_by_a_link_after_listing_is_not_followed(tmp_path):
    (tmp_path / "a").write_bytes(dicom_bytes())
    (tmp_path / "b").write_bytes(dicom_bytes())
    first, _ = open_source(str(tmp_path))
    (tmp_path / "a").unlink()
    (tmp_path / "a").symlink_to(tmp_path / "b")
    assert outcome(first) == "unsafe_file"


def test_a_name_that_is_not_utf8_is_an_input_like_others(tmp_path):
    with open(os.fsencode(tmp_path) + b"/J\xfcrgen.dcm", "wb") as file:  # noqa: PTH123
        file.write(dicom_bytes())
    ((locator, found),) = outcomes(tmp_path).items()
    assert found == "1 images"
    assert locator.encode()


def test_a_file_over_the_limit_is_refused_unread(tmp_path):
    (tmp_path / "big.dcm").write_bytes(dicom_bytes())
    assert outcomes(tmp_path, limits=Limits(max_bytes=100)) == {"big.dcm": "unsafe_file"}


def test_zip_members_are_checked_before_they_are_expanded(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("good.dcm", dicom_bytes())
        archive.writestr("folder/", b"")
        archive.writestr("../../outside.dcm", dicom_bytes())
        archive.writestr("/absolute.dcm", dicom_bytes())
        archive.writestr("bomb.dcm", bytes(16 << 20))
        link = zipfile.ZipInfo("link.dcm")
        link.external_attr = 0o120777 << 16
        archive.writestr(link, "/etc/passwd")
    assert outcomes(tmp_path / "a.zip") == {
        "good.dcm": "1 images",
        "../../outside.dcm": "unsafe_file",
        "/absolute.dcm": "unsafe_file",
        "bomb.dcm": "unsafe_file",
        "link.dcm": "unsafe_file",
    }


def test_a_damaged_member_does_not_harm_its_neighbours(tmp_path):
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("bad.dcm", dicom_bytes())
        archive.writestr("good.dcm", dicom_bytes("1.2.3.5"))
    data = bytearray(path.read_bytes())
    data[600] ^= 0xFF
    path.write_bytes(data)
    assert outcomes(path) == {"bad.dcm": "unreadable", "good.dcm": "1 images"}


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:xz"])
def test_tar_members_are_read_in_place(tmp_path, mode):
    path = tmp_path / "a.tar"
    with tarfile.open(path, mode) as archive:
        for name in ("x/good.dcm", "../outside.dcm"):
            info = tarfile.TarInfo(name)
            info.size = len(dicom_bytes())
            archive.addfile(info, io.BytesIO(dicom_bytes()))
        link = tarfile.TarInfo("link.dcm")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    assert outcomes(path) == {"x/good.dcm": "1 images", "../outside.dcm": "unsafe_file", "link.dcm": "unsafe_file"}


def test_a_tar_that_expands_without_end_is_refused_whole(tmp_path):
    path = tmp_path / "a.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        info = tarfile.TarInfo("bomb.dcm")
        info.size = 64 << 20
        archive.addfile(info, io.BytesIO(bytes(info.size)))
    with pytest.raises(SourceError, match="far beyond its size"):
        open_source(str(path))


def test_a_dicomdir_stands_for_its_folder(tmp_path):
    (tmp_path / "DICOMDIR").write_bytes(b"")
    (tmp_path / "IM1").write_bytes(dicom_bytes())
    assert outcomes(tmp_path / "DICOMDIR") == {"DICOMDIR": "empty_file", "IM1": "1 images"}


SOURCES = [
    (lambda path: None, "not found", "missing"),
    (lambda path: path.mkdir(), "empty", "empty folder"),
    (lambda path: zipfile.ZipFile(path, "w").close(), "empty", "empty archive"),
]


@pytest.mark.parametrize(("make", "message"), [row[:2] for row in SOURCES], ids=[row[2] for row in SOURCES])
def test_a_source_that_holds_nothing_says_so_without_its_path(tmp_path, make, message):
    path = tmp_path / "Jane-Doe"
    make(path)
    with pytest.raises(SourceError, match=message) as caught:
        open_source(str(path))
    assert "Jane" not in str(caught.value)


def test_an_archive_cut_short_is_a_source_error(tmp_path):
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("good.dcm", dicom_bytes())
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(SourceError, match="copy it again"):
        open_source(str(path))


def test_an_address_of_a_server_is_refused_for_now():
    with pytest.raises(SourceError, match="not supported"):
        open_source("dimse://AE@host:104")


def test_a_table_named_by_the_user_must_be_one(tmp_path):
    (tmp_path / "x").write_bytes(dicom_bytes())
    table = tmp_path / "mine.csv"
    table.write_text("colour,size\nred,1\n")
    with pytest.raises(UsageError, match="file,label,patient_id"):
        open_source(str(tmp_path), labels=table)


def test_dicom_files_are_labelled_by_the_table_beside_them(tmp_path):
    (tmp_path / "images" / "s").mkdir(parents=True)
    for name in ("one", "two"):
        (tmp_path / "images" / "s" / name).write_bytes(dicom_bytes())
    (tmp_path / "images" / "labels.csv").write_text("file,label,patient_id\ns/one,nodule,P1\n")
    for root in (tmp_path / "images", tmp_path):
        labels = {i.locator.rpartition("/")[2]: i.hints.label for i in open_source(str(root))}
        assert labels == {"one": "nodule", "two": None}


def test_pictures_among_dicom_files_are_set_aside(tmp_path):
    for name in ("1.dcm", "2.dcm", "thumbnail.png"):
        (tmp_path / name).write_bytes(dicom_bytes() if name.endswith("dcm") else b"\x89PNG")
    assert outcomes(tmp_path)["thumbnail.png"] == Reason.COMPANION.value
