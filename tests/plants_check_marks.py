"""What a result says of itself: the marks of PS3.15 E.1.1, the file meta and the shape of the file."""

from __future__ import annotations

from io import BytesIO
from typing import TYPE_CHECKING

import pydicom
from plants_check_actions import types
from plants_check_values import flat
from pydicom.dataelem import RawDataElement
from pydicom.uid import UID

if TYPE_CHECKING:
    from plants_check import Result, Verdict

ONLY_WHERE_THEY_RAN = {"113101", "113103", "113104", "113111"}
SENDER = {0x00020016, 0x00020017, 0x00020018, 0x00020026, 0x00020027, 0x00020028, 0x00020100, 0x00020102}
BURNED_IN = 0x00280301
TRAILING = 0xFFFA0000  # digital signatures and padding
UNWANTED = {4, *range(0x5000, 0x5100), *range(0x6000, 0x6100)}
CODES = {  # option column -> code that claims it
    "clean_desc": "113105",
    "retain_long_modif_dates": "113107",
    "retain_patient_chars": "113108",
}


def judge_marks(result: Result, columns: tuple[str, ...], verdict: Verdict) -> None:
    ds, data = result.ds, result.data
    earlier = {str(one.CodeValue) for one in result.case.source().get("DeidentificationMethodCodeSequence", ())}
    codes = {str(one.CodeValue) for one in ds.get("DeidentificationMethodCodeSequence", ())}
    method = ds.get("DeidentificationMethod", "")
    methods = [method] if isinstance(method, str) else list(method)
    burned = ds.get("BurnedInAnnotation", "")
    pictured = "PixelData" in ds
    private = any(tag >> 16 & 1 for seen in flat(ds) for tag in seen.path)
    dates = "MODIFIED" if "retain_long_modif_dates" in columns else "REMOVED"
    # an IOD that asks for the attribute keeps the word of the source where not every frame was read
    quoted = "113101" not in codes and types(str(ds.SOPClassUID)).get((BURNED_IN,), "").startswith("1")
    quoted = quoted and burned == result.case.source().get("BurnedInAnnotation", "")
    marks = {
        "PatientIdentityRemoved": ds.get("PatientIdentityRemoved") == "YES",
        "LongitudinalTemporalInformationModified": ds.get("LongitudinalTemporalInformationModified") == dates,
        "DeidentificationMethod": bool(methods[0]) and all(len(one) <= 64 for one in methods),
        "basic profile claimed": "113100" in codes,
        "options claimed": all(code in codes for column, code in CODES.items() if column in columns),
        "nothing else claimed": codes - earlier <= {"113100", *ONLY_WHERE_THEY_RAN, *map(CODES.get, columns)},
        "BurnedInAnnotation and 113101 agree": quoted or (burned == "NO") == ("113101" in codes) or not pictured,
        "113111 where private stayed": private == ("113111" in codes) or "113111" in earlier,
        "no 113102": "113102" not in codes - earlier,
        "meta: same instance UID": ds.file_meta.MediaStorageSOPInstanceUID == ds.SOPInstanceUID,
        "meta: nothing of the sender": not SENDER & {int(one.tag) for one in ds.file_meta},
        "preamble of zeros": data[:128] == bytes(128),
        "named by its UID": result.name.endswith(f"{ds.SOPInstanceUID}.dcm"),
        "valid UIDs": all(UID(one).is_valid for one in (ds.SOPInstanceUID, ds.StudyInstanceUID, ds.SeriesInstanceUID)),
        "no group 0004, 50xx, 60xx": not {tag.group for tag in sorted(ds.keys())} & UNWANTED,
        "nothing after the data set": _ends(data),
    }  # fmt: skip
    for name, good in marks.items():
        verdict.count("marks", name, bool(good), result.case.kind)


def _ends(data: bytes) -> bool:
    """Whether tags ascend and the last element ends where the file ends: parsed length = file length."""
    ds = pydicom.dcmread(BytesIO(data), force=True)  # anew: elements are raw until they are used
    tags = list(map(int, ds.keys()))
    last = ds.get_item(tags[-1])
    if tags != sorted(tags) or tags[-1] >= TRAILING:
        return False
    if not isinstance(last, RawDataElement) or last.length == 0xFFFFFFFF:
        return data.endswith(b"\xfe\xff\xdd\xe0\0\0\0\0") or not isinstance(last, RawDataElement)
    return last.value_tell + last.length == len(data)
