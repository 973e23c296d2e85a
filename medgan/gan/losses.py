"""Adversarial losses and the gradient penalty, as bare formulas on logits float32 [N]."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import softplus


def relativistic_discriminator(real: Tensor, fake: Tensor) -> Tensor:
    """Each real is paired with one fake (Jolicoeur-Martineau 2019, Huang 2024)."""
    return softplus(fake - real).mean()


def relativistic_generator(real: Tensor, fake: Tensor) -> Tensor:
    """The same pairs with the sides changed. It reads reals: not for differential privacy."""
    return softplus(real - fake).mean()


def cross_entropy_discriminator(real: Tensor, fake: Tensor) -> Tensor:
    """-log s(real) - log(1 - s(fake)), s the sigmoid (Goodfellow 2014)."""
    return (softplus(-real) + softplus(fake)).mean()


def nonsaturating_generator(fake: Tensor) -> Tensor:
    """-log s(fake). Takes no real."""
    return softplus(-fake).mean()


def minimax_generator(fake: Tensor) -> Tensor:
    """log(1 - s(fake)), which goes flat where the discriminator wins. Takes no real."""
    return -softplus(fake).mean()


def squared_gradient(logits: Tensor, images: Tensor) -> Tensor:
    """|d logit / d image|^2 of each sample [N], summed over pixels, differentiable once more.

    One gradient of the sum gives per-sample gradients only because no layer mixes samples.
    """
    (gradient,) = torch.autograd.grad(logits.sum(), images, create_graph=True)
    return gradient.square().flatten(1).sum(dim=1)
