"""What the discriminator is shown: admissible, differentiable changes, on reals and fakes alike.

Never a flip, a quarter turn or an inversion: a mirrored chest is another diagnosis, and what the discriminator
is shown the generator learns.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional as F


@dataclass(frozen=True, slots=True)
class Policy:
    """The largest change of each kind; each is drawn for each image with the probability of the moment."""

    translate: float = 0.05  # share of the side
    scale: float = 0.1  # in the plane
    rotate_degrees: float = 10.0  # in the plane
    gain: float = 0.1  # window width
    offset: float = 0.1  # window centre, of a range of 2
    noise: float = 0.05  # standard deviation
    cutout: float = 0.2  # share of the side


def policy(modality: str) -> Policy:
    """What may be done to images of a DICOM modality. In CT the grey value is a density: its window stays."""
    return replace(Policy(), gain=0.0, offset=0.0) if modality == "CT" else Policy()


def augment(x: Tensor, probability: float, allowed: Policy, rng: torch.Generator) -> Tensor:
    """float32 [N, C, D, H, W] to the same, differentiable in x. `rng` lives on the device of x."""
    if probability <= 0:
        return x
    return cut(grey(warp(x, probability, allowed, rng), probability, allowed, rng), probability, allowed, rng)


def warp(x: Tensor, probability: float, allowed: Policy, rng: torch.Generator) -> Tensor:
    """Shift along every axis, turn and scale in the plane; the border is drawn out."""
    n, _, depth, height, width = x.shape
    dims = 2 if depth == 1 else 3
    angle = _some(x, probability, rng) * math.radians(allowed.rotate_degrees)
    scale = (_some(x, probability, rng) * math.log1p(allowed.scale)).exp()
    moved = _drawn(x, probability, rng)
    theta = x.new_zeros(n, dims, dims + 1)
    for axis in range(dims):
        theta[:, axis, axis] = 1.0
        # the grid runs from -1 to 1: a shift of one side is 2
        theta[:, axis, dims] = (torch.rand(n, device=x.device, generator=rng) * 4 - 2) * allowed.translate * moved
    cos, sin = angle.cos() / scale, angle.sin() / scale
    theta[:, 0, 0], theta[:, 0, 1] = cos, -sin * height / width
    theta[:, 1, 0], theta[:, 1, 1] = sin * width / height, cos
    flat = x.squeeze(2) if dims == 2 else x
    places = F.affine_grid(theta, list(flat.shape), align_corners=False)
    return F.grid_sample(flat, places, padding_mode="border", align_corners=False).view(x.shape)


def grey(x: Tensor, probability: float, allowed: Policy, rng: torch.Generator) -> Tensor:
    """A slightly other window, and noise."""
    gain = 1 + _some(x, probability, rng) * allowed.gain
    offset = _some(x, probability, rng) * allowed.offset
    noise = torch.rand(len(x), device=x.device, generator=rng) * _drawn(x, probability, rng) * allowed.noise
    grain = torch.randn(x.shape, device=x.device, generator=rng)
    return x * _wide(gain) + _wide(offset) + grain * _wide(noise)


def cut(x: Tensor, probability: float, allowed: Policy, rng: torch.Generator) -> Tensor:
    """Blank a small box to mid-grey."""
    hidden = torch.ones_like(x[:, :1], dtype=torch.bool) & _wide(_drawn(x, probability, rng)).bool()
    for axis in range(3):
        size = x.shape[2 + axis]
        if size == 1:
            continue
        half = torch.rand(len(x), device=x.device, generator=rng) * allowed.cutout * size / 2
        centre = torch.rand(len(x), device=x.device, generator=rng) * size
        place = torch.arange(size, device=x.device) + 0.5
        inside = (place[None] - centre[:, None]).abs() <= half[:, None]
        hidden = hidden & inside.view(-1, 1, *[size if other == axis else 1 for other in range(3)])
    return x.masked_fill(hidden, 0.0)


def _drawn(x: Tensor, probability: float, rng: torch.Generator) -> Tensor:
    """1 for the images that are changed, else 0: float32 [N]."""
    return (torch.rand(len(x), device=x.device, generator=rng) < probability).float()


def _some(x: Tensor, probability: float, rng: torch.Generator) -> Tensor:
    """Uniform in [-1, 1] for the images that are changed, else 0: float32 [N]."""
    return (torch.rand(len(x), device=x.device, generator=rng) * 2 - 1) * _drawn(x, probability, rng)


def _wide(value: Tensor) -> Tensor:
    return value.view(-1, 1, 1, 1, 1)
