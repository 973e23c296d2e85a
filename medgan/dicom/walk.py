"""The header of a file from its first bytes: an own walk over its attributes, no pixel touched.

What the walk does not know beyond doubt raises Odd, and pydicom reads the file.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom.uid import UID, AllTransferSyntaxes, ExplicitVRBigEndian

from medgan.dicom import compiled
from medgan.dicom.attributes import PRIVATE_VRS, WANTED, Odd, swapped, tag_of
from medgan.dicom.structure import LONG
from medgan.dicom.vrs import NAMES
from medgan.errors import Reason, StudyRejected

WINDOW, LONGER = 8192, 1 << 15  # most headers end before the one, nearly all others before the other
LARGEST = 1 << 27  # window, for a sequence of undefined length
MOST_INFLATED = 1 << 30
ROOM = 1 << 16  # bytes of the values that are wanted of a file
STATE = 14
FIRST = 132  # where the meta information begins
PIXELS = {0x7FE00008: "FloatPixelData", 0x7FE00009: "DoubleFloatPixelData", 0x7FE00010: "PixelData"}
MOSAIC = b"MOSAIC"
SYNTAX, LUT = 0x00020010, 0x00283000
# where they are in the file is all that is asked of them: functional groups, and Siemens' private block
SHARED, EACH = 0x52009229, 0x52009230
CREATOR, IMAGE_CSA, SERIES_CSA = 0x00290010, 0x00291010, 0x00291020
GROUPS, CSA = (SHARED, EACH), (CREATOR, IMAGE_CSA, SERIES_CSA)
PLACED = (*GROUPS, *CSA)
Raw = dict[int, tuple[bytes, bytes]]  # tag as tag_of gives it -> VR (b"" in an implicit file), little-endian value
BINARY = {b"US": 2, b"SS": 2, b"UL": 4, b"SL": 4, b"FL": 4, b"FD": 8}


@dataclass(slots=True)
class Element:
    """A pixel element in a file: offset and length (-1 when undefined) of its value."""

    keyword: str = ""
    offset: int = -1
    length: int = 0
    words: bool = False  # big-endian 16-bit words


@dataclass(slots=True)
class Walked:
    """A header as it stands in the file.

    common: what files of a series have in common, private: what vendors say, each one string of bytes for
    Walk.unpacked; own: the rest; placed: VR and value of GROUPS (of a mosaic: of PLACED) and whether its length was
    undefined.
    """

    syntax: UID
    common: bytes
    private: bytes
    own: Raw
    element: Element
    placed: dict[int, tuple[bytes, bytes, bool]]


class Walk:
    """Walks over files, one after the other; `own`: tags of attributes that differ from slice to slice."""

    def __init__(self, own: Iterable[int] = ()) -> None:
        self._own = tuple(own)
        first = 1 + len(self._own)
        wanted = {SYNTAX: (compiled.OWN, 0), LUT: (compiled.MARKED, 0)}
        wanted |= {swapped(tag_of(keyword)): (compiled.COMMON, 0) for keyword in WANTED}
        wanted |= {swapped(tag_of(keyword)): (compiled.PRIVATE, 0) for keyword in PRIVATE_VRS}
        wanted |= {swapped(tag): (compiled.OWN, row) for row, tag in enumerate(self._own, 1)}
        wanted |= {tag: (compiled.PLACED, row) for row, tag in enumerate(PLACED, first)}
        self._tags = [swapped(tag) for tag in sorted(wanted)]
        self._table = np.array([(tag, *wanted[tag]) for tag in sorted(wanted)], np.int64).T.copy()
        self._out = np.zeros(3 * ROOM, np.uint8)
        self._bytes = self._out.data
        self._notes = np.zeros(STATE + 4 * (first + len(PLACED)) + len(wanted), np.int64)
        self._state, rest = self._notes[:STATE], self._notes[STATE:]
        self._spots, self._seen = rest[: -len(wanted)].reshape(-1, 4), rest[-len(wanted) :]
        self._begin()
        self._blank = self._notes.copy()
        self._buffer = np.zeros(LONGER, np.uint8)
        self._window = self._buffer[:WINDOW]

    def _begin(self) -> None:
        """The state before the first attribute of a file."""
        self._state[compiled.AT], self._state[compiled.EXPLICIT], self._state[compiled.META] = FIRST, 1, 1
        self._state[compiled.PRIVATE], self._state[compiled.OWN] = ROOM, 2 * ROOM
        self._spots[:, 0] = -1

    def __call__(self, file: Path) -> Walked:
        """Raises Odd, StudyRejected (no_pixels, unreadable, unsafe_file) and OSError."""
        fd = os.open(file, os.O_RDONLY | os.O_CLOEXEC)
        try:
            return self._walked(_File(fd, os.fstat(fd).st_size, self._window))
        finally:
            os.close(fd)

    def unpacked(self, packed: bytes, syntax: UID) -> Raw:
        """What Walked.common or Walked.private says; a lookup table of the modality without its value."""
        raw: Raw = {}
        at = 0
        while at < len(packed):
            begin = at + 7
            end = begin + int.from_bytes(packed[at + 3 : begin], "little")
            vr = packed[at + 1 : at + 3].strip(b"\0")
            value = packed[begin:end]
            raw[self._tags[packed[at]]] = vr, little(vr, value) if syntax == ExplicitVRBigEndian else value
            at = end
        return raw

    def _walked(self, file: _File) -> Walked:
        ended = self._to_the_pixels(file)
        state, spots = self._state.tolist(), self._spots.tolist()
        self._ask(state[compiled.BEGIN])
        syntax = _syntax(bytes(self._bytes[spots[0][0] : spots[0][1]]) if spots[0][0] >= 0 else b"")
        if ended == compiled.END:
            raise StudyRejected(Reason.NO_PIXELS, detail="a file holds no pixel data")
        if ended != compiled.PIXELS:
            raise Odd
        values = self._bytes
        own: Raw = {
            tag: (NAMES[vr], bytes(values[begin:end]))
            for tag, (begin, end, vr, _) in zip(self._own, spots[1:], strict=False)
            if begin >= 0
        }
        if syntax == ExplicitVRBigEndian:
            own = {tag: (vr, little(vr, value)) for tag, (vr, value) in own.items()}
        common = bytes(self._bytes[: state[compiled.COMMON]])
        private = bytes(self._bytes[ROOM : state[compiled.PRIVATE]])
        placed = self._placed(file, common, spots) if state[compiled.PLACES] else {}
        return Walked(syntax, common, private, own, _element(state, file), placed)

    def _placed(self, file: _File, common: bytes, spots: list[list[int]]) -> dict[int, tuple[bytes, bytes, bool]]:
        asked = PLACED if MOSAIC in common.upper() else GROUPS
        found = zip(asked, spots[1 + len(self._own) :], strict=False)
        return {tag: file.placed(spot) for tag, spot in found if spot[0] >= 0}

    def _to_the_pixels(self, file: _File) -> int:
        state = self._state
        self._notes[:] = self._blank
        while True:
            ended: int = compiled.attributes(
                file.data, file.n, file.last, self._table, self._seen, self._out, self._spots, state
            )
            if ended == compiled.DEFLATED:
                file.inflate(int(state[compiled.BASE] + state[compiled.AT]))
                state[compiled.BASE] = state[compiled.AT] = 0
                state[compiled.EXPLICIT] = 1
            elif ended in (compiled.MORE, compiled.SKIP) and file.move(int(state[compiled.AT])):
                state[compiled.BASE] += state[compiled.AT]
                state[compiled.AT] = 0
            else:
                return ended

    def _ask(self, pixels: int) -> None:
        """Of the next file, a whole header as long as this one's, unless much in it could be stepped over."""
        size = WINDOW * (pixels // WINDOW + 1)
        if size != len(self._window):
            self._window = self._buffer[: size if size <= LONGER else WINDOW]


class _File:
    """A part of a file in memory, its first n bytes of meaning; `last`: the file ends with it."""

    __slots__ = ("base", "data", "fd", "inflated", "last", "n", "size")

    def __init__(self, fd: int, size: int, window: NDArray[np.uint8]) -> None:
        self.fd, self.size, self.base, self.data, self.inflated = fd, size, 0, window, False
        self.n = os.preadv(fd, [window.data], 0)
        self.last = self.n >= size
        if self.n < FIRST or window[128:FIRST].tobytes() != b"DICM":
            raise Odd

    def move(self, at: int) -> bool:
        """Let the window begin at `at`, and grow where it begins there; False when there is no more."""
        if self.last:
            return False
        size = len(self.data) if at else 4 * len(self.data)
        if size > LARGEST:
            return False
        if size > len(self.data):
            self.data = np.zeros(size, np.uint8)
        self.base += at
        self.n = os.preadv(self.fd, [self.data.data], self.base)
        self.last = self.base + self.n >= self.size
        return True

    def inflate(self, at: int) -> None:
        """Go on in the deflated rest of the file. Raises StudyRejected (unreadable, unsafe_file)."""
        stream = zlib.decompressobj(-zlib.MAX_WBITS)
        try:
            whole = stream.decompress(os.pread(self.fd, self.size - at, at), MOST_INFLATED + 1)
        except zlib.error:
            whole = b""
        if len(whole) > MOST_INFLATED:
            raise StudyRejected(Reason.UNSAFE_FILE, detail="a file inflates to more than any modality makes")
        if not stream.eof:
            raise StudyRejected(Reason.UNREADABLE, detail="a deflated file could not be inflated")
        self.data = np.frombuffer(whole, np.uint8)
        self.n = self.size = len(whole)
        self.base, self.last, self.inflated = 0, True, True

    def placed(self, spot: list[int]) -> tuple[bytes, bytes, bool]:
        """VR and value of an attribute whose place is known, and whether its length was undefined."""
        begin, end, vr, undefined = spot
        value = self.data[begin:end].tobytes() if self.inflated else os.pread(self.fd, end - begin, begin)
        if len(value) != end - begin:
            raise Odd
        return NAMES[vr], value, bool(undefined)


@lru_cache(64)
def _syntax(value: bytes) -> UID:
    """The transfer syntax of that name. Raises Odd unless it is a public one."""
    syntax = UID(value.rstrip(b"\0 ").decode("ascii", "replace"))
    if syntax not in AllTransferSyntaxes and syntax.type != "Transfer Syntax":
        raise Odd
    return syntax


def little(vr: bytes, value: bytes) -> bytes:
    """A value of a big-endian file as a little-endian one has it."""
    size = BINARY.get(vr, 1)
    if size == 1 or len(value) % size:
        return value
    return b"".join(value[at : at + size][::-1] for at in range(0, len(value), size))


def _element(state: list[int], file: _File) -> Element:
    tag, begin, end = state[compiled.TAG], state[compiled.BEGIN], state[compiled.STOP]
    vr = NAMES[state[compiled.WRITTEN]]
    if vr and vr not in LONG:
        raise Odd
    if file.inflated:
        if not begin <= end <= file.n:
            raise Odd
        return Element(PIXELS[tag], -1, end - begin)
    if end > file.size:
        end = file.size
    length = -1 if end < 0 else end - begin
    return Element(PIXELS[tag], begin, length, state[compiled.BIG] == 1 and vr == b"OW")
