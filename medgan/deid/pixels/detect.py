"""Text detection in one frame at a time: what is found in it does not depend on any other frame.

The detector is the one that rapidocr ships (PP-OCRv6 small, Apache-2.0), run on sheets of the frame, upright and
turned. A mark that it is not sure of counts when letters are read in it. Thresholds were chosen by
benchmarks/burned_in_text.py on some seeds and reported on others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from medgan.deid.pixels import reading
from medgan.deid.pixels.render import Limits, Sheet, extremes, sheets
from medgan.deid.pixels.sessions import session

Probability = NDArray[np.float32]

DETECTOR = "PP-OCRv6_det_small.onnx"
MARGIN = 16  # mirrored: frames that end in an edge read as a line of text
TINY_SIDE, TINY_SCALE = 96, 2.0  # letters of 6 pixels need enlarging
STRIDE = 32  # the network halves its input five times
TILE, OVERLAP = 576, 64  # pixels
LEAST_SCALE = 0.5  # of a large frame; text of 16 stored pixels still has 8
TURNED_SIDE = 576  # the turned pass sees most of what the upright one saw: it need not be as fine
PROBABILITY = 0.2  # of the pixels of a core
DOUBTFUL, SURE = 0.45, 0.95  # the highest probability in a core
LEAST_AREA = 6  # pixels of the probability map
GROW = 2.0  # the network is trained to mark a shrunken core of each text
ENDS = 1.0  # of the width of the core of a line, shared by its two ends
SLANT = 6.0  # degrees; what leans less is boxed as upright
SAME = 0.7  # of the area
ROUND = 1.5  # sides of a mark that may hold one round thing: a single letter, a vertebra, a vessel
LINE = 1.8  # sides of a mark that looks like a line of text
STEP, SHADES = 1, 64  # grey values: what differs by a step shows to nobody in a frame of many shades
LARGE, TINY_LARGE = 0.2, 0.35  # of both sides of a frame: a heart or a head is an O to the detector


class Box(NamedTuple):
    """Half-open rectangle in the pixels of a frame."""

    top: int
    left: int
    bottom: int
    right: int


class Mark(NamedTuple):
    """What the detector saw: a rectangle that may lean, in the pixels of a frame, and how sure it is."""

    x: float
    y: float
    length: float  # of the side that `angle` speaks of
    width: float
    angle: float  # degrees in [-45, 45] that the rectangle is turned by
    score: float

    def boxes(self, shape: tuple[int, ...]) -> list[Box]:
        """Upright boxes that cover the mark: one, or a staircase for one that leans."""
        along = np.array([np.cos(np.radians(self.angle)), np.sin(np.radians(self.angle))])
        across = np.array([-along[1], along[0]])
        if self.length < self.width:
            along, across = across, along
        long, short = max(self.length, self.width), max(1.0, min(self.length, self.width))
        steps = 1 if self.angle == 0 else max(1, round(2 * long / short))
        ends = np.linspace(-long / 2, long / 2, steps + 1)
        found = []
        for start, end in zip(ends, ends[1:], strict=False):
            corners = [a * along + b * across for a in (start, end) for b in (-short / 2, short / 2)]
            low, high = np.min(corners, axis=0), np.max(corners, axis=0)
            box = Box(
                max(0, int(self.y + low[1])),
                max(0, int(self.x + low[0])),
                min(shape[0], int(np.ceil(self.y + high[1]))),
                min(shape[1], int(np.ceil(self.x + high[0]))),
            )
            if box.top < box.bottom and box.left < box.right:
                found.append(box)
        return found


def find_text(
    frame: NDArray[Any],
    side: int,
    *,
    limits: Limits | None = None,
    spare: Callable[[str], bool] | None = None,
) -> list[Box]:
    """Boxes of text in a frame ([H, W] or [H, W, 3], of any range): upright, turned, leaning, and faint.

    `side` is the longest side on which a larger frame is looked at, down to half its size. `limits`
    are those of the whole frame where only a part of it is given; the turned pass is left out then, as it is for
    tiny frames, where it finds letters in anatomy. Marks that take a large part of the frame, those of a low score and
    those about as high as wide count only when letters are read in them, and a single letter beside such a text. A
    text that `spare` says yes to is left alone.
    """
    pictures = sheets(_fit(frame, side), limits)
    marks = [mark for sheet in pictures for mark in _marks(_probability(sheet), frame.shape)]
    if not (is_tiny(frame) or limits):
        marks += [mark for sheet in pictures for mark in _turned(sheet, frame.shape)]
    low, high = limits or extremes(frame)
    if high - low >= SHADES:
        marks = [mark for mark in marks if not _empty(mark, frame)]
    texts = _texts(marks, pictures[0], frame)
    if spare:
        texts = [m for m in texts if not any(spare(reading.read(p)) for p in _cut(pictures[0], m, frame.shape))]
    return merge([box for mark in texts for box in mark.boxes(frame.shape)])


def _texts(marks: Sequence[Mark], shown: Sheet, frame: NDArray[Any]) -> list[Mark]:
    """The marks that are sure to be text, the others in which letters are read, and single letters beside those."""
    sure = [m for m in marks if m.score >= SURE and not _large(m, frame)]
    texts = [m for m in sure if not _round(m)]
    kept = [box for mark in texts for box in mark.boxes(frame.shape)]
    tried: list[Box] = []
    # the largest first, but each for itself: a head that is no text must not hide the name inside its box
    for mark in sorted(marks, key=lambda m: -m.length * m.width):
        boxes = mark.boxes(frame.shape)
        if all(any(_within(box, other) for other in kept) for box in boxes):
            continue
        if len(boxes) == 1 and any(_same(boxes[0], other) for other in tried):
            continue
        tried += boxes if len(boxes) == 1 else []
        if _readable(shown, mark, frame):
            texts.append(mark)
            kept += boxes
    letters = [m for m in sure if _round(m) and m not in texts]
    return texts + [m for m in letters if any(_beside(a, b) for a in m.boxes(frame.shape) for b in kept)]


def merge(boxes: Sequence[Box]) -> list[Box]:
    """Boxes without those that lie within another: the passes find most texts more than once."""
    kept: list[Box] = []
    for box in sorted(set(boxes), key=lambda b: (-_area(b), b)):
        if not any(_within(box, other) for other in kept):
            kept.append(box)
    return kept


def is_tiny(frame: NDArray[Any]) -> bool:
    return max(frame.shape[:2]) <= TINY_SIDE


def _within(box: Box, other: Box) -> bool:
    return other.top <= box.top and other.left <= box.left and other.bottom >= box.bottom and other.right >= box.right


def _same(box: Box, larger: Box) -> bool:
    """Whether a box fills most of a larger one, so that reading it would show nothing new."""
    return _within(box, larger) and _area(box) > SAME * _area(larger)


def _beside(box: Box, other: Box) -> bool:
    """Whether two boxes overlap, or are no further apart than the first is wide and high."""
    tall, wide = box.bottom - box.top, box.right - box.left
    return (
        box.top - tall < other.bottom
        and other.top < box.bottom + tall
        and box.left - wide < other.right
        and other.left < box.right + wide
    )


def _area(box: Box) -> int:
    return (box.bottom - box.top) * (box.right - box.left)


def _large(mark: Mark, frame: NDArray[Any]) -> bool:
    share = TINY_LARGE if is_tiny(frame) else LARGE
    if mark.angle:
        return min(mark.length, mark.width) > share * min(frame.shape[:2])
    return mark.width > share * frame.shape[0] and mark.length > share * frame.shape[1]


def _empty(mark: Mark, frame: NDArray[Any]) -> bool:
    """Whether all that lies under a mark differs by no more than a step."""
    parts = [frame[b.top : b.bottom, b.left : b.right] for b in mark.boxes(frame.shape)]
    ends = [extremes(part) for part in parts]
    return max((high for _, high in ends), default=0) - min((low for low, _ in ends), default=0) <= STEP


def _round(mark: Mark) -> bool:
    return _aspect(mark) <= ROUND


def _aspect(mark: Mark) -> float:
    return max(mark.length, mark.width) / min(mark.length, mark.width)


def _readable(shown: Sheet, mark: Mark, frame: NDArray[Any]) -> bool:
    """Whether letters are read under a mark; in one that may be anatomy, more of them, and as it is shown alone."""
    whole, detail = _cut(shown, mark, frame.shape)
    if _large(mark, frame):
        line = mark.score >= SURE and mark.angle == 0 and _aspect(mark) >= LINE
        return reading.is_text_not_anatomy(whole, line=line)
    return reading.is_readable(whole) or reading.is_readable(255 - detail)


def _cut(sheet: Sheet, mark: Mark, shape: tuple[int, ...]) -> Iterator[NDArray[np.uint8]]:
    """What lies under a mark in the first and the last plane of a sheet, made upright."""
    scale = sheet.shape[0] / shape[0], sheet.shape[1] / shape[1]
    if mark.angle:
        turn = cv2.getRotationMatrix2D((mark.x * scale[1], mark.y * scale[0]), mark.angle, 1.0)
        size = max(1, round(mark.length * scale[1])), max(1, round(mark.width * scale[0]))
        turn[:, 2] += np.array(size) / 2 - np.array([mark.x * scale[1], mark.y * scale[0]])
        part = cv2.warpAffine(sheet, turn, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    else:
        (box,) = mark.boxes(shape) or [Box(0, 0, 0, 0)]
        rows = slice(int(box.top * scale[0]), int(np.ceil(box.bottom * scale[0])))
        part = sheet[rows, int(box.left * scale[1]) : int(np.ceil(box.right * scale[1]))]
    yield part[..., 0].astype(np.uint8)
    yield part[..., 2].astype(np.uint8)


def _fit(frame: NDArray[Any], side: int) -> NDArray[np.float32]:
    values, longest = frame.astype(np.float32), max(frame.shape[:2])
    if longest <= TINY_SIDE:
        return _resized(values, TINY_SCALE, cv2.INTER_CUBIC)
    return values if longest <= side else _resized(values, max(side / longest, LEAST_SCALE), cv2.INTER_AREA)


def _resized(values: NDArray[Any], scale: float, way: int) -> NDArray[Any]:
    size = (max(1, round(values.shape[1] * scale)), max(1, round(values.shape[0] * scale)))
    resized: NDArray[Any] = cv2.resize(values, size, interpolation=way)
    return resized


def _turned(sheet: Sheet, shape: tuple[int, ...]) -> Iterator[Mark]:
    scale = TURNED_SIDE / max(sheet.shape)
    page = _resized(sheet, scale, cv2.INTER_AREA).astype(np.uint8) if scale < 1 else sheet
    return _marks(np.rot90(_probability(np.rot90(page)), -1), shape)


def _probability(sheet: Sheet) -> Probability:
    """Probability of text for each pixel of a sheet, in tiles: a page of a million pixels takes twice their time."""
    height, width = sheet.shape[:2]
    around = ((MARGIN, MARGIN), (MARGIN, MARGIN), (0, 0))
    mirrored = np.pad(sheet, around, mode="reflect" if min(height, width) > MARGIN else "edge")
    probability = np.empty((height, width), np.float32)
    for top in range(0, height, TILE):
        for left in range(0, width, TILE):
            rows, columns = min(TILE, height - top), min(TILE, width - left)
            up, back = min(top, OVERLAP), min(left, OVERLAP)
            page = mirrored[
                top - up : top + rows + OVERLAP + 2 * MARGIN, left - back : left + columns + OVERLAP + 2 * MARGIN
            ]
            seen = _detected(page)[MARGIN + up :, MARGIN + back :]
            probability[top : top + rows, left : left + columns] = seen[:rows, :columns]
    return probability


def _detected(page: Sheet) -> Probability:
    """What the network says about each pixel of a page."""
    tall, wide = (-(-side // STRIDE) * STRIDE for side in page.shape[:2])
    shades = np.zeros((3, tall, wide), np.float32)
    shades[:, : page.shape[0], : page.shape[1]] = np.moveaxis(page, -1, 0)
    detector = session(DETECTOR)
    (answer,) = detector.run(None, {detector.get_inputs()[0].name: (shades / 127.5 - 1)[None]})
    probability: Probability = answer[0, 0]
    return probability


def _marks(probability: Probability, shape: tuple[int, ...]) -> Iterator[Mark]:
    """Rectangles in the frame's own pixels around every core, grown to the text's extent; its highest probability."""
    count, labels, stats, _ = cv2.connectedComponentsWithStats((probability > PROBABILITY).astype(np.uint8))
    scale = shape[1] / probability.shape[1], shape[0] / probability.shape[0]
    for index in range(1, count):
        left, top, width, height, area = (int(value) for value in stats[index])
        core = labels[top : top + height, left : left + width] == index
        score = float(probability[top : top + height, left : left + width][core].max())
        if area < LEAST_AREA or score < DOUBTFUL:
            continue
        rows, columns = np.nonzero(core)
        (x, y), sides, angle = _rectangle(np.stack([columns, rows], axis=1), (height, width))
        grow = 2 * (GROW * sides[0] * sides[1] / (2 * (sides[0] + sides[1])) + 2)
        sides = _lengthened(sides)
        centre = (left + x + 0.5) * scale[0], (top + y + 0.5) * scale[1]
        yield Mark(*centre, (sides[0] + grow) * scale[0], (sides[1] + grow) * scale[1], angle, score)


def _lengthened(sides: tuple[float, float]) -> tuple[float, float]:
    """A line of text goes on where it fades into its ground: half a letter at both ends."""
    more = ENDS * min(sides)
    long = max(sides) > ROUND * min(sides)
    return sides[0] + more * (long and sides[0] > sides[1]), sides[1] + more * (long and sides[1] > sides[0])


def _rectangle(
    points: NDArray[np.int64], size: tuple[int, int]
) -> tuple[tuple[float, float], tuple[float, float], float]:
    """Centre, sides and lean of the least rectangle around points; an upright one where it hardly leans."""
    (x, y), (length, width), angle = cv2.minAreaRect(points.astype(np.float32))
    if round(angle / 90) % 2:  # versions of OpenCV differ in which side the angle speaks of
        length, width = width, length
    angle -= 90 * round(angle / 90)
    long, short = max(length, width) + 1, min(length, width) + 1
    if abs(angle) < SLANT or long < 2 * short:
        height, wide = size
        return ((wide - 1) / 2, (height - 1) / 2), (float(wide), float(height)), 0.0
    return (x, y), (length + 1, width + 1), float(angle)
