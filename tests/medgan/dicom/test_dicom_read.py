import io
from pathlib import Path

import numpy as np
import pytest
from dicom_series import ct_slice, film, write
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.filewriter import dcmwrite
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
)

from medgan.dicom.pixels import stored_values
from medgan.dicom.read import planes_of, read_planes, values
from medgan.errors import Reason, StudyRejected
from medgan.volume.intensity import grey

NATIVE = [ImplicitVRLittleEndian, ExplicitVRLittleEndian, DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian]
COMPRESSED = [RLELossless, JPEG2000Lossless, JPEGLSLossless]


def noise(shape: tuple[int, ...], dtype: str, top: int, low: int = 0) -> np.ndarray:
    return np.random.default_rng(7).integers(low, top, shape).astype(dtype)


def as_syntax(dataset: Dataset, syntax: str, file: Path) -> Path:
    if syntax in COMPRESSED:
        dataset.compress(syntax, generate_instance_uid=False)
    elif syntax == ExplicitVRBigEndian and dataset.BitsAllocated == 16:
        dataset["PixelData"].value = np.frombuffer(dataset.PixelData, "<u2").astype(">u2").tobytes()
    dataset.file_meta.TransferSyntaxUID = syntax
    little, implicit = syntax != ExplicitVRBigEndian, syntax == ImplicitVRLittleEndian
    dcmwrite(file, dataset, enforce_file_format=True, little_endian=little, implicit_vr=implicit)
    return file


@pytest.mark.parametrize("syntax", [*NATIVE, *COMPRESSED])
@pytest.mark.parametrize("frames", [1, 3])
def test_every_syntax_gives_the_stored_values(tmp_path: Path, syntax: str, frames: int) -> None:
    pixels = noise((frames, 40, 36), "<u2", 4096)
    dataset = film("x", pixels[0], BitsStored=12, HighBit=11, NumberOfFrames=frames, PixelData=pixels.tobytes())
    planes = planes_of(as_syntax(dataset, syntax, tmp_path / "f"))
    assert np.array_equal([stored_values(plane.pixels, plane.frame) for plane in planes], pixels)


@pytest.mark.parametrize("syntax", NATIVE)
def test_signed_pixels_agree_with_pydicom(tmp_path: Path, syntax: str) -> None:
    pixels = noise((9, 7), "<i2", 3000, -1000)
    file = as_syntax(film("x", pixels, PixelRepresentation=1), syntax, tmp_path / "f")
    (plane,) = planes_of(file)
    assert np.array_equal(stored_values(plane.pixels, 0), dcmread(file).pixel_array)


def test_bits_above_and_below_the_stored_ones_are_not_signal(tmp_path: Path) -> None:
    signed = np.array([[-5, 7], [-2048, 2047]], "<i2")
    junk = ((signed.view("<u2") & 0x0FFF) << 2) | 0xC000 | 0x3
    dataset = film("x", junk.astype("<u2"), BitsStored=12, HighBit=13, PixelRepresentation=1)
    (plane,) = planes_of(write(tmp_path, [dataset])[0])
    assert np.array_equal(stored_values(plane.pixels, 0), signed)


def test_rescale_is_the_slices_own_and_padding_is_found_before_it(tmp_path: Path) -> None:
    pixels = np.full((4, 4), 1000, "<i2")
    pixels[0] = -2000
    dataset = ct_slice(0, side=4, PixelData=pixels.tobytes(), PixelRepresentation=1, BitsStored=16, HighBit=15)
    dataset.add_new("PixelPaddingValue", "SS", -2000)
    dataset.RescaleSlope, dataset.RescaleIntercept = 0.5, -1024
    picture, padding, _ = values(planes_of(write(tmp_path, [dataset])[0])[0])
    assert padding is not None and padding[0].all() and not padding[1:].any()
    assert (picture[1:] == 1000 * 0.5 - 1024).all()


def test_padding_of_the_wrong_sign_and_a_padding_range_are_found(tmp_path: Path) -> None:
    pixels = np.array([[-2000, -1999], [-1990, 5]], "<i2")
    dataset = ct_slice(0, side=2, PixelData=pixels.tobytes(), PixelRepresentation=1, BitsStored=16, HighBit=15)
    dataset.add_new("PixelPaddingValue", "US", 65536 - 2000)
    dataset.add_new("PixelPaddingRangeLimit", "US", 65536 - 1995)
    _, padding, _ = values(planes_of(write(tmp_path, [dataset])[0])[0])
    assert padding is not None and padding.tolist() == [[True, True], [False, False]]


