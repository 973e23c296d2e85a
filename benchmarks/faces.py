"""Whether a face can still be told from a head volume after its removal, what is left of the head, and the cost.

    ./run bench faces                        made-up heads
    ./run bench faces --real FILE [FILE ..]  and head volumes: an archive of DICOM, or a NIfTI file
    ./run bench faces --picture faces.png    before and after, of made-up heads

Re-identification is tried by depth maps: each head is scanned again, moved and turned a little, and looked for among
all heads by the correlation of what a camera would see from the front or the side. The positions are given to the
attacker. The method was mended on heads 1 to 20 and 100 to 123; the default heads are others.
"""

from __future__ import annotations

import argparse
import sys
import time
import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

import heads  # noqa: E402

from medgan.deid.faces import faces, planes  # noqa: E402
from medgan.deid.faces import surface as head_surface  # noqa: E402

STEP_MM = 4.0
PLAN = heads.Plan((61, 68, 54), (-106.0, -142.0, -166.0), (0.0, 0.0, STEP_MM), (STEP_MM, STEP_MM))
FINE = heads.Plan((100, 112, 90), (-108.0, -142.0, -168.0), (0.0, 0.0, 2.4), (2.4, 2.4))  # for pictures
KINDS = {"CT": (heads.HU, 15.0, heads.stored_ct), "MR T1": (heads.T1, 0.03, heads.stored_mr)}
KINDS |= {"MR T2": (heads.T2, 0.03, heads.stored_mr)}
SKIN = {"CT": 724, "MR T1": 130, "MR T2": 130}  # stored values above which a camera sees something
FAR_MM = 300.0
FACE_MM = (-155.0, -30.0)  # from below the chin to the brow
Depth = NDArray[np.floating[Any]]
Views = tuple[Depth, Depth, Depth]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--heads", type=int, default=24, help="made-up heads; 0 for real ones alone")
    parser.add_argument("--seed", type=int, default=500)
    parser.add_argument("--kind", choices=KINDS, nargs="+", default=list(KINDS))
    parser.add_argument("--real", type=Path, nargs="+", default=[], help="archives of DICOM, or NIfTI files")
    parser.add_argument("--picture", type=Path, help="write pictures of made-up heads and do nothing else")
    given = parser.parse_args()
    if given.picture:
        save_picture(given.picture)
        return
    if given.heads:
        report(range(given.seed, given.seed + given.heads), given.kind)
        report_cost()
    for path in given.real:
        report_real(path)


@dataclass
class Trial:
    """What is gathered of one kind of scan: views of the heads, and of a second scan, as taken and as treated."""

    gallery: list[Views] = field(default_factory=list)
    probes: list[Views] = field(default_factory=list)
    treated: list[Views] = field(default_factory=list)
    figures: list[tuple[float, float, int]] = field(default_factory=list)
    aside: int = 0


def report(seeds: range, kinds: list[str]) -> None:
    """Prints, over heads, what changed of face and brain, and how often a head is found again."""
    points, trials = PLAN.points(), {kind: Trial() for kind in kinds}
    for seed in seeds:
        rng = np.random.default_rng([seed, 1])
        face, moved = heads.draw_face(seed), heads.draw_face(seed, pitch_deg=float(rng.normal(0, 2)))
        shifted = points - rng.normal(0, 1, 3).astype(np.float32)
        first, second = heads.tissue(face, points), heads.tissue(moved, shifted)
        surface, inside = heads.on_face(moved, shifted, STEP_MM), heads.inside_skull(moved, shifted)
        for kind, trial in trials.items():
            before, after = treat(picture(kind, second, seed + 1), kind)
            trial.gallery.append(views(picture(kind, first, seed), kind))
            if not (before != after).any():
                trial.gallery.pop()
                trial.aside += 1
                continue
            trial.probes.append(views(before, kind))
            trial.treated.append(views(after, kind))
            left = ndimage.distance_transform_edt(ndimage.median_filter(after, 3) < SKIN[kind], sampling=STEP_MM)
            changed = before != after
            trial.figures.append((changed[surface].mean(), left[surface].mean(), int(changed[inside].sum())))
    for kind, trial in trials.items():
        report_trial(kind, trial)


