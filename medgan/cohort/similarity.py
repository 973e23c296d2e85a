"""How alike pictures of one set are: multi-scale structural similarity of random pairs. A generator that collapsed
makes pictures more alike than real ones are."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from medgan.cohort.features import one_thread

PAIRS, FEWEST = 100, 25  # of a draw: fewer where a picture has more voxels than a square of 64
WINDOW = 7
WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)  # of the scales, Wang et al. 2003
RANGE = 2.0  # of pictures in [-1, 1]
C1, C2 = (0.01 * RANGE) ** 2, (0.03 * RANGE) ** 2
SIDES = {2: 64, 3: 32}  # larger pictures and volumes are averaged down: collapse is coarse
POOL = {2: functional.avg_pool2d, 3: functional.avg_pool3d}
SMALLER: dict[int, Callable[..., torch.Tensor]] = {
    2: functional.adaptive_avg_pool2d,
    3: functional.adaptive_avg_pool3d,
}


def pairs(owner: NDArray[Any], rng: np.random.Generator, *, most: int = PAIRS) -> NDArray[np.intp]:
    """Rows of up to `most` pairs of pictures of two patients, int [P, 2]. None when all are of one."""
    count = len(owner)
    one, other = rng.integers(count, size=(2, 4 * most)) if count else np.zeros((2, 0), np.intp)
    apart = owner[one] != owner[other]
    return np.stack([one[apart], other[apart]], axis=1)[:most]


@torch.no_grad()
def ms_ssim(one: NDArray[np.float32], other: NDArray[np.float32]) -> NDArray[np.float64]:
    """Multi-scale SSIM of pictures pair by pair, [P]; both float32 [P, C, D, H, W] in [-1, 1].

    As many of the five scales as a window of 7 fits into, their weights made to add up to one.
    """
    with one_thread(0):
        x, y = _fitted(one), _fitted(other)
        scales = _scales(x.shape[2:])
        weights = np.array(WEIGHTS[:scales]) / sum(WEIGHTS[:scales])
        product = torch.ones(len(x), dtype=torch.float64)
        for scale, weight in enumerate(weights):
            luminance, contrast = _moments(x, y)
            last = scale == scales - 1
            term = (luminance * contrast if last else contrast).flatten(1).mean(dim=1).double()
            product *= term.clamp(min=0) ** float(weight)
            if not last:
                pool = POOL[x.dim() - 2]
                x, y = pool(x, _window(x, 2)), pool(y, _window(x, 2))
        return product.numpy()


def enough(shape: tuple[int, ...]) -> int:
    """How many pairs of pictures [C, D, H, W] are worth their time."""
    dims = 2 if shape[1] == 1 else 3
    voxels = int(np.prod([min(side, SIDES[dims]) for side in shape[1:]]))
    return max(FEWEST, min(PAIRS, PAIRS * SIDES[2] ** 2 // voxels))


def alike(images: NDArray[np.float32], chosen: NDArray[np.intp]) -> float:
    """Mean MS-SSIM of pairs [P, 2] of rows of float32 [N, C, D, H, W]; not a number when there is no pair."""
    return float(ms_ssim(images[chosen[:, 0]], images[chosen[:, 1]]).mean()) if len(chosen) else float("nan")


def _moments(x: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    mean_x, mean_y = _smooth(x), _smooth(y)
    var_x, var_y = _smooth(x * x) - mean_x**2, _smooth(y * y) - mean_y**2
    covariance = _smooth(x * y) - mean_x * mean_y
    luminance = (2 * mean_x * mean_y + C1) / (mean_x**2 + mean_y**2 + C1)
    return luminance, (2 * covariance + C2) / (var_x + var_y + C2)


def _smooth(x: torch.Tensor) -> torch.Tensor:
    """Means of a window, axis by axis."""
    dims = x.dim() - 2
    for axis in range(dims):
        window = [1] * dims
        window[axis] = min(WINDOW, x.shape[2 + axis])
        x = POOL[dims](x, window, stride=1)
    return x


def _fitted(images: NDArray[np.float32]) -> torch.Tensor:
    """[P, C, D, H, W] as pictures [P, C, H, W] where D is 1, no side too long."""
    x = torch.from_numpy(np.ascontiguousarray(images, np.float32))
    x = x[:, :, 0] if x.shape[2] == 1 else x
    dims = x.dim() - 2
    sides = [min(side, SIDES[dims]) for side in x.shape[2:]]
    return SMALLER[dims](x, sides) if sides != list(x.shape[2:]) else x


def _scales(shape: torch.Size) -> int:
    longest = max(shape)
    return max(1, min(len(WEIGHTS), 1 + int(np.log2(max(longest / WINDOW, 1)))))


def _window(x: torch.Tensor, factor: int) -> list[int]:
    return [factor if side >= factor * WINDOW else 1 for side in x.shape[2:]]
