"""Kinds of good, damaged, lying and malicious files: each a function from a made-up image to the bytes of a file.

GOOD must be taken in by PS3.3, PS3.5 and PS3.10; BAD must be set aside by them; EITHER is left to the reader (a
bit changed inside pixels or text, which no check can see).
"""

from __future__ import annotations

import io
import struct
import zipfile
from collections.abc import Callable

from dicom_draft import (
    ALLOCATED,
    BIG,
    CLASS,
    COLUMNS,
    DEFLATED,
    FRAME_OF_REFERENCE,
    FRAMES,
    HIGH,
    IMPLICIT,
    INSTANCE,
    ITEM_END,
    JPEG,
    JPEG2000,
    NAME,
    PATIENT,
    PHOTOMETRIC,
    PIXELS,
    PLANAR,
    REPORT,
    REQUESTS,
    RLE,
    ROWS,
    SAMPLES,
    SEQUENCE_END,
    SERIES,
    SIGN,
    STORED,
    STUDY,
    UNDEFINED,
    Draft,
    el,
    item,
    mark,
    packed,
)

Make = Callable[[Draft], bytes]


def replaced(data: bytes, at: int, new: bytes) -> bytes:
    return data[:at] + new + data[at + len(new) :]


def flipped(draft: Draft, data: bytes, low: int, high: int) -> bytes:
    at = draft.rng.randrange(low, high)
    return replaced(data, at, bytes([data[at] ^ 1 << draft.rng.randrange(8)]))


def position(draft: Draft, data: bytes, tag: int) -> int:
    """Where an element of an explicit little endian file begins."""
    return data.index(struct.pack("<HH", tag >> 16, tag & 0xFFFF) + draft.elements[tag][0].encode())


def cut(draft: Draft, low: float, high: float) -> bytes:
    data = draft.file()
    return data[: int(len(data) * draft.rng.uniform(low, high))]


def frames(draft: Draft, syntax: str, n: int) -> list[bytes]:
    """n compressed 8-bit frames that the draft declares."""
    draft.eight_bits().put((FRAMES, "IS", str(n)))
    return [packed(syntax, draft.value(PIXELS), draft.value(ROWS), draft.value(COLUMNS)) for _ in range(n)]


def table(draft: Draft, change: Callable[[list[int]], list[int]]) -> bytes:
    """Two JPEG frames under an offset table that was changed."""
    two = frames(draft, JPEG, 2)
    offsets = change([0, len(two[0]) + len(two[0]) % 2 + 8])
    return draft.encapsulated(JPEG, two, table=struct.pack(f"<{len(offsets)}I", *offsets))


def nested(depth: int, *, undefined: bool, closed: bool = True) -> bytes:
    """The value of a sequence that holds itself, so many times."""
    if undefined:
        opening = (mark(0xFFFEE000, UNDEFINED) + el(REQUESTS, "SQ", b"", length=UNDEFINED)) * depth
        return opening + (mark(SEQUENCE_END) + mark(ITEM_END)) * depth * closed
    body = b""
    for _ in range(depth):
        body = item(el(REQUESTS, "SQ", body))
    return body


def many_items(draft: Draft, n: int, *, undefined: bool) -> bytes:
    body = b"".join(item(el(0x00400009, "SH", f"{k}"), undefined=undefined) for k in range(n))
    value = body + mark(SEQUENCE_END) if undefined else body
    return draft.around(REQUESTS, el(REQUESTS, "SQ", value, length=UNDEFINED if undefined else None))


