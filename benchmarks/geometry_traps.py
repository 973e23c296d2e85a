"""Which tools fall into which trap of DICOM geometry, on series of known content; and real series, held side by side.

    ./run bench geometry_traps [--only WORD] [--real ZIP ...]

Each trap is a small made-up series whose values are a known function of patient x, y, z. Ours, SimpleITK and dcm2niix
turn it into volumes; each voxel is held against what should lie at the place that the volume gives it. A cell says
right, part (right, but not all slices), mixed (a true volume beside a wrong one), refused, or WRONG; how many volumes;
how far the worst voxel is off in HU, and the least number of millimetres that explains it. With --real every series of
the archives follows: assembled or refused, and equal or not to what SimpleITK and dcm2niix agree on.
Exit 1 where ours is wrong or not as the trap foresees, where it refuses without a purpose what another tool gets
right, where it is off a tool that is right, and where it differs from what both tools agree on in a real series.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import zipfile
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from known_content import SLOPE_HU, off_hu  # noqa: E402
from trap_series import Trap, traps  # noqa: E402

from medgan.dicom.read import Plane, read_planes, values  # noqa: E402
from medgan.dicom.series import Sorted, Stack, sort_planes  # noqa: E402
from medgan.errors import StudyRejected  # noqa: E402
from medgan.volume.geometry import HEAD_BACK_LEFT, alignment, unit  # noqa: E402

AFFINE_MM, VALUE = 1e-4, 1.0  # ours against a tool that is right
REAL_MM, REAL_SHARE = 0.02, 1e-3  # of two tools on real series: affines of float32, values as a share of their range
DCM2NIIX = Path(sys.executable).with_name("dcm2niix")
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Made:
    """A volume [D, H, W] that a tool made, LPS millimetres of voxel (slice, row, column), what is no padding."""

    values: NDArray[Any]
    affine: Floats
    known: NDArray[np.bool_]

    def canonical(self) -> Made:
        """The same with axes nearest to head, back and left."""
        axes = [unit(column) for column in self.affine[:3, :3].T]
        order, flips = alignment(tuple(axes), HEAD_BACK_LEFT)
        values, known = self.values.transpose(order), self.known.transpose(order)
        affine = self.affine[:, [*order, 3]]
        for axis, flip in enumerate(flips):
            if flip:
                affine[:3, 3] += affine[:3, axis] * (values.shape[axis] - 1)
                affine[:3, axis] *= -1
                values, known = np.flip(values, axis), np.flip(known, axis)
        return Made(values, affine, known)

    def off_mm(self, other: Made) -> float:
        """How far corners of two volumes of one shape lie apart at most."""
        corners = np.array(np.meshgrid(*[(0, n - 1) for n in self.values.shape], [1])).reshape(4, -1)
        return float(np.linalg.norm(((self.affine - other.affine) @ corners)[:3], axis=0).max())

    def off_values(self, other: Made) -> float:
        both = self.known & other.known
        return float(np.abs(self.values.astype(float) - other.values)[both].max()) if both.any() else 0.0


DIFFERENT = "DIFFERENT"
EQUAL = {
    (True, True): "both",
    (True, False): "SimpleITK's only",
    (False, True): "dcm2niix's only",
    (False, False): "none",
}
Tool = Callable[[Path], list[Made]]


def ours(folder: Path) -> list[Made]:
    return [made(stack) for stack in sort_planes(read_planes(sorted(folder.iterdir()))[0]).stacks]


def made(stack: Stack) -> Made:
    """The voxels of a stack where they were measured: the shear is part of the affine."""
    loaded = [values(plane) for plane in stack.planes]
    known = [np.ones(picture.shape[:2], bool) if padding is None else ~padding for picture, padding, _ in loaded]
    affine = stack.geometry.affine
    affine[:3, 0] += np.array(stack.shear) @ np.array(stack.geometry.axes[1:])
    return Made(_grey(np.stack([picture for picture, _, _ in loaded])), affine, np.stack(known))


def with_simpleitk(folder: Path) -> list[Made]:
    made: list[Made] = []
    for name in sitk.ImageSeriesReader.GetGDCMSeriesIDs(str(folder)):
        reader = sitk.ImageSeriesReader()
        reader.SetFileNames(sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(folder), name))
        try:
            image = reader.Execute()
        except RuntimeError:
            continue
        if image.GetDimension() == 4 and image.GetSize()[3] == 1:
            image = image[..., 0]
        if image.GetDimension() != 3 or image.GetDepth() < 2:
            continue
        affine = np.eye(4)
        affine[:3, :3] = np.array(image.GetDirection()).reshape(3, 3) * image.GetSpacing()
        affine[:3, 3] = image.GetOrigin()
        made.append(_whole(_grey(sitk.GetArrayFromImage(image)), affine[:, [2, 1, 0, 3]]))
    return made


def with_dcm2niix(folder: Path, precise: str = "y") -> list[Made]:
    """`precise`: values in Philips' private scale ("y") or as Rescale Slope says ("n")."""
    made: list[Made] = []
    with tempfile.TemporaryDirectory() as out:
        words = [str(DCM2NIIX), "-z", "n", "-b", "n", "-p", precise, "-f", "%s_%p", "-o", out, str(folder)]
        subprocess.run(words, capture_output=True, timeout=120, check=False)
        for file in sorted(Path(out).glob("*.nii")):
            image = nibabel.load(file)
            made += _volumes(image, filled="_Tilt" in file.name)  # type: ignore[arg-type]
    return made


