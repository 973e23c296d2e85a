"""A bundle's seal: every file's sha256 in an in-toto statement, in a DSSE envelope, signed with Ed25519.

    signing.pub      the public key, PEM
    SHA256SUMS       for `sha256sum -c`: every file but the three that describe the others
    statement.json   the signed statement: every file of the bundle, and the gate's answer about it
    manifest.json    written when the bundle is sealed; fully determined by the other files

Offline, and the same key and files give the same bytes (Ed25519 has no randomness).
"""

from __future__ import annotations

import base64
import binascii
import json
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from medgan import digest as digests
from medgan.errors import HomeError, UsageError

PUBLIC_KEY, SUMS, STATEMENT, MANIFEST = "signing.pub", "SHA256SUMS", "statement.json", "manifest.json"
KIND = "release"  # of the sealed artefact
STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE = "urn:medgan:release:v1"
PAYLOAD_TYPE = "application/vnd.in-toto+json"
LARGEST_STATEMENT = 64 << 20
LARGEST_KEY = 1 << 16


@dataclass(frozen=True, slots=True)
class Verification:
    """What `verify` found. Without a key from elsewhere it proves integrity, not who signed."""

    files: int
    problems: tuple[str, ...]
    key_given: bool
    fingerprint: str = ""  # of the key that the signature was checked with

    @property
    def ok(self) -> bool:
        return not self.problems


def new_key() -> bytes:
    """A fresh signing key, PEM (PKCS 8, not encrypted: keep it at mode 0600)."""
    return Ed25519PrivateKey.generate().private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def read_private(pem: bytes) -> Ed25519PrivateKey:
    """Raises HomeError when the bytes are not an Ed25519 private key."""
    try:
        key = serialization.load_pem_private_key(pem, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, Ed25519PrivateKey):
        raise HomeError("the signing key is damaged or not Ed25519; put it back from the backup")
    return key


def read_public(path: Path) -> Ed25519PublicKey:
    """Raises UsageError when the file is not an Ed25519 public key in PEM."""
    try:
        pem = path.read_bytes()[:LARGEST_KEY]
    except OSError:
        raise UsageError("the key file cannot be read; --key takes the signer's public key (signing.pub)") from None
    key = _public(pem)
    if key is None:
        raise UsageError(
            "the key file holds no Ed25519 public key in PEM; --key takes the signer's public key (signing.pub)"
        )
    return key


def fingerprint(key: Ed25519PublicKey) -> str:
    """sha256 of the raw key, 64 hex digits: short enough to compare over the telephone."""
    return digests.sha256(key.public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw))


def public_pem(key: Ed25519PrivateKey) -> bytes:
    """The public half, as signing.pub holds it."""
    return key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


def sign(folder: Path, key: Ed25519PrivateKey, predicate: dict[str, Any]) -> None:
    """Write signing.pub, SHA256SUMS and statement.json into a folder that holds everything else."""
    (folder / PUBLIC_KEY).write_bytes(public_pem(key))
    sums = _hashes(folder, [name for name in _names(folder) if name not in (SUMS, STATEMENT, MANIFEST)])
    (folder / SUMS).write_bytes(_sums(sums))
    files = {**sums, SUMS: digests.sha256_file(folder / SUMS)}
    statement = {
        "_type": STATEMENT_TYPE,
        "subject": [{"name": name, "digest": {"sha256": files[name]}} for name in sorted(files)],
        "predicateType": PREDICATE_TYPE,
        "predicate": predicate,
    }
    payload = digests.canonical(statement)
    signature = key.sign(_pae(payload))
    (folder / STATEMENT).write_bytes(_envelope(payload, fingerprint(key.public_key()), signature))


def verify(folder: Path, public_key: Path | None = None) -> Verification:
    """Check every byte of every file of a bundle. Problems are values; a missing folder is a UsageError."""
    if not folder.is_dir():
        raise UsageError("there is no bundle folder of that name; verify takes the folder of an unpacked bundle")
    given = read_public(public_key) if public_key is not None else None
    problems = [f"{_shown(name)}: a link or special file, which a bundle never holds" for name in _odd(folder)]
    names = _names(folder)
    statement, signer, found = _opened(folder, given)
    problems += found
    actual = _hashes(folder, names)
    if statement is not None:
        problems += _compared(statement, actual)
        problems += _answered(folder, statement)
    problems += _manifest_problems(folder, actual)
    if SUMS in actual and (folder / SUMS).read_bytes() != _sums(
        {name: sha for name, sha in actual.items() if name not in (SUMS, STATEMENT, MANIFEST)}
    ):
        problems.append(f"{SUMS}: does not match the files")
    return Verification(len(names), tuple(problems), given is not None, fingerprint(signer) if signer else "")


