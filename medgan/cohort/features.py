"""A small network that looks at pictures: features for fidelity, classes for usefulness. Trained here, on this data.

No weights from elsewhere, so distances mean something within one scorecard only: never beside published ones.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional

DIMS = 64
BANDS = 6  # of spatial frequency, from slow to fine
WIDTHS = (16, 32, 48, 64)
SLABS = 4  # a volume is seen as so many mean slabs
BATCH = 32
RATE = 2e-3
TURNS = 4


class Encoder(nn.Module):
    """float32 [N, S, H, W] -> features [N, 64], class logits [N, K], quarter-turn logits [N, 4]."""

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for before, after in zip((channels, *WIDTHS), WIDTHS, strict=False):
            layers += [nn.Conv2d(before, after, 3, stride=2, padding=1), nn.GroupNorm(8, after), nn.LeakyReLU(0.1)]
        self.body = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(4 * WIDTHS[-1], DIMS))
        self.classes = nn.Linear(DIMS, classes)
        self.turns = nn.Linear(DIMS, TURNS)

    def forward(self, pictures: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        features = self.body(pictures)
        active = functional.leaky_relu(features, 0.1)
        return features, self.classes(active), self.turns(active)


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
        return Encoder(_flat(images[:1]).shape[1], max(2, classes)).eval()


def trained(
    images: NDArray[np.float32], label: NDArray[np.uint16], classes: int, *, steps: int, seed: int, turns: bool = True
) -> Encoder:
    """The network after `steps` batches of naming the class and, with `turns`, the quarter turn of a picture.

    images: float32 [N, C, D, H, W] in [-1, 1]; label: [N] below `classes`.
    """
    encoder = untrained(images, classes, seed=seed)
    pictures, answers = _flat(images), torch.from_numpy(label.astype(np.int64))
    with one_thread(seed):
        optimiser = torch.optim.Adam(encoder.parameters(), lr=RATE)
        encoder.train()
        for step in range(steps):
            index = torch.randint(len(pictures), (BATCH,))
            batch = _jittered(pictures[index])
            turn = torch.randint(TURNS, (BATCH,)) if turns else torch.zeros(BATCH, dtype=torch.int64)
            batch = torch.stack([torch.rot90(p, int(k), (1, 2)) for p, k in zip(batch, turn, strict=True)])
            _, named, turned = encoder(batch)
            loss = functional.cross_entropy(named, answers[index])
            if turns:
                loss = loss + functional.cross_entropy(turned, turn)
            optimiser.zero_grad()
            loss.backward()
            for group in optimiser.param_groups:
                group["lr"] = RATE * (1 - 0.9 * step / steps)
            optimiser.step()
    return encoder.eval()


@torch.no_grad()
def features(encoder: Encoder, images: NDArray[np.float32]) -> NDArray[np.float64]:
    """Features [N, 64 + 7] of float32 [N, C, D, H, W] in [-1, 1]: what the network sees, and the texture beside it."""
    return np.concatenate([_seen(encoder, images, 0), texture(images)], axis=1)


def texture(images: NDArray[np.float32]) -> NDArray[np.float64]:
    """Mean level and log power in 6 bands [N, 7]: naming classes does not need to see blur, noise or window."""
    pictures = _flat(images).double().numpy().mean(axis=1)
    power = np.abs(np.fft.rfft2(pictures - pictures.mean(axis=(1, 2), keepdims=True))) ** 2
    rows, columns = np.fft.fftfreq(pictures.shape[1]), np.fft.rfftfreq(pictures.shape[2])
    radius = np.hypot(rows[:, None], columns[None, :])
    edges = np.geomspace(1 / pictures.shape[1], 0.5, BANDS + 1)
    band = np.clip(np.digitize(radius, edges) - 1, 0, BANDS - 1)
    logs = [np.log(power[:, band == index].mean(axis=1) + 1e-9) for index in np.unique(band)]
    return np.stack([pictures.mean(axis=(1, 2)), *logs], axis=1)


@torch.no_grad()
def class_logits(encoder: Encoder, images: NDArray[np.float32]) -> NDArray[np.float64]:
    """Class logits [N, K] of float32 [N, C, D, H, W] in [-1, 1]."""
    return _seen(encoder, images, 1)


def _seen(encoder: Encoder, images: NDArray[np.float32], output: int) -> NDArray[np.float64]:
    with one_thread(0):
        parts = [encoder(_flat(images[start : start + 256]))[output] for start in range(0, len(images), 256)]
    return torch.cat(parts).double().numpy() if parts else np.zeros((0, DIMS))


def _flat(images: NDArray[np.float32]) -> torch.Tensor:
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