def bomb(draft: Draft, mebibytes: int) -> bytes:
    """Zeros that shrink a thousandfold, declared truthfully."""
    side = 4096
    n = max(1, (mebibytes << 20) // (2 * side * side))
    draft.put(
        (ROWS, "US", side), (COLUMNS, "US", side), (FRAMES, "IS", str(n)), (PIXELS, "OW", bytes(2 * side * side * n))
    )
    return draft.deflated()


def without_meta(data: bytes) -> bytes:
    return data[data.index(b"\x08\x00\x05\x00CS") :]


def with_uid(tag: int, value: str | bytes) -> Make:
    return lambda d: d.put((tag, "UI", value)).file()


def reordered(draft: Draft) -> bytes:
    tags = sorted(draft.elements)
    k = draft.rng.randrange(1, len(tags) - 2)
    tags[k], tags[k + 1] = tags[k + 1], tags[k]
    return draft.file(order=tags)


def twice(tag: int, vr: str, value: str | int) -> Make:
    return lambda d: d.around(tag, el(tag, *d.elements[tag]) + el(tag, vr, value))


def sequence(raw: bytes, *, length: int | None = UNDEFINED) -> Make:
    return lambda d: d.around(REQUESTS, el(REQUESTS, "SQ", raw, length=length))


def zipped(draft: Draft) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.dcm", draft.file())
    return file.getvalue()


def text_of(draft: Draft) -> bytes:
    return "; ".join(draft.planted).encode()


def in_mixture(draft: Draft) -> bytes:
    """Explicit data set, of which one element in the middle is encoded as implicit."""
    vr, value = draft.elements[SERIES]
    return draft.around(SERIES, el(SERIES, vr, value, explicit=False))


GOOD: dict[str, Make] = {
    "explicit": lambda d: d.file(),
    "implicit": lambda d: d.file(IMPLICIT),
    "big_endian": lambda d: d.file(BIG),
    "deflated": lambda d: d.deflated(),
    "rle": lambda d: d.encapsulated(RLE, [d.compressed(RLE)]),
    "jpeg": lambda d: d.encapsulated(JPEG, [d.compressed(JPEG)]),
    "jpeg_2000": lambda d: d.encapsulated(JPEG2000, [d.compressed(JPEG2000)]),
    "frames_with_offset_table": lambda d: table(d, lambda offsets: offsets),
    "colour": lambda d: d.eight_bits(colour=True).file(),
    "eight_bits": lambda d: d.eight_bits().file(),
    "bare_data_set": lambda d: d.body(),
    "ten_thousand_items": lambda d: many_items(d, 10_000, undefined=False),
    "ten_thousand_open_items": lambda d: many_items(d, 10_000, undefined=True),
    "ten_thousand_numbers": lambda d: d.put((0x00186020, "DS", "\\".join(["1"] * 10_000))).file(IMPLICIT),
    "nested_eight_deep": sequence(nested(8, undefined=True) + mark(SEQUENCE_END)),
    "trailing_padding_element": lambda d: d.file() + el(0xFFFCFFFC, "OB", bytes(64)),
    "empty_sequence": sequence(b"", length=0),
    "unknown_vr_with_items": lambda d: d.around(
        0x00411001,
        el(0x00411001, "UN", item(el(0x00100040, "CS", "M", explicit=False)) + mark(SEQUENCE_END), length=UNDEFINED),
    ).replace(
        el(0x00411001, "UN", b"", length=UNDEFINED),
        el(0x00410010, "LO", "ACME") + el(0x00411001, "UN", b"", length=UNDEFINED),
    ),
}

PATHS = (
    "../../etc/passwd",
    "/abs/olute",
    "1.2/../3",
    "1.2\0.3",
    "1.2.\u00e9",
    "1." + "2" * 70,
    "a.b.c",
    "1..2",
    "-1.2",
)
BAD: dict[str, Make] = {
    "cut_in_meta": lambda d: d.file()[: d.rng.randrange(140, 300)],
    "cut_early": lambda d: cut(d, 0.1, 0.3),
    "cut_in_the_middle": lambda d: cut(d, 0.3, 0.8),
    "cut_late": lambda d: cut(d, 0.8, 0.99),
    "cut_by_one": lambda d: d.file()[:-1],
    "cut_before_pixels": lambda d: d.meta() + d.body(order=[t for t in sorted(d.elements) if t != PIXELS]),
    "cut_implicit": lambda d: (lambda data: data[: d.rng.randrange(400, len(data) - 8)])(d.file(IMPLICIT)),
    "cut_deflated": lambda d: (lambda data: data[: len(data) * 2 // 3])(d.deflated()),
    "cut_fragments": lambda d: d.encapsulated(JPEG, [d.compressed(JPEG)])[: -d.rng.randrange(10, 100)],
    "fragments_without_end": lambda d: d.encapsulated(RLE, [d.compressed(RLE)], end=b""),
    "fragments_lost": lambda d: (lambda parts: d.encapsulated(JPEG, parts[:1]))(frames(d, JPEG, 3)),
    "fragments_empty": lambda d: d.encapsulated(JPEG, [b""] if d.eight_bits() else []),
    "fragments_of_noise": lambda d: d.eight_bits().encapsulated(
        d.rng.choice((JPEG, JPEG2000, RLE)), [b"\x01" + d.rng.randbytes(499)]
    ),
    "fragment_length_lies": lambda d: (lambda x: x.replace(mark(0xFFFEE000, 0), mark(0xFFFEE000, 0x7FFFFFF0), 1))(
        d.encapsulated(JPEG, [d.compressed(JPEG)])
    ),
    "offset_table_past_the_end": lambda d: table(d, lambda o: [o[0], o[1] + (1 << 30)]),
    "offset_table_off_the_mark": lambda d: table(d, lambda o: [o[0], o[1] + 2]),
    "offset_table_not_from_zero": lambda d: table(d, lambda o: [8, o[1]]),
    "offset_table_backwards": lambda d: table(d, lambda o: [o[1], o[0]]),
    "offset_table_too_long": lambda d: table(d, lambda o: [*o, o[1]]),
    "vr_flipped": lambda d: (lambda x: replaced(x, position(d, x, SERIES) + 4, b"\xd5"))(d.file()),
    "vr_unknown": lambda d: (lambda x: replaced(x, position(d, x, STUDY) + 4, b"ZZ"))(d.file()),
    "vr_of_text_for_a_number": lambda d: d.put((ROWS, "LO", "64")).file(),
    "vr_of_number_for_text": lambda d: d.put((STUDY, "UL", 7)).file(),
    "vr_of_name_for_a_number": lambda d: d.put((ALLOCATED, "PN", "ab")).file(),
    "vr_of_sequence_for_a_number": lambda d: d.around(ROWS, el(ROWS, "SQ", b"")),
    "vr_of_text_for_a_uid": lambda d: d.put((INSTANCE, "LO", d.value(INSTANCE))).file(),
    "vr_of_sequence_for_pixels": lambda d: d.put((PIXELS, "SQ", item(d.value(PIXELS)))).file(),
    "vr_of_text_for_pixels": lambda d: d.put((PIXELS, "UT", d.value(PIXELS))).file(),
    "vr_of_number_for_a_patient": lambda d: d.put((PATIENT, "FL", d.value(PATIENT).encode()[:8])).file(),
    "vr_of_text_in_an_item": sequence(
        item(el(0x00400440, "LO", "1") + el(0x0040A30A, "OB", b"12")) + mark(SEQUENCE_END)
    ),
    "vr_of_text_for_a_sequence": lambda d: d.put((REQUESTS, "LO", d.plant("Request"))).file(),
    "number_of_seven_bytes": lambda d: d.around(0x00189073, el(0x00189073, "FD", b"1234567", length=6)),
    "number_of_three_bytes": lambda d: d.around(COLUMNS, el(COLUMNS, "US", b"\x10\0\0", length=3)),
    "number_of_one_byte": lambda d: d.around(ROWS, el(ROWS, "US", b"\x10", length=1)),
    "number_empty": lambda d: d.put((ROWS, "US", b"")).file(),
    "two_numbers_for_one": lambda d: d.put((ROWS, "US", struct.pack("<HH", d.value(ROWS), 9))).file(),
    "length_over_the_end": lambda d: d.around(PATIENT, el(PATIENT, "LO", d.value(PATIENT), length=0xFFF0)),
    "length_undefined_for_text": lambda d: d.around(0x00091001, el(0x00091001, "UT", "x", length=UNDEFINED)),
    "length_almost_undefined": lambda d: d.around(0x00091001, el(0x00091001, "UN", b"x" * 8, length=0xFFFFFFFE)),
    "length_of_pixels_almost_undefined": lambda d: d.around(
        PIXELS, el(PIXELS, "OW", d.value(PIXELS), length=0xFFFFFFFE)
    ),
    "length_of_pixels_odd": lambda d: d.around(
        PIXELS, el(PIXELS, "OW", d.value(PIXELS) + b"\0", length=len(d.value(PIXELS)) + 1)
    ),
    "length_one_short": lambda d: d.around(NAME, el(NAME, "PN", d.value(NAME), length=len(d.value(NAME)) - 1)),
    "rows_giant": lambda d: d.put((ROWS, "US", 65535), (COLUMNS, "US", 65535)).file(),
    "rows_zero": lambda d: d.put((ROWS, "US", 0)).file(),
    "rows_one_more": lambda d: d.put((ROWS, "US", d.value(ROWS) + 1)).file(),
    "rows_far_fewer": lambda d: d.put((ROWS, "US", d.value(ROWS) // 2)).file(),
    "frames_giant": lambda d: d.put((FRAMES, "IS", "2147483647")).file(),
    "frames_zero": lambda d: d.put((FRAMES, "IS", "0")).file(),
    "frames_negative": lambda d: d.put((FRAMES, "IS", "-1")).file(),
    "frames_no_number": lambda d: d.put((FRAMES, "IS", "1e3")).file(),
    "frames_giant_compressed": lambda d: d.put((FRAMES, "IS", "99999999")).encapsulated(JPEG, [d.compressed(JPEG)]),
    "bits_stored_over_allocated": lambda d: d.put((STORED, "US", 20)).file(),
    "bits_high_over_allocated": lambda d: d.put((HIGH, "US", 16)).file(),
    "bits_high_under_stored": lambda d: d.put((HIGH, "US", 3)).file(),
    "bits_stored_zero": lambda d: d.put((STORED, "US", 0)).file(),
    "bits_allocated_seven": lambda d: d.put((ALLOCATED, "US", 7), (STORED, "US", 7), (HIGH, "US", 6)).file(),
    "sign_two": lambda d: d.put((SIGN, "US", 2)).file(),
    "samples_zero": lambda d: d.put((SAMPLES, "US", 0)).file(),
    "samples_of_colour_for_grey": lambda d: d.eight_bits(colour=True).put((PHOTOMETRIC, "CS", "MONOCHROME2")).file(),
    "samples_of_grey_for_colour": lambda d: d.eight_bits().put((PHOTOMETRIC, "CS", "RGB")).file(),
    "photometric_unknown": lambda d: d.put((PHOTOMETRIC, "CS", "FOO")).file(),
    "palette_without_table": lambda d: d.eight_bits().put((PHOTOMETRIC, "CS", "PALETTE COLOR")).file(),
    "planar_seven": lambda d: d.eight_bits(colour=True).put((PLANAR, "US", 7)).file(),
    "two_kinds_of_pixels": lambda d: d.put((0x7FE00008, "OF", bytes(4 * d.value(ROWS) * d.value(COLUMNS)))).file(),
    "pixels_in_an_icon_only": lambda d: d.drop(PIXELS).around(
        0x00880200, el(0x00880200, "SQ", item(el(PIXELS, "OW", bytes(64))))
    ),
    "deflate_bomb": lambda d: bomb(d, 64),
    "deflate_bomb_large": lambda d: bomb(d, 512),
    "deflate_of_noise": lambda d: d.meta(DEFLATED) + b"\xff" + d.rng.randbytes(4000),
    "deflate_then_more": lambda d: d.deflated() + d.rng.randbytes(400) + b"x",
    "nested_closed": sequence(nested(3000, undefined=True) + mark(SEQUENCE_END)),
    "nested_open": sequence(nested(20_000, undefined=True, closed=False)),
    "nested_defined": sequence(nested(2000, undefined=False), length=None),
    "nested_implicit": lambda d: (
        d.meta(IMPLICIT)
        + d.body(explicit=False, order=[t for t in sorted(d.elements) if t < REQUESTS])
        + (el(REQUESTS, "SQ", b"", explicit=False, length=UNDEFINED) + mark(0xFFFEE000, UNDEFINED)) * 9000
    ),
    "sequence_without_end": sequence(item(el(0x00400009, "SH", "1"))),
    "item_without_end": sequence(mark(0xFFFEE000, UNDEFINED) + el(0x00400009, "SH", "1") + mark(SEQUENCE_END)),
    "item_longer_than_its_sequence": sequence(mark(0xFFFEE000, 64) + el(0x00400009, "SH", "1"), length=18),
    "item_shorter_than_its_element": sequence(mark(0xFFFEE000, 4) + el(0x00400009, "SH", "1") + mark(SEQUENCE_END)),
    "no_item_in_a_sequence": sequence(el(0x00400009, "SH", "1") + mark(SEQUENCE_END)),
    "items_at_the_top": lambda d: d.around(REQUESTS, item(el(0x00400009, "SH", "1"), undefined=True)),
    "sequence_end_at_the_top": lambda d: d.around(REQUESTS, mark(SEQUENCE_END)),
    "meta_says_implicit": lambda d: d.meta(IMPLICIT) + d.body(),
    "meta_says_explicit": lambda d: d.meta() + d.body(explicit=False),
    "meta_says_big_endian": lambda d: d.meta(BIG) + d.body(),
    "meta_says_little_endian": lambda d: d.meta() + d.body(big=True),
    "meta_says_deflated": lambda d: d.meta(DEFLATED) + d.body(),
    "meta_says_compressed": lambda d: d.meta(JPEG) + d.body(),
    "meta_says_native": lambda d: d.meta() + without_meta(d.encapsulated(JPEG, [d.compressed(JPEG)])),
    "meta_of_an_unknown_syntax": lambda d: d.meta("1.2.3.4.5.6") + d.body(),
    "meta_of_a_path": lambda d: d.meta("../../../tmp/x") + d.body(),
    "meta_without_syntax": lambda d: d.meta(drop=0x00020010) + d.body(),
    "meta_of_another_class": lambda d: (lambda body: d.put((CLASS, "UI", REPORT)).meta() + body)(d.body()),
    "meta_length_lies": lambda d: (lambda x: replaced(x, 140, struct.pack("<I", 40)))(d.file()),
    "meta_in_the_data_set": lambda d: (
        d.meta()
        + d.body(order=sorted(d.elements)[:5])
        + el(0x00020010, "UI", IMPLICIT)
        + d.body(order=sorted(d.elements)[5:])
    ),
    "command_in_the_data_set": lambda d: d.meta() + el(0x00000100, "US", 1) + d.body(),
    "mixed_encodings": in_mixture,
    "tag_twice": twice(PATIENT, "LO", "another"),
    "rows_twice": twice(ROWS, "US", 1),
    "pixels_twice": lambda d: d.around(PIXELS, el(PIXELS, *d.elements[PIXELS]) * 2),
    "instance_twice": twice(INSTANCE, "UI", "1.2.3.4"),
    "tags_out_of_order": reordered,
    "pixels_first": lambda d: d.file(order=[PIXELS, *sorted(d.elements)[:-1]]),
    "noise_behind": lambda d: d.file() + d.rng.randbytes(333),
    "another_file_behind": lambda d: d.file() + Draft(d.rng, d.planted).file(),
    "report_without_pixels": lambda d: d.drop(PIXELS).put((CLASS, "UI", REPORT)).file(),
    "class_unknown": lambda d: d.put((CLASS, "UI", "1.2.3.4.5")).file(),
    "directory_record": lambda d: d.put((CLASS, "UI", "1.2.840.10008.1.3.10")).file(),
    "text": lambda d: text_of(d) * 9,
    "pdf": lambda d: b"%PDF-1.7\n%\xe2\xe3\n1 0 obj<</Title(" + text_of(d) + b")>>endobj\n%%EOF",
    "jpeg_picture": lambda d: (lambda x: x[:-2] + b"\xff\xfe\0\x20" + text_of(d)[:30] + x[-2:])(d.compressed(JPEG)),
    "zip": zipped,
    "program": lambda d: b"\x7fELF\x02\x01\x01" + bytes(57) + text_of(d) + d.rng.randbytes(2000),
    "zeros": lambda d: bytes(d.rng.randrange(1, 9000)),
    "noise": lambda d: d.rng.randbytes(5000),
    "nothing": lambda d: b"",
    "preamble_only": lambda d: bytes(128) + b"DICM",
    "meta_only": lambda d: d.meta(),
    "prefix_wrong": lambda d: (lambda x: x[:128] + b"DIC0" + x[132:])(d.file()),
}
BAD |= {
    f"uid_{name}_{k}": with_uid(tag, value.encode())
    for name, tag in (("instance", INSTANCE), ("study", STUDY), ("series", SERIES))
    for k, value in enumerate(PATHS)
}
BAD |= {
    f"uid_{name}": with_uid(tag, value.encode())
    for name, tag, value in (
        ("frame", FRAME_OF_REFERENCE, PATHS[0]),
        ("class", CLASS, PATHS[0]),
        ("two", STUDY, "1.2.3\\1.2.4"),
    )
}
BAD |= {
    f"without_{name}": lambda d, tag=tag: d.drop(tag).file()
    for name, tag in (
        ("class", CLASS),
        ("instance", INSTANCE),
        ("study", STUDY),
        ("series", SERIES),
        ("rows", ROWS),
        ("columns", COLUMNS),
        ("allocated", ALLOCATED),
        ("stored", STORED),
        ("high_bit", HIGH),
        ("sign", SIGN),
        ("samples", SAMPLES),
        ("photometric", PHOTOMETRIC),
        ("pixels", PIXELS),
    )
}

EITHER: dict[str, Make] = {
    "bit_in_header": lambda d: (lambda x: flipped(d, x, 340, position(d, x, PIXELS)))(d.file()),
    "bit_in_meta": lambda d: flipped(d, d.file(), 128, 340),
    "bit_in_preamble": lambda d: flipped(d, d.file(), 0, 128),
    "bit_in_pixels": lambda d: (lambda x: flipped(d, x, len(x) - 60, len(x)))(d.file()),
    "bit_in_deflated": lambda d: (lambda x: flipped(d, x, 400, len(x)))(d.deflated()),
    "bit_in_fragments": lambda d: (lambda x: flipped(d, x, len(x) - 200, len(x)))(
        d.encapsulated(JPEG, [d.compressed(JPEG)])
    ),
    "byte_in_header": lambda d: (
        lambda x: replaced(x, d.rng.randrange(140, position(d, x, PIXELS)), d.rng.randbytes(1))
    )(d.file()),
    "words_in_header": lambda d: (
        lambda x: replaced(x, d.rng.randrange(140, position(d, x, PIXELS)), b"\xff\xff\xff\xff")
    )(d.file()),
    # wrong by PS3.10, yet de-identified archives are full of it: 105 of 433 real images at hand
    "meta_of_another_instance": lambda d: (lambda body: d.put((INSTANCE, "UI", "1.2.3.4.5")).meta() + body)(d.body()),
    "without_patient": lambda d: d.drop(PATIENT).file(),
    "patient_of_a_path": lambda d: d.put((PATIENT, "LO", "../../" + d.plant("ID"))).file(),
    "patient_in_undeclared_bytes": lambda d: d.put((PATIENT, "LO", d.plant("ID").encode() + b"\xff\xfe\x80")).file(),
    "patient_of_many_letters": lambda d: d.put((PATIENT, "LO", d.plant("ID") + "x" * 60_000)).file(),
    "preamble_of_a_program": lambda d: b"\x7fELF" + d.file()[4:],
    "zeros_behind": lambda d: d.file() + bytes(64),
    "spacing_of_letters": lambda d: d.put((0x00280030, "DS", "wide\\high")).file(),
    "unknown_vr_for_a_number": lambda d: d.around(ROWS, el(ROWS, "UN", struct.pack("<H", d.value(ROWS)))),
}
