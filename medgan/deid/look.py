"""Which frames of a study are read for burned-in text, and what is blanked.

What is found in a frame depends on that frame, and for original slices on their series; on nothing else.

1. Films, secondary captures, colour, ultrasound, anything small: every frame, in three passes.
2. Original CT, MR and PET slices: every frame once at reduced size; in full the first, middle and last, those
   with a constant at their very top, those where the reduced look found something, and, cut out, the places
   where the projections over the series show text.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from medgan.deid import pixels
from medgan.deid.detect import Box, find_text, merge
from medgan.deid.draft import Draft, Instance, quiet
from medgan.deid.sessions import Gray
from medgan.errors import Reason

REDUCED_SIDE = 256
ROUNDS = 5  # blanking may uncover a rest that only shows once the brighter text is gone
UNCOVERED = 0.4
CONTEXT = 16  # pixels around a place that is cut out
MOST_PICTURE_BYTES = 1 << 27


@dataclass
class Page:
    """One picture to read: of which frame, and where its corner lies in it."""

    instance: Instance
    frame: int
    picture: Gray
    top: int = 0
    left: int = 0


@dataclass
class Series:
    """What is gathered of one gated series: reduced frames, and running projections."""

    frames: list[tuple[Instance, int]] = field(default_factory=list)
    reduced: list[Gray] = field(default_factory=list)
    drawn: set[int] = field(default_factory=set)
    sample: list[NDArray[Any]] = field(default_factory=list)


def look(drafts: Sequence[Draft], side: int) -> None:
    """Read, blank and read again. Sets each instance's boxes, `looked`, and a reason where it could not tell."""
    with quiet():
        instances = [i for draft in drafts for i in draft.instances if i.reason is None and has_pixels(i)]
        gated: dict[tuple[int, str, int, int], Series] = {}
        pages: list[Page] = []
        for number, draft in enumerate(drafts):
            for instance in draft.instances:
                if instance.reason is not None or not has_pixels(instance):
                    continue
                try:
                    pages += _pages(instance, number, gated)
                except pixels.Undecodable:
                    instance.reason = Reason.TEXT_UNCLEAR
                if sum(page.picture.size for page in pages) > MOST_PICTURE_BYTES:
                    _read(pages, side)
                    pages = []
        _read(pages, side)
        for series in gated.values():
            _read_series(series, side)
        for instance in instances:
            if instance.reason is None and any(instance.boxes):
                _blank(instance, side)


def has_pixels(instance: Instance) -> bool:
    return any(tag in instance.ds for tag in pixels.PIXEL_TAGS)


def _pages(instance: Instance, draft: int, gated: dict[tuple[int, str, int, int], Series]) -> list[Page]:
    ds = instance.ds
    if pixels.every_frame(ds):
        found = []
        for number, frame in enumerate(pixels.frames(ds)):
            found += [Page(instance, number, picture) for picture in pixels.render(frame)]
            instance.boxes.append([])
        instance.looked = bool(instance.boxes)
        return found
    key = (draft, str(ds.get("SeriesInstanceUID", "")), int(ds.Rows), int(ds.Columns))
    series = gated.setdefault(key, Series())
    for number, frame in enumerate(pixels.frames(ds)):
        instance.boxes.append([])
        if pixels.drawn(frame):
            series.drawn.add(len(series.frames))
        series.frames.append((instance, number))
        series.reduced.append(_reduced(pixels.render(frame)[-1]))
        series.sample.append(frame)
    return []


def _reduced(picture: Gray) -> Gray:
    longest = max(picture.shape)
    if longest <= REDUCED_SIDE:
        return picture
    scale = REDUCED_SIDE / longest
    size = (max(1, round(picture.shape[1] * scale)), max(1, round(picture.shape[0] * scale)))
    return cv2.resize(picture, size, interpolation=cv2.INTER_AREA).astype(np.uint8)


def _read(pages: Sequence[Page], side: int, *, upright_only: bool = False) -> None:
    """Add the boxes found on each page to its frame."""
    for page in pages:
        doubted = pixels.is_slice(page.instance.ds)
        for box in find_text(page.picture, side, upright_only=upright_only, doubted=doubted):
            moved = Box(box.top + page.top, box.left + page.left, box.bottom + page.top, box.right + page.left)
            page.instance.boxes[page.frame].append(moved)


def _read_series(series: Series, side: int) -> None:
    live = [n for n, (instance, _) in enumerate(series.frames) if instance.reason is None]
    if not live:
        return
    fired = {n for n, picture in enumerate(series.reduced) if find_text(picture, side, upright_only=True)}
    full = {live[0], live[len(live) // 2], live[-1], *series.drawn, *fired} & set(live)
    for some in _portions(sorted(full), 64):
        pages = [Page(*series.frames[n], picture) for n in some for picture in pixels.render(series.sample[n])]
        _read(pages, side)
    stack = [series.sample[n] for n in live]
    places = [box for plane in pixels.projections(stack) for box in find_text(plane, side)] if len(stack) > 1 else []
    rest = [n for n in live if n not in full]
    for box in places:
        for some in _portions(rest, 256):
            _read([_cut(series, n, box) for n in some], side, upright_only=True)


def _cut(series: Series, number: int, box: Box) -> Page:
    instance, frame = series.frames[number]
    top, left = max(0, box.top - CONTEXT), max(0, box.left - CONTEXT)
    values = series.sample[number]
    picture = pixels.render(values)[0]
    return Page(instance, frame, picture[top : box.bottom + CONTEXT, left : box.right + CONTEXT], top, left)


def _blank(instance: Instance, side: int) -> None:
    """Blank what was found, look again, and give up on what does not go away."""
    total = [list(found) for found in instance.boxes]
    try:
        for _ in range(ROUNDS):
            pixels.blank(instance.ds, instance.boxes)
            instance.boxes = [[] for _ in total]
            pages = [
                Page(instance, number, picture)
                for number, frame in enumerate(pixels.frames(instance.ds))
                if total[number]
                for picture in pixels.render(frame)
            ]
            _read(pages, side, upright_only=True)
            again = any(_uncovered(box, old) for new, old in zip(instance.boxes, total, strict=True) for box in new)
            total = [merge(old + new) for old, new in zip(total, instance.boxes, strict=True)]
            if not again:
                break
            instance.boxes = total
        else:
            instance.reason = Reason.TEXT_UNCLEAR
    except pixels.Undecodable:
        instance.reason = Reason.TEXT_UNCLEAR
    instance.boxes = total


def _uncovered(box: Box, blanked: Sequence[Box]) -> bool:
    """Whether a box shows more than the blank patches themselves, whose edges can look like a letter."""
    seen = np.ones((box.bottom - box.top, box.right - box.left), bool)
    for b in blanked:
        rows = slice(max(0, b.top - box.top), max(0, b.bottom - box.top))
        seen[rows, max(0, b.left - box.left) : max(0, b.right - box.left)] = False
    return bool(seen.mean() > UNCOVERED)


def _portions(numbers: Sequence[int], most: int) -> Iterator[Sequence[int]]:
    for start in range(0, len(numbers), most):
        yield numbers[start : start + most]
