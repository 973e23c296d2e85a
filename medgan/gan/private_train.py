"""The training loop under differential privacy: `train.train` with the steps of `private` and an account.

Chance is secret here and no run can be repeated bit for bit; one that was cut goes on from its checkpoint with new
chance. What leaves the loop (progress, history, checkpoints) is made of fakes and of released gradients alone.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from medgan.errors import MedganError, UsageError
from medgan.gan import checkpoint, ema, private
from medgan.gan import train as gan
from medgan.gan.chance import Chance
from medgan.gan.data import Batches
from medgan.gan.networks import Design, condition
from medgan.gan.spent import Account, Terms, opened

PROBE = 64  # fakes on which the discriminator is judged after each step
MEMORY = 0.8  # of the running share of fakes that it finds
ENOUGH = 0.75  # of them, and it is the generator's turn


@dataclass(frozen=True)
class Patients:
    """Whose each image is, and the draws that respect it."""

    rows: tuple[NDArray[np.int64], ...]  # of each patient

    @classmethod
    def of(cls, owners: NDArray[Any]) -> Patients:
        """owners: a key for each image. Raises UsageError where an image has none: the unit would be a guess."""
        nameless = sum(not str(key).strip("0") for key in owners)
        if nameless:
            raise UsageError(
                f"{nameless} of {len(owners)} images are of no known patient; privacy by patient needs a key for each"
            )
        order = np.argsort(owners, kind="stable")
        return cls(
            tuple(np.split(order, np.flatnonzero(np.diff(np.unique(owners, return_inverse=True)[1][order])) + 1))
        )

    def draw(self, rate: float, chance: Chance) -> NDArray[np.int64]:
        """Each patient with probability `rate`, on their own: any number of them, also none (Poisson sampling)."""
        return np.flatnonzero(chance.uniform(len(self.rows)) < rate)

    def images(self, drawn: NDArray[np.int64], each: int, chance: Chance) -> NDArray[np.int64]:
        """`each` rows for every drawn patient, with replacement: int64 [len(drawn) * each]."""
        bounds = np.repeat([len(self.rows[patient]) for patient in drawn], each).astype(np.int64)
        places = chance.below(bounds)
        owners = np.repeat(drawn, each)
        return np.array([self.rows[o][p] for o, p in zip(owners, places, strict=True)], np.int64)


@dataclass
class Pace:
    """When it is the generator's turn: once the discriminator finds enough fakes, at the latest after `most` steps.

    It knows the discriminator by fakes only, so it tells nothing that was not released.
    """

    most: int
    since: int = 0
    found: float = 0.5
    generator_loss: float = 0.0

    def note(self, share: float) -> None:
        self.since, self.found = self.since + 1, MEMORY * self.found + (1 - MEMORY) * share

    @property
    def due(self) -> bool:
        return self.since >= self.most or self.found >= ENOUGH


@dataclass
class PrivateRun:
    """A run, whose patients it sees, and what it may spend."""

    run: gan.Run
    batches: Batches
    patients: Patients
    account: Account
    pace: Pace
    chance: Chance

    @property
    def terms(self) -> Terms:
        return self.account.terms

    def snapshot(self) -> checkpoint.Snapshot:
        whole = self.run.snapshot()
        pace = {name: getattr(self.pace, name) for name in ("since", "found", "generator_loss")}
        rest = {"terms": asdict(self.terms), "steps": self.account.made, "pace": pace, "left": self.account.left}
        return checkpoint.Snapshot(whole.tensors, {**whole.rest, "privacy": rest})

    def save(self, folder: Path) -> None:
        """Write a checkpoint, then give back what was counted and not made."""
        checkpoint.save(folder, self.snapshot())
        self.account.settle()


def train(
    images: NDArray[Any],
    labels: NDArray[Any],
    owners: NDArray[Any],
    design: Design,
    hyper: gan.Hyper,
    terms: Terms,
    *,
    folder: Path,
    device: str = "cpu",
    budget_s: float | None = None,
    clock: Callable[[], float] = time.monotonic,
    chance: Chance | None = None,
) -> Generator[gan.Progress, None, None]:
    """Train, or go on from the newest checkpoint in `folder`; yields after every discriminator step.

    images: stored integers [N, C, D, H, W]; labels: int [N]; owners: patient keys [N]. hyper.batch is the expected
    number of patients in a step, so images_seen is one too. Ends at hyper.images, when the budget of epsilon is
    spent, or after budget_s. Raises MedganError when the run diverges: there is no roll-back, steps are dear.
    """
    begun = _begun(images, labels, owners, design, hyper, terms, folder, device, chance or Chance())
    run, account, every = begun.run, begun.account, hyper.checkpoint_images
    began, made = clock(), 0
    try:
        while run.images_seen < hyper.images and account.left and (budget_s is None or clock() - began < budget_s):
            if account.made >= account.counted:
                account.reserve(math.ceil((every - run.images_seen % every) / hyper.batch))
            measures = step(begun)
            if not all(map(math.isfinite, measures)):
                raise MedganError(
                    f"private training diverged at {run.images_seen} images; what it spent is spent: "
                    "use a smaller train.lr, or more patients in a step (train.batch)"
                )
            before, run.images_seen = run.images_seen, run.images_seen + hyper.batch
            made += hyper.batch
            gan.note(run, measures)
            if run.images_seen // every > before // every:
                begun.save(folder)
            yield gan.progress(run, measures, made / max(clock() - began, 1e-9))
    except GeneratorExit:
        begun.save(folder)
        raise
    begun.save(folder)


def step(begun: PrivateRun) -> list[float]:
    """One released step of the discriminator, and the generator's when it is due; returns gan.MEASURES, of fakes.

    The generator's chance is the run's own and public. That of the pairs is secret: were it public, one patient more
    would change the fakes of all who are drawn after them, and with them everybody's gradient.
    """
    run, terms, chance = begun.run, begun.terms, begun.chance
    begun.account.spend()
    gradient = private.released(
        private.gradients_of(run.discriminator, _pairs(begun), run.gamma),
        run.discriminator_adam.parameters,
        clip=terms.clip,
        noise=terms.noise,
        expected=terms.expected,
        chance=chance,
    )
    run.discriminator_adam.step(gradient, run.lr)
    rng = run.rng()
    loss, found = private.on_fakes(run.generator, run.discriminator, PROBE, rng)
    begun.pace.note(found)
    if begun.pace.due:
        _generator_step(begun, rng)
    return [loss, begun.pace.generator_loss, 0.0, 0.0]


def _generator_step(begun: PrivateRun, rng: torch.Generator) -> None:
    run, pace, batch = begun.run, begun.pace, begun.run.hyper.batch
    gradient, pace.generator_loss, _ = private.generator_gradient(run.generator, run.discriminator, batch, rng)
    run.generator_adam.step(gradient, run.lr)
    ema.update(
        run.average,
        run.generator,
        batch=batch * pace.since,
        images_seen=run.images_seen + batch,
        half_life=run.hyper.ema_images,
    )
    pace.since = 0


def _pairs(begun: PrivateRun) -> Iterator[private.Pairs]:
    """The drawn patients, some at a time: their images, and a fake of the same class beside each."""
    run, each, chance = begun.run, begun.terms.images, begun.chance
    drawn = begun.patients.draw(begun.terms.rate, chance)
    size = private.at_a_time(run.discriminator, each)
    for start in range(0, len(drawn), size):
        rows = begun.patients.images(drawn[start : start + size], each, chance)
        real, labels = begun.batches.of(rows, run.device)
        present = torch.from_numpy(chance.uniform(len(rows)) >= run.hyper.condition_dropout)
        c = condition(labels, run.design.num_classes, present.to(run.device))
        z = torch.from_numpy(chance.normal(len(rows) * run.design.latent).astype(np.float32))
        with torch.no_grad():
            fake = run.generator(z.view(len(rows), -1).to(run.device), c)
        yield private.Pairs(*(x.view(-1, each, *x.shape[1:]) for x in (real, fake, c)))


def _begun(
    images: NDArray[Any],
    labels: NDArray[Any],
    owners: NDArray[Any],
    design: Design,
    hyper: gan.Hyper,
    terms: Terms,
    folder: Path,
    device: str,
    chance: Chance,
) -> PrivateRun:
    gan.keep_memory()
    patients = Patients.of(owners)
    if len(patients.rows) != terms.patients:
        raise UsageError(f"the terms are for {terms.patients} patients, the images are of {len(patients.rows)}")
    run, pace, known = gan.start(design, hyper, torch.device(device)), Pace(terms.discriminator_steps), None
    if found := checkpoint.latest(folder):
        if "privacy" not in found.rest:
            raise UsageError("the folder holds checkpoints of a run without privacy; give each run its own")
        run.restore(found)
        known = int(found.rest["privacy"]["steps"])
        pace = Pace(pace.most, **found.rest["privacy"]["pace"])
    account = opened(folder, terms, math.ceil(hyper.images / hyper.batch), known)
    return PrivateRun(run, Batches(images, labels, hyper.batch, hyper.seed), patients, account, pace, chance)
