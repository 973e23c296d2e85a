"""Compiled loops over planes, one thread each, without the interpreter's lock.

Compiled on first use, once for each type of stored value, and kept on disk where there is room for it. Columns lie
side by side in memory, so both directions of a filter run as sums of whole rows, with a transpose between them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numba import njit

TAPS = 3  # rows that are added in one go: the number of taps is a multiple of it
# sums may be taken in another order, but what is not finite stays so
LOOSE = {"contract", "reassoc", "nsz"}


def _compiled(function: Callable[..., None]) -> Callable[..., None]:
    try:
        kept: Callable[..., None] = njit(cache=True, nogil=True, fastmath=LOOSE, error_model="numpy")(function)
    except RuntimeError:  # nowhere to keep it
        return njit(nogil=True, fastmath=LOOSE, error_model="numpy")(function)
    return kept


@_compiled
def filter_rows(raw: Any, first: Any, taps: Any, out: Any) -> None:
    """out[i] = sum over k of taps[i, k] * raw[first[i] + k]; raw [H, W], out float32 [h, W], taps float32 [h, 3 n]."""
    for i in range(first.shape[0]):
        start, line = first[i], out[i]
        for k in range(0, taps.shape[1], TAPS):
            a, b, c = taps[i, k], taps[i, k + 1], taps[i, k + 2]
            if k > 0 and a == 0 and b == 0 and c == 0:
                continue
            one, two, three = raw[start + k], raw[start + k + 1], raw[start + k + 2]
            if k == 0:
                for x in range(raw.shape[1]):
                    line[x] = a * np.float32(one[x]) + b * np.float32(two[x]) + c * np.float32(three[x])
            else:
                for x in range(raw.shape[1]):
                    line[x] += a * np.float32(one[x]) + b * np.float32(two[x]) + c * np.float32(three[x])


@_compiled
def add_plane(total: Any, plane: Any, factor: Any) -> None:
    """total += factor * plane, float32 [h, w]."""
    for i in range(total.shape[0]):
        for j in range(total.shape[1]):
            total[i, j] += factor * plane[i, j]


@_compiled
def store_plane(total: Any, scale: Any, offset: Any, low: Any, high: Any, out: Any) -> None:
    """out = total * scale + offset, held between low and high and rounded; total float32, out integers [h, w]."""
    for i in range(total.shape[0]):
        for j in range(total.shape[1]):
            out[i, j] = np.rint(min(max(total[i, j] * scale + offset, low), high))
