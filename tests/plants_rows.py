"""One value for each row of Table E.1-1, so that every required action is asked for."""

from __future__ import annotations

import csv
from functools import cache
from pathlib import Path
from typing import Any

from plants_scene import Scene, item, put
from pydicom.datadict import DicomDictionary
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

TABLE = Path(__file__).resolve().parent.parent / "medgan" / "deid" / "ps3.15_table_e1-1_2026d.csv"
UNKNOWN = {  # rows that pydicom's dictionary lacks, with the VR of PS3.6
    **dict.fromkeys((0x00081301, 0x00081302, 0x00081303, 0x00081304, 0x00100011, 0x00100014, 0x00100015), "SQ"),
    **dict.fromkeys((0x00100041, 0x00100043, 0x00100044, 0x00100046), "SQ"),
    **dict.fromkeys((0x00100013, 0x00100016, 0x00100042, 0x00100045), "UT"),
    **dict.fromkeys((0x0040A034, 0x0040A035, 0x0040B034, 0x0040B036), "DT"),
    **{0x00100012: "LT", 0x0040B03B: "LT", 0x00102162: "UC", 0x00100047: "UR", 0x0040E012: "UR"},
    **{0x0040B03F: "LO", 0x3004007F: "LO"},
}
STRUCTURAL = {  # planted by their own places, or a file without them is another kind of file
    *(0x00080018, 0x0020000D, 0x0020000E, 0x00100010, 0x00100020, 0x00420011, 0x0040A730, 0x00287FE0),
    *(0xFFFAFFFA, 0xFFFCFFFC, 0x00880200, 0x00080201, 0x00101010, 0x00081120, 0x00420010, 0x00100021),
}
LIMITS = {"SH": 16, "LO": 64, "ST": 200, "LT": 300, "UT": 300, "UC": 200}


@cache
def rows() -> dict[int, dict[str, str]]:
    """The rows with a whole tag: tag -> cells by column."""
    with TABLE.open(newline="") as file:
        found = {row["tag"]: row for row in csv.DictReader(file)}
    return {int(tag, 16): row for tag, row in found.items() if "x" not in tag and tag != "PRIVATE"}


def vr_of(tag: int) -> str:
    if tag in UNKNOWN:
        return UNKNOWN[tag]
    return str(DicomDictionary[tag][0]).split(" ")[0] if tag in DicomDictionary else ""


def plantable() -> list[int]:
    """Rows that any data set can carry, in ascending order."""
    return sorted(tag for tag in rows() if 0x0008 <= tag >> 16 < 0x5000 and tag not in STRUCTURAL and vr_of(tag))


def plant_row(scene: Scene, ds: Dataset, tag: int, above: tuple[int, ...] = ()) -> None:
    """Put a value with identity in it under `tag`; what is there already stays."""
    if tag in ds:
        return
    vr, path = vr_of(tag), (*above, tag)
    put(ds, tag, vr, _value(scene, vr, path))


def _value(scene: Scene, vr: str, path: tuple[int, ...]) -> Any:
    person, study = scene.person, scene.study
    if vr in LIMITS:
        return scene.described("table row, text", path, LIMITS[vr])
    if vr == "PN":
        return scene.rng.choice((person.name, study.physician, study.operator))
    if vr == "SQ":
        return Sequence([_item(scene, path)])
    if vr in ("OB", "OW", "UN"):
        return scene.secret("table row, bytes").encode("latin-1").ljust(64)
    plain: dict[str, Any] = {
        "UI": scene.new_uid(),
        "DA": study.day.strftime("%Y%m%d"),
        "TM": study.time,
        "DT": f"{study.day:%Y%m%d}{study.time}+0130" if len(study.time) > 6 else f"{study.day:%Y%m%d}{study.time}",
        "AE": study.station[:16],
        "UR": f"https://{study.station.lower()}.example/{scene.nonce('table row, address')}",
        "AS": "034Y",
        "CS": "UNKNOWN",
        **{"DS": "1.25", "IS": "12", "US": 3, "UL": 3, "SS": 3, "FD": 1.5, "FL": 1.5},
    }
    return plain[vr]


def _item(scene: Scene, path: tuple[int, ...]) -> Dataset:
    """An item of any sequence: a person, a text, a code, a reference and a date in it."""
    text = scene.described("table row, item", (*path, 0x00081030))
    return item(
        (0x00080020, "DA", scene.study.day.strftime("%Y%m%d")),
        (0x00080050, "SH", scene.study.accession),
        (0x00081030, "LO", text),
        (0x00081150, "UI", "1.2.840.10008.5.1.4.1.1.2"),
        (0x00081155, "UI", scene.new_uid()),
        (0x00100010, "PN", scene.person.name),
        (0x00100020, "LO", scene.person.patient_id),
    )
