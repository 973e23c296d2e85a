"""The two players' steps under differential privacy, and the mistakes that void it, planted one by one."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from medgan.gan import losses, private
from medgan.gan.chance import Chance
from medgan.gan.networks import Design, build_discriminator, build_generator, condition
from medgan.gan.private import Pairs

DESIGN = Design((1, 1, 16, 16), 3, widths=(16, 8), head=2)
VOLUME = Design((1, 8, 16, 16), 3, widths=(16, 8), head=2)
KEY = bytes(range(32))
CLIP, NOISE = 0.5, 1.5
Sum = Callable[[nn.Module, Pairs], list[Tensor]]


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def discriminator(design: Design = DESIGN) -> nn.Module:
    """One that has left its start, where half of the gradients are zero."""
    rng = torch.Generator().manual_seed(1)
    network = build_discriminator(design, rng)
    for p in network.parameters():
        p.data += 0.1 * torch.randn(p.shape, generator=rng)
    return network


def pairs(patients: int, images: int = 1, design: Design = DESIGN, seed: int = 0) -> Pairs:
    rng = torch.Generator().manual_seed(seed)
    real, fake = (torch.randn(patients, images, *design.shape, generator=rng) for _ in range(2))
    labels = torch.randint(design.num_classes, (patients * images,), generator=rng)
    return Pairs(real, fake, condition(labels, design.num_classes).view(patients, images, -1))


def some(of: Pairs, index: slice | list[int]) -> Pairs:
    return Pairs(of.real[index], of.fake[index], of.c[index])


def flat(tensors: Sequence[Tensor]) -> Tensor:
    return torch.cat([t.detach().flatten().double() for t in tensors])


def by_loop(network: nn.Module, of: Pairs, gamma: float) -> list[Tensor]:
    """Gradients of each patient by plain autograd, one after the other."""
    found = []
    for real, fake, c in zip(of.real, of.fake, of.c, strict=True):
        both = torch.cat([real, fake]).requires_grad_()
        logits = network(both, torch.cat([c, c]))
        loss = losses.cross_entropy_discriminator(*logits.chunk(2))
        loss = loss + gamma * losses.squared_gradient(logits, both).mean()
        found.append(flat(torch.autograd.grad(loss, list(network.parameters()))))
    return found


@pytest.mark.parametrize("design", [DESIGN, VOLUME], ids=["picture", "volume"])
@pytest.mark.parametrize("gamma", [0.0, 2.0])
@pytest.mark.parametrize("images", [1, 3])
def test_gradients_by_patient_are_those_of_a_loop(design: Design, gamma: float, images: int) -> None:
    network, of = discriminator(design), pairs(4, images, design)
    (found,) = private.gradients_of(network, [of], gamma)
    for patient, wanted in enumerate(by_loop(network, of, gamma)):
        got = flat([g[patient] for g in found])
        assert float((got - wanted).norm() / wanted.norm()) < 1e-5


def summed(network: nn.Module, of: Pairs) -> list[Tensor]:
    return private.clipped_sum(private.gradients_of(network, [of], 0.0), list(network.parameters()), CLIP)


def influence(total: Sum = summed) -> float:
    """Most that one patient of eight moves the sum, in clipping norms; their first image is extreme."""
    network, of = discriminator(), pairs(8)
    of.real[0] *= 1000
    whole = flat(total(network, of))
    rest = [[p for p in range(8) if p != left] for left in range(8)]
    return max(float((whole - flat(total(network, some(of, index)))).norm()) for index in rest) / CLIP


def test_one_patient_moves_the_sum_by_the_clipping_norm_at_most() -> None:
    assert 0.5 < influence() <= 1 + 1e-6


def test_planted_no_clipping_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def unclipped(gradients: Iterator[list[Tensor]], like: list[Tensor], clip: float) -> list[Tensor]:
        return [g.sum(dim=0).double() for g in next(iter(gradients))]

    monkeypatch.setattr(private, "clipped_sum", unclipped)
    assert influence() > 1.5


def test_planted_clipping_of_the_sum_instead_of_each_patient_is_found() -> None:
    def late(network: nn.Module, of: Pairs) -> list[Tensor]:
        (found,) = private.gradients_of(network, [of], 0.0)
        mean = flat([g.mean(dim=0) for g in found])
        return [mean * min(1.0, CLIP / float(mean.norm())) * len(of.real)]

    assert influence(late) > 1.5


class Mixing(nn.Module):
    """A discriminator with a layer that sees the batch: the deviation over samples, as an offset of all logits."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = discriminator()

    def forward(self, x: Tensor, c: Tensor) -> Tensor:
        return self.inner(x, c) * (1 + x.std(dim=0, unbiased=False).mean())


