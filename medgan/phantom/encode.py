"""Datasets to files, the same bytes every time: file meta, preamble and pixels in the syntax that was asked for."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import numpy.typing as npt
from pydicom import dcmwrite
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import (
    UID,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
)

from medgan.phantom.identity import ROOT

IMPLEMENTATION_UID, IMPLEMENTATION_NAME = f"{ROOT}.1", "PHANTOM_WORKS_1"
SYNTAXES = {
    "explicit": (ExplicitVRLittleEndian, 0.52),
    "implicit": (ImplicitVRLittleEndian, 0.15),
    "rle": (RLELossless, 0.09),
    "j2k": (JPEG2000Lossless, 0.10),
    "jls": (JPEGLSLossless, 0.11),
    "big": (ExplicitVRBigEndian, 0.03),
}
PLUGINS = {"rle": "pylibjpeg", "j2k": "pylibjpeg", "jls": "pyjpegls"}


def draw_syntax(rng: np.random.Generator) -> str:
    names = list(SYNTAXES)
    return names[int(rng.choice(len(names), p=[SYNTAXES[n][1] for n in names]))]


def set_pixels(ds: Dataset, pixels: npt.NDArray[np.uint16], bits: int) -> None:
    """Describe uint16 [R, C] pixels of `bits` stored bits; the bytes themselves come with `write`."""
    ds.Rows, ds.Columns = pixels.shape
    ds.SamplesPerPixel, ds.PixelRepresentation = 1, 0
    ds.BitsAllocated, ds.BitsStored, ds.HighBit = 16, bits, bits - 1
    ds.PixelData = pixels.astype("<u2").tobytes()
    ds["PixelData"].VR = "OW"


def write(path: Path, ds: Dataset, syntax: str, *, station: str = "", preamble: bytes = b"") -> None:
    """Write one object. `ds` holds little-endian native pixels and is changed to what was written."""
    uid = SYNTAXES[syntax][0]
    ds.file_meta = meta(ds, ExplicitVRLittleEndian if syntax in PLUGINS else uid, station)
    ds.preamble = preamble[:128].ljust(128, b"\0")
    if syntax in PLUGINS:
        ds.compress(uid, encoding_plugin=PLUGINS[syntax], generate_instance_uid=False)
    elif syntax == "big":
        ds.PixelData = np.frombuffer(ds.PixelData, "<u2").astype(">u2").tobytes()
    path.parent.mkdir(parents=True, exist_ok=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # pydicom quotes values in its warnings
        dcmwrite(path, ds, enforce_file_format=True)


def meta(ds: Dataset, uid: str, station: str) -> FileMetaDataset:
    found = FileMetaDataset()
    found.FileMetaInformationVersion = b"\0\1"
    found.MediaStorageSOPClassUID, found.MediaStorageSOPInstanceUID = ds.SOPClassUID, ds.SOPInstanceUID
    found.TransferSyntaxUID = UID(uid)
    found.ImplementationClassUID, found.ImplementationVersionName = UID(IMPLEMENTATION_UID), IMPLEMENTATION_NAME
    if station:
        found.SourceApplicationEntityTitle = station[:16]
    return found
