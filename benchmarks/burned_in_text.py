"""How much burned-in text is hidden, how often a text-free picture is altered, and what looking costs.

    ./run bench burned_in_text                         made-up films, CT and MR slices
    ./run bench burned_in_text --real FILE.zip         and the pictures of an archive
    ./run bench burned_in_text --picture burned.png    before and after, of made-up films

Thresholds were chosen on seeds 101 to 303; the default seed is another. A text counts as hidden when at least 90 % of
its ink lies in the boxes of the first look. Intervals are two-sided 95 % Clopper-Pearson.
"""

from __future__ import annotations

import argparse
import io
import time
import zipfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import stats

from medgan.deid import pixels
from medgan.deid.detect import Box, find_text, merge
from medgan.phantom import burn
from medgan.phantom.anatomy import draw_body
from medgan.phantom.bones import join, skeleton
from medgan.phantom.head import draw_head, scan_head
from medgan.phantom.lesions import draw_lesion
from medgan.phantom.radiograph import draw_shot, expose
from medgan.phantom.tomography import draw_scan, fine_structure, scan_chest
from medgan.phantom.vessels import vessels

SIDE, TOP = 1280, 4095
TEXTS = ("DOE, JANE", "SMITH^JOHN", "1983-04-12", "ID 8841273", "MRN-000143522", "St. Mary Hospital", "19830412")
TEXTS += ("PAT 55-1023", "14.03.2021", "A2100517", "Keller", "Dr. House")
HEIGHTS, TINY_HEIGHTS = (8, 9, 10, 12, 14, 16, 20, 24), (6, 8, 10, 14)
FAINT = 0.25  # of the full contrast
Stored = NDArray[np.uint16]
Marker = tuple[int, int, int, int] | None


def film(seed: int, number: int, side: int) -> tuple[Stored, Marker]:
    """A text-free chest film, 12 bits, some with a side marker, some MONOCHROME1; and the marker's box."""
    rng = np.random.default_rng([seed, number])
    body = draw_body(rng, "FM"[int(rng.integers(2))], int(rng.integers(19, 97)))
    lesion = draw_lesion(rng, body, str(rng.choice(["normal", "normal", "nodule", "opacity", "effusion"])))
    shot = draw_shot(rng, body, "AP" if rng.random() < 0.2 else "PA")
    picture, marker = expose(body, join([skeleton(body), vessels(body)]), lesion, shot, side), None
    if rng.random() < 0.3:
        picture, stamp = burn.mark_side(rng, picture)
        marker = stamp.box
    if rng.random() < 0.15:
        picture = 1 - picture
    return np.round(np.clip(picture, 0, 1) * TOP).astype(np.uint16), marker


def slices(seed: int, patients: int) -> list[Stored]:
    """CT of the chest and MR of the head, 128 x 128."""
    found: list[Stored] = []
    for number in range(patients):
        rng = np.random.default_rng([seed, 1, number])
        body = draw_body(rng, "F", 50)
        found += list((scan_chest(body, fine_structure(body), None, draw_scan(rng, body)) + 1024).astype(np.uint16))
        found += list(scan_head(draw_head(rng, "M", 40)))
    return found


def plant(
    stored: Stored, rng: np.random.Generator, height: int, turn: int, contrast: float = 1.0
) -> tuple[Stored, NDArray[np.bool_]]:
    """Text in a corner or anywhere, bright or dark, sometimes on a ground of its own; and where its ink is."""
    side, picture = stored.shape[0], stored / TOP
    mask = np.rot90(burn.letters(str(rng.choice(TEXTS)), height), turn)[: side - 6, : side - 6]
    h, w = mask.shape
    if rng.random() < 0.6:
        y, x = (3 if rng.random() < 0.5 else side - h - 3), (3 if rng.random() < 0.5 else side - w - 3)
    else:
        y, x = int(rng.integers(3, side - h - 2)), int(rng.integers(3, side - w - 2))
    ground = picture[y : y + h, x : x + w]
    if contrast == 1.0 and (rng.random() < 0.2 or ground.std() > 0.16):
        ground[:] = 0.02 if rng.random() < 0.7 else 0.98
    bright = bool(ground.mean() < 0.55)
    if 0.3 < ground.mean() < 0.7 and rng.random() < 0.3:
        bright = not bright
    ground += mask * contrast * ((1.0 if bright else 0.0) - ground)
    ink = np.zeros(stored.shape, bool)
    ink[y : y + h, x : x + w] = mask > 0.35
    return np.round(picture * TOP).astype(np.uint16), ink


def look(stored: Stored, doubted: bool = False) -> list[Box]:
    return merge([box for picture in pixels.render(stored) for box in find_text(picture, SIDE, doubted=doubted)])


