import json
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tensorstore
import zarr
from zarr.codecs import BloscCodec, Crc32cCodec

from medgan import digest as digests
from medgan.cohort.arrays import CohortArrays, read_cohort, read_owners, read_part, read_rows, stored, write_cohort
from medgan.errors import CorruptArtefact, UsageError

COLUMNS = ("images", "label", "patient_key", "split")


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


def write_first_kind(path: Path, made: CohortArrays, shard: int = 16) -> None:
    """As cohorts were written before: by zarr-python, plain columns, digests of decoded images."""
    with zarr.config.set({"array.write_empty_chunks": True}):
        group = zarr.create_group(path, attributes={**made.attributes, "classes": list(made.classes), "parts": ["a"]})
        images = group.create_array(
            "images",
            shape=made.images.shape,
            dtype=made.images.dtype,
            chunks=(8, *made.images.shape[1:]),
            shards=(shard, *made.images.shape[1:]),
            compressors=[BloscCodec(cname="zstd", clevel=3, shuffle="bitshuffle"), Crc32cCodec()],
        )
        rows = []
        for start in range(0, len(made), shard):
            block = made.images[start : start + shard]
            images[start : start + len(block)] = block
            rows.append({"start": start, "n": len(block), "sha256": digests.sha256(block.tobytes())})
        keys = np.array([list(bytes.fromhex(key)) for key in made.patient_key], np.uint8)
        for name, column in (("label", made.label), ("patient_key", keys), ("split", made.split)):
            chunks = (max(1, len(made)), *column.shape[1:])
            group.create_array(name, data=column, chunks=chunks, compressors=[BloscCodec(cname="zstd"), Crc32cCodec()])
    (path / "shards.json").write_text(json.dumps(rows))


def write_in_shards_of_16(path: Path, made: CohortArrays) -> None:
    write_cohort(path, made, shard=16)


WRITERS = pytest.mark.parametrize("write", [write_in_shards_of_16, write_first_kind], ids=["now", "first kind"])
Write = Callable[[Path, CohortArrays], None]


def same(read: CohortArrays, made: CohortArrays) -> bool:
    assert read.classes == made.classes and read.attributes == made.attributes
    assert read.images.dtype == made.images.dtype
    return all(np.array_equal(getattr(read, name), getattr(made, name)) for name in COLUMNS)


@WRITERS
@pytest.mark.parametrize("n", [1, 7, 8, 9, 40])
@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_what_is_written_is_read(tmp_path: Path, n: int, dtype: str, write: Write) -> None:
    made = cohort(n, dtype)
    write(tmp_path / "c.zarr", made)
    assert same(read_cohort(tmp_path / "c.zarr"), made)
    assert read_owners(tmp_path / "c.zarr") == list(zip(made.patient_key.tolist(), made.split.tolist(), strict=True))


@pytest.mark.parametrize("shard", [1, 7, 8, 20, 1000])
def test_any_number_of_images_a_shard_lines_up_with_the_chunks(tmp_path: Path, shard: int) -> None:
    write_cohort(tmp_path / "c.zarr", cohort(40), shard=shard)
    assert same(read_cohort(tmp_path / "c.zarr"), cohort(40))
    assert len(shards(tmp_path / "c.zarr")) == {1: 5, 7: 5, 8: 5, 20: 2, 1000: 1}[shard]


def test_other_readers_of_zarr_read_the_same(tmp_path: Path) -> None:
    made = cohort(40, "uint16")
    write_cohort(tmp_path / "c.zarr", made, shard=16)
    group = zarr.open_group(tmp_path / "c.zarr", mode="r")
    assert group.attrs["group"] == "XR-CHEST-2d-16"
    for name in ("images", "label", "split"):
        spec = {"driver": "zarr3", "kvstore": {"driver": "file", "path": str(tmp_path / "c.zarr" / name)}}
        assert np.array_equal(np.asarray(group[name][...]), getattr(made, name)), name  # type: ignore[index]
        assert np.array_equal(tensorstore.open(spec, read=True).result().read().result(), getattr(made, name)), name


def test_volumes_and_black_images_survive(tmp_path: Path) -> None:
    made = cohort(5, item=(1, 4, 8, 8))
    made.images[:] = 0
    write_cohort(tmp_path / "c.zarr", made, shard=8)
    assert not read_cohort(tmp_path / "c.zarr").images.any()


def test_words_with_a_scale_and_offset_keep_them(tmp_path: Path) -> None:
    about = {"values": "HU", "scale": 1400 / 65535, "offset": -1000.0}
    made = replace(cohort(9, "uint16"), attributes=about)
    write_cohort(tmp_path / "c.zarr", made)
    read = read_cohort(tmp_path / "c.zarr")
    assert same(read, made) and read.floats().max() <= 1
    assert np.array_equal(stored(read.floats(), "uint16"), made.images)


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


