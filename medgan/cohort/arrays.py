"""A cohort on disk or in a bucket: one sharded Zarr v3 group of stored integers, with a manifest of its shards.

images       uint8 or uint16 [N, C, D, H, W]; value = stored * scale + offset, in the stored unit
label        uint16 [N], index into `classes`; `unlabelled` where there is none
patient_key  uint8 [N, 16], the bytes of 32 hex digits; zeros for synthetic images
split        uint8 [N], index into `parts`
source       float32 [N, figures], where there is one: what each picture was made of, named in `source_figures`
mask         uint8 [N, 1, D, H, W], where there are masks: 0 for nothing, else a label of the attribute `segments`
has_mask     uint8 [N], beside it: 0 for a picture on which nothing was drawn, whose mask says nothing
lesion etc.  more arrays of N rows may stand beside these
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medgan.cohort.manifest import REMEDY, Reader, Writer, opened
from medgan.cohort.places import ROOT, Place, place
from medgan.cohort.shards import Layout
from medgan.errors import CorruptArtefact, UsageError

PARTS = ("train", "select", "audit", "fresh")
COLUMNS = ("label", "patient_key", "split")
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
    source: NDArray[np.float32] | None = None
    mask: NDArray[np.uint8] | None = None  # [N, 1, D, H, W], and has_mask [N] beside it
    has_mask: NDArray[np.uint8] | None = None

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
            source=None if self.source is None else self.source[index],
            mask=None if self.mask is None else self.mask[index],
            has_mask=None if self.has_mask is None else self.has_mask[index],
        )

    def floats(self) -> NDArray[np.float32]:
        """float32 [N, C, D, H, W] in [-1, 1]: the full stored range, whatever its unit."""
        top = np.iinfo(self.images.dtype).max
        return (self.images.astype(np.float32) * (2.0 / top) - 1.0).astype(np.float32)


def stored(images: NDArray[np.float32], dtype: str = "uint8") -> NDArray[Any]:
    """Floats in [-1, 1] to stored integers, clamped and rounded: the inverse of `floats`."""
    top = np.iinfo(dtype).max
    return np.rint((np.clip(images, -1.0, 1.0) + 1.0) * (top / 2.0)).astype(dtype)


def write_cohort(where: Path | str | Place, cohort: CohortArrays, *, shard: int = 256) -> None:
    """Write a whole cohort, each shard once, and the manifest after them; `shard` images are rounded up to chunks.

    Raises UsageError before the first byte: for columns of unequal length, no image, or a place that is taken.
    """
    columns = {
        "label": cohort.label.astype("uint16"),
        "patient_key": _packed(cohort.patient_key),
        "split": cohort.split.astype("uint8"),
    }
    if cohort.source is not None:
        columns["source"] = cohort.source.astype("float32")
    if cohort.has_mask is not None:
        columns["has_mask"] = cohort.has_mask.astype("uint8")
    if not len(cohort) or {len(column) for column in columns.values()} != {len(cohort)}:
        raise UsageError("a cohort needs an image, and one label, patient key and part for each")
    if not _masks_fit(cohort):
        raise UsageError("a cohort with masks needs one of the size of its image for each, and whether it has one")
    layouts = {name: Layout(rows.shape, str(rows.dtype), len(rows), len(rows)) for name, rows in columns.items()}
    rows = -(-min(shard, len(cohort)) // INNER) * INNER
    images = Layout(cohort.images.shape, str(cohort.images.dtype), INNER, rows)
    with place(where).building() as site:
        writer = Writer(site)
        for name, column in columns.items():
            writer.put_array(name, column, layouts[name])
        writer.put_array("images", cohort.images, images)
        if cohort.mask is not None:
            writer.put_array("mask", cohort.mask, Layout(cohort.mask.shape, "uint8", INNER, rows))
        writer.finish({**cohort.attributes, "classes": list(cohort.classes), "parts": list(PARTS)})


def read_cohort(where: Path | str | Place) -> CohortArrays:
    """Read a cohort whole and check every shard. Raises CorruptArtefact: a lost shard would read as zeros."""
    reader = opened(place(where))
    columns = _columns(reader, _names(reader))
    return _cohort(reader, reader.array("images"), columns, reader.array("mask") if "has_mask" in columns else None)


def read_part(where: Path | str | Place, *names: str, masks: bool = False) -> CohortArrays:
    """Only the images of these parts of the split; shards without one stay closed. Raises CorruptArtefact.

    masks: with those of the images, where the cohort has any; what does not need them does not pay for them.
    """
    reader = opened(place(where))
    columns = _columns(reader, _names(reader))
    index = np.flatnonzero(np.isin(columns["split"], [PARTS.index(name) for name in names]))
    return _some(reader, columns, index, masks=masks)


def read_rows(where: Path | str | Place, index: NDArray[Any], *, masks: bool = False) -> CohortArrays:
    """The images of an index, in its order, and their masks if asked; only the shards that hold them are opened.

    Raises CorruptArtefact, and IndexError for a row that is not there.
    """
    reader = opened(place(where))
    return _some(reader, _columns(reader, _names(reader)), np.asarray(index, np.int64), masks=masks)


def read_owners(where: Path | str | Place) -> list[tuple[str, int]]:
    """Patient key and part of the split of every image, without the images. Raises CorruptArtefact."""
    columns = _columns(opened(place(where)), ("patient_key", "split"))
    return list(zip(_keys(columns["patient_key"]).tolist(), columns["split"].tolist(), strict=True))


def _names(reader: Reader) -> tuple[str, ...]:
    """Of the columns that a cohort has; some have no `source`, and only those with masks `has_mask`."""
    return (*COLUMNS, *(name for name in ("source", "has_mask") if f"{name}/{ROOT}" in reader.objects))


def _columns(reader: Reader, names: tuple[str, ...]) -> dict[str, NDArray[Any]]:
    columns = {name: reader.array(name) for name in names}
    if len({len(column) for column in columns.values()}) > 1:
        raise CorruptArtefact(f"columns of a cohort are of unequal length; {REMEDY}")
    return columns


def _masks_fit(cohort: CohortArrays) -> bool:
    if cohort.mask is None or cohort.has_mask is None:
        return cohort.mask is None and cohort.has_mask is None
    images = cohort.images.shape
    return cohort.mask.dtype == np.uint8 and cohort.mask.shape == (images[0], 1, *images[2:])


def _some(reader: Reader, columns: dict[str, NDArray[Any]], index: NDArray[np.int64], *, masks: bool) -> CohortArrays:
    count = len(columns["split"])
    if len(index) and not -1 < index.min() <= index.max() < count:
        raise IndexError(f"a cohort of {count} images has no such row")
    some = {name: column[index] for name, column in columns.items() if masks or name != "has_mask"}
    return _cohort(
        reader, reader.rows("images", index), some, reader.rows("mask", index) if "has_mask" in some else None
    )


def _cohort(
    reader: Reader, images: NDArray[Any], columns: dict[str, NDArray[Any]], mask: NDArray[np.uint8] | None
) -> CohortArrays:
    attributes = {name: value for name, value in reader.attributes.items() if name not in ("classes", "parts")}
    if {len(images), len(images if mask is None else mask)} != {len(columns["split"])} or not isinstance(
        reader.attributes.get("classes"), list
    ):
        raise CorruptArtefact(f"a cohort has images without labels, or names no classes; {REMEDY}")
    return CohortArrays(
        images=images,
        label=columns["label"],
        patient_key=_keys(columns["patient_key"]),
        split=columns["split"],
        classes=tuple(str(name) for name in reader.attributes["classes"]),
        attributes=attributes,
        source=columns.get("source"),
        mask=mask,
        has_mask=columns.get("has_mask"),
    )


def _packed(keys: NDArray[np.str_]) -> NDArray[np.uint8]:
    """Hex keys of up to 32 digits as bytes [N, 16]; an empty key as zeros."""
    return np.frombuffer(bytes.fromhex("".join(str(key).ljust(32, "0") for key in keys)), np.uint8).reshape(-1, 16)


def _keys(packed: NDArray[np.uint8]) -> NDArray[np.str_]:
    return np.array([row.tobytes().hex() for row in packed], dtype="U32")
