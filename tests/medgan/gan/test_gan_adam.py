"""Adam and the average."""

from __future__ import annotations

import copy

import pytest
import torch

from medgan.gan import ema
from medgan.gan.adam import Adam


def _pair() -> tuple[torch.nn.Linear, torch.nn.Linear]:
    one = torch.nn.Linear(3, 2)
    with torch.no_grad():
        one.weight.copy_(torch.arange(6.0).view(2, 3) / 7)
        one.bias.fill_(0.1)
    return one, copy.deepcopy(one)


@pytest.mark.parametrize("betas", [(0.0, 0.95), (0.5, 0.999)])
def test_steps_equal_those_of_the_reference(betas: tuple[float, float]) -> None:
    ours, theirs = _pair()
    adam, reference = Adam(ours.parameters(), betas), torch.optim.Adam(theirs.parameters(), lr=0.01, betas=betas)
    rng = torch.Generator().manual_seed(0)
    for _ in range(5):
        gradients = [torch.randn(p.shape, generator=rng) for p in ours.parameters()]
        adam.step(gradients, 0.01)
        for parameter, gradient in zip(theirs.parameters(), gradients, strict=True):
            parameter.grad = gradient
        reference.step()
    for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(a, b)


def test_moments_put_back_give_the_same_next_step_to_the_bit() -> None:
    one, two = _pair()
    first, second = Adam(one.parameters(), (0.5, 0.9)), Adam(two.parameters(), (0.5, 0.9))
    gradients = [torch.full_like(p, 0.3) for p in one.parameters()]
    first.step(gradients, 0.1)
    two.load_state_dict(one.state_dict())
    second.restore("g", first.tensors("g"), first.steps)
    first.step(gradients, 0.1)
    second.step(gradients, 0.1)
    assert torch.equal(one.weight, two.weight)


def test_average_moves_half_way_in_its_half_life() -> None:
    network, average = _pair()
    network.weight.data.fill_(1.0)
    average.weight.data.fill_(0.0)
    for _ in range(10):
        ema.update(average, network, batch=10, images_seen=10_000, half_life=100)
    torch.testing.assert_close(average.weight.data, torch.full((2, 3), 0.5))


def test_average_follows_closely_at_the_start() -> None:
    network, average = _pair()
    network.weight.data.fill_(1.0)
    average.weight.data.fill_(0.0)
    ema.update(average, network, batch=16, images_seen=16, half_life=500_000)
    assert average.weight.data.min() > 0.9