def test_a_grey_palette_and_grey_rgb_become_grey(tmp_path: Path) -> None:
    ramp = np.arange(64, dtype=np.uint8).reshape(8, 8)
    palette = film("p", ramp, PhotometricInterpretation="PALETTE COLOR")
    for colour in ("Red", "Green", "Blue"):
        setattr(palette, f"{colour}PaletteColorLookupTableDescriptor", [256, 0, 16])
        table = (np.arange(256) * 257).astype("<u2").tobytes()
        palette.add_new(f"{colour}PaletteColorLookupTableData", "OW", table)
    rgb = film("c", ramp, SamplesPerPixel=3, PlanarConfiguration=0, PhotometricInterpretation="RGB")
    rgb.PixelData = np.repeat(ramp[..., None], 3, -1).tobytes()
    for dataset, factor in ((palette, 257), (rgb, 1)):
        picture, _, top = values(planes_of(write(tmp_path, [dataset])[0])[0])
        assert np.allclose(grey(picture, top), ramp * float(factor), rtol=1e-5)


def test_a_coloured_picture_is_refused(tmp_path: Path) -> None:
    rgb = film("c", noise((8, 8), "uint8", 255), SamplesPerPixel=3, PlanarConfiguration=0)
    rgb.PhotometricInterpretation, rgb.PixelData = "RGB", noise((8, 8, 3), "uint8", 255).tobytes()
    picture, _, top = values(planes_of(write(tmp_path, [rgb])[0])[0])
    with pytest.raises(StudyRejected, match="unsupported_photometric"):
        grey(picture, top)


def as_file(dataset: Dataset) -> bytes:
    out = io.BytesIO()
    dcmwrite(out, dataset, enforce_file_format=True)
    return out.getvalue()


GOOD = as_file(ct_slice(0))
BROKEN = {
    "nothing": (b"", Reason.UNREADABLE),
    "a text": (b"Dear colleague, " * 40, Reason.UNREADABLE),
    "cut in the header": (GOOD[:420], Reason.NO_PIXELS),
    "cut in the pixels": (GOOD[:-100], Reason.INCONSISTENT_LENGTH),
    "no pixels": (as_file(ct_slice(0, drop=("PixelData",))), Reason.NO_PIXELS),
    "no rows": (as_file(ct_slice(0, drop=("Rows",))), Reason.MISSING_ATTRIBUTE),
    "no series": (as_file(ct_slice(0, drop=("SeriesInstanceUID",))), Reason.MISSING_ATTRIBUTE),
    "more bits stored than allocated": (as_file(ct_slice(0, BitsStored=20, HighBit=19)), Reason.MISSING_ATTRIBUTE),
    "an unknown colour space": (as_file(ct_slice(0, PhotometricInterpretation="HSV")), Reason.UNSUPPORTED_PHOTOMETRIC),
    "a giant": (as_file(ct_slice(0, Rows=60000, Columns=60000)), Reason.UNSAFE_FILE),
    "very many frames": (as_file(ct_slice(0, NumberOfFrames=2000000000)), Reason.UNSAFE_FILE),
    "frames that are not there": (as_file(ct_slice(0, NumberOfFrames=9)), Reason.INCONSISTENT_LENGTH),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_file_is_refused_with_its_reason(tmp_path: Path, name: str) -> None:
    data, reason = BROKEN[name]
    (tmp_path / "f").write_bytes(data)
    planes, refused = read_planes([tmp_path / "f"])
    assert not planes and refused == {reason: 1}


def test_a_damaged_code_stream_is_refused_when_it_is_decoded(tmp_path: Path) -> None:
    file = as_syntax(
        film("x", noise((32, 32), "<u2", 4096), BitsStored=12, HighBit=11), JPEG2000Lossless, tmp_path / "f"
    )
    data = bytearray(file.read_bytes())
    start = data.index(b"\xff\x4f\xff\x51")
    data[start + 4 : start + 80] = bytes(76)
    file.write_bytes(data)
    (plane,) = planes_of(file)
    with pytest.raises(StudyRejected, match="decode_failed"):
        values(plane)
