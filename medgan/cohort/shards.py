"""Arrays as Zarr v3 objects: a shard is encoded and decoded whole, in memory, by one thread.

Written here and not by zarr-python, which takes twice the time for it. Cut along the first axis only: a chunk is
`chunk` rows, a shard `shard` rows, a multiple of it. Every chunk is bitshuffled, compressed by Blosc and carries a
crc32c; the index at the end of a shard (offset and length of every chunk, uint64) carries one too.
"""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass
from typing import Any

import google_crc32c
import imagecodecs
import numpy as np
from numpy.typing import NDArray

from medgan import digest as digests
from medgan.errors import CorruptArtefact

ABSENT = (1 << 64) - 1  # offset and length of a chunk that is all fill value, or beyond the array
LEVELS = {"lz4": 5, "zstd": 1}
BLOCKS = {"lz4": 1 << 16, "zstd": 0}  # bytes, 0: Blosc's choice; for noisy volumes smaller and faster than that
LITTLE = {"name": "bytes", "configuration": {"endian": "little"}}
CRC32C = {"name": "crc32c"}
INDEX = [LITTLE, CRC32C]
KINDS = ("uint8", "uint16", "uint32", "int16", "int32", "float32")
CHECK = 4  # bytes of a crc32c
BLOSC = struct.Struct("<4x3I")  # bytes before compression, of a block, after compression
DAMAGED = "a shard is damaged: its {} does not hold; run `medgan doctor --repair`"


