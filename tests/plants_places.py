"""The places among the elements where identity hides: one function a place, each plants into a scene."""

from __future__ import annotations

from functools import cache

import numpy as np
from plants_people import ASIAN
from plants_scene import Plant, Scene, code, item, put, put_items
from plants_text import FORMATS, plain
from pydicom.datadict import DicomDictionary
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.tag import Tag

ANATOMY, MODIFIER = 0x00082218, 0x00082220  # sequences without a row: kept, so their items have to be entered
UNLISTED_UIDS = (0x00200242, 0x00209312, 0x00209313, 0x00081167, 0x00083012, 0x0070031B, 0x300A0675)
NAMED_BY_THE_NOTE = (
    *("SegmentDescription", "RTImageDescription", "SurfaceComments", "DocumentTitle", "PartialViewDescription"),
    *("TrackingID", "DeviceID"),
)
TEXT_VRS = {"SH": 16, "LO": 64, "ST": 200, "LT": 300, "UT": 300, "UC": 200}


def identity(scene: Scene) -> None:
    """What every file of a patient carries, in the attributes made for it."""
    ds, person, study = scene.ds, scene.person, scene.study
    declared = ds.get("SpecificCharacterSet", "")
    asian = ASIAN.get({"ISO 2022 IR 87": "JP", "ISO 2022 IR 149": "KR"}.get(_last(declared), _last(declared)))
    # Groups in other scripts where the declared set has them; Latin accents only where it has those.
    name = person.name if asian is None else "=".join((person.name, *asian)).rstrip("=")
    put(ds, 0x00100010, "PN", name)
    for group in asian or ():
        scene.note("other scripts", None, *(part for part in group.split("^") if len(part) > 1))
    put(ds, 0x00100020, "LO", person.patient_id)
    put(ds, 0x00100021, "LO", person.town)  # with the id it says who: the same in all files of a patient
    put(ds, 0x00101000, "LO", [person.other_id, f"X{person.other_id}"])
    put(ds, 0x00100030, "DA", person.birth.strftime("%Y%m%d"))
    put(ds, 0x00100040, "CS", person.sex)
    put(ds, 0x00101010, "AS", f"{person.age:03}Y")
    put(ds, 0x00101030, "DS", "71.5")
    put(ds, 0x00101040, "LO", f"{person.street}, {person.town}")
    put(ds, 0x00101060, "PN", person.mother)
    put(ds, 0x00102154, "SH", [person.phone, person.phone.replace(" ", "-")[:16]])
    put(ds, 0x00080050, "SH", study.accession)
    put(ds, 0x00080080, "LO", study.institution)
    put(ds, 0x00080081, "ST", f"{study.institution}, {person.town}")
    put(ds, 0x00080090, "PN", study.physician)
    put(ds, 0x00081010, "SH", study.station)
    put(ds, 0x00081070, "PN", [study.operator, study.physician])
    put(ds, 0x00181000, "LO", study.serial)
    put(ds, 0x00200010, "SH", study.study_id)
    for tag in (0x00080020, 0x00080021, 0x00080022, 0x00080023):
        put(ds, tag, "DA", study.day.strftime("%Y%m%d"))
    for tag in (0x00080030, 0x00080031, 0x00080032, 0x00080033):
        put(ds, tag, "TM", study.time)
    put(ds, 0x00080201, "SH", "+0130")


def _last(declared: object) -> str:
    values = [declared] if isinstance(declared, str) else list(declared or [""])  # type: ignore[call-overload]
    return str(values[-1])


def descriptions(scene: Scene) -> None:
    for tag, vr, most in ((0x00081030, "LO", 64), (0x0008103E, "LO", 64), (0x00181030, "LO", 64)):
        put(scene.ds, tag, vr, scene.described("description", (tag,), most))
    for tag, vr in ((0x00204000, "LT"), (0x00104000, "LT"), (0x001021B0, "LT"), (0x00321060, "LO")):
        put(scene.ds, tag, vr, scene.described("comment", (tag,), 64 if vr == "LO" else 400))


