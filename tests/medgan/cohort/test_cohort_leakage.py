"""The same picture under two patients is found across the split, whatever was lightly done to it; likeness is not."""

import io
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from medgan.cohort.arrays import PARTS
from medgan.cohort.assemble import Rows, assemble
from medgan.cohort.leakage import Match, matches

SIDE = 64
Change = Callable[[np.ndarray], np.ndarray]


def chests(count: int, *, seed: int = 0, alike: bool = False) -> np.ndarray:
    """Pictures that share an anatomy and differ as people do, or in texture alone: uint8 [N, 1, 1, 64, 64]."""
    chance = np.random.default_rng(seed)
    rows, columns = np.mgrid[:SIDE, :SIDE] / SIDE - 0.5
    made = []
    for _ in range(count):
        width, height, lift = chance.uniform(0.12, 0.18), chance.uniform(0.28, 0.36), chance.uniform(-0.06, 0.06)
        if alike:
            width, height, lift = 0.15, 0.32, 0.0
        lungs = sum(((columns - x) / width) ** 2 + ((rows - lift) / height) ** 2 < 1 for x in (-0.2, 0.2))
        texture = ndimage.gaussian_filter(chance.normal(size=(SIDE, SIDE)), 2) * 3
        made.append(0.65 - 0.35 * ndimage.gaussian_filter(lungs.astype(float), 1.5) + 0.12 * texture)
    return np.rint(np.clip(np.stack(made), 0, 1) * 255).astype(np.uint8)[:, None, None]


def scaled(page: np.ndarray, scale: float) -> np.ndarray:
    middle = (SIDE - 1) / 2
    return ndimage.affine_transform(page, np.eye(2) / scale, middle - middle / scale, order=1, mode="nearest")


def compressed(page: np.ndarray) -> np.ndarray:
    buffer = io.BytesIO()
    Image.fromarray(page.astype(np.uint8)).save(buffer, "JPEG", quality=40)
    return np.asarray(Image.open(buffer), float)


CHANGES: dict[str, Change] = {
    "nothing": lambda page: page,
    "one pixel aside": lambda page: np.roll(page, (1, -1), (0, 1)),
    "two pixels aside": lambda page: np.roll(page, (-2, 2), (0, 1)),
    "fainter": lambda page: page * 0.7 + 30,
    "another curve": lambda page: 255 * (page / 255) ** 0.6,
    "noise": lambda page: page + np.random.default_rng(0).normal(0, 8, page.shape),
    "cropped": lambda page: scaled(page, 1.06),
    "JPEG": compressed,
    "blurred": lambda page: ndimage.gaussian_filter(page, 1),
    "several": lambda page: compressed(np.clip(np.roll(scaled(page, 1.03), 1, 0) * 0.85 + 15, 0, 255)),
}
PICTURES = chests(200)
COPIES = 15


def changed(change: Change, count: int = COPIES) -> np.ndarray:
    """The first pictures, each changed."""
    pages = np.stack([change(page[0, 0].astype(float)) for page in PICTURES[:count]])
    return np.clip(np.rint(pages), 0, 255).astype(np.uint8)[:, None, None]


@pytest.fixture(scope="module")
def found() -> dict[int, Match]:
    """What is found in the audit, where copies of the first fifteen stand behind a hundred other pictures."""
    images = np.concatenate([PICTURES, *(changed(change) for change in CHANGES.values())])
    return {match.row: match for match in matches(images, np.where(np.arange(len(images)) < 100, 0, 2))}


@pytest.mark.parametrize("name", CHANGES)
def test_a_changed_copy_is_found(name: str, found: dict[int, Match]) -> None:
    first = len(PICTURES) + COPIES * list(CHANGES).index(name)
    right = [copy for copy in range(COPIES) if first + copy in found and found[first + copy].like == copy]
    assert len(right) >= COPIES - 1


def test_nothing_else_is_found(found: dict[int, Match]) -> None:
    assert min(found) >= len(PICTURES)
    assert all(0.85 <= match.likeness <= 1.0001 for match in found.values())


def test_pictures_of_different_people_do_not_match() -> None:
    assert not matches(PICTURES, np.repeat([0, 1, 2, 3], 50))


def test_pictures_of_one_outline_do_not_match() -> None:
    assert not matches(chests(100, alike=True), np.repeat([0, 2], 50))


