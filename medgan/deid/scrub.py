"""Apply a profile to one Dataset, at every depth, on raw elements: only what an action needs is decoded.

What stays is written back byte for byte; all text that comes out is ASCII, so no character set is declared.
"""

from __future__ import annotations

import re
import struct
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from pydicom.charset import decode_bytes
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.tag import BaseTag
from pydicom.uid import ExplicitVRLittleEndian

from medgan.deid import pseudonym
from medgan.deid.profile import (
    BY_VR,
    EDITION,
    VERSION,
    Op,
    Profile,
    dictionary_vr,
    fixed_length,
    identity_tags,
    keyword,
    removed_concepts,
)
from medgan.deid.text import AGE_CAP, Known, clean, fold

DEFLATED = "1.2.840.10008.1.2.1.99"
IMPLEMENTATION_UID = "2.25.188331146259486243806353227158116524193"
IMPLEMENTATION_NAME = "MEDGAN_1"
DEEPEST = 100
DELIMITERS = {0x0A, 0x0C, 0x0D, 0x3D, 0x5C, 0x5E}  # where ISO 2022 falls back to the first set
DUMMY_TEXT = b"REMOVED"
DUMMIES = {"DA": b"19000101", "TM": b"000000", "DT": b"19000101000000", "AS": b"000Y", "DS": b"0", "IS": b"0"}
UNPARSABLE = (
    ValueError,
    KeyError,
    TypeError,
    IndexError,
    AttributeError,
    NotImplementedError,
    EOFError,
    OSError,
    struct.error,
)
KNOWN_SCHEMES = frozenset(
    b"DCM SCT SRT SNM3 99SDM UCUM LN NCIt RADLEX FMA UMLS MDNS ACR BI ICD10 I10 I9C MAYOASRG NEU NDC RXNORM".split()
)
# terms that a picture cannot be read without; they are never taken for a person's name
DEFINED_TERMS = frozenset(
    b"ORIGINAL DERIVED PRIMARY SECONDARY AXIAL LOCALIZER MONOCHROME1 MONOCHROME2 RGB YBR_FULL YBR_FULL_422 YBR_ICT "
    b"YBR_RCT PALETTE_COLOR YES NO HFS HFP FFS FFP CR CT DX MR US PT NM MG RF XA SC OT SR PR SEG M F O".split()
) | {b"PALETTE COLOR"}

_NUMBER = re.compile(rb"[ \0]*[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?[ \0]*")
_CODE = re.compile(rb"[A-Z0-9 _]{0,16}")
_CODE_VALUE = re.compile(rb"[A-Za-z0-9.\-/%\[\]{}^*'_+()]{1,16}")
_AGE = re.compile(rb"(\d{3})([DWMY])")
_SCHEME = 0x00080102
_WORD = re.compile(rb"[A-Z]{2,}")
_RETYPED = (frozenset(("LO", "SH", "ST", "LT", "UT", "UC", "CS")), frozenset(("DS", "IS")), frozenset(("US", "SS")))