def lose(path: Path) -> None:
    shards(path)[1].unlink()


def lose_all(path: Path) -> None:
    shutil.rmtree(path / "images" / "c")


def lose_its_description(path: Path) -> None:
    (path / "images" / "zarr.json").unlink()


def lose_the_keys(path: Path) -> None:
    shutil.rmtree(path / "patient_key" / "c")


def lose_the_parts(path: Path) -> None:
    shutil.rmtree(path / "split" / "c")


def swap(path: Path) -> None:
    first, second = shards(path)[:2]
    data = first.read_bytes()
    first.write_bytes(second.read_bytes())
    second.write_bytes(data)


def cut(path: Path) -> None:
    data = shards(path)[0].read_bytes()
    shards(path)[0].write_bytes(data[:-20])


def empty(path: Path) -> None:
    shards(path)[0].write_bytes(b"")


def add(path: Path) -> None:
    target = Path(str(shards(path)[0]).replace("/c/0/", "/c/3/"))
    target.parent.mkdir(parents=True)
    shutil.copy(shards(path)[0], target)


def lose_the_manifest(path: Path) -> None:
    (path / "shards.json").unlink()


def empty_the_manifest(path: Path) -> None:
    (path / "shards.json").write_text("[]")


def shorten_the_manifest(path: Path) -> None:
    listed = json.loads((path / "shards.json").read_text())
    if isinstance(listed, list):
        listed.pop()
    else:
        listed["objects"].pop("images/c/2/0/0/0/0")
    (path / "shards.json").write_text(json.dumps(listed))


def lose_the_root(path: Path) -> None:
    (path / "zarr.json").unlink()


def shorten_the_array(path: Path) -> None:
    document = json.loads((path / "images" / "zarr.json").read_text())
    document["shape"][0] = 32
    (path / "images" / "zarr.json").write_text(json.dumps(document))


def take_it_for_the_first_kind(path: Path) -> None:
    document = json.loads((path / "zarr.json").read_text())
    document["attributes"].pop("manifest", None)
    (path / "zarr.json").write_text(json.dumps(document))
    (path / "shards.json").write_text("{}")


def forget_the_classes(path: Path) -> None:
    document = json.loads((path / "zarr.json").read_text())
    document["attributes"].pop("classes")
    (path / "zarr.json").write_text(json.dumps(document))


HARMS = [
    *(lose, lose_all, lose_its_description, lose_the_keys, lose_the_parts, swap, cut, empty, add, lose_the_manifest),
    *(empty_the_manifest, shorten_the_manifest, lose_the_root, shorten_the_array, take_it_for_the_first_kind),
    forget_the_classes,
]


@WRITERS
@pytest.mark.parametrize("harm", HARMS, ids=lambda harm: harm.__name__)
def test_what_is_not_whole_is_not_read(tmp_path: Path, harm: Callable[[Path], None], write: Write) -> None:
    write(tmp_path / "c.zarr", cohort(40))
    assert len(shards(tmp_path / "c.zarr")) == 3
    harm(tmp_path / "c.zarr")
    with pytest.raises(CorruptArtefact) as told:
        read_cohort(tmp_path / "c.zarr")
    assert str(tmp_path) not in str(told.value)
    with pytest.raises(CorruptArtefact):
        read_part(tmp_path / "c.zarr", "train")


