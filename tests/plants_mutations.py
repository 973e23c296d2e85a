"""Damage and lies done to planted files: a Hypothesis strategy that gives a file and what was done to it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from io import BytesIO
from typing import Literal

import hypothesis.strategies as st
import plants
import pydicom
from plants import Case
from pydicom.filereader import data_element_generator


@dataclass(frozen=True, slots=True)
class Layout:
    """How a file is written, and where the elements at its top lie: (start, end), ascending."""

    places: tuple[tuple[int, int], ...]
    tags: tuple[int, ...]
    order: Literal["little", "big"]
    implicit: bool

    def made(self, tag: int, vr: bytes, value: bytes) -> bytes:
        """An element in the encoding of the file."""
        value += b"\0" * (len(value) % 2)
        head = (tag >> 16).to_bytes(2, self.order) + (tag & 0xFFFF).to_bytes(2, self.order)
        if self.implicit or tag == ITEM:
            return head + len(value).to_bytes(4, self.order) + value
        if vr in LONG:
            return head + vr + b"\0\0" + len(value).to_bytes(4, self.order) + value
        return head + vr + len(value).to_bytes(2, self.order) + value

    def place(self, tag: int) -> int:
        """Where an element of that tag belongs."""
        return next((start for (start, _), other in zip(self.places, self.tags, strict=True) if other > tag), -1)


ITEM, KEPT = 0xFFFEE000, 0x00082218
LONG = (b"UN", b"OB", b"OW", b"UT", b"SQ")
VRS = (b"UN", b"OB", b"OW", b"SQ", b"LO", b"UT", b"PN", b"CS", b"DS", b"US", b"UI", b"AT", b"ZZ", b"??", b"\0\0")
SETS = (b"ISO_IR 100", b"ISO_IR 192", b"GB18030   ", b"ISO_IR 13 ", b"NONSENSE  ", b"ISO 2022 IR 87")
KINDS = ("CT_small.dcm", "MR_small_implicit.dcm", "MR_small_bigendian.dcm", "test-SR.dcm", "rtstruct.dcm", "chrX1.dcm")


@cache
def bases(seed: int = 0) -> tuple[Case, ...]:
    """Planted files to damage, none of them set aside by design."""
    return tuple(case for case in plants.quick(seed).cases if case.kind in KINDS or case.kind == "structured report")


@cache
def layout(data: bytes) -> Layout:
    """Where the elements at the top of a file lie."""
    file = BytesIO(data)
    ds = pydicom.dcmread(file, specific_tags=["SOPClassUID"], force=True)
    syntax = ds.file_meta.TransferSyntaxUID
    file.seek(144 + int(ds.file_meta.FileMetaInformationGroupLength))
    places, tags, start = [], [], file.tell()
    for element in data_element_generator(file, syntax.is_implicit_VR, syntax.is_little_endian):
        places.append((start, file.tell()))
        tags.append(int(element.tag))
        start = file.tell()
    return Layout(tuple(places), tuple(tags), "little" if syntax.is_little_endian else "big", syntax.is_implicit_VR)


@st.composite
def mutated(draw: st.DrawFn) -> tuple[Case, bytes, tuple[str, ...]]:
    """(the case, its damaged bytes, the names of what was done), one thing or two."""
    case = draw(st.sampled_from(bases()))
    names = draw(st.lists(st.sampled_from(sorted(MUTATIONS)), min_size=1, max_size=2))
    data, how = case.data, layout(case.data)
    for name in names:
        data = MUTATIONS[name](draw, data, how)
    return case, data, tuple(names)


def _one(draw: st.DrawFn, data: bytes, how: Layout) -> tuple[int, int]:
    """An element that still lies within the data: earlier damage may have moved or cut it."""
    return draw(st.sampled_from([place for place in how.places if place[1] <= len(data)] or [(132, len(data))]))


def flip(draw: st.DrawFn, data: bytes, how: Layout) -> bytes:
    """Bits of the header elements, where most bytes mean something."""
    changed, end = bytearray(data), min(len(data), 12000)
    for at in draw(st.lists(st.integers(0, end - 1), min_size=1, max_size=3)):
        changed[at] ^= 1 << draw(st.integers(0, 7))
    return bytes(changed)


def cut(draw: st.DrawFn, data: bytes, how: Layout) -> bytes:
    return data[: draw(st.integers(1, len(data)))]


def splice(draw: st.DrawFn, data: bytes, how: Layout) -> bytes:
    start, end = sorted(draw(st.tuples(*[st.integers(0, len(data))] * 2)))
    at = draw(st.integers(0, len(data)))
    return data[:at] + data[start : min(end, start + 4096)] + data[at:]


def change_vr(draw: st.DrawFn, data: bytes, how: Layout) -> bytes:
    start, _ = _one(draw, data, how)
    return data[: start + 4] + draw(st.sampled_from(VRS)) + data[start + 6 :]


def change_length(draw: st.DrawFn, data: bytes, how: Layout) -> bytes:
    start, _ = _one(draw, data, how)
    at = start + draw(st.sampled_from((4, 6, 8)))
    size = draw(st.sampled_from((0, 1, 2, 6, 64, 300, 65534, 0xFFFFFFFF, 0xFFFFFFF0, len(data))))
    return data[:at] + size.to_bytes(4, "little")[: draw(st.sampled_from((2, 4)))] + data[at + 4 :]


def swap(draw: st.DrawFn, data: bytes, how: Layout) -> bytes:
    first, second = sorted((_one(draw, data, how), _one(draw, data, how)))
    if first[1] > second[0]:
        return data
    middle = data[first[1] : second[0]]
    return data[: first[0]] + data[slice(*second)] + middle + data[slice(*first)] + data[second[1] :]


def swallow(draw: st.DrawFn, data: bytes, how: Layout) -> bytes:
    """An element becomes the value of a made one of a kind that is usually kept."""
    start, end = _one(draw, data, how)
    tag = draw(st.sampled_from((0x00180081, 0x00281220, KEPT, 0x00200013, 0x54000100, 0x00283010)))
    one = how.made(tag, draw(st.sampled_from(LONG)), data[start:end])
    return _inserted(data, one, how.place(tag))


def nest(draw: st.DrawFn, data: bytes, how: Layout) -> bytes:
    """An element is repeated in an item of a sequence that is kept, to a depth."""
    start, end = _one(draw, data, how)
    inside = data[start:end]
    for _ in range(draw(st.sampled_from((1, 1, 2, 40, 300)))):
        inside = how.made(KEPT, b"SQ", how.made(ITEM, b"", inside))
    return _inserted(data, inside, how.place(KEPT))


def _inserted(data: bytes, one: bytes, at: int) -> bytes:
    return data + one if at < 0 else data[:at] + one + data[at:]


def charset(draw: st.DrawFn, data: bytes, how: Layout) -> bytes:
    at = data.find(b"ISO_IR")
    name = draw(st.sampled_from(SETS))
    return data if at < 0 else data[:at] + name[:10] + data[at + 10 :]


def duplicate(draw: st.DrawFn, data: bytes, how: Layout) -> bytes:
    start, end = _one(draw, data, how)
    at = draw(st.sampled_from((start, end, len(data))))
    return data[:at] + data[start:end] + data[at:]


def private(draw: st.DrawFn, data: bytes, how: Layout) -> bytes:
    """A private element of no creator, of a safe one, or of a creator that is a patient's name."""
    creator = draw(st.sampled_from((b"", b"SIEMENS MR HEADER ", b"Thorvaldine Thunderberry")))
    value = draw(st.sampled_from((b"Thunderberry", b"\xff\xfe\x00\xe0\xff\xff\xff\xff", bytes(4))))
    block = how.made(0x00190010, b"LO", creator) if creator else b""
    one = how.made(0x0019100C, draw(st.sampled_from((b"LO", b"IS", b"UI", b"UN"))), value)
    return _inserted(data, block + one, how.place(0x0019100C))


def letters(draw: st.DrawFn, data: bytes, how: Layout) -> bytes:
    """Bytes beyond ASCII, and control characters, in the value of an element."""
    start, end = _one(draw, data, how)
    junk = draw(st.binary(min_size=1, max_size=12))
    at = min(end, max(start + 8, end - len(junk)))
    return data[:at] + junk + data[at + len(junk) :]


MUTATIONS: dict[str, Callable[[st.DrawFn, bytes, Layout], bytes]] = {
    one.__name__: one
    for one in (flip, cut, splice, change_vr, change_length, swap, swallow, nest, charset, duplicate, private, letters)
}


def kinds_of(names: Sequence[str]) -> str:
    return "+".join(sorted(set(names)))
