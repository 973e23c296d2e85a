"""The floor: what a figure comes to when real pictures stand in for synthetic ones. Equal n, no patient on both sides.

Every figure of fidelity is read against it. A distance between finite samples of one law is not zero, a share of
balls that are hit is not one, and both depend on n.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

DRAWS = 10
MOST = 1000  # pictures of a side
LEAST = 3
SMALLEST_SPREAD = 1e-12
Rows = NDArray[np.intp]
Figures = dict[str, float]


@dataclass(frozen=True, slots=True)
class Draw:
    """Rows of real pictures: `a` is compared with, `b` are of other patients; as many as `fakes[name]` of each set."""

    a: Rows
    b: Rows
    fakes: dict[str, Rows]

    @property
    def n(self) -> int:
        return len(self.a)


def draws(
    owner: NDArray[Any], sizes: Mapping[str, int], *, seed: int, count: int = DRAWS, most: int = MOST
) -> list[Draw]:
    """Patients halved anew for each draw, and equally many pictures of each side and of each set of `sizes`.

    owner: one value for each real picture's patient, [N]. No draw where a side would have fewer than 3 pictures.
    """
    rng = np.random.default_rng(seed)
    patients = np.unique(owner)
    lefts = [np.isin(owner, rng.permutation(patients)[: len(patients) // 2]) for _ in range(count)]
    n = int(min([most, *sizes.values(), *(min(left.sum(), (~left).sum()) for left in lefts)]))
    if n < LEAST:
        return []
    found = []
    for left in lefts:
        a, b = (rng.permutation(np.flatnonzero(half))[:n] for half in (left, ~left))
        found.append(Draw(a, b, {name: rng.permutation(size)[:n] for name, size in sizes.items()}))
    return found


def against(values: Sequence[Figures], floors: Sequence[Figures], *, signed: Sequence[str] = ()) -> dict[str, Figures]:
    """Of each figure: value (mean of the draws), floor, floor_sd, ratio = value / floor, z = (value - floor) / sd.

    A figure of `signed`, which may lie on both sides of zero at the floor, has no ratio; one without spread no z.
    """
    out = {}
    for name in floors[0]:
        value, bottom = (float(np.mean([row[name] for row in rows])) for rows in (values, floors))
        spread = float(np.std([row[name] for row in floors], ddof=1)) if len(floors) > 1 else 0.0
        out[name] = {"value": value, "floor": bottom, "floor_sd": spread}
        if name not in signed and bottom > 0:
            out[name]["ratio"] = value / bottom
        if spread > SMALLEST_SPREAD:
            out[name]["z"] = (value - bottom) / spread
    return out


def measured(
    drawn: Sequence[Draw],
    sets: Sequence[str],
    figures: Callable[[Draw, str | None, int], Figures],
    *,
    signed: Sequence[str] = (),
) -> dict[str, dict[str, Figures]]:
    """`against` for each set; `figures(draw, name, number)` measures fakes of that name, or for None the `b` side."""
    floors = [figures(draw, None, number) for number, draw in enumerate(drawn)]
    return {
        name: against([figures(draw, name, number) for number, draw in enumerate(drawn)], floors, signed=signed)
        for name in sets
    }