@WRITERS
@pytest.mark.parametrize("where", [10, -1, "middle"])
def test_a_flipped_byte_in_a_shard_is_found(tmp_path: Path, where: int | str, write: Write) -> None:
    write(tmp_path / "c.zarr", cohort(40))
    shard = shards(tmp_path / "c.zarr")[0]
    data = bytearray(shard.read_bytes())
    data[len(data) // 2 if where == "middle" else int(where)] ^= 0xFF
    shard.write_bytes(data)
    with pytest.raises(CorruptArtefact):
        read_cohort(tmp_path / "c.zarr")


def test_what_is_whole_but_of_another_cohort_is_found(tmp_path: Path) -> None:
    write_cohort(tmp_path / "c.zarr", cohort(20))
    write_cohort(tmp_path / "d.zarr", replace(cohort(20), images=255 - cohort(20).images))
    shutil.copy(tmp_path / "c.zarr/zarr.json", tmp_path / "d.zarr/zarr.json")
    with pytest.raises(CorruptArtefact, match="list of shards was changed"):
        read_cohort(tmp_path / "d.zarr")


def test_every_file_of_a_cohort_counts(tmp_path: Path) -> None:
    """A label, a key or a part changed by a bit is found, and so is any other file."""
    write_cohort(tmp_path / "c.zarr", cohort(20), shard=8)
    for file in [p for p in (tmp_path / "c.zarr").rglob("*") if p.is_file() and p != tmp_path / "c.zarr/zarr.json"]:
        data = file.read_bytes()
        file.write_bytes(data[:-9] + bytes([data[-9] ^ 1]) + data[-8:])
        with pytest.raises(CorruptArtefact):
            read_cohort(tmp_path / "c.zarr")
        file.write_bytes(data)
    assert same(read_cohort(tmp_path / "c.zarr"), cohort(20))


def test_a_folder_that_is_no_cohort_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    for place in (tmp_path, tmp_path / "nowhere", tmp_path / "file"):
        with pytest.raises(CorruptArtefact):
            read_cohort(place)


def test_arrays_beside_the_known_ones_are_no_harm(tmp_path: Path) -> None:
    write_cohort(tmp_path / "c.zarr", cohort(9))
    zarr.open_group(tmp_path / "c.zarr").create_array("lesion", data=np.zeros((9, 4), "uint8"))
    assert same(read_cohort(tmp_path / "c.zarr"), cohort(9))


@WRITERS
@pytest.mark.parametrize("index", [[], [0], [39, 0, 17, 17], [16, 31]], ids=str)
def test_rows_come_in_the_order_asked_for(tmp_path: Path, index: list[int], write: Write) -> None:
    made = cohort(40, "uint16")
    write(tmp_path / "c.zarr", made)
    assert same(read_rows(tmp_path / "c.zarr", np.array(index, int)), made.take(np.array(index, int)))


@WRITERS
def test_a_part_is_read_without_the_shards_of_others(tmp_path: Path, write: Write) -> None:
    """Their bytes may be what they are: nobody looks; their absence is noticed all the same."""
    made = replace(cohort(40), split=np.repeat(np.array([0, 1, 2], "uint8"), [10, 6, 24]))
    write(tmp_path / "c.zarr", made)
    first, second, third = shards(tmp_path / "c.zarr")
    second.write_bytes(b"no shard")
    assert same(read_part(tmp_path / "c.zarr", "train", "select"), made.part("train", "select"))
    assert same(read_rows(tmp_path / "c.zarr", np.array([3, 35])), made.take(np.array([3, 35])))
    assert len(read_part(tmp_path / "c.zarr", "fresh")) == 0
    with pytest.raises(CorruptArtefact):
        read_part(tmp_path / "c.zarr", "audit")
    third.unlink()
    with pytest.raises(CorruptArtefact):
        read_part(tmp_path / "c.zarr", "train")


@pytest.mark.parametrize("row", [-1, 40])
def test_a_row_that_is_not_there_is_an_error(tmp_path: Path, row: int) -> None:
    write_cohort(tmp_path / "c.zarr", cohort(40))
    with pytest.raises(IndexError):
        read_rows(tmp_path / "c.zarr", np.array([row]))


@pytest.mark.parametrize(
    "made",
    [
        pytest.param(cohort(8).take(np.arange(0)), id="no image"),
        pytest.param(replace(cohort(8), label=np.zeros(7, "uint16")), id="a label short"),
        pytest.param(replace(cohort(8), split=np.zeros(9, "uint8")), id="a part too many"),
        pytest.param(replace(cohort(8), patient_key=np.zeros(0, "U32")), id="no keys"),
    ],
)
def test_a_cohort_that_does_not_fit_together_is_refused_before_the_first_byte(
    tmp_path: Path, made: CohortArrays
) -> None:
    with pytest.raises(UsageError):
        write_cohort(tmp_path / "c.zarr", made)
    assert not list(tmp_path.iterdir())


def test_nothing_is_written_over_a_cohort(tmp_path: Path) -> None:
    write_cohort(tmp_path / "c.zarr", cohort(8))
    with pytest.raises(UsageError, match="stands there already"):
        write_cohort(tmp_path / "c.zarr", cohort(40))
    assert same(read_cohort(tmp_path / "c.zarr"), cohort(8)) and len(list(tmp_path.iterdir())) == 1


def test_of_many_writers_at_one_place_one_succeeds(tmp_path: Path) -> None:
    def attempt(n: int) -> bool:
        try:
            write_cohort(tmp_path / "c.zarr", cohort(n), shard=8)
        except UsageError:
            return False
        return True

    sizes = [40, 41, 42, 43, 44, 45]
    with ThreadPoolExecutor(len(sizes)) as pool:
        won = [n for n, done in zip(sizes, pool.map(attempt, sizes), strict=True) if done]
    assert len(won) == 1 and same(read_cohort(tmp_path / "c.zarr"), cohort(won[0]))
    assert [p.name for p in tmp_path.iterdir()] == ["c.zarr"]


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
