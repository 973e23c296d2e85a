"""Files as hospitals also have them: empty, not DICOM, cut off, without identity, twice, or in contradiction."""

from __future__ import annotations

import copy
import shutil
from pathlib import Path

import numpy as np
from pydicom import dcmread, dcmwrite
from pydicom.uid import UID

from medgan.phantom import encode

CUT = 77  # instance number of the truncated film


def break_file(kind: str, good: Path, images: Path, seed: int) -> Path:
    """Write one broken relative of a good native film; returns where. `kind` is one of plan.BROKEN."""
    beside = good.with_name(f"{good.stem}_{kind[:4]}{good.suffix}")
    if kind == "empty":
        beside.write_bytes(b"")
    elif kind == "text":
        beside = beside.with_suffix(".dcm")
        beside.write_text("Export failed: the archive did not answer. Please try again.\n")
    elif kind == "duplicate":
        beside = images / "zz_copies" / f"copy_{seed % 100_000}.dcm"
        beside.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(good, beside)
    elif kind == "truncated":
        write_truncated(good, beside)
    else:
        write_variant(kind, good, beside, seed)
    return beside


def write_truncated(good: Path, path: Path) -> None:
    """Another instance whose transfer stopped in the middle of the pixels."""
    ds = dcmread(good)
    ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = UID(f"{ds.SeriesInstanceUID}.{CUT}")
    dcmwrite(path, ds, enforce_file_format=True)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * 0.6)])


def write_variant(kind: str, good: Path, path: Path, seed: int) -> None:
    """`no_sop_uid`: the instance does not say who it is; `conflict`: the same name over other pixels."""
    ds = copy.deepcopy(dcmread(good))
    if kind == "no_sop_uid":
        del ds.SOPInstanceUID
    else:
        pixels = np.frombuffer(ds.PixelData, "<u2")
        noise = np.random.default_rng(seed).integers(0, 40, pixels.shape, dtype=np.uint16)
        ds.PixelData = np.clip(pixels + noise, 0, 4095).astype("<u2").tobytes()
    ds.file_meta.ImplementationClassUID = UID(encode.IMPLEMENTATION_UID)
    dcmwrite(path, ds, enforce_file_format=False)
