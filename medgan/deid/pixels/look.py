"""Which frames of a study are read for burned-in text, and what is blanked.

What is found in a frame depends on that frame, and for original slices on their series; on nothing else.

1. Films, secondary captures, colour, ultrasound, anything small: every frame.
2. Original CT, MR and PET slices: by their series, see sweep.py.
3. Binary masks of slices: not at all, since the detector takes outlines of organs for letters. What was blanked in a
   slice is cleared in its mask: a threshold draws letters too. Where those slices were not read, every frame.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medgan.deid.draft import Draft, Instance, quiet
from medgan.deid.pixels import gate, markers, pixels
from medgan.deid.pixels.detect import Box, find_text, merge
from medgan.deid.pixels.render import extremes
from medgan.deid.pixels.sweep import Reader, Series, sweep
from medgan.errors import Reason

ROUNDS = 5  # blanking may uncover a rest that only shows once the brighter text is gone
UNCOVERED = 0.4
CONTEXT = 64  # pixels around what was blanked that are looked at again


def look(drafts: Sequence[Draft], side: int, *, keep_annotations: bool = False) -> None:
    """Read, blank and read again. Sets each instance's boxes, `looked`, `repainted`, and a reason where it could not.

    With `keep_annotations` a text that says nothing but side, projection, posture or scale stays.
    """
    with quiet():
        for draft in drafts:
            instances = [i for i in draft.instances if i.reason is None and i.has_pixels]
            spare = partial(markers.is_annotation, people=_people(instances)) if keep_annotations else None
            read = partial(find_text, side=side, spare=spare)
            masks = [i for i in instances if gate.binary_mask(i.ds)]
            apart = {id(mask) for mask in masks}
            pictures = [i for i in instances if id(i) not in apart]
            for series in _read_apart(pictures, read):
                sweep(series, read)
            for instance in pictures:
                if instance.reason is None and any(instance.boxes):
                    _clean(instance, read)
            _look_at_masks(masks, pictures, read)


def _people(instances: Sequence[Instance]) -> frozenset[str]:
    return frozenset(word for instance in instances for word in markers.people(instance.ds))


def _look_at_masks(masks: Sequence[Instance], pictures: Sequence[Instance], read: Reader) -> None:
    """What was blanked in a slice is cleared in its mask; masks of series that were not read are read themselves."""
    series: dict[str, list[Instance]] = {}
    for picture in pictures:
        series.setdefault(str(picture.ds.get("SeriesInstanceUID", "")), []).append(picture)
    for mask in masks:
        named = gate.drawn_on(mask.ds)
        slices = [picture for uid in named for picture in series.get(uid, [])]
        told = [picture for picture in slices if any(picture.boxes)]
        unread = not named or not named <= series.keys() or any(picture.reason for picture in slices)
        if unread or any((p.ds.Rows, p.ds.Columns) != (mask.ds.Rows, mask.ds.Columns) for p in told):
            _read_apart([mask], read)
            if any(mask.boxes):
                mask.reason = Reason.TEXT_UNCLEAR  # which of it is a letter, and which an outline, nobody knows
        elif told:
            _clear(mask, told)


def _clear(mask: Instance, told: Sequence[Instance]) -> None:
    """Clear the boxes of slices in the frames that lie where they do; of many frames in one file, in all."""
    places = [(set(gate.positions(p.ds)) if len(p.boxes) == 1 else set(), merge(sum(p.boxes, []))) for p in told]
    frames = gate.positions(mask.ds)
    boxes = [merge([b for at, some in places if not at or frame in at for b in some]) for frame in frames]
    if not any(boxes):
        return
    try:
        pixels.clear_bits(mask.ds, boxes)
        mask.boxes, mask.repainted = boxes, True
    except pixels.UNSEEN:
        mask.reason = Reason.TEXT_UNCLEAR


def _read_apart(instances: Sequence[Instance], read: Reader) -> list[Series]:
    """Read the instances that stand for themselves; returns the series of the others."""
    gated: dict[tuple[str, int, int], Series] = {}
    for instance in instances:
        ds = instance.ds
        try:
            if gate.every_frame(ds):
                instance.boxes = [read(frame) for frame in pixels.frames(ds)]
                instance.looked = bool(instance.boxes)
            else:
                key = (str(ds.get("SeriesInstanceUID", "")), int(ds.Rows), int(ds.Columns))
                gated.setdefault(key, Series()).add(instance)
        except pixels.UNSEEN:
            instance.reason = Reason.TEXT_UNCLEAR
    return list(gated.values())


def _clean(instance: Instance, read: Reader) -> None:
    """Blank what was found, look again, and give up on what does not go away."""
    syntax = str(instance.ds.file_meta.TransferSyntaxUID)
    boxes = [merge(found) for found in instance.boxes]
    try:
        for _ in range(ROUNDS):
            pixels.blank(instance.ds, boxes)
            instance.repainted = True
            rest = _rest(instance, boxes, read)
            boxes = [merge(old + new) for old, new in zip(boxes, rest, strict=True)]
            if not any(rest):
                break
        else:
            instance.reason = Reason.TEXT_UNCLEAR
        pixels.encode_as(instance.ds, syntax)
    except pixels.UNSEEN:
        instance.reason = Reason.TEXT_UNCLEAR
    instance.boxes = boxes


def _rest(instance: Instance, boxes: Sequence[Sequence[Box]], read: Reader) -> list[list[Box]]:
    """What still reads as text around the boxes of each frame, beyond the blank patches themselves."""
    found: list[list[Box]] = []
    for frame, blanked in zip(pixels.frames(instance.ds), boxes, strict=True):
        near = [box for part in _parts(frame, blanked) for box in _read_part(frame, part, read)]
        found.append([box for box in near if _uncovered(box, blanked)])
    return found


def _parts(frame: NDArray[Any], boxes: Sequence[Box]) -> list[Box]:
    """The surroundings of boxes, joined where they overlap."""
    height, width = frame.shape[:2]
    parts: list[Box] = []
    for b in boxes:
        part = Box(
            max(0, b.top - CONTEXT),
            max(0, b.left - CONTEXT),
            min(height, b.bottom + CONTEXT),
            min(width, b.right + CONTEXT),
        )
        while touching := [p for p in parts if _overlap(p, part)]:
            parts = [p for p in parts if p not in touching]
            part = _around([part, *touching])
        parts.append(part)
    return parts


def _read_part(frame: NDArray[Any], part: Box, read: Reader) -> list[Box]:
    found = read(frame[part.top : part.bottom, part.left : part.right], limits=extremes(frame))
    return [Box(b.top + part.top, b.left + part.left, b.bottom + part.top, b.right + part.left) for b in found]


def _overlap(a: Box, b: Box) -> bool:
    return a.left < b.right and b.left < a.right and a.top < b.bottom and b.top < a.bottom


def _around(boxes: Sequence[Box]) -> Box:
    tops, lefts, bottoms, rights = zip(*boxes, strict=True)
    return Box(min(tops), min(lefts), max(bottoms), max(rights))


def _uncovered(box: Box, blanked: Sequence[Box]) -> bool:
    """Whether a box shows more than the blank patches themselves, whose edges can look like a letter."""
    seen = np.ones((box.bottom - box.top, box.right - box.left), bool)
    for b in blanked:
        rows = slice(max(0, b.top - box.top), max(0, b.bottom - box.top))
        seen[rows, max(0, b.left - box.left) : max(0, b.right - box.left)] = False
    return bool(seen.mean() > UNCOVERED)