def is_hidden(stored: Stored, ink: NDArray[np.bool_]) -> bool:
    covered = np.zeros(stored.shape, bool)
    for box in look(stored):
        covered[box.top : box.bottom, box.left : box.right] = True
    return bool(covered[ink].mean() >= 0.9)


def on_marker(box: Box, marker: Marker) -> bool:
    if marker is None:
        return False
    left, top, right, bottom = marker
    return box.left < right and box.right > left and box.top < bottom and box.bottom > top


def rate(hits: list[bool]) -> str:
    n, k = len(hits), sum(hits)
    low = stats.beta.ppf(0.025, k, n - k + 1) if k else 0.0
    high = stats.beta.ppf(0.975, k + 1, n - k) if k < n else 1.0
    return f"{k:5d}/{n:<5d} {k / n:6.3f} [{low:.3f}, {high:.3f}]"


def report_hidden(name: str, films: list[Stored], heights: tuple[int, ...], seed: int) -> None:
    for title, turns, contrast in (("upright", (0,), 1.0), ("turned", (1, 3), 1.0), ("upright, faint", (0,), FAINT)):
        every: list[bool] = []
        for height in heights:
            rng = np.random.default_rng([seed, height, len(title)])
            planted = [plant(f, rng, height, turns[n % len(turns)], contrast) for n, f in enumerate(films)]
            hits = [is_hidden(stored, ink) for stored, ink in planted]
            every += hits
            print(f"{name}: hidden, {title}, {height:2d} px{'':8s}{rate(hits)}", flush=True)
        print(f"{name}: hidden, {title}, all{'':10s}{rate(every)}", flush=True)


def report_altered(name: str, films: list[tuple[Stored, Marker]], doubted: bool = False) -> None:
    start = time.process_time()
    found = [look(stored, doubted) for stored, _ in films]
    cost = (time.process_time() - start) / len(films)
    beyond = [any(not on_marker(b, marker) for b in boxes) for boxes, (_, marker) in zip(found, films, strict=True)]
    area = [sum((b.bottom - b.top) * (b.right - b.left) for b in boxes) for boxes in found]
    print(f"{name}: altered though text-free (markers aside)  {rate(beyond)}")
    print(f"{name}: mean share of the picture altered {np.mean(area) / films[0][0].size:.4f}; {cost:.4f} core-s each")
    if marked := [bool(boxes) for boxes, (_, marker) in zip(found, films, strict=True) if marker]:
        print(f"{name}: a side marker altered  {rate(marked)}", flush=True)


def archive(path: Path, most: int) -> list[Stored]:
    """Every n-th picture of an archive, grey, as 12 bits."""
    with zipfile.ZipFile(path) as file:
        names = sorted(n for n in file.namelist() if n.lower().endswith((".png", ".jpg", ".jpeg")))
        step = max(1, len(names) // most)
        chosen = names[step // 2 :: step][:most]
        grey = [np.asarray(Image.open(io.BytesIO(file.read(name))).convert("L"), np.uint16) for name in chosen]
    return [picture * 16 for picture in grey]


def save_picture(path: Path, seed: int) -> None:
    """Four films: with text above, as they leave below."""
    columns = []
    for number, (height, turn) in enumerate(((14, 0), (20, 0), (12, 1), (10, 0))):
        before, _ = plant(film(seed, number, 256)[0], np.random.default_rng([seed, number]), height, turn)
        after = before.copy()
        pixels.fill(after, look(before))
        columns.append(np.vstack([before, np.full((6, 256), TOP, np.uint16), after]))
    wall = np.hstack([np.pad(c, ((0, 0), (0, 6)), constant_values=TOP) for c in columns])[:, :-6]
    Image.fromarray((wall >> 4).astype(np.uint8)).save(path, optimize=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=404)
    parser.add_argument("--films", type=int, default=200)
    parser.add_argument("--real", type=Path, help="archive of grey pictures; text in them is not known beforehand")
    parser.add_argument("--picture", type=Path)
    given = parser.parse_args()
    if given.picture:
        save_picture(given.picture, given.seed)
        return
    start = time.process_time()
    films = [film(given.seed, number, 256) for number in range(given.films)]
    tiny = [film(given.seed, number, 64) for number in range(given.films)]
    report_altered("films 256", films)
    report_altered("films 64", tiny)
    report_altered("slices 128", [(s, None) for s in slices(given.seed, max(1, given.films // 40))], doubted=True)
    if given.real:
        real = archive(given.real, given.films)
        report_altered("real", [(picture, None) for picture in real])
    report_hidden("films 256", [f for f, _ in films], HEIGHTS, given.seed)
    report_hidden("films 64", [f for f, _ in tiny], TINY_HEIGHTS, given.seed)
    if given.real:
        report_hidden("real", real, HEIGHTS if real[0].shape[0] > 96 else TINY_HEIGHTS, given.seed)
    print(f"{time.process_time() - start:.0f} core-s")


if __name__ == "__main__":
    main()
