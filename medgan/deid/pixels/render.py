"""Pictures of a frame for the networks: three planes in which text shows, whatever its contrast and colour."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

Sheet = NDArray[np.uint8]  # [H, W, 3]
Values = NDArray[np.float32]
Limits = tuple[float, float]

BULK = (0.5, 99.5)  # percent of the histogram
SAMPLED_SIDE = 256  # of the values that the percentiles are taken from
SHADING_SIGMA, DETAIL_GAIN = 8.0, 3.0  # pixels: shading broader than a letter goes, faint letters stay
CONTRAST_SIDE = 49  # pixels around each, in which contrast is measured
CONTRAST_GAIN = 40.0  # of 255, for one local standard deviation
FLOOR = 1 / 128  # of the range: flat grounds are not raised to noise


def sheets(frame: NDArray[Any], limits: Limits | None = None) -> list[Sheet]:
    """A grey frame [H, W] as one sheet: its full range, its raised detail, and its detail of even contrast.

    A frame [H, W, 3] with colour in it gives two, each channel a plane: as it is, and its detail. `limits` are those
    of the whole frame where only a part of one is given: by themselves, flat parts would be raised to noise.
    """
    values = np.nan_to_num(frame.astype(np.float32), nan=0.0, posinf=0.0, neginf=0.0)
    if values.ndim == 3 and is_grey(values):
        values = np.ascontiguousarray(values[..., 0])
    ends = limits or extremes(values)
    if values.ndim == 2:
        sharp = sharpened(values)
        half = max(1e-6, np.subtract(*(limits or bulk(values))[::-1])) / (2 * DETAIL_GAIN)
        return [np.stack([window(values, *ends), window(sharp, -half, half), evened(sharp, ends)], axis=-1)]
    channels = [np.ascontiguousarray(values[..., n]) for n in range(3)]
    return [window(values[..., :3], *ends), np.stack([evened(sharpened(c), ends) for c in channels], axis=-1)]


def is_grey(values: Values) -> bool:
    """Whether the channels of [H, W, 3] are the same."""
    return bool((values[..., 0] == values[..., 1]).all() and (values[..., 0] == values[..., 2]).all())


def bulk(values: Values) -> Limits:
    """Between which values most lie: a few extremes do not flatten the rest."""
    sample = values[:: max(1, values.shape[0] // SAMPLED_SIDE), :: max(1, values.shape[1] // SAMPLED_SIDE)]
    low, high = (float(v) for v in np.percentile(sample, BULK))
    return (low, high) if high > low else extremes(values)


def sharpened(values: Values) -> Values:
    """The values less their shading: faint letters show, hearts and heads do not."""
    return values - cv2.GaussianBlur(values, (0, 0), SHADING_SIGMA).astype(np.float32)


def evened(sharp: Values, ends: Limits) -> NDArray[np.uint8]:
    """Detail over its local contrast."""
    contrast = np.sqrt(np.maximum(cv2.blur(sharp * sharp, (CONTRAST_SIDE, CONTRAST_SIDE)), 0))
    even = 128 + CONTRAST_GAIN * sharp / (contrast + max(FLOOR * (ends[1] - ends[0]), 1e-6))
    return np.clip(even, 0, 255).astype(np.uint8)


def extremes(values: NDArray[Any]) -> Limits:
    return float(values.min()), float(values.max())


def window(values: Values, low: float, high: float) -> NDArray[np.uint8]:
    scale = 255.0 / (high - low) if high > low else 0.0
    shown: NDArray[np.uint8] = np.clip((values - low) * scale, 0, 255).astype(np.uint8)
    return shown
