"""Which part of the split a patient belongs to: fixed by a keyed hash before anything else looks at the data.

It depends on the patient and the secret alone, never on who else is there: as data grows nobody changes sides, and
new patients renew every part, the audit too. Other shares are another split.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import accumulate

from medgan import digest as digests


def side(secret: bytes, patient_key: str, shares: Sequence[float]) -> int:
    """Index into arrays.PARTS. It depends on the patient alone, so no patient ever changes sides."""
    place = int(digests.keyed(secret, "split", patient_key)[:13], 16) / 16**13
    for part, end in enumerate(accumulate(shares)):
        if place < end:
            return part
    return max(part for part, share in enumerate(shares) if share > 0)


def side_of_all(secret: bytes, patient_keys: Iterable[str], shares: Sequence[float]) -> int:
    """The earliest part of several keys that turned out to be one person's, at least one.

    Whoever was in train stays there: no later finding moves a picture that a model learned from into the audit.
    """
    return min(side(secret, key, shares) for key in patient_keys)
