"""The tables of DICOM PS3.6 as pydicom ships them, read without pydicom itself.

The package takes a third of a second to import; a process that reads untrusted headers needs two of its tables.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

PACKAGE = "pydicom"


def _table(name: str) -> ModuleType:
    """A module of the package that imports nothing, run by itself."""
    found = importlib.util.find_spec(PACKAGE)  # finds a package without importing it
    if found is None or found.origin is None:
        raise ModuleNotFoundError(f"{PACKAGE} is not installed", name=PACKAGE)
    spec = importlib.util.spec_from_file_location(f"{__name__}.{name}", Path(found.origin).with_name(f"{name}.py"))
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


_DICTIONARY, _UIDS = _table("_dicom_dict"), _table("_uid_dict").UID_dictionary
_REPEATING = [
    (int(tag.replace("x", "0"), 16), int("".join("0" if digit == "x" else "F" for digit in tag), 16), entry[0])
    for tag, entry in _DICTIONARY.RepeatersDictionary.items()
]

IMAGE_CLASSES = frozenset(
    uid for uid, (name, kind, *_) in _UIDS.items() if kind == "SOP Class" and "Image Storage" in name
)
SEGMENTATION = "1.2.840.10008.5.1.4.1.1.66.4"
TAKEN_IN = IMAGE_CLASSES | {SEGMENTATION}  # objects of a study: its images, and masks that were drawn on them
# tag -> its only VR, or the first of those it may have; without the retired ones, for which vendors took liberties
PRESENT_VRS = {
    tag: vr[:2].encode() for tag, (vr, _, _, retired, _) in _DICTIONARY.DicomDictionary.items() if not retired
}

SEQUENCE_TAGS = frozenset(tag for tag, entry in _DICTIONARY.DicomDictionary.items() if entry[0] == "SQ")


def first_vr(tag: int) -> bytes:
    """The VR of a tag, the first where it may have several; UN for what the dictionary does not hold."""
    entry = _DICTIONARY.DicomDictionary.get(tag)
    if entry is not None:
        return bytes(entry[0][:2].encode())
    if not tag >> 16 & 1:  # private
        for value, mask, vr in _REPEATING:
            if tag & mask == value:
                return bytes(vr[:2].encode())
    return b"UN"
