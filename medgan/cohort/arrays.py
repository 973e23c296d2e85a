"""A cohort on disk: one sharded Zarr v3 group of stored integers, with a manifest of its shards.

images       uint8 or uint16 [N, C, D, H, W]; value = stored * scale + offset, in the stored unit
label        uint16 [N], index into `classes`; `unlabelled` where there is none
patient_key  uint8 [N, 16], the bytes of 32 hex digits; zeros for synthetic images
split        uint8 [N], index into `parts`
lesion etc.  more arrays of N rows may stand beside these
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray
from zarr.codecs import BloscCodec, Crc32cCodec

from medgan import digest as digests
from medgan.errors import CorruptArtefact

PARTS = ("train", "select", "audit", "fresh")
INNER = 8  # images in an inner chunk


@dataclass(frozen=True, slots=True)
class CohortArrays:
    """images [N, C, D, H, W] stored integers, label [N], patient_key [N], split [N]."""

    images: NDArray[Any]
    label: NDArray[np.uint16]
    patient_key: NDArray[np.str_]
    split: NDArray[np.uint8]
    classes: tuple[str, ...]
    attributes: dict[str, Any] = field(default_factory=dict)  # group, unit, modality, window, spacing_mm ...

    def __len__(self) -> int:
        return len(self.images)

    def part(self, *names: str) -> CohortArrays:
        """Only the images of these parts of the split."""
        return self.take(np.flatnonzero(np.isin(self.split, [PARTS.index(name) for name in names])))

    def take(self, index: NDArray[Any]) -> CohortArrays:
        return replace(
            self,
            images=self.images[index],
            label=self.label[index],
            patient_key=self.patient_key[index],
            split=self.split[index],
        )

    def floats(self) -> NDArray[np.float32]:
        """float32 [N, C, D, H, W] in [-1, 1]: the full stored range, whatever its unit."""
        top = np.iinfo(self.images.dtype).max
        return (self.images.astype(np.float32) * (2.0 / top) - 1.0).astype(np.float32)


def stored(images: NDArray[np.float32], dtype: str = "uint8") -> NDArray[Any]:
    """Floats in [-1, 1] to stored integers, clamped and rounded: the inverse of `floats`."""
    top = np.iinfo(dtype).max
    return np.rint((np.clip(images, -1.0, 1.0) + 1.0) * (top / 2.0)).astype(dtype)


def write_cohort(path: Path, cohort: CohortArrays, *, shard: int = 256) -> None:
    """Write a whole cohort, each shard once, and the manifest after them."""
    count = len(cohort)
    rows = min(shard, -(-count // INNER) * INNER)
    rows -= rows % INNER
    with zarr.config.set({"array.write_empty_chunks": True}):
        group = zarr.create_group(
            path, attributes={**cohort.attributes, "classes": list(cohort.classes), "parts": list(PARTS)}
        )
        item = cohort.images.shape[1:]
        images = group.create_array(
            "images",
            shape=cohort.images.shape,
            dtype=cohort.images.dtype,
            chunks=(INNER, *item),
            shards=(rows, *item),
            compressors=[BloscCodec(cname="zstd", clevel=3, shuffle="bitshuffle"), Crc32cCodec()],
        )
        shards = []
        for start in range(0, count, rows):
            block = np.ascontiguousarray(cohort.images[start : start + rows])
            images[start : start + len(block)] = block
            shards.append({"start": start, "n": len(block), "sha256": digests.sha256(block.tobytes())})
        for name, column in (
            ("label", cohort.label.astype("uint16")),
            ("patient_key", _packed(cohort.patient_key)),
            ("split", cohort.split.astype("uint8")),
        ):
            group.create_array(
                name,
                data=column,
                chunks=(max(1, count), *column.shape[1:]),
                compressors=[BloscCodec(cname="zstd"), Crc32cCodec()],
            )
    (path / "shards.json").write_text(json.dumps(shards))


def write_volume(path: Path, voxels: NDArray[Any], attributes: dict[str, Any]) -> None:
    """One volume [D, H, W] as a Zarr array: slices are chunks, the whole is one shard, written once."""
    with zarr.config.set({"array.write_empty_chunks": True}):
        array = zarr.create_array(
            path,
            shape=voxels.shape,
            dtype=voxels.dtype,
            chunks=(1, *voxels.shape[1:]),
            shards=voxels.shape,
            compressors=[BloscCodec(cname="lz4", clevel=5, shuffle="bitshuffle"), Crc32cCodec()],
            attributes=attributes,
        )
        array[:] = voxels


def read_cohort(path: Path) -> CohortArrays:
    """Read a cohort whole and check every shard. Raises CorruptArtefact: a lost shard would read as zeros."""
    try:
        group = zarr.open_group(path, mode="r")
        images = np.asarray(group["images"][:])  # type: ignore[index]
        columns = {name: np.asarray(group[name][:]) for name in ("label", "patient_key", "split")}  # type: ignore[index]
        shards = json.loads((path / "shards.json").read_text())
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise CorruptArtefact(
            f"a cohort's Zarr store is damaged or not one ({type(error).__name__}); run `medgan doctor --repair`, "
            "then preprocess again"
        ) from None
    for row in shards:
        block = np.ascontiguousarray(images[row["start"] : row["start"] + row["n"]])
        if digests.sha256(block.tobytes()) != row["sha256"]:
            raise CorruptArtefact(
                f"shard at image {row['start']} differs from its manifest; run `medgan doctor --repair`, "
                "then preprocess again"
            )
    attributes = dict(group.attrs)
    classes = tuple(str(name) for name in attributes.pop("classes"))  # type: ignore[union-attr]
    attributes.pop("parts", None)
    return CohortArrays(
        images=images,
        label=columns["label"],
        patient_key=np.array([row.tobytes().hex() for row in columns["patient_key"]], dtype="U32"),
        split=columns["split"],
        classes=classes,
        attributes=attributes,
    )


def read_owners(path: Path) -> list[tuple[str, int]]:
    """Patient key and part of the split of every image, without the images. Raises CorruptArtefact."""
    try:
        group = zarr.open_group(path, mode="r")
        keys, split = (np.asarray(group[name][:]) for name in ("patient_key", "split"))  # type: ignore[index]
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise CorruptArtefact(
            f"a cohort's Zarr store is damaged or not one ({type(error).__name__}); run `medgan doctor --repair`"
        ) from None
    return [(row.tobytes().hex(), int(side)) for row, side in zip(keys, split, strict=True)]


def _packed(keys: NDArray[np.str_]) -> NDArray[np.uint8]:
    """Hex keys of up to 32 digits as bytes [N, 16]; an empty key as zeros."""
    return np.frombuffer(bytes.fromhex("".join(str(key).ljust(32, "0") for key in keys)), np.uint8).reshape(-1, 16)
