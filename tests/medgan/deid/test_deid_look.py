"""Looking at a study: text goes from any kind of file, nothing else changes, and what cannot be seen is set aside."""

import io
from typing import Any

import numpy as np
import pytest
from burned import COLOUR, GREY, Case, planted
from dicom_of_pictures import JPEG_KINDS, encoded, header, pack
from numpy.typing import NDArray
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.pixels import iter_pixels
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from medgan.deid.draft import Draft, Instance, open_draft
from medgan.deid.pixels.look import look
from medgan.errors import Reason

SIDE = 1024
LOSSLESS = ("RLE 12", "JPEG 2000 12", "JPEG-LS 12")
Frame = NDArray[np.float64]


def film(side: int = 160, seed: int = 1) -> Frame:
    """Smooth blobs with grain."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:side, 0:side] / side
    picture = 0.25 + 0.35 * np.exp(-((x - 0.5) ** 2 + (y - 0.55) ** 2) / 0.08)
    return np.clip(picture + rng.normal(0, 0.01, (side, side)), 0, 1)


def marked(picture: Frame, text: str = "DOE JANE", height: int = 16) -> Frame:
    case = Case.drawn(1, "look", 0, heights=(height,), side=picture.shape[0])
    case = Case(**{**case.__dict__, "text": text, "font": "DejaVuSans", "angle": 0.0})
    return planted(picture, case, np.random.default_rng(3))[0]


def looked_at(*files: bytes, keep_annotations: bool = False) -> Draft:
    draft = open_draft({str(n): data for n, data in enumerate(files)}, "patient")
    look([draft], SIDE, keep_annotations=keep_annotations)
    return draft


def one(data: bytes, **how: bool) -> Instance:
    (instance,) = looked_at(data, **how).instances
    return instance


def decoded(ds: Dataset) -> list[NDArray[Any]]:
    return [np.array(frame) for frame in iter_pixels(ds, raw=ds.SamplesPerPixel == 1)]


def outside(shape: tuple[int, ...], boxes: list[Any]) -> NDArray[np.bool_]:
    seen = np.ones(shape, bool)
    for box in boxes:
        seen[box.top : box.bottom, box.left : box.right] = False
    return seen


@pytest.mark.parametrize("kind", [*GREY, *COLOUR])
def test_text_goes_and_the_values_around_it_stay_to_the_bit(kind: str) -> None:
    picture = marked(film())
    shades = np.repeat(picture[..., None], 3, axis=2) * (1, 0.9, 0.7) if kind in COLOUR else picture
    data = encoded([shades], kind, "CR")
    before = decoded(dcmread(io.BytesIO(data)))[0]
    instance = one(data)
    after = decoded(instance.ds)[0]
    seen = outside(before.shape[:2], instance.boxes[0])
    assert instance.reason is None and instance.looked and instance.repainted and not seen.all()
    assert np.array_equal(before[seen], after[seen])
    assert not np.array_equal(before, after)


@pytest.mark.parametrize("kind", ["explicit 12", *LOSSLESS, *JPEG_KINDS])
def test_a_lossless_syntax_is_written_again_and_a_lossy_one_is_unpacked(kind: str) -> None:
    picture = marked(film())
    data = encoded([np.repeat(picture[..., None], 3, axis=2) * (1, 0.9, 0.7) if "RGB" in kind else picture], kind, "CR")
    syntax = dcmread(io.BytesIO(data)).file_meta.TransferSyntaxUID
    written = one(data).ds.file_meta.TransferSyntaxUID
    assert written == (ExplicitVRLittleEndian if kind in JPEG_KINDS else syntax)


def test_nothing_is_repainted_where_there_is_no_text() -> None:
    instance = one(encoded([film()], "RLE 12", "CR"))
    assert instance.looked and not instance.repainted and instance.boxes == [[]]


def test_text_in_one_frame_of_a_film_strip_is_found_there_alone() -> None:
    frames = [film(seed=n) for n in range(4)]
    frames[2] = marked(frames[2])
    boxes = one(encoded(frames, "8 bits", "US")).boxes
    assert [bool(found) for found in boxes] == [False, False, True, False]


def body(side: int, place: int) -> Frame:
    y, x = np.mgrid[0:side, 0:side] / side
    inside = 0.6 * (np.hypot(x - 0.5, (y - 0.5) * 1.3) < 0.35 + 0.05 * np.sin(place / 9))
    return np.clip(0.1 + inside + np.random.default_rng(place).normal(0, 0.02, (side, side)), 0, 1)


def slices(count: int, marks: set[int], side: int = 136) -> list[bytes]:
    """An original CT series of which some slices show a name, out of order."""
    study, series = generate_uid(), generate_uid()
    files = []
    for n in np.random.default_rng(4).permutation(count):
        picture = np.maximum(body(side, int(n)), name(side) if n in marks else 0)
        ds = header("CT", 1, picture.shape)
        ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.InstanceNumber = study, series, int(n) + 1
        ds.ImageOrientationPatient, ds.ImagePositionPatient = [1, 0, 0, 0, 1, 0], [0, 0, float(n)]
        files.append(pack(ds, np.round(picture * 4000).astype(np.uint16)[None], ExplicitVRLittleEndian))
    return files


def name(side: int) -> Frame:
    return np.where(marked(np.zeros((side, side)), "JANE DOE", 14) > 0.5, 0.95, 0)


def found_in(draft: Draft) -> set[int]:
    return {int(i.ds.InstanceNumber) - 1 for i in draft.instances if any(i.boxes)}


def test_one_frame_with_text_among_five_hundred_slices_is_found() -> None:
    frames = [body(136, n) for n in range(500)]
    frames[217] = np.maximum(frames[217], name(136))
    instance = one(encoded(frames, "12", "CT"))
    assert [n for n, boxes in enumerate(instance.boxes) if boxes] == [217]
    assert not instance.looked, "the gate does not read every frame, so nothing is claimed"


def test_text_in_all_slices_and_in_a_run_of_them_goes_everywhere() -> None:
    assert found_in(looked_at(*slices(12, set(range(12))))) == set(range(12))
    assert found_in(looked_at(*slices(24, {5, 6, 7, 8}))) == {5, 6, 7, 8}


def cannot_be_seen() -> list[Any]:
    plain = encoded([film()], "explicit 12", "CR")

    def changed(**values: Any) -> bytes:
        ds = dcmread(io.BytesIO(plain))
        for keyword, value in values.items():
            if value is None:
                delattr(ds, keyword)
            else:
                setattr(ds, keyword, value)
        out = io.BytesIO()
        ds.save_as(out)
        return out.getvalue()

    ds = dcmread(io.BytesIO(plain))
    del ds.PixelData
    ds.FloatPixelData, ds.BitsAllocated = marked(film()).astype("<f4").tobytes(), 32
    out = io.BytesIO()
    ds.save_as(out)
    two = dcmread(io.BytesIO(encoded([film(), film(seed=2)], "JPEG baseline", "CR")))
    two.NumberOfFrames = 1
    more = io.BytesIO()
    two.save_as(more)
    return [
        pytest.param(changed(PixelData=bytes(100)), id="pixels are missing"),
        pytest.param(changed(Rows=None), id="no rows"),
        pytest.param(changed(Rows=0), id="no size"),
        pytest.param(changed(BitsAllocated=13), id="strange bits"),
        pytest.param(changed(Rows=60000, Columns=60000), id="too many bytes"),
        pytest.param(changed(NumberOfFrames=10**9), id="too many frames"),
        pytest.param(out.getvalue(), id="text in floats"),
        pytest.param(more.getvalue(), id="more pictures than frames"),
        pytest.param(unknown_syntax(plain), id="a syntax without a decoder"),
    ]


def unknown_syntax(plain: bytes) -> bytes:
    data = encoded([film()], "JPEG baseline", "CR")
    return data.replace(b"1.2.840.10008.1.2.4.50", b"1.2.840.10008.1.2.4.53")


@pytest.mark.parametrize("data", cannot_be_seen())
def test_what_cannot_be_seen_is_set_aside(data: bytes) -> None:
    instance = one(data)
    assert instance.reason is Reason.TEXT_UNCLEAR


def test_annotations_stay_only_where_the_profile_keeps_them_and_names_never() -> None:
    side = encoded([marked(film(), "PORTABLE", 18)], "explicit 12", "CR")
    assert one(side).repainted and not one(side, keep_annotations=True).repainted
    assert one(encoded([marked(film())], "explicit 12", "CR"), keep_annotations=True).repainted


def test_a_marker_that_is_the_name_of_the_patient_goes() -> None:
    data = encoded([marked(film(), "PORTABLE", 18)], "explicit 12", "CR", PatientName="Portable^Ann")
    assert one(data, keep_annotations=True).repainted
