"""What DICOM to Zarr costs beside its peers, one thread each, in one run; and whether all say the same.

    ./run bench preprocessing [--series 4] [--slices 120] [--rounds 3]

Made-up CT series of 512 x 512 slices, uncompressed, to cubes of 1.5 mm, windowed to uint8, sharded Zarr. CPU seconds,
medians of interleaved rounds, warm page cache, `cat` of the same files beside them; every result is held against
scipy in float64. Then one series in JPEG 2000, HTJ2K, JPEG-LS and RLE against the best pure decode.
Goals: 1/10 of SimpleITK + zarr, 1/20 of pydicom + scipy + zarr; compressed at most 1.1 times decode plus the
uncompressed road. Exit 1 where one is missed. The header pass has its own: header_pass.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from itertools import count
from pathlib import Path
from typing import Any

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ[name] = "1"

import imagecodecs  # noqa: E402
import jpeg_ls  # noqa: E402
import numpy as np  # noqa: E402
import openjpeg  # noqa: E402
import SimpleITK as sitk  # noqa: E402
import zarr  # noqa: E402
from numpy.typing import NDArray  # noqa: E402
from pydicom import dcmread  # noqa: E402
from pydicom.data import get_testdata_file  # noqa: E402
from pydicom.encaps import encapsulate  # noqa: E402
from pydicom.pixels import get_encoder  # noqa: E402
from pydicom.uid import UID, HTJ2KLossless, JPEG2000Lossless, JPEGLSLossless, RLELossless  # noqa: E402
from rle import utils as rle  # noqa: E402
from scipy import ndimage  # noqa: E402
from zarr.codecs import BloscCodec, Crc32cCodec  # noqa: E402

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT)]

from medgan.dicom.read import read_planes  # noqa: E402
from medgan.dicom.series import sort_planes  # noqa: E402
from medgan.stages.volumes import Grid, write_stack  # noqa: E402

SIDE, SPACING_MM, STEP_MM, CUBE_MM, WINDOW = 512, 0.7, 1.25, 1.5, (-1000.0, 400.0)
DECODED = 40  # slices of a compressed series
GREY_LEVELS = 1.0  # mean difference to scipy
SITK, PYDICOM, COMPRESSED = 10.0, 20.0, 1.1  # goals
Work = Callable[[], Any]
NUMBERS = count()  # of results


def core_s(work: Work) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


def medians(works: dict[str, Work], rounds: int) -> dict[str, float]:
    """CPU seconds of each, rounds interleaved, after one of each that does not count."""
    for work in works.values():
        work()
    taken: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(rounds):
        for name, work in works.items():
            taken[name].append(core_s(work))
    return {name: statistics.median(some) for name, some in taken.items()}


def block(seed: int, slices: int) -> NDArray[np.int16]:
    """A body in air with correlated noise, HU."""
    rng = np.random.default_rng(seed)
    y, x = (np.mgrid[0:SIDE, 0:SIDE] - SIDE / 2) / (SIDE / 2)
    noise = rng.normal(0, 1, (slices + 8, SIDE, SIDE)).astype(np.float32)
    noise = ndimage.uniform_filter(noise, 3)
    volume = np.empty((slices, SIDE, SIDE), np.int16)
    for n in range(slices):
        wide = 0.8 + 0.05 * np.sin(n / 17)
        body = np.where(x**2 / wide**2 + y**2 / 0.6**2 < 1, 40.0, -1000.0)
        for cx in (-0.35, 0.35):
            body[((x - cx) ** 2 / 0.25**2 + y**2 / 0.4**2) < 1 - (n / slices - 0.5) ** 2] = -850.0
        volume[n] = np.clip(ndimage.gaussian_filter(body, 1.0) + 60 * noise[n], -1024, 3071)
    return volume


def write_series(folder: Path, seed: int, volume: NDArray[np.int16]) -> list[Path]:
    """One file a slice, with the header of a real scanner."""
    folder.mkdir(parents=True)
    ds = dcmread(get_testdata_file("CT_small.dcm"))
    ds.Rows = ds.Columns = SIDE
    ds.PixelSpacing, ds.RescaleSlope, ds.RescaleIntercept = [SPACING_MM] * 2, 1, -1024
    ds.ImageOrientationPatient, ds.SliceThickness = [1, 0, 0, 0, 1, 0], STEP_MM
    ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 12, 11, 0
    ds.StudyInstanceUID, ds.SeriesInstanceUID = f"1.2.826.0.1.{seed}", f"1.2.826.0.1.{seed}.1"
    for keyword in ("PixelPaddingValue", "DataSetTrailingPadding"):
        if keyword in ds:
            delattr(ds, keyword)
    files = []
    for n, page in enumerate(volume):
        ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = f"1.2.826.0.1.{seed}.1.{n}"
        ds.ImagePositionPatient, ds.InstanceNumber = [-179.0, -179.0, n * STEP_MM], n + 1
        ds.PixelData = (page.astype(np.int32) + 1024).astype("<u2").tobytes()
        files.append(folder / f"{n:04d}.dcm")
        ds.save_as(files[-1])
    return files


def cat(files: Sequence[Path]) -> None:
    for file in files:
        file.read_bytes()


def ours(files: Sequence[Path], out: Path) -> None:
    planes, _ = read_planes(files)
    (stack,) = sort_planes(planes).stacks
    write_stack(stack, _fresh(out), Grid(CUBE_MM, WINDOW))


def with_simpleitk(folder: Path, out: Path) -> None:
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder)))
    image = reader.Execute()
    size = [round(n * step / CUBE_MM) for n, step in zip(image.GetSize(), image.GetSpacing(), strict=True)]
    spacing = [n * step / m for n, step, m in zip(image.GetSize(), image.GetSpacing(), size, strict=True)]
    shift = [(new - old) / 2 for new, old in zip(spacing, image.GetSpacing(), strict=True)]
    origin = [o + s for o, s in zip(image.GetOrigin(), shift, strict=True)]
    small = sitk.Resample(
        image, size, sitk.Transform(), sitk.sitkLinear, origin, spacing, image.GetDirection(), -1000.0, sitk.sitkFloat32
    )
    low, high = WINDOW
    shown = sitk.Cast(sitk.IntensityWindowing(small, low, high, 0.0, 255.0), sitk.sitkUInt8)
    _write(out, sitk.GetArrayFromImage(shown))


def with_pydicom(files: Sequence[Path], out: Path) -> None:
    read = sorted((dcmread(file) for file in files), key=lambda ds: float(ds.ImagePositionPatient[2]))
    volume = np.stack([ds.pixel_array * float(ds.RescaleSlope) + float(ds.RescaleIntercept) for ds in read])
    _write(out, windowed(zoomed(volume.astype(np.float32))))


def zoomed(volume: NDArray[Any]) -> NDArray[Any]:
    """Plain linear interpolation, as most do it: it aliases where the grid is coarser."""
    steps = (STEP_MM, SPACING_MM, SPACING_MM)
    factors = [round(n * step / CUBE_MM) / n for n, step in zip(volume.shape, steps, strict=True)]
    shrunk: NDArray[Any] = ndimage.zoom(volume, factors, order=1, grid_mode=True, mode="nearest")
    return shrunk


def windowed(hu: NDArray[Any]) -> NDArray[np.uint8]:
    low, high = WINDOW
    return np.clip(np.rint((hu - low) * (255 / (high - low))), 0, 255).astype(np.uint8)


def _write(out: Path, voxels: NDArray[np.uint8]) -> None:
    array = zarr.create_array(
        _fresh(out),
        shape=voxels.shape,
        dtype=voxels.dtype,
        chunks=(16, *voxels.shape[1:]),
        shards=(-(-len(voxels) // 16) * 16, *voxels.shape[1:]),
        compressors=[BloscCodec(cname="lz4", clevel=5, shuffle="bitshuffle"), Crc32cCodec()],
    )
    array[:] = voxels


def _fresh(out: Path) -> Path:
    return out / f"{next(NUMBERS)}.ome.zarr"


def report_uncompressed(work: Path, series: int, slices: int, rounds: int) -> tuple[bool, float]:
    """Prints the table; whether goals are met, and CPU seconds a series of our road."""
    volumes = [block(n, slices) for n in range(series)]
    files = [write_series(work / f"series{n}", n, volume) for n, volume in enumerate(volumes)]
    folders, out = [some[0].parent for some in files], work / "out"
    means = medians(
        {
            "cat": lambda: [cat(some) for some in files],
            "medgan": lambda: [ours(some, out) for some in files],
            "SimpleITK + zarr": lambda: [with_simpleitk(folder, out) for folder in folders],
            "pydicom + scipy + zarr": lambda: [with_pydicom(some, out) for some in files],
        },
        rounds,
    )
    mine = means["medgan"]
    print(f"{series} series of {slices} x {SIDE} x {SIDE}, CPU ms a series   (times medgan, times cat)")
    for name, taken in means.items():
        print(f"  {name:24} {1000 * taken / series:8.1f}   {taken / mine:6.2f}   {taken / means['cat']:6.1f}")
    worst = max(off_scipy(some, volume, out) for some, volume in zip(files, volumes, strict=True))
    ratios = means["SimpleITK + zarr"] / mine, means["pydicom + scipy + zarr"] / mine
    print(f"  goals: SimpleITK {ratios[0]:.1f} ({SITK:.0f}), pydicom {ratios[1]:.1f} ({PYDICOM:.0f})")
    print(f"  stretch: {mine / means['cat']:.1f} times cat (6)")
    print(f"  mean difference to scipy in float64: {worst:.2f} grey levels, limit {GREY_LEVELS}", flush=True)
    return ratios[0] >= SITK and ratios[1] >= PYDICOM and worst <= GREY_LEVELS, mine / series


def off_scipy(files: Sequence[Path], volume: NDArray[np.int16], out: Path) -> float:
    """Mean difference in grey levels between our result and scipy's, filtered as wide as the coarser grid."""
    place = out / "checked"
    planes, _ = read_planes(files)
    write_stack(sort_planes(planes).stacks[0], place, Grid(CUBE_MM, WINDOW))
    found = np.asarray(zarr.open_array(place / "0", mode="r")[:])
    exact = windowed(zoomed(volume.astype(np.float64)))
    shutil.rmtree(place)
    return float(np.abs(found.astype(float) - exact.astype(float)).mean())


