"""Files that hold a secret key, and the id that tells one key from another.

A key file holds 32 bytes in hex, or several such lines, newest first; a line may begin with the key's id and a colon,
which then proves that it was typed right. Blank lines and lines that begin with # do not count. Nothing else is kept:
a pseudonym is computed from the key, there is no table of pairs.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from medgan import digest as digests
from medgan.errors import HomeError
from medgan.store import private, writable, write_durably

KEY_BYTES = 32
ID_DIGITS = 8
NOT_HEX = f"a key file is damaged: expected {2 * KEY_BYTES} hex digits; put it back from the backup"


@dataclass(frozen=True, slots=True)
class Key:
    """One secret; its id may be shown, and does not give the secret away."""

    secret: bytes = field(repr=False)

    @property
    def id(self) -> str:
        return digests.keyed(self.secret, "key id", "")[:ID_DIGITS]

    @property
    def fingerprint(self) -> str:
        """16 hex digits under which results of this key are known."""
        return digests.keyed(self.secret, "fingerprint", "")[:16]


def read_keys(path: Path) -> tuple[Key, ...]:
    """The keys of a file, newest first. Raises HomeError that tells missing, closed, open and damaged apart."""
    try:
        text = path.read_text()
    except FileNotFoundError:
        raise HomeError("a key file is missing; put it back from the backup") from None
    except OSError:
        raise HomeError("a key file cannot be read; check its owner") from None
    except UnicodeDecodeError:
        raise HomeError(NOT_HEX) from None
    if not private(path):
        raise HomeError("a key file can be read by others; `chmod 600` it, and consider it known")
    lines = [line for line in map(str.strip, text.splitlines()) if line and not line.startswith("#")]
    if not lines:
        raise HomeError(NOT_HEX)
    keys = tuple(_parsed(line) for line in lines)
    if len({key.id for key in keys}) < len(keys):
        raise HomeError("a key file is damaged: it holds one key twice; leave each on one line")
    return keys


def read_key(path: Path) -> bytes:
    """The newest secret of a file. Raises HomeError as read_keys does."""
    return read_keys(path)[0].secret


def pick(keys: Sequence[Key], key_id: str) -> Key:
    """The key of that id. Raises HomeError that names the ids there are."""
    for key in keys:
        if key.id == key_id.lower():
            return key
    raise HomeError(f"no key of that id; there are {', '.join(key.id for key in keys)} (newest first)")


def put_new_key(path: Path) -> Key:
    """Make a key, and a closed file for it where there is none; in a file of keys it goes on top. Returns it.

    Raises HomeError as read_keys does.
    """
    older = read_keys(path) if path.exists() else ()
    key = Key(secrets.token_bytes(KEY_BYTES))
    with writable():
        write_durably(path, "".join(_line(one) for one in (key, *older)).encode(), mode=0o600)
    return key


def _line(key: Key) -> str:
    return f"{key.id}: {key.secret.hex()}\n"


def _parsed(line: str) -> Key:
    key_id, _, digits = line.rpartition(":")
    try:
        secret = bytes.fromhex(digits.strip())
    except ValueError:
        secret = b""
    if len(secret) != KEY_BYTES:
        raise HomeError(NOT_HEX)
    key = Key(secret)
    if key_id.strip().lower() not in ("", key.id):
        raise HomeError("a key file is damaged: a key does not match the id before it; put it back from the backup")
    return key
