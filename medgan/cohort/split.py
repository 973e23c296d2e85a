"""Which part of the split a patient belongs to: fixed by a keyed hash before anything else looks at the data."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate

from medgan import digest as digests


def side(secret: bytes, patient_key: str, shares: Sequence[float]) -> int:
    """Index into arrays.PARTS. It depends on the patient alone, so no patient ever changes sides."""
    place = int(digests.keyed(secret, "split", patient_key)[:13], 16) / 16**13
    for part, end in enumerate(accumulate(shares)):
        if place < end:
            return part
    return max(part for part, share in enumerate(shares) if share > 0)
