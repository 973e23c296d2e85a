"""Cohort + TrainRecipe -> Checkpoint: resumable, and sealed under a name that says what it was trained on."""

from __future__ import annotations

import contextlib
import logging
import math
import shutil
import signal
import threading
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from medgan import digest as digests
from medgan import parallel
from medgan.cohort.arrays import CohortArrays
from medgan.cohort.staged import staged_part
from medgan.errors import CorruptArtefact, SourceError, Stopped
from medgan.gan import checkpoint as checkpoints
from medgan.gan import private_train as private
from medgan.gan import train as gan
from medgan.gan.networks import AnyGenerator, Design
from medgan.gan.sample import grid, sample
from medgan.gan.spent import Terms, promised, read, statement
from medgan.gan.train import Progress
from medgan.home import Home
from medgan.recipes import PrivacyRecipe, TrainRecipe
from medgan.records import Checkpoint, Cohort
from medgan.stages import stale, tracking

logger = logging.getLogger(__name__)

VERSION = 1  # bump when the same cohort and recipe should give other weights
STAGE = "train"
COLUMNS = 8  # of the picture of samples
POINTS, GRIDS = 100, 4  # of a run in the registry


def train(
    cohort: Cohort,
    recipe: TrainRecipe,
    home: Home,
    *,
    on_progress: Callable[[Progress], None] | None = None,
    budget_s: float | None = None,
    device: str = "",
    threads: int | None = None,
) -> Checkpoint:
    """Train on the cohort's train part, or go on where an earlier call was cut off.

    `device`: cpu or cuda, empty for what there is. With `budget_s` the run ends by the clock and what it has is
    sealed under a key that includes images_seen; called again, it goes on. Raises UsageError when the networks do
    not fit the images, SourceError when nothing is there to train on, Stopped on SIGTERM (after a checkpoint).
    """
    key = digests.key(STAGE, VERSION, [cohort.digest], recipe)
    work = home.work / key
    if made := home.research.made(key, Checkpoint):
        shutil.rmtree(work, ignore_errors=True)
        stale.answer(home)
        return made
    home.research.store.verify(cohort.digest)
    hyper = _hyper(recipe, cohort.group)
    with (
        home.research.ledger.lease(f"{STAGE}/{key}"),
        staged_part(home.research.store.path(cohort.digest) / "cohort.zarr", "train", folder=home.work) as real,
        gan.threads(threads or parallel.cores()),
        _terminated() as terminated,
    ):
        if not len(real):
            raise SourceError("the cohort has no image in its train part; use more patients or another split")
        design = _design(real, recipe)
        run = _Run(home, key, recipe, cohort)
        iterator = _loop(real, design, recipe, hyper, work, device or gan.default_device(), budget_s)
        with contextlib.closing(iterator):
            for progress in iterator:
                run.note(progress, design)
                if on_progress is not None:
                    on_progress(progress)
                if terminated.is_set():
                    break
        if terminated.is_set():
            raise Stopped("training was stopped and wrote a checkpoint; run the same command to go on")
        made = _sealed(cohort, recipe, home, real, design, key)
    run.end(made)
    stale.answer(home)
    return made


def _loop(
    real: CohortArrays,
    design: Design,
    recipe: TrainRecipe,
    hyper: gan.Hyper,
    folder: Path,
    device: str,
    budget_s: float | None,
) -> Generator[Progress, None, None]:
    if recipe.privacy is None:
        return gan.train(real.images, real.label, design, hyper, folder=folder, device=device, budget_s=budget_s)
    return private.train(
        real.images,
        real.label,
        real.patient_key,
        design,
        hyper,
        _terms(real, recipe, recipe.privacy),
        folder=folder,
        device=device,
        budget_s=budget_s,
    )


def _terms(real: CohortArrays, recipe: TrainRecipe, privacy: PrivacyRecipe) -> Terms:
    """Raises UsageError where so few patients cannot be promised that."""
    return promised(
        patients=len(np.unique(real.patient_key)),
        expected=recipe.batch,
        steps=math.ceil(recipe.images / recipe.batch),
        epsilon=privacy.epsilon,
        delta=privacy.delta,
        noise=privacy.noise_multiplier,
        clip=privacy.clip,
        images=privacy.images_per_patient,
        discriminator_steps=privacy.discriminator_steps,
    )


def _design(real: CohortArrays, recipe: TrainRecipe) -> Design:
    return Design(
        shape=_shape(real.images),
        num_classes=len(real.classes),
        kind=recipe.network,
        widths=recipe.widths,
        head=recipe.head,
        latent=recipe.latent,
    )


