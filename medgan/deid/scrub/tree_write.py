"""A tree back into bytes: the encoding of its source, sequences and items of defined length, even lengths."""

from __future__ import annotations

import struct

from medgan.deid.scrub.tree import ITEM, LONG, PIXEL_DATA, SHORT, UNDEFINED, DataSet, Element, Inside

PREAMBLE = bytes(128) + b"DICM"
CODES = {vr: (vr.encode(), vr in LONG) for vr in (*SHORT, *LONG)}
MOST_SHORT = 0xFFFE
NUL_PADDED = frozenset(("UI", "UN", "OB"))


def write(meta: DataSet, elements: DataSet, *, explicit: bool, little: bool) -> bytes:
    """A whole file: zero preamble, `meta` with its group length, data set. Raises ValueError when one does not fit."""
    head = _Writer(explicit=True, little=True).data_set(meta)
    length = Element(0x00020000, "UL", struct.pack("<I", len(head)))
    parts = [PREAMBLE, _Writer(explicit=True, little=True).data_set({length.tag: length}), head]
    _Writer(explicit=explicit, little=little).put(elements, parts)
    return b"".join(parts)


class _Writer:
    def __init__(self, *, explicit: bool, little: bool) -> None:
        order = "<" if little else ">"
        self._explicit = explicit
        self._short = struct.Struct(order + "HH2sH").pack
        self._long = struct.Struct(order + "HH2sHI").pack
        self._implicit = struct.Struct(order + "HHI").pack

    def data_set(self, elements: DataSet) -> bytes:
        parts: list[bytes] = []
        self.put(elements, parts)
        return b"".join(parts)

    def put(self, elements: DataSet, parts: list[bytes]) -> None:
        """Append headers and values in the order of the tags."""
        for tag in sorted(elements):
            element = elements[tag]
            if element.items is not None:
                value = self._items(element.items)
            else:
                value = element.value
                if len(value) & 1:
                    value += b"\0" if element.vr in NUL_PADDED else b" "
            if tag == PIXEL_DATA and element.inside is Inside.FRAGMENTS:
                parts += (self._head(tag, element.vr, UNDEFINED), value, self._implicit(0xFFFE, 0xE0DD, 0))
            else:
                parts += (self._head(tag, element.vr, len(value)), value)

    def _items(self, items: list[DataSet]) -> bytes:
        parts: list[bytes] = []
        for item in items:
            data = self.data_set(item)
            parts += (self._implicit(ITEM >> 16, ITEM & 0xFFFF, len(data)), data)
        return b"".join(parts)

    def _head(self, tag: int, vr: str, length: int) -> bytes:
        group, number = tag >> 16, tag & 0xFFFF
        if not self._explicit:
            return self._implicit(group, number, length)
        code, long = CODES[vr]
        if long:
            return self._long(group, number, code, 0, length)
        if length > MOST_SHORT:
            raise ValueError("a value longer than its VR can say")
        return self._short(group, number, code, length)