def _opened(
    folder: Path, given: Ed25519PublicKey | None
) -> tuple[dict[str, Any] | None, Ed25519PublicKey | None, list[str]]:
    """The statement inside the envelope when its signature holds, the key used, and what is wrong."""
    published = folder / PUBLIC_KEY
    key = given
    if key is None:
        key = _public(published.read_bytes()[:LARGEST_KEY]) if _plain(published) else None
        if key is None:
            return None, None, [f"{PUBLIC_KEY}: missing or damaged, so that nothing can be checked against it"]
    path = folder / STATEMENT
    if not _plain(path):
        return None, key, [f"{STATEMENT}: missing; this is not a bundle, or a part of one"]
    if path.stat().st_size > LARGEST_STATEMENT:
        return None, key, [f"{STATEMENT}: larger than any statement"]
    data = path.read_bytes()
    try:
        envelope = json.loads(data)
        payload = base64.b64decode(envelope["payload"], validate=True)
        (entry,) = envelope["signatures"]
        signature = base64.b64decode(entry["sig"], validate=True)
        statement = json.loads(payload)
    except (ValueError, KeyError, TypeError, RecursionError, binascii.Error):
        return None, key, [f"{STATEMENT}: damaged"]
    # one spelling only: whatever could be changed without breaking the signature is a change all the same
    if data != _envelope(payload, fingerprint(key), signature):
        problem = "changed, or signed with another key" if given else "changed"
        return None, key, [f"{STATEMENT}: {problem}"]
    try:
        key.verify(signature, _pae(payload))
    except InvalidSignature:
        return None, key, [f"{STATEMENT}: the signature does not hold"]
    if not isinstance(statement, dict) or (statement.get("_type"), statement.get("predicateType")) != (
        STATEMENT_TYPE,
        PREDICATE_TYPE,
    ):
        return None, key, [f"{STATEMENT}: signed, but not a statement about a release"]
    return statement, key, []


def _compared(statement: dict[str, Any], actual: dict[str, str]) -> list[str]:
    try:
        signed = {entry["name"]: entry["digest"]["sha256"] for entry in statement["subject"]}
    except (KeyError, TypeError):
        return [f"{STATEMENT}: its list of files is damaged"]
    here = {name: sha for name, sha in actual.items() if name not in (STATEMENT, MANIFEST)}
    problems = [f"{_shown(name)}: missing" for name in sorted(signed.keys() - here.keys())]
    problems += [f"{_shown(name)}: not part of the bundle" for name in sorted(here.keys() - signed.keys())]
    problems += [
        f"{_shown(name)}: changed" for name in sorted(signed.keys() & here.keys()) if signed[name] != here[name]
    ]
    return problems


def _answered(folder: Path, statement: dict[str, Any]) -> list[str]:
    """A bundle says `accept` twice: in what was signed, and in the evidence it carries."""
    predicate = statement.get("predicate")
    problems = []
    if not isinstance(predicate, dict) or predicate.get("answer") != "accept":
        problems.append(f"{STATEMENT}: the signed answer of the gate is not accept")
    try:
        card = json.loads((folder / "scorecard.json").read_bytes())
        accepted = isinstance(card, dict) and card.get("answer") == "accept"
    except (OSError, ValueError, RecursionError):
        accepted = False
    if not accepted:
        problems.append("scorecard.json: the evidence is missing, or does not say accept")
    return problems


def _manifest_problems(folder: Path, actual: dict[str, str]) -> list[str]:
    if MANIFEST not in actual:
        return [f"{MANIFEST}: missing"]
    files = {
        name: {"sha256": sha, "size": (folder / name).stat().st_size}
        for name, sha in actual.items()
        if name != MANIFEST
    }
    expected = digests.canonical({"kind": KIND, "files": files, "meta": {"stage": KIND}})
    return [] if (folder / MANIFEST).read_bytes() == expected else [f"{MANIFEST}: does not match the files"]


def _envelope(payload: bytes, keyid: str, signature: bytes) -> bytes:
    return digests.canonical(
        {
            "payload": base64.b64encode(payload).decode(),
            "payloadType": PAYLOAD_TYPE,
            "signatures": [{"keyid": keyid, "sig": base64.b64encode(signature).decode()}],
        }
    )


def _pae(payload: bytes) -> bytes:
    """DSSE v1 pre-authentication encoding: what is signed."""
    kind = PAYLOAD_TYPE.encode()
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)


def _sums(hashes: dict[str, str]) -> bytes:
    return "".join(f"{hashes[name]}  {name}\n" for name in sorted(hashes)).encode("utf-8", "surrogateescape")


def _hashes(folder: Path, names: list[str]) -> dict[str, str]:
    return {name: digests.sha256_file(folder / name) for name in names}


def _names(folder: Path) -> list[str]:
    """Regular files below `folder`, as posix paths; links and devices are never opened."""
    return sorted(path.relative_to(folder).as_posix() for path, regular in _walk(folder) if regular)


def _odd(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path, regular in _walk(folder) if not regular)


def _walk(folder: Path) -> Iterator[tuple[Path, bool]]:
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                yield from _walk(Path(entry.path))
            else:
                yield Path(entry.path), entry.is_file(follow_symlinks=False)


def _plain(path: Path) -> bool:
    try:
        return stat.S_ISREG(path.lstat().st_mode)
    except OSError:
        return False


def _public(pem: bytes) -> Ed25519PublicKey | None:
    try:
        key = serialization.load_pem_public_key(pem)
    except (ValueError, UnsupportedAlgorithm):
        return None
    return key if isinstance(key, Ed25519PublicKey) else None


def _shown(name: str) -> str:
    """A file name of somebody else's bundle, safe to print on a terminal."""
    return name if name.isprintable() and name.isascii() else ascii(name)