class _Run:
    """What the registry will show of this run: curves and sample grids, spooled first and shipped at the end."""

    def __init__(self, home: Home, key: str, recipe: TrainRecipe, cohort: Cohort) -> None:
        self.home, self.key, self.images = home, key, recipe.images
        self.name = f"{STAGE}-{recipe.network}-{key[:12]}"
        self.spool = tracking.spool(home, self.name)
        self.spool.params(recipe.model_dump(mode="json"))
        self.spool.tags({"group": cohort.group, "cohort": cohort.digest, "images": str(cohort.splits.get("train", 0))})
        self.told = self.drawn = 0

    def note(self, progress: Progress, design: Design) -> None:
        if (point := progress.images_seen * POINTS // self.images) > self.told:
            self.told = point
            self.spool.follow(progress)
        if (picture := progress.images_seen * GRIDS // self.images) > self.drawn:
            self.drawn = picture
            self._draw(design)

    def end(self, made: Checkpoint) -> None:
        self.spool.artifact(self.home.research.store.path(made.digest) / "samples.png", "samples")
        self.spool.end()
        tracking.ship(self.home, self.name)

    def _draw(self, design: Design) -> None:
        """Samples of the newest checkpoint, from the same latents each time."""
        snapshot = checkpoints.latest(self.home.work / self.key)
        if snapshot is None:
            return
        with self.home.research.store.staging() as folder:
            picture = folder / f"{snapshot.images_seen:09d}.png"
            Image.fromarray(_samples(checkpoints.rebuild(snapshot, design)[0])).save(picture)
            self.spool.artifact(picture, "samples")


def _sealed(
    cohort: Cohort, recipe: TrainRecipe, home: Home, real: CohortArrays, design: Design, key: str
) -> Checkpoint:
    work = home.work / key
    snapshot = checkpoints.latest(work)
    if snapshot is None:
        raise CorruptArtefact("the run's checkpoint vanished before it was sealed; train again")
    privacy = snapshot.rest.get("privacy")
    whole = snapshot.images_seen >= recipe.images or (privacy is not None and not privacy["left"])
    if not whole:
        key = digests.key(STAGE, VERSION, [cohort.digest], recipe, images_seen=snapshot.images_seen)
    record = Checkpoint(
        digest="",
        images_seen=snapshot.images_seen,
        recipe_digest=digests.sha256(digests.canonical(recipe)),
        cohort_digest=cohort.digest,
        group=cohort.group,
        network=recipe.network,
    )
    state = {
        **record.model_dump(mode="json", exclude={"digest"}),
        "recipe": recipe.model_dump(mode="json"),
        "unit": cohort.unit,
        "classes": list(real.classes),
        "shape": list(design.shape),
        "rollbacks": snapshot.rest["rollbacks"],
        **(_counts(real) if privacy is None else _promise(work, design, cohort.unit)),
    }

    def fill(folder: Path) -> Checkpoint:
        average, discriminator = checkpoints.rebuild(snapshot, design)
        checkpoints.seal(folder, average, discriminator, state)
        (folder / "history.json").write_bytes(digests.canonical(snapshot.rest["history"]))
        Image.fromarray(_samples(average)).save(folder / "samples.png")
        return record

    sealed = home.research.make(
        key,
        fill,
        stage=STAGE,
        kind=Checkpoint,
        parents=(cohort.digest,),
        patients=_patients(real),
    )
    if whole:
        shutil.rmtree(work, ignore_errors=True)
    return sealed


def _hyper(recipe: TrainRecipe, group: str) -> gan.Hyper:
    return gan.Hyper(
        loss=recipe.loss,
        batch=recipe.batch,
        images=recipe.images,
        lr=recipe.lr,
        betas=recipe.betas,
        gamma=recipe.gamma,
        augment=recipe.augment,
        modality=group.split("-")[0],
        ema_images=recipe.ema_images,
        precision=recipe.precision,
        condition_dropout=recipe.condition_dropout,
        checkpoint_images=recipe.checkpoint_images,
        seed=recipe.seed,
    )


def _samples(generator: AnyGenerator) -> NDArray[np.uint8]:
    """A row of fixed latents for each class, twice for a single one."""
    labels = np.repeat(np.arange(generator.num_classes), COLUMNS * (1 if generator.num_classes > 1 else 2))
    return grid(sample(generator, labels, seed=0), COLUMNS)


def _counts(real: CohortArrays) -> dict[str, Any]:
    counts = np.bincount(real.label, minlength=len(real.classes))
    return {"proportions": [float(n) / len(real) for n in counts], "training_images": len(real)}


def _promise(work: Path, design: Design, unit: str) -> dict[str, Any]:
    """What may be said of a private run: how many images each class has is not among it."""
    even = [1 / design.num_classes] * design.num_classes
    return {"proportions": even, "privacy": statement(*read(work), unit)}


def _patients(real: CohortArrays) -> list[str]:
    """Whom the weights saw; images without a patient have a key of zeros."""
    return sorted({str(key) for key in real.patient_key if str(key).strip("0")})


def _shape(images: NDArray[Any]) -> tuple[int, int, int, int]:
    _, channels, depth, height, width = images.shape
    return channels, depth, height, width


@contextlib.contextmanager
def _terminated() -> Iterator[threading.Event]:
    """An event that SIGTERM sets. Outside the main thread no handler can be set, and none is."""
    event = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield event
        return

    def note(_: int, __: FrameType | None) -> None:
        event.set()

    before = signal.signal(signal.SIGTERM, note)
    try:
        yield event
    finally:
        signal.signal(signal.SIGTERM, before)
