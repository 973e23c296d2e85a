"""Generator and discriminator, written once for pictures and for volumes.

No normalisation, no layer that mixes samples: per-sample gradients are one gradient of the sum of logits.
Images are float32 [N, C, D, H, W] outside and [N, C, H, W] inside when D is 1.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from medgan.errors import UsageError

SLOPE = 0.2
KAPPA = math.sqrt(2 / (1 + SLOPE**2))  # keeps the second moment through a leaky ReLU
GROUP_WIDTH = 16  # channels in a group of the 3x3 convolution
EMBEDDING = 32  # values that the generator makes of a condition
HIDDEN = 1024  # of the mlp baseline
SMALLEST, LARGEST = 4, 7  # pixels a side of the start map

CONV = {2: F.conv2d, 3: F.conv3d}
POOL = {2: F.avg_pool2d, 3: F.avg_pool3d}
SMOOTH = {2: "bilinear", 3: "trilinear"}


@dataclass(frozen=True, slots=True)
class Design:
    """What must be known to build a pair of networks again. Raises UsageError when widths and head do not fit."""

    shape: tuple[int, int, int, int]  # C, D, H, W
    num_classes: int
    kind: Literal["residual", "mlp"] = "residual"
    widths: tuple[int, ...] = (96, 96, 64)  # of 4, 8, 16 ... pixels
    head: int = 4
    latent: int = 64

    def __post_init__(self) -> None:
        if self.kind == "residual":
            _fits(self)

    @property
    def dims(self) -> int:
        return 2 if self.shape[1] == 1 else 3

    @property
    def factor(self) -> int:
        """Pixels of an image to one of the start map."""
        return self.head * 2 ** (len(self.widths) - 1)

    @property
    def start(self) -> tuple[int, ...]:
        """Sides of the start map."""
        return tuple(side // self.factor for side in self.shape[-self.dims :])

    def as_json(self) -> dict[str, Any]:
        return {**asdict(self), "shape": list(self.shape), "widths": list(self.widths)}

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Design:
        return cls(**{**value, "shape": tuple(value["shape"]), "widths": tuple(value["widths"])})


def condition(labels: Tensor, num_classes: int, present: Tensor | None = None) -> Tensor:
    """int64 [N] to float32 [N, num_classes + 1]: one-hot and a presence bit, all zeros where not present."""
    code = F.one_hot(labels, num_classes).float()
    full = torch.cat([code, torch.ones_like(code[:, :1])], dim=1)
    return full if present is None else full * present[:, None].float()


class Conv(nn.Module):
    """Convolution with weights ~ N(0, gain^2 / fan_in); the bias, when there is one, belongs to the activation."""

    def __init__(
        self, dims: int, n_in: int, n_out: int, rng: torch.Generator, *, kernel: int = 1, gain: float = 1.0,
        groups: int = 1, bias: bool = False,
    ) -> None:  # fmt: skip
        super().__init__()
        self.dims, self.groups, self.padding = dims, groups, kernel // 2
        size = (n_out, n_in // groups, *[kernel] * dims)
        self.weight = nn.Parameter(torch.randn(size, generator=rng) * gain / math.sqrt(math.prod(size[1:])))
        self.bias = nn.Parameter(torch.zeros(n_out)) if bias else None

    def forward(self, x: Tensor) -> Tensor:
        return CONV[self.dims](x, self.weight, self.bias, padding=self.padding, groups=self.groups)


class Block(nn.Module):
    """x + C3 a(C2 a(C1 x)), C2 in groups, C3 zero at the start: every block begins as the identity."""

    def __init__(self, dims: int, width: int, blocks: int, rng: torch.Generator) -> None:
        super().__init__()
        gain = KAPPA * blocks**-0.25  # Fixup: exponent 1 / (2m - 2) with m = 3 layers
        inner = 2 * width
        self.c1 = Conv(dims, width, inner, rng, gain=gain, bias=True)
        self.c2 = Conv(dims, inner, inner, rng, kernel=3, gain=gain, groups=inner // GROUP_WIDTH, bias=True)
        self.c3 = Conv(dims, inner, width, rng, gain=0.0)

    def forward(self, x: Tensor) -> Tensor:
        y = F.leaky_relu(self.c1(x), SLOPE)
        return x + self.c3(F.leaky_relu(self.c2(y), SLOPE))


def _change(dims: int, n_in: int, n_out: int, rng: torch.Generator) -> nn.Module:
    return nn.Identity() if n_in == n_out else Conv(dims, n_in, n_out, rng)


class Generator(nn.Module):
    """Latents and conditions to images: start map, a block and a doubling a stage, pixel-shuffle head."""

    classes: tuple[str, ...] = ()

    def __init__(self, design: Design, rng: torch.Generator) -> None:
        super().__init__()
        self.design, self.num_classes, self.shape = design, design.num_classes, design.shape
        dims, widths, coded = design.dims, design.widths, design.num_classes + 1
        self.embed = nn.Parameter(torch.randn(coded, EMBEDDING, generator=rng) / math.sqrt(coded))
        fan_in = design.latent + EMBEDDING
        self.project = nn.Parameter(torch.randn(fan_in, widths[0], generator=rng) / math.sqrt(fan_in))
        self.basis = nn.Parameter(torch.randn(widths[0], *design.start, generator=rng))
        self.blocks = nn.ModuleList(Block(dims, width, len(widths), rng) for width in widths)
        self.changes = nn.ModuleList(_change(dims, a, b, rng) for a, b in zip(widths, widths[1:], strict=False))
        self.coarse = Conv(dims, widths[-1], design.shape[0], rng)
        # sub-pixels start at zero beside a smooth coarse image: neither checkerboard nor blocks to unlearn
        self.fine = Conv(dims, widths[-1], design.shape[0] * design.head**dims, rng, gain=0.0)

    def forward(self, z: Tensor, c: Tensor) -> Tensor:
        """z float32 [N, latent], c float32 [N, num_classes + 1] -> float32 [N, C, D, H, W], not clamped."""
        dims = self.design.dims
        with torch.autocast(z.device.type, enabled=False):
            h = torch.cat([z, c @ self.embed], dim=1) @ self.project
            x = h.view(*h.shape, *[1] * dims) * self.basis
        for index, block in enumerate(self.blocks):
            if index:
                x = self.changes[index - 1](x)
                x = _enlarged(x, 2, dims)
            x = block(x)
        with torch.autocast(z.device.type, enabled=False):
            coarse = _enlarged(self.coarse(x.float()), self.design.head, dims)
            return (coarse + shuffle(self.fine(x.float()), self.design.head, dims)).view(-1, *self.shape)


class Discriminator(nn.Module):
    """Images and conditions to logits: the generator's mirror, with a projection on the condition."""

    classes: tuple[str, ...] = ()

    def __init__(self, design: Design, rng: torch.Generator) -> None:
        super().__init__()
        self.design, self.num_classes, self.shape = design, design.num_classes, design.shape
        dims, widths, coded = design.dims, design.widths[::-1], design.num_classes + 1
        self.stem = Conv(dims, design.shape[0] * design.head**dims, widths[0], rng)
        self.blocks = nn.ModuleList(Block(dims, width, len(widths), rng) for width in widths)
        self.changes = nn.ModuleList(_change(dims, a, b, rng) for a, b in zip(widths, widths[1:], strict=False))
        width = widths[-1]
        self.gather = nn.Parameter(
            torch.randn(width, *design.start, generator=rng) / math.sqrt(math.prod(design.start))
        )
        self.project = nn.Parameter(torch.randn(width, width, generator=rng) / math.sqrt(width))
        self.embed = nn.Parameter(torch.randn(coded, width, generator=rng) / math.sqrt(width * coded))

    def forward(self, x: Tensor, c: Tensor) -> Tensor:
        """x float32 [N, C, D, H, W], c float32 [N, num_classes + 1] -> logits float32 [N]."""
        _, vector = self.features(x)
        with torch.autocast(x.device.type, enabled=False):
            return (vector * (c @ self.embed)).sum(dim=1)

    def features(self, x: Tensor) -> tuple[list[Tensor], Tensor]:
        """The map after each stage, finest first, and the penultimate vector float32 [N, widths[0]]."""
        dims = self.design.dims
        x = self.stem(unshuffle(x.squeeze(2) if dims == 2 else x, self.design.head, dims))
        maps = []
        for index, block in enumerate(self.blocks):
            if index:
                x = self.changes[index - 1](POOL[dims](x, 2))
            x = block(x)
            maps.append(x)
        with torch.autocast(x.device.type, enabled=False):
            # a depthwise convolution without padding over the whole last map
            vector = (x.float() * self.gather).flatten(2).sum(dim=2) @ self.project
        return maps, vector


