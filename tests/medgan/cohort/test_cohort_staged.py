"""A part of a cohort in memory or in a file: the same images, no name left, little memory on the way."""

import os
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import torch

from medgan.cohort import staged
from medgan.cohort.arrays import PARTS, CohortArrays, read_part, write_cohort
from medgan.cohort.staged import available, staged_part
from medgan.errors import CorruptArtefact
from medgan.gan.data import Batches

CPU = torch.device("cpu")


def cohort_at(path: Path, n: int, dtype: str = "uint8", side: int = 16) -> Path:
    chance = np.random.default_rng(n)
    made = CohortArrays(
        images=chance.integers(0, np.iinfo(dtype).max, (n, 1, 1, side, side), dtype=dtype, endpoint=True),
        label=chance.integers(0, 2, n).astype("uint16"),
        patient_key=np.array([f"{i:032x}" for i in range(n)]),
        split=(np.arange(n) // 3 % len(PARTS)).astype("uint8"),
        classes=("normal", "nodule"),
        attributes={"group": "XR-CHEST-2d-16"},
    )
    write_cohort(path, made, shard=16)
    return path


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
@pytest.mark.parametrize("block", [1, 3000, 1 << 20])
def test_what_is_mapped_equals_what_is_in_memory(
    tmp_path: Path, dtype: str, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(staged, "BLOCK", block)
    where = cohort_at(tmp_path / "cohort.zarr", 100, dtype)
    whole = read_part(where, "train", "audit")
    with staged_part(where, "train", "audit", folder=tmp_path, room=0) as mapped:
        assert isinstance(mapped.images, np.memmap) and mapped.images.dtype == whole.images.dtype
        for name in ("images", "label", "patient_key", "split"):
            np.testing.assert_array_equal(getattr(mapped, name), getattr(whole, name))
        assert (mapped.classes, mapped.attributes) == (whole.classes, whole.attributes)
        one, other = (Batches(some.images, some.label, 8, 3) for some in (whole, mapped))
        for seen in range(0, 96, 8):
            assert torch.equal(one.at(seen, CPU)[0], other.at(seen, CPU)[0])


def test_what_fits_is_held_in_memory_and_what_does_not_is_not(tmp_path: Path) -> None:
    where = cohort_at(tmp_path / "cohort.zarr", 40)
    size = read_part(where, "train").images.nbytes
    for room, mapped in ((size, False), (size - 1, True), (None, False)):
        with staged_part(where, "train", folder=tmp_path, room=room) as some:
            assert isinstance(some.images, np.memmap) == mapped


def test_the_file_has_no_name_so_that_nothing_is_left_of_it(tmp_path: Path) -> None:
    where, folder = cohort_at(tmp_path / "cohort.zarr", 40), tmp_path / "work"
    with staged_part(where, "train", folder=folder, room=0) as some:
        assert isinstance(some.images, np.memmap) and list(folder.iterdir()) == []


def test_on_its_way_to_the_file_only_a_block_is_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    where = cohort_at(tmp_path / "cohort.zarr", 2000, side=64)
    size = read_part(where, "train").images.nbytes
    monkeypatch.setattr(staged, "BLOCK", size // 20)
    tracemalloc.start()
    try:
        with staged_part(where, "train", folder=tmp_path, room=0):
            peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < size / 2


@pytest.mark.parametrize("room", [0, 1 << 30])
def test_a_damaged_shard_is_found_either_way(tmp_path: Path, room: int) -> None:
    where = cohort_at(tmp_path / "cohort.zarr", 40)
    shard = sorted((where / "images" / "c").rglob("0"))[-1]
    data = bytearray(shard.read_bytes())
    data[10] ^= 1
    shard.write_bytes(data)
    with pytest.raises(CorruptArtefact), staged_part(where, *PARTS, folder=tmp_path, room=room):
        pass


def test_a_part_without_images_is_empty(tmp_path: Path) -> None:
    where = cohort_at(tmp_path / "cohort.zarr", 3)
    with staged_part(where, "audit", folder=tmp_path, room=0) as none:
        assert len(none) == 0 and none.images.shape[1:] == (1, 1, 16, 16)


def test_what_is_available_is_some_and_no_more_than_there_is() -> None:
    assert 0 < available() <= os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
