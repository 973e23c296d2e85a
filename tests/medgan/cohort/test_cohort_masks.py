"""Masks of a cohort: the rows of its images, in the same shards, read where they are asked for."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import zarr

from medgan.cohort.arrays import CohortArrays, read_cohort, read_part, read_rows, write_cohort
from medgan.cohort.assemble import Rows, assemble
from medgan.cohort.staged import staged_part
from medgan.errors import CorruptArtefact, UsageError
from medgan.gan.data import Batches

CPU = torch.device("cpu")
SEGMENTS = [{"label": 1, "code": "SCT:39607008", "meaning": "Lung"}]


def cohort(n: int = 40, item: tuple[int, ...] = (1, 4, 16, 16)) -> CohortArrays:
    """Image, mask and label of row i are made of i."""
    rows = np.arange(n, dtype=np.uint8)
    images = np.broadcast_to(rows[:, None, None, None, None], (n, *item)).copy()
    return CohortArrays(
        images=images,
        label=rows.astype("uint16"),
        patient_key=np.array([f"{i:032x}" for i in range(n)]),
        split=(rows % 4).astype("uint8"),
        classes=tuple(map(str, range(n))),
        attributes={"segments": SEGMENTS},
        mask=images[:, :1] % 2,
        has_mask=rows % 2,
    )


@pytest.fixture
def where(tmp_path: Path) -> Path:
    write_cohort(tmp_path / "c.zarr", cohort(), shard=16)
    return tmp_path / "c.zarr"


def same(one: CohortArrays, other: CohortArrays) -> bool:
    pairs = [(getattr(one, name), getattr(other, name)) for name in ("images", "label", "split", "mask", "has_mask")]
    return all((a is None) == (b is None) and (a is None or np.array_equal(a, b)) for a, b in pairs)


def test_masks_are_read_with_their_images_and_by_others(where: Path) -> None:
    made, index = cohort(), np.array([39, 0, 17, 17])
    assert same(read_cohort(where), made) and read_cohort(where).attributes["segments"] == SEGMENTS
    assert same(read_rows(where, index, masks=True), made.take(index))
    assert same(read_part(where, "audit", "train", masks=True), made.part("audit", "train"))
    there = zarr.open_group(where, mode="r")["mask"]
    assert there.shards == (16, 1, 4, 16, 16) and np.array_equal(there[:], made.mask)


def test_who_does_not_ask_opens_no_shard_of_masks(where: Path) -> None:
    for shard in (where / "mask" / "c").rglob("*"):
        if shard.is_file():
            shard.write_bytes(b"no shard")
    assert read_part(where, "train").mask is None and read_rows(where, np.array([1])).has_mask is None
    with pytest.raises(CorruptArtefact):
        read_part(where, "train", masks=True)


def test_a_lost_mask_is_noticed(where: Path) -> None:
    (where / "mask" / "c" / "0" / "0" / "0" / "0" / "0").unlink()
    with pytest.raises(CorruptArtefact):
        read_cohort(where)


def test_a_cohort_without_masks_has_none(tmp_path: Path) -> None:
    write_cohort(tmp_path / "c.zarr", replace(cohort(), mask=None, has_mask=None))
    assert read_part(tmp_path / "c.zarr", "train", masks=True).mask is None
    assert not (tmp_path / "c.zarr" / "mask").exists() and not (tmp_path / "c.zarr" / "has_mask").exists()


UNEQUAL = {
    "no column": replace(cohort(), has_mask=None),
    "no mask": replace(cohort(), mask=None),
    "another size": replace(cohort(), mask=cohort().mask[..., :8]),
    "another kind": replace(cohort(), mask=cohort().mask.astype("uint16")),
    "fewer": replace(cohort(), mask=cohort().mask[:8]),
}


@pytest.mark.parametrize("name", UNEQUAL)
def test_masks_that_are_not_those_of_the_images_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError):
        write_cohort(tmp_path / "c.zarr", UNEQUAL[name])
    assert not (tmp_path / "c.zarr").exists()


def test_what_is_left_out_as_a_duplicate_takes_its_mask_along() -> None:
    chance = np.random.default_rng(0)
    images = chance.integers(0, 255, (6, 1, 1, 16, 16), dtype="uint8")
    images[4] = images[1]
    masks = np.arange(6, dtype=np.uint8)[:, None, None, None, None] * np.ones((1, 1, 1, 16, 16), np.uint8)
    rows = Rows(images, [""] * 6, list("abcdef"), mask=masks, has_mask=np.array([1, 0, 1, 1, 0, 1], np.uint8))
    made = assemble(rows, unit="patient", min_class_patients=1, side=lambda key: int(key > "b"), attributes={})
    assert len(made) == 5 and made.mask[:, 0, 0, 0, 0].tolist() == [0, 1, 2, 3, 5]
    assert made.has_mask.tolist() == [1, 0, 1, 1, 1]


def test_masks_are_mapped_where_the_images_are(where: Path, tmp_path: Path) -> None:
    whole = read_part(where, "train", "fresh", masks=True)
    for room, mapped in ((0, True), (whole.images.nbytes, True), (2 * whole.images.nbytes, False)):
        with staged_part(where, "train", "fresh", folder=tmp_path, room=room, masks=True) as some:
            assert isinstance(some.mask, np.memmap) == mapped and same(some, whole)
    with staged_part(where, "train", folder=tmp_path, room=0) as some:
        assert some.mask is None


@pytest.mark.parametrize("ranks", [1, 2])
def test_batches_give_the_masks_of_their_images(ranks: int) -> None:
    made = cohort(10)
    for rank in range(ranks):
        some = Batches(made.images, made.label, 4, 3, rank, ranks, masks=made.mask)
        for seen in range(0, 24, 4):  # over the end of an epoch too
            images, labels = some.at(seen, CPU)
            masks = some.masks_at(seen, CPU)
            assert masks.dtype == torch.uint8 and masks.shape == images.shape
            assert masks[:, 0, 0, 0, 0].tolist() == (labels % 2).tolist()


def test_batches_without_masks_say_so() -> None:
    with pytest.raises(ValueError, match="no masks"):
        Batches(cohort(4).images, cohort(4).label, 2, 0).masks_at(0, CPU)
