"""The header of a file from its first bytes: an own walk over the top-level attributes, no pixel touched.

What the walk does not know beyond doubt raises Odd, and pydicom reads the file. Files of a series differ in few
attributes: the rest, byte for byte as in the files before, is compared and stepped over in whole runs.
"""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass
from pathlib import Path

from pydicom.uid import (
    UID,
    AllTransferSyntaxes,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
)

from medgan.dicom.attributes import WANTED, Odd, swapped, tag_of

WINDOW = 8192  # most headers end before
LARGER = (1 << 16, 1 << 20)  # windows for sequences of undefined length
MOST_STEPS = 1 << 14  # attributes of a header
DEEPEST = 8
LONGEST_PART = 1024  # longer attributes are stepped over, not compared
UNDEFINED = 0xFFFFFFFF
LONG = frozenset((b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"))
SHORT = frozenset(
    (b"AE", b"AS", b"AT", b"CS", b"DA", b"DS", b"DT", b"FD", b"FL", b"IS", b"LO", b"LT", b"PN", b"SH", b"SL")
    + (b"SS", b"ST", b"TM", b"UI", b"UL", b"US")
)
# every tag here is as it stands in the file: element << 16 | group
SYNTAX = swapped(0x00020010)
TAGS = frozenset(tag_of(keyword) for keyword in WANTED) | {SYNTAX}
PIXELS = {
    swapped(0x7FE00008): "FloatPixelData",
    swapped(0x7FE00009): "DoubleFloatPixelData",
    swapped(0x7FE00010): "PixelData",
}
ITEM, ITEM_END, SEQUENCE_END = swapped(0xFFFEE000), swapped(0xFFFEE00D), swapped(0xFFFEE0DD)
# functional groups and the modality's lookup table lie deeper; pydicom ends at an item's end wherever it stands
ODD = frozenset((swapped(0x52009229), swapped(0x52009230), swapped(0x00283000), ITEM_END))
KNOWN = TAGS | ODD
# what differs from slice to slice nearly always: UIDs, days and times, numbers, places, currents, windows
VARIES = frozenset(
    swapped(tag)
    for tag in (
        *(0x00020003, 0x00080012, 0x00080013, 0x00080018, 0x00080022, 0x00080023, 0x0008002A, 0x00080032, 0x00080033),
        *(0x00181151, 0x00181152, 0x00200013, 0x00200032, 0x00201041, 0x00280106, 0x00280107, 0x00281050, 0x00281051),
    )
)
META = 0x0002
SYNTAXES = {
    str(uid): uid for uid in AllTransferSyntaxes if uid not in (DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian)
}
Raw = dict[int, tuple[bytes, bytes]]  # tag -> VR (b"" in an implicit file), value
_Part = tuple[int, bytes | None, tuple[bytes, bytes] | None]  # tag; its bytes, where short; VR and value, where wanted
_short_form, _implicit_form, _u32 = (struct.Struct(form).unpack_from for form in ("<I2sH", "<II", "<I"))


@dataclass(frozen=True, slots=True)
class Element:
    """A pixel element in a file: offset and length (-1 when undefined) of its value."""

    keyword: str = ""
    offset: int = -1
    length: int = 0
    words: bool = False  # big-endian 16-bit words


class Walk:
    """Walks over the files of a list, one after the other."""

    def __init__(self) -> None:
        self._layout: _Layout | None = None

    def __call__(self, file: Path) -> tuple[UID, Raw, Element]:
        """Transfer syntax, wanted values and pixel element of a file. Raises Odd, and OSError."""
        fd = os.open(file, os.O_RDONLY | os.O_CLOEXEC)
        try:
            size = os.fstat(fd).st_size
            if self._layout is None or (found := self._layout.followed(_Window(fd))) is None:
                found = self._learnt(_Window(fd))
        finally:
            os.close(fd)
        syntax, raw, (tag, vr, begin, end) = found
        length = -1 if end < 0 else min(end, size) - begin
        if vr and vr not in LONG:
            raise Odd
        return syntax, raw, Element(PIXELS[tag], begin, length)

    def _learnt(self, window: _Window) -> _Found:
        parts, found = _walked(window)
        before = self._layout
        if before is not None and [part[0] for part in before.parts] == [part[0] for part in parts]:
            pairs = zip(parts, before.parts, strict=True)
            parts = [part if part[1] == old[1] else (part[0], None, None) for part, old in pairs]
        self._layout = _Layout(parts, found)
        return found


_Place = tuple[int, bytes, int, int]  # tag, VR, where the value begins and ends (-1: not said)
_Found = tuple[UID, Raw, _Place]


class _Window:
    """A part of a file in memory: where the attribute stepped over began, and `at` which the next one comes."""

    __slots__ = ("at", "base", "began", "data", "fd")

    def __init__(self, fd: int) -> None:
        self.fd, self.base, self.data, self.at, self.began = fd, 0, os.pread(fd, WINDOW, 0), 132, 132
        if self.data[128:132] != b"DICM":
            raise Odd

    def shift(self, size: int) -> None:
        """Let the window begin at the next attribute."""
        self.base += self.at
        self.data, self.at, self.began = os.pread(self.fd, max(size, WINDOW), self.base), 0, 0

    def step(self, explicit: bool) -> _Place:
        """The next attribute, whole where it is wanted; `at` steps past it. Raises Odd."""
        self.began = self.at
        try:
            place = _attribute(self.data, self.at, explicit)
        except struct.error:
            place = self._wider(explicit)
        if place[3] > len(self.data) and place[0] in TAGS:
            place = self._whole(place, explicit)
        self.at = place[3]
        return place

    def _whole(self, place: _Place, explicit: bool) -> _Place:
        if place[3] - self.at > LARGER[-1]:
            raise Odd
        self.shift(place[3] - self.at)
        place = _attribute(self.data, 0, explicit)
        if place[3] > len(self.data):
            raise Odd
        return place

    def _wider(self, explicit: bool) -> _Place:
        for size in (WINDOW, *LARGER):
            self.shift(size)
            try:
                return _attribute(self.data, 0, explicit)
            except struct.error:
                continue
        raise Odd


class _Layout:
    """What the files before had in common: runs of the same bytes, between attributes that differ."""

    def __init__(self, parts: list[_Part], found: _Found) -> None:
        self.parts, self.syntax = parts, found[0]
        self.same: Raw = {tag: value for tag, whole, value in parts if whole is not None and value is not None}
        self.steps: list[tuple[bytes, int, bool]] = []  # a run, the tag after it, whether that has a VR
        run, dataset = b"", False
        for tag, whole, _ in parts:
            dataset = dataset or tag & 0xFFFF != META
            if whole is not None:
                run += whole
                continue
            self.steps.append((run, tag, not dataset or self.syntax != ImplicitVRLittleEndian))
            run = b""
        self.steps.append((run, found[2][0], self.syntax != ImplicitVRLittleEndian))

    def followed(self, window: _Window) -> _Found | None:
        """What is wanted of a file of this layout; None for another. Raises Odd."""
        raw = dict(self.same)
        place: _Place = (0, b"", 0, 0)
        if SYNTAX not in raw:
            return None
        for run, tag, explicit in self.steps:
            if window.at + len(run) > len(window.data):
                window.shift(len(run))
            if not window.data.startswith(run, window.at):
                return None
            window.at += len(run)
            place = window.step(explicit)
            if place[0] != tag:
                return None
            if tag in TAGS:
                raw[tag] = place[1], window.data[place[2] : place[3]]
        return self.syntax, raw, _placed(place, window)


def _walked(window: _Window) -> tuple[list[_Part], _Found]:
    """Attribute by attribute to the pixels. Raises Odd."""
    parts: list[_Part] = []
    raw: Raw = {}
    explicit = in_meta = True
    for _ in range(MOST_STEPS):
        if in_meta and window.data[window.at : window.at + 2] not in (b"\2\0", b""):
            in_meta, syntax = False, _syntax(raw)
            explicit = syntax != ImplicitVRLittleEndian
            if window.data[window.at + 4 : window.at + 6].isupper() != explicit:
                raise Odd  # as pydicom finds out that a file is not as it says
        place = tag, vr, begin, end = window.step(explicit)
        if in_meta and tag & 0xFFFF != META:
            raise Odd
        if tag in PIXELS:
            return parts, (syntax, raw, _placed(place, window))
        if tag in KNOWN:
            if tag in ODD or tag in raw:
                raise Odd
            raw[tag] = vr, window.data[begin:end]
        at, data = window.began, window.data
        short = end - at <= LONGEST_PART and end <= len(data) and tag not in VARIES
        parts.append((tag, data[at:end] if short else None, raw.get(tag)))
        if explicit and not in_meta:
            _short_ones(window, parts, raw)
    raise Odd


def _short_ones(window: _Window, parts: list[_Part], raw: Raw) -> None:
    """Step over all that come next, have a VR, are short and lie in the window: most attributes do."""
    data, at = window.data, window.at
    last = len(data) - 8
    while at <= last:
        tag, vr, length = _short_form(data, at)
        begin = at + 8
        end = begin + length
        if vr not in SHORT or end > last or length > LONGEST_PART - 8 or tag in ODD or tag in raw or tag in PIXELS:
            break
        if tag in TAGS:
            raw[tag] = vr, data[begin:end]
            parts.append((tag, None if tag in VARIES else data[at:end], raw[tag]))
        else:
            parts.append((tag, None if tag in VARIES else data[at:end], None))
        at = end
    window.at = at


def _placed(place: _Place, window: _Window) -> _Place:
    tag, vr, begin, end = place
    return tag, vr, window.base + begin, end if end < 0 else window.base + end


def _syntax(raw: Raw) -> UID:
    name = raw.get(SYNTAX, (b"", b""))[1].rstrip(b"\0 ").decode("ascii", "replace")
    if name not in SYNTAXES:
        raise Odd
    return SYNTAXES[name]


def _attribute(data: bytes, at: int, explicit: bool) -> _Place:
    """The attribute that begins at `at`. Raises struct.error where the data ends too early, and Odd."""
    if explicit:
        tag, vr, length = _short_form(data, at)
        if vr in SHORT:
            return tag, vr, at + 8, at + 8 + length
        if vr not in LONG:
            raise Odd
        (length,), begin = _u32(data, at + 8), at + 12
    else:
        (tag, length), vr, begin = _implicit_form(data, at), b"", at + 8
    if length != UNDEFINED:
        return tag, vr, begin, begin + length
    if tag in PIXELS:
        return tag, vr, begin, -1
    if vr not in (b"SQ", b"") or tag in TAGS:
        raise Odd
    return tag, vr, begin, _past_items(data, begin, explicit, 0)


def _past_items(data: bytes, at: int, explicit: bool, depth: int) -> int:
    """Behind a sequence of undefined length. Raises struct.error and Odd."""
    if depth > DEEPEST:
        raise Odd
    while True:
        tag, length = _implicit_form(data, at)
        at += 8
        if tag == SEQUENCE_END and length == 0:
            return at
        if tag != ITEM:
            raise Odd
        at = _past_item(data, at, explicit, depth) if length == UNDEFINED else at + length


def _past_item(data: bytes, at: int, explicit: bool, depth: int) -> int:
    while True:
        if data[at : at + 4] == b"\xfe\xff\x0d\xe0":
            if _implicit_form(data, at)[1]:
                raise Odd
            return at + 8
        _, _, begin, end = _nested(data, at, explicit, depth)
        at = end


def _nested(data: bytes, at: int, explicit: bool, depth: int) -> _Place:
    tag = _u32(data, at)[0]
    if tag in PIXELS or tag in (ITEM, SEQUENCE_END):
        raise Odd
    if explicit:
        vr = data[at + 4 : at + 6]
        if vr in SHORT:
            return _attribute(data, at, explicit)
        length, begin = _u32(data, at + 8)[0], at + 12
    else:
        vr, length, begin = b"SQ", _u32(data, at + 4)[0], at + 8
    if length != UNDEFINED:
        return _attribute(data, at, explicit)
    if vr != b"SQ":
        raise Odd
    return tag, vr, begin, _past_items(data, begin, explicit, depth + 1)