@dataclass
class Scrubber:
    """One patient's scrubber: keys and known values in, counts of what was done by (keyword, action) out."""

    profile: Profile
    secret: bytes
    patient_key: str
    shift_days: int
    known: Known
    counts: Counter[tuple[str, str]] = field(default_factory=Counter)
    _values: dict[tuple[Op, bytes, Any], bytes] = field(default_factory=dict)

    def scrub(self, ds: Dataset, sop_class: str) -> None:
        """Change `ds` in place. Raises RecursionError when sequences are nested deeper than DEEPEST."""
        self._scrub(ds, sop_class, 0)

    def _scrub(self, ds: Dataset, sop_class: str, depth: int) -> None:
        if depth > DEEPEST:
            raise RecursionError
        # raw elements live in _dict; __getitem__ would decode every one of them
        elements: Any = ds._dict
        encodings = getattr(ds, "_character_set", None)
        known_scheme = depth > 0 and _raw(elements.get(_SCHEME)) in KNOWN_SCHEMES
        for tag, element in list(elements.items()):
            vr = dictionary_vr(tag)
            op = self.profile.op(tag, vr, sop_class)
            if op is Op.PIXELS:
                if depth:
                    del elements[tag]  # icons and the like: a small copy of what was not looked at
                    self.counts[keyword(tag), "remove"] += 1
                continue
            if op is Op.REMOVE or not _plausible(element, tag, vr):
                del elements[tag]
                self.counts[keyword(tag), "remove"] += 1
                continue
            if op is Op.SEQUENCE or vr == "SQ":
                self._sequence(ds, tag, op, sop_class, depth)
                continue
            if op is Op.CODE_VALUE:
                op = Op.CODE_VALUE if known_scheme else Op.TEXT
            if op is Op.KEEP:
                continue
            old = _raw(element)
            new = self._value(op, tag, vr, old, encodings)
            if new != old:
                self.counts[keyword(tag), op.value] += 1
            elements[tag] = _with_value(element, tag, vr, new)

    def _sequence(self, ds: Dataset, tag: BaseTag, op: Op, sop_class: str, depth: int) -> None:
        items = _items(ds, tag)
        if items is None or op is Op.UID:
            del ds._dict[tag]
            self.counts[keyword(tag), "remove"] += 1
            return
        if op is Op.EMPTY:
            items = Sequence()
            self.counts[keyword(tag), "empty"] += 1
        elif op is Op.DUMMY:
            items = Sequence(items[:1])
            for item in items:
                _blank(item, depth + 1)
            self.counts[keyword(tag), "dummy"] += 1
        for item in items:
            self._scrub(item, sop_class, depth + 1)
        if tag == 0x0040A730:
            kept = [item for item in items if not _names_someone(item)]
            self.counts[keyword(tag), "remove"] += len(items) - len(kept)
            items = Sequence(kept)
        element = DataElement(tag, "SQ", items)
        ds._dict[tag] = element

    def _value(self, op: Op, tag: int, vr: str, old: bytes, encodings: Any) -> bytes:
        if op is Op.PATIENT:
            return self.patient_key.encode()
        if op is Op.EMPTY:
            return b""
        if op is Op.DUMMY:
            return self._dummy(vr, old)
        cached = (op, old, str(encodings) if op is Op.TEXT else None)
        new = self._values.get(cached)
        if new is None:
            new = self._values[cached] = self._cleaned(op, old, encodings)
        # an emptied value that its IOD needs
        return DUMMY_TEXT if not new and old and op is Op.TEXT and self.profile.needs_value(tag) else new

    def _cleaned(self, op: Op, old: bytes, encodings: Any) -> bytes:
        parts = old.split(b"\\")
        if op is Op.TEXT:
            text = _decoded(old, encodings)
            return b"\\".join(clean(part, self.known).encode("ascii")[:10240] for part in text.split("\\"))
        return b"\\".join(self._part(op, part) for part in parts)

    def _part(self, op: Op, part: bytes) -> bytes:
        part = part.strip(b" \0")
        if op is Op.NUMBER:
            return part if not part or _NUMBER.fullmatch(part) else b""
        if op is Op.CODE:
            return part if _CODE.fullmatch(part) and not self._names_person(part) else b""
        if op is Op.CODE_VALUE:
            return part if _CODE_VALUE.fullmatch(part) and fold(part.decode()) not in self.known.phrases else b""
        if op is Op.AGE:
            return _capped_age(part)
        text = part.decode("ascii", "replace")
        if op is Op.UID:
            return pseudonym.uid(self.secret, text).encode()
        if op is Op.DATE:
            return pseudonym.shift_date(text, self.shift_days).encode()
        if op is Op.DATETIME:
            return pseudonym.shift_datetime(text, self.shift_days).encode()
        if op is Op.TIME:
            return pseudonym.clean_time(text).encode()
        raise AssertionError(op)

    def _names_person(self, code: bytes) -> bool:
        if code in DEFINED_TERMS:
            return False
        text = fold(code.decode())
        return any(w.decode().lower() in self.known.words for w in _WORD.findall(code)) or any(
            phrase in text for phrase in self.known.phrases
        )

    def _dummy(self, vr: str, old: bytes) -> bytes:
        if vr == "UI":
            return self._cleaned(Op.UID, old, None)
        if vr in BY_VR and BY_VR[vr] is Op.KEEP:
            return bytes(len(old))
        return DUMMIES.get(vr, DUMMY_TEXT)


def mark(ds: Dataset, codes: tuple[tuple[str, str], ...], profile: Profile, *, looked: bool) -> None:
    """Set what PS3.15 asks for afterwards; `looked` when every frame was found clean or made so."""
    ds.PatientIdentityRemoved = "YES"
    earlier = [v for v in str(ds.get("DeidentificationMethod", "") or "").strip("[]'").split("', '") if v]
    ds.add_new(0x00120063, "LO", [*earlier, f"medgan {VERSION} PS3.15 {EDITION} {profile.name}"][-8:])
    sequence = list(ds.get("DeidentificationMethodCodeSequence") or [])
    for value, meaning in codes:
        item = Dataset()
        item.add_new(0x00080100, "SH", value)
        item.add_new(0x00080102, "SH", "DCM")
        item.add_new(0x00080104, "LO", meaning)
        sequence.append(item)
    ds.add_new(0x00120064, "SQ", sequence)
    ds.add_new(0x00280303, "CS", "MODIFIED" if profile.shifts_dates else "REMOVED")
    if looked:
        ds.add_new(0x00280301, "CS", "NO")
    elif str(ds.get("BurnedInAnnotation", "")) != "YES":
        ds._dict.pop(BaseTag(0x00280301), None)
    if str(ds.get("RecognizableVisualFeatures", "")) == "NO":
        del ds.RecognizableVisualFeatures


