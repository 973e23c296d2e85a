"""Training batches whose order depends on the seed and on how many images were seen, not on when a run began."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


@dataclass
class Batches:
    """images stored integers [N, C, D, H, W], labels int [N]. Every epoch is a new permutation of all images."""

    images: NDArray[Any]
    labels: NDArray[Any]
    batch: int
    seed: int
    _order: tuple[int, NDArray[np.int64]] = field(default=(-1, np.zeros(0, np.int64)), repr=False)

    def at(self, images_seen: int, device: torch.device) -> tuple[Tensor, Tensor]:
        """The batch after `images_seen` images: float32 [B, C, D, H, W] in [-1, 1] and labels int64 [B]."""
        places = range(images_seen, images_seen + self.batch)
        index = np.array([self._permutation(place // len(self.images))[place % len(self.images)] for place in places])
        top = np.iinfo(self.images.dtype).max
        images = self.images[index].astype(np.float32) * np.float32(2.0 / top) - np.float32(1.0)
        labels = self.labels[index].astype(np.int64)
        return torch.from_numpy(images).to(device), torch.from_numpy(labels).to(device)

    def _permutation(self, epoch: int) -> NDArray[np.int64]:
        if self._order[0] != epoch:
            rng = np.random.default_rng([self.seed % (1 << 63), epoch])
            self._order = (epoch, rng.permutation(len(self.images)))
        return self._order[1]
