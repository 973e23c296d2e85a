"""The two players' steps under differential privacy, by patient: all that reads a real image is `released`.

Of N patients each is drawn with probability q. The gradient of a drawn patient is that of the discriminator's loss on
a few of their images, each beside a fake of the same class; it is clipped to C; the sum gets noise N(0, (sigma C)^2)
and is divided by q N (Abadi 2016). An empty draw releases noise. The generator learns from the discriminator alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap

from medgan.gan import losses
from medgan.gan.chance import Chance
from medgan.gan.networks import AnyDiscriminator, AnyGenerator, condition

GRADIENTS = 128 << 20  # bytes that the gradients of patients may take at a time
LARGEST = 64  # patients at a time
SAFE = 1 - 1e-6  # of the clipping norm: float32 rounds what is scaled down


@dataclass(frozen=True, slots=True)
class Pairs:
    """Some drawn patients: real, fake float32 [U, k, C, D, H, W], c float32 [U, k, num_classes + 1] of both."""

    real: Tensor
    fake: Tensor
    c: Tensor


PerPatient = Callable[[dict[str, Tensor], Tensor, Tensor, Tensor], dict[str, Tensor]]


def per_patient(discriminator: nn.Module, gamma: float) -> PerPatient:
    """Gradients of the loss by patient: parameters, real, fake, c -> each parameter's [U, ...].

    The loss is the mean over a patient's pairs, with the exact R1 and R2 at weight `gamma`. Inside, the network sees
    one patient at a time: no layer can mix two of them.
    """

    def loss(parameters: dict[str, Tensor], real: Tensor, fake: Tensor, c: Tensor) -> Tensor:
        def logits(x: Tensor) -> tuple[Tensor, Tensor]:
            found = functional_call(discriminator, parameters, (x, torch.cat([c, c])))
            return found.sum(), found

        both = torch.cat([real, fake])
        if gamma <= 0:
            return losses.cross_entropy_discriminator(*logits(both)[1].chunk(2))
        slope, found = grad(logits, has_aux=True)(both)
        penalty = slope.square().flatten(1).sum(dim=1).mean() * 2
        return losses.cross_entropy_discriminator(*found.chunk(2)) + gamma / 2 * penalty

    made: PerPatient = vmap(grad(loss), in_dims=(None, 0, 0, 0))
    return made


def clipped_sum(gradients: Iterable[Sequence[Tensor]], like: Sequence[Tensor], clip: float) -> list[Tensor]:
    """The sum over patients of gradients scaled down to norm `clip`, float64, shaped as `like`.

    gradients: for some patients at a time, each parameter's [U, ...]. One that is not a number counts as zero: no
    patient can stop a run.
    """
    total = [torch.zeros(p.shape, dtype=torch.float64, device=p.device) for p in like]
    for some in gradients:
        flat = [g.flatten(1) for g in some]
        norm = torch.stack([g.square().sum(dim=1, dtype=torch.float64) for g in flat]).sum(dim=0).sqrt()
        known = norm.isfinite()
        share = torch.where(known, clip * SAFE / norm.clamp(min=clip * SAFE), 0.0)
        if not bool(known.all()):
            flat = [torch.where(known[:, None], g, 0.0) for g in flat]
        for place, g in zip(total, flat, strict=True):
            place += (share.to(g.dtype) @ g).view(place.shape)
    return total


def released(
    gradients: Iterable[Sequence[Tensor]],
    like: Sequence[Tensor],
    *,
    clip: float,
    noise: float,
    expected: float,
    chance: Chance,
) -> list[Tensor]:
    """(sum of clipped gradients + noise clip N(0, I)) / expected, float32: the only thing that leaves the reals.

    Sum and noise are added in float64 and rounded to float32, whose grid does not depend on the sum: the low bits of
    a float64 would tell it (Mironov 2012).
    """
    total = clipped_sum(gradients, like, clip)
    drawn = torch.from_numpy(chance.normal(sum(t.numel() for t in total)))
    parts = drawn.split([t.numel() for t in total])
    return [
        ((t + noise * clip * part.view(t.shape).to(t.device)) / expected).float()
        for t, part in zip(total, parts, strict=True)
    ]


def gradients_of(discriminator: AnyDiscriminator, pairs: Iterable[Pairs], gamma: float) -> Iterator[list[Tensor]]:
    """What `clipped_sum` takes, in the order of the discriminator's parameters."""
    parameters = {name: p.detach() for name, p in discriminator.named_parameters()}
    of_patients = per_patient(discriminator, gamma)
    for some in pairs:
        found = of_patients(parameters, some.real, some.fake, some.c)
        yield [found[name] for name in parameters]


def generator_gradient(
    generator: AnyGenerator, discriminator: AnyDiscriminator, count: int, rng: torch.Generator
) -> tuple[list[Tensor], float, float]:
    """Gradient of the loss on `count` fakes of evenly drawn classes; that loss, and the share that D finds.

    It takes no real, no label and no proportion of classes: nothing private can reach it but through D.
    """
    parameters = list(generator.parameters())
    total, loss, found = [torch.zeros_like(p) for p in parameters], 0.0, 0.0
    for size in _parts(count):
        logits = discriminator(*fakes(generator, size, rng))
        part = losses.nonsaturating_generator(logits) * (size / count)
        torch._foreach_add_(total, list(torch.autograd.grad(part, parameters)))
        loss, found = loss + float(part.detach()), found + float((logits < 0).sum()) / count
    return total, loss, found


@torch.no_grad()
def on_fakes(
    generator: AnyGenerator, discriminator: AnyDiscriminator, count: int, rng: torch.Generator
) -> tuple[float, float]:
    """The discriminator's loss on `count` fresh fakes of evenly drawn classes, and the share that it finds."""
    logits = discriminator(*fakes(generator, count, rng))
    return float(nn.functional.softplus(logits).mean()), float((logits < 0).float().mean())


def fakes(generator: AnyGenerator, count: int, rng: torch.Generator) -> tuple[Tensor, Tensor]:
    """`count` fakes and their conditions; classes are drawn evenly, never as often as they are real."""
    labels = torch.randint(generator.num_classes, (count,), device=rng.device, generator=rng)
    c = condition(labels, generator.num_classes)
    z = torch.randn(count, generator.design.latent, device=rng.device, generator=rng)
    return generator(z, c), c


def at_a_time(discriminator: nn.Module, images: int) -> int:
    """How many patients of `images` images fit into the memory that gradients may take."""
    size = 4 * sum(p.numel() for p in discriminator.parameters())
    return max(1, min(LARGEST // images, GRADIENTS // size))


def _parts(count: int) -> list[int]:
    pieces = math.ceil(count / LARGEST)
    return [count * (i + 1) // pieces - count * i // pieces for i in range(pieces)]
