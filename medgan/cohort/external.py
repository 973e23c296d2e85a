"""Features of a network that a user brings: Inception, DINOv2, RadImageNet, or one of the house. Nothing is fetched.

Two kinds of file, neither of which is unpickled: a TorchScript archive, whose `forward` takes float32 [N, 3, H, W] in
[-1, 1] (grey three times; it resizes and normalises for itself) and gives [N, K] or [N, K, ...]; and safetensors of
`features.Encoder`, as `save` writes them, so that a house can look with the same eyes for years. A TorchScript archive
is a programme: bring only one that you trust.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from medgan.cohort.features import Encoder, flat, one_thread, seen
from medgan.errors import UsageError

BATCH = 32
MOST_AXES = 128
SCHEMA = "medgan-encoder-1"
KINDS = "a TorchScript archive (.pt) or safetensors of our own network (.safetensors)"
Pictures = NDArray[np.float32]  # [N, C, D, H, W] in [-1, 1]


@dataclass(frozen=True, slots=True)
class Extractor:
    """`features` of pictures [N, C, D, H, W], float64 [N, K]; `digest`: sha256 of the file it came from."""

    features: Callable[[Pictures], NDArray[np.float64]]
    digest: str
    kind: str


def load(path: Path) -> Extractor:
    """The network of a file. Raises UsageError for a file that is neither kind."""
    try:
        head, digest = _looked_at(path)
    except OSError:
        raise UsageError(f"the weights file cannot be read; give {KINDS}") from None
    if head == b"PK":
        return Extractor(_scripted(path), digest, "torchscript")
    return Extractor(_encoder(path), digest, "safetensors")


def save(encoder: Encoder, path: Path) -> None:
    """Write a network of features.py as safetensors that `load` reads."""
    shape = {"channels": encoder.body[0].in_channels, "classes": encoder.classes.out_features}
    save_file(encoder.state_dict(), path, metadata={"schema": SCHEMA, "shape": json.dumps(shape)})


def leading(sets: dict[str, NDArray[np.float64]]) -> dict[str, NDArray[np.float64]]:
    """Features of each set on the leading axes of the real ones (`real`), where there are more than 128.

    As many as half of the real pictures at most: of more, a covariance says nothing.
    """
    real = sets["real"]
    keep = min(MOST_AXES, len(real) // 2)
    if real.shape[1] <= keep:
        return sets
    middle = real.mean(axis=0)
    axes = np.linalg.svd(real - middle, full_matrices=False)[2][:keep]
    return {name: (some - middle) @ axes.T for name, some in sets.items()}


def _looked_at(path: Path) -> tuple[bytes, str]:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        file.seek(0)
        return file.read(2), digest


def _encoder(path: Path) -> Callable[[Pictures], NDArray[np.float64]]:
    try:
        with safe_open(path, framework="pt") as file:
            about = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
        if about.get("schema") != SCHEMA:
            raise UsageError(f"the safetensors are not of a network of ours ({SCHEMA}); give {KINDS}")
        encoder = Encoder(**json.loads(about["shape"]))
        encoder.load_state_dict(tensors)
    except (SafetensorError, RuntimeError, ValueError, TypeError, KeyError):
        raise UsageError(f"the weights do not fit the network that they name; give {KINDS}") from None
    channels = encoder.eval().body[0].in_channels

    def features(images: Pictures) -> NDArray[np.float64]:
        if flat(images[:1]).shape[1] != channels:
            raise UsageError(f"the weights are for {channels} channels (slabs of a volume each count); train new ones")
        return seen(encoder, images, 0)

    return features


def _scripted(path: Path) -> Callable[[Pictures], NDArray[np.float64]]:
    with _quietly():
        try:
            # read by torch's own archive reader, in C++: tensors, numbers and code, and no Python object
            network = torch.jit.load(str(path), map_location="cpu").eval()
        except (RuntimeError, ValueError):
            raise UsageError(
                f"not a TorchScript archive (a checkpoint of weights alone is none); give {KINDS}"
            ) from None

    @torch.no_grad()
    def features(images: Pictures) -> NDArray[np.float64]:
        parts = []
        with one_thread(0), _quietly():
            for start in range(0, len(images), BATCH):
                some = flat(images[start : start + BATCH])
                # a volume is its slabs, a picture each, and the mean of what is seen in them
                grey = some.reshape(-1, 1, *some.shape[2:]).expand(-1, 3, -1, -1)
                try:
                    out = network(grey.contiguous())
                    vectors = out.reshape(len(some), some.shape[1], -1).mean(dim=1)
                except (RuntimeError, AttributeError):
                    raise UsageError(
                        f"the TorchScript network did not take float32 {list(grey.shape)} and give rows of features"
                    ) from None
                parts.append(vectors.double())
        return torch.cat(parts).numpy()

    return features


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # torch.jit: still the only archive that brings its code
        yield
