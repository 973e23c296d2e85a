"""Whether a box holds readable text: the recogniser that rapidocr ships, asked where detection alone is doubtful.

A head in cross-section looks like the letter O to a detector; no letters are read in it.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from medgan.deid.sheets import Gray, session

RECOGNISER = "PP-OCRv6_rec_small.onnx"
HEIGHT, LEAST_WIDTH, MOST_WIDTH = 48, 64, 960
LEAST_LETTERS, LEAST_SCORE = 2, 0.6


def is_readable(picture: Gray) -> bool:
    """Whether at least two letters or digits are read in `picture`, upright or turned by 90 or 270 degrees."""
    if min(picture.shape) < 3:
        return False
    low, high = int(picture.min()), int(picture.max())
    if high - low < 2:
        return False
    stretched = ((picture.astype(np.float32) - low) * (255.0 / (high - low))).astype(np.uint8)
    wide = stretched if stretched.shape[1] * 3 >= stretched.shape[0] * 2 else None
    tall = stretched if stretched.shape[0] * 3 >= stretched.shape[1] * 2 else None
    turns = [wide] if wide is not None else []
    turns += [np.rot90(tall), np.rot90(tall, 3)] if tall is not None else []
    return any(_reads(turned) for turned in turns)


def _reads(picture: NDArray[Any]) -> bool:
    width = min(MOST_WIDTH, max(1, round(picture.shape[1] * HEIGHT / picture.shape[0])))
    line = cv2.resize(np.ascontiguousarray(picture), (width, HEIGHT)).astype(np.float32) / 127.5 - 1
    line = np.pad(line, ((0, 0), (0, max(0, LEAST_WIDTH - width))))
    model = session(RECOGNISER)
    (answer,) = model.run(None, {model.get_inputs()[0].name: np.repeat(line[None, None], 3, axis=1)})
    best, certain = answer[0].argmax(axis=1), answer[0].max(axis=1)
    fresh = (best != 0) & np.append(True, best[1:] != best[:-1])  # CTC: 0 is the blank
    letters = [i for i in np.flatnonzero(fresh) if _characters()[best[i]].isalnum()]
    return len(letters) >= LEAST_LETTERS and float(certain[letters].mean()) >= LEAST_SCORE


@cache
def _characters() -> tuple[str, ...]:
    listed = session(RECOGNISER).get_modelmeta().custom_metadata_map["character"].splitlines()
    return ("", *listed, " ", " ")
