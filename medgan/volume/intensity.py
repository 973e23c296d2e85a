"""From a modality's numbers to [-1, 1]."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from medgan.errors import Reason, StudyRejected

PERCENTILES = (0.5, 99.5)
LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)  # ITU-R BT.601
COLOURED = 12 / 255  # spread between channels, as a share of the range, that an eye sees as colour
COLOURED_SHARE = 0.02  # share of coloured pixels up to which a picture counts as grey


def window(values: NDArray[np.floating[Any]], low: float, high: float) -> NDArray[np.float32]:
    """[low, high] becomes [-1, 1]; what lies outside is clamped."""
    kind = values.dtype.type
    scaled = (values - kind(low)) * kind(2.0 / (high - low)) - kind(1.0)
    return np.clip(scaled, kind(-1), kind(1)).astype(np.float32, copy=False)


def robust_range(values: NDArray[np.floating[Any]], padding: NDArray[np.bool_] | None = None) -> tuple[float, float]:
    """The percentiles 0.5 and 99.5 of what is not padding. Raises StudyRejected (blank) when they coincide."""
    seen = values.ravel() if padding is None else values[~padding]
    if seen.size < 2 or not np.isfinite(seen).all():
        raise StudyRejected(Reason.BLANK, detail="too few finite pixels outside the padding")
    low, high = (float(edge) for edge in np.percentile(seen, PERCENTILES))
    if not high > low:
        low, high = float(seen.min()), float(seen.max())
    if not high > low:
        raise StudyRejected(Reason.BLANK, detail="every pixel has the same value")
    return low, high


def grey(picture: NDArray[np.float32], top: float) -> NDArray[np.float32]:
    """RGB [H, W, 3] in [0, top] as luminance [H, W].

    Raises StudyRejected (unsupported_photometric) when more than a trace of the picture is coloured:
    luminance would turn the colours of a flow map or a screen into false grey.
    """
    spread = picture.max(axis=-1) - picture.min(axis=-1)
    if float((spread > COLOURED * top).mean()) > COLOURED_SHARE:
        raise StudyRejected(Reason.UNSUPPORTED_PHOTOMETRIC, detail="a coloured picture where grey was expected")
    return picture @ LUMA
