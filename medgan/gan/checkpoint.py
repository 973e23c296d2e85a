"""Weights and training state on disk: safetensors and JSON, written aside, synced, renamed; never a pickle.

FOLDER/000000002048/          a working checkpoint: images_seen as 12 digits, the newest two are kept
    ema.safetensors  generator.safetensors  discriminator.safetensors  optimisers.safetensors
    state.json                what is not a tensor, with the sha256 of each file above and of itself

ARTEFACT/                     what a finished run leaves
    generator.safetensors (EMA)  discriminator.safetensors  state.json
"""

from __future__ import annotations

import json
import logging
import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor

from medgan import digest as digests
from medgan.errors import CorruptArtefact, UsageError
from medgan.gan.networks import (
    AnyDiscriminator,
    AnyGenerator,
    Design,
    build_discriminator,
    build_generator,
)

logger = logging.getLogger(__name__)

SCHEMA = 1
KEPT = 2
STATE = "state.json"
Tensors = dict[str, Tensor]


@dataclass(frozen=True)
class Snapshot:
    """Everything a run needs to go on: tensors by part and name, and a JSON-able rest."""

    tensors: dict[str, Tensors]
    rest: dict[str, Any]

    @property
    def images_seen(self) -> int:
        return int(self.rest["images_seen"])


def save(folder: Path, snapshot: Snapshot) -> Path:
    """Write a working checkpoint below `folder` and drop all but the newest two. Returns where it is."""
    target = folder / f"{snapshot.images_seen:012d}"
    for left in folder.glob(".aside-*"):  # of a writer that was killed; a run has one writer
        shutil.rmtree(left, ignore_errors=True)
    aside = folder / f".aside-{os.getpid()}"
    aside.mkdir(parents=True)
    files = {}
    for part, tensors in snapshot.tensors.items():
        data = pack(tensors)
        _write(aside / f"{part}.safetensors", data)
        files[f"{part}.safetensors"] = digests.sha256(data)
    body = {"schema": SCHEMA, "files": files, "rest": snapshot.rest}
    _write(aside / STATE, digests.canonical({**body, "sha256": digests.sha256(digests.canonical(body))}))
    _sync(aside)
    if target.exists():  # the same images were seen before a roll-back, or a damaged one stands here
        shutil.rmtree(target)
    aside.rename(target)
    _sync(folder)
    for old in _found(folder)[:-KEPT]:
        shutil.rmtree(old, ignore_errors=True)
    return target


def latest(folder: Path) -> Snapshot | None:
    """The newest working checkpoint that is whole, None when there is none at all.

    A damaged one is named in the log and the one before it is used. Raises CorruptArtefact when none is whole.
    """
    found = _found(folder)
    for place in reversed(found):
        try:
            return _read(place)
        except (OSError, ValueError, KeyError, SafetensorError):
            logger.warning("checkpoint at %d images is damaged; going back to the one before", int(place.name))
    if found:
        raise CorruptArtefact(
            f"all {len(found)} working checkpoints are damaged; remove the run's folder in research/work and go again"
        )
    return None


def rebuild(snapshot: Snapshot, design: Design) -> tuple[AnyGenerator, AnyDiscriminator]:
    """The averaged generator and the discriminator of a working checkpoint, on the CPU."""
    average, discriminator = build_generator(design, torch.Generator()), build_discriminator(design, torch.Generator())
    average.load_state_dict(snapshot.tensors["ema"])
    discriminator.load_state_dict(snapshot.tensors["discriminator"])
    return average.eval(), discriminator.eval()


def seal(folder: Path, generator: AnyGenerator, discriminator: AnyDiscriminator, state: dict[str, Any]) -> None:
    """Write the files of a finished checkpoint. `state` holds images_seen, classes and what else there is to know."""
    (folder / "generator.safetensors").write_bytes(pack(generator.state_dict()))
    (folder / "discriminator.safetensors").write_bytes(pack(discriminator.state_dict()))
    body = {"schema": SCHEMA, **state, "network": generator.design.as_json()}
    (folder / STATE).write_bytes(digests.canonical(body))


def read_state(folder: Path) -> dict[str, Any]:
    """state.json of a finished checkpoint. Raises UsageError when there is none, CorruptArtefact when it is damaged."""
    try:
        state: dict[str, Any] = json.loads((folder / STATE).read_bytes())
        if not isinstance(state, dict):
            raise ValueError(STATE)
    except OSError:
        raise UsageError(f"not a checkpoint: expected a folder with {STATE} and safetensors in it") from None
    except ValueError:
        raise CorruptArtefact(f"a checkpoint's {STATE} is not readable JSON; train again") from None
    if state.get("schema") != SCHEMA:
        raise UsageError(f"checkpoint schema {state.get('schema')!r}, expected {SCHEMA}; train again with this version")
    return state


def load_generator(folder: Path) -> AnyGenerator:
    """The EMA generator of a finished checkpoint, in evaluation mode, with `num_classes`, `shape` and `classes`."""
    state = read_state(folder)
    network = build_generator(_design(state), torch.Generator())
    return _filled(network, folder / "generator.safetensors", state)


def load_discriminator(folder: Path) -> AnyDiscriminator:
    """The discriminator of a finished checkpoint; `features(x)` gives its maps and penultimate vector."""
    state = read_state(folder)
    network = build_discriminator(_design(state), torch.Generator())
    return _filled(network, folder / "discriminator.safetensors", state)


def replace(path: Path, data: bytes) -> None:
    """Write a file so that after a crash there is the old one or the new one, and after the call the new one."""
    aside = path.with_name(f".{path.name}.aside")
    _write(aside, data)
    aside.replace(path)
    _sync(path.parent)


def pack(tensors: Tensors) -> bytes:
    """safetensors bytes: the same tensors give the same bytes. No metadata, whose order is not fixed."""
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in sorted(tensors.items())}
    return bytes(save_tensors(plain))


def _design(state: dict[str, Any]) -> Design:
    try:
        return Design.from_json(state["network"])
    except (KeyError, TypeError, AttributeError):
        raise CorruptArtefact(f"a checkpoint's {STATE} does not describe a network; train again") from None


def _filled(network: Any, file: Path, state: dict[str, Any]) -> Any:
    try:
        network.load_state_dict(load_tensors(file.read_bytes()))
    except (OSError, RuntimeError, SafetensorError):
        raise CorruptArtefact(f"a checkpoint's {file.name} is missing, damaged, or of another network") from None
    network.classes = tuple(state.get("classes", ()))
    return network.eval().requires_grad_(False)


def _read(place: Path) -> Snapshot:
    body = json.loads((place / STATE).read_bytes())
    if (
        not isinstance(body, dict)
        or body.pop("sha256") != digests.sha256(digests.canonical(body))
        or body["schema"] != SCHEMA
    ):
        raise ValueError(STATE)
    tensors = {}
    for name, expected in body["files"].items():
        data = (place / name).read_bytes()
        if digests.sha256(data) != expected:
            raise ValueError(name)
        tensors[name.removesuffix(".safetensors")] = load_tensors(data)
    return Snapshot(tensors, body["rest"])


def _found(folder: Path) -> list[Path]:
    """Working checkpoints, oldest first."""
    return sorted(p for p in folder.glob("*") if re.fullmatch(r"\d{12}", p.name))


def _write(path: Path, data: bytes) -> None:
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
