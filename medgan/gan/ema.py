"""The averaged generator: the one that is scored, sampled from and released."""

from __future__ import annotations

import torch
from torch import nn

WARM_UP = 0.15  # the half-life is at most this share of the images seen


@torch.no_grad()
def update(average: nn.Module, network: nn.Module, *, batch: int, images_seen: int, half_life: int) -> None:
    """Move `average` towards `network`: half of the way in `half_life` images, faster at the start."""
    span = min(float(half_life), WARM_UP * images_seen)
    weight = 1.0 - 0.5 ** (batch / span) if span > 0 else 1.0
    torch._foreach_lerp_(list(average.parameters()), list(network.parameters()), weight)
