"""The order of training."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from medgan.gan.data import Batches

CPU = torch.device("cpu")


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