class DenseGenerator(nn.Module):
    """The original article's generator: two hidden layers, tanh; the condition is joined to the latent."""

    classes: tuple[str, ...] = ()

    def __init__(self, design: Design, rng: torch.Generator) -> None:
        super().__init__()
        self.design, self.num_classes, self.shape = design, design.num_classes, design.shape
        self.layers = _dense(design.latent + design.num_classes + 1, math.prod(design.shape), rng)

    def forward(self, z: Tensor, c: Tensor) -> Tensor:
        return torch.tanh(self.layers(torch.cat([z, c], dim=1)).float()).view(-1, *self.shape)


class DenseDiscriminator(nn.Module):
    """The original article's discriminator: two hidden layers, one logit."""

    classes: tuple[str, ...] = ()

    def __init__(self, design: Design, rng: torch.Generator) -> None:
        super().__init__()
        self.design, self.num_classes, self.shape = design, design.num_classes, design.shape
        self.layers = _dense(math.prod(design.shape) + design.num_classes + 1, 1, rng)

    def forward(self, x: Tensor, c: Tensor) -> Tensor:
        return self.layers(torch.cat([x.flatten(1), c], dim=1)).float().squeeze(1)

    def features(self, x: Tensor) -> tuple[list[Tensor], Tensor]:
        """No maps, and the second hidden layer float32 [N, 1024] under no condition."""
        none = x.new_zeros(len(x), self.num_classes + 1)
        return [], self.layers[:-1](torch.cat([x.flatten(1), none], dim=1)).float()


