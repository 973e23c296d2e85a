"""The loop: one discriminator step, one generator step, an average; it yields, and the caller decides when to stop.

Everything drawn at random comes from the seed and from images_seen, so a run that was cut anywhere and goes on
from its checkpoint ends with the same bits as one that was not (CPU, same number of threads).
"""

from __future__ import annotations

import contextlib
import copy
import ctypes
import functools
import hashlib
import logging
import math
import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar

import torch
from numpy.typing import NDArray
from torch import Tensor

from medgan.errors import MedganError, UsageError
from medgan.gan import augment, checkpoint, ema, losses
from medgan.gan.adam import Adam
from medgan.gan.data import Batches
from medgan.gan.networks import (
    AnyDiscriminator,
    AnyGenerator,
    Design,
    build_discriminator,
    build_generator,
    condition,
)

logger = logging.getLogger(__name__)

ROLLBACKS = 2
LAST_LR = 0.25  # share of the learning rate that is left at the end
LAST_GAMMA = 0.1  # share of gamma that is left at the end
HISTORY_ROWS = 200
N = TypeVar("N", bound=AnyGenerator | AnyDiscriminator)
MEASURES = ("discriminator_loss", "generator_loss", "penalty", "logit_gap")


@dataclass(frozen=True, slots=True)
class Hyper:
    """How to train, beside the networks' design."""

    loss: Literal["relativistic", "nonsaturating", "minimax"] = "relativistic"
    batch: int = 16
    images: int = 20_000
    lr: float = 1e-3
    betas: tuple[float, float] = (0.0, 0.95)
    gamma: float = 1.0
    augment: float = 0.3
    modality: str = ""  # decides what augmentation may do
    ema_images: int = 500_000
    precision: Literal["bf16", "fp32"] = "bf16"
    condition_dropout: float = 0.1
    checkpoint_images: int = 2_000
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a run is. The losses and the penalty |grad D|^2 of reals and fakes are of the last batch."""

    images_seen: int
    images_target: int
    discriminator_loss: float
    generator_loss: float
    penalty: float
    logit_gap: float  # mean logit of reals minus that of fakes
    lr: float
    gamma: float
    augment: float
    images_per_s: float  # of this process, by the clock
    rollbacks: int


@dataclass
class Run:
    """All that changes while training."""

    design: Design
    hyper: Hyper
    device: torch.device
    generator: AnyGenerator
    discriminator: AnyDiscriminator
    average: AnyGenerator
    generator_adam: Adam
    discriminator_adam: Adam
    images_seen: int = 0
    rollbacks: int = 0
    history: list[dict[str, float]] = field(default_factory=list)
    pending: list[list[float]] = field(default_factory=list)  # measures since the last row of the history

    @property
    def share(self) -> float:
        """How much of the run is done, 0 to 1."""
        return min(1.0, self.images_seen / self.hyper.images)

    @property
    def lr(self) -> float:
        return self.hyper.lr * (1 - (1 - LAST_LR) * self.share) * 0.5**self.rollbacks

    @property
    def gamma(self) -> float:
        return self.hyper.gamma * LAST_GAMMA**self.share

    @property
    def augment(self) -> float:
        return self.hyper.augment * self.share

    def rng(self) -> torch.Generator:
        """The source of all chance in the step that comes next."""
        return _rng(self.hyper.seed, f"step/{self.rollbacks}/{self.images_seen}", self.device)

    def snapshot(self) -> checkpoint.Snapshot:
        return checkpoint.Snapshot(
            tensors={
                "ema": self.average.state_dict(),
                "generator": self.generator.state_dict(),
                "discriminator": self.discriminator.state_dict(),
                "optimisers": {
                    **self.generator_adam.tensors("generator"),
                    **self.discriminator_adam.tensors("discriminator"),
                },
            },
            rest={
                "images_seen": self.images_seen,
                "rollbacks": self.rollbacks,
                "steps": [self.generator_adam.steps, self.discriminator_adam.steps],
                "history": self.history,
                "pending": self.pending,
                "run": _name(self.design, self.hyper),
            },
        )

    def restore(self, snapshot: checkpoint.Snapshot) -> None:
        """Raises UsageError when the checkpoint is of another run."""
        rest, tensors = snapshot.rest, snapshot.tensors
        if rest["run"] != _name(self.design, self.hyper):
            raise UsageError("the folder holds checkpoints of another run; give each run its own")
        self.average.load_state_dict(tensors["ema"])
        self.generator.load_state_dict(tensors["generator"])
        self.discriminator.load_state_dict(tensors["discriminator"])
        self.generator_adam.restore("generator", tensors["optimisers"], rest["steps"][0])
        self.discriminator_adam.restore("discriminator", tensors["optimisers"], rest["steps"][1])
        self.images_seen, self.rollbacks = rest["images_seen"], rest["rollbacks"]
        self.history, self.pending = list(rest["history"]), list(rest["pending"])


def default_device() -> str:
    """cuda where there is one, else cpu."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def device_name() -> str:
    """What training would run on, for a person to read."""
    if default_device() == "cuda":
        return f"cuda: {torch.cuda.get_device_name()}"
    return f"cpu, {'with' if torch.backends.mkldnn.is_available() else 'without'} oneDNN, {precision(Hyper(), 'cpu')}"