def report_trial(kind: str, trial: Trial) -> None:
    surface, far, brain = np.array(trial.figures).T
    print(f"{kind}: {len(surface)} heads treated, {trial.aside} set aside")
    print(f"{kind}: face surface changed {surface.mean():.4f} (least {surface.min():.4f})")
    print(f"{kind}: from the old face to what is left {far.mean():.1f} mm (least {far.min():.1f})")
    print(f"{kind}: voxels changed inside the skull {int(brain.sum())}")
    for number, view in enumerate(("face from the front", "face from the side", "whole head from the front")):
        known = [v[number] for v in trial.gallery]
        both = [[v[number] for v in those] for those in (trial.probes, trial.treated)]
        found = [rank_one(probes, known) for probes in both]
        same = [np.mean([match(p, k) for p, k in zip(probes, known, strict=True)]) for probes in both]
        print(
            f"{kind}: {view}: found {found[0]:.2f} before, {found[1]:.2f} after, chance {1 / len(known):.2f}; "
            f"correlation with the own face {same[0]:.3f} before, {same[1]:.3f} after",
            flush=True,
        )


def picture(kind: str, labels: NDArray[np.uint8], seed: int) -> NDArray[np.uint16]:
    contrast, noise, stored = KINDS[kind]
    return stored(heads.scan(labels, contrast, noise, seed))


def treat(stored: NDArray[np.uint16], kind: str, plan: heads.Plan = PLAN) -> tuple[NDArray[Any], NDArray[Any]]:
    """Stored values before and after; those of a head that was set aside are the same."""
    series = heads.series(stored, plan, Modality=kind[:2])
    faces.deface(series)
    return stored, heads.stack(series)


def views(stored: NDArray[Any], kind: str) -> Views:
    """Depth maps in mm: the face from the front and from the side, and the whole head from the front."""
    solid = ndimage.median_filter(stored, 3) > SKIN[kind]
    heights = PLAN.origins()[:, 2]
    face = (heights > FACE_MM[0]) & (heights < FACE_MM[1])
    front, side = depth_map(solid, 1), depth_map(solid, 2)
    return front[face], side[face][:, : int(0.5 * PLAN.shape[1])], front


def depth_map(solid: NDArray[np.bool_], axis: int) -> Depth:
    depth = np.argmax(solid, axis=axis) * STEP_MM
    depth[~solid.any(axis=axis)] = FAR_MM
    return depth


def match(one: Depth, other: Depth) -> float:
    """The correlation of two depth maps where either sees something."""
    seen = (one < FAR_MM) | (other < FAR_MM)
    a, b = np.minimum(one[seen], 200), np.minimum(other[seen], 200)
    return float(np.corrcoef(a, b)[0, 1]) if a.std() and b.std() else 0.0


def rank_one(probes: list[Depth], gallery: list[Depth]) -> float:
    """How often the best match of a probe is its own head."""
    best = [int(np.argmax([match(probe, known) for known in gallery])) for probe in probes]
    return float(np.mean([n == own for own, n in enumerate(best)]))


def report_cost() -> None:
    plan = heads.Plan((100, 512, 512), (-112.0, -140.0, -158.0), (0.0, 0.0, 2.3), (0.45, 0.45))
    coarse = heads.Plan((100, 128, 128), plan.origin, plan.step, (1.8, 1.8))
    stored = picture("CT", heads.tissue(heads.draw_face(7), coarse.points()), 7).repeat(4, 1).repeat(4, 2)
    series = heads.series(stored, plan)
    start = time.process_time()
    faces.deface(series)
    cost = time.process_time() - start
    print(f"cost: {cost:.1f} core-s for 512 x 512 x 100, treated {all(i.faceless for i in series)}", flush=True)


def report_real(path: Path) -> None:
    groups = nifti(path) if ".nii" in path.name else archive(path)
    for number, series in enumerate(groups):
        before = [planes.stored_frames(i.ds) for i in series]
        start = time.process_time()
        faces.deface(series)
        cost = time.process_time() - start
        after = [planes.stored_frames(i.ds) for i in series]
        changed = np.mean([np.mean(a[0] != b[0]) for a, b in zip(before, after, strict=True)])
        brain = brain_changed(series, before, after)
        treated = sum(i.faceless for i in series)
        print(f"real {number}: {treated} of {len(series)} instances treated, {cost:.1f} core-s, ", end="")
        print(f"share of voxels changed {changed:.3f}, of those found to be brain {brain}", flush=True)


