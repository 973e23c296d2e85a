"""Seeds to images."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from medgan.gan.networks import AnyGenerator, Design, build_generator
from medgan.gan.sample import grid, sample

LABELS = np.arange(40) % 2


@pytest.fixture(scope="module")
def generator() -> AnyGenerator:
    rng = torch.Generator().manual_seed(0)
    network = build_generator(Design((1, 1, 16, 16), 2, widths=(16, 8), head=2), rng)
    for parameter in network.parameters():
        parameter.data += 0.05 * torch.randn(parameter.shape, generator=rng)
    return network.eval()


def test_images_lie_in_range_and_have_the_shape_of_the_cohort(generator: AnyGenerator) -> None:
    images = sample(generator, LABELS, seed=1)
    assert images.shape == (40, 1, 1, 16, 16) and images.dtype == np.float32
    assert images.min() >= -1 and images.max() <= 1 and images.std() > 0.1


@pytest.mark.parametrize("cuts", [(1,), (16,), (13, 29), (17, 18, 39)])
def test_a_cohort_made_in_parts_has_the_same_bits(generator: AnyGenerator, cuts: tuple[int, ...]) -> None:
    edges = [0, *cuts, 40]
    parts = [sample(generator, LABELS[a:b], seed=1, first=a) for a, b in zip(edges, edges[1:], strict=False)]
    assert np.array_equal(np.concatenate(parts), sample(generator, LABELS, seed=1))


def test_an_image_does_not_depend_on_the_labels_of_others(generator: AnyGenerator) -> None:
    other = LABELS.copy()
    other[7] = 1 - other[7]
    changed = (sample(generator, other, seed=1) != sample(generator, LABELS, seed=1)).any(axis=(1, 2, 3, 4))
    assert np.flatnonzero(changed).tolist() == [7]


def test_another_seed_gives_other_images(generator: AnyGenerator) -> None:
    assert not np.array_equal(sample(generator, LABELS, seed=1), sample(generator, LABELS, seed=2))
    assert np.isfinite(sample(generator, LABELS[:1], seed=-1)).all()


def test_truncation_brings_images_together(generator: AnyGenerator) -> None:
    zeros = np.zeros(32, np.int64)
    wide, narrow = (sample(generator, zeros, seed=1, truncation=t).std(axis=0).mean() for t in (1.0, 0.3))
    assert narrow < 0.6 * wide


def test_no_label_gives_no_image(generator: AnyGenerator) -> None:
    assert sample(generator, np.zeros(0, np.int64), seed=1).shape == (0, 1, 1, 16, 16)


def test_a_grid_shows_the_middle_slice_of_volumes() -> None:
    volumes = np.full((3, 1, 5, 4, 4), -1.0, np.float32)
    volumes[:, :, 2] = 1.0
    sheet = grid(volumes, 2)
    assert sheet.shape == (12, 12)
    assert sheet[:4, :4].min() == 255 and sheet[6:, 6:].max() == 0
