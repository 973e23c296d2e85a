"""Hostile files from a seed: damaged, lying and malicious DICOM among good studies, each with planted identifiers.

`expected` is what PS3.3, PS3.5 and PS3.10 say of a file: "good" must be taken in, "bad" must be set aside, and
"either" is left to the reader (a bit changed inside pixels or text, which no check can see).
"""

from __future__ import annotations

import os
import random
import socket
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from dicom_draft import BIG, EXPLICIT, IMPLICIT, INSTANCE, Draft
from hostile_kinds import BAD, EITHER, GOOD, Make

Expected = Literal["good", "bad", "either"]
Made = tuple[str, Expected, bytes, list[str]]  # kind, expected, the file, what is planted in it
STUDY_SIZE = 3
SPARSE = (2 << 30) + 4096  # larger than an intake reads by default


@dataclass(frozen=True, slots=True)
class Case:
    """One planted input: its path below the folder, what should become of it, and what must never be seen again."""

    name: str
    expected: Expected
    kind: str
    planted: tuple[str, ...]
    opened: bool = True  # False: a link, a pipe, or too large: refused unread


# names of files, as bytes: all of them valid on a disk
NAMES: tuple[Callable[[str], bytes], ...] = (
    lambda t: f"{t}.dcm".encode(),
    lambda t: t.encode(),
    lambda t: f"Müller {t} 陈.dcm".encode(),
    lambda t: f"{t}\xfc\xff.dcm".encode("latin-1"),
    lambda t: f"{t}\nnext line.dcm".encode(),
    lambda t: f"-rf {t}.dcm".encode(),
    lambda t: f"{t}$(id);`id`'\".dcm".encode(),
    lambda t: t.encode() + b"x" * (251 - len(t)) + b".dcm",
    lambda t: t.encode() + b"\xed\xa0\x80.dcm",  # half of a surrogate pair
    lambda t: f"{t}%s%n{{0}}.DCM".encode(),
    lambda t: f".{t}".encode(),
    lambda t: f"{t}\x1b[31m\r.dcm".encode(),
)


def hostile(seed: int, n: int, folder: Path) -> list[Case]:
    """Write n inputs (at least one of each kind) to `folder`, the same for the same seed."""
    rng = random.Random(seed)
    made = [*_damaged(rng, EITHER, "either"), *_damaged(rng, BAD, "bad"), *_damaged(rng, GOOD, "good"), *_related(rng)]
    while len(made) + 6 < n:
        roll = rng.random()
        if roll < 0.4:
            made += _study(rng)
        else:
            expected, makers = ("bad", BAD) if roll < 0.75 else ("either", EITHER)
            kind = rng.choice(sorted(makers))
            made += _damaged(rng, {kind: makers[kind]}, expected)
    rng.shuffle(made)
    return [_written(rng, folder, *one) for one in made] + _special(rng, folder)


def _damaged(rng: random.Random, makers: dict[str, Make], expected: Expected) -> list[Made]:
    drafts = {kind: Draft(rng) for kind in makers}
    return [(kind, expected, makers[kind](draft), draft.planted) for kind, draft in drafts.items()]


def _study(rng: random.Random, size: int = STUDY_SIZE) -> list[Made]:
    """A good series of one patient."""
    draft, syntax = Draft(rng), rng.choice((EXPLICIT, IMPLICIT, BIG))
    uid = draft.value(INSTANCE)
    made: list[Made] = []
    for k in range(size):
        draft.put((INSTANCE, "UI", f"{uid}.{k}"), (0x00200013, "IS", str(k)), (0x00200032, "DS", f"0\\0\\{k}"))
        made.append(("study", "good", draft.file(syntax), draft.planted))
    return made


def _related(rng: random.Random) -> Iterator[Made]:
    """Files that are good each, and odd together: copies, copies with another preamble, two images of one UID."""
    for _ in range(3):
        draft = Draft(rng)
        yield from [("exact_duplicate", "good", draft.file(), draft.planted)] * 2
        draft = Draft(rng)
        yield "same_data_set", "good", draft.file(), draft.planted
        yield "same_data_set", "good", b"other" + draft.file()[5:], draft.planted
        draft = Draft(rng)
        yield "same_uid", "good", draft.file(), draft.planted
        yield "same_uid", "good", draft.put((0x00104000, "LT", draft.plant("Changed"))).file(), draft.planted


def _written(rng: random.Random, folder: Path, kind: str, expected: Expected, data: bytes, planted: list[str]) -> Case:
    token = f"Zq{rng.randrange(10**9, 10**10)}File"
    name = rng.choice(NAMES)(token)
    below = rng.choice((b"", b"a/", b"a/b c/", b"folder.dcm/", f"Zq{rng.randrange(10**9, 10**10)}Folder/".encode()))
    path = os.fsencode(folder) + b"/" + below + name
    os.makedirs(os.path.dirname(path), exist_ok=True)  # noqa: PTH103, PTH120 names are bytes that are no text
    Path(os.fsdecode(path)).write_bytes(data)
    return Case(
        os.fsdecode(below + name),
        expected,
        kind,
        (*planted, token, *([below[:-1].decode()] if below[:2] == b"Zq" else [])),
    )


def _special(rng: random.Random, folder: Path) -> list[Case]:
    """What is no file, or too large for one."""
    tokens = [f"Zq{rng.randrange(10**9, 10**10)}Special" for _ in range(6)]
    paths = [folder / f"{token}.dcm" for token in tokens]
    target = folder.with_name(f"{folder.name}-outside.dcm")
    target.write_bytes(Draft(rng).file())
    paths[0].symlink_to(target)
    paths[1].symlink_to(folder / "nowhere")
    paths[2].symlink_to("/etc", target_is_directory=True)
    os.mkfifo(paths[3])
    with socket.socket(socket.AF_UNIX) as server:
        here = Path.cwd()
        os.chdir(folder)  # the path of a socket is short
        try:
            server.bind(paths[4].name)
        finally:
            os.chdir(here)
    with paths[5].open("wb") as file:
        file.write(Draft(rng).file())
        file.truncate(SPARSE)
    kinds = ("link_outside", "link_to_nothing", "link_to_a_folder", "pipe", "socket", "sparse_giant")
    return [
        Case(path.name, "bad", kind, (token,), opened=False)
        for path, kind, token in zip(paths, kinds, tokens, strict=True)
    ]


def zip_with_bomb(path: Path, seed: int) -> Case:
    """A zip source of one good image and one member that expands a thousandfold."""
    draft = Draft(random.Random(seed))
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("good.dcm", draft.file())
        archive.writestr("bomb.dcm", draft.meta() + bytes(256 << 20))
    return Case(path.name, "bad", "zip_bomb", tuple(draft.planted))