def report_compressed(work: Path, slices: int, rounds: int, uncompressed: float) -> bool:
    volume = block(77, slices)
    stored = (volume.astype(np.int32) + 1024).astype(np.uint16)
    met = True
    for title, (syntax, encode, decoders) in CODECS.items():
        files = write_series(work / title, 77, volume)
        frames = [encode(page) for page in stored]
        for file, frame in zip(files, frames, strict=True):
            ds = dcmread(file)
            ds.PixelData, ds.file_meta.TransferSyntaxUID = encapsulate([frame]), syntax
            ds["PixelData"].VR = "OB"
            ds.save_as(file)
        works: dict[str, Work] = {name: _each(decode, frames) for name, decode in decoders.items()}
        works["medgan"] = lambda files=files: ours(files, work / "out")  # type: ignore[misc]
        means = medians(works, rounds)
        best = min(decoders, key=lambda name: means[name])
        limit = means[best] + uncompressed
        taken = ", ".join(f"{name} {1000 * some:.0f} ms" for name, some in means.items())
        print(f"{title:10} {slices} slices: {taken}")
        print(
            f"  of decode by {best} and the uncompressed road: {means['medgan'] / limit:.2f}, goal {COMPRESSED}",
            flush=True,
        )
        met &= means["medgan"] <= COMPRESSED * limit
    return met


