"""What a private run has spent: noisy steps, counted on disk before they are made.

FOLDER/privacy.json    the terms, the number of steps that may have been released, and the sha256 of both

A step is counted before it reads a patient. Steps that a kill threw away stay counted: their weights may have been
read, and the same step made again has other noise. (The same noise on a sum that differs in its last bits, as on
another number of threads, would be worse than spending it twice: the difference of both has no noise at all. So no
seed is kept, and a checkpoint holds nothing that noise could be computed from: what lies there is what was released.)
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from medgan import digest as digests
from medgan.errors import CorruptArtefact, UsageError
from medgan.gan import checkpoint
from medgan.gan.accountant import Segment, most_steps, noise_multiplier
from medgan.gan.accountant import epsilon as cost

FILE = "privacy.json"


@dataclass(frozen=True, slots=True)
class Terms:
    """What is promised, and the mechanism that keeps it."""

    epsilon: float  # never exceeded
    delta: float
    noise: float  # standard deviation, in clipping norms
    clip: float
    patients: int
    expected: int  # patients drawn in a step, on average
    images: int = 1  # of a drawn patient in a step
    discriminator_steps: int = 10  # to one of the generator

    @property
    def rate(self) -> float:
        """The probability with which a patient is drawn for a step."""
        return self.expected / self.patients


def promised(
    *,
    patients: int,
    expected: int,
    steps: int,
    epsilon: float,
    delta: float,
    noise: float | None = None,
    clip: float = 1.0,
    images: int = 1,
    discriminator_steps: int = 10,
) -> Terms:
    """Terms for a cohort of `patients`; without `noise`, the least with which all `steps` fit into epsilon.

    Raises UsageError for a delta that would allow to publish a patient, or a step that draws more than there are.
    """
    if delta * patients >= 1:
        raise UsageError(
            f"train.privacy.delta is {delta:g}; with {patients} patients in the train part it must be below "
            f"{1 / patients:.2g}, or one of them could be published whole"
        )
    if expected > patients:
        raise UsageError(f"train.batch is {expected} patients a step, the train part has {patients}; make it smaller")
    try:
        found = noise or noise_multiplier(expected / patients, steps, epsilon, delta)
    except ValueError as error:
        raise UsageError(f"train.privacy: {error}; use fewer train.images or a larger epsilon") from None
    return Terms(
        epsilon=epsilon,
        delta=delta,
        noise=found,
        clip=clip,
        patients=patients,
        expected=expected,
        images=images,
        discriminator_steps=discriminator_steps,
    )


@dataclass
class Account:
    """Steps that were made and steps that may be. `counted` is what stands on disk: never below `made`."""

    path: Path
    terms: Terms
    most: int
    made: int = 0
    counted: int = 0

    @property
    def left(self) -> int:
        return self.most - self.made

    def reserve(self, steps: int) -> None:
        """Count up to `steps` more before they are made, as far as there are any left."""
        self._write(min(self.most, self.made + steps))

    def spend(self) -> None:
        """One step is about to be made. Raises UsageError when it was not counted, or the budget is spent."""
        if self.made >= min(self.counted, self.most):
            raise UsageError(f"{self.made} private steps are made, {self.counted} counted, {self.most} allowed")
        self.made += 1

    def settle(self) -> None:
        """Give back what was counted and not made. Only a run that is alive knows."""
        self._write(self.made)

    def _write(self, counted: int) -> None:
        body = {"terms": asdict(self.terms), "counted": counted}
        self.path.parent.mkdir(parents=True, exist_ok=True)
        checkpoint.replace(self.path, digests.canonical({**body, "sha256": digests.sha256(digests.canonical(body))}))
        self.counted = counted


def opened(folder: Path, terms: Terms, steps: int, known: int | None) -> Account:
    """The account of the run in `folder`, which wants `steps` in all; `known`: steps of its checkpoint, if it has one.

    Raises UsageError for other terms, CorruptArtefact when a checkpoint's account is gone: nobody can tell then.
    """
    path = folder / FILE
    most = most_steps(terms.rate, terms.noise, terms.epsilon, terms.delta, steps)
    if not path.exists() and known is None:
        return Account(path, terms, most)
    theirs, counted = read(folder, known or 0)
    if theirs != terms:
        raise UsageError("the folder holds a private run on other terms; give each run its own")
    return Account(path, terms, most, made=counted, counted=counted)


def read(folder: Path, known: int = 0) -> tuple[Terms, int]:
    """The terms of the run in `folder`, and its steps counted so far, at least those `known` from its checkpoint.

    Raises CorruptArtefact.
    """
    try:
        body = json.loads((folder / FILE).read_bytes())
        if body.pop("sha256") != digests.sha256(digests.canonical(body)) or body["counted"] < known:
            raise ValueError(FILE)
        return Terms(**body["terms"]), int(body["counted"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        raise CorruptArtefact(
            f"a private run's {FILE} is missing, damaged or older than its checkpoint: what it spent cannot be told; "
            "count the whole epsilon as spent, remove the run's folder in research/work and go again"
        ) from None


def statement(terms: Terms, steps: int, unit: str = "patient") -> dict[str, Any]:
    """JSON-able: the guarantee and all that a second accountant needs; `unit`: patient, or image where nobody knew."""
    return {
        "epsilon": cost([Segment(terms.rate, terms.noise, steps)], terms.delta),
        "delta": terms.delta,
        "unit": unit,
        "neighbours": f"all that one {unit} contributes, left out or not; how many there are is public",
        "mechanism": "Poisson-subsampled Gaussian",
        "sampling_rate": terms.rate,
        "noise_multiplier": terms.noise,
        "clip": terms.clip,
        "steps": steps,
        "units": terms.patients,
        "target_epsilon": terms.epsilon,
    }
