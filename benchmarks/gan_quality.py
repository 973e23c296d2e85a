"""How good the pictures of a generator are after a fixed CPU budget: the article's pair beside ours, with floors.

    ./run bench gan_quality --pictures FILE --data pneumoniamnist_28|mednist64|nih_cxr_256|msd_hippocampus
        [--models mlp-minimax mlp residual] [--seconds 60] [--seeds 0 1 2] [--size 32] [--out DIR]

FILE is the npz or zip that a data set comes in; docs/gan.md says where from. The hyper-parameters are those of the
presets `baseline` (mlp; mlp-minimax has the article's original loss) and `demo` (residual). --seconds are CPU seconds
of training, by the process's own clock on one thread; schedules are stretched to them by a short run beforehand, which
is not counted. Real pictures are split 60:20:20 by patient (or, where a set has no patient ids, by near-duplicate
unit): the first part trains the GAN and the feature networks, the second one makes the real-real floor with it, the
third one is the exam for usefulness. Figures, floors and checks are those of a scorecard (medgan.cohort.likeness).
"""

from __future__ import annotations

import argparse
import csv
import gzip
import io
import os
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ[name] = "1"

import numpy as np  # noqa: E402
import torch  # noqa: E402
from numpy.typing import NDArray  # noqa: E402
from PIL import Image  # noqa: E402
from scipy import ndimage  # noqa: E402

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT)]

from medgan.cohort import floor, likeness, two_sample, utility  # noqa: E402
from medgan.cohort.duplicates import units  # noqa: E402
from medgan.gan import checkpoint, train  # noqa: E402
from medgan.gan.labels import in_proportion  # noqa: E402
from medgan.gan.networks import AnyGenerator, Design  # noqa: E402
from medgan.gan.sample import grid, sample  # noqa: E402
from medgan.recipes import TrainRecipe, load  # noqa: E402

SHARES = (0.6, 0.2, 0.2)  # train, beside it, exam
MODELS = ("mlp-minimax", "mlp", "residual")
WARM_UP_S = 4.0
BLANK = 2.0  # grey levels: the spread of an empty picture
COLUMNS = ("kimg", "core-s", "fd", "fd x", "kid", "prec", "recall", "cover", "authen", "swd x", "psd x", "c2st", "cnn",
           "msssim", "tstr", "trtr")  # fmt: skip
WORSE_UP = {"fd", "fd x", "kid", "swd x", "psd x", "c2st", "cnn", "msssim"}


@dataclass(frozen=True)
class Real:
    """images uint8 [N, 1, D, H, W], label [N], owner [N] and what an owner is."""

    images: NDArray[np.uint8]
    label: NDArray[np.int64]
    owner: NDArray[Any]
    unit: str
    modality: str

    @property
    def classes(self) -> int:
        return int(self.label.max()) + 1

    def floats(self, index: NDArray[Any]) -> NDArray[np.float32]:
        return self.images[index].astype(np.float32) * np.float32(2 / 255) - 1


def pneumoniamnist(path: Path, size: int) -> Real:
    with np.load(path, allow_pickle=False) as file:
        images = np.concatenate([file["train_images"], file["val_images"]])
        label = np.concatenate([file["train_labels"], file["val_labels"]]).ravel().astype(np.int64)
    edge = (size - images.shape[1]) // 2
    images = np.pad(images, ((0, 0), (edge, edge), (edge, edge)))[:, None, None]
    return Real(images, label, units(images), "near-duplicate unit (no patient ids)", "DX")


def mednist(path: Path, size: int) -> Real:
    with zipfile.ZipFile(path) as archive:
        names = sorted(name for name in archive.namelist() if name.endswith(".jpeg"))
        images = np.stack([_picture(archive.read(name), size) for name in names])[:, None, None]
    label = np.unique([name.split("/")[-2] for name in names], return_inverse=True)[1].astype(np.int64)
    drawn = images.std(axis=(1, 2, 3, 4)) > BLANK  # the set has empty pictures, which intake would refuse
    images, label = images[drawn], label[drawn]
    return Real(images, label, units(images), "near-duplicate unit (no patient ids)", "OT")


def nih(path: Path, size: int) -> Real:
    with zipfile.ZipFile(path) as archive:
        table = next(name for name in archive.namelist() if name.endswith("labels.csv"))
        rows = list(csv.DictReader(io.StringIO(archive.read(table).decode())))
        where = {name.split("/")[-1]: name for name in archive.namelist()}
        images = np.stack([_picture(archive.read(where[row["file"]]), size) for row in rows])[:, None, None]
    label = np.unique([row["label"] for row in rows], return_inverse=True)[1]
    return Real(images, label.astype(np.int64), np.array([row["patient_id"] for row in rows]), "patient", "DX")


