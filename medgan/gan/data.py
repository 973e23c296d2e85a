"""Training batches whose order depends on the seed and on how many images were seen, not on when a run began."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numba import njit
from numpy.typing import NDArray
from torch import Tensor

OF_FREE = 0.5  # of a device's free memory that images may take to be kept there


@dataclass
class Batches:
    """images stored integers [N, C, D, H, W], labels int [N], masks uint8 [N, 1, D, H, W] where there are any.

    Every epoch is a new permutation of all images.

    Of `ranks` processes each reads a part of every batch; together they read what one alone would. Images are
    gathered a batch at a time, move as stored integers and become floats on the device; where all fit into half of
    its free memory they move once.
    """

    images: NDArray[Any]  # in memory, or a numpy.memmap
    labels: NDArray[Any]
    batch: int
    seed: int
    rank: int = 0
    ranks: int = 1
    masks: NDArray[Any] | None = None
    _orders: dict[int, NDArray[np.int64]] = field(default_factory=dict, repr=False)
    _stage: _Stage | None = field(default=None, repr=False)

    def at(self, images_seen: int, device: torch.device) -> tuple[Tensor, Tensor]:
        """The batch after `images_seen` images: float32 [B, C, D, H, W] in [-1, 1] and labels int64 [B].

        The images are overwritten by the next call: fresh memory would cost more than filling it.
        """
        return self.of(self.index(images_seen), device)

    def of(self, index: NDArray[np.int64], device: torch.device) -> tuple[Tensor, Tensor]:
        """As `at`, of the rows named."""
        if self._stage is None or self._stage.device != device or len(index) > self._stage.rows:
            self._stage = _Stage(self.images, len(index), device)
        labels = torch.from_numpy(self.labels[index].astype(np.int64)).to(device)
        return self._stage.floats(index), labels

    def masks_at(self, images_seen: int, device: torch.device) -> Tensor:
        """The masks of the very images that `at` gives: uint8 [B, 1, D, H, W]. Raises ValueError without masks."""
        if self.masks is None:
            raise ValueError("these batches have no masks; read the cohort with them")
        return torch.from_numpy(np.ascontiguousarray(self.masks[self.index(images_seen)])).to(device)

    def index(self, images_seen: int) -> NDArray[np.int64]:
        """Rows of this rank's part of the batch after `images_seen` images of all ranks."""
        parts, place, end = [], images_seen, images_seen + self.batch
        while place < end:
            epoch, start = divmod(place, len(self.images))
            parts.append(self._order(epoch)[start : start + end - place])
            place += len(parts[-1])
        whole = np.concatenate(parts)
        return whole[self.batch * self.rank // self.ranks : self.batch * (self.rank + 1) // self.ranks]

    def _order(self, epoch: int) -> NDArray[np.int64]:
        if epoch not in self._orders:
            rng = np.random.default_rng([self.seed % (1 << 63), epoch])
            # a batch may span two epochs
            self._orders = {e: o for e, o in self._orders.items() if e == epoch - 1}
            self._orders[epoch] = rng.permutation(len(self.images))
        return self._orders[epoch]


class _Stage:
    """Where batches of up to `rows` images are made: memory that is used again and again."""

    def __init__(self, images: NDArray[Any], rows: int, device: torch.device) -> None:
        self.device, self.rows, self.scale = device, rows, 2.0 / np.iinfo(images.dtype).max
        self.flat = np.asarray(images).reshape(len(images), -1)
        self.forward = isinstance(images, np.memmap)  # a disk reads forward best
        self._floats = torch.empty((rows, *images.shape[1:]), device=device)
        self._there: Tensor | None = None
        if device.type == "cuda":
            kind = torch.from_numpy(self.flat[:0]).dtype
            self._stored = torch.empty((rows, self.flat.shape[1]), dtype=kind, pin_memory=True)
            if images.nbytes < OF_FREE * torch.cuda.mem_get_info(device)[0]:
                self._there = torch.from_numpy(self.flat).to(device)

    def floats(self, index: NDArray[np.int64]) -> Tensor:
        floats = self._floats[: len(index)]
        order = np.argsort(index) if self.forward else np.arange(len(index))
        rows = floats.view(len(index), self.flat.shape[1])
        if self.device.type == "cpu":
            _gather(self.flat, index, order, np.float32(self.scale), rows.numpy())
            return floats
        if self._there is not None:
            rows.copy_(rows_of(self._there, torch.from_numpy(index).to(self.device)))
        else:
            stored = self._stored[: len(index)]
            stored.numpy()[order] = self.flat[index[order]]
            rows.copy_(stored, non_blocking=True)
            torch.cuda.current_stream(self.device).synchronize()  # the next batch is written over this one
        return floats.mul_(self.scale).sub_(1.0)


def rows_of(stored: Tensor, index: Tensor) -> Tensor:
    """Rows of stored integers [N, pixels], of the same kind."""
    # PyTorch indexes no uint16 on CUDA: the same bits are taken as int16
    bits = stored.view(torch.int16) if stored.dtype == torch.uint16 else stored
    return bits[index].view(stored.dtype)


@njit(nogil=True)
def _gather(images: Any, index: Any, order: Any, scale: Any, out: Any) -> None:
    """out[n] = images[index[n]] * scale - 1, in one pass; images stored integers [N, pixels], out float32."""
    for n in order:
        row = images[index[n]]
        for pixel in range(row.shape[0]):
            out[n, pixel] = np.float32(row[pixel]) * scale - np.float32(1)
