"""What the discriminator is shown."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from medgan.gan.augment import Policy, augment, cut, policy, warp

SHAPES = {"picture": (64, 1, 1, 32, 32), "volume": (32, 1, 16, 16, 16)}


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture(params=SHAPES.values(), ids=SHAPES.keys())
def images(request: pytest.FixtureRequest) -> torch.Tensor:
    """Bright in the upper left quarter only."""
    x = torch.full(request.param, -1.0)
    half = request.param[-1] // 2
    x[..., 2:half, 2:half] = 1.0
    return x


def test_at_probability_zero_nothing_changes(images: torch.Tensor) -> None:
    assert augment(images, 0.0, Policy(), rng()) is images


def test_same_chance_same_images(images: torch.Tensor) -> None:
    one, two = (augment(images, 0.5, Policy(), rng(3)) for _ in range(2))
    assert torch.equal(one, two) and one.shape == images.shape
    assert not torch.equal(one, augment(images, 0.5, Policy(), rng(4)))


def test_at_probability_one_every_image_changes_and_at_a_half_about_half(images: torch.Tensor) -> None:
    only_noise = Policy(translate=0, scale=0, rotate_degrees=0, gain=0, offset=0, noise=0.1, cutout=0)
    changed = [
        (augment(images, p, only_noise, rng()) - images).flatten(1).abs().amax(dim=1).gt(1e-3).float().mean()
        for p in (1.0, 0.5)
    ]
    assert changed[0] == 1 and 0.2 < changed[1] < 0.8


def test_no_image_is_mirrored_turned_or_inverted(images: torch.Tensor) -> None:
    x = augment(images, 1.0, Policy(), rng())
    half = x.shape[-1] // 2
    upper_left = x[..., :half, :half].flatten(1).mean(dim=1)
    others = [x[..., :half, half:], x[..., half:, :half], x[..., half:, half:]]
    assert all((upper_left > other.flatten(1).mean(dim=1) + 0.3).all() for other in others)


def test_the_warp_moves_by_no_more_than_it_may(images: torch.Tensor) -> None:
    shift = replace(Policy(), scale=0.0, rotate_degrees=0.0)
    moved = warp(images, 1.0, shift, rng())

    def centre(x: torch.Tensor) -> torch.Tensor:
        weight = (x + 1).flatten(1, 3).mean(dim=1)  # [N, W]
        return (weight * torch.arange(x.shape[-1])).sum(dim=1) / weight.sum(dim=1)

    distance = (centre(moved) - centre(images)).abs()
    assert distance.max() <= 0.05 * images.shape[-1] + 0.05
    assert distance.max() > 0.02 * images.shape[-1]


def test_the_window_of_ct_stays(images: torch.Tensor) -> None:
    allowed = replace(policy("CT"), noise=0.0, cutout=0.0)
    x = augment(images, 1.0, allowed, rng())
    assert x.max() <= 1.0 + 1e-5 and x.min() >= -1.0 - 1e-5
    assert augment(images, 1.0, replace(policy("XR"), noise=0.0, cutout=0.0), rng()).max() > 1.01


def test_a_cut_is_small(images: torch.Tensor) -> None:
    hidden = (cut(images, 1.0, Policy(), rng()) == 0).flatten(1).float().mean(dim=1)
    assert 0 < hidden.max() <= 0.25**2


def test_the_gradient_flows_back_to_the_image(images: torch.Tensor) -> None:
    x = images.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(augment(x, 1.0, Policy(), rng()).sum(), x)
    assert (gradient.flatten(1).abs().sum(dim=1) > 0).all()