def precision(hyper: Hyper, device: str) -> Literal["bf16", "fp32"]:
    """What `hyper.precision` comes to on this machine: bf16 only where the processor itself computes in it.

    Emulated it is slower than fp32: nine times in oneDNN's convolutions on AVX2, measured on two cores.
    """
    return "bf16" if hyper.precision == "bf16" and _computes_bf16(device) else "fp32"


@functools.cache
def _computes_bf16(device: str) -> bool:
    if device == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    able = torch.cpu.get_capabilities()
    return bool(able.get("avx512_bf16") or able.get("amx_bf16"))


@contextlib.contextmanager
def threads(count: int) -> Iterator[None]:
    """Let torch use `count` threads inside, as many as before outside."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def start(design: Design, hyper: Hyper, device: torch.device) -> Run:
    """A run at its first image."""
    rng = _rng(hyper.seed, "weights", torch.device("cpu"))
    generator = _channels_last(build_generator(design, rng).to(device))
    discriminator = _channels_last(build_discriminator(design, rng).to(device))
    return Run(
        design=design,
        hyper=hyper,
        device=device,
        generator=generator,
        discriminator=discriminator,
        average=copy.deepcopy(generator).requires_grad_(False),
        generator_adam=Adam(generator.parameters(), hyper.betas),
        discriminator_adam=Adam(discriminator.parameters(), hyper.betas),
    )


def _channels_last(network: N) -> N:
    """Convolution weights in the order that oneDNN likes better, by a sixth, and tensor cores want."""
    for parameter in network.parameters():
        if network.design.kind == "residual" and parameter.dim() == network.design.dims + 2:
            layout = torch.channels_last if network.design.dims == 2 else torch.channels_last_3d
            parameter.data = parameter.data.to(memory_format=layout)
    return network


def train(
    images: NDArray[Any],
    labels: NDArray[Any],
    design: Design,
    hyper: Hyper,
    *,
    folder: Path,
    device: str = "cpu",
    budget_s: float | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> Generator[Progress, None, None]:
    """Train, or go on from the newest checkpoint in `folder`; yields after every batch.

    images: stored integers [N, C, D, H, W]; labels: int [N]. Ends at hyper.images or after budget_s; closing the
    iterator writes a checkpoint. Raises MedganError when the run diverges a third time.
    """
    keep_memory()
    run = start(design, hyper, torch.device(device))
    if found := checkpoint.latest(folder):
        run.restore(found)
    batches = Batches(images, labels, hyper.batch, hyper.seed)
    began, made = clock(), 0
    try:
        while run.images_seen < hyper.images and (budget_s is None or clock() - began < budget_s):
            measures = step(run, batches)
            if not all(map(math.isfinite, measures)):
                run = _rolled_back(run, folder)
                continue
            before, run.images_seen = run.images_seen, run.images_seen + hyper.batch
            made += hyper.batch
            note(run, measures)
            if run.images_seen // hyper.checkpoint_images > before // hyper.checkpoint_images:
                checkpoint.save(folder, run.snapshot())
            yield progress(run, measures, made / max(clock() - began, 1e-9))
    except GeneratorExit:
        # raised at the yield only, where the state is whole; any other exception may have torn a step
        checkpoint.save(folder, run.snapshot())
        raise
    checkpoint.save(folder, run.snapshot())


def step(run: Run, batches: Batches) -> list[float]:
    """One step of each player and of the average; returns MEASURES."""
    hyper, rng = run.hyper, run.rng()
    allowed = augment.policy(hyper.modality)
    real, labels = batches.at(run.images_seen, run.device)
    present = torch.rand(len(labels), device=run.device, generator=rng) >= hyper.condition_dropout
    c = condition(labels, run.design.num_classes, present)  # a fake gets the condition of the real it is paired with
    real = augment.augment(real, run.augment, allowed, rng)
    with torch.no_grad():
        fake = augment.augment(_fakes(run, c, rng), run.augment, allowed, rng)
    discriminator_loss, penalty, gap = _discriminator_step(run, real, fake, c)
    fake = augment.augment(_fakes(run, c, rng), run.augment, allowed, rng)
    generator_loss = _generator_step(run, real, fake, c)
    ema.update(
        run.average,
        run.generator,
        batch=hyper.batch,
        images_seen=run.images_seen + hyper.batch,
        half_life=hyper.ema_images,
    )
    measured: list[float] = torch.stack([discriminator_loss, generator_loss, penalty, gap]).tolist()
    return measured


def _discriminator_step(run: Run, real: Tensor, fake: Tensor, c: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    both = torch.cat([real, fake]).requires_grad_()
    with _precision(run):
        logits = run.discriminator(both, torch.cat([c, c]))
    of_real, of_fake = logits.chunk(2)
    if run.hyper.loss == "relativistic":
        loss = losses.relativistic_discriminator(of_real, of_fake)
    else:
        loss = losses.cross_entropy_discriminator(of_real, of_fake)
    penalty = torch.zeros((), device=run.device)
    if run.gamma > 0:
        # zero-centred penalty on reals and fakes, as in R3GAN, at the augmented images
        penalty = losses.squared_gradient(logits, both).mean() * 2
    total = loss + run.gamma / 2 * penalty
    parameters = run.discriminator_adam.parameters
    run.discriminator_adam.step(torch.autograd.grad(total, parameters), run.lr)
    return loss.detach(), penalty.detach(), (of_real.mean() - of_fake.mean()).detach()


def _generator_step(run: Run, real: Tensor, fake: Tensor, c: Tensor) -> Tensor:
    with _precision(run):
        of_fake = run.discriminator(fake, c)
        if run.hyper.loss == "relativistic":
            with torch.no_grad():
                of_real = run.discriminator(real, c)
            loss = losses.relativistic_generator(of_real, of_fake)
        elif run.hyper.loss == "nonsaturating":
            loss = losses.nonsaturating_generator(of_fake)
        else:
            loss = losses.minimax_generator(of_fake)
    run.generator_adam.step(torch.autograd.grad(loss, run.generator_adam.parameters), run.lr)
    return loss.detach()


def _fakes(run: Run, c: Tensor, rng: torch.Generator) -> Tensor:
    z = torch.randn(len(c), run.design.latent, device=run.device, generator=rng)
    with _precision(run):
        made: Tensor = run.generator(z, c)
    return made


def _precision(run: Run) -> torch.autocast:
    return torch.autocast(run.device.type, torch.bfloat16, enabled=precision(run.hyper, run.device.type) == "bf16")


def _rolled_back(run: Run, folder: Path) -> Run:
    """The last good state with half the learning rate and other chance. Raises MedganError the third time."""
    if run.rollbacks >= ROLLBACKS:
        raise MedganError(
            f"training diverged for the third time, at {run.images_seen} images; "
            "use a smaller train.lr or a larger train.gamma"
        )
    again = start(run.design, run.hyper, run.device)
    if found := checkpoint.latest(folder):
        again.restore(found)
    again.rollbacks = run.rollbacks + 1
    logger.warning(
        "not a number after %d images; going on from %d at half the learning rate", run.images_seen, again.images_seen
    )
    return again


def note(run: Run, measures: list[float]) -> None:
    """Add to the history a row of means, about HISTORY_ROWS of them in a run."""
    run.pending.append(measures)
    every = max(1, run.hyper.images // run.hyper.batch // HISTORY_ROWS)
    if len(run.pending) >= every or run.images_seen >= run.hyper.images:
        means = [sum(column) / len(run.pending) for column in zip(*run.pending, strict=True)]
        run.history.append({"images_seen": run.images_seen, **dict(zip(MEASURES, means, strict=True))})
        run.pending = []


def progress(run: Run, measures: list[float], images_per_s: float) -> Progress:
    named = dict(zip(MEASURES, measures, strict=True))
    return Progress(
        images_seen=run.images_seen,
        images_target=run.hyper.images,
        lr=run.lr,
        gamma=run.gamma,
        augment=run.augment,
        images_per_s=images_per_s,
        rollbacks=run.rollbacks,
        **named,
    )


def _rng(seed: int, purpose: str, device: torch.device) -> torch.Generator:
    number = hashlib.sha256(f"{seed}/{purpose}".encode()).digest()[:8]
    return torch.Generator(device).manual_seed(int.from_bytes(number, "big") >> 1)


def _name(design: Design, hyper: Hyper) -> dict[str, Any]:
    return {"design": design.as_json(), "hyper": {**asdict(hyper), "betas": list(hyper.betas)}}


def keep_memory() -> None:
    """Let glibc keep freed blocks: giving each one back costs a quarter of the CPU time in page faults."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(-1, 1 << 30)  # M_TRIM_THRESHOLD
        mallopt(-3, 1 << 25)  # M_MMAP_THRESHOLD, the largest that glibc takes
