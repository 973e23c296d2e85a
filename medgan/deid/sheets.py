"""Text detection on sheets: many small frames share one run of the network.

The detector is the one that rapidocr ships (PP-OCRv6 small, Apache-2.0), run alone: on films it finds what
detection with recognition finds at a fraction of the cost, and a marker blanked for nothing harms nobody.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from medgan.errors import MedganError

Gray = NDArray[np.uint8]

DETECTOR = "PP-OCRv6_det_small.onnx"
# Frames side by side read as a line of text when they end in an edge; mirrored margins have none.
MARGIN = 16
TINY_SIDE, TINY_SCALE = 96, 1.5  # letters of 6 pixels need enlarging; more than that finds letters in anatomy
LARGE = 0.2  # a box over this much of both sides of a frame is text only if it can be read
STRIDE = 32  # the network halves its input five times
LEAST_SCALE = 0.5  # of a large frame; text of 16 stored pixels still has 8
PROBABILITY = 0.2
SURE = 0.3
LEAST_AREA = 6  # pixels of the probability map
GROW = 2.0  # the network is trained to mark a shrunken core of each text


class Box(NamedTuple):
    """Half-open rectangle in the pixels of a frame."""

    top: int
    left: int
    bottom: int
    right: int


class Place(NamedTuple):
    """Where one frame lies on a sheet."""

    frame: int
    top: int
    left: int
    height: int
    width: int


def find_text(
    frames: Sequence[Gray], side: int, *, upright_only: bool = False, doubted: bool = False
) -> list[list[Box]]:
    """Boxes of text in each frame (uint8 [H, W], any sizes): upright, turned by 90 degrees, and faint.

    Tiny frames get the upright pass alone: the others find letters in anatomy of that size.

    `side` is the longest side of a sheet. With `upright_only` one pass is made instead of three. Boxes that
    take a large part of the frame, and with `doubted` all, count only when letters are read in them.
    """
    boxes: list[list[Box]] = [[] for _ in frames]
    for tiny in (True, False):
        chosen = [n for n, frame in enumerate(frames) if is_tiny(frame) is tiny]
        for places, sheet in _sheets({n: _fit(frames[n], side) for n in chosen}, side):
            passes = [_probability(sheet)]
            if not (upright_only or tiny):
                passes.append(np.rot90(_probability(np.rot90(sheet)), -1))
                passes.append(_probability(_equalised(sheet, places)))
            for probability in passes:
                for place in places:
                    part = probability[place.top : place.top + place.height, place.left : place.left + place.width]
                    boxes[place.frame] += _boxes(part, frames[place.frame].shape)
    return [
        [box for box in merge(found) if not (doubted or _large(box, frame)) or _readable(frame, box)]
        for frame, found in zip(frames, boxes, strict=True)
    ]


def merge(boxes: Sequence[Box]) -> list[Box]:
    """Boxes without those that lie within another: the passes find most texts more than once."""
    kept: list[Box] = []
    for box in sorted(set(boxes), key=lambda b: (b.top - b.bottom) * (b.right - b.left)):
        if not any(
            k.top <= box.top and k.left <= box.left and k.bottom >= box.bottom and k.right >= box.right for k in kept
        ):
            kept.append(box)
    return kept


def _large(box: Box, frame: Gray) -> bool:
    return box.bottom - box.top > LARGE * frame.shape[0] and box.right - box.left > LARGE * frame.shape[1]


def _readable(frame: Gray, box: Box) -> bool:
    from medgan.deid.reading import is_readable

    return is_readable(frame[box.top : box.bottom, box.left : box.right])


def is_tiny(frame: Gray) -> bool:
    return max(frame.shape) <= TINY_SIDE


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


def _sheets(frames: Mapping[int, Gray], side: int) -> Iterator[tuple[list[Place], Gray]]:
    """Rows of frames of about one height, as many as fit; a frame larger than `side` has its own sheet."""
    order = sorted(frames, key=lambda n: (-frames[n].shape[0], -frames[n].shape[1], n))
    places: list[Place] = []
    top = left = row = 0
    for number in order:
        height, width = frames[number].shape
        if left and left + width + 2 * MARGIN > side:
            top, left, row = top + row, 0, 0
        if places and (top + height + 2 * MARGIN > side or width + 2 * MARGIN > side):
            yield places, _sheet(frames, places)
            places, top, left, row = [], 0, 0, 0
        places.append(Place(number, top + MARGIN, left + MARGIN, height, width))
        left += width + 2 * MARGIN
        row = max(row, height + 2 * MARGIN)
    if places:
        yield places, _sheet(frames, places)


def _sheet(frames: Mapping[int, Gray], places: Sequence[Place]) -> Gray:
    height = max(place.top + place.height for place in places) + MARGIN
    width = max(place.left + place.width for place in places) + MARGIN
    sheet = np.zeros((-(-height // STRIDE) * STRIDE, -(-width // STRIDE) * STRIDE), np.uint8)
    for p in places:
        mirrored = np.pad(frames[p.frame], MARGIN, mode="reflect" if min(p.height, p.width) > MARGIN else "edge")
        sheet[p.top - MARGIN : p.top + p.height + MARGIN, p.left - MARGIN : p.left + p.width + MARGIN] = mirrored
    return sheet


def _equalised(sheet: Gray, places: Sequence[Place]) -> Gray:
    """The sheet with local contrast raised frame by frame, so that faint text shows."""
    clahe = cv2.createCLAHE(4.0, (4, 4))
    out = np.zeros_like(sheet)
    for p in places:
        rows = slice(p.top - MARGIN, p.top + p.height + MARGIN)
        region = rows, slice(p.left - MARGIN, p.left + p.width + MARGIN)
        out[region] = clahe.apply(np.ascontiguousarray(sheet[region]))
    return out


def _probability(sheet: Gray) -> NDArray[np.float32]:
    """Probability of text for each pixel of a sheet whose sides are multiples of STRIDE."""
    gray = np.ascontiguousarray(sheet).astype(np.float32) / 127.5 - 1
    detector = session(DETECTOR)
    (answer,) = detector.run(None, {detector.get_inputs()[0].name: np.repeat(gray[None, None], 3, axis=1)})
    probability: NDArray[np.float32] = answer[0, 0]
    return probability


def _boxes(probability: NDArray[np.float32], shape: tuple[int, ...]) -> list[Box]:
    """Boxes in the frame's own pixels around every core that the network marked, grown to the text's extent."""
    count, labels, stats, _ = cv2.connectedComponentsWithStats((probability > PROBABILITY).astype(np.uint8))
    scale_y, scale_x = shape[0] / probability.shape[0], shape[1] / probability.shape[1]
    boxes = []
    for index in range(1, count):
        left, top, width, height, area = (int(value) for value in stats[index])
        core = probability[top : top + height, left : left + width]
        if area < LEAST_AREA or core[labels[top : top + height, left : left + width] == index].max() < SURE:
            continue
        grow = GROW * width * height / (2 * (width + height)) + 2
        boxes.append(
            Box(
                max(0, int((top - grow) * scale_y)),
                max(0, int((left - grow) * scale_x)),
                min(shape[0], int(np.ceil((top + height + grow) * scale_y))),
                min(shape[1], int(np.ceil((left + width + grow) * scale_x))),
            )
        )
    return boxes


@cache
def session(name: str) -> Any:
    """One session a process and model, on one thread: the map over studies is what is parallel."""
    import onnxruntime

    spec = importlib.util.find_spec("rapidocr")
    if spec is None or not spec.submodule_search_locations:
        raise MedganError("text detection needs the package rapidocr; `pip install rapidocr`")
    model = Path(spec.submodule_search_locations[0]) / "models" / name
    if not model.is_file():
        raise MedganError(f"rapidocr does not hold {name}; install rapidocr 3.10")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    options.enable_cpu_mem_arena = False
    return onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
