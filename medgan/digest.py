"""Names for bytes: content digests, keyed digests, and the keys under which results are known."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pydantic import BaseModel

BLOCK = 1 << 20
SUBJECT_DIGITS = 32  # of a patient_key or study_key


def canonical(value: Any) -> bytes:
    """JSON with sorted keys and no blanks: the same value gives the same bytes on any machine."""
    if isinstance(value, BaseModel):
        value = value.model_dump(mode="json")
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode()


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def sha256_file(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(BLOCK):
            digest.update(block)
    return digest.hexdigest()


def keyed(secret: bytes, purpose: str, value: str | bytes) -> str:
    """HMAC-SHA-256 as 64 hex digits; `purpose` keeps the uses of one secret apart.

    A plain hash of a record number or UID can be guessed back in seconds; this cannot without the secret.
    """
    data = value.encode() if isinstance(value, str) else value
    return hmac.new(secret, purpose.encode() + b"\0" + data, hashlib.sha256).hexdigest()


def patient_key(secret: bytes, patient_id: str, issuer: str = "") -> str:
    """The pseudonym of a patient: 32 hex digits. Blanks around the id do not make another patient."""
    return keyed(secret, "patient", f"{issuer.strip()}|{patient_id.strip()}")[:SUBJECT_DIGITS]


def id_key(secret: bytes, patient_id: str) -> str:
    """The keyed hash of a Patient ID alone, whoever issued it: 32 hex digits."""
    return keyed(secret, "patient id", patient_id.strip())[:SUBJECT_DIGITS]


def study_key(secret: bytes, study_instance_uid: str) -> str:
    """The pseudonym of a study: 32 hex digits."""
    return keyed(secret, "study", study_instance_uid.strip())[:SUBJECT_DIGITS]


def key(stage: str, version: int, inputs: Iterable[str], recipe: BaseModel | None = None, **more: Any) -> str:
    """The name of a result before it exists: stage, its version, what it is made from, and how."""
    return sha256(
        canonical(
            {
                "stage": stage,
                "version": version,
                "inputs": sorted(inputs),
                "recipe": recipe.model_dump(mode="json") if recipe is not None else None,
                "more": more,
            }
        )
    )