def test_half_a_picture_of_another_is_no_copy() -> None:
    blends = (PICTURES[:15] // 2 + PICTURES[60:75] // 2).astype(np.uint8)
    assert not matches(np.concatenate([PICTURES, blends]), np.repeat([0, 2], [200, 15]))


def test_within_a_part_nothing_is_looked_for() -> None:
    assert not matches(np.concatenate([PICTURES[:9], PICTURES[:9]]), np.zeros(18, np.uint8))


def test_two_pictures_are_enough() -> None:
    twice = np.concatenate([PICTURES[:1], PICTURES[:1]])
    assert [(m.row, m.like) for m in matches(twice, np.array([2, 0]))] == [(0, 1)]
    assert not matches(PICTURES[:2], np.array([0, 2]))
    assert not matches(PICTURES[:0], np.zeros(0, np.uint8))


def test_blank_pictures_duplicate_nothing() -> None:
    speck = np.full_like(PICTURES[:20], 77)
    speck[..., 30:34, 30:34] = 78
    images = np.concatenate([PICTURES[:20], np.zeros_like(PICTURES[:20]), speck])
    assert not matches(images, np.tile([0, 2], 30))
    faint = PICTURES[:20].astype(np.uint16)  # of 65,535
    assert not matches(np.concatenate([faint, faint]), np.repeat([0, 2], 20))


def test_a_copy_of_sixteen_bits_and_a_volume_are_found() -> None:
    deep = PICTURES[:60].astype(np.uint16) * 257
    volumes = PICTURES[:, :, 0].reshape(20, 1, 10, SIDE, SIDE)
    for images in (np.concatenate([deep, deep[:9]]), np.concatenate([volumes, volumes[:9]])):
        part = np.where(np.arange(len(images)) < len(images) // 2, 0, 3)
        found = [(match.row, match.like) for match in matches(images, part)]
        assert found == [(len(images) - 9 + row, row) for row in range(9)]


def test_volumes_that_share_some_slices_do_not_match() -> None:
    volumes = PICTURES[:180, :, 0].reshape(20, 1, 9, SIDE, SIDE)
    other = volumes[::-1].copy()
    other[:, :, :3] = volumes[:, :, :3]
    assert not matches(np.concatenate([volumes, other]), np.repeat([0, 2], 20))


def test_the_order_of_rows_does_not_decide() -> None:
    images = np.concatenate([PICTURES[:60], changed(compressed)])
    part = np.where(np.arange(len(images)) < 30, 0, 2)
    order = np.random.default_rng(1).permutation(len(images))
    turned = {(int(order[match.row]), int(order[match.like])) for match in matches(images[order], part[order])}
    assert turned == {(match.row, match.like) for match in matches(images, part)}


def test_copies_across_the_split_are_left_out_of_the_later_part() -> None:
    images = np.concatenate([PICTURES[:60], changed(compressed, 5)])
    keys = [f"{number:032x}" for number in range(65)]
    part = np.where(np.arange(65) < 30, 0, 2)
    sides = dict(zip(keys, part.tolist(), strict=True))
    labels = ["seen"] * 60 + ["copy"] * 5
    made = assemble(
        Rows(images, labels, keys), unit="patient", min_class_patients=1, side=sides.__getitem__, attributes={}
    )
    assert made.patient_key.tolist() == keys[:60] and made.split.tolist() == part[:60].tolist()
    assert np.array_equal(made.images, images[:60]) and made.classes == ("seen",)
    assert made.attributes["left_out_near_duplicates"] == 5
    told = made.attributes["near_duplicates"]
    assert {(row["left_out"], row["like"], row["part"]) for row in told} == {
        (keys[60 + number], keys[number], PARTS[2]) for number in range(5)
    }
    assert all(made.patient_key[row["row"]] == row["like"] for row in told)


def test_the_row_that_stayed_is_counted_without_those_that_left() -> None:
    copy, other = PICTURES[:1], PICTURES[1:3]
    images = np.concatenate([copy, other, copy])  # 0 is left out of the audit for 3 in train
    keys, sides = list("abcd"), {"a": 2, "b": 2, "c": 0, "d": 0}
    made = assemble(
        Rows(images, [""] * 4, keys), unit="patient", min_class_patients=1, side=sides.__getitem__, attributes={}
    )
    assert made.patient_key.tolist() == list("bcd") and made.split.tolist() == [2, 0, 0]
    assert [(row["left_out"], row["row"]) for row in made.attributes["near_duplicates"]] == [("a", 2)]
