"""What a header declares against what is there: each kind of lie alone, and the reason it is set aside for."""

from __future__ import annotations

import random

import pytest
from dicom_draft import Draft
from hostile_kinds import BAD, GOOD

from medgan.dicom.index import read_header, whole
from medgan.errors import InputRejected, Reason

ROOM = 64 << 20
REASONS = {
    "bits_stored_over_allocated": Reason.MISSING_ATTRIBUTE,
    "bits_allocated_seven": Reason.MISSING_ATTRIBUTE,
    "without_photometric": Reason.MISSING_ATTRIBUTE,
    "rows_zero": Reason.MISSING_ATTRIBUTE,
    "rows_giant": Reason.UNSAFE_FILE,
    "rows_one_more": Reason.INCONSISTENT_LENGTH,
    "two_numbers_for_one": Reason.INCONSISTENT_LENGTH,
    "two_kinds_of_pixels": Reason.INCONSISTENT_LENGTH,
    "frames_negative": Reason.INCONSISTENT_LENGTH,
    "fragments_lost": Reason.INCONSISTENT_LENGTH,
    "fragments_of_noise": Reason.DECODE_FAILED,
    "offset_table_off_the_mark": Reason.INCONSISTENT_LENGTH,
    "offset_table_backwards": Reason.INCONSISTENT_LENGTH,
    "photometric_unknown": Reason.UNSUPPORTED_PHOTOMETRIC,
    "palette_without_table": Reason.UNSUPPORTED_PHOTOMETRIC,
    "samples_of_grey_for_colour": Reason.UNSUPPORTED_PHOTOMETRIC,
    "meta_says_compressed": Reason.INCONSISTENT_LENGTH,
    "meta_says_explicit": Reason.UNREADABLE,
    "meta_without_syntax": Reason.MISSING_ATTRIBUTE,
    "meta_length_lies": Reason.UNREADABLE,
    "mixed_encodings": Reason.UNREADABLE,
    "tag_twice": Reason.UNREADABLE,
    "tags_out_of_order": Reason.UNREADABLE,
    "command_in_the_data_set": Reason.UNREADABLE,
    "vr_of_number_for_a_patient": Reason.UNREADABLE,
    "noise_behind": Reason.UNREADABLE,
    "uid_frame": Reason.BAD_UID,
}


def reason(kind: str, seed: int = 3) -> Reason:
    with pytest.raises(InputRejected) as caught:
        read_header(whole(BAD[kind](Draft(random.Random(f"{kind} {seed}")))), room=ROOM)
    return caught.value.reason


@pytest.mark.parametrize("kind", sorted(set(BAD) - {"deflate_bomb_large"}))
def test_a_file_that_lies_or_is_damaged_is_refused(kind):
    assert reason(kind) in Reason


@pytest.mark.parametrize(("kind", "expected"), REASONS.items(), ids=REASONS)
def test_the_reason_says_what_is_wrong(kind, expected):
    assert reason(kind) == expected


@pytest.mark.parametrize("kind", GOOD)
def test_an_odd_but_true_file_is_read(kind):
    draft = Draft(random.Random(kind))
    header = read_header(whole(GOOD[kind](draft)), room=ROOM)
    assert header.patient_id in draft.planted
