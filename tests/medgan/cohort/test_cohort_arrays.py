from pathlib import Path

import numpy as np
import pytest

from medgan.cohort.arrays import CohortArrays, read_cohort, stored, write_cohort
from medgan.errors import CorruptArtefact


def cohort(n: int, dtype: str = "uint8", item: tuple[int, ...] = (1, 1, 16, 16)) -> CohortArrays:
    chance = np.random.default_rng(n)
    return CohortArrays(
        images=chance.integers(0, np.iinfo(dtype).max, (n, *item), dtype=dtype, endpoint=True),
        label=chance.integers(0, 2, n).astype("uint16"),
        patient_key=np.array([f"{i:032x}" for i in range(n)]),
        split=(np.arange(n) % 4).astype("uint8"),
        classes=("normal", "nodule"),
        attributes={"group": "XR-CHEST-2d-16"},
    )


@pytest.mark.parametrize("n", [1, 7, 8, 9, 40])
@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_what_is_written_is_read(tmp_path: Path, n: int, dtype: str) -> None:
    made = cohort(n, dtype)
    write_cohort(tmp_path / "c.zarr", made, shard=16)
    read = read_cohort(tmp_path / "c.zarr")
    for name in ("images", "label", "patient_key", "split"):
        assert np.array_equal(getattr(read, name), getattr(made, name)), name
    assert read.classes == made.classes and read.attributes == made.attributes


def test_volumes_and_black_images_survive(tmp_path: Path) -> None:
    made = cohort(5, item=(1, 4, 8, 8))
    made.images[:] = 0
    write_cohort(tmp_path / "c.zarr", made, shard=8)
    assert not read_cohort(tmp_path / "c.zarr").images.any()


def test_the_same_cohort_is_the_same_bytes(tmp_path: Path) -> None:
    files = []
    for name in ("a", "b"):
        write_cohort(tmp_path / name, cohort(40), shard=16)
        files.append(
            {p.relative_to(tmp_path / name): p.read_bytes() for p in (tmp_path / name).rglob("*") if p.is_file()}
        )
    assert files[0] == files[1]


def shards(path: Path) -> list[Path]:
    return sorted(p for p in (path / "images" / "c").rglob("*") if p.is_file())


def test_a_lost_shard_is_not_read_as_zeros(tmp_path: Path) -> None:
    write_cohort(tmp_path / "c.zarr", cohort(40), shard=16)
    assert len(shards(tmp_path / "c.zarr")) == 3
    shards(tmp_path / "c.zarr")[1].unlink()
    with pytest.raises(CorruptArtefact, match="shard"):
        read_cohort(tmp_path / "c.zarr")


@pytest.mark.parametrize("where", [10, -1, "middle"])
def test_a_flipped_byte_in_a_shard_is_found(tmp_path: Path, where: int | str) -> None:
    write_cohort(tmp_path / "c.zarr", cohort(40), shard=16)
    shard = shards(tmp_path / "c.zarr")[0]
    data = bytearray(shard.read_bytes())
    data[len(data) // 2 if where == "middle" else int(where)] ^= 0xFF
    shard.write_bytes(data)
    with pytest.raises(CorruptArtefact):
        read_cohort(tmp_path / "c.zarr")


def test_a_folder_that_is_no_cohort_is_told(tmp_path: Path) -> None:
    with pytest.raises(CorruptArtefact):
        read_cohort(tmp_path)


def test_stored_integers_and_floats_are_each_others_inverse() -> None:
    made = cohort(4)
    floats = made.floats()
    assert floats.dtype == np.float32 and floats.min() >= -1 and floats.max() <= 1
    assert np.array_equal(stored(floats), made.images)
    assert stored(np.array([-9.0, 9.0], np.float32)).tolist() == [0, 255]


def test_a_part_holds_only_its_own(tmp_path: Path) -> None:
    made = cohort(8)
    assert made.part("train").split.tolist() == [0, 0]
    assert len(made.part("audit", "fresh")) == 4
