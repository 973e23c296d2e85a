"""Made-up pictures with known text in them, as DICOM bytes of many kinds; and without any."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from dicom_of_pictures import encoded
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from medgan.phantom import burn
from medgan.phantom.anatomy import draw_body
from medgan.phantom.bones import join, skeleton
from medgan.phantom.head import draw_head, scan_head
from medgan.phantom.lesions import draw_lesion
from medgan.phantom.radiograph import draw_shot, expose
from medgan.phantom.tomography import draw_scan, fine_structure, scan_chest
from medgan.phantom.vessels import vessels

Picture = NDArray[np.float64]  # [H, W] or [H, W, 3] in [0, 1]
Box = tuple[int, int, int, int]

TEXTS = ("DOE, JANE", "SMITH^JOHN", "1983-04-12", "ID 8841273", "MRN-000143522", "St. Mary Hospital", "19830412")
TEXTS += ("PAT 55-1023", "14.03.2021", "A2100517", "Keller", "Dr. House", "Müller, Jörg", "F 43Y")
FONTS = ("built in", "DejaVuSans", "DejaVuSans-Bold", "DejaVuSans-Oblique", "DejaVuSansMono", "DejaVuSerif")
FONTS += ("DejaVuSerif-Italic", "STIXGeneral", "STIXGeneralBol", "cmtt10")
GREY = ("explicit 12", "inverse 10", "implicit 12", "big 16", "deflated 12", "signed 16", "8 bits", "palette")
GREY += ("RLE 12", "JPEG 2000 12", "JPEG 2000 lossy", "JPEG-LS 12", "JPEG baseline")
COLOUR = ("RGB", "RGB planes", "YBR_FULL", "RGB RLE", "RGB JPEG baseline")
GROUNDS = ("film", "slice", "colour")
VISIBLE = 0.08  # of the range: less is no ink to anybody
DIFFERENT = 40  # grounds drawn for a seed; drawing one takes longer than looking at it


@dataclass(frozen=True)
class Case:
    """One picture to be written: what it shows, and how it is stored."""

    seed: tuple[int, ...]
    ground: str
    stored: str
    side: int
    frames: int
    in_one: bool  # of the frames
    text: str  # "" for none
    font: str
    height: int
    angle: float
    contrast: float
    crossing: bool

    @classmethod
    def drawn(cls, seed: int, title: str, number: int, *, text: bool = True, **given: Any) -> Case:
        """The case of that number; `heights` and `angles` are chosen from, other fields are as given."""
        root = (seed, *title.encode(), number)
        rng = np.random.default_rng(root)
        ground = given.get("ground") or str(rng.choice(GROUNDS, p=(0.7, 0.1, 0.2)))
        return cls(
            root,
            ground,
            given.get("stored") or str(rng.choice(COLOUR if ground == "colour" else GREY)),
            given.get("side") or (128 if ground == "slice" else int(rng.choice([256, 320]))),
            3 if rng.random() < 0.12 and "stored" not in given else 1,
            bool(rng.random() < 0.7),
            str(rng.choice(TEXTS)) if text else "",
            str(rng.choice(FONTS)),
            int(rng.choice(given.get("heights", (9, 12, 16, 20, 24)))),
            float(rng.choice(given.get("angles", (0,)))),
            float(given.get("contrast", 1.0)),
            bool(given.get("crossing", False)),
        )


@dataclass(frozen=True)
class Written:
    """The bytes of a case, the shown values of its frames, where its ink is in each, and a side marker's box."""

    data: bytes
    shown: list[Picture]
    ink: list[NDArray[np.bool_]]
    marker: Box | None  # left, top, right, bottom


