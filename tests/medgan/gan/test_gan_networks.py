"""Generator and discriminator."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from medgan.errors import UsageError
from medgan.gan.networks import (
    Block,
    Design,
    build_discriminator,
    build_generator,
    condition,
    shuffle,
    unshuffle,
)

DESIGNS = {
    "picture": Design((1, 1, 16, 16), 2, widths=(16, 8), head=2),
    "volume": Design((1, 8, 16, 16), 2, widths=(16, 8), head=2),
    "odd start": Design((1, 1, 28, 28), 2, widths=(16, 8), head=2),
    "colour": Design((3, 1, 16, 16), 2, widths=(16, 8), head=2),
    "mlp": Design((1, 1, 16, 16), 2, kind="mlp"),
}


def rng() -> torch.Generator:
    return torch.Generator().manual_seed(0)


@pytest.fixture(params=DESIGNS.values(), ids=DESIGNS.keys())
def design(request: pytest.FixtureRequest) -> Design:
    return request.param


def test_networks_make_and_judge_images_of_the_cohorts_shape(design: Design) -> None:
    c = condition(torch.tensor([0, 1, 1]), 2)
    images = build_generator(design, rng())(torch.randn(3, design.latent, generator=rng()), c)
    discriminator = build_discriminator(design, rng())
    assert images.shape == (3, *design.shape)
    assert discriminator(images, c).shape == (3,)
    maps, vector = discriminator.features(images)
    assert len(maps) == (0 if design.kind == "mlp" else 2)
    assert len(vector) == 3 and vector.dtype == torch.float32


def test_no_sample_changes_the_logit_of_another(design: Design) -> None:
    discriminator = build_discriminator(design, rng())
    images = torch.randn(4, *design.shape, generator=rng(), requires_grad=True)
    logits = discriminator(images, condition(torch.zeros(4, dtype=torch.long), 2))
    (gradient,) = torch.autograd.grad(logits[1], images)
    assert gradient[1].abs().sum() > 0
    assert gradient[[0, 2, 3]].abs().sum() == 0


def test_a_design_survives_json(design: Design) -> None:
    assert Design.from_json(design.as_json()) == design


def test_same_seed_builds_the_same_weights_and_leaves_global_chance_alone(design: Design) -> None:
    before = torch.get_rng_state()
    one, two = (build_generator(design, rng()).state_dict() for _ in range(2))
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("dims", [2, 3])
def test_a_block_begins_as_the_identity(dims: int) -> None:
    x = torch.randn(2, 16, *[6] * dims, generator=rng())
    assert torch.equal(Block(dims, 16, 2, rng())(x), x)


@pytest.mark.parametrize("dims", [2, 3])
def test_unshuffle_undoes_shuffle(dims: int) -> None:
    x = torch.randn(2, 2**dims * 3, *range(2, 2 + dims), generator=rng())
    assert shuffle(x, 2, dims).shape == (2, 3, *[2 * side for side in x.shape[2:]])
    assert torch.equal(unshuffle(shuffle(x, 2, dims), 2, dims), x)


def test_shuffle_of_a_volume_puts_neighbours_side_by_side() -> None:
    x = torch.arange(8.0).view(1, 8, 1, 1, 1)
    assert torch.equal(shuffle(x, 2, 3).flatten(), torch.arange(8.0))


def test_a_new_generator_draws_no_pattern_of_the_heads_size() -> None:
    design = Design((1, 1, 64, 64), 1, widths=(32, 32, 32), head=4)
    image = build_generator(design, rng())(torch.randn(1, 64, generator=rng()), condition(torch.tensor([0]), 1))[
        0, 0, 0
    ]
    bend = (image[:, 2:] - 2 * image[:, 1:-1] + image[:, :-2]).abs()
    # between the centres of neighbouring cells, at 1.5, 5.5 ..., a smooth enlargement is straight
    assert bend[:, 2::4].max() < 1e-5 and bend.max() > 0.01


def test_an_absent_condition_is_all_zeros_and_says_so() -> None:
    code = condition(torch.tensor([1, 1]), 3, torch.tensor([True, False]))
    assert code.tolist() == [[0, 1, 0, 1], [0, 0, 0, 0]]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        pytest.param(
            {"shape": (1, 1, 128, 128)}, r"makes images of 64 .* have 128; use .*4 widths with head 4", id="large"
        ),
        pytest.param({"shape": (1, 1, 32, 32)}, r"have 32; use .*2 widths with head 4", id="small"),
        pytest.param({"shape": (1, 1, 30, 30)}, r"have 30; use .*head 1|preprocess.size", id="no power of two"),
        pytest.param({"shape": (1, 1, 64, 32)}, r"64x32 pixels; expected square", id="oblong"),
        pytest.param({"shape": (1, 20, 64, 64)}, r"20 slices; .* multiples of 16", id="slices"),
        pytest.param({"widths": (96, 20, 64)}, r"train.widths is \[96, 20, 64\]; expected multiples of 8", id="width"),
        pytest.param({"widths": ()}, r"train.widths is \[\]", id="no width"),
    ],
)
def test_networks_that_do_not_fit_are_refused_with_a_remedy(change: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Design(**{"shape": (1, 1, 64, 64), "num_classes": 2, **change})