def hippocampus(path: Path, size: int) -> Real:
    import nibabel

    volumes = []
    with zipfile.ZipFile(path) as archive:
        for name in sorted(n for n in archive.namelist() if "images/" in n and n.endswith(".nii.gz")):
            values = np.asarray(nibabel.Nifti1Image.from_bytes(gzip.decompress(archive.read(name))).dataobj, np.float32)
            low, high = np.percentile(values, (0.5, 99.5))
            grey = np.clip((values - low) / (high - low), 0, 1).transpose(2, 1, 0)
            small = ndimage.zoom(grey, [size / side for side in grey.shape], order=1, grid_mode=True, mode="nearest")
            volumes.append((small * 255).round().astype(np.uint8))
    images = np.stack(volumes)[:, None]
    return Real(images, np.zeros(len(images), np.int64), np.arange(len(images)), "patient", "MR")


DATA: dict[str, tuple[Callable[[Path, int], Real], int]] = {
    "pneumoniamnist_28": (pneumoniamnist, 32),
    "mednist64": (mednist, 64),
    "nih_cxr_256": (nih, 64),
    "msd_hippocampus": (hippocampus, 32),
}


def _picture(data: bytes, size: int) -> NDArray[np.uint8]:
    return np.asarray(Image.open(io.BytesIO(data)).convert("L").resize((size, size), Image.Resampling.BOX))


def split(real: Real) -> list[NDArray[np.intp]]:
    """Rows of each part; an owner is in one of them."""
    owners = np.random.default_rng(0).permutation(np.unique(real.owner))
    ends = np.rint(np.cumsum((0, *SHARES)) * len(owners)).astype(int)
    return [np.flatnonzero(np.isin(real.owner, owners[a:b])) for a, b in zip(ends, ends[1:], strict=False)]