def test_a_layer_that_mixes_samples_cannot_mix_patients() -> None:
    network = Mixing()
    of = pairs(4)
    of.real[0] *= 1000
    (all_four,), (three,) = (list(private.gradients_of(network, [p], 0.0)) for p in (of, some(of, [1, 2, 3])))
    for together, alone in zip(all_four, three, strict=True):
        assert torch.allclose(together[1:], alone, rtol=1e-4, atol=1e-6)


def test_planted_gradients_of_a_whole_batch_let_such_a_layer_mix() -> None:
    """What a hook library would do: one forward of the batch, then each sample's own loss."""

    def hooked(network: nn.Module, of: Pairs) -> list[Tensor]:
        logits = network(torch.cat([of.real, of.fake]).flatten(0, 1), torch.cat([of.c, of.c]).flatten(0, 1))
        each = nn.functional.softplus(-logits[: len(of.real)]) + nn.functional.softplus(logits[len(of.real) :])
        grads = [flat(torch.autograd.grad(one, list(network.parameters()), retain_graph=True)) for one in each]
        return [torch.stack([g * min(1.0, CLIP / float(g.norm())) for g in grads]).sum(dim=0)]

    def of_mixing(total: Sum) -> Sum:
        return lambda network, of: total(mixing, of)

    mixing = Mixing()
    assert influence(of_mixing(summed)) <= 1 + 1e-4
    assert influence(of_mixing(hooked)) > 1.2


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), 1e30])
def test_a_patient_whose_gradient_is_no_number_counts_nothing_or_no_more_than_others(bad: float) -> None:
    network, of = discriminator(), pairs(3)
    of.real[1] *= bad
    whole, rest = flat(summed(network, of)), flat(summed(network, some(of, [0, 2])))
    assert bool(whole.isfinite().all()) and float((whole - rest).norm()) <= CLIP * (1 + 1e-6)


def test_the_size_of_the_pieces_does_not_matter() -> None:
    network, of = discriminator(), pairs(7)
    like = list(network.parameters())
    pieces = [some(of, slice(0, 3)), some(of, slice(3, 6)), some(of, slice(6, 7))]
    apart = private.clipped_sum(private.gradients_of(network, pieces, 1.0), like, CLIP)
    together = private.clipped_sum(private.gradients_of(network, [of], 1.0), like, CLIP)
    assert float((flat(apart) - flat(together)).norm() / flat(together).norm()) < 1e-5


def released(of: list[Pairs], chance: Chance) -> Tensor:
    network = discriminator()
    gradients = private.gradients_of(network, of, 0.0)
    like = list(network.parameters())
    return flat(private.released(gradients, like, clip=CLIP, noise=NOISE, expected=10, chance=chance))


def noise_seen(of: list[Pairs]) -> float:
    """Standard deviation over parameters of the difference of two releases, as a multiple of what was promised."""
    difference = released(of, Chance()) - released(of, Chance())
    return float(difference.std()) / (NOISE * CLIP / 10 * 2**0.5)


@pytest.mark.parametrize("patients", [0, 5], ids=["empty draw", "five patients"])
def test_the_noise_is_what_was_promised_also_for_an_empty_draw(patients: int) -> None:
    assert noise_seen([pairs(patients)] if patients else []) == pytest.approx(1.0, abs=0.06)


