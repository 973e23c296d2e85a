"""What reading headers costs beside pydicom, in one run; and whether both readers say the same.

    ./run bench header_pass [--files 3000] [--rounds 3] [--real ZIP ...]

Made-up CT files of one long series, and with --real the DICOM files of zip archives: all together, the plain ones, and
by kind. CPU seconds, medians of interleaved rounds, warm page cache, the bare reading of 8 KiB a file beside them;
pydicom reads 20 attributes with specific_tags. Ours makes planes of what it reads. The first round, which does not
count, compiles our loops where no earlier run did.
Goal: 12 times pydicom, also on all real files and on the plain ones. Exit 1 where it is missed, and where ours and
pydicom's whole reader differ in one file.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path

from pydicom import dcmread
from pydicom.data import get_testdata_file
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian, ImplicitVRLittleEndian

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT)]

from benchmarks.preprocessing import STEP_MM, Work, medians  # noqa: E402
from medgan.dicom.read import Plane, planes_by_pydicom, planes_of, read_planes  # noqa: E402
from medgan.errors import StudyRejected  # noqa: E402

HEADERS = 12.0  # goal
NAMES = {ImplicitVRLittleEndian: "implicit", ExplicitVRBigEndian: "big", DeflatedExplicitVRLittleEndian: "deflated"}
TAGS = (  # of the header pass: what grouping needs
    *("SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID", "Modality", "ImageType", "Rows"),
    *("Columns", "PixelSpacing", "ImagePositionPatient", "ImageOrientationPatient", "RescaleSlope", "RescaleIntercept"),
    *("InstanceNumber", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation", "SamplesPerPixel"),
    "PhotometricInterpretation",
)


def report_headers(files: Sequence[Path], title: str, rounds: int) -> bool:
    means = medians(
        {
            "open + read 8 KiB": lambda: [_begin(file) for file in files],
            "medgan": lambda: read_planes(files),
            "pydicom specific_tags": lambda: [_touch(file) for file in files],
        },
        rounds,
    )
    print(f"header pass, {len(files)} {title}: files a CPU second (times pydicom)")
    for name, taken in means.items():
        print(f"  {name:24} {len(files) / taken:9.0f}   {means['pydicom specific_tags'] / taken:6.1f}")
    faster = means["pydicom specific_tags"] / means["medgan"]
    print(f"  goal {HEADERS:.0f}: {faster:.1f}", flush=True)
    return faster >= HEADERS


def report_real_headers(files: Sequence[Path], rounds: int) -> bool:
    """All files together, and what a file of each kind costs; both readers must say the same of every one."""
    met = report_headers(files, "real files", rounds)
    kinds: dict[str, list[Path]] = {}
    for file in files:
        kinds.setdefault(_kind(file), []).append(file)
    met &= report_headers(kinds.get("plain", []) + kinds.get("implicit", []), "of them plain", rounds)
    for kind, some in kinds.items():
        works: dict[str, Work] = {
            "medgan": lambda some=some: read_planes(some),  # type: ignore[misc]
            "pydicom": lambda some=some: [_touch(file) for file in some],  # type: ignore[misc]
        }
        one, other = medians(works, rounds).values()
        line = (
            f"{1e6 * one / len(some):7.0f} us a file, pydicom {1e6 * other / len(some):7.0f}, {other / one:5.1f} times"
        )
        print(f"  {kind:10} {len(some):4} files {line}")
    same = sum(_said(planes_of, file) == _said(planes_by_pydicom, file) for file in files)
    print(f"  the same by both readers: {same} of {len(files)}", flush=True)
    return met and same == len(files)


def _kind(file: Path) -> str:
    ds = dcmread(file, stop_before_pixels=True)
    if "SharedFunctionalGroupsSequence" in ds or "PerFrameFunctionalGroupsSequence" in ds:
        return "enhanced"
    if "MOSAIC" in ds.get("ImageType", ""):
        return "mosaic"
    return NAMES.get(ds.file_meta.TransferSyntaxUID, "plain")


def _said(read: Callable[[Path], list[Plane]], file: Path) -> list[Plane] | str:
    try:
        return read(file)
    except StudyRejected as error:
        return error.reason


def _begin(file: Path) -> bytes:
    with file.open("rb", buffering=0) as handle:
        return handle.read(8192)


def _touch(file: Path) -> None:
    ds = dcmread(file, stop_before_pixels=True, specific_tags=TAGS)  # type: ignore[arg-type]
    for keyword in TAGS:
        ds.get(keyword)


def small_files(work: Path, count: int) -> list[Path]:
    """Copies of a real CT header, 16 pixels a side, as a few long series."""
    ds = dcmread(get_testdata_file("CT_small.dcm"))
    ds.Rows = ds.Columns = 16
    ds.PixelData = ds.PixelData[:512]
    work.mkdir()
    files = []
    for n in range(count):
        ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = f"1.2.826.0.1.5.{n}"
        ds.ImagePositionPatient, ds.InstanceNumber = [-179.0, -179.0, n * STEP_MM], n + 1
        files.append(work / f"{n:05d}.dcm")
        ds.save_as(files[-1])
    return files


def real_files(work: Path, archives: Sequence[Path]) -> list[Path]:
    """The DICOM images of zip archives that pydicom reads."""
    files = []
    for number, archive in enumerate(archives):
        with zipfile.ZipFile(archive) as zipped:
            zipped.extractall(work / str(number))
    for file in sorted(work.rglob("*")):
        if file.is_file() and file.read_bytes()[128:132] == b"DICM":
            files.append(file)
    return files


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=3000, help="made-up files")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--real", type=Path, nargs="*", default=[], help="zip archives of DICOM")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        met = report_headers(small_files(work / "headers", given.files), "made-up files", given.rounds)
        if given.real:
            (work / "real").mkdir()
            met &= report_real_headers(real_files(work / "real", given.real), given.rounds)
    sys.exit(0 if met else 1)


if __name__ == "__main__":
    main()
