"""Text detection in one frame at a time: what is found in it does not depend on any other frame.

The detector is the one that rapidocr ships (PP-OCRv6 small, Apache-2.0), run on the frame as it is and on the
frame without its broad shading, upright and turned. A box that it is not sure of counts when letters are read in
it. Thresholds were chosen by benchmarks/burned_in_text.py on one seed and reported on another.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from medgan.deid.reading import is_clearly_readable, is_readable
from medgan.deid.sessions import Gray, session

Probability = NDArray[np.float32]

DETECTOR = "PP-OCRv6_det_small.onnx"
MARGIN = 16  # mirrored: frames that end in an edge read as a line of text
TINY_SIDE, TINY_SCALE = 96, 2.0  # letters of 6 pixels need enlarging
STRIDE = 32  # the network halves its input five times
LEAST_SCALE = 0.5  # of a large frame; text of 16 stored pixels still has 8
DETAIL_SIGMA, DETAIL_GAIN = 8.0, 3.0  # pixels; shading broader than a letter goes, faint letters stay
PROBABILITY = 0.2  # of the pixels of a core
DOUBTFUL, SURE = 0.3, 0.8  # the highest probability in a core
LEAST_AREA = 6  # pixels of the probability map
GROW = 2.0  # the network is trained to mark a shrunken core of each text
SAME = 0.7  # of the area
ROUND = 1.5  # sides of a box that may hold one round thing
LARGE, TINY_LARGE = 0.2, 0.35  # of both sides of a frame: a heart or a head is an O to the detector


class Box(NamedTuple):
    """Half-open rectangle in the pixels of a frame."""

    top: int
    left: int
    bottom: int
    right: int


def find_text(frame: Gray, side: int, *, upright_only: bool = False, doubted: bool = False) -> list[Box]:
    """Boxes of text in a frame (uint8 [H, W]): upright, turned by 90 degrees, and faint.

    `side` is the longest side on which a larger frame is looked at, down to half its size. With `upright_only`
    the turned pass is left out; tiny frames get the plain pass alone, since the others find letters in anatomy of
    that size. Boxes that take a large part of the frame, those of a low probability, and with `doubted` those
    about as high as wide (a vertebra, a vessel), count only when letters are read in them.
    """
    fitted = _fit(frame, side)
    maps = [_probability(fitted)]
    if not is_tiny(frame):
        detail = _detail(fitted)
        maps.append(_probability(detail))
        if not upright_only:
            maps.append(np.rot90(_probability(np.rot90(detail)), -1))
    found = [pair for probability in maps for pair in _boxes(probability, frame.shape)]
    sure = merge([box for box, score in found if score >= SURE and not (_large(box, frame) or doubted and _round(box))])
    kept, tried = list(sure), list[Box]()
    # the largest first, but each for itself: a head that is no text must not hide the name inside its box
    for box in sorted({box for box, _ in found}, key=_largest_first):
        if any(_within(box, other) for other in kept) or any(_same(box, other) for other in tried):
            continue
        tried.append(box)
        if _readable(frame, box):
            kept.append(box)
    return merge(kept)


def merge(boxes: Sequence[Box]) -> list[Box]:
    """Boxes without those that lie within another: the passes find most texts more than once."""
    kept: list[Box] = []
    for box in sorted(set(boxes), key=_largest_first):
        if not any(_within(box, other) for other in kept):
            kept.append(box)
    return kept


def _largest_first(box: Box) -> tuple[int, Box]:
    return -_area(box), box


def is_tiny(frame: Gray) -> bool:
    return max(frame.shape) <= TINY_SIDE


def _within(box: Box, other: Box) -> bool:
    return other.top <= box.top and other.left <= box.left and other.bottom >= box.bottom and other.right >= box.right


def _same(box: Box, larger: Box) -> bool:
    """Whether a box fills most of a larger one, so that reading it would show nothing new."""
    return _within(box, larger) and _area(box) > SAME * _area(larger)


def _area(box: Box) -> int:
    return (box.bottom - box.top) * (box.right - box.left)


def _large(box: Box, frame: Gray) -> bool:
    share = TINY_LARGE if is_tiny(frame) else LARGE
    return box.bottom - box.top > share * frame.shape[0] and box.right - box.left > share * frame.shape[1]


def _round(box: Box) -> bool:
    height, width = box.bottom - box.top, box.right - box.left
    return max(height, width) <= ROUND * min(height, width)


def _readable(frame: Gray, box: Box) -> bool:
    reads = is_clearly_readable if _large(box, frame) else is_readable
    return reads(frame[box.top : box.bottom, box.left : box.right])


def _fit(frame: Gray, side: int) -> Gray:
    longest = max(frame.shape)
    if longest <= TINY_SIDE:
        size = (round(frame.shape[1] * TINY_SCALE), round(frame.shape[0] * TINY_SCALE))
        return cv2.resize(frame, size, interpolation=cv2.INTER_CUBIC).astype(np.uint8)
    if longest <= side:
        return frame
    scale = max(side / longest, LEAST_SCALE)
    size = (max(1, round(frame.shape[1] * scale)), max(1, round(frame.shape[0] * scale)))
    return cv2.resize(frame, size, interpolation=cv2.INTER_AREA).astype(np.uint8)


def _detail(frame: Gray) -> Gray:
    """The frame less its broad shading, contrast raised: faint letters show, hearts and heads do not."""
    values = frame.astype(np.float32)
    raised = 128 + DETAIL_GAIN * (values - cv2.GaussianBlur(values, (0, 0), DETAIL_SIGMA))
    return np.clip(raised, 0, 255).astype(np.uint8)


def _probability(frame: Gray) -> Probability:
    """Probability of text for each pixel of a frame."""
    height, width = frame.shape
    mirrored = np.pad(frame, MARGIN, mode="reflect" if min(height, width) > MARGIN else "edge")
    tall, wide = (-(-side // STRIDE) * STRIDE for side in mirrored.shape)
    page = np.zeros((tall, wide), np.float32)
    page[: mirrored.shape[0], : mirrored.shape[1]] = mirrored
    detector = session(DETECTOR)
    shades = np.repeat((page / 127.5 - 1)[None, None], 3, axis=1)
    (answer,) = detector.run(None, {detector.get_inputs()[0].name: shades})
    probability: Probability = answer[0, 0, MARGIN : MARGIN + height, MARGIN : MARGIN + width]
    return probability


def _boxes(probability: Probability, shape: tuple[int, ...]) -> Iterator[tuple[Box, float]]:
    """Boxes in the frame's own pixels around every core, grown to the text's extent; its highest probability."""
    count, labels, stats, _ = cv2.connectedComponentsWithStats((probability > PROBABILITY).astype(np.uint8))
    scale_y, scale_x = shape[0] / probability.shape[0], shape[1] / probability.shape[1]
    for index in range(1, count):
        left, top, width, height, area = (int(value) for value in stats[index])
        core = probability[top : top + height, left : left + width]
        score = float(core[labels[top : top + height, left : left + width] == index].max())
        if area < LEAST_AREA or score < DOUBTFUL:
            continue
        grow = GROW * width * height / (2 * (width + height)) + 2
        box = Box(
            max(0, int((top - grow) * scale_y)),
            max(0, int((left - grow) * scale_x)),
            min(shape[0], int(np.ceil((top + height + grow) * scale_y))),
            min(shape[1], int(np.ceil((left + width + grow) * scale_x))),
        )
        yield box, score
