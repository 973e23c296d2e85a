"""The files that are planted: real ones of the pydicom packages, and objects that they lack, made from parts."""

from __future__ import annotations

import zlib
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from PIL import Image, ImageDraw
from plants_scene import Scene, code, item, put, put_items
from pydicom.data import get_charset_files, get_testdata_files
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

REAL = (  # small, and together every kind: transfer syntaxes, object kinds, character sets
    *("CT_small.dcm", "MR_small.dcm", "MR_small_implicit.dcm", "MR_small_bigendian.dcm", "MR_small_RLE.dcm"),
    *("MR_small_jp2klossless.dcm", "MR_small_jpeg_ls_lossless.dcm", "ExplVR_BigEnd.dcm", "rtplan.dcm", "rtstruct.dcm"),
    *("rtdose.dcm", "test-SR.dcm", "reportsi.dcm", "liver_1frame.dcm", "waveform_ecg.dcm", "emri_small.dcm"),
    *("image_dfl.dcm", "SC_rgb.dcm", "SC_rgb_jpeg_dcmtk.dcm", "SC_rgb_rle_2frame.dcm", "693_J2KI.dcm"),
    *("JPEG2000.dcm", "SC_rgb_small_odd.dcm", "emri_small_RLE.dcm", "rtdose_rle.dcm", "color-pl.dcm"),
    *("chrX1.dcm", "chrX2.dcm", "chrH31.dcm", "chrI2.dcm", "chrGerm.dcm"),
)
QUICK = ("CT_small.dcm", "MR_small_implicit.dcm", "test-SR.dcm", "rtstruct.dcm", "MR_small_bigendian.dcm", "chrX1.dcm")
MADE = ("presentation state", "structured report", "pdf", "burned", "photo", "voice")
CLASSES = {
    "presentation state": "1.2.840.10008.5.1.4.1.1.11.1",
    "structured report": "1.2.840.10008.5.1.4.1.1.88.33",
    "pdf": "1.2.840.10008.5.1.4.1.1.104.1",
    "burned": "1.2.840.10008.5.1.4.1.1.7",
    "photo": "1.2.840.10008.5.1.4.1.1.77.1.4",
    "voice": "1.2.840.10008.5.1.4.1.1.9.4.1",
}


def real(name: str) -> Dataset:
    """A file of the packages, decoded: (Data Set, with file meta)."""
    return readied(pydicom.dcmread(_paths()[name], force=True))


def readied(ds: Dataset) -> Dataset:
    """A data set as it was read, decoded, with what is needed to write it again."""
    ds.decode()
    if "TransferSyntaxUID" not in ds.file_meta:
        ds.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID
    if ds.get("SpecificCharacterSet", "") in ("", None):
        put(ds, 0x00080005, "CS", "ISO_IR 100")
    return ds


@cache
def _paths() -> dict[str, str]:
    return {Path(file).name: file for file in (*get_testdata_files(), *get_charset_files())}


def blank(kind: str) -> Dataset:
    """An object made here, with the attributes that all composite objects have."""
    meta = FileMetaDataset()
    meta.TransferSyntaxUID, meta.MediaStorageSOPClassUID = ExplicitVRLittleEndian, CLASSES[kind]
    ds = FileDataset("", {}, file_meta=meta, preamble=bytes(128))
    put(ds, 0x00080005, "CS", "ISO_IR 100")
    put(ds, 0x00080016, "UI", CLASSES[kind])
    modality = {"presentation state": "PR", "structured report": "SR", "pdf": "DOC", "burned": "OT", "photo": "XC"}
    put(ds, 0x00080060, "CS", modality.get(kind, "AU"))
    put(ds, 0x00200011, "IS", "1")
    return ds


def fill(kind: str, scene: Scene) -> None:
    """The content of an object made here, identity in it."""
    {
        "presentation state": _presentation_state,
        "structured report": _report,
        "pdf": _pdf,
        "burned": _burned,
        "photo": _burned,
        "voice": _voice,
    }[kind](scene)