def _each(decode: Callable[[bytes], Any], frames: Sequence[bytes]) -> Work:
    return lambda: [decode(frame) for frame in frames]


def _rle(page: NDArray[np.uint16]) -> bytes:
    return bytes(
        get_encoder(RLELossless).encode(
            np.ascontiguousarray(page).tobytes(),
            rows=SIDE,
            columns=SIDE,
            samples_per_pixel=1,
            bits_allocated=16,
            bits_stored=16,
            pixel_representation=0,
            photometric_interpretation="MONOCHROME2",
            number_of_frames=1,
        )
    )


CODECS: dict[str, tuple[UID, Callable[[Any], bytes], dict[str, Callable[[bytes], Any]]]] = {
    "JPEG 2000": (
        JPEG2000Lossless,
        lambda page: imagecodecs.jpeg2k_encode(page, codecformat="J2K", level=0),
        {"imagecodecs": imagecodecs.jpeg2k_decode, "pylibjpeg": openjpeg.decode},
    ),
    "HTJ2K": (HTJ2KLossless, imagecodecs.htj2k_encode, {"imagecodecs": imagecodecs.htj2k_decode}),
    "JPEG-LS": (
        JPEGLSLossless,
        imagecodecs.jpegls_encode,
        {
            "imagecodecs": imagecodecs.jpegls_decode,
            "pyjpegls": lambda frame: jpeg_ls.decode(np.frombuffer(frame, np.uint8)),
        },
    ),
    "RLE": (
        RLELossless,
        _rle,
        {
            "imagecodecs": lambda frame: imagecodecs.dicomrle_decode(frame, "<u2"),
            "pylibjpeg": lambda frame: rle.decode_frame(frame, SIDE * SIDE, 16, "<"),
        },
    ),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--series", type=int, default=4)
    parser.add_argument("--slices", type=int, default=120)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        fast, taken = report_uncompressed(work, given.series, given.slices, given.rounds)
        few = min(given.slices, DECODED)
        met = [fast, report_compressed(work, few, given.rounds, taken * few / given.slices)]
    sys.exit(0 if all(met) else 1)


if __name__ == "__main__":
    main()