def _volumes(image: nibabel.Nifti1Image, filled: bool) -> list[Made]:
    """The volumes of a file; `filled`: where no slice was, its lowest value was put, and mixed into the next row."""
    stored = np.asanyarray(image.dataobj)
    if stored.dtype.fields:
        stored = np.stack([stored[name] for name in stored.dtype.names], -1).astype(float).mean(-1)
    affine = (np.diag([-1.0, -1.0, 1.0, 1.0]) @ image.affine)[:, [2, 1, 0, 3]]
    if stored.ndim < 3 or stored.shape[2] < 2:
        return []
    times = stored.reshape(*stored.shape[:3], -1)
    known = times > times.min() if filled else np.ones(times.shape, bool)
    if filled:
        known &= np.roll(known, 1, 1) & np.roll(known, -1, 1)
    return [
        Made(times[..., t].transpose(2, 1, 0), affine, known[..., t].transpose(2, 1, 0)) for t in range(times.shape[3])
    ]


def _whole(values: NDArray[Any], affine: Floats) -> Made:
    return Made(values, affine, np.ones(values.shape, bool))


def _grey(picture: NDArray[Any]) -> NDArray[Any]:
    return picture.astype(float).mean(-1) if picture.ndim == 4 else picture


TOOLS: dict[str, Tool] = {"medgan": ours, "SimpleITK": with_simpleitk, "dcm2niix": with_dcm2niix}


@dataclass(frozen=True, slots=True)
class Verdict:
    word: str
    volumes: list[Made]
    off: float = 0.0  # HU

    def __str__(self) -> str:
        count = f" {len(self.volumes)}x" if len(self.volumes) > 1 else ""
        off = f" {self.off:.1f} HU {self.off / SLOPE_HU:.2f} mm" if self.volumes else ""
        return f"{self.word}{count}{off}"


def judged(volumes: list[Made], trap: Trap) -> Verdict:
    """Whether all that a tool made of a trap is true."""
    if not volumes:
        return Verdict("refused", volumes)
    offs = [off_hu(some.values, some.affine, some.known, trap.shades) for some in volumes]
    if max(offs) > trap.limit_hu:
        return Verdict("mixed" if min(offs) <= trap.limit_hu else "WRONG", volumes, max(offs))
    slices = sum(some.canonical().values.size for some in volumes)
    wanted = sum(trap.volumes) * volumes[0].values[0].size
    return Verdict("right" if slices >= wanted else "part", volumes, max(offs))


def faults(trap: Trap, verdicts: dict[str, Verdict]) -> list[str]:
    """What is wrong with ours."""
    mine, found = verdicts["medgan"], []
    if mine.word != ("right" if trap.volumes else "refused"):
        found.append(f"ours should be {'right' if trap.volumes else 'refused'}")
    for name, other in list(verdicts.items())[1:]:
        if other.word == "right" and mine.word == "refused" and not trap.why:
            found.append(f"{name} is right, ours refuses without a purpose")
        if other.word == mine.word == "right" and len(other.volumes) == len(mine.volumes):
            found += _disagreements(name, other, mine)
    return found


def _disagreements(name: str, other: Verdict, mine: Verdict) -> list[str]:
    """Where a tool's volumes of the same shape lie elsewhere or hold other values; each beside the nearest of ours."""
    found = []
    for some in (volume.canonical() for volume in other.volumes):
        alike = [m for m in (v.canonical() for v in mine.volumes) if m.values.shape == some.values.shape]
        if alike and min(max(some.off_mm(m) / AFFINE_MM, some.off_values(m) / VALUE) for m in alike) > 1:
            nearest = min(alike, key=some.off_values)
            found.append(f"off {name} by {some.off_mm(nearest):.1g} mm, {some.off_values(nearest):.1g} HU")
    return found