def _presentation_state(scene: Scene) -> None:
    ds, text = scene.ds, 0x00700006
    put(ds, 0x00700080, "CS", "PLANTED")
    put(ds, 0x00700081, "LO", scene.described("presentation, description", (0x00700081,)))
    put(ds, 0x00700084, "PN", scene.study.physician)
    put(ds, 0x00700082, "DA", scene.study.day.strftime("%Y%m%d"))
    put(ds, 0x00700083, "TM", scene.study.time)
    words = item((text, "ST", scene.described("text object", (0x00700001, 0x00700008, text), 300)))
    put(words, 0x00700014, "FL", [1.0, 2.0])
    put(words, 0x00700004, "CS", "PIXEL")
    put(words, 0x00700015, "CS", "N")
    layer = item((0x00700002, "CS", "LAYER1"), (0x00700062, "IS", "1"))
    put(layer, 0x00700068, "LO", scene.described("layer, description", (0x00700060, 0x00700068)))
    put_items(ds, 0x00700060, layer)
    put_items(ds, 0x00700001, item((0x00700002, "CS", "LAYER1"), (0x00700008, "SQ", Sequence([words]))))
    put(ds, 0x20500020, "CS", "IDENTITY")


def content(relation: str, kind: str, name: Dataset, *values: tuple[int, str, Any]) -> Dataset:
    """One content item of a structured report."""
    one = item((0x0040A010, "CS", relation), (0x0040A040, "CS", kind))
    put_items(one, 0x0040A043, name)
    for tag, vr, value in values:
        put(one, tag, vr, value)
    return one


def _report(scene: Scene) -> None:
    ds, study = scene.ds, scene.study
    put(ds, 0x0040A040, "CS", "CONTAINER")
    put(ds, 0x0040A050, "CS", "SEPARATE")
    put(ds, 0x0040A491, "CS", "COMPLETE")
    put(ds, 0x0040A493, "CS", "UNVERIFIED")
    put_items(ds, 0x0040A043, code("126000", "DCM", "Imaging Measurement Report"))
    inner = content("CONTAINS", "CONTAINER", code("121070", "DCM", "Findings"), (0x0040A050, "CS", "SEPARATE"))
    put_items(inner, TREE, _text(scene, code(*FINDING), "SR, text, nested", (TREE, TREE, TEXT)))
    put_items(ds, TREE, *_observers(scene), *_findings(scene), inner)
    verifier = item((0x0040A075, "PN", study.physician), (0x0040A027, "LO", study.institution))
    put(verifier, 0x0040A030, "DT", f"{study.day:%Y%m%d}{study.time}")
    put_items(verifier, 0x0040A088)
    put_items(ds, 0x0040A073, verifier)
    put_items(ds, 0x0040A078, item((0x0040A123, "PN", study.operator), (0x00080080, "LO", study.institution)))


TREE, TEXT = 0x0040A730, 0x0040A160
FINDING = ("121071", "DCM", "Finding")


def _text(scene: Scene, concept: Dataset, place: str, path: tuple[int, ...] = (TREE, TEXT)) -> Dataset:
    return content("CONTAINS", "TEXT", concept, (TEXT, "UT", scene.described(place, path, 300)))


def _observers(scene: Scene) -> list[Dataset]:
    """Who and what observed whom: concepts of DCM with their values."""
    person, study = scene.person, scene.study
    said: tuple[tuple[str, str, str, tuple[int, str, str]], ...] = (
        ("PNAME", "121008", "Person Observer Name", (0x0040A123, "PN", study.physician)),
        ("UIDREF", "121012", "Device Observer UID", (0x0040A124, "UI", scene.new_uid())),
        ("TEXT", "121013", "Device Observer Name", (TEXT, "UT", study.station)),
        ("TEXT", "121016", "Device Observer Serial Number", (TEXT, "UT", study.serial)),
        ("TEXT", "121017", "Device Observer Physical Location", (TEXT, "UT", study.institution)),
        ("PNAME", "121029", "Subject Name", (0x0040A123, "PN", person.name)),
        ("TEXT", "121030", "Subject ID", (TEXT, "UT", person.patient_id)),
        ("DATE", "121031", "Subject Birth Date", (0x0040A121, "DA", f"{person.birth:%Y%m%d}")),
    )
    return [content("HAS OBS CONTEXT", kind, code(number, "DCM", name), value) for kind, number, name, value in said]


