"""How near a released picture is to a patient's, whatever was done to it: distances under an alignment search.

A picture becomes a small grid with its slow shading taken out and its edge faded. Each pair is tried mirrored,
turned, scaled, shifted and inverted; the best match counts. The grids are whitened by the mean and
covariance of all real pictures alike, members and non-members: an embedding that saw only the members would
itself tell who they are.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

GRID = 24  # samples a side of the comparison grid
GRID_3D = (8, 12, 12)
COMPONENTS = 96
TURNS = (-0.12, 0.0, 0.12)  # radians
SCALES = (0.9, 1.0, 1.11)
SHIFTS = (-0.1, -0.05, 0.0, 0.05, 0.1)  # of half the side
SHIFTS_3D = (-0.1, 0.0, 0.1)


@dataclass(frozen=True, slots=True)
class Whitening:
    """Mean [G] and projection [G, K] of flattened grids."""

    mean: torch.Tensor
    projection: torch.Tensor

    def __call__(self, grids: torch.Tensor) -> torch.Tensor:
        return functional.normalize((grids - self.mean) @ self.projection, dim=1)


def distances(reals: NDArray[np.float32], offered: NDArray[np.float32]) -> NDArray[np.float32]:
    """float32 [R, M] in [0, 2]: chordal distance of each real picture to each offered one, best alignment.

    `reals` and `offered` are float32 [N, C, D, H, W] in [-1, 1]. The whitening is fitted on all of `reals`.
    """
    solid = reals.shape[2] > 1
    real, other = _prepared(reals), _prepared(offered)
    upright = _identity(solid)
    whiten = _fit(_grids(real, upright))
    # mirrored and inverted copies are set upright, where the mean anatomy is; the rest is tried on the real side
    seen = _grids(other, upright), _grids(other.flip(-1), upright)
    targets = [whiten(sign * grids).T.contiguous() for grids in seen for sign in (1, -1)]
    best = torch.full((len(reals), len(offered)), -1.0)
    for move in _moves(solid):
        moved = whiten(_grids(real, move))
        for target in targets:
            torch.maximum(best, moved @ target, out=best)
    out: NDArray[np.float32] = torch.sqrt(torch.clamp(2 - 2 * best, min=0)).numpy()
    return out


def _prepared(images: NDArray[np.float32]) -> torch.Tensor:
    """Mean over channels, reduced to about twice the grid so that sampling does not alias."""
    picture = torch.from_numpy(np.ascontiguousarray(images.mean(axis=1, keepdims=True), np.float32))
    if picture.shape[2] == 1:
        return functional.adaptive_avg_pool2d(picture[:, :, 0], min(2 * GRID, picture.shape[-1]))
    depth, height, width = (min(2 * g, s) for g, s in zip(GRID_3D, picture.shape[2:], strict=True))
    return functional.adaptive_avg_pool3d(picture, (depth, height, width))


def _identity(solid: bool) -> torch.Tensor:
    return torch.eye(3, 4) if solid else torch.eye(2, 3)


def _moves(solid: bool) -> list[torch.Tensor]:
    """Affine maps of the sampling grid; the last axis of a picture is the first of a map (x, y, z)."""
    shifts = SHIFTS_3D if solid else SHIFTS
    moves = []
    for turn, scale, dx, dy in itertools.product(TURNS, SCALES, shifts, shifts):
        move = _identity(solid)
        cosine, sine = scale * np.cos(turn), scale * np.sin(turn)
        move[:2, :2] = torch.tensor([[cosine, -sine], [sine, cosine]])
        move[0, -1], move[1, -1] = dx, dy
        moves.append(move)
    return moves


def _grids(pictures: torch.Tensor, move: torch.Tensor) -> torch.Tensor:
    """Flattened, weighted, zero-mean, unit-norm grids [N, G] of moved pictures."""
    solid = pictures.ndim == 5
    shape = GRID_3D if solid else (GRID, GRID)
    places = functional.affine_grid(move[None], [1, 1, *shape], align_corners=False)
    places = places.expand(len(pictures), *places.shape[1:])
    sampled = functional.grid_sample(pictures, places, padding_mode="border", align_corners=False)
    flat = _detail(sampled).flatten(1) * _weight(shape)
    return functional.normalize(flat - flat.mean(dim=1, keepdim=True), dim=1)


def _detail(grids: torch.Tensor) -> torch.Tensor:
    """A grid minus its own blurred self: contrast curves and shading count less than structure."""
    reach = 9 if grids.ndim == 4 else 5
    pool = functional.avg_pool2d if grids.ndim == 4 else functional.avg_pool3d
    return grids - pool(grids, reach, stride=1, padding=reach // 2, count_include_pad=False)


def _weight(shape: tuple[int, ...]) -> torch.Tensor:
    """One inside, fading over the outer tenth, where a crop or shift has lost the picture."""
    weight = torch.ones(())
    for side in shape:
        place = (torch.arange(side) + 0.5) / side
        ramp = torch.clamp(torch.minimum(place, 1 - place) / 0.12, max=1.0)
        weight = weight[..., None] * ramp
    return weight.flatten()


def _fit(grids: torch.Tensor) -> Whitening:
    """Principal components scaled to even variance, weak ones held down."""
    mean = grids.mean(dim=0)
    _, scale, axes = torch.linalg.svd(grids - mean, full_matrices=False)
    keep = max(1, min(COMPONENTS, len(grids) // 2))
    scale, axes = scale[:keep], axes[:keep]
    return Whitening(mean, axes.T / (scale + 0.1 * scale[0]))