@dataclass(frozen=True, slots=True)
class Layout:
    """How an array lies in its objects; `shard` is 0 where every chunk is an object of its own.

    Raises ValueError where a shard is not a multiple of a chunk: two writers would meet in one chunk.
    """

    shape: tuple[int, ...]
    kind: str
    chunk: int
    shard: int
    codec: str = "zstd"
    axes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.chunk < 1 or self.shard % self.chunk or self.kind not in KINDS or min(self.shape, default=0) < 1:
            raise ValueError("an array needs rows of a plain kind, and shards that are a multiple of its chunks")

    @property
    def rows(self) -> int:
        """Rows in an object."""
        return self.shard or self.chunk

    @property
    def count(self) -> int:
        """Of objects."""
        return -(-self.shape[0] // self.rows)

    def key(self, number: int) -> str:
        """Of an object; they are numbered in order of their rows."""
        return "/".join(["c", str(number), *("0" for _ in self.shape[1:])])

    def span(self, number: int) -> slice:
        """The rows of the array that an object holds."""
        return slice(number * self.rows, min((number + 1) * self.rows, self.shape[0]))

    def document(self) -> bytes:
        """The array's zarr.json."""
        item = list(self.shape[1:])
        blosc = {
            "typesize": np.dtype(self.kind).itemsize,
            "cname": self.codec,
            "clevel": LEVELS[self.codec],
            "shuffle": "bitshuffle",
            "blocksize": BLOCKS[self.codec],
        }
        sharding = {
            "chunk_shape": [self.chunk, *item],
            "codecs": [LITTLE, {"name": "blosc", "configuration": blosc}, CRC32C],
            "index_codecs": INDEX,
            "index_location": "end",
        }
        grid = {"chunk_shape": [self.shard, *item]}
        return digests.canonical(
            {
                "zarr_format": 3,
                "node_type": "array",
                "shape": list(self.shape),
                "data_type": self.kind,
                "chunk_grid": {"name": "regular", "configuration": grid},
                "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
                "fill_value": 0,
                "codecs": [{"name": "sharding_indexed", "configuration": sharding}],
                "attributes": {},
                **({"dimension_names": list(self.axes)} if self.axes else {}),
            }
        )


def layout_of(document: bytes) -> Layout:
    """The layout that a zarr.json of ours describes. Raises CorruptArtefact for any other."""
    try:
        said = json.loads(document)
        outer = said["chunk_grid"]["configuration"]["chunk_shape"]
        codecs, chunk, shard = said["codecs"], outer, 0
        if codecs[0]["name"] == "sharding_indexed":
            inner = codecs[0]["configuration"]
            codecs, chunk, shard = inner["codecs"], inner["chunk_shape"], outer[0]
            known = inner["index_location"] == "end" and [_plain(one) for one in inner["index_codecs"]] == INDEX
        else:
            known = True
        known &= [one["name"] for one in codecs] == ["bytes", "blosc", "crc32c"] and said["fill_value"] == 0
        known &= said["chunk_key_encoding"] == {"name": "default", "configuration": {"separator": "/"}}
        shape = tuple(int(side) for side in said["shape"])
        if not known or tuple(chunk[1:]) != shape[1:] or tuple(outer[1:]) != shape[1:]:
            raise ValueError
        codec = str(codecs[1]["configuration"]["cname"])
        return Layout(shape, said["data_type"], chunk[0], shard, codec, tuple(said.get("dimension_names") or ()))
    except (ValueError, KeyError, TypeError, IndexError, AttributeError):
        raise CorruptArtefact("an array's zarr.json is damaged, or not one that medgan wrote") from None


def encode(block: NDArray[Any], layout: Layout) -> bytes:
    """One shard: `block` holds its rows, fewer than `layout.shard` at the array's end."""
    parts: list[bytes] = []
    index, offset = np.full((layout.shard // layout.chunk, 2), ABSENT, "<u8"), 0
    for number, start in enumerate(range(0, len(block), layout.chunk)):
        data = _packed(block[start : start + layout.chunk], layout)
        index[number] = offset, len(data) + CHECK
        parts += [data, _checksum(data)]
        offset += len(data) + CHECK
    listed = index.tobytes()
    return b"".join([*parts, listed, _checksum(listed)])


def decode(data: bytes, layout: Layout, out: NDArray[Any]) -> None:
    """Fill `out`, contiguous, with the rows of one object. Raises CorruptArtefact."""
    places = _index(data, layout) if layout.shard else [(0, len(data))]
    for number, start in enumerate(range(0, len(out), layout.chunk)):
        offset, length = places[number]
        if offset == length == ABSENT:
            out[start : start + layout.chunk] = 0
        else:
            _unpack(_verified(data[offset : offset + length], length), layout, out[start : start + layout.chunk])


def _packed(rows: NDArray[Any], layout: Layout) -> bytes:
    """A chunk without its checksum; at the array's end it is filled up, as every chunk of a regular grid is whole."""
    whole = np.ascontiguousarray(rows, np.dtype(layout.kind).newbyteorder("<"))
    if len(rows) < layout.chunk:
        whole = np.concatenate([whole, np.zeros((layout.chunk - len(rows), *rows.shape[1:]), whole.dtype)])
    flat: Any = whole.reshape(-1)  # not as bytes: imagecodecs shuffles by the size of the buffer's own items
    level, block, codec = LEVELS[layout.codec], BLOCKS[layout.codec], layout.codec
    # one thread: with several, blocks are stored as they finish, and equal arrays give unequal bytes
    return bytes(
        imagecodecs.blosc_encode(flat, level, compressor=codec, blocksize=block, shuffle="bitshuffle", numthreads=1)
    )


def _unpack(data: bytes, layout: Layout, out: NDArray[Any]) -> None:
    size = layout.chunk * out[0].nbytes
    # Blosc trusts the lengths in its own header
    if len(data) < 16 or BLOSC.unpack_from(data)[::2] != (size, len(data)):
        raise CorruptArtefact(DAMAGED.format("length"))
    whole = out if len(out) == layout.chunk else np.empty((layout.chunk, *out.shape[1:]), out.dtype)
    flat: Any = whole.reshape(-1).view(np.uint8)
    try:
        imagecodecs.blosc_decode(data, numthreads=1, out=flat)
    except RuntimeError:
        raise CorruptArtefact(DAMAGED.format("compression")) from None
    if whole is not out:
        out[:] = whole[: len(out)]


def _index(data: bytes, layout: Layout) -> list[tuple[int, int]]:
    size = layout.shard // layout.chunk * 16 + CHECK
    numbers = np.frombuffer(_verified(data[-size:], size), "<u8").reshape(-1, 2)
    return [(int(offset), int(length)) for offset, length in numbers]


def _checksum(data: bytes) -> bytes:
    check: bytes = google_crc32c.value(data).to_bytes(CHECK, "little")
    return check


def _verified(data: bytes, length: int) -> bytes:
    """`data` without its checksum. Raises CorruptArtefact where that, or the length, is another."""
    body = data[:-CHECK]
    if len(data) != length or length < CHECK or _checksum(body) != data[-CHECK:]:
        raise CorruptArtefact(DAMAGED.format("checksum"))
    return body


def _plain(codec: dict[str, Any]) -> dict[str, Any]:
    """A codec without an empty configuration."""
    return {key: value for key, value in codec.items() if key == "name" or value}