def _findings(scene: Scene) -> list[Dataset]:
    """What was found and when: texts under concepts new, retired and local, times, a code, a number."""
    person, study = scene.person, scene.study
    stamp = f"{study.day:%Y%m%d}{study.time}"
    number = item((0x0040A30A, "DS", "12.5"))
    put_items(number, 0x004008EA, code("mm", "UCUM", "millimeter"))
    value = code(scene.nonce("SR, local code")[:16], "99LOCAL", person.family)
    local = code("99X", "99LOCAL", scene.secret("SR, local concept"))
    length, started = code("410668003", "SCT", "Length"), code("111526", "DCM", "DateTime Started")
    return [
        _text(scene, code(*FINDING), "SR, text"),
        content("CONTAINS", "TEXT", local, (TEXT, "UT", person.name)),
        content("CONTAINS", "TEXT", code("T-D0050", "SRT", "Tissue"), (TEXT, "UT", f"{person.family} liver")),
        content("CONTAINS", "DATETIME", started, (0x0040A120, "DT", stamp)),
        content("CONTAINS", "TIME", code("111061", "DCM", "Study Time"), (0x0040A122, "TM", study.time)),
        content("CONTAINS", "CODE", code(*FINDING), (0x0040A168, "SQ", Sequence([value]))),
        content("CONTAINS", "NUM", length, (0x0040A300, "SQ", Sequence([number]))),
    ]


def _pdf(scene: Scene) -> None:
    """A document with a title, one plain and one compressed stream."""
    words = scene.secret("PDF, stream")
    packed = zlib.compress(f"BT ({words}) Tj ET".encode("latin-1"))
    info = f"/Title ({scene.secret('PDF, information')})".encode("latin-1")
    body = b"%PDF-1.4\n1 0 obj <<" + info + b">> endobj\n2 0 obj <</Length "
    body += str(len(packed)).encode() + b"/Filter/FlateDecode>> stream\n" + packed + b"\nendstream endobj\n%%EOF\n"
    put(scene.ds, 0x00420011, "OB", body + b"\0" * (len(body) % 2))
    put(scene.ds, 0x00420012, "LO", "application/pdf")
    put(scene.ds, 0x00420010, "ST", scene.secret("PDF, document title"))
    put(scene.ds, 0x00280301, "CS", "YES")


def _burned(scene: Scene) -> None:
    """A picture of smooth noise with name, number and date written on it; the glyphs are remembered by their mask."""
    height, width = 256, 320
    grey = np.linspace(20, 110, width)[None, :] + scene.rng.uniform(0, 20) + np.zeros((height, 1))
    picture = Image.fromarray(grey.astype(np.uint8))
    pen = ImageDraw.Draw(picture)
    line = f"{scene.person.family.upper()} {scene.person.patient_id}"
    pen.text((12, 14), line, fill=250, font_size=18)
    pen.text((12, 220), f"{scene.study.day:%d.%m.%Y}  {scene.study.accession}", fill=250, font_size=16)
    values = np.asarray(picture)
    rgb = scene.rng.random() < 0.5
    ds = scene.ds
    put(ds, 0x00280002, "US", 3 if rgb else 1)
    put(ds, 0x00280004, "CS", "RGB" if rgb else "MONOCHROME2")
    if rgb:
        put(ds, 0x00280006, "US", 0)
    for tag, value in ((0x00280010, height), (0x00280011, width), (0x00280100, 8), (0x00280101, 8), (0x00280102, 7)):
        put(ds, tag, "US", value)
    put(ds, 0x00280103, "US", 0)
    put(ds, 0x00080008, "CS", ["DERIVED", "SECONDARY"])
    put(ds, 0x00080064, "CS", "WSD")
    put(ds, 0x00280301, "CS", "YES")
    put(ds, 0x7FE00010, "OB", (np.repeat(values[..., None], 3, -1) if rgb else values).tobytes())
    scene.note("burned-in text", None)


def _voice(scene: Scene) -> None:
    """A spoken comment: nobody can look into it, so it may not come through as it is."""
    wave = item((0x003A0005, "US", 1), (0x003A0010, "UL", 400), (0x003A001A, "DS", "8000"), (0x54001004, "US", 8))
    put(wave, 0x54001006, "CS", "SB")
    put(wave, 0x54001010, "OB", bytes(350) + scene.secret("voice").encode("latin-1").ljust(50))
    put_items(scene.ds, 0x54000100, wave)


def written(ds: Dataset) -> bytes:
    """The bytes of a file; what it holds is not judged on the way."""
    buffer = BytesIO()
    ds.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()