def text_without_row(scene: Scene) -> None:
    """Text attributes that Table E.1-1 does not list."""
    for tag in scene.rng.sample(_unlisted_text(), 8) + [int(Tag(keyword)) for keyword in NAMED_BY_THE_NOTE]:
        if tag not in scene.ds and tag != 0x00100033:
            vr = str(DicomDictionary[tag][0])
            put(scene.ds, tag, vr, scene.described("text without a row", (tag,), TEXT_VRS[vr]))
    put(scene.ds, 0x00100033, "LO", scene.secret("birth date of another calendar"))


@cache
def _unlisted_text() -> list[int]:
    from plants_rows import rows

    structural = {0x00080005, 0x00080201, 0x00080060, 0x00100033, 0x00100034, 0x00100035}  # sets, zones, calendars
    return sorted(
        tag
        for tag, entry in DicomDictionary.items()
        if entry[0] in TEXT_VRS and entry[3] == "" and tag not in rows() and tag not in structural
        and 0x0008 < tag >> 16 < 0x5000 and not _code_like(entry[4])
    )  # fmt: skip


def _code_like(keyword: str) -> bool:
    return keyword.startswith(("CodeValue", "LongCodeValue", "CodeMeaning", "CodingScheme", "ContextGroup", "Mapping"))


def nested_deep(scene: Scene) -> None:
    inner = item((0x00100010, "PN", scene.person.name), (0x00100020, "LO", scene.person.patient_id))
    put(inner, 0x00080020, "DA", scene.study.day.strftime("%Y%m%d"))
    put(inner, 0x00081155, "UI", scene.new_uid())
    put(inner, 0x00081030, "LO", scene.described("nested", (ANATOMY, MODIFIER, ANATOMY, MODIFIER, 0x00081030)))
    for tag in (MODIFIER, ANATOMY, MODIFIER):
        inner = item((tag, "SQ", Sequence([inner])))
    put_items(scene.ds, ANATOMY, inner)


def request_attributes(scene: Scene) -> None:
    asked = item((0x00400007, "LO", scene.described("request", (0x00400275, 0x00400007))))
    put(asked, 0x00401001, "SH", scene.nonce("request, number"))
    put(asked, 0x00080050, "SH", scene.study.accession)
    put(asked, 0x0020000D, "UI", scene.new_uid())
    put(asked, 0x00321032, "PN", scene.study.physician)
    put_items(scene.ds, 0x00400275, asked)


def original_attributes(scene: Scene) -> None:
    before = item((0x00100010, "PN", scene.person.name), (0x00100020, "LO", scene.secret("original attributes")))
    bad = item((0x00720026, "AT", 0x00100010), (0x04000552, "UN", scene.secret("nonconforming").encode("latin-1")))
    attributes = item((0x04000550, "SQ", Sequence([before])), (0x04000551, "SQ", Sequence([bad])))
    put(attributes, 0x04000564, "LO", scene.secret("original attributes, source"))
    put(attributes, 0x04000565, "CS", "COERCE")
    put_items(scene.ds, 0x04000561, attributes)


def sent_as_un(scene: Scene) -> None:
    """Standard attributes whose VR got lost on the way: a text, a name, a sequence (implicit inside) and noise."""
    put(scene.ds, 0x00102180, "UN", scene.described("UN, text", (0x00102180,), 60).encode("latin-1"))
    put(scene.ds, 0x00081050, "UN", scene.study.physician.encode("latin-1"))
    values = {0x00080100: "71250", 0x00080102: "DCM", 0x00080104: "CT head", 0x00100010: scene.person.name}
    inner = b"".join(_implicit(tag, text.encode("latin-1")) for tag, text in values.items())
    inside = _implicit(0xFFFEE000, inner)
    put(scene.ds, 0x00081032, "UN", inside)
    if not scene.ds.file_meta.TransferSyntaxUID.is_implicit_VR:  # implicit, it would be a broken sequence
        put(scene.ds, 0x00082228, "UN", b"\x01\x02" + scene.secret("UN, noise").encode("latin-1"))