@pytest.mark.parametrize(
    "bug",
    [
        pytest.param(lambda self, count: np.zeros(count), id="no noise"),
        pytest.param(lambda self, count: np.random.default_rng(0).standard_normal(count), id="the same noise again"),
        pytest.param(lambda self, count: np.random.default_rng().standard_normal(count) / 10, id="a tenth of it"),
    ],
)
def test_planted_missing_noise_is_found(monkeypatch: pytest.MonkeyPatch, bug: Callable[..., object]) -> None:
    monkeypatch.setattr(Chance, "normal", bug)
    assert noise_seen([pairs(5)]) < 0.5


def test_without_noise_the_release_is_the_clipped_sum_over_the_expected_number() -> None:
    network, of = discriminator(), pairs(4)
    like = list(network.parameters())
    got = private.released(
        private.gradients_of(network, [of], 0.0), like, clip=CLIP, noise=0.0, expected=10, chance=Chance(KEY)
    )
    assert [g.dtype for g in got] == [torch.float32] * len(like)
    assert torch.allclose(flat(got) * 10, flat(summed(network, of)), rtol=1e-5, atol=1e-7)


def generator_gradients(step: Callable[..., list[Tensor]], reals: list[Tensor]) -> list[Tensor]:
    generator = build_generator(DESIGN, torch.Generator().manual_seed(0))
    return [flat(step(generator, discriminator(), real)) for real in reals]


def own(generator: nn.Module, d: nn.Module, _: Tensor) -> list[Tensor]:
    return private.generator_gradient(generator, d, 100, torch.Generator().manual_seed(3))[0]  # type: ignore[arg-type]


def relativistic(generator: nn.Module, d: nn.Module, real: Tensor) -> list[Tensor]:
    """The planted bug: each fake's weight is read off a real."""
    made, c = private.fakes(generator, len(real), torch.Generator().manual_seed(3))  # type: ignore[arg-type]
    loss = losses.relativistic_generator(d(real, c).detach(), d(made, c))
    return list(torch.autograd.grad(loss, list(generator.parameters())))


def test_the_generator_is_the_same_bits_whatever_the_reals_and_a_relativistic_one_is_not() -> None:
    reals = [pairs(20, seed=seed).real[:, 0] for seed in (1, 2)]
    one, other = generator_gradients(own, reals)
    assert torch.equal(one, other)
    one, other = generator_gradients(relativistic, reals)
    assert not torch.equal(one, other)


def test_the_generators_step_takes_nothing_private() -> None:
    assert list(inspect.signature(private.generator_gradient).parameters) == [
        *("generator", "discriminator", "count", "rng"),
    ]


def test_the_generators_gradient_is_that_of_one_batch_and_its_classes_are_even() -> None:
    generator, network = build_generator(DESIGN, torch.Generator().manual_seed(0)), discriminator()
    got, loss, found = private.generator_gradient(generator, network, 40, torch.Generator().manual_seed(3))
    logits = network(*private.fakes(generator, 40, torch.Generator().manual_seed(3)))
    whole = losses.nonsaturating_generator(logits)
    wanted = torch.autograd.grad(whole, list(generator.parameters()))
    assert torch.allclose(flat(got), flat(wanted), atol=1e-6)
    assert loss == pytest.approx(float(whole.detach())) and found == pytest.approx(float((logits < 0).float().mean()))
    _, c = private.fakes(generator, 3000, torch.Generator().manual_seed(0))
    assert c[:, :3].mean(dim=0).tolist() == pytest.approx([1 / 3] * 3, abs=0.04)


def test_large_networks_are_shown_fewer_patients_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    network = discriminator()
    assert private.at_a_time(network, 1) == private.LARGEST
    assert private.at_a_time(network, 4) == private.LARGEST // 4
    size = 4 * sum(p.numel() for p in network.parameters())
    monkeypatch.setattr(private, "GRADIENTS", 5 * size)
    assert private.at_a_time(network, 1) == 5
    monkeypatch.setattr(private, "GRADIENTS", 1)
    assert private.at_a_time(network, 1) == 1
