"""Pictures as DICOM bytes: bits, signs, photometric interpretations and transfer syntaxes by name."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.pixels import convert_color_space
from pydicom.uid import (
    JPEG2000,
    CTImageStorage,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLSLossless,
    MultiFrameTrueColorSecondaryCaptureImageStorage,
    RLELossless,
    generate_uid,
)

Stored = NDArray[Any]  # [F, H, W] or [F, H, W, 3]
SYNTAXES = {
    "implicit": ImplicitVRLittleEndian,
    "big": ExplicitVRBigEndian,
    "deflated": DeflatedExplicitVRLittleEndian,
    "RLE": RLELossless,
    "JPEG 2000": JPEG2000Lossless,
    "JPEG 2000 lossy": JPEG2000,
    "JPEG-LS": JPEGLSLossless,
    "JPEG baseline": JPEGBaseline8Bit,
}
PLUGINS = {RLELossless: "pylibjpeg", JPEG2000Lossless: "pylibjpeg", JPEG2000: "pylibjpeg", JPEGLSLossless: "pyjpegls"}
JPEG_QUALITY, LOSSY_RATIO = 92, 6
JPEG_KINDS = ("JPEG baseline", "RGB JPEG baseline", "JPEG 2000 lossy")


def encoded(frames: Sequence[NDArray[np.float64]], kind: str, modality: str, **more: Any) -> bytes:
    """A file of frames in [0, 1] as `kind` says, with further attributes by keyword."""
    syntax = SYNTAXES.get(_syntax_name(kind), ExplicitVRLittleEndian)
    ds = header(modality, len(frames), frames[0].shape)
    shades, inverse = np.stack(frames), "inverse" in kind
    stored = _stored(ds, 1 - shades if inverse else shades, kind)
    if inverse:
        ds.PhotometricInterpretation = "MONOCHROME1"
    for keyword, value in more.items():
        setattr(ds, keyword, value)
    return pack(ds, stored, syntax)


def header(modality: str, frames: int, shape: tuple[int, ...]) -> Dataset:
    """What a grey picture of 12 bits says about itself."""
    ds = Dataset()
    ds.SOPClassUID = CTImageStorage if modality == "CT" else MultiFrameTrueColorSecondaryCaptureImageStorage
    ds.SOPInstanceUID, ds.StudyInstanceUID, ds.SeriesInstanceUID = generate_uid(), generate_uid(), generate_uid()
    ds.Modality, ds.ImageType = modality, ["ORIGINAL", "PRIMARY"]
    ds.PatientName, ds.PatientID = "Doe^Jane", "8841273"
    ds.Rows, ds.Columns = shape[:2]
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 12, 11, 0
    if frames > 1:
        ds.NumberOfFrames = frames
    return ds


def pack(ds: Dataset, stored: Stored, syntax: str) -> bytes:
    """A data set with its pixels in a transfer syntax, as a file."""
    ds.file_meta = FileMetaDataset()
    ds.file_meta.MediaStorageSOPClassUID, ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPClassUID, ds.SOPInstanceUID
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian if syntax in PLUGINS else syntax
    native = stored.astype(stored.dtype.newbyteorder(">" if syntax == ExplicitVRBigEndian else "<")).tobytes()
    if syntax == JPEGBaseline8Bit:
        ds.PixelData = encapsulate([_jpeg(frame) for frame in stored])
        ds["PixelData"].VR = "OB"
        ds["PixelData"].is_undefined_length = True
        ds.LossyImageCompression = "01"
    else:
        ds.PixelData = native + b"\0" * (len(native) % 2)
        ds["PixelData"].VR = "OW" if ds.BitsAllocated > 8 or syntax == ImplicitVRLittleEndian else "OB"
    if syntax in PLUGINS:
        lossy = {"j2k_cr": [LOSSY_RATIO]} if syntax == JPEG2000 else {}
        ds.compress(syntax, encoding_plugin=PLUGINS[syntax], generate_instance_uid=False, **lossy)
    out = io.BytesIO()
    ds.save_as(out, enforce_file_format=True)
    return out.getvalue()


def _syntax_name(kind: str) -> str:
    return next((name for name in sorted(SYNTAXES, key=len, reverse=True) if name in kind), "")


def _stored(ds: Dataset, shades: NDArray[np.float64], kind: str) -> Stored:
    """Stored values of frames, and in `ds` what they mean."""
    if shades.ndim == 4:
        ds.SamplesPerPixel, ds.PlanarConfiguration, ds.PhotometricInterpretation = 3, 0, "RGB"
        ds.BitsAllocated, ds.BitsStored, ds.HighBit = 8, 8, 7
        rgb = np.round(shades * 255).astype(np.uint8)
        if "JPEG baseline" in kind:
            ds.PhotometricInterpretation = "YBR_FULL_422"
        if "YBR_FULL" in kind:
            ds.PhotometricInterpretation = "YBR_FULL"
            return convert_color_space(rgb, "RGB", "YBR_FULL")
        if "planes" in kind:
            ds.PlanarConfiguration = 1
            return np.moveaxis(rgb, -1, 1)
        return rgb
    if any(word in kind for word in ("8 bits", "palette", "lossy", "baseline")):
        ds.BitsAllocated, ds.BitsStored, ds.HighBit = 8, 8, 7
        if kind == "palette":
            _set_palette(ds)
        return np.round(shades * 255).astype(np.uint8)
    bits = next((b for b in (16, 10) if str(b) in kind), 12)
    ds.BitsStored, ds.HighBit = bits, bits - 1
    values = np.round(shades * ((1 << bits) - 1)).astype(np.int64)
    if "signed" in kind:
        ds.PixelRepresentation = 1
        return (values - (1 << bits - 1)).astype(np.int16)
    return values.astype(np.uint16)


def _set_palette(ds: Dataset) -> None:
    """Numbers that mean shades of green in reverse."""
    ds.PhotometricInterpretation = "PALETTE COLOR"
    for colour, share in (("Red", 0.6), ("Green", 1.0), ("Blue", 0.5)):
        table = np.round(np.linspace(1, 0, 256) * share * 65535).astype("<u2")
        setattr(ds, f"{colour}PaletteColorLookupTableDescriptor", [256, 0, 16])
        setattr(ds, f"{colour}PaletteColorLookupTableData", table.tobytes())


def _jpeg(frame: Stored) -> bytes:
    out = io.BytesIO()
    Image.fromarray(frame).save(out, "JPEG", quality=JPEG_QUALITY)
    return out.getvalue()