def _implicit(tag: int, value: bytes) -> bytes:
    """An element in implicit VR little endian, as it is inside UN in every file (PS3.5 6.2.2)."""
    value += b" " * (len(value) % 2)
    head = (tag >> 16).to_bytes(2, "little") + (tag & 0xFFFF).to_bytes(2, "little")
    return head + len(value).to_bytes(4, "little") + value


def private(scene: Scene) -> None:
    """Private elements: of an unknown creator, of none, a creator without elements, one that is itself a name."""
    ds = scene.ds
    ds.remove_private_tags()
    put(ds, 0x00290010, "LO", "MADE UP VENDOR")
    put(ds, 0x00291001, "LO", scene.secret("private, text"))
    put(ds, 0x00291002, "OB", scene.secret("private, bytes").encode("utf-16-le"))
    put(ds, 0x00291003, "DS", "19.5")
    put(ds, 0x00291004, "IS", scene.study.day.strftime("%Y%m%d"))
    put(ds, 0x00291005, "UI", scene.new_uid())
    put_items(
        ds, 0x00291006, item((0x00100010, "PN", scene.person.name), (0x00291007, "LO", scene.secret("private, SQ")))
    )
    put(ds, 0x00311122, "LO", scene.secret("private, no creator"))
    put(ds, 0x00330010, "LO", scene.secret("private, creator alone"))
    put(ds, 0x00350010, "LO", f"{scene.person.family} {scene.nonce('private, creator is a name')}"[:64])
    put(ds, 0x00351001, "DS", "1.5")
    put_items(
        ds,
        0x00080300,
        item((0x00080301, "US", 0x0029), (0x00080302, "LO", "MADE UP VENDOR"), (0x00080303, "CS", "SAFE")),
    )


def safe_private(scene: Scene) -> None:
    """Elements of Table E.3.10-1, in a block of another number, and the same without the creator in their item."""
    ds = scene.ds
    put(ds, 0x00190042, "LO", "SIEMENS MR HEADER")
    put(ds, 0x0019420C, "IS", "700")
    put(ds, 0x0019420D, "CS", "DIRECTIONAL")
    put(ds, 0x001942F0, "LO", scene.secret("safe private, other element"))
    put(ds, 0x20010020, "LO", "Philips Imaging DD 001")
    put(ds, 0x20012003, "FL", 700.0)
    put(ds, 0x20012099, "LO", scene.secret("safe private, other text"))
    orphan = item((0x0019420C, "LO", scene.secret("safe private, creator of another item")))
    put_items(ds, 0x0008114A, orphan) if 0x0008114A not in ds else None
    put_items(
        ds, 0x00540220, item((0x00190042, "LO", "siemens mr header"), (0x0019420C, "LO", scene.secret("creator, case")))
    )


def overlays(scene: Scene) -> None:
    for group in (0x6000, 0x6002, 0x601E):
        put(scene.ds, group << 16 | 0x0010, "US", 8)
        put(scene.ds, group << 16 | 0x0011, "US", 8)
        put(scene.ds, group << 16 | 0x0022, "LO", scene.secret("overlay, description"))
        put(scene.ds, group << 16 | 0x1500, "LO", scene.secret("overlay, label"))
        put(scene.ds, group << 16 | 0x3000, "OW", b"\xaa" * 8)
        put(scene.ds, group << 16 | 0x4000, "LT", scene.secret("overlay, comment"))
    put(scene.ds, 0x50000022, "LO", scene.secret("curve, description"))
    put(scene.ds, 0x50003000, "OW", scene.secret("curve, data").encode("latin-1").ljust(64))


