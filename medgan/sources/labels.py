"""What stands beside pictures: a table of labels, class folders, or images/ next to labels/."""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from medgan.errors import UsageError

TABLE_NAMES = ("labels.csv", "data.csv", "metadata.csv")
MAX_TABLE = 64 << 20
MAX_CLASSES, MIN_PER_CLASS = 32, 3  # more or smaller folders are patients, not classes
MAX_LABEL = 64
COLUMNS = {  # what we call it -> headers it goes under, in order of preference
    "file": ("file", "filename", "file_name", "path", "image", "image index", "image_id"),
    "label": ("label", "class", "finding", "finding labels", "diagnosis"),
    "patient_id": ("patient_id", "patient", "patient id", "subject_id", "subject"),
    "modality": ("modality",),
    "sex": ("sex", "patient gender", "gender"),
    "age": ("age", "patient age"),
    "body_part": ("body_part",),
    "view": ("projection", "view", "view position"),
}
COMPANION = re.compile(r"(^|[_\-.])(seg|segmentation|mask|masks|label|labels)([_\-.]|$)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Hints:
    """What a table or folder says about one file. All but the label is identified."""

    label: str | None = None
    patient_id: str = ""
    modality: str = ""
    sex: str = ""
    age: str = ""
    body_part: str = ""
    view: str = ""


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of a label table, found by path below the table's folder, by base name, or by stem."""

    folder: str  # of the table inside the source, "" or ending in /
    rows: dict[str, Hints] = field(default_factory=dict)
    names: dict[str, Hints | None] = field(default_factory=dict)  # None: ambiguous

    def find(self, name: str) -> Hints:
        """The row of the file `name`; empty hints when the table does not tell."""
        inside = name.removeprefix(self.folder)
        for key in (inside, name):
            if key in self.rows:
                return self.rows[key]
        base = PurePosixPath(name).name
        return self.names.get(base) or self.names.get(stem(base)) or Hints()


def parse_table(data: bytes, folder: str = "") -> Table | None:
    """A table from CSV bytes (comma, semicolon or tab). None without a file column and a label or patient."""
    try:
        text = data[:MAX_TABLE].decode("utf-8-sig")
    except UnicodeDecodeError:
        text = data[:MAX_TABLE].decode("latin-1")
    first = text.partition("\n")[0]
    delimiter = max(",;\t", key=first.count)
    try:
        reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter)
        columns = _columns(reader.fieldnames or [])
        if "file" not in columns or not {"label", "patient_id"} & set(columns):
            return None
        table = Table(folder)
        for row in reader:
            _add(table, (row.get(columns["file"]) or "").strip(), _hints(row, columns))
    except csv.Error:
        return None
    return table


def require_table(data: bytes) -> Table:
    """A table the user named. Raises UsageError when it is none."""
    table = parse_table(data)
    if table is None or not table.rows:
        raise UsageError(
            "the file given with --labels is no label table: expected CSV with a header that has file, and label "
            "or patient_id (file,label,patient_id)"
        )
    return table


def table_names(names: Iterable[str]) -> list[str]:
    """Where label tables may lie: at the top, or in a folder at the top; the preferred name first."""
    near = [name for name in names if name.count("/") < 2 and PurePosixPath(name).name in TABLE_NAMES]
    return sorted(near, key=lambda name: (name.count("/"), TABLE_NAMES.index(PurePosixPath(name).name), name))


def companions(pictures: Iterable[str]) -> set[str]:
    """Pictures that stand beside the pictures: all outside images/ where there is one, else named masks."""
    pictures = list(pictures)
    inside = {name for name in pictures if any(_is_images(part) for part in PurePosixPath(name).parts[:-1])}
    if inside:
        return set(pictures) - inside
    return {name for name in pictures if is_volume(name) and COMPANION.search(PurePosixPath(name).name)}


def class_folders(pictures: Iterable[str]) -> dict[str, str]:
    """Picture -> class, where every picture lies in a class folder: few folders, several pictures in each.

    Folders of patients look the same when they are few and full; then a table is needed.
    """
    parents = {name: PurePosixPath(name).parent.name for name in pictures}
    sizes = Counter(parents.values())
    if not 2 <= len(sizes) <= MAX_CLASSES or "" in sizes or min(sizes.values()) < MIN_PER_CLASS:
        return {}
    return {name: cleaned(parent) or "" for name, parent in parents.items()}


def is_picture(name: str) -> bool:
    return name.lower().endswith((".png", ".jpg", ".jpeg"))


def is_volume(name: str) -> bool:
    return name.lower().endswith((".nii", ".nii.gz"))


def stem(base: str) -> str:
    """The base name without extension, also for .nii.gz."""
    return re.sub(r"\.(nii\.gz|[A-Za-z0-9]{1,5})$", "", base)


def cleaned(label: str | None) -> str | None:
    """A label as one short printable line; None when it is empty."""
    text = "".join(c for c in " ".join((label or "").split()) if c.isprintable())[:MAX_LABEL].strip()
    return text or None


def _columns(header: Iterable[str | None]) -> dict[str, str]:
    lowered = {name.strip().lower(): name for name in header if name}
    return {
        ours: lowered[next(name for name in theirs if name in lowered)]
        for ours, theirs in COLUMNS.items()
        if any(name in lowered for name in theirs)
    }


def _hints(row: dict[str, str | None], columns: dict[str, str]) -> Hints:
    values = {ours: cleaned(row.get(theirs)) or "" for ours, theirs in columns.items() if ours != "file"}
    label = values.pop("label", "") or None
    # a backslash would make two values of one
    return Hints(label=label, **{ours: value.replace("\\", "/") for ours, value in values.items()})


def _add(table: Table, file: str, hints: Hints) -> None:
    if not file:
        return
    file = file.replace("\\", "/").removeprefix("./")
    table.rows[file] = hints
    base = PurePosixPath(file).name
    for key in {base, stem(base)}:
        # two files of one name: only the whole path tells them apart
        table.names[key] = hints if key not in table.names or table.names[key] == hints else None


def _is_images(part: str) -> bool:
    return part.lower() in ("images", "imagestr", "imagests")
