"""What a box says: the recogniser that rapidocr ships, asked where detection alone is doubtful.

A head in cross-section looks like the letter O to a detector; no letters are read in it.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from medgan.deid.pixels.sessions import Gray, session

RECOGNISER = "PP-OCRv6_rec_small.onnx"
HEIGHT, LEAST_WIDTH, MOST_WIDTH = 48, 64, 960
LEAST_LETTERS, LEAST_SCORE = 2, 0.7
CLEAR_LETTERS, CLEAR_SCORE = 3, 0.85  # a face from the side reads as "CF"
LONG = 1.5  # a box longer than this is read along its longer side alone


def is_readable(picture: Gray) -> bool:
    """Whether two letters or digits are read in `picture`, upright or turned, enlarged."""
    return any(_reads(turned, LEAST_LETTERS, LEAST_SCORE) for turned in _turns(picture))


def is_text_not_anatomy(picture: Gray, *, line: bool) -> bool:
    """Whether letters are read in a picture large enough to hold anatomy, a long one upside down as well.

    Three at a higher score, unless the detector is sure of a line there.
    """
    least = (LEAST_LETTERS, LEAST_SCORE) if line else (CLEAR_LETTERS, CLEAR_SCORE)
    turns = _turns(picture)
    if len(turns) == 1:
        turns.append(np.rot90(turns[0], 2))
    return any(_reads(turned, *least) for turned in turns)


def read(picture: Gray) -> str:
    """What `picture` says, in the way of lying in which it is read best; blank where no way reads clearly."""
    readings = [_read(turned) for turned in _turns(picture)]
    text, score = max(readings, key=lambda reading: reading[1], default=("", 0.0))
    return text if score >= CLEAR_SCORE else ""


def _turns(picture: Gray) -> list[Gray]:
    """The ways in which a line of text may lie in a picture, its contrast stretched; none where it is flat."""
    height, width = picture.shape
    low, high = int(picture.min(initial=255)), int(picture.max(initial=0))
    if min(height, width) < 3 or high - low < 2:
        return []
    stretched = ((picture.astype(np.float32) - low) * (255.0 / (high - low))).astype(np.uint8)
    turns = [stretched] if height <= LONG * width else []
    return turns + ([np.rot90(stretched), np.rot90(stretched, 3)] if width <= LONG * height else [])


def _reads(picture: NDArray[Any], least_letters: int, least_score: float) -> bool:
    text, score = _read(picture)
    return sum(c.isalnum() for c in text) >= least_letters and score >= least_score


def _read(picture: NDArray[Any]) -> tuple[str, float]:
    """The text of one line, and the mean certainty of its letters and digits; 0 without any."""
    width = min(MOST_WIDTH, max(1, round(picture.shape[1] * HEIGHT / picture.shape[0])))
    line = cv2.resize(np.ascontiguousarray(picture), (width, HEIGHT)).astype(np.float32) / 127.5 - 1
    line = np.pad(line, ((0, 0), (0, max(0, LEAST_WIDTH - width))))
    model = session(RECOGNISER)
    (answer,) = model.run(None, {model.get_inputs()[0].name: np.repeat(line[None, None], 3, axis=1)})
    best, certain = answer[0].argmax(axis=1), answer[0].max(axis=1)
    fresh = np.flatnonzero((best != 0) & np.append(True, best[1:] != best[:-1]))  # CTC: 0 is the blank
    text = "".join(_characters()[best[i]] for i in fresh)
    letters = [i for i in fresh if _characters()[best[i]].isalnum()]
    return text, float(certain[letters].mean()) if letters else 0.0


@cache
def _characters() -> tuple[str, ...]:
    listed = session(RECOGNISER).get_modelmeta().custom_metadata_map["character"].splitlines()
    return ("", *listed, " ", " ")