def written(case: Case, ground: Picture | None = None) -> Written:
    """A case as DICOM, on its own ground or the one given."""
    rng = np.random.default_rng([*case.seed, 1])
    marker = None
    if ground is None:
        ground, marker = _ground(case, rng)
    shown, ink = [], []
    for frame in range(case.frames):
        picture, mask = (
            ground + rng.normal(0, 0.004, ground.shape) * (case.frames > 1),
            np.zeros(ground.shape[:2], bool),
        )
        if case.text and (frame == case.frames // 2 or not case.in_one):
            picture, mask = planted(picture, case, np.random.default_rng([*case.seed, 2]))
        shown.append(np.clip(picture, 0, 1))
        ink.append(mask)
    return Written(encoded(shown, case.stored, "CT" if case.ground == "slice" else "CR"), shown, ink, marker)


def planted(picture: Picture, case: Case, rng: np.random.Generator) -> tuple[Picture, NDArray[np.bool_]]:
    """Text in a corner, anywhere, or over the edge: bright, dark, coloured, sometimes on a box; and its ink."""
    mask = letters(case.text, case.height, case.font, case.angle)
    side, colour = picture.shape[0], picture.ndim == 3
    h, w = min(mask.shape[0], side - 6), min(mask.shape[1], side - 6)
    y, x = _corner(rng, side, h, w) if rng.random() < 0.6 else _anywhere(rng, side, h, w)
    if case.crossing:
        x = side - int(w * rng.uniform(0.5, 0.9))
    mask = mask[:h, : min(w, side - x)]
    region = slice(y, y + h), slice(x, x + mask.shape[1])
    out = picture.copy()
    ground = out[region]
    if case.contrast == 1.0 and not colour and (rng.random() < 0.2 or ground.std() > 0.16):
        ground[:] = 0.02 if rng.random() < 0.7 else 0.98
    shade = _ink(ground, case.contrast, rng)
    ground += (mask[..., None] if colour else mask) * (shade - ground if case.contrast == 1.0 else shade)
    out = np.clip(out, 0, 1)
    ink = np.zeros(picture.shape[:2], bool)
    differs = np.abs(out - picture)
    ink[region] = (mask > 0.35) & ((differs.max(axis=-1) if colour else differs)[region] > VISIBLE)
    return out, ink


def letters(text: str, height: int, font: str, angle: float) -> NDArray[np.float64]:
    """Coverage of a line of text, [h, w] in [0, 1], turned by an angle."""
    face = _face(font, height)
    left, top, right, bottom = (int(v) for v in face.getbbox(text))
    canvas = Image.new("L", (right - left + 2, bottom - top + 2))
    ImageDraw.Draw(canvas).text((1 - left, 1 - top), text, fill=255, font=face)
    return np.asarray(canvas.rotate(angle, expand=True, resample=Image.Resampling.BICUBIC), np.float64) / 255


@lru_cache(maxsize=256)
def _face(font: str, height: int) -> Any:
    if font == "built in":
        return ImageFont.load_default(size=height)
    return ImageFont.truetype(str(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / f"{font}.ttf"), height)


def _ink(ground: Picture, contrast: float, rng: np.random.Generator) -> Any:
    """What ink is drawn with, or, at less than the full contrast, what it adds."""
    mean = ground.mean(axis=(0, 1))
    bright = bool(np.mean(mean) < 0.55)
    if 0.3 < np.mean(mean) < 0.7 and rng.random() < 0.3:
        bright = not bright
    if contrast < 1.0:
        return contrast * (1 if bright else -1)
    if ground.ndim == 2:
        return 1.0 if bright else 0.0
    shades = np.array([(1, 1, 0), (0, 1, 0), (1, 1, 1), (0, 1, 1), (1, 0.3, 0.2), (0, 0, 0), (0.2, 0.3, 1)], float)
    far = shades[np.abs(shades - mean).max(axis=1) > 0.45]
    return far[int(rng.integers(len(far)))]


def _corner(rng: np.random.Generator, side: int, h: int, w: int) -> tuple[int, int]:
    return (3 if rng.random() < 0.5 else side - h - 3), (3 if rng.random() < 0.5 else side - w - 3)


def _anywhere(rng: np.random.Generator, side: int, h: int, w: int) -> tuple[int, int]:
    return int(rng.integers(3, side - h - 2)), int(rng.integers(3, side - w - 2))


def _ground(case: Case, rng: np.random.Generator) -> tuple[Picture, Box | None]:
    seed, number = case.seed[0], int(rng.integers(DIFFERENT))
    if case.ground == "slice":
        stack = slices(seed)
        return stack[int(rng.integers(len(stack)))], None
    grey, marker = film(seed, number, case.side)
    return (scan(grey, rng) if case.ground == "colour" else grey), marker


@lru_cache(maxsize=256)
def film(seed: int, number: int, side: int) -> tuple[Picture, Box | None]:
    """A text-free chest film, some with a side marker; and the marker's box."""
    rng = np.random.default_rng([seed, number])
    body = draw_body(rng, "FM"[int(rng.integers(2))], int(rng.integers(19, 97)))
    lesion = draw_lesion(rng, body, str(rng.choice(["normal", "normal", "nodule", "opacity", "effusion"])))
    shot = draw_shot(rng, body, "AP" if rng.random() < 0.2 else "PA")
    picture, marker = expose(body, join([skeleton(body), vessels(body)]), lesion, shot, side), None
    if rng.random() < 0.3:
        picture, stamp = burn.mark_side(rng, picture)
        marker = stamp.box
    return np.clip(np.asarray(picture, np.float64), 0, 1), marker


@lru_cache(maxsize=4)
def slices(seed: int) -> list[Picture]:
    """CT of the chest and MR of the head, 128 x 128."""
    rng = np.random.default_rng([seed, 1])
    body = draw_body(rng, "F", 50)
    chest = scan_chest(body, fine_structure(body), None, draw_scan(rng, body))
    head = scan_head(draw_head(rng, "M", 40)).astype(np.float64)
    return [np.clip((s + 1024.0) / 3072, 0, 1) for s in chest] + [s / head.max() for s in head]


def scan(grey: Picture, rng: np.random.Generator) -> Picture:
    """A coloured picture: a grey one in a tint, with coloured flow in a part of it, as Doppler shows."""
    tint = np.array([(1, 1, 1), (1, 0.85, 0.6), (0.6, 0.8, 1), (0.9, 0.6, 0.8)])[int(rng.integers(4))]
    out = grey[..., None] * tint
    side = grey.shape[0]
    y, x = np.mgrid[0:side, 0:side]
    for shade in ((0.9, 0.1, 0.1), (0.1, 0.2, 0.9)):
        cy, cx, r = rng.uniform(0.3, 0.7) * side, rng.uniform(0.3, 0.7) * side, rng.uniform(0.04, 0.12) * side
        flow = np.exp(-((y - cy) ** 2 + (x - cx) ** 2) / (2 * r * r))[..., None]
        out = out * (1 - flow) + flow * np.array(shade)
    return np.clip(out, 0, 1)


def archive(path: Path, most: int) -> list[Picture]:
    """Every n-th picture of an archive, grey."""
    with zipfile.ZipFile(path) as file:
        names = sorted(n for n in file.namelist() if n.lower().endswith((".png", ".jpg", ".jpeg")))
        step = max(1, len(names) // most)
        chosen = names[step // 2 :: step][:most]
        return [np.asarray(Image.open(io.BytesIO(file.read(n))).convert("L"), np.float64) / 255 for n in chosen]


def save_picture(path: Path, seed: int, after: Callable[[Written], Picture]) -> None:
    """Pictures with text above, as they leave below: grey, inverse, coloured, turned, boxed, leaning."""
    columns = []
    for number, (ground, stored, height, angle) in enumerate(PANELS):
        case = Case.drawn(
            seed, "picture", number, ground=ground, stored=stored, side=256, heights=(height,), angles=(angle,)
        )
        made = written(case)
        pair = [
            np.broadcast_to(p if p.ndim == 3 else p[..., None], (256, 256, 3)) for p in (made.shown[0], after(made))
        ]
        columns.append(np.vstack([pair[0], np.ones((6, 256, 3)), pair[1]]))
    wall = np.hstack([np.pad(c, ((0, 0), (0, 6), (0, 0)), constant_values=1.0) for c in columns])[:, :-6]
    shown = Image.fromarray((wall * 255).astype(np.uint8))
    smaller = shown.resize((shown.width * 3 // 4, shown.height * 3 // 4), Image.Resampling.LANCZOS)
    smaller.quantize(256, dither=Image.Dither.NONE).save(path, optimize=True)


PANELS: Sequence[tuple[str, str, int, float]] = (
    ("film", "explicit 12", 16, 0),
    ("film", "inverse 10", 20, 0),
    ("film", "RLE 12", 14, 90),
    ("film", "JPEG 2000 12", 16, 15),
    ("colour", "RGB", 18, 0),
    ("colour", "YBR_FULL", 14, 0),
)
