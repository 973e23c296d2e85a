"""Seeds to images: image i depends on the seed, on i and on its label, and on nothing else."""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray

from medgan.gan.networks import AnyGenerator, condition

BLOCK = 16  # images computed together, always: kernels for other batch sizes round differently


@torch.no_grad()
def sample(
    generator: AnyGenerator, labels: NDArray[np.integer], *, seed: int, truncation: float = 1.0, first: int = 0
) -> NDArray[np.float32]:
    """Images `first`, `first + 1` ... of a seed, one for each label, float32 [n, C, D, H, W] in [-1, 1].

    Cut anywhere into calls with the right `first`, the same images come out, bit for bit.
    """
    device = next(generator.parameters()).device
    lead = first % BLOCK  # image i is always computed in place i % BLOCK of its block
    wanted = np.concatenate([np.zeros(lead, np.int64), np.asarray(labels, np.int64)])
    images = np.empty((len(labels), *generator.shape), np.float32)
    for start in range(0, len(wanted), BLOCK):
        part = wanted[start : start + BLOCK]
        padded = np.zeros(BLOCK, np.int64)
        padded[: len(part)] = part
        z = latents(range(first - lead + start, first - lead + start + BLOCK), generator.design.latent, seed=seed)
        c = condition(torch.from_numpy(padded), generator.num_classes)
        made = generator(torch.from_numpy(z * np.float32(truncation)).to(device), c.to(device)).clamp(-1, 1)
        skip = max(0, lead - start)
        place = start + skip - lead
        images[place : place + len(part) - skip] = made[skip : len(part)].cpu().numpy()
    return images


def latents(indices: range, size: int, *, seed: int) -> NDArray[np.float32]:
    """float32 [len(indices), size], standard normal, each row from the seed and its own index."""
    rows = [
        np.random.default_rng([seed % (1 << 63), index]).standard_normal(size, dtype=np.float32) for index in indices
    ]
    return np.stack(rows)


def grid(images: NDArray[np.float32], columns: int) -> NDArray[np.uint8]:
    """[n, C, D, H, W] in [-1, 1] to one grey picture of tiles, row by row; of a volume its middle slice."""
    tiles = np.clip((images[:, 0, images.shape[2] // 2] + 1) * 127.5, 0, 255).round().astype(np.uint8)
    n, height, width = tiles.shape
    rows = math.ceil(n / columns)
    sheet = np.zeros((rows * (height + 2), columns * (width + 2)), np.uint8)
    for index, tile in enumerate(tiles):
        y, x = divmod(index, columns)
        sheet[y * (height + 2) : y * (height + 2) + height, x * (width + 2) : x * (width + 2) + width] = tile
    return sheet
