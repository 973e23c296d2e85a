"""The order of training."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from medgan.gan.data import Batches, rows_of

CPU = torch.device("cpu")
GOLDEN = [[2, 0, 4], [1, 3, 3], [0, 2, 1], [4, 0, 2]]  # of five images in batches of three, seed 7


def batches(count: int = 10, batch: int = 4, seed: int = 0, dtype: str = "uint8") -> Batches:
    """Image i is filled with i and labelled i."""
    labels = np.arange(count, dtype=np.uint16)
    return Batches(
        np.broadcast_to(labels[:, None, None, None, None], (count, 1, 1, 2, 2)).astype(dtype), labels, batch, seed
    )


def test_every_epoch_shows_every_image_once_in_another_order() -> None:
    some = batches()
    seen = np.concatenate([some.at(start, CPU)[1].numpy() for start in range(0, 20, 4)])
    assert sorted(seen[:10]) == sorted(seen[10:]) == list(range(10))
    assert list(seen[:10]) != list(seen[10:])


def test_a_run_that_begins_late_gets_the_batch_it_would_have_got() -> None:
    whole = batches()
    for start in range(0, 40, 4):
        late = whole.at(start, CPU)
        assert torch.equal(batches().at(start, CPU)[1], late[1])


def test_a_cohort_smaller_than_a_batch_is_repeated() -> None:
    assert sorted(batches(count=3, batch=6).at(0, CPU)[1].tolist()) == [0, 0, 1, 1, 2, 2]


def test_labels_stay_with_their_images() -> None:
    images, labels = batches().at(4, CPU)
    stored = (images[:, 0, 0, 0, 0] + 1) * 127.5
    assert stored.round().long().tolist() == labels.tolist()


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_the_stored_range_becomes_minus_one_to_one(dtype: str) -> None:
    ends = np.array([0, np.iinfo(dtype).max], dtype).reshape(2, 1, 1, 1, 1)
    images, _ = Batches(ends, np.zeros(2), 2, 0).at(0, CPU)
    assert sorted(images.flatten().tolist()) == [-1.0, 1.0]


@pytest.mark.parametrize("ranks", [1, 2, 3, 5])
@pytest.mark.parametrize("seen", [0, 4, 8, 12, 36])
def test_ranks_read_disjoint_parts_of_what_one_alone_would_read(ranks: int, seen: int) -> None:
    whole = batches().at(seen, CPU)[1].tolist()
    parts = []
    for rank in range(ranks):
        some = batches()
        some.rank, some.ranks = rank, ranks
        images, labels = some.at(seen, CPU)
        assert ((images[:, 0, 0, 0, 0] + 1) * 127.5).round().long().tolist() == labels.tolist()
        parts += labels.tolist()
    assert parts == whole


def test_the_order_is_that_of_earlier_checkpoints() -> None:
    some = batches(count=5, batch=3, seed=7)
    assert [some.index(seen).tolist() for seen in (0, 3, 6, 9)] == GOLDEN


def test_images_that_lie_on_disk_are_the_same(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    held = rng.integers(0, 256, (30, 1, 1, 4, 4)).astype(np.uint8)
    mapped = np.memmap(tmp_path / "images", np.uint8, "w+", shape=held.shape)
    mapped[:] = held
    labels = np.arange(30)
    one, other = Batches(held, labels, 8, 3), Batches(mapped, labels, 8, 3)
    for seen in range(0, 64, 8):
        assert torch.equal(one.at(seen, CPU)[0], other.at(seen, CPU)[0])


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_rows_kept_on_a_device_keep_their_upper_half(dtype: str) -> None:
    stored = np.arange(np.iinfo(dtype).max + 1, dtype=dtype).reshape(-1, 2)
    index = np.array([len(stored) - 1, 0, len(stored) // 2])
    found = rows_of(torch.from_numpy(stored), torch.from_numpy(index))
    assert found.to(torch.float32).tolist() == stored[index].astype(float).tolist()
