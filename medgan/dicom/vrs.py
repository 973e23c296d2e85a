"""Value representations (PS3.5 6.2) and tags as numbers, for compiled loops.

Those keep what they were compiled with: a change here asks for one in compiled.py too.
"""

from __future__ import annotations

import numpy as np

from medgan.dicom.dictionary import SEQUENCE_TAGS
from medgan.dicom.structure import LONG, SHORT

# PS3.6: what is a sequence by its tag; an implicit file says so nowhere else
SEQUENCES = np.array(sorted(SEQUENCE_TAGS), np.int64)


def vr_code(vr: bytes) -> int:
    return (vr[0] - 65) * 26 + vr[1] - 65


NO_VR, SQ = -1, vr_code(b"SQ")
NAMES = {vr_code(vr): vr for vr in SHORT | LONG} | {NO_VR: b""}
FORMS = np.zeros(26 * 26, np.int8)  # by code: 1 short, 2 long, 0 none
FORMS[[vr_code(vr) for vr in SHORT]], FORMS[[vr_code(vr) for vr in LONG]] = 1, 2