def made(model: str, real: Real, rows: NDArray[np.intp], seconds: float, seed: int) -> tuple[AnyGenerator, float, int]:
    """A generator trained for so many CPU seconds, what it took, and the images it was shown."""
    recipe = load(TrainRecipe, "demo" if model == "residual" else "baseline")
    loss = "minimax" if model == "mlp-minimax" else recipe.loss
    side = real.images.shape[-1]
    design = Design(
        shape=real.images.shape[1:],
        num_classes=real.classes,
        kind=recipe.network,
        widths=recipe.widths,
        head=max(1, side // (4 * 2 ** (len(recipe.widths) - 1))),
        latent=recipe.latent,
    )

    def run(images: int, limit: float, folder: Path) -> list[tuple[float, int]]:
        """The CPU time and the images seen after each batch."""
        hyper = train.Hyper(
            loss=loss,
            batch=recipe.batch,
            images=images,
            lr=recipe.lr,
            betas=recipe.betas,
            gamma=recipe.gamma,
            augment=recipe.augment,
            modality=real.modality,
            ema_images=recipe.ema_images,
            precision=recipe.precision,
            condition_dropout=recipe.condition_dropout,
            checkpoint_images=images,
            seed=seed,
        )
        batches = train.train(
            real.images[rows], real.label[rows], design, hyper, folder=folder, budget_s=limit, clock=time.process_time
        )
        return [(time.process_time(), progress.images_seen) for progress in batches]

    with tempfile.TemporaryDirectory() as scratch:
        tried = run(10_000_000, WARM_UP_S, Path(scratch) / "warm-up")
        # the second half only: the first compiles and allocates
        (start, before), (end, after) = tried[len(tried) // 2], tried[-1]
        rate = (after - before) / (end - start)
        wanted = max(recipe.batch, round(rate * seconds))
        began = time.process_time()
        shown = run(wanted, 1.1 * seconds, Path(scratch) / "run")[-1][1]
        taken = time.process_time() - began
        snapshot = checkpoint.latest(Path(scratch) / "run")
        assert snapshot is not None
        return checkpoint.rebuild(snapshot, design)[0].eval(), taken, shown


def scored(
    fakes: tuple[NDArray[np.float32], NDArray[np.int64]], real: Real, parts: list[NDArray[np.intp]], given: Any
) -> tuple[dict[str, float], dict[str, Any]]:
    """A row of the table, and the fidelity figures it comes from."""
    rows = np.concatenate(parts[:2])
    everyone = likeness.Offered(real.floats(rows), real.label[rows].astype(np.uint16), real.owner[rows])
    ours = likeness.Offered(fakes[0], fakes[1].astype(np.uint16), None)
    looks = likeness.likeness(
        everyone, {"synthetic": ours}, len(parts[0]), real.classes, steps=given.steps, seed=0, most=given.most
    )
    of = looks["metrics"]
    row = {
        "fd": of["fd"]["value"],
        "fd x": looks["fd_ratio"],
        "kid": of["kid"]["value"],
        "prec": of["precision"]["value"],
        "recall": of["recall"]["value"],
        "cover": of["coverage"]["value"],
        "authen": of["authenticity"]["value"],
        "swd x": of["swd"]["ratio"],
        "psd x": of["log_psd"]["ratio"],
        "c2st": of["c2st_auc"]["value"],
        "cnn": by_network(everyone, fakes[0], given.steps),
        "msssim": of["ms_ssim_gap"]["value"],
    }
    useful = utility.trained_on_synthetic(
        fakes,
        (real.floats(parts[0]), real.label[parts[0]]),
        (real.floats(parts[2]), real.label[parts[2]]),
        real.classes,
        steps=3 * given.steps,
        seed=0,
        owner=real.owner[parts[2]],
    )
    if useful is not None:
        row |= {"tstr": useful["tstr_auc"], "trtr": useful["trtr_auc"]}
    return row, {**looks, "utility": useful}


def by_network(real: likeness.Offered, fake: NDArray[np.float32], steps: int) -> float:
    """A network that is shown pictures, five folds, one draw: AUC of real against synthetic."""
    assert real.owner is not None
    draw = floor.draws(real.owner, {"synthetic": len(fake)}, seed=0, count=1)[0]
    return two_sample.told_apart_by_network(
        real.images[draw.a],
        fake[draw.fakes["synthetic"]],
        real.owner[draw.a],
        np.random.default_rng(0),
        steps=steps // 2,
        seed=0,
    )


def said(row: dict[str, float]) -> str:
    return "".join(f"{row[name]:>9.3g}" if name in row else f"{'-':>9}" for name in COLUMNS)


def worst(rows: list[dict[str, float]]) -> dict[str, float]:
    """The worst seed of each column by itself."""
    ends = {name: max if name in WORSE_UP else min for name in COLUMNS}
    return {name: ends[name](row[name] for row in rows) for name in COLUMNS if all(name in row for row in rows)}


def floors(looks: dict[str, Any], given: Any) -> None:
    useful = looks["utility"]
    print(f"\nreal against real, {looks['draws']} draws of n = {looks['n']} a side: mean and standard deviation")
    for name, of in looks["metrics"].items():
        print(f"  {name:14}{of['floor']:>10.4g} +- {of['floor_sd']:.2g}")
    checks = looks["checks"]
    if "rows" in checks:
        print(f"corruption checks: {len(checks['rows']) - len(checks['failed'])} of {len(checks['rows'])} as expected")
        print("".join(f"  {text}\n" for text in checks["failed"]), end="")
    else:
        print(f"corruption checks {checks['skipped']}")
    if useful:
        low, high = useful["trtr_interval"]
        print(f"exam: {useful['n']} real pictures, trained on real {useful['trtr_auc']:.3f} [{low:.3f}, {high:.3f}]")


def drawn(out: Path, name: str, images: NDArray[np.float32]) -> None:
    out.mkdir(parents=True, exist_ok=True)
    sheet = Image.fromarray(grid(images[:64], 8))
    sheet.resize((sheet.width * 2, sheet.height * 2), Image.Resampling.NEAREST).save(out / f"{name}.png")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=Path, required=True, help="the npz or zip of the data set")
    parser.add_argument("--data", choices=DATA, default="pneumoniamnist_28")
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    parser.add_argument("--seconds", type=float, default=60.0, help="CPU seconds of each training run")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--size", type=int, help="pixels a side; the default depends on the data set")
    parser.add_argument("--steps", type=int, default=200, help="training steps of a feature network")
    parser.add_argument("--most", type=int, default=floor.MOST, help="pictures a side in a comparison, at most")
    parser.add_argument("--out", type=Path, help="where to write a sheet of pictures of each run")
    given = parser.parse_args()
    torch.set_num_threads(1)
    read, size = DATA[given.data]
    real = read(given.pictures, given.size or size)
    parts = split(real)
    print(
        f"{given.data}: {len(real.images)} pictures {'x'.join(map(str, real.images.shape[1:]))}, {real.classes} classes"
    )
    print(
        f"split by {real.unit}, none in two parts: train {len(parts[0])}, beside {len(parts[1])}, exam {len(parts[2])}"
    )
    print(f"{given.seconds:g} CPU seconds a run, one thread; x: times the real-real floor\n")
    if given.out:
        drawn(given.out, "real", real.floats(np.random.default_rng(0).permutation(parts[0])[:64]))
    print(f"{'model':14}{'seed':>5}" + "".join(f"{name:>9}" for name in COLUMNS), flush=True)
    shares, count = np.bincount(real.label[parts[0]], minlength=real.classes), min(2000, 2 * len(parts[0]))
    labels = in_proportion(shares.astype(float).tolist(), count)
    looks: dict[str, Any] = {}
    for model in given.models:
        rows = []
        for seed in given.seeds:
            generator, taken, shown = made(model, real, parts[0], given.seconds, seed)
            fakes = sample(generator, labels, seed=seed)
            if given.out:
                drawn(given.out, f"{model}-{seed}", fakes)
            row, looks = scored((fakes, labels), real, parts, given)
            rows.append({"kimg": shown / 1000, "core-s": taken, **row})
            print(f"{model:14}{seed:>5}{said(rows[-1])}", flush=True)
        if len(rows) > 1:
            print(f"{model:14}worst{said(worst(rows))}", flush=True)
    floors(looks, given)


if __name__ == "__main__":
    main()
