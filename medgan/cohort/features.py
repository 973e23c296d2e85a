"""A small network that looks at pictures: features for fidelity, classes for usefulness. Trained here, on this data.

No weights from elsewhere, so distances mean something within one scorecard only: never beside published ones.
The feature networks learn three things at once: the class, the quarter turn, and which two views are of one picture.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional

DIMS = 64
BANDS = 12  # of spatial frequency, from slow to fine
WIDTHS = (16, 32, 48, 64)
SLABS = 4  # a volume is seen as so many mean slabs
PERCENT = (5, 25, 50, 75, 95)
SLICES = 8  # of a volume whose texture is looked at
BATCH = 32
RATE, BETAS, EPSILON = 2e-3, (0.9, 0.999), 1e-8  # of Adam
TURNS = 4
ROUNDING = (
    2 / 255
) ** 2 / 12  # variance that 8 bits leave: the power of an empty picture, whose log is then no outlier
PROJECTED = 32  # values in which views of one picture must be alike
VIEWS_BATCH = 12  # pictures in a batch of a feature network, each seen twice
SHARPNESS = 5.0  # of the contrastive softmax: one over its temperature
EYES = 3  # networks of other seeds that look at one cohort


class Encoder(nn.Module):
    """float32 [N, S, H, W] -> features [N, 64], class logits [N, K], turn logits [N, 4], projection [N, 32]."""

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for before, after in zip((channels, *WIDTHS), WIDTHS, strict=False):
            layers += [nn.Conv2d(before, after, 3, stride=2, padding=1), nn.GroupNorm(8, after), nn.LeakyReLU(0.1)]
        self.body = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(4 * WIDTHS[-1], DIMS))
        self.classes = nn.Linear(DIMS, classes)
        self.turns = nn.Linear(DIMS, TURNS)
        self.projection = nn.Linear(DIMS, PROJECTED)

    def forward(self, pictures: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
        features = self.body(pictures)
        active = functional.leaky_relu(features, 0.1)
        return features, self.classes(active), self.turns(active), self.projection(active)


@contextlib.contextmanager
def one_thread(seed: int) -> Iterator[None]:
    """One thread and one seed inside, what was before outside: the same bits on any number of cores."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            yield
    finally:
        torch.set_num_threads(threads)


def untrained(images: NDArray[np.float32], classes: int, *, seed: int) -> Encoder:
    """The network as it starts: the control that shows what training its eyes brought."""
    with one_thread(seed):
        return Encoder(flat(images[:1]).shape[1], max(2, classes)).eval()


def eyes(
    images: NDArray[np.float32], label: NDArray[np.uint16], classes: int, *, steps: int, seed: int
) -> list[Encoder]:
    """Feature networks of three seeds; each learns class, quarter turn and likeness of views for `steps` batches.

    images: float32 [N, C, D, H, W] in [-1, 1], of the real training part only; label: [N] below `classes`.
    """
    return [_looking(images, label, classes, steps=steps, seed=seed + 7919 * index) for index in range(EYES)]


def trained(images: NDArray[np.float32], label: NDArray[np.integer], classes: int, *, steps: int, seed: int) -> Encoder:
    """A classifier: the network after `steps` batches of naming the class, and of nothing else.

    images: float32 [N, C, D, H, W] in [-1, 1]; label: [N] below `classes`.
    """
    encoder = untrained(images, classes, seed=seed)
    pictures, answers = flat(images), torch.from_numpy(label.astype(np.int64))

    def lesson() -> torch.Tensor:
        index = torch.randint(len(pictures), (BATCH,))
        return functional.cross_entropy(encoder(_jittered(pictures[index]))[1], answers[index])

    return _taught(encoder, lesson, steps, seed)


def _looking(
    images: NDArray[np.float32], label: NDArray[np.integer], classes: int, *, steps: int, seed: int
) -> Encoder:
    encoder = untrained(images, classes, seed=seed)
    pictures, answers = flat(images), torch.from_numpy(label.astype(np.int64))
    count = min(VIEWS_BATCH, len(pictures))

    def lesson() -> torch.Tensor:
        # without repetition: a picture drawn twice would be told apart from itself
        index = torch.randperm(len(pictures))[:count]
        turn = torch.randint(TURNS, (count,))
        views = torch.cat([_jittered(pictures[index]), _jittered(pictures[index])])
        twice = turn.repeat(2)
        views = torch.stack([torch.rot90(p, int(k), (1, 2)) for p, k in zip(views, twice, strict=True)])
        _, named, turned, projected = encoder(views)
        loss = functional.cross_entropy(named, answers[index].repeat(2)) + functional.cross_entropy(turned, twice)
        return loss + contrast(projected)

    return _taught(encoder, lesson, steps, seed)


def contrast(projected: torch.Tensor) -> torch.Tensor:
    """NT-Xent for projections [2 N, P], rows i and i + N being two views of one picture."""
    count = len(projected) // 2
    if count < 2:
        return projected.sum() * 0
    unit = functional.normalize(projected, dim=1)
    alike = SHARPNESS * unit @ unit.T
    alike = alike.masked_fill(torch.eye(2 * count, dtype=torch.bool), float("-inf"))
    return functional.cross_entropy(alike, torch.arange(2 * count).roll(count))


