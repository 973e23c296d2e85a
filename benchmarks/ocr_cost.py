"""What looking for burned-in text costs: a series of 512 CT slices against 8 slices read in full, and a radiograph.

    ./run bench ocr_cost

Everything is made up: chests of 512 x 512 with grain, and a film of 2048 x 2048, both with and without text. CPU time
of one thread; decoding is told apart, since other readers pay for it as well. Goals: the text-free series costs at
most what 8 slices cost, the film at most 1.5 core-s, blanking and looking again included. Exit 1 where one is missed.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from medgan.deid.draft import Draft, open_draft
from medgan.deid.pixels import pixels
from medgan.deid.pixels.detect import find_text
from medgan.deid.pixels.look import look

sys.path[:0] = [str(Path(__file__).parents[1] / "tests")]
from burned import film, letters, slices  # noqa: E402
from dicom_of_pictures import encoded, header, pack  # noqa: E402

SLICE, FILM, READ, SIDE = 512, 2048, 8, 1024
CHESTS = 24  # slices of the phantom; between them it is interpolated
FILM_CORE_S = 1.5
ROUNDS = 3  # of each, one after the other, averaged


def core_s(what: Callable[[], Any]) -> float:
    start = time.process_time()
    what()
    return time.process_time() - start


def chest(seed: int, place: float, grain: np.random.Generator) -> NDArray[np.float64]:
    """A slice between two of the phantom's, enlarged, with grain."""
    stack = slices(seed)[:CHESTS]
    low = min(int(place * (len(stack) - 1)), len(stack) - 2)
    share = place * (len(stack) - 1) - low
    between = (1 - share) * stack[low] + share * stack[low + 1]
    large = cv2.resize(between, (SLICE, SLICE), interpolation=cv2.INTER_CUBIC)
    return np.clip(large + grain.normal(0, 0.006, large.shape), 0, 1)


def series(seed: int, count: int, marked: int | None) -> Draft:
    """A CT series, one of its slices with a name in it."""
    study, number, grain = generate_uid(), generate_uid(), np.random.default_rng(seed)
    files = {}
    for n in range(count):
        picture = chest(seed, n / count, grain)
        if n == marked:
            burn(picture, "DOE, JANE 1983", 16, 30, 40)
        ds = header("CT", 1, picture.shape)
        ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.InstanceNumber = study, number, n + 1
        files[f"{n:04d}"] = pack(ds, np.round(picture * 4095).astype(np.uint16)[None], ExplicitVRLittleEndian)
    return open_draft(files, "patient")


def burn(picture: NDArray[np.float64], text: str, height: int, top: int, left: int) -> None:
    mask = letters(text, height, "DejaVuSans", 0)
    ground = picture[top : top + mask.shape[0], left : left + mask.shape[1]]
    ground += mask * (1 - ground)


def decode(draft: Draft) -> list[NDArray[Any]]:
    """The frames of a series, kept, as the look keeps them."""
    return [frame for instance in draft.instances for frame in pixels.frames(instance.ds)]


def report_series(seed: int, count: int) -> bool:
    draft = series(seed, count, None)
    frames = decode(draft)
    chosen = [frames[n * count // READ + count // (2 * READ)] for n in range(READ)]
    for frame in chosen:
        find_text(frame, SIDE)  # loads the networks
    looking, decoding, full = 0.0, 0.0, 0.0
    for _ in range(ROUNDS):
        decoding += core_s(lambda: decode(draft)) / ROUNDS
        full += core_s(lambda: [find_text(f, SIDE) for f in chosen]) / ROUNDS
        looking += core_s(lambda: look([draft], SIDE)) / ROUNDS
    looking -= decoding
    altered = sum(any(i.boxes) for i in draft.instances)
    print(f"series: {count} text-free {looking:.2f} core-s; {READ} in full {full:.2f}; decoding {decoding:.2f}")
    print(f"series: cost {looking / full:.2f} of the {READ}, goal 1.00; {altered} slices altered", flush=True)
    within = looking <= full and not altered
    draft = series(seed, count, count // 3)
    looking = core_s(lambda: look([draft], SIDE)) - decoding
    hit = [n for n, i in enumerate(draft.instances) if any(i.boxes)] == [count // 3]
    print(f"series: text in one slice {looking:.2f} core-s; {'found there alone' if hit else 'MISSED'}", flush=True)
    return within and hit


def report_film(seed: int, texts: tuple[str, ...]) -> bool:
    """One film through `look`: decoding, reading, blanking and looking again."""
    grey = cv2.resize(film(seed, 2, FILM // 2)[0], (FILM, FILM), interpolation=cv2.INTER_CUBIC)
    picture = np.clip(grey + np.random.default_rng(seed).normal(0, 0.004, grey.shape), 0, 1)
    for n, text in enumerate(texts):
        burn(picture, text, 36, 40 + 60 * n, 40)
    draft = open_draft({"film": encoded([picture], "explicit 12", "CR")}, "patient")
    decoding = core_s(lambda: list(pixels.frames(draft.instances[0].ds)))
    looking = core_s(lambda: look([draft], SIDE))
    boxes = len(draft.instances[0].boxes[0])
    print(
        f"film {FILM} x {FILM}, {len(texts)} texts: {looking:.2f} core-s, goal {FILM_CORE_S}; {boxes} boxes", flush=True
    )
    print(f"film: of these decoding {decoding:.2f}", flush=True)
    return looking <= FILM_CORE_S and (boxes >= len(texts))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=7002)
    parser.add_argument("--slices", type=int, default=512)
    given = parser.parse_args()
    find_text(np.eye(64), SIDE)  # loads the detector
    met = [report_film(given.seed, ()), report_film(given.seed, ("DOE, JANE", "ID 8841273", "1983-04-12"))]
    met.append(report_series(given.seed, given.slices))
    sys.exit(0 if all(met) else 1)


if __name__ == "__main__":
    main()
