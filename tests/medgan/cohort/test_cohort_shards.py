"""What is assembled by hand is Zarr: zarr-python and tensorstore read it, and we read what zarr-python writes."""

import json
import struct
from pathlib import Path

import google_crc32c
import numpy as np
import pytest
import tensorstore
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from zarr.codecs import BloscCodec, Crc32cCodec

from medgan.cohort.shards import KINDS, Layout, decode, encode, layout_of
from medgan.errors import CorruptArtefact


def numbers(shape: tuple[int, ...], kind: str, empty: int = 0) -> np.ndarray:
    """Made-up rows, the first `empty` of them all zero."""
    made = np.random.default_rng(len(shape)).integers(0, 200, shape).astype(kind)
    made[:empty] = 0
    return made


def put(folder: Path, rows: np.ndarray, layout: Layout) -> None:
    folder.mkdir(parents=True)
    (folder / "zarr.json").write_bytes(layout.document())
    for number in range(layout.count):
        file = folder / layout.key(number)
        file.parent.mkdir(parents=True)
        file.write_bytes(encode(rows[layout.span(number)], layout))


def by_zarr(folder: Path) -> np.ndarray:
    return np.asarray(zarr.open_array(folder, mode="r")[...])


def by_tensorstore(folder: Path) -> np.ndarray:
    spec = {"driver": "zarr3", "kvstore": {"driver": "file", "path": str(folder)}}
    return np.asarray(tensorstore.open(spec, read=True).result().read().result())


def by_us(folder: Path) -> np.ndarray:
    layout = layout_of((folder / "zarr.json").read_bytes())
    rows = np.full(layout.shape, 77, layout.kind)
    for number in range(layout.count):
        decode((folder / layout.key(number)).read_bytes(), layout, rows[layout.span(number)])
    return rows


CASES = [
    pytest.param((1, 5, 7), "uint8", 1, 1, 0, id="one row"),
    pytest.param((12, 5, 7), "int16", 4, 12, 0, id="whole chunks"),
    pytest.param((13, 5, 7), "int16", 4, 16, 0, id="a chunk at the end that is not full"),
    pytest.param((13, 5, 7), "float32", 4, 8, 0, id="two shards, the last not full"),
    pytest.param((9, 3, 3), "uint8", 4, 24, 0, id="a shard longer than the array"),
    pytest.param((16, 5, 7), "int16", 4, 8, 9, id="chunks of nothing but fill value"),
    pytest.param((8, 5, 7), "uint16", 2, 8, 8, id="an array of nothing but fill value"),
    pytest.param((21, 2, 3, 4, 5), "uint16", 8, 16, 2, id="five axes"),
    pytest.param((10,), "int32", 10, 10, 0, id="a column"),
    pytest.param((10, 16), "uint32", 3, 12, 0, id="a column of rows"),
]


@pytest.mark.parametrize("codec", ["lz4", "zstd"])
@pytest.mark.parametrize(("shape", "kind", "chunk", "shard", "empty"), CASES)
def test_three_readers_agree(
    tmp_path: Path, shape: tuple[int, ...], kind: str, chunk: int, shard: int, empty: int, codec: str
) -> None:
    rows, layout = numbers(shape, kind, empty), Layout(shape, kind, chunk, shard, codec)
    put(tmp_path / "a", rows, layout)
    for read in (by_zarr, by_tensorstore, by_us):
        found = read(tmp_path / "a")
        assert found.dtype == rows.dtype and np.array_equal(found, rows), read.__name__
    assert layout_of(layout.document()) == layout


@settings(max_examples=60, deadline=None)
@given(
    rows=st.integers(1, 40),
    item=st.lists(st.integers(1, 6), max_size=3),
    chunk=st.integers(1, 9),
    more=st.integers(1, 5),
    kind=st.sampled_from(KINDS),
    view=st.sampled_from([1, 2]),
)
def test_what_is_encoded_is_decoded(rows: int, item: list[int], chunk: int, more: int, kind: str, view: int) -> None:
    made = numbers((rows * view, *item), kind)[::view]
    layout = Layout(made.shape, kind, chunk, chunk * more)
    read = np.full(made.shape, 77, kind)
    for number in range(layout.count):
        decode(encode(made[layout.span(number)], layout), layout, read[layout.span(number)])
    assert np.array_equal(read, made)


