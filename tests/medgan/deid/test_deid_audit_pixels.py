"""Retained pixels are those of the source, bit for bit, outside the boxes that were painted over."""

import io
from typing import Any

import numpy as np
import pytest
from factories import dicom
from pydicom import dcmread
from pydicom.encaps import encapsulate, generate_frames
from pydicom.uid import (
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
)
from test_deid_audit_elements import walked, written

from medgan.deid.audit.codestream import essence
from medgan.deid.audit.container import Treated
from medgan.deid.audit.untouched import pixels
from medgan.deid.pixels.detect import Box

IMAGE = (np.arange(64 * 48, dtype="<u2") % 4096).reshape(64, 48)


def image(values: Any = IMAGE, syntax: str = ExplicitVRLittleEndian, **more: Any) -> bytes:
    """A slice of [H, W] or of frames [F, H, W]."""
    stack = values if values.ndim == 3 else values[None]
    ds = dicom(Rows=stack.shape[1], Columns=stack.shape[2], NumberOfFrames=len(stack), **more)
    order = ">" if syntax == ExplicitVRBigEndian else "<"
    ds.PixelData = stack.astype(f"{order}{values.dtype.str[1:]}").tobytes()
    if syntax in (RLELossless, JPEG2000Lossless, JPEGLSLossless):
        ds.compress(syntax, generate_instance_uid=False)
    return written(ds, syntax)


def kinds(source: bytes, result: bytes, **how: Any) -> set[str]:
    treated = Treated(original=source, **how)
    return {f.kind for f in pixels(walked(source), walked(result), result, treated)}


def painted(values: Any, box: Box, frame: int | None = None) -> Any:
    copy = values.copy()
    (copy if frame is None else copy[frame])[box.top : box.bottom, box.left : box.right] = 7
    return copy


BOX = Box(10, 5, 20, 30)
SYNTAXES = [ExplicitVRLittleEndian, ExplicitVRBigEndian, RLELossless, JPEG2000Lossless, JPEGLSLossless]


@pytest.mark.parametrize("syntax", SYNTAXES, ids=lambda syntax: syntax.name)
def test_what_changes_inside_the_boxes_only_is_cleared_and_one_pixel_beside_them_is_not(syntax: str) -> None:
    source, result = image(syntax=syntax), image(painted(IMAGE, BOX))
    assert not kinds(source, source)
    assert not kinds(source, result, repainted=True, boxes=[[BOX]])
    assert kinds(source, result, repainted=True, boxes=[[Box(10, 5, 20, 29)]]) == {"changed"}
    assert kinds(source, result, repainted=False, boxes=[[BOX]]) == {"changed"}


def test_a_box_is_one_of_its_frame() -> None:
    stack = np.stack([IMAGE, IMAGE // 2, IMAGE // 3])
    source, result = image(stack), image(painted(stack, BOX, 1))
    assert not kinds(source, result, repainted=True, boxes=[[], [BOX], []])
    assert kinds(source, result, repainted=True, boxes=[[BOX], [], []]) == {"changed"}
    assert kinds(source, image(stack[:2]), repainted=True, boxes=[[], [], []]) == {"changed"}
    assert kinds(image(IMAGE), image(IMAGE.reshape(48, 64))) == {"changed"}


def test_what_hid_above_the_stored_bits_may_go_and_must() -> None:
    dirty = image(IMAGE | 0x8000)
    assert not kinds(dirty, image(IMAGE)) and kinds(dirty, dirty) == {"unused_bits"}
    signed: dict[str, Any] = {"PixelRepresentation": 1}
    negative = image((IMAGE.astype("<i2") - 2048), **signed)
    assert not kinds(negative, negative)
    assert kinds(negative, image((IMAGE.astype("<i2") - 3000), **signed)) >= {"unused_bits"}


def test_bytes_behind_the_pixels_may_go_and_must() -> None:
    ds = dcmread(io.BytesIO(image()))
    ds.PixelData = ds.PixelData + b"Kowalczyk "
    longer = written(ds, ExplicitVRLittleEndian)
    assert not kinds(longer, image()) and kinds(longer, longer) == {"length"}


def with_comment(stream: bytes, syntax: str) -> bytes:
    """The stream with a comment segment behind its first segment."""
    if syntax == JPEG2000Lossless:
        place, segment = 4 + int.from_bytes(stream[4:6], "big"), b"\xff\x64\x00\x0a\x00\x01Jane D"
    else:
        place, segment = 2, b"\xff\xfe\x00\x0aJane Doe"
    return stream[:place] + segment + stream[place:]


@pytest.mark.parametrize("syntax", [JPEG2000Lossless, JPEGLSLossless], ids=lambda syntax: syntax.name)
def test_streams_are_equal_but_for_comments_offsets_fragments_and_padding(syntax: str) -> None:
    ds = dcmread(io.BytesIO(image(syntax=syntax)))
    (stream,) = (bytes(one) for one in generate_frames(ds.PixelData, number_of_frames=1))
    plain = essence(encapsulate([stream]))
    assert plain
    for other in (
        encapsulate([with_comment(stream, syntax)]),
        encapsulate([stream], has_bot=False),
        encapsulate([stream], fragments_per_frame=2),
        encapsulate([stream + bytes(6)]),
    ):
        assert essence(other) == plain
    flipped = bytearray(stream)
    flipped[-8] ^= 1
    assert essence(encapsulate([bytes(flipped)])) != plain


@pytest.mark.parametrize(
    "value",
    [b"", b"\xfe\xff\x00\xe0", encapsulate([b"\xff\xd8\xff\xfe\xff\xffxx"]), encapsulate([b"RLE or not"])],
    ids=["nothing", "cut", "a segment too long", "no JPEG"],
)
def test_unreadable_streams_have_no_essence_or_none_of_anybody(value: bytes) -> None:
    assert not essence(value)


def test_pixels_appear_and_vanish_for_no_reason() -> None:
    without = written(dicom(drop=("PixelData",)), ExplicitVRLittleEndian)
    assert kinds(image(), without) == {"lost"} and kinds(without, image()) == {"not_of_the_source"}
    assert not kinds(without, without)


def test_what_cannot_be_decoded_cannot_be_cleared() -> None:
    source = image(syntax=JPEG2000Lossless)
    ds = dcmread(io.BytesIO(source))
    ds.PixelData = encapsulate([b"\xff\x4f\xff\x51" + bytes(40)])
    assert kinds(source, written(ds, JPEG2000Lossless)) == {"changed"}