def new_meta(ds: Dataset, transfer_syntax: str) -> FileMetaDataset:
    """File meta information that describes this program and nothing of the source."""
    meta = FileMetaDataset()
    meta.FileMetaInformationVersion = b"\x00\x01"
    meta.MediaStorageSOPClassUID = ds.SOPClassUID
    meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
    # written inflated: a deflated stream depends on the library that made it
    meta.TransferSyntaxUID = ExplicitVRLittleEndian if transfer_syntax == DEFLATED else transfer_syntax  # type: ignore[assignment]
    meta.ImplementationClassUID = IMPLEMENTATION_UID  # type: ignore[assignment]
    meta.ImplementationVersionName = IMPLEMENTATION_NAME
    return meta


def identity(ds: Dataset) -> tuple[set[str], set[str]]:
    """(names, other identifying values) of people, places and devices, at every depth of one instance."""
    names: set[str] = set()
    values: set[str] = set()
    _identity(ds, names, values, 0)
    return names, values


def _identity(ds: Dataset, names: set[str], values: set[str], depth: int) -> None:
    if depth > DEEPEST:
        raise RecursionError
    encodings = getattr(ds, "_character_set", None)
    for tag, element in list(ds._dict.items()):
        if tag >> 16 & 1:
            continue
        vr = dictionary_vr(tag)
        if vr == "SQ":
            for item in _items(ds, tag) or ():
                _identity(item, names, values, depth + 1)
        elif vr == "PN" or tag in identity_tags():
            text = _decoded(_raw(element), encodings)
            (names if vr == "PN" else values).update(part.strip() for part in text.split("\\") if part.strip())


def _raw(element: Any) -> bytes:
    if element is None:
        return b""
    value = element.value
    if isinstance(value, bytes):
        return value.strip(b" \0") if element.VR not in ("OB", "OW", "UN") else value
    if value is None:
        return b""
    many = value if isinstance(value, (list, tuple)) or hasattr(value, "append") else [value]
    return "\\".join(str(one) for one in many).encode("utf-8", "replace")


def _decoded(data: bytes, encodings: Any) -> str:
    if data.isascii() and b"\x1b" not in data:
        return data.decode("ascii")
    try:
        return decode_bytes(data, encodings or ["iso8859"], DELIMITERS) if encodings else data.decode("latin-1")
    except (UnicodeError, LookupError):
        return ""  # the declaration lies: nothing of it is known to be safe


def _with_value(element: Any, tag: BaseTag, vr: str, new: bytes) -> Any:
    if len(new) & 1:
        new += b"\0" if vr == "UI" else b" "
    if isinstance(element, RawDataElement):
        return element._replace(value=new, length=len(new))
    return RawDataElement(tag, vr, len(new), new, 0, False, True)


def _plausible(element: Any, tag: int, vr: str) -> bool:
    """Whether VR and length in the file are such as the dictionary allows for the tag; a lying one goes."""
    found = element.VR
    length = fixed_length(tag)
    if length and (found == "UN" or (isinstance(element.value, bytes) and len(element.value) not in (0, length))):
        return False
    if found is None or found == vr or not vr or found == "UN":
        return True
    return (
        found in ("OB", "OW", "US", "SS")
        and vr in ("OB", "OW", "US", "SS")
        or any(found in group and vr in group for group in _RETYPED)
    )


def _items(ds: Dataset, tag: BaseTag) -> Sequence | None:
    """The items of a sequence, also of one sent as UN; None when it does not parse."""
    element = ds._dict[tag]
    if isinstance(element, RawDataElement) and element.VR == "UN":
        # PS3.5 6.2.2: a sequence in UN is encoded as implicit VR little endian
        ds._dict[tag] = element._replace(VR="SQ", is_implicit_VR=True, is_little_endian=True)
    try:
        value = ds[tag].value
    except UNPARSABLE:
        return None
    if value is None:
        return Sequence()
    return value if isinstance(value, Sequence) else None


def _blank(item: Dataset, depth: int) -> None:
    """Empty every leaf of a dummy item; UIDs and codes are left to the scrubber."""
    if depth > DEEPEST:
        raise RecursionError
    for tag in list(item._dict):
        vr = dictionary_vr(tag)
        if vr == "SQ":
            del item._dict[tag]
        elif vr not in ("UI", "CS") and BY_VR.get(vr) is not Op.KEEP:
            item._dict[tag] = RawDataElement(tag, vr or "UN", 0, b"", 0, False, True)


def _names_someone(item: Dataset) -> bool:
    """Whether an SR content item is one that PS3.15 Table E.3.4-1 asks to drop, or a person's name."""
    if str(item.get("ValueType", "")) == "PNAME":
        return True
    concept = next(iter(item.get("ConceptNameCodeSequence") or []), None)
    if concept is None:
        return False
    key = (str(concept.get("CodeValue", "")), str(concept.get("CodingSchemeDesignator", "")))
    return str(item.get("ValueType", "")) in removed_concepts().get(key, frozenset())


def _capped_age(value: bytes) -> bytes:
    match = _AGE.fullmatch(value)
    if match is None:
        return b""
    return b"090Y" if match[2] == b"Y" and int(match[1]) > AGE_CAP else value