@pytest.mark.parametrize("empty_chunks", [True, False], ids=["written out", "left out"])
def test_what_zarr_writes_is_read(tmp_path: Path, empty_chunks: bool) -> None:
    rows = numbers((20, 1, 4, 4), "uint16", empty=12)
    with zarr.config.set({"array.write_empty_chunks": empty_chunks}):
        array = zarr.create_array(
            tmp_path / "a",
            shape=rows.shape,
            dtype=rows.dtype,
            chunks=(4, 1, 4, 4),
            shards=(8, 1, 4, 4),
            compressors=[BloscCodec(cname="zstd", clevel=3, shuffle="bitshuffle"), Crc32cCodec()],
        )
        array[8:16], array[16:20] = rows[8:16], rows[16:20]
        array[0:8] = rows[0:8]
    for number in range(3):  # a shard of nothing but fill value is then no file; the manifest tells that from a loss
        layout = layout_of((tmp_path / "a" / "zarr.json").read_bytes())
        file = tmp_path / "a" / layout.key(number)
        assert file.exists() or not empty_chunks
        if file.exists():
            found = np.full((layout.span(number).stop - layout.span(number).start, 1, 4, 4), 77, "uint16")
            decode(file.read_bytes(), layout, found)
            assert np.array_equal(found, rows[layout.span(number)])


def test_words_are_shuffled_by_their_size() -> None:
    """Blosc's header says so; imagecodecs takes the size of a buffer's items, whatever it is told."""
    for kind in ("uint8", "int16", "float32"):
        layout = Layout((64, 8), kind, 64, 64, "lz4")
        assert encode(numbers((64, 8), kind), layout)[3] == np.dtype(kind).itemsize


def test_equal_rows_are_equal_bytes() -> None:
    """Also where a chunk is many blocks to Blosc."""
    layout = Layout((64, 256, 256), "int16", 64, 64, "lz4")
    rows = numbers(layout.shape, "int16")
    assert len({encode(rows, layout) for _ in range(6)}) == 1


def test_a_shard_that_is_no_multiple_of_a_chunk_is_refused_before_the_first_byte() -> None:
    for chunk, shard in ((8, 12), (8, 4), (0, 8)):
        with pytest.raises(ValueError, match="multiple of its chunks"):
            Layout((20, 4), "uint8", chunk, shard)


LAYOUT = Layout((20, 8), "uint16", 4, 20)
SHARD = encode(numbers((20, 8), "uint16"), LAYOUT)


@pytest.mark.parametrize("where", range(0, len(SHARD), 7))
def test_a_flipped_bit_anywhere_is_found(where: int) -> None:
    data = bytearray(SHARD)
    data[where] ^= 4
    with pytest.raises(CorruptArtefact):
        decode(bytes(data), LAYOUT, np.empty((20, 8), "uint16"))


@pytest.mark.parametrize("keep", [0, 3, 16, 84, len(SHARD) - 1])
def test_a_shard_cut_short_is_found(keep: int) -> None:
    for data in (SHARD[:keep], SHARD[len(SHARD) - keep :]):
        with pytest.raises(CorruptArtefact):
            decode(data, LAYOUT, np.empty((20, 8), "uint16"))


@pytest.mark.parametrize(("at", "number"), [(4, 1 << 30), (12, 1 << 30), (4, 8), (12, 20)])
def test_lengths_that_a_chunk_claims_are_not_believed(at: int, number: int) -> None:
    """With a right checksum: Blosc would read and write as far as its header says."""
    layout = Layout((20, 8), "uint16", 20, 0)
    chunk = bytearray(encode(numbers((20, 8), "uint16"), Layout((20, 8), "uint16", 20, 20))[: -16 - 4 - 4])
    out = np.empty((20, 8), "uint16")
    decode(bytes(chunk) + google_crc32c.value(bytes(chunk)).to_bytes(4, "little"), layout, out)
    assert np.array_equal(out, numbers((20, 8), "uint16"))
    struct.pack_into("<I", chunk, at, number)
    with pytest.raises(CorruptArtefact, match="length"):
        decode(bytes(chunk) + google_crc32c.value(bytes(chunk)).to_bytes(4, "little"), layout, out)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("shape",), "no list"),
        (("shape",), [20, -8]),
        (("data_type",), "complex64"),
        (("fill_value",), 1),
        (("chunk_grid",), {"name": "regular", "configuration": {"chunk_shape": [20, 4]}}),
        (("chunk_key_encoding", "configuration", "separator"), "."),
        (("codecs", 0, "name"), "gzip"),
        (("codecs", 0, "configuration", "index_location"), "start"),
        (("codecs", 0, "configuration", "codecs", 1, "name"), "zstd"),
        (("codecs", 0, "configuration", "chunk_shape"), [3, 8]),
    ],
    ids=lambda value: "-".join(map(str, value)) if isinstance(value, tuple) else "",
)
def test_an_array_that_lies_otherwise_is_refused(path: tuple[str | int, ...], value: object) -> None:
    document = json.loads(LAYOUT.document())
    inner = document
    for name in path[:-1]:
        inner = inner[name]
    inner[path[-1]] = value
    with pytest.raises(CorruptArtefact):
        layout_of(json.dumps(document).encode())