class Dense(nn.Module):
    """x W + b with weights ~ N(0, gain^2 / fan_in)."""

    def __init__(self, n_in: int, n_out: int, gain: float, rng: torch.Generator) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(n_out, n_in, generator=rng) * gain / math.sqrt(n_in))
        self.bias = nn.Parameter(torch.zeros(n_out))

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight, self.bias)


def _dense(n_in: int, n_out: int, rng: torch.Generator) -> nn.Sequential:
    first, second, last = (
        Dense(n_in, HIDDEN, KAPPA, rng),
        Dense(HIDDEN, HIDDEN, KAPPA, rng),
        Dense(HIDDEN, n_out, 1.0, rng),
    )
    return nn.Sequential(first, nn.LeakyReLU(SLOPE), second, nn.LeakyReLU(SLOPE), last)


AnyGenerator = Generator | DenseGenerator
AnyDiscriminator = Discriminator | DenseDiscriminator


def build_generator(design: Design, rng: torch.Generator) -> AnyGenerator:
    return Generator(design, rng) if design.kind == "residual" else DenseGenerator(design, rng)


def build_discriminator(design: Design, rng: torch.Generator) -> AnyDiscriminator:
    return Discriminator(design, rng) if design.kind == "residual" else DenseDiscriminator(design, rng)


def _enlarged(x: Tensor, factor: int, dims: int) -> Tensor:
    return F.interpolate(x, scale_factor=float(factor), mode=SMOOTH[dims], align_corners=False)


def shuffle(x: Tensor, factor: int, dims: int) -> Tensor:
    """[N, C f^d, ...] -> [N, C, f ...]: channels become sub-pixels."""
    if dims == 2:
        return F.pixel_shuffle(x, factor)
    n, c, d, h, w = x.shape
    x = x.view(n, c // factor**3, factor, factor, factor, d, h, w)
    return x.permute(0, 1, 5, 2, 6, 3, 7, 4).reshape(n, -1, d * factor, h * factor, w * factor)


def unshuffle(x: Tensor, factor: int, dims: int) -> Tensor:
    """The inverse of `shuffle`."""
    if dims == 2:
        return F.pixel_unshuffle(x, factor)
    n, c, d, h, w = x.shape
    x = x.view(n, c, d // factor, factor, h // factor, factor, w // factor, factor)
    return x.permute(0, 1, 3, 5, 7, 2, 4, 6).reshape(n, -1, d // factor, h // factor, w // factor)


def _fits(design: Design) -> None:
    _, depth, height, width = design.shape
    if any(w % (GROUP_WIDTH // 2) or w <= 0 for w in design.widths) or not design.widths:
        raise UsageError(
            f"train.widths is {list(design.widths)}; expected multiples of {GROUP_WIDTH // 2}, one for each size of map"
        )
    if height != width:
        raise UsageError(f"the cohort's images are {height}x{width} pixels; expected square ones (preprocess.size)")
    side, wrong = height // design.factor, height % design.factor
    if wrong or not SMALLEST <= side <= LARGEST:
        raise UsageError(
            f"train.widths ({len(design.widths)} of them) with train.head {design.head} makes images of "
            f"{SMALLEST * design.factor} pixels a side, the cohort's have {height}; {_remedy(height)}"
        )
    if design.dims == 3 and depth % design.factor:
        raise UsageError(
            f"the cohort's volumes have {depth} slices; train.widths and train.head fit multiples of {design.factor}; "
            "change preprocess.depth, or use fewer widths or a smaller head"
        )


def _remedy(side: int) -> str:
    """Which numbers of widths, with which head, fit images of `side` pixels."""
    fits = [
        f"{count} widths with head {head}"
        for head in (8, 4, 2, 1)
        for count in range(2, 8)
        if side % (head * 2 ** (count - 1)) == 0 and SMALLEST <= side // (head * 2 ** (count - 1)) <= LARGEST
    ]
    return f"use {' or '.join(fits)}" if fits else "choose a preprocess.size such as 32, 64 or 128"