def report_traps(word: str) -> bool:
    print(f"{'trap':30} {'medgan':26} {'SimpleITK':28} {'dcm2niix':28}")
    totals: dict[str, Counter[str]] = {name: Counter() for name in TOOLS}
    good = True
    for title, trap in traps().items():
        if word not in title:
            continue
        with tempfile.TemporaryDirectory() as name:
            trap.files(Path(name))
            verdicts = {tool: judged(make(Path(name)), trap) for tool, make in TOOLS.items()}
        bad = faults(trap, verdicts)
        good &= not bad
        purpose = f"  ({trap.why})" if trap.why else ""
        cells = [str(verdict) for verdict in verdicts.values()]
        print(f"{title:30} {cells[0]:26} {cells[1]:28} {cells[2]:28}{purpose}", *bad, flush=True)
        for tool, verdict in verdicts.items():
            totals[tool][verdict.word] += 1
    for tool, counts in totals.items():
        print(f"  {tool:10} " + ", ".join(f"{count} {word}" for word, count in sorted(counts.items())))
    return good


def report_real(archives: Sequence[Path]) -> bool:
    totals: Counter[str] = Counter()
    print(f"\n{'series':50} {'planes':>6}  {'medgan':42} SimpleITK  dcm2niix  (equal to ours / made)")
    for archive in archives:
        with tempfile.TemporaryDirectory() as name, zipfile.ZipFile(archive) as zipped:
            zipped.extractall(name)
            for title, planes in _series(Path(name)).items():
                totals.update(_report_series(title, planes))
    for word, count in sorted(totals.items()):
        print(f"  {count:4} {word}")
    return not any(DIFFERENT in word for word in totals)


def _series(root: Path) -> dict[str, list[Plane]]:
    files = [file for file in sorted(root.rglob("*")) if file.is_file() and file.read_bytes()[128:132] == b"DICM"]
    series: dict[str, list[Plane]] = defaultdict(list)
    for plane in read_planes(files)[0]:
        series[plane.series].append(plane)
    folders = [planes[0].pixels.file.parent.relative_to(root) for planes in series.values()]
    return {
        f"{str(folder)[-46:]} {n}": planes
        for n, (folder, planes) in enumerate(zip(folders, series.values(), strict=True))
    }


def _report_series(title: str, planes: list[Plane]) -> Counter[str]:
    found = sort_planes(planes)
    mine, unread = _read(found)
    with tempfile.TemporaryDirectory() as name:
        for number, file in enumerate(sorted({plane.pixels.file for plane in planes})):
            os.link(file, Path(name) / f"{number:05d}.dcm")
        made = with_simpleitk(Path(name)), with_dcm2niix(Path(name)), with_dcm2niix(Path(name), "n")
    theirs = [[volume.canonical() for volume in some] for some in made]
    known = theirs[0], theirs[1] + theirs[2]
    hits = [tuple(any(_same(some, other) for other in tool) for tool in known) for some in mine]
    agreed = [a for a in known[0] if any(_same(a, b) for b in known[1])]
    totals = Counter(f"volumes of ours equal to {EQUAL[hit]}" for hit in hits)
    totals["series " + ("assembled" if mine else "of films" if found.films else "refused")] += 1
    if agreed:
        equal = all(any(_same(a, some) for some in mine) for a in agreed)
        word = "equal" if equal else DIFFERENT if mine else "refused"
        totals[f"series on which both tools agree, and ours is {word}"] += 1
    words = [f"{len(mine)} volumes"] * bool(mine) + [f"{len(found.films)} films"] * bool(found.films)
    words += [f"{reason.value} {count}" for reason, count in found.refused.items()] + unread
    words += ["tilt removed"] * ("tilt_removed" in found.corrected)
    cells = [f"{sum(hit[n] for hit in hits)}/{len(tool)}" for n, tool in enumerate(theirs[:2])]
    print(f"{title:50} {len(planes):6}  {', '.join(words):42} {cells[0]:>9} {cells[1]:>9}", flush=True)
    return totals


def _read(found: Sorted) -> tuple[list[Made], list[str]]:
    volumes, unread = [], []
    for stack in found.stacks:
        try:
            volumes.append(made(stack).canonical())
        except StudyRejected as error:
            unread.append(error.reason.value)
    return volumes, unread


def _same(a: Made, b: Made) -> bool:
    """Whether two canonical volumes agree in shape, place and values."""
    if a.values.shape != b.values.shape or a.off_mm(b) > REAL_MM:
        return False
    return a.off_values(b) <= max(VALUE, REAL_SHARE * float(np.ptp(a.values)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="traps whose name holds this word")
    parser.add_argument("--real", type=Path, nargs="*", default=[], help="zip archives of DICOM")
    given = parser.parse_args()
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    good = report_traps(given.only)
    if given.real:
        good &= report_real(given.real)
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