def icon(scene: Scene) -> None:
    def small(place: str) -> Dataset:
        data = scene.secret(place).encode("latin-1").ljust(64)[:64]
        size = (0x00280010, "US", 8), (0x00280011, "US", 8), (0x00280100, "US", 8), (0x00280101, "US", 8)
        shape = (0x00280002, "US", 1), (0x00280004, "CS", "MONOCHROME2"), (0x00280102, "US", 7), (0x00280103, "US", 0)
        return item(*size, *shape, (0x7FE00010, "OB", data))

    put_items(scene.ds, 0x00880200, small("icon"))
    put_items(scene.ds, 0x00101100, item((0x00880200, "SQ", Sequence([small("photograph, icon")]))))
    if MODIFIER not in scene.ds:
        put_items(scene.ds, MODIFIER, item((0x00880200, "SQ", Sequence([small("icon, nested")]))))


def code_sequences(scene: Scene) -> None:
    scene.ds.pop(Tag(0x00540220), None)
    for tag in (0x00081032, 0x00540220, 0x00082229):
        if tag not in scene.ds:
            local = code(scene.nonce("code value")[:16], f"99{scene.nonce('coding scheme')[:10]}", "")
            put(local, 0x00080104, "LO", scene.described("code meaning", (tag, 0x00080104)))
            put_items(scene.ds, tag, local)


def lut_explanations(scene: Scene) -> None:
    if 0x00283010 not in scene.ds and scene.ds.get("Modality") not in ("SR", "ECG"):
        table = item((0x00283002, "US", [2, 0, 16]), (0x00283006, "US", [0, 65535]))
        put(table, 0x00283003, "LO", scene.described("table explanation", (0x00283010, 0x00283003)))
        put_items(scene.ds, 0x00283010, table)
    put(scene.ds, 0x00282000, "OB", _icc(scene.secret("ICC profile")))


def _icc(text: str) -> bytes:
    described = b"desc" + bytes(4) + text.encode("latin-1") + b"\0"
    head = bytes(12) + b"mntrRGB XYZ " + bytes(12) + b"acsp" + bytes(88)
    body = head + (1).to_bytes(4, "big") + b"desc" + (144).to_bytes(4, "big") + len(described).to_bytes(4, "big")
    whole = (len(body) + len(described) + 4).to_bytes(4, "big") + body + described
    return whole + b"\0" * (len(whole) % 2)


def letters_in_numbers(scene: Scene) -> None:
    """Words where numbers, codes and dates belong: numbers are exchanged for them after the file is written."""
    family = plain(scene.person.family)
    for tag, vr, word in (
        (0x00181130, "DS", family[:9].ljust(9, "x")),
        (0x00181190, "DS", scene.nonce("letters in DS")),
        (0x00200012, "IS", scene.nonce("letters in IS")),
    ):
        number = str(scene.rng.randrange(10**8, 10**9))
        put(scene.ds, tag, vr, number)
        scene.late.append(lambda data, old=number, new=word: data.replace(old.encode(), new.encode()))  # type: ignore[misc]
    put(scene.ds, 0x00180015, "CS", family.upper()[:16])
    scene.plant(Plant("letters in CS", (0x00180015,), (family[:16],)))
    put(scene.ds, 0x00181078, "DT", scene.nonce("letters in DT"))
    put(scene.ds, 0x00181012, "DA", "QXWVKZJH")
    scene.note("letters in DA", None, "QXWVKZJH")


def numbers_kept(scene: Scene) -> None:
    put(scene.ds, 0x00180081, "DS", "88.125")
    put(scene.ds, 0x00180086, "IS", "3")
    put(scene.ds, 0x00189098, "FD", [63.89, 12.5])
    put(scene.ds, 0x00101020, "DS", "1.715")


def uids_without_row(scene: Scene) -> None:
    for tag in UNLISTED_UIDS:
        put(scene.ds, tag, "UI", scene.new_uid())
    uid = scene.new_uid()
    put(scene.ds, 0x00204000, "LT", f"CT head {uid} axial")
    scene.plant(Plant("UID in text", (0x00204000,), (uid,), ("CT", "head", "axial")))


