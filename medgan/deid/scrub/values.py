"""What each operation makes of a value, in bytes; only what an operation needs is decoded, and ASCII comes out."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from medgan.deid.profiles.ops import BY_VR, Op
from medgan.deid.profiles.profile import Profile, coding_schemes
from medgan.deid.scrub import pseudonym
from medgan.deid.scrub.charset import decoded
from medgan.deid.scrub.tree import BULK
from medgan.deid.words.known import Known, plain
from medgan.deid.words.text import clean

LONGEST_TEXT = 10240
AGE_CAP = 89  # years; an older age is a rare one
SHORTEST_ID = 6  # digits of an identifier that is looked for among numbers
DUMMY_TEXT = b"REMOVED"
LOCAL_SCHEME = b"99LOCAL"
DUMMIES = {"DA": b"19000101", "TM": b"000000", "DT": b"19000101000000", "AS": b"000Y", "DS": b"0", "IS": b"0"}
# terms that a picture or a report cannot be read without (PS3.3); they are never taken for a person's name
DEFINED_TERMS = frozenset(
    b"ORIGINAL DERIVED PRIMARY SECONDARY AXIAL LOCALIZER MIXED NONE VOLUME MONOCHROME1 MONOCHROME2 RGB YBR_FULL "
    b"YBR_FULL_422 YBR_ICT YBR_RCT PALETTE_COLOR YES NO HFS HFP HFDL HFDR FFS FFP FFDL FFDR M F O R L B U "
    b"CR CT DX ECG EPS ES GM IO IVUS KO MG MR NM OP OPT OT PR PT PX REG RF RTDOSE RTIMAGE RTPLAN RTSTRUCT RTRECORD "
    b"SC SEG SM SMR SR US XA XC TEXT NUM CODE DATETIME DATE TIME UIDREF PNAME COMPOSITE IMAGE WAVEFORM SCOORD SCOORD3D "
    b"TCOORD CONTAINER TABLE CONTAINS HAS_PROPERTIES SEPARATE CONTINUOUS COMPLETE PARTIAL VERIFIED UNVERIFIED FINAL "
    b"PRELIM POINT MULTIPOINT POLYLINE POLYGON CIRCLE ELLIPSE ELLIPSOID SEGMENT BEGIN END MULTISEGMENT DCMR UMLS "
    b"PIXEL DISPLAY INTERPOLATED MATRIX BINARY FRACTIONAL IDENTITY INVERSE LIN HU US SHAPE RECTANGULAR CIRCULAR "
    b"PRODUCT RESEARCH SERVICE WHOLE_BODY UNKNOWN NORMAL DIFFERENT SAME".split()
) | {b"PALETTE COLOR", b"HAS OBS CONTEXT", b"HAS CONCEPT MOD", b"HAS PROPERTIES", b"HAS ACQ CONTEXT", b"INFERRED FROM"}
DEFINED_TERMS |= {b"SELECTED FROM", b"WHOLE BODY", b"CLOSED_PLANAR", b"OPEN_PLANAR", b"OPEN_NONPLANAR"}

_NUMBER = rb"[ \0]*(?:[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?)?[ \0]*"
_NUMBERS = re.compile(_NUMBER + rb"(?:\\" + _NUMBER + rb")*")
_ONE_NUMBER = re.compile(_NUMBER)
_CODE = re.compile(rb"[A-Z0-9 _]{0,16}")
_CODE_VALUE = re.compile(rb"[A-Za-z0-9.\-/%\[\]{}^*'_+()]{1,16}")
_DIGITS = re.compile(r"[0-9]+")
_MONTH = re.compile(r"jan|feb|m[aä]r|apr|ma[iy]|jun|jul|aug|sep|o[ck]t|nov|de[cz]", re.IGNORECASE)
_AGE = re.compile(rb"(\d{3})([DWMY])")


@dataclass
class Values:
    """The operations for one patient: keys and known values in; the same value is worked out once."""

    profile: Profile
    secret: bytes
    patient_key: str
    shift_days: int
    known: Known
    _done: dict[tuple[Op, bytes, bytes], bytes] = field(default_factory=dict)

    def __post_init__(self) -> None:
        # a record number is no less one where a series number should be, or without the letters around it
        digits = ("".join(filter(str.isdecimal, phrase)) for phrase in self.known.phrases)
        self._ids = {found.encode() for found in digits if len(found) >= SHORTEST_ID}
        self._years = {f"{year:04}" for year, _, _ in self.known.dates}
        self._days = {day for date in self.known.dates for day in _spellings(*date)}
        self._parts: dict[Op, Callable[[bytes], bytes]] = {
            Op.CODE: self._code,
            Op.CODE_VALUE: self._code_value,
            Op.SCHEME: _scheme,
            Op.AGE: self._age,
            Op.UID: lambda part: pseudonym.uid(self.secret, _ascii(part)).encode(),
            Op.DATE: lambda part: pseudonym.shift_date(_ascii(part), self.shift_days).encode(),
            Op.DATETIME: lambda part: pseudonym.shift_datetime(_ascii(part), self.shift_days).encode(),
            Op.TIME: lambda part: pseudonym.clean_time(_ascii(part)).encode(),
        }

    def changed(self, op: Op, vr: str, old: bytes, charset: bytes) -> bytes:
        """What becomes of a value without its padding; `charset` is the raw SpecificCharacterSet in force."""
        if op is Op.NUMBER:
            plain = _NUMBERS.fullmatch(old) and not (self._ids and old in self._ids)
            return old if plain else b"\\".join(self._number(part) for part in old.split(b"\\"))
        if op is Op.PATIENT:
            return self.patient_key.encode()
        if op is Op.EMPTY:
            return b""
        if op is Op.DUMMY:
            return self._dummy(vr, old)
        key = (op, old, charset if op in (Op.TEXT, Op.RETAIN) else b"")
        new = self._done.get(key)
        if new is None:
            new = self._done[key] = self._worked_out(op, old, charset)
        return new

    def uid(self, text: str) -> str:
        return pseudonym.uid(self.secret, text)

    def _worked_out(self, op: Op, old: bytes, charset: bytes) -> bytes:
        if op is Op.TEXT:
            parts = decoded(old, charset).split("\\")
            return _joined(clean(part, self.known).encode("ascii")[:LONGEST_TEXT] for part in parts)
        if op is Op.RETAIN:
            return self._retained(decoded(old, charset))
        worked = self._parts[op]
        return _joined(worked(part.strip(b" \0")) for part in old.split(b"\\"))

    def _retained(self, text: str) -> bytes:
        """A text that the profile keeps, in ASCII; cleaned after all when it tells something known of the patient."""
        parts = (clean(part, self.known) if self._tells(part) else plain(part) for part in text.split("\\"))
        return _joined(part.encode("ascii", "ignore") for part in parts)

    def _tells(self, text: str) -> bool:
        """Whether a text holds a name, a value, the digits of one, or a date that is known, or may."""
        runs = _DIGITS.findall(text)
        squeezed = "".join(runs)
        return (
            self.known.found_in(text)
            or any(run.encode() in self._ids or run in self._years for run in runs)
            or any(day in squeezed for day in self._days)
            or bool(runs and _MONTH.search(text))
        )

    def _number(self, part: bytes) -> bytes:
        return part if _ONE_NUMBER.fullmatch(part) and part.strip(b" \0") not in self._ids else b""

    def _code(self, part: bytes) -> bytes:
        if not _CODE.fullmatch(part):
            return b""
        return part if part in DEFINED_TERMS or not self.known.found_in(_ascii(part)) else b""

    def _code_value(self, part: bytes) -> bytes:
        return part if _CODE_VALUE.fullmatch(part) and not self.known.found_in(_ascii(part)) else b""

    def _age(self, part: bytes) -> bytes:
        match = _AGE.fullmatch(part)
        if match is None:
            return b""
        age, unit = int(match[1]), match[2]
        if unit == b"Y" and age > AGE_CAP:
            return b"%03dY" % (AGE_CAP + 1)
        band = self.profile.age_band_years
        if band == 1:
            return part
        return b"%03dY" % (age // band * band if unit == b"Y" else 0)

    def _dummy(self, vr: str, old: bytes) -> bytes:
        if vr == "UI":
            return self.changed(Op.UID, vr, old, b"")
        if vr in BULK:
            return b"\0\0"
        if BY_VR.get(vr) is Op.KEEP:
            return bytes(len(old))
        return DUMMIES.get(vr, DUMMY_TEXT)


def _joined(parts: Iterable[bytes]) -> bytes:
    """Several values as one; empty when nothing is left of any of them."""
    joined = b"\\".join(parts)
    return joined if joined.strip(b"\\") else b""


def _spellings(year: int, month: int, day: int) -> set[str]:
    """A date in digits alone, in the usual orders."""
    y, m, d = f"{year:04}", f"{month:02}", f"{day:02}"
    return {y + m + d, d + m + y, m + d + y, y[2:] + m + d, d + m + y[2:], m + d + y[2:]}


def _scheme(part: bytes) -> bytes:
    return part if not part or _ascii(part) in coding_schemes() else LOCAL_SCHEME


def _ascii(part: bytes) -> str:
    return part.decode("ascii", "replace")
