"""A series of original slices, read at the cost of a few frames.

In full: the first, the middle and the last, and frames in which something new shows text. At every place where a
text was found, and where the projections over the series show one, the other frames are read as well.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medgan.deid.draft import Instance
from medgan.deid.pixels import gate, pixels
from medgan.deid.pixels.detect import Box, merge
from medgan.deid.pixels.render import extremes

Reader = Callable[..., list[Box]]  # of a frame, with `limits`

FEW = 8  # frames; so short a series is read in full
CHUNK = 8  # frames that are looked at before asking whether to go on
EMPTY_PEEPS = 16  # in a row end the search for something new: of 1,700 planted, all it can find came in the first 12
EMPTY_PLACES = 24  # in a row end the search at one place
PEEP = 64  # pixels to each side of where something is new
CONTEXT = 16  # pixels around a place that is cut out


@dataclass
class Series:
    """The frames of one gated series, in the order of their places once it is read."""

    frames: list[tuple[Instance, int]] = field(default_factory=list)
    values: list[NDArray[Any]] = field(default_factory=list)

    def add(self, instance: Instance) -> None:
        """Take the frames of one instance. Raises pixels.Undecodable."""
        for number, frame in enumerate(pixels.frames(instance.ds)):
            instance.boxes.append([])
            self.frames.append((instance, number))
            self.values.append(frame)


def sweep(series: Series, read: Reader) -> None:
    """Add the boxes of text to the instances of a series."""
    live = [n for n, (instance, _) in enumerate(series.frames) if instance.reason is None]
    live.sort(key=lambda n: gate.place(series.frames[n][0].ds, series.frames[n][1]))
    frames = [series.frames[n] for n in live]
    values = [series.values[n] for n in live]
    if len(live) <= FEW:
        for n in range(len(live)):
            _keep(frames[n], read(values[n]))
        return
    done = {0, len(live) // 2, len(live) - 1}
    places = [box for n in sorted(done) for box in _keep(frames[n], read(values[n]))]
    planes = gate.projections(values)
    places += read(planes, limits=extremes(planes))
    cells = [gate.thin_structures(v) for v in values]
    for n in _novel(cells, values, read, done):
        done.add(n)
        places += _keep(frames[n], read(values[n]))
    for box in merge(places):
        others = _by_amount(cells, box, done)
        list(_searched(others, lambda n, box=box: _at(box, frames[n], values[n], read), EMPTY_PLACES))  # type: ignore[misc]


def _keep(frame: tuple[Instance, int], boxes: list[Box]) -> list[Box]:
    frame[0].boxes[frame[1]] += boxes
    return boxes


def _novel(cells: Sequence[gate.Cells], values: Sequence[NDArray[Any]], read: Reader, done: set[int]) -> Iterator[int]:
    """Frames in which something new reads as text where it is newest."""
    new = gate.novelty(cells)
    ranked = sorted((n for n in range(len(new)) if n not in done), key=lambda n: -float(new[n].max()))

    def peep(n: int) -> bool:
        row, column = np.unravel_index(int(new[n].argmax()), new[n].shape)
        y, x = (int(cell * gate.CELL + gate.CELL // 2) for cell in (row, column))
        shown = values[n][max(0, y - PEEP) : y + PEEP, max(0, x - PEEP) : x + PEEP]
        return bool(read(shown, limits=extremes(values[n])))

    return _searched(ranked, peep, EMPTY_PEEPS)


def _by_amount(cells: Sequence[gate.Cells], box: Box, done: set[int]) -> list[int]:
    """The frames not yet read, those first that hold most of what is thin at a place."""
    top, left, bottom, right = (side // gate.CELL for side in box)
    amounts = [float(c[top : bottom + 1, left : right + 1].sum()) for c in cells]
    return sorted((n for n in range(len(cells)) if n not in done), key=lambda n: -amounts[n])


def _at(box: Box, frame: tuple[Instance, int], values: NDArray[Any], read: Reader) -> bool:
    """Whether text is read at a place in a frame; it is added to the frame."""
    top, left = max(0, box.top - CONTEXT), max(0, box.left - CONTEXT)
    part = values[top : box.bottom + CONTEXT, left : box.right + CONTEXT]
    found = read(part, limits=extremes(values))
    return bool(_keep(frame, [Box(b.top + top, b.left + left, b.bottom + top, b.right + left) for b in found]))


def _searched(ranked: Sequence[int], holds_text: Callable[[int], bool], give_up: int) -> Iterator[int]:
    """The frames that hold text, asked in order until in `give_up` of them, or a few more, there was none."""
    empty = 0
    for start in range(0, len(ranked), CHUNK):
        hits = [n for n in ranked[start : start + CHUNK] if holds_text(n)]
        yield from hits
        empty = 0 if hits else empty + CHUNK
        if empty >= give_up:
            return
