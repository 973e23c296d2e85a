"""The header of a file by pydicom: for enhanced multi-frame, mosaics, and whatever our own walk does not know."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from typing import Any

from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import UID, DeflatedExplicitVRLittleEndian

from medgan.dicom.attributes import ABSENT, WANTED, Header, formed
from medgan.dicom.csa import of_dataset
from medgan.dicom.groups import FRAME_TYPES, GROUPS
from medgan.dicom.mosaic import MOSAIC, Tiles, tiles
from medgan.dicom.pixels import UNREADABLE
from medgan.dicom.structure import LONG, UNDEFINED
from medgan.dicom.walk import PIXELS, Element
from medgan.errors import Reason, StudyRejected


@dataclass(frozen=True, slots=True)
class Part:
    """One plane of a file: its header, its frame, and its tile (top, left, rows, columns) of a mosaic."""

    header: Header
    frame: int
    tile: tuple[int, int, int, int] | None = None


@dataclass(frozen=True, slots=True)
class Found:
    """What pydicom says of a file, without what differs between its planes.

    lut: a lookup table of the modality is in it.
    """

    syntax: UID
    element: Element
    header: Header
    lut: bool
    dataset: Dataset


def read(file: Path) -> Found:
    """A file's header. Raises StudyRejected (unreadable, no_pixels) or one of UNREADABLE for a value that is none."""
    try:
        header, element = _header(file)
    except (*UNREADABLE, zlib.error):
        raise StudyRejected(Reason.UNREADABLE, detail="a file could not be parsed as DICOM") from None
    if not element.keyword:
        raise StudyRejected(Reason.NO_PIXELS, detail="a file holds no pixel data")
    plain = {**ABSENT, **{keyword: formed(keyword, header.get(keyword)) for keyword in WANTED if keyword in header}}
    return Found(header.file_meta.TransferSyntaxUID, element, plain, "ModalityLUTSequence" in header, header)


def parts(found: Found, frames: int) -> Iterator[Part]:
    """Its planes, one after the other. Raises one of UNREADABLE."""
    if placed := tiles(of_dataset(found.dataset), found.header):
        yield from _mosaic(found.header, placed)
        return
    shared = _first(found.dataset, "SharedFunctionalGroupsSequence")
    each: Sequence[Dataset] = found.dataset.get("PerFrameFunctionalGroupsSequence") or ()
    if each and len(each) != frames:
        raise ValueError("functional groups and frames differ in number")
    for frame in range(frames):
        yield Part({**found.header, **_grouped((each[frame], shared) if each else (shared,))}, frame)


def dataset(file: Path) -> Dataset:
    """The header as pydicom has it. Raises one of UNREADABLE."""
    return dcmread(file, stop_before_pixels=True)


def _header(file: Path) -> tuple[Dataset, Element]:
    with file.open("rb") as handle:
        header = dcmread(handle, stop_before_pixels=True)
        syntax = header.file_meta.TransferSyntaxUID
        if syntax != DeflatedExplicitVRLittleEndian:
            return header, _pixel_element(handle, syntax)
    whole = dcmread(file)
    keyword = next((name for name in PIXELS.values() if name in whole), "")
    return header, Element(keyword, -1, len(whole[keyword].value) if keyword else 0)


def _pixel_element(handle: Any, syntax: UID) -> Element:
    """The element at which the reader stopped, just before the pixels; an empty one at the end of the file."""
    order = "<" if syntax.is_little_endian else ">"
    head = handle.read(12)
    if len(head) < 8:
        return Element()
    group, element = struct.unpack(f"{order}HH", head[:4])
    keyword = PIXELS.get(group << 16 | element, "")
    if syntax.is_implicit_VR:
        length, start = struct.unpack(f"{order}L", head[4:8])[0], handle.tell() - len(head) + 8
    elif head[4:6] in LONG and len(head) == 12:
        length, start = struct.unpack(f"{order}L", head[8:12])[0], handle.tell()
    else:
        return Element()
    if length == UNDEFINED:
        return Element(keyword, start, -1)
    size = handle.seek(0, io.SEEK_END)
    return Element(keyword, start, min(length, size - start), order == ">" and head[4:6] == b"OW")


def _grouped(groups: tuple[Dataset, ...]) -> Header:
    """What functional groups say, a frame's own first."""
    found: Header = {}
    for some in groups:
        for keyword, path in GROUPS.items():
            item = reduce(_first, path, some)
            if keyword not in found and keyword in item:
                found[keyword] = formed(keyword, item[keyword].value)
        for name in FRAME_TYPES:
            if "ImageType" not in found and (item := _first(some, name)):
                found["ImageType"] = formed("ImageType", item.get("FrameType"))
    return found


def _mosaic(plain: Header, found: Tiles) -> Iterator[Part]:
    words = tuple(word for word in plain["ImageType"] if word.upper() != MOSAIC)
    for tile, position in zip(found.tiles, found.positions_mm, strict=True):
        yield Part({**plain, "ImageType": words, "ImagePositionPatient": position}, 0, tile)


def _first(item: Dataset, keyword: str) -> Dataset:
    sequence = item.get(keyword)
    return sequence[0] if sequence else Dataset()