def brain_changed(series: Any, before: Any, after: Any) -> str:
    """How many voxels changed in the brain as it is found without the face's removal; "-" when it is not found."""
    slices = planes.volume([plane for i in series for plane in planes.planes(i)]) if series[0].faceless else None
    if slices is None:
        return "-"
    values, seen, origin = head_surface.sampled(slices)
    modality = series[0].ds.Modality
    brain = (head_surface.brain_of_ct if modality == "CT" else head_surface.brain_of_mr)(values, seen)
    if brain is None:
        return "-"
    count = 0
    for instance, old, new in zip(series, before, after, strict=True):
        plane = planes.planes(instance)[0]
        points = plane.points(*(np.arange(n) for n in old[0].shape))
        places = np.moveaxis((points - origin) / head_surface.STEP_MM, -1, 0)[::-1]
        inside = ndimage.map_coordinates(brain.astype(np.float32), places, order=1) > 0.5
        count += np.count_nonzero((old[0] != new[0]) & inside)
    return str(count)


def archive(path: Path) -> list[list[heads.Picture]]:
    """The head series of an archive with more than a few slices."""
    found: dict[str, list[heads.Picture]] = {}
    with zipfile.ZipFile(path) as file:
        for name in file.namelist():
            data = file.read(name)
            if data[128:132] == b"DICM":
                read = heads.reread(data)
                if "ImagePositionPatient" in read.ds and faces.shows(read.ds) is faces.Shows.HEAD:
                    found.setdefault(str(read.ds.SeriesInstanceUID), []).append(read)
    return [series for series in found.values() if len(series) > 20]


def nifti(path: Path) -> list[list[heads.Picture]]:
    import nibabel

    image = nibabel.as_closest_canonical(nibabel.load(path))
    data = np.asarray(image.dataobj, np.float32).transpose(2, 1, 0)[:, ::-1, ::-1]
    stored = np.round(4000 * data / data.max()).astype("<u2")
    x, y, z = (float(s) for s in image.header.get_zooms()[:3])
    low = image.affine @ [data.shape[2] - 1, data.shape[1] - 1, 0, 1]
    plan = heads.Plan(stored.shape, (-low[0], -low[1], low[2]), (0.0, 0.0, z), (y, x))
    return [heads.series(stored, plan, Modality="MR")]


def save_picture(path: Path) -> None:
    """Made-up heads from the front, from the side and cut in two: with their faces above, as they leave below."""
    columns = []
    for seed, kind in ((11, "CT"), (13, "MR T1")):
        both = treat(picture(kind, heads.tissue(heads.draw_face(seed), FINE.points()), 1), kind, FINE)
        rows = []
        for stored in both:
            solid = ndimage.median_filter(stored, 3) > SKIN[kind]
            middle = np.clip(stored[:, :, FINE.shape[2] // 2] / (1300.0 if kind == "CT" else 900.0), 0, 1) * 255
            shown = (shade(depth_map(solid, 1)), shade(depth_map(solid[:, :, ::-1], 2)), middle)
            rows.append(np.hstack([np.pad(v, ((0, 4), (0, 4)))[::-1] for v in shown]))
        columns.append(np.vstack(rows))
    wall = Image.fromarray(np.hstack(columns).astype(np.uint8))
    wall.resize((wall.width * 3 // 2, wall.height * 3 // 2)).save(path, optimize=True)


def shade(depth: Depth) -> Depth:
    """A depth map as a lamp from above shows it, 0 to 255."""
    seen = depth < FAR_MM
    smooth = ndimage.gaussian_filter(np.where(seen, depth, 200), 0.6)
    down, along = np.gradient(smooth / STEP_MM)
    light = np.clip((0.75 - 0.45 * down + 0.15 * along) / np.sqrt(1 + down**2 + along**2), 0.05, 1)
    return np.where(seen, 255 * light, 0)


if __name__ == "__main__":
    main()
