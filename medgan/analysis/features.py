"""What the discriminator sees: pooled maps of every stage and its last vector, whitened. The ground of all analysis.

A discriminator that told real films from made-up ones has learned what films are made of; no label was needed.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.covariance import ledoit_wolf_shrinkage
from sklearn.model_selection import GroupKFold
from threadpoolctl import threadpool_limits

from medgan import digest as digests
from medgan.errors import CorruptArtefact, UsageError
from medgan.gan.checkpoint import load_discriminator
from medgan.gan.networks import Discriminator

NOTICE = "not for clinical use"
BATCH = 64
FEWEST = 4  # images that a covariance can be estimated from at all
TINY = 1e-6
Floats = NDArray[np.float64]


@contextmanager
def one_thread() -> Iterator[None]:
    """One thread for torch and for BLAS: the same bits on any number of cores."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with threadpool_limits(limits=1):
            yield
    finally:
        torch.set_num_threads(threads)


def eyes(checkpoint: Path) -> Discriminator:
    """The discriminator of a finished checkpoint. Raises UsageError for the mlp baseline, which has no maps."""
    network = load_discriminator(checkpoint)
    if not isinstance(network, Discriminator):
        raise UsageError("the mlp baseline's discriminator has no features; name a checkpoint of the residual network")
    return network


@torch.no_grad()
def pooled(network: Discriminator, images: NDArray[np.float32]) -> Floats:
    """Features [N, F] of float32 [N, C, D, H, W] in [-1, 1]: mean and spread of each map, and the last vector.

    Raises UsageError when the images are not on the network's grid.
    """
    if tuple(images.shape[1:]) != tuple(network.shape):
        raise UsageError(
            f"the images are {'x'.join(map(str, images.shape[1:]))} (channels, depth, height, width), the network's "
            f"{'x'.join(map(str, network.shape))}; bring them onto its grid"
        )
    parts = []
    with one_thread():
        for start in range(0, len(images), BATCH):
            maps, vector = network.features(torch.from_numpy(np.ascontiguousarray(images[start : start + BATCH])))
            flat = [one.float().flatten(2) for one in maps]
            seen = [statistic for one in flat for statistic in (one.mean(2), one.std(2, unbiased=False))]
            parts.append(torch.cat([*seen, vector], dim=1))
    return torch.cat(parts).double().numpy()


@dataclass(frozen=True, slots=True)
class Whitening:
    """Features to coordinates of unit variance, the strongest first; the covariance is shrunk as Ledoit and Wolf do."""

    mean: Floats  # [F]
    turn: Floats  # [F, K]

    def __call__(self, features: Floats) -> Floats:
        """[N, F] to [N, K]."""
        return (features - self.mean) @ self.turn

    def tensors(self) -> dict[str, Floats]:
        return {"mean": self.mean, "turn": self.turn}


def whitening(features: Floats, keep: int = 0) -> Whitening:
    """Fitted on features [N, F]; `keep` coordinates, 0 for all of them. Raises UsageError for too few images."""
    if len(features) < FEWEST:
        raise UsageError(f"{len(features)} images to learn from; at least {FEWEST} are needed")
    with one_thread():
        mean = features.mean(axis=0)
        spread = np.maximum(features.std(axis=0), TINY)
        scaled = (features - mean) / spread
        # sklearn's ledoit_wolf does the same in blocks; here the covariance is small
        share = float(ledoit_wolf_shrinkage(scaled, assume_centered=True))
        covariance = scaled.T @ scaled / len(scaled)
        level = float(np.trace(covariance)) / len(covariance)
        covariance = (1 - share) * covariance + share * max(level, TINY) * np.eye(len(covariance))
        values, vectors = np.linalg.eigh(covariance)
    order = np.argsort(values)[::-1][: keep or None]
    chosen = vectors[:, order]
    # the sign of an eigenvector is anybody's; its largest entry is made positive
    chosen = chosen * np.sign(chosen[np.abs(chosen).argmax(axis=0), np.arange(chosen.shape[1])])
    return Whitening(mean, chosen / np.sqrt(np.maximum(values[order], TINY)) / spread[:, None])


def folds(owners: NDArray[Any], most: int = 5) -> list[tuple[NDArray[np.intp], NDArray[np.intp]]]:
    """Rows to learn from and rows to look at; no patient is on both sides. Raises UsageError for a single patient."""
    count = min(most, len(np.unique(owners)))
    if count < 2:
        raise UsageError("all images are of one patient; a model cannot be checked on others")
    return list(GroupKFold(count).split(owners, groups=owners))


def packed(tensors: dict[str, NDArray[Any]]) -> bytes:
    """Arrays as safetensors: float32 and int64."""
    from safetensors.numpy import save

    kinds = {"f": np.float32, "i": np.int64, "u": np.int64}
    return bytes(save({k: np.ascontiguousarray(v, kinds[v.dtype.kind]) for k, v in sorted(tensors.items())}))


def unpacked(data: bytes, names: tuple[str, ...]) -> dict[str, NDArray[Any]]:
    """The arrays of `packed`. Raises CorruptArtefact when they are damaged or others."""
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        tensors = load(data)
    except (SafetensorError, ValueError):
        raise CorruptArtefact("the model's arrays are damaged; fit it again") from None
    if set(tensors) != set(names):
        raise CorruptArtefact("the model's arrays are not those of this task; fit it again")
    return {name: a.astype(np.float64) if a.dtype.kind == "f" else a for name, a in tensors.items()}


def fingerprint(checkpoint: Path) -> str:
    """Digest of the network that the features come from."""
    return digests.sha256_file(checkpoint / "discriminator.safetensors")
