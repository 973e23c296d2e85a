"""Value representations (PS3.5 6.2) and tags as numbers, for compiled loops.

Those keep what they were compiled with: a change here asks for one in compiled.py too.
"""

from __future__ import annotations

import numpy as np
from pydicom.datadict import DicomDictionary

UNDEFINED = 0xFFFFFFFF
ITEM, ITEM_END, SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
# with 2 bytes of length, with 4
SHORT = (
    *("AE", "AS", "AT", "CS", "DA", "DS", "DT", "FD", "FL", "IS", "LO", "LT", "PN", "SH", "SL", "SS", "ST", "TM"),
    *("UI", "UL", "US"),
)
LONG = ("OB", "OD", "OF", "OL", "OV", "OW", "SQ", "SV", "UC", "UN", "UR", "UT", "UV")
# PS3.6: what is a sequence by its tag; an implicit file says so nowhere else
SEQUENCES = np.array(sorted(tag for tag, entry in DicomDictionary.items() if entry[0] == "SQ"), np.int64)


def vr_code(vr: str) -> int:
    return (ord(vr[0]) - 65) * 26 + ord(vr[1]) - 65


NO_VR, SQ = -1, vr_code("SQ")
NAMES = {vr_code(vr): vr.encode() for vr in (*SHORT, *LONG)} | {NO_VR: b""}
FORMS = np.zeros(26 * 26, np.int8)  # by code: 1 short, 2 long, 0 none
FORMS[[vr_code(vr) for vr in SHORT]], FORMS[[vr_code(vr) for vr in LONG]] = 1, 2
