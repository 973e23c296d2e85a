"""Losses against their formulas, computed the long way."""

from __future__ import annotations

import math

import pytest
import torch

from medgan.gan import losses
from medgan.gan.networks import Design, build_discriminator, condition

REAL, FAKE = [0.3, -1.0], [-0.2, 2.0]


def sigmoid(t: float) -> float:
    return 1 / (1 + math.exp(-t))


@pytest.mark.parametrize(
    ("loss", "formula"),
    [
        pytest.param(losses.relativistic_discriminator, lambda r, f: -math.log(sigmoid(r - f)), id="relativistic D"),
        pytest.param(losses.relativistic_generator, lambda r, f: -math.log(sigmoid(f - r)), id="relativistic G"),
        pytest.param(
            losses.cross_entropy_discriminator,
            lambda r, f: -math.log(sigmoid(r)) - math.log(1 - sigmoid(f)),
            id="cross-entropy D",
        ),
        pytest.param(lambda _, f: losses.nonsaturating_generator(f), lambda _, f: -math.log(sigmoid(f)), id="nonsat G"),
        pytest.param(lambda _, f: losses.minimax_generator(f), lambda _, f: math.log(1 - sigmoid(f)), id="minimax G"),
    ],
)
def test_loss_equals_its_formula(loss, formula) -> None:  # type: ignore[no-untyped-def]
    expected = sum(formula(r, f) for r, f in zip(REAL, FAKE, strict=True)) / 2
    assert float(loss(torch.tensor(REAL), torch.tensor(FAKE))) == pytest.approx(expected, rel=1e-5)


def test_squared_gradient_of_a_batch_is_that_of_each_sample_alone() -> None:
    rng = torch.Generator().manual_seed(0)
    design = Design((1, 1, 16, 16), 2, widths=(16, 8), head=2)
    discriminator = build_discriminator(design, rng)
    for parameter in discriminator.parameters():
        parameter.data += 0.1 * torch.randn(parameter.shape, generator=rng)
    images, c = torch.randn(3, *design.shape, generator=rng), condition(torch.tensor([0, 1, 0]), 2)
    batch = images.clone().requires_grad_()
    together = losses.squared_gradient(discriminator(batch, c), batch)
    for i in range(3):
        one = images[i : i + 1].clone().requires_grad_()
        (gradient,) = torch.autograd.grad(discriminator(one, c[i : i + 1]).sum(), one)
        assert together[i].item() == pytest.approx(gradient.square().sum().item(), rel=1e-4)


def test_squared_gradient_can_be_minimised() -> None:
    weight = torch.tensor([3.0, 4.0], requires_grad=True)
    images = torch.ones(1, 2, requires_grad=True)
    penalty = losses.squared_gradient(images @ weight, images)
    assert penalty.item() == pytest.approx(25.0)
    (gradient,) = torch.autograd.grad(penalty.sum(), weight)
    assert gradient.tolist() == pytest.approx([6.0, 8.0])
