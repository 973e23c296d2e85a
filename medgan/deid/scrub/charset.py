"""Text of any SpecificCharacterSet (0008,0005), as strings; a declaration that lies gives nothing that is trusted."""

from __future__ import annotations

from functools import lru_cache

from pydicom.charset import convert_encodings, decode_bytes

DELIMITERS = {0x0A, 0x0C, 0x0D, 0x3D, 0x5C, 0x5E}  # where ISO 2022 falls back to the first set
REPLACED = "\ufffd"


def decoded(data: bytes, charset: bytes) -> str:
    """The text as `charset` (the raw value in force, b"" for none) says; what does not decode is left out."""
    if data.isascii() and b"\x1b" not in data:
        return data.decode("ascii")
    encodings = _encodings(charset)
    if not encodings:
        return data.decode("latin-1")
    try:
        text: str = decode_bytes(data, encodings, DELIMITERS)
    except (UnicodeError, LookupError, ValueError, IndexError):
        return ""
    return text.replace(REPLACED, " ")


def readings(data: bytes, charset: bytes) -> set[str]:
    """What a value may say, whatever is declared: as declared, as UTF-8, and as latin-1."""
    found = {decoded(data, charset)}
    if not data.isascii():
        found.add(data.decode("utf-8", "ignore"))
        found.add(data.decode("latin-1"))
    return found


@lru_cache(maxsize=256)
def _encodings(charset: bytes) -> tuple[str, ...]:
    names = [name.strip() for name in charset.strip(b" \0").decode("latin-1").split("\\")]
    if not any(names):
        return ()
    try:
        return tuple(convert_encodings(names))
    except (LookupError, ValueError, IndexError):
        return ()
