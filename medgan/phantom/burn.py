"""Text in the picture itself: burned-in identifiers, the side marker, and overlays."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from medgan.phantom.anatomy import Array


@dataclass(frozen=True, slots=True)
class Stamp:
    """Text in a film: its letters, box (x0, y0, x1, y1) in pixels, and whether it is brighter than its ground."""

    text: str
    box: tuple[int, int, int, int]
    bright: bool


@lru_cache(maxsize=64)
def font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size=size)


def letters(text: str, height: int) -> Array:
    """Coverage of a line of text, float32 [h, w] in [0, 1]."""
    face = font(height)
    left, top, right, bottom = (int(v) for v in face.getbbox(text))
    canvas = Image.new("L", (right - left + 2, bottom - top + 2))
    ImageDraw.Draw(canvas).text((1 - left, 1 - top), text, fill=255, font=face)
    return np.asarray(canvas, np.float32) / 255


def burn(rng: np.random.Generator, film: Array, lines: list[str]) -> tuple[Array, list[Stamp]]:
    """The film with lines of text in one corner, bright on dark or dark on bright, sometimes on a box of its own."""
    side = film.shape[0]
    height = max(7, int(round(rng.uniform(9, 20) * side / 256)))
    masks = [letters(line, height) for line in lines]
    while max(m.shape[1] for m in masks) > 0.94 * side and height > 7:
        height -= 1
        masks = [letters(line, height) for line in lines]
    out, stamps = film.copy(), []
    top, right = rng.random() < 0.6, rng.random() < 0.5
    tall = sum(m.shape[0] + 2 for m in masks)
    y = 3 if top else side - tall - 3
    boxed = rng.random() < 0.3
    for line, mask in zip(lines, masks, strict=True):
        mask = mask[:, : side - 6]
        h, w = mask.shape
        x = side - w - 3 if right else 3
        ground = out[y : y + h, x : x + w]
        if boxed or ground.std() > 0.16:  # neither colour would be legible on a mixed ground
            ground[:] = 0.02
        bright = bool(ground.mean() < 0.55)
        ground += mask * ((1.0 if bright else 0.0) - ground)
        stamps.append(Stamp(line, (x, y, x + w, y + h), bright))
        y += h + 2
    return out, stamps


def mark_side(rng: np.random.Generator, film: Array) -> tuple[Array, Stamp]:
    """A lead letter beside the patient: it says which side is which, and nothing about who."""
    side = film.shape[0]
    letter = str(rng.choice(["L", "R"]))
    mask = letters(letter, max(7, int(side * rng.uniform(0.055, 0.08))))
    h, w = mask.shape
    y = int(side * rng.uniform(0.04, 0.16))
    x = side - w - int(side * 0.04) if letter == "L" else int(side * 0.04)
    out = film.copy()
    ground = out[y : y + h, x : x + w]
    ground += mask * (0.97 - ground)
    return out, Stamp(letter, (x, y, x + w, y + h), True)


def overlay_bits(text: str, side: int) -> bytes:
    """One overlay plane [side, side] with a line of text, packed as DICOM wants it: lowest bit first."""
    plane: npt.NDArray[np.bool_] = np.zeros((side, side), bool)
    mask = letters(text, max(8, side // 16))[: side - 8, : side - 8] > 0.5
    plane[4 : 4 + mask.shape[0], 4 : 4 + mask.shape[1]] = mask
    packed = np.packbits(plane.reshape(-1), bitorder="little").tobytes()
    return packed + b"\0" * (len(packed) % 2)
