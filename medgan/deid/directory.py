"""A new DICOMDIR from clean files: nothing of an old one is read but that there was one (PS3.15 E.1.1: group 0004)."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.fileset import FileSet

from medgan.deid.draft import UNPARSABLE, quiet

# what a record must have and a profile may have emptied; the files themselves are left as they are
NEEDED = {
    "StudyDate": "19000101",
    "StudyTime": "000000",
    "StudyID": "1",
    "SeriesNumber": "1",
    "InstanceNumber": "1",
    "ContentDate": "19000101",
    "ContentTime": "000000",
    "PresentationCreationDate": "19000101",
    "PresentationCreationTime": "000000",
}


def write_directory(files: Iterable[Path], folder: Path) -> dict[Path, Path]:
    """Write DICOMDIR into `folder`, new or empty; returns where in it each file must be put, as its records say.

    The same files give the same bytes. A file of which no record can be made is left out.
    """
    found = sorted(files)
    with quiet():
        directory = FileSet()
        lie = dict(_added(directory, file) for file in found)
        names = "\n".join(file.name for file in found)
        directory.UID = f"2.25.{int(hashlib.sha256(names.encode()).hexdigest()[:32], 16)}"  # type: ignore[assignment]
        folder.mkdir(exist_ok=True)
        directory.write(folder)
        return {file: Path(instance.path) for instance in directory if (file := lie.get(str(instance.SOPInstanceUID)))}


def _added(directory: FileSet, file: Path) -> tuple[str, Path]:
    """Make the record of one file, from a stub of its header."""
    ds = dcmread(file, stop_before_pixels=True)
    for keyword, value in NEEDED.items():
        if not ds.get(keyword):
            setattr(ds, keyword, value)
    try:
        directory.add(_named(ds))
    except UNPARSABLE:
        return "", file
    return str(ds.SOPInstanceUID), file


def _named(ds: Dataset) -> Dataset:
    for keyword in ("PatientName", "StudyDescription", "AccessionNumber"):  # Type 2
        if keyword not in ds:
            setattr(ds, keyword, "")
    return ds
