"""Which class each sampled image gets."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def in_proportion(shares: Sequence[float], count: int) -> NDArray[np.int64]:
    """Class of each of `count` images so that every beginning of the list keeps the shares.

    Each image takes the class that lags most behind its share; a longer list begins with the shorter one.
    Raises ValueError when no share is positive.
    """
    wanted = np.asarray(shares, np.float64)
    if wanted.ndim != 1 or not np.isfinite(wanted).all() or (wanted < 0).any() or not wanted.sum() > 0:
        raise ValueError("shares: expected finite numbers, none below 0 and one above")
    wanted = wanted / wanted.sum()
    given = np.zeros(len(wanted), np.int64)
    classes = np.empty(count, np.int64)
    for index in range(count):
        # a class without a share never lags; rounding keeps ties the same on every machine
        lag = np.where(wanted > 0, np.round(wanted * (index + 1) - given, 9), -np.inf)
        classes[index] = lag.argmax()
        given[classes[index]] += 1
    return classes
