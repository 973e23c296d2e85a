"""Whose file is this, and of which study: the few attributes by which files are brought together."""

from __future__ import annotations

from dataclasses import dataclass

from medgan.deid.cells import CHARACTERISTICS
from medgan.deid.draft import DIRECTORY
from medgan.deid.profiles.table import tag_of
from medgan.deid.scrub.charset import decoded
from medgan.deid.scrub.tree import DataSet, read, text

MEDIA_SOP_CLASS, CHARACTER_SET = 0x00020002, 0x00080005
SOP_CLASS, SOP_INSTANCE, STUDY, SERIES = 0x00080016, 0x00080018, 0x0020000D, 0x0020000E
PATIENT_ID, ISSUER = 0x00100020, 0x00100021


@dataclass(frozen=True, slots=True)
class Header:
    """Identified values, as they are in one file; blank where there is none or the file cannot be read."""

    patient_id: str = ""
    issuer: str = ""
    study_uid: str = ""
    sop_instance_uid: str = ""
    directory: bool = False  # a DICOMDIR


def read_header(data: bytes) -> Header:
    """The header of one file, whatever it is."""
    try:
        tree = read(data)
    except ValueError:
        return Header()
    found = tree.elements
    directory = DIRECTORY in (text(tree.meta, MEDIA_SOP_CLASS), text(found, SOP_CLASS))
    return Header(
        _decoded(found, PATIENT_ID), _decoded(found, ISSUER), text(found, STUDY), text(found, SOP_INSTANCE), directory
    )


def characteristics(data: bytes) -> dict[str, str]:
    """What a result still says about its patient beyond the picture: keyword -> value, where there is one."""
    found = read(data).elements
    told = {name: text(found, tag) for name in CHARACTERISTICS if (tag := tag_of(name))}
    return {name: value for name, value in told.items() if value}


def series_of(data: bytes) -> tuple[str, str]:
    """SOP class and Series Instance UID of a result."""
    found = read(data).elements
    return text(found, SOP_CLASS), text(found, SERIES)


def _decoded(found: DataSet, tag: int) -> str:
    """Text without padding; where the character set lies, as latin-1, so that the patient is still one."""
    if tag not in found:
        return ""
    raw = found[tag].value.strip(b" \0")
    charset = found[CHARACTER_SET].value if CHARACTER_SET in found else b""
    return decoded(raw, charset).strip("\0 ") or raw.decode("latin-1")
