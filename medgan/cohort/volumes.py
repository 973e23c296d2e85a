"""One volume as an OME-Zarr 0.5 image: axes z, y, x in millimetres, one resolution, under the path `0`.

`attributes.ome` is what viewers read: spacing and the centre of the first voxel, axis by axis. It knows no turned
axes; the whole truth is `attributes.medgan.affine_lps`, beside what else the caller tells of the values, and
`objects` with their size and crc32, as a lost shard would read as zeros.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medgan import digest as digests
from medgan.cohort.places import ROOT, Place, place
from medgan.cohort.shards import Layout, decode, encode, layout_of
from medgan.errors import CorruptArtefact

AXES = ("z", "y", "x")
LEVEL = "0"
CHUNK_BYTES = 1 << 19
SHARD_BYTES = 1 << 29


def write_volume(where: Path | str | Place, voxels: NDArray[Any], about: dict[str, Any]) -> None:
    """Write a volume [D, H, W], complete or not at all; one shard up to 512 MiB.

    about: `affine_lps` [4][4], voxel index (z, y, x) to millimetres (x, y, z), its axes about (head, back, left);
    and whatever else JSON holds. Raises UsageError when something stands there, ValueError for other axes.
    """
    layout = _layout(voxels)
    ome = {"version": "0.5", "multiscales": [_multiscale(np.array(about["affine_lps"], float))]}
    with place(where).building() as site:
        objects: dict[str, dict[str, int]] = {}
        for key, data in _objects(voxels, layout):
            site.put(key, data)
            objects[key] = _about(data)
        attributes = {"ome": ome, "medgan": {**about, "objects": objects}}
        site.put(ROOT, digests.canonical({"zarr_format": 3, "node_type": "group", "attributes": attributes}))


def read_volume(where: Path | str | Place) -> tuple[NDArray[Any], dict[str, Any]]:
    """The voxels [D, H, W] and what was told about them. Raises CorruptArtefact."""
    site = place(where)
    try:
        about: dict[str, Any] = json.loads(site.get(ROOT))["attributes"]["medgan"]
        objects = about.pop("objects")
        described = f"{LEVEL}/{ROOT}"
        layout = layout_of(_checked(described, site.get(described), objects))
        voxels = np.empty(layout.shape, layout.kind)
        keys = [f"{LEVEL}/{layout.key(number)}" for number in range(layout.count)]
        for number, (key, data) in enumerate(zip(keys, site.get_many(keys), strict=True)):
            decode(_checked(key, data, objects), layout, voxels[layout.span(number)])
    except FileNotFoundError:
        raise CorruptArtefact("no volume there, or one that is not whole; make it anew") from None
    except (ValueError, KeyError, TypeError, AttributeError):
        raise CorruptArtefact("a volume's description is damaged, or not one that medgan wrote") from None
    return voxels, about


def _layout(voxels: NDArray[Any]) -> Layout:
    depth = len(voxels)
    chunk = max(1, min(depth, CHUNK_BYTES // voxels[0].nbytes))
    most = max(1, SHARD_BYTES // (chunk * voxels[0].nbytes))
    return Layout(voxels.shape, str(voxels.dtype), chunk, min(-(-depth // chunk), most) * chunk, "lz4", AXES)


def _multiscale(affine: NDArray[np.float64]) -> dict[str, Any]:
    """OME-NGFF 0.5: a scale, then a translation; both in the order of the axes."""
    turned = affine[2::-1, :3]  # rows z, y, x
    if affine.shape != (4, 4) or turned.diagonal().min() <= 0:
        raise ValueError("the axes of a volume must run to the head, to the back, to the left")
    scale = np.linalg.norm(turned, axis=0)
    moves = [
        {"type": "scale", "scale": scale.round(6).tolist()},
        {"type": "translation", "translation": affine[2::-1, 3].round(6).tolist()},
    ]
    return {
        "name": "volume",
        "axes": [{"name": name, "type": "space", "unit": "millimeter"} for name in AXES],
        "datasets": [{"path": LEVEL, "coordinateTransformations": moves}],
    }


def _objects(voxels: NDArray[Any], layout: Layout) -> Iterator[tuple[str, bytes]]:
    yield f"{LEVEL}/{ROOT}", layout.document()
    for number in range(layout.count):
        yield f"{LEVEL}/{layout.key(number)}", encode(voxels[layout.span(number)], layout)


def _checked(key: str, data: bytes, objects: dict[str, dict[str, int]]) -> bytes:
    if objects[key] != _about(data):
        raise CorruptArtefact("a shard of a volume differs from what was written; make the volume anew")
    return data


def _about(data: bytes) -> dict[str, int]:
    # no crc32c: of bytes that carry their own, it depends on their lengths alone, and swapped shards would pass
    return {"size": len(data), "crc32": zlib.crc32(data)}
