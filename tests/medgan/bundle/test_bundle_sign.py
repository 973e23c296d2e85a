"""A bundle's signature covers every byte of every file."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from medgan import digest as digests
from medgan.bundle import sign
from medgan.errors import HomeError, UsageError
from medgan.store import Store

KEY = sign.read_private(sign.new_key())
OTHER = sign.read_private(sign.new_key())


def filled(folder: Path) -> None:
    (folder / "data" / "png").mkdir(parents=True)
    (folder / "data" / "png" / "00000.png").write_bytes(b"\x89PNG picture")
    (folder / "data" / "labels.csv").write_text("file,label\npng/00000.png,normal\n")
    (folder / "scorecard.json").write_bytes(digests.canonical({"answer": "accept"}))
    (folder / "report.html").write_text("<!doctype html>")


def sealed(root: Path, key=KEY, predicate: dict | None = None) -> Path:
    store = Store(root)
    with store.staging() as folder:
        filled(folder)
        sign.sign(folder, key, predicate or {"answer": "accept"})
        digest = store.seal(folder, "release", {"stage": "release"})
    return store.path(digest)


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return sealed(tmp_path)


@pytest.fixture
def key_file(bundle: Path, tmp_path: Path) -> Path:
    return shutil.copy(bundle / "signing.pub", tmp_path / "signer.pub")


def test_an_untouched_bundle_verifies_with_and_without_the_key(bundle: Path, key_file: Path):
    trusted, integrity = sign.verify(bundle, key_file), sign.verify(bundle)
    assert trusted.ok and trusted.key_given and trusted.files == 8
    assert integrity.ok and not integrity.key_given
    assert trusted.fingerprint == sign.fingerprint(KEY.public_key())


def test_the_same_key_and_files_give_the_same_bytes(tmp_path: Path):
    assert sealed(tmp_path / "a").name == sealed(tmp_path / "b").name


def test_a_changed_byte_in_any_file_is_found(bundle: Path, key_file: Path):
    for file in sorted(p for p in bundle.rglob("*") if p.is_file()):
        good = file.read_bytes()
        for place in sorted({0, len(good) // 2, len(good) - 1}):
            file.write_bytes(good[:place] + bytes([good[place] ^ 1]) + good[place + 1 :])
            assert not sign.verify(bundle, key_file).ok, (file.name, place)
            assert not sign.verify(bundle).ok, (file.name, place)
        for bad in (good + b"\n", good + b" ", b" " + good, good[:-1], b""):
            file.write_bytes(bad)
            assert not sign.verify(bundle, key_file).ok, (file.name, "length")
        file.write_bytes(good)
    assert sign.verify(bundle, key_file).ok


def test_a_lost_file_is_found_whichever_it_is(bundle: Path, key_file: Path):
    for file in sorted(p for p in bundle.rglob("*") if p.is_file()):
        good = file.read_bytes()
        file.unlink()
        problems = sign.verify(bundle, key_file).problems
        assert problems, file.name
        file.write_bytes(good)


def reenveloped(bundle: Path, change: Callable[[dict], None]) -> None:
    envelope = json.loads((bundle / "statement.json").read_bytes())
    change(envelope)
    (bundle / "statement.json").write_bytes(digests.canonical(envelope))


def resealed(bundle: Path) -> None:
    """What a forger without the key can do: make the sums and the manifest fit again."""
    (bundle / "manifest.json").unlink(missing_ok=True)
    names = [p.relative_to(bundle).as_posix() for p in bundle.rglob("*") if p.is_file()]
    entries = {
        n: {"sha256": digests.sha256_file(bundle / n), "size": (bundle / n).stat().st_size} for n in sorted(names)
    }
    (bundle / "manifest.json").write_bytes(
        digests.canonical({"kind": "release", "files": entries, "meta": {"stage": "release"}})
    )


def forge_payload(bundle: Path) -> None:
    def change(envelope: dict) -> None:
        statement = json.loads(base64.b64decode(envelope["payload"]))
        statement["subject"] = statement["subject"][:-1]
        envelope["payload"] = base64.b64encode(digests.canonical(statement)).decode()

    reenveloped(bundle, change)
    resealed(bundle)


def forge_signer(bundle: Path) -> None:
    for name in ("signing.pub", "SHA256SUMS", "statement.json", "manifest.json"):
        (bundle / name).unlink()
    (bundle / "data" / "labels.csv").write_text("file,label\n")
    sign.sign(bundle, OTHER, {"answer": "accept"})
    resealed(bundle)


CASES = [
    pytest.param(lambda b: (b / "data" / "extra.png").write_bytes(b"x"), "not part of the bundle", id="extra"),
    pytest.param(lambda b: (b / ".hidden").write_bytes(b""), "not part of the bundle", id="hidden and empty"),
    pytest.param(lambda b: os.mkfifo(b / "pipe"), "link or special file", id="fifo"),
    pytest.param(lambda b: (b / "data" / "out").symlink_to("/"), "link or special file", id="link to a folder"),
    pytest.param(lambda b: (b / "report.html").rename(b / "rep.html"), "report.html: missing", id="renamed"),
    pytest.param(forge_payload, "signature does not hold", id="statement edited, manifest made to fit"),
    pytest.param(forge_signer, "another key", id="signed anew by somebody else"),
    pytest.param(
        lambda b: reenveloped(b, lambda e: e.update(note="hello")), "changed", id="a word added beside the signature"
    ),
    pytest.param(
        lambda b: reenveloped(b, lambda e: e["signatures"].append(e["signatures"][0])), "damaged", id="two signatures"
    ),
    pytest.param(lambda b: (b / "statement.json").write_text("[" * 100_000), "damaged", id="deep nesting"),
    pytest.param(lambda b: (b / "statement.json").unlink(), "not a bundle", id="no statement"),
]


@pytest.mark.parametrize(("damage", "message"), CASES)
def test_damage_is_named(bundle: Path, key_file: Path, damage: Callable[[Path], object], message: str):
    damage(bundle)
    problems = sign.verify(bundle, key_file).problems
    assert any(message in problem for problem in problems), problems


def test_a_stranger_s_bundle_is_whole_but_not_the_signer_s(bundle: Path, key_file: Path):
    forge_signer(bundle)
    assert sign.verify(bundle).ok  # integrity only: that is why the answer says whether a key was given
    assert not sign.verify(bundle, key_file).ok


def test_a_signed_bundle_whose_gate_did_not_accept_fails(tmp_path: Path):
    assert any("not accept" in p for p in sign.verify(sealed(tmp_path, predicate={"answer": "reject"})).problems)


def test_sha256sum_agrees(bundle: Path):
    assert subprocess.run(["sha256sum", "--quiet", "-c", "SHA256SUMS"], cwd=bundle).returncode == 0


KEYS = [
    pytest.param(b"", id="empty"),
    pytest.param(b"not a key", id="text"),
    pytest.param(sign.new_key(), id="private key"),
]


@pytest.mark.parametrize("pem", KEYS)
def test_a_wrong_key_file_is_wrong_usage_and_is_not_quoted(bundle: Path, tmp_path: Path, pem: bytes):
    (tmp_path / "k").write_bytes(pem)
    with pytest.raises(UsageError, match="signing.pub"):
        sign.verify(bundle, tmp_path / "k")


def test_a_missing_folder_or_key_is_wrong_usage(bundle: Path, tmp_path: Path):
    for folder, key in ((tmp_path / "none", None), (bundle, tmp_path / "none")):
        with pytest.raises(UsageError):
            sign.verify(folder, key)


def test_a_damaged_private_key_says_what_to_do():
    with pytest.raises(HomeError, match="backup"):
        sign.read_private(b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n")


def test_verifying_needs_no_heavy_library():
    code = (
        "import sys, medgan.bundle.sign\n"
        "print([m for m in ('torch', 'mlflow', 'pydicom', 'zarr', 'numpy', 'sqlalchemy') if m in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert found.strip() == "[]"