def times(scene: Scene) -> None:
    """Dates in every shape, with rows of the table and without."""
    day = scene.study.day
    put(scene.ds, 0x0008002A, "DT", f"{day:%Y%m%d}235959.123456-0500")
    put(scene.ds, 0x0040A030, "DT", f"{day:%Y%m}")
    put(scene.ds, 0x0018A002, "DT", [f"{day:%Y%m%d}1015+0200", f"{day:%Y%m%d}101530.5"])
    put(scene.ds, 0x00181200, "DA", ["20160229", day.strftime("%Y%m%d")])
    put(scene.ds, 0x00181201, "TM", ["0715", "000000.000001"])
    put(scene.ds, 0x00189516, "DT", f"{day:%Y}")
    put(scene.ds, 0x0018106A, "CS", "NO TRIGGER")
    put(scene.ds, 0x00181622, "US", 7)
    put(scene.ds, 0x00404052, "DT", f"{day:%Y%m%d}000000.000")
    form = scene.rng.choice(sorted(FORMATS))
    written = FORMATS[form](day)
    put(scene.ds, 0x00104000, "LT", f"seen {written}, CT chest")
    scene.plant(Plant(f"date in text: {form}", (0x00104000,), (written,), ("CT", "chest")))


def charset_nested(scene: Scene) -> None:
    """An item in a character set of its own, with a name in another script."""
    if 0x00082229 in scene.ds:
        return
    inner = item((0x00080005, "CS", "ISO_IR 192"), (0x00100010, "PN", f"{scene.person.name}=王^小東仁"))
    put(inner, 0x00081030, "LO", f"CT 王小東仁 {scene.nonce('nested character set')} head")
    scene.note("nested character set", None, "王^小東仁", "王小東仁")
    put_items(scene.ds, 0x00082229, inner)


def charset_lies(scene: Scene) -> None:
    """Declared Latin-1 and written in UTF-8: the raw value is set after decoding."""
    put(scene.ds, 0x00080005, "CS", "ISO_IR 100")
    text = f"CT {scene.person.name.replace('^', ' ')} head"
    put(scene.ds, 0x00181400, "LO", text.encode().decode("latin-1")[:64])
    put(scene.ds, 0x00101060, "PN", scene.person.mother.encode().decode("latin-1"))
    scene.plant(Plant("lying character set", (0x00181400,), (scene.person.family, scene.person.given), ("CT", "head")))


def high_bits(scene: Scene) -> None:
    """An overlay plane in the bits that pixel values do not use."""
    ds = scene.ds
    raw = ds.file_meta.TransferSyntaxUID in ("1.2.840.10008.1.2", "1.2.840.10008.1.2.1")
    if not raw or ds.get("BitsAllocated") != 16 or ds.BitsStored >= 16 or ds.get("PixelRepresentation", 0):
        return
    values = np.frombuffer(ds.PixelData, "<u2").copy()
    values[::7] |= 1 << (ds.BitsStored)
    ds.PixelData = values.tobytes()
    scene.note("high bits", None)


def after_the_last_pixel(scene: Scene) -> None:
    ds = scene.ds
    if "PixelData" in ds and not ds.file_meta.TransferSyntaxUID.is_compressed:
        extra = scene.secret("after the last pixel").encode("latin-1")
        ds.PixelData = ds.PixelData + extra + b" " * ((len(ds.PixelData) + len(extra)) % 2)


PLACES = (
    *(descriptions, text_without_row, nested_deep, request_attributes, original_attributes, sent_as_un, private),
    *(safe_private, overlays, icon, code_sequences, lut_explanations, letters_in_numbers, numbers_kept),
    *(uids_without_row, times, charset_nested, charset_lies, high_bits, after_the_last_pixel),
)
