"""Burned-in text: found in frames of several sizes, each frame for itself, and not in anatomy-like shapes."""

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

from medgan.deid.pixels.detect import find_text
from medgan.deid.pixels.sessions import Gray


def film(side: int, seed: int) -> Gray:
    """Smooth blobs with noise, as an x-ray is."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:side, 0:side] / side
    picture = 60 + 90 * np.exp(-((x - 0.5) ** 2 + (y - 0.55) ** 2) / 0.08)
    for _ in range(6):
        cx, cy, r = rng.uniform(0.2, 0.8), rng.uniform(0.2, 0.8), rng.uniform(0.01, 0.04)
        picture -= 40 * np.exp(-((x - cx) ** 2 + (y - cy) ** 2) / r)
    return np.clip(picture + rng.normal(0, 3, (side, side)), 0, 255).astype(np.uint8)


def burned(picture: Gray, text: str, height: int, place: tuple[int, int], value: int) -> Gray:
    image = Image.fromarray(picture)
    ImageDraw.Draw(image).text(place, text, font=ImageFont.load_default(size=height), fill=value)
    return np.array(image)


@pytest.mark.parametrize(
    ("side", "height", "count"),
    [
        pytest.param(256, 8, 6, id="small letters"),
        pytest.param(256, 24, 6, id="large letters"),
        pytest.param(64, 9, 16, id="tiny frames"),
    ],
)
def test_text_is_found_in_every_frame_that_has_it_and_where_it_is(side: int, height: int, count: int) -> None:
    clean = [film(side, seed) for seed in range(count)]
    words = "DOE J" if side < 100 else "DOE JANE 1983"
    marked = [
        burned(f, words, height, (4, 4 if n % 2 else side - height - 8), 255) if n % 3 else f
        for n, f in enumerate(clean)
    ]
    for n, boxes in enumerate(find_text(frame, 1280) for frame in marked):
        if not n % 3:
            continue
        changed = marked[n] != clean[n]
        covered = np.zeros_like(changed)
        for box in boxes:
            covered[box.top : box.bottom, box.left : box.right] = True
        assert covered[changed].mean() > 0.9, f"frame {n}"


def test_text_on_its_side_is_found() -> None:
    turned = np.rot90(burned(film(256, 1), "SMITH 19830412", 16, (10, 10), 255)).copy()
    boxes = find_text(turned, 1280)
    assert any(box.bottom - box.top > 60 for box in boxes)


def head() -> Gray:
    y, x = np.mgrid[0:256, 0:256]
    picture = np.where(np.hypot(x - 128, y - 128) < 90, 120, 0).astype(np.uint8)
    picture[np.abs(np.hypot(x - 128, y - 128) - 90) < 6] = 255
    return picture


def test_a_large_round_shape_is_not_a_letter() -> None:
    assert find_text(head(), 1280) == []


def test_a_shape_that_is_no_text_hides_none_of_the_text_in_it() -> None:
    boxes = find_text(burned(head(), "DOE JANE", 12, (95, 120), 160), 1280)
    assert boxes and all(box.bottom - box.top < 60 for box in boxes)
    assert any(box.left <= 95 and box.right >= 150 and box.top <= 122 and box.bottom >= 134 for box in boxes)


def covered(plain: Gray, marked: Gray) -> float:
    """How much of what was burned in lies in boxes."""
    seen = np.zeros(plain.shape, bool)
    for box in find_text(marked, 1280):
        seen[box.top : box.bottom, box.left : box.right] = True
    return float(seen[marked != plain].mean())


@pytest.mark.parametrize("turns", [0, 1, 2, 3], ids=lambda turns: f"{90 * turns} degrees")
def test_a_text_as_large_as_anatomy_is_found_whichever_way_it_lies(turns: int) -> None:
    plain = film(128, 3)
    marked = burned(plain, "1983-04-12", 20, (8, 50), 255)
    assert covered(np.rot90(plain, turns).copy(), np.rot90(marked, turns).copy()) > 0.9


@pytest.mark.parametrize("letter", ["R", "M"])
def test_a_letter_by_itself_says_nothing_and_stays_but_goes_with_a_text(letter: str) -> None:
    plain = film(256, 4)
    alone = burned(plain, letter, 14, (20, 20), 255)
    assert find_text(alone, 1280) == []
    beside = burned(alone, "KELLER", 14, (62, 20), 255)
    assert covered(plain, beside) > 0.9


@pytest.mark.parametrize(("step", "found"), [(1, False), (3, True)], ids=["one grey value", "three"])
def test_what_is_one_grey_value_from_its_ground_shows_to_nobody_and_stays(step: int, found: bool) -> None:
    frame = np.zeros((256, 256), np.uint8)
    frame[150:, 150:] = 200
    frame = burned(frame, "DOE JANE 1983", 20, (10, 30), step)
    assert bool(find_text(frame, 1280)) is found
