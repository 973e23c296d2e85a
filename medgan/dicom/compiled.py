"""Compiled loops over the bytes of a header, without the interpreter's lock.

Compiled on first use, and kept on disk where there is room for it. They stop with ODD at whatever could be read in
two ways, and with MORE where the bytes end too early; nothing is read or written outside the arrays they get.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numba import njit

from medgan.dicom.structure import ITEM, ITEM_END, SEQUENCE_END, UNDEFINED
from medgan.dicom.vrs import FORMS, NO_VR, SEQUENCES, SQ

MORE, ODD, PIXELS, END, SKIP, DEFLATED = -1, -2, 1, 2, 3, 4  # how a walk ends; SKIP: the next attribute is far behind
COMMON, PRIVATE, OWN, PLACED, MARKED = range(5)  # what becomes of an attribute: see attributes()
# a walk's state: up to COMMON, PRIVATE and OWN where the values kept so far end; and
AT, BASE, EXPLICIT, BIG, META, STEPS, PLACES, TAG, BEGIN, STOP, WRITTEN = range(3, 14)
MOST_STEPS = 1 << 14  # attributes of a header
DEEPEST = 8
_IMPLICIT, _BIG, _DEFLATED = (
    np.frombuffer(b"1.2.840.10008.1.2" + rest, np.uint8).copy() for rest in (b"", b".2", b".1.99")
)


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    try:
        kept: Callable[..., Any] = njit(cache=True, nogil=True)(function)
    except RuntimeError:  # nowhere to keep it
        return njit(nogil=True)(function)
    return kept


@compiled
def u16(data: Any, at: Any, big: Any) -> Any:
    one, two = np.int64(data[at]), np.int64(data[at + 1])
    return one << 8 | two if big else two << 8 | one


@compiled
def u32(data: Any, at: Any, big: Any) -> Any:
    one, two = u16(data, at, big), u16(data, at + 2, big)
    return one << 16 | two if big else two << 16 | one


@compiled
def _head(data: Any, at: Any, n: Any, explicit: Any, big: Any) -> Any:
    """Tag, VR, where the value of the attribute at `at` begins, and its length (MORE, ODD)."""
    if at + 8 > n:
        return np.int64(0), NO_VR, at, MORE
    tag = u16(data, at, big) << 16 | u16(data, at + 2, big)
    if not explicit or tag >> 16 == 0xFFFE:
        return tag, NO_VR, at + 8, u32(data, at + 4, big)
    one, two = np.int64(data[at + 4]) - 65, np.int64(data[at + 5]) - 65
    if not (0 <= one < 26 and 0 <= two < 26) or FORMS[one * 26 + two] == 0:
        return tag, NO_VR, at, ODD
    vr = one * 26 + two
    if FORMS[vr] == 1:
        return tag, vr, at + 8, u16(data, at + 6, big)
    if at + 12 > n:
        return tag, vr, at, MORE
    return tag, vr, at + 12, u32(data, at + 8, big)


@compiled
def _place(tags: Any, tag: Any) -> Any:
    """The first place of a tag among tags in order, or -1."""
    low, high = 0, len(tags)
    while low < high:
        middle = (low + high) // 2
        if tags[middle] < tag:
            low = middle + 1
        else:
            high = middle
    return low if low < len(tags) and tags[low] == tag else -1


@compiled
def _is_sequence(data: Any, begin: Any, n: Any, tag: Any, vr: Any, big: Any) -> Any:
    """Whether a value of undefined length is beyond doubt a sequence, as pydicom looks at it (1, MORE, ODD)."""
    if vr != NO_VR:
        return 1 if vr == SQ else ODD
    if (tag >> 16) % 2 == 0:
        return 1 if _place(SEQUENCES, tag) >= 0 else ODD
    if begin + 4 > n:
        return MORE
    return 1 if u16(data, begin, big) << 16 | u16(data, begin + 2, big) == ITEM else ODD


@compiled
def _past_sequence(data: Any, at: Any, end: Any, n: Any, explicit: Any, big: Any) -> Any:
    """Behind a sequence that begins at `at` and ends at `end` (-1: at its delimiter); MORE, ODD.

    Sequences and items lie in each other by turns; those of defined length inside an item are stepped over.
    """
    ends = np.empty(2 * DEEPEST, np.int64)
    depth = 0
    ends[0] = end
    while True:
        end = ends[depth]
        if 0 <= end <= at:
            if at > end:
                return ODD
            if depth == 0:
                return at
            depth -= 1
            continue
        tag, vr, begin, length = _head(data, at, n, explicit, big)
        if length < 0:
            return length
        if tag == (ITEM_END if depth % 2 else SEQUENCE_END):
            if end >= 0 or length != 0:
                return ODD
            at = begin
            if depth == 0:
                return at
            depth -= 1
            continue
        if depth % 2 == 0 and tag != ITEM or depth % 2 and (tag >> 16 == 0xFFFE or _is_pixels(tag)):
            return ODD
        if depth % 2 and length == UNDEFINED:
            sure = _is_sequence(data, begin, n, tag, vr, big)
            if sure < 0:
                return sure
        if depth % 2 == 0 or length == UNDEFINED:
            depth += 1
            if depth == len(ends):
                return ODD
            ends[depth] = -1 if length == UNDEFINED else begin + length
            at = begin
        else:
            at = begin + length
        if end >= 0 and at > end:
            return ODD


@compiled
def _is_pixels(tag: Any) -> Any:
    return 0x7FE00008 <= tag <= 0x7FE00010 and (tag < 0x7FE0000A or tag == 0x7FE00010)


@compiled
def _past(data: Any, at: Any, n: Any, explicit: Any, big: Any) -> Any:
    """Tag, VR, begin of its value, its length and where the next attribute begins (MORE, ODD)."""
    tag, vr, begin, length = _head(data, at, n, explicit, big)
    if length < 0:
        return tag, vr, begin, length, length
    if length != UNDEFINED:
        return tag, vr, begin, length, begin + length
    sure = _is_sequence(data, begin, n, tag, vr, big)
    if sure < 0:
        return tag, vr, begin, length, sure
    return tag, vr, begin, length, _past_sequence(data, begin, -1, n, explicit, big)


@compiled
def _into_data_set(out: Any, spots: Any, state: Any) -> Any:
    """Take the transfer syntax for what comes after the meta information (0, DEFLATED, ODD)."""
    if spots[0, 0] < 0:
        return ODD
    begin, end = spots[0, 0], spots[0, 1]
    while end > begin and (out[end - 1] == 0 or out[end - 1] == 32):
        end -= 1
    name = out[begin:end]
    state[META] = 0
    if np.array_equal(name, _DEFLATED):
        return DEFLATED
    state[EXPLICIT], state[BIG] = not np.array_equal(name, _IMPLICIT), np.array_equal(name, _BIG)
    return 0


@compiled
def _first_is_as_said(data: Any, at: Any, state: Any) -> Any:
    """Whether the first attribute has a VR where it should: so pydicom finds out that a file is not as it says."""
    has_vr = 0x40 < data[at + 4] < 0x5B and 0x40 < data[at + 5] < 0x5B
    return has_vr == (state[EXPLICIT] == 1)


@compiled
def _keep(data: Any, begin: Any, end: Any, kind: Any, column: Any, vr: Any, out: Any, state: Any) -> Any:
    """Copy a value behind those of its kind; but for OWN ones its column, VR and length before it. 0, or ODD."""
    at, length = state[kind], end - begin
    if at + length + 7 > (kind + 1) * (len(out) // 3):
        return ODD
    if kind != OWN:
        out[at] = column
        out[at + 1] = 0 if vr == NO_VR else vr // 26 + 65
        out[at + 2] = 0 if vr == NO_VR else vr % 26 + 65
        for byte in range(4):
            out[at + 3 + byte] = length >> 8 * byte & 255
        at += 7
    for k in range(length):
        out[at + k] = data[begin + k]
    state[kind] = at + length
    return 0


@compiled
def attributes(data: Any, n: Any, last: Any, table: Any, seen: Any, out: Any, spots: Any, state: Any) -> Any:
    """Walk to the pixels over n bytes of a file, from state[AT] on; how that ended.

    table int64 [3, wanted]: tags in order, what becomes of them, a row of spots. COMMON values go to the first third
    of out uint8 [bytes], PRIVATE ones to the second, each behind its column of the table, its VR and its length; OWN
    ones to the last, with begin, end and VR in spots int64 [rows, 4]. Of PLACED ones spots say where in the file they
    are, and whether their length is undefined; of MARKED ones the first third says that they are there. seen int64
    [wanted], state int64 [14]; last: the file ends with the data.
    """
    tags, column = table[0], 0
    while True:
        at = state[AT]
        if at + 8 > n:
            return END if last and at == n and state[META] == 0 else MORE
        if state[META] and not (data[at] == 2 and data[at + 1] == 0):
            found = _into_data_set(out, spots, state)
            if found != 0:
                return found
            if not _first_is_as_said(data, at, state):
                return ODD
        tag, vr, begin, length, end = _past(data, at, n, state[EXPLICIT] == 1, state[BIG] == 1)
        if length < 0:
            return length
        if _is_pixels(tag):
            state[TAG], state[BEGIN], state[WRITTEN] = tag, state[BASE] + begin, vr
            state[STOP] = -1 if length == UNDEFINED else state[BASE] + begin + length
            return PIXELS
        state[STEPS] += 1
        if end == ODD or tag >> 16 == 0xFFFE or tag >> 16 == 0 or state[STEPS] > MOST_STEPS:
            return ODD
        if end == MORE:
            return MORE
        if column > 0 and tags[column - 1] >= tag:
            column = 0
        while column < len(tags) and tags[column] < tag:  # attributes come in order, but for some files
            column += 1
        if column < len(tags) and tags[column] == tag:
            if seen[column]:
                return ODD
            kept = _wanted(data, n, (begin, end, length, vr), column, table, out, spots, state)
            if kept < 0:
                return kept
            seen[column] = True
        state[AT] = end
        if end > n:
            return ODD if last else SKIP


@compiled
def _wanted(data: Any, n: Any, place: Any, column: Any, table: Any, out: Any, spots: Any, state: Any) -> Any:
    """Keep what is wanted of an attribute (0, MORE, ODD)."""
    begin, end, length, vr = place
    kind, spot = table[1, column], table[2, column]
    if kind == MARKED:
        return _keep(data, begin, begin, COMMON, column, NO_VR, out, state)
    if kind == PLACED:
        spots[spot, 0], spots[spot, 1], spots[spot, 2] = state[BASE] + begin, state[BASE] + end, vr
        spots[spot, 3] = length == UNDEFINED
        state[PLACES] += 1
        return 0
    if length == UNDEFINED:
        return ODD
    if end > n:
        return MORE
    if kind == OWN:
        spots[spot, 0], spots[spot, 1], spots[spot, 2] = state[OWN], state[OWN] + length, vr
    return _keep(data, begin, end, kind, column, vr, out, state)


@compiled
def groups(data: Any, undefined: Any, explicit: Any, big: Any, table: Any, out: Any) -> Any:
    """Walk over the items of a sequence of functional groups, data its whole value; how many there are, or ODD.

    table int64 [5, wanted], in the order of its groups: the group's sequence; an attribute of its first item; that
    one's VR; whether a first item that is not empty stands for it (an empty value) where it is missing; and a sequence
    of the first item in whose own first item the attribute is, or 0.
    out int32 [items, wanted, 2]: begin and end of values, -1 where there is none.
    """
    n, at, count = len(data), 0, 0
    while True:
        if not undefined and at == n:
            return count
        tag, vr, begin, length = _head(data, at, n, explicit, big)
        if length < 0:
            return ODD
        if tag == SEQUENCE_END:
            return count if undefined and length == 0 and begin == n else ODD
        if tag != ITEM or count == len(out):
            return ODD
        end = -1 if length == UNDEFINED else begin + length
        if end > n:
            return ODD
        at = _item(data, begin, end, (explicit, big), table, out[count])
        if at < 0:
            return ODD
        count += 1


@compiled
def _item(data: Any, at: Any, end: Any, order: Any, table: Any, out: Any) -> Any:
    """Behind an item of functional groups (end -1: undefined), or ODD."""
    n = len(data)
    tags, seen = table[0], np.zeros(table.shape[1], np.bool_)
    while True:
        if 0 <= end <= at:
            return at if at == end else ODD
        tag, vr, begin, length, stop = _past(data, at, n, order[0], order[1])
        if length < 0:
            return ODD
        if tag == ITEM_END:
            return begin if end < 0 and length == 0 else ODD
        if stop < 0 or stop > n or tag >> 16 == 0xFFFE or _is_pixels(tag):
            return ODD
        column = _place(tags, tag)
        if column >= 0:
            if seen[column] or order[0] and vr != SQ:
                return ODD
            seen[column] = True
            if _group(data[begin:stop], length == UNDEFINED, begin, order, table, column, out) < 0:
                return ODD
        at = stop


@compiled
def _group(data: Any, undefined: Any, offset: Any, order: Any, table: Any, column: Any, out: Any) -> Any:
    """Find what is wanted of a group, data its sequence, in its first item and in that of one in it. 0, or ODD."""
    deeper = np.zeros(4, np.int64)  # tag, begin, end, whether its length is undefined
    if _first_item(data, undefined, offset, order, table, (column, 0), deeper, out) < 0:
        return ODD
    if deeper[0] == 0:
        return 0
    # not by recursion: a compiled function that calls itself breaks when it comes from the disk
    tag, begin, end, undefined = deeper[0], deeper[1], deeper[2], deeper[3] == 1
    return _first_item(data[begin:end], undefined, offset + begin, order, table, (column, tag), deeper, out)


@compiled
def _first_item(
    data: Any, undefined: Any, offset: Any, order: Any, table: Any, sought: Any, deeper: Any, out: Any
) -> Any:
    """Walk over all items of a sequence and note what is in the first: 0, or ODD.

    sought: the group's first column, and the tag of a sequence in it, or 0 for the group itself.
    """
    n, at, count = len(data), 0, 0
    while True:
        if not undefined and at == n:
            return 0
        tag, vr, begin, length = _head(data, at, n, order[0], order[1])
        if length < 0:
            return ODD
        if tag == SEQUENCE_END:
            return 0 if undefined and length == 0 and begin == n else ODD
        end = -1 if length == UNDEFINED else begin + length
        if tag != ITEM or end > n:
            return ODD
        at = begin
        while True:
            if 0 <= end <= at:
                if at > end:
                    return ODD
                break
            tag, vr, begin, length, stop = _past(data, at, n, order[0], order[1])
            if length < 0:
                return ODD
            if tag == ITEM_END:
                if end >= 0 or length != 0:
                    return ODD
                at = begin
                break
            if stop < 0 or stop > n or tag >> 16 == 0xFFFE or _is_pixels(tag):
                return ODD
            place = (tag, vr, begin, stop, length)
            if count == 0 and _noted(place, offset, order, table, sought, deeper, out) < 0:
                return ODD
            at = stop
        count += 1


@compiled
def _noted(place: Any, offset: Any, order: Any, table: Any, sought: Any, deeper: Any, out: Any) -> Any:
    """Note where an attribute of a first item is, if it is wanted, or that it is a sequence to look into. 0, or ODD."""
    (tag, vr, begin, end, length), (column, inner) = place, sought
    group = table[0, column]
    while column < table.shape[1] and table[0, column] == group:
        if table[3, column] and out[column, 0] < 0:
            out[column, 0] = out[column, 1] = 0
        if table[4, column] == inner and table[1, column] == tag:
            if length == UNDEFINED or out[column, 1] > 0 or order[0] and vr != table[2, column]:
                return ODD
            out[column, 0], out[column, 1] = offset + begin, offset + end
        elif inner == 0 and table[4, column] == tag:
            if deeper[0] not in (0, tag) or deeper[0] == tag and deeper[1] != begin or order[0] and vr != SQ:
                return ODD
            deeper[0], deeper[1], deeper[2], deeper[3] = tag, begin, end, length == UNDEFINED
        column += 1
    return 0