def _taught(encoder: Encoder, lesson: Callable[[], torch.Tensor], steps: int, seed: int) -> Encoder:
    with one_thread(seed):
        parameters = [p for p in encoder.parameters() if p.requires_grad]
        first, second = ([torch.zeros_like(p) for p in parameters] for _ in range(2))
        encoder.train()
        for step in range(steps):
            gradients = torch.autograd.grad(lesson(), parameters, allow_unused=True)
            rate = RATE * (1 - 0.9 * step / steps)
            _adam(parameters, gradients, first, second, rate=rate, step=step + 1)
    return encoder.eval()


@torch.no_grad()
def _adam(
    parameters: Sequence[torch.Tensor],
    gradients: Sequence[torch.Tensor | None],
    first: Sequence[torch.Tensor],
    second: Sequence[torch.Tensor],
    *,
    rate: float,
    step: int,
) -> None:
    """One step of Adam. torch.optim's would import torch's compiler, seconds of CPU time in a fresh process."""
    bias, bias_of_squares = 1 - BETAS[0] ** step, 1 - BETAS[1] ** step
    for p, g, mean, square in zip(parameters, gradients, first, second, strict=True):
        if g is None:  # a head that no lesson asked
            continue
        mean.lerp_(g, 1 - BETAS[0])
        square.mul_(BETAS[1]).addcmul_(g, g, value=1 - BETAS[1])
        p.addcdiv_(mean, (square / bias_of_squares).sqrt_().add_(EPSILON), value=-rate / bias)


def features(encoder: Encoder, images: NDArray[np.float32]) -> NDArray[np.float64]:
    """Features [N, 64 + 19] of float32 [N, C, D, H, W] in [-1, 1]: what the network sees, and the texture beside it."""
    return np.concatenate([seen(encoder, images, 0), texture(images)], axis=1)


def texture(images: NDArray[np.float32]) -> NDArray[np.float64]:
    """Level, spread, five percentiles and log power in up to 12 bands [N, 19]: naming classes does not need to see
    blur, noise or window.

    Of a volume, of eight of its slices: in a mean of slices noise would hardly show.
    """
    depth = images.shape[2]
    slices = np.unique(np.linspace(0, depth - 1, min(depth, SLICES)).astype(np.intp))
    pictures = images[:, :, slices].astype(np.float64).reshape(len(images), -1, *images.shape[3:])
    power = (np.abs(np.fft.rfft2(pictures - pictures.mean(axis=(2, 3), keepdims=True))) ** 2).mean(axis=1)
    power += ROUNDING * pictures.shape[2] * pictures.shape[3]
    rows, columns = np.fft.fftfreq(pictures.shape[2]), np.fft.rfftfreq(pictures.shape[3])
    radius = np.hypot(rows[:, None], columns[None, :])
    edges = np.geomspace(1 / pictures.shape[2], 0.5, BANDS + 1)
    band = np.clip(np.digitize(radius, edges) - 1, 0, BANDS - 1)
    logs = [np.log(power[:, band == index].mean(axis=1)) for index in np.unique(band)]
    values = pictures.reshape(len(pictures), -1)
    return np.stack([values.mean(axis=1), values.std(axis=1), *np.percentile(values, PERCENT, axis=1), *logs], axis=1)


def class_logits(encoder: Encoder, images: NDArray[np.float32]) -> NDArray[np.float64]:
    """Class logits [N, K] of float32 [N, C, D, H, W] in [-1, 1]."""
    return seen(encoder, images, 1)


@torch.no_grad()
def seen(encoder: Encoder, images: NDArray[np.float32], output: int) -> NDArray[np.float64]:
    with one_thread(0):
        parts = [encoder(flat(images[start : start + 256]))[output] for start in range(0, len(images), 256)]
    return torch.cat(parts).double().numpy() if parts else np.zeros((0, DIMS))


def flat(images: NDArray[np.float32]) -> torch.Tensor:
    """[N, C, D, H, W] to [N, C * slabs, H, W]: a volume as a few mean slabs."""
    pictures = torch.from_numpy(np.ascontiguousarray(images, np.float32))
    if pictures.shape[2] > SLABS:
        pictures = functional.adaptive_avg_pool3d(pictures, (SLABS, *pictures.shape[3:]))
    return pictures.flatten(1, 2)


def _jittered(pictures: torch.Tensor) -> torch.Tensor:
    """A shift of up to a sixteenth for the batch, another window and a little noise for each picture."""
    reach = max(1, pictures.shape[-1] // 16)
    shift = torch.randint(-reach, reach + 1, (2,)).tolist()
    gain = 1 + 0.1 * torch.randn(len(pictures), 1, 1, 1)
    return torch.roll(pictures, shift, (2, 3)) * gain + 0.03 * torch.randn_like(pictures)
