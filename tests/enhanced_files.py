"""Enhanced multi-frame files made by code, in every encoding that our own walk over headers knows."""

from __future__ import annotations

import io
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from dicom_series import ct_slice
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.filewriter import dcmwrite
from pydicom.sequence import Sequence
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

SYNTAXES = {
    "explicit": ExplicitVRLittleEndian,
    "implicit": ImplicitVRLittleEndian,
    "big": ExplicitVRBigEndian,
    "deflated": DeflatedExplicitVRLittleEndian,
}
META = 132  # where the meta information begins


def item(**values: Any) -> Dataset:
    some = Dataset()
    some.update(values)
    return some


def frame(index: int) -> Dataset:
    """The functional groups of a frame: place, time, echo, diffusion."""
    direction = item(DiffusionGradientOrientation=[0.6, 0.0, 0.8 if index % 2 else -0.8])
    diffusion = item(
        DiffusionBValue=800.0, DiffusionDirectionality="DIRECTIONAL", DiffusionGradientDirectionSequence=[direction]
    )
    return item(
        FrameContentSequence=[item(StackID="1", TemporalPositionIndex=1 + index // 2, DimensionIndexValues=[1, index])],
        MREchoSequence=[item(EffectiveEchoTime=12.5 + index)],
        MRDiffusionSequence=[diffusion],
        PlanePositionSequence=[item(ImagePositionPatient=[0.0, 1.5, 2.0 * index])],
        DerivationImageSequence=[item(SourceImageSequence=[item(FrameType=["DERIVED"])])],
    )


def shared() -> Dataset:
    return item(
        PixelMeasuresSequence=[item(PixelSpacing=[0.5, 0.75], SliceThickness=2)],
        PlaneOrientationSequence=[item(ImageOrientationPatient=[1.0, 0.0, 0.0, 0.0, 0.0, -1.0])],
        PixelValueTransformationSequence=[item(RescaleSlope=2, RescaleIntercept=-7, RescaleType="US")],
        MRImageFrameTypeSequence=[item(FrameType=["ORIGINAL", "PRIMARY", "DIFFUSION", "NONE"])],
    )


def enhanced(frames: int = 4, **more: Any) -> Dataset:
    """An MR file of so many frames of 4 x 4 pixels, without a geometry of its own at the top."""
    dataset = ct_slice(0, Modality="MR", NumberOfFrames=frames, Rows=4, Columns=4)
    dataset.PixelData = np.arange(frames * 16, dtype="<u2").tobytes()
    for keyword in ("PixelSpacing", "ImageOrientationPatient", "ImagePositionPatient", "RescaleSlope"):
        delattr(dataset, keyword)
    dataset.SharedFunctionalGroupsSequence = [shared()]
    dataset.PerFrameFunctionalGroupsSequence = [frame(index) for index in range(frames)]
    dataset.update(more)
    return dataset


def save(file: Path, dataset: Dataset, encoding: str = "explicit", *, undefined: bool = False) -> Path:
    """The file in one of SYNTAXES, sequences and items of undefined length or of defined one."""
    if encoding == "deflated":
        save(file, dataset, undefined=undefined)
        return deflated(file)
    _lengths(dataset, undefined)
    dataset.file_meta.TransferSyntaxUID = SYNTAXES[encoding]
    out = io.BytesIO()
    little, implicit = encoding != "big", encoding == "implicit"
    if not little:
        dataset.PixelData = np.frombuffer(dataset.PixelData, "<u2").astype(">u2").tobytes()
    dcmwrite(out, dataset, implicit_vr=implicit, little_endian=little, enforce_file_format=True)
    file.write_bytes(out.getvalue())
    return file


def deflated(file: Path) -> Path:
    """The same file with its data set deflated."""
    data = file.read_bytes()
    end = META + 12 + int.from_bytes(data[META + 8 : META + 12], "little")
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    packed = packer.compress(data[end:]) + packer.flush()
    meta = dcmread(file).file_meta
    meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    out = io.BytesIO()
    empty = Dataset()
    empty.file_meta = meta
    dcmwrite(out, empty, implicit_vr=False, little_endian=True, enforce_file_format=True)
    whole = out.getvalue()
    end = META + 12 + int.from_bytes(whole[META + 8 : META + 12], "little")
    file.write_bytes(whole[:end] + packed)
    return file


def _lengths(dataset: Dataset, undefined: bool) -> None:
    for element in dataset:
        if element.VR == "SQ":
            element.is_undefined_length = undefined
            value: Sequence = element.value
            for some in value:
                some.is_undefined_length_sequence_item = undefined
                _lengths(some, undefined)
