from pathlib import Path

import numpy as np
import pytest

from medgan.cohort.arrays import PARTS
from medgan.cohort.assemble import Rows, assemble, folded, in_order, joined_keys
from medgan.cohort.duplicates import units
from medgan.cohort.imported import read_npz
from medgan.cohort.split import side
from medgan.errors import UsageError

SHARES = (0.5, 0.1, 0.3, 0.1)


def blobs(count: int, side: int = 32, seed: int = 0) -> np.ndarray:
    """Smooth pictures that differ: uint8 [N, 1, 1, side, side]."""
    chance = np.random.default_rng(seed)
    coarse = chance.random((count, 5, 5))
    return (np.kron(coarse, np.ones((1, 7, 7)))[:, None, None, :side, :side] * 255).astype(np.uint8)


def test_the_split_follows_its_shares_and_the_key() -> None:
    keys = [f"{i:032x}" for i in range(4000)]
    sides = [side(b"secret", key, SHARES) for key in keys]
    assert np.allclose(np.bincount(sides) / 4000, SHARES, atol=0.03)
    assert sides == [side(b"secret", key, SHARES) for key in keys]
    assert sides != [side(b"another", key, SHARES) for key in keys]


def test_a_share_of_nought_gets_nobody() -> None:
    assert {side(b"s", str(i), (0.5, 0.0, 0.5, 0.0)) for i in range(500)} == {0, 2}


def test_small_classes_are_folded_by_patients_not_pictures() -> None:
    labels = ["a", "a", "b", "b", "b", "", "c"]
    patients = ["1", "2", "3", "3", "3", "4", "5"]
    assert folded(labels, patients, 2) == ["a", "a", "other", "other", "other", "unlabelled", "other"]
    assert in_order(["unlabelled", "z", "other", "a"]) == ("a", "z", "other", "unlabelled")


def test_copies_and_lightly_changed_pictures_are_one_unit() -> None:
    pictures = blobs(20)
    chance = np.random.default_rng(1)
    noisy = np.clip(pictures[3].astype(int) + chance.integers(-6, 7, pictures[3].shape), 0, 255).astype(np.uint8)
    dim = (pictures[5] * 0.8 + 10).astype(np.uint8)
    found = units(np.concatenate([pictures, pictures[:1], noisy[None], dim[None]]))
    assert found[:20].tolist() == list(range(20))
    assert found[20:].tolist() == [0, 3, 5]


def test_pictures_of_one_hash_that_look_different_are_two_units() -> None:
    ramp = np.linspace(0, 1, 32)[None].repeat(32, 0)
    pictures = np.stack([ramp, ramp**0.4])[:, None, None] * 255
    assert units(pictures.astype(np.uint8)).tolist() == [0, 1]


def test_many_copies_are_one_unit() -> None:
    assert set(units(np.repeat(blobs(2), 700, axis=0)).tolist()) == {0, 700}


def test_joined_pictures_land_on_one_side() -> None:
    pictures = np.concatenate([blobs(30), blobs(30)])
    keys = [f"{i:032x}" for i in range(60)]
    rows = Rows(pictures, ["x"] * 60, keys)
    cohort = assemble(rows, unit="image", min_class_patients=1, side=lambda k: side(b"s", k, SHARES), attributes={})
    assert (cohort.split[:30] == cohort.split[30:]).all()
    assert cohort.attributes["joined"] == 30 and len(set(cohort.patient_key)) == 30


def test_pictures_of_one_patient_stay_together_when_joined() -> None:
    pictures = np.concatenate([blobs(3), blobs(1)])  # 0 and 3 are copies; 3 and 2 are of one patient
    assert joined_keys(pictures, ["d", "b", "c", "c"]) == ["c", "b", "c", "c"]


def test_with_patient_ids_nothing_is_joined() -> None:
    rows = Rows(np.concatenate([blobs(3), blobs(3)]), [""] * 6, list("abcdef"))
    cohort = assemble(rows, unit="patient", min_class_patients=1, side=lambda _: 0, attributes={})
    assert cohort.patient_key.tolist() == list("abcdef") and cohort.classes == ("unlabelled",)
    assert PARTS[0] == "train" and not cohort.split.any()


def test_an_npz_in_parts_is_read_whole(tmp_path: Path) -> None:
    file = tmp_path / "c.npz"
    picture = np.arange(4 * 28 * 28, dtype=np.uint8).reshape(4, 28, 28)
    np.savez(file, train_images=picture[:3], train_labels=np.array([[0], [1], [1]]), val_images=picture[3:],
             val_labels=np.array([[0]]))  # fmt: skip
    rows, unit = read_npz(file, lambda one: one)
    assert np.array_equal(rows.images[:, 0, 0], picture) and rows.labels == ["0", "1", "1", "0"]
    assert unit == "image" and len(set(rows.patient_keys)) == 4


NPZ = {
    "volumes": ({"images": np.zeros((3, 4, 8, 8), np.uint16)}, (3, 1, 4, 8, 8), "uint16"),
    "a last axis of one": ({"images": np.zeros((3, 8, 8, 1), np.uint8)}, (3, 1, 1, 8, 8), "uint8"),
    "floats": ({"images": np.linspace(0, 1, 192).reshape(3, 8, 8)}, (3, 1, 1, 8, 8), "uint8"),
}


@pytest.mark.parametrize("name", NPZ)
def test_shapes_and_types_of_an_npz(tmp_path: Path, name: str) -> None:
    arrays, shape, dtype = NPZ[name]
    np.savez(tmp_path / "c.npz", patient_ids=np.array(["p", "p", "q"]), labels=np.array([1.0, 0.0, 1.0]), **arrays)
    rows, unit = read_npz(tmp_path / "c.npz", lambda one: f"key {one}")
    assert rows.images.shape == shape and rows.images.dtype == dtype
    assert unit == "patient" and rows.patient_keys == ["key p", "key p", "key q"] and rows.labels == ["1", "0", "1"]


WRONG = {
    "no images": {"pictures": np.zeros((3, 8, 8))},
    "colour": {"images": np.zeros((3, 8, 8, 3), np.uint8)},
    "too few labels": {"images": np.zeros((3, 8, 8), np.uint8), "labels": np.zeros(2)},
    "several labels": {"images": np.zeros((3, 8, 8), np.uint8), "labels": np.zeros((3, 2))},
    "objects": {"images": np.array([None, None, None])},
    "nan": {"images": np.full((3, 8, 8), np.nan)},
    "no picture": {"images": np.zeros((0, 8, 8), np.uint8)},
    "text": {"images": np.array(["a", "b"])},
}


@pytest.mark.parametrize("name", WRONG)
def test_an_npz_that_is_no_cohort_is_wrong_usage(tmp_path: Path, name: str) -> None:
    np.savez(tmp_path / "c.npz", **WRONG[name])
    with pytest.raises(UsageError, match="npz") as caught:
        read_npz(tmp_path / "c.npz", lambda one: one)
    assert str(tmp_path) not in str(caught.value)


class Touch:
    """An object that leaves a file behind when it is unpickled."""

    def __init__(self, place: Path) -> None:
        self.place = place

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.place,)


def test_a_hostile_npz_runs_nothing(tmp_path: Path) -> None:
    np.savez(tmp_path / "c.npz", images=np.zeros((1, 8, 8), np.uint8), labels=np.array([Touch(tmp_path / "ran")]))
    with pytest.raises(UsageError, match="Python objects"):
        read_npz(tmp_path / "c.npz", lambda one: one)
    assert not (tmp_path / "ran").exists()
