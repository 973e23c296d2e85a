"""Where images come from: one address, opened, and iterated as items that end in exactly one state each."""

from __future__ import annotations

import hashlib
import json
import tarfile
import zipfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from medgan.errors import InputRejected, SourceError
from medgan.sources.archive import list_tar, list_zip
from medgan.sources.entry import Entry, Limits
from medgan.sources.folder import file_entry, list_folder
from medgan.sources.labels import (
    MAX_TABLE,
    Hints,
    Table,
    class_folders,
    companions,
    is_picture,
    is_volume,
    parse_table,
    require_table,
    table_names,
)
from medgan.sources.reading import Task, kind_of

Unit = Literal["patient", "image"]
PROSE = (".csv", ".tsv", ".txt", ".md", ".json", ".xml", ".html", ".pdf", ".yaml", ".yml")


@dataclass(frozen=True, slots=True)
class Item:
    """One input. `locator` is identified: keep only its keyed hash. `stamp` changes when content or label do."""

    locator: str
    stamp: str
    size: int
    entry: Entry
    hints: Hints
    companion: bool = False

    def task(self, folder: Path, limits: Limits) -> Task:
        """Bring the input into a new folder, to be read there. Raises InputRejected when it must not be opened."""
        data = self.entry.read(limits)
        folder.mkdir()
        (folder / "raw").write_bytes(data)
        kind = kind_of(self.locator)
        return Task(folder / "raw", kind, self.hints, self.companion, limits.max_bytes, limits.max_ratio)


@dataclass(frozen=True, slots=True)
class Source:
    """Items in a fixed order. `name` is identified; `unit` is "image" where pictures come without patients."""

    name: str
    unit: Unit
    items: tuple[Item, ...]

    def __iter__(self) -> Iterator[Item]:
        return iter(self.items)

    def __len__(self) -> int:
        return len(self.items)


def open_source(address: str, *, labels: Path | None = None) -> Source:
    """Open a folder, a zip or tar archive, a DICOMDIR, or one file; nothing is read but lists of names.

    Raises SourceError when it is missing, empty or unreadable; UsageError when `labels` is no label table.
    """
    if "://" in address:
        raise SourceError("this kind of address is not supported; give a folder, a zip or tar archive, or a file")
    path = Path(address).expanduser()
    entries = list_entries(path)
    tables, taken = _tables(entries, labels)
    if labels is not None and labels.resolve().is_relative_to(path.resolve()):
        taken.add(labels.resolve().relative_to(path.resolve()).as_posix())
    entries = [entry for entry in entries if entry.name not in taken]
    if not entries:
        raise SourceError("the source is empty; expected DICOM files, or PNG, JPEG or NIfTI images")
    items = _items(entries, tables)
    pictures = [item for item in items if not item.companion and _is_image(item.locator)]
    unit: Unit = "image" if any(not item.hints.patient_id for item in pictures) else "patient"
    return Source(str(path.resolve()), unit, items)


def list_entries(path: Path) -> list[Entry]:
    try:
        if path.is_dir():
            return list(list_folder(path))
        if path.name.upper() == "DICOMDIR" and path.is_file():
            return list(list_folder(path.parent))
        if not path.is_file():
            raise SourceError("the source was not found, or is no folder, archive or file")
        with path.open("rb") as file:
            start = file.read(132)
        if start[128:] != b"DICM":
            if zipfile.is_zipfile(path):
                return list_zip(path)
            if not is_volume(path.name) and tarfile.is_tarfile(path):
                return list_tar(path)
            if path.suffix.lower() in (".zip", ".tar", ".tgz"):
                raise SourceError("the archive cannot be read; copy it again")
    except OSError:
        raise SourceError("the source cannot be read; check its permissions") from None
    return [file_entry(path, path.name)]


def _tables(entries: list[Entry], labels: Path | None) -> tuple[list[Table], set[str]]:
    """The label tables, at most one a folder, and the names of the entries that they are."""
    if labels is not None:
        try:
            return [require_table(labels.read_bytes())], set()
        except OSError:
            raise SourceError("the file given with --labels cannot be read") from None
    by_name = {entry.name: entry for entry in entries}
    tables: dict[str, Table] = {}
    taken = set()
    for name in table_names(by_name):
        folder = name.rpartition("/")[0]
        folder += "/" if folder else ""
        if folder in tables or by_name[name].size > MAX_TABLE:
            continue
        try:
            table = parse_table(by_name[name].read(Limits()), folder)
        except InputRejected:
            continue
        if table is not None:
            tables[folder] = table
            taken.add(name)
    return list(tables.values()), taken


def _hints(name: str, tables: list[Table]) -> Hints:
    found = (table.find(name) for table in tables if name.startswith(table.folder))
    return next((hints for hints in found if hints != Hints()), Hints())


def _items(entries: list[Entry], tables: list[Table]) -> tuple[Item, ...]:
    pictures = [entry.name for entry in entries if _is_image(entry.name)]
    others = [e.name for e in entries if not _is_image(e.name) and not e.name.lower().endswith(PROSE)]
    # pictures among as many DICOM files are thumbnails and screenshots of them
    aside = companions(pictures) if len(pictures) > len(others) else set(pictures)
    classes = {} if tables else class_folders(name for name in pictures if name not in aside)
    items = []
    for entry in entries:
        hints = _hints(entry.name, tables) if tables else Hints(label=classes.get(entry.name))
        items.append(
            Item(entry.name, _stamp(entry.stamp, hints), entry.size, entry, hints, companion=entry.name in aside)
        )
    return tuple(items)


def _stamp(stamp: str, hints: Hints) -> str:
    if hints == Hints():
        return stamp
    return f"{stamp}:{hashlib.sha256(json.dumps(asdict(hints)).encode()).hexdigest()[:12]}"


def _is_image(name: str) -> bool:
    return is_picture(name) or is_volume(name)
