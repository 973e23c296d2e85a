"""What a cohort is made of: every object with the sha256 of its bytes, as a lost shard would read as zeros.

`zarr.json` of the root (written last) names the sha256 of `shards.json`, and that names all others:

    {"schema": 2, "objects": {"images/c/0/0/0/0/0": {"n": 256, "sha256": ..., "size": ...}, ...}}

A first kind of manifest, still read, is a list of the shards of `images` with the sha256 of their decoded rows.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medgan import digest as digests
from medgan.cohort.places import ROOT, Place
from medgan.cohort.shards import Layout, decode, encode, layout_of
from medgan.errors import CorruptArtefact

SHARDS = "shards.json"
SCHEMA = 2
REMEDY = "run `medgan doctor --repair`, then preprocess again"


@dataclass(slots=True)
class Writer:
    """Puts arrays in a place and notes what they are made of."""

    place: Place
    objects: dict[str, dict[str, Any]] = field(default_factory=dict)

    def put_array(self, name: str, rows: NDArray[Any], layout: Layout) -> None:
        """The description first: two writers of unlike arrays part before the first shard."""
        self._put(f"{name}/{ROOT}", layout.document())
        for number in range(layout.count):
            block = rows[layout.span(number)]
            self._put(f"{name}/{layout.key(number)}", encode(block, layout), n=len(block))

    def finish(self, attributes: dict[str, Any]) -> None:
        """The manifest, then the root: what was not finished has no root."""
        listed = digests.canonical({"schema": SCHEMA, "objects": self.objects})
        self.place.put(SHARDS, listed)
        told = {**attributes, "manifest": digests.sha256(listed)}
        self.place.put(ROOT, digests.canonical({"zarr_format": 3, "node_type": "group", "attributes": told}))

    def _put(self, key: str, data: bytes, **more: int) -> None:
        self.place.put(key, data)
        self.objects[key] = {**more, "sha256": digests.sha256(data), "size": len(data)}


@dataclass(frozen=True, slots=True)
class Reader:
    """A place with its attributes, and digests: of objects by key, or (first kind) of decoded rows by first row."""

    place: Place
    attributes: dict[str, Any]
    objects: dict[str, str]
    blocks: dict[int, str]

    def layout(self, name: str) -> Layout:
        """Of an array whose objects are all there, and no others. Raises CorruptArtefact."""
        found = layout_of(self._get(f"{name}/{ROOT}"))
        expected = {f"{name}/{found.key(number)}" for number in range(found.count)}
        listed = {key for key in self.objects if key.startswith(f"{name}/c/")} if self.objects else expected
        if name == "images" and not self.objects and set(self.blocks) != set(_starts(found)):
            listed = set()
        there = self.place.keys(f"{name}/c")
        if expected != listed or expected != there:
            raise CorruptArtefact(
                f"shards of `{name}`: {len(expected)} expected, {len(listed)} listed, {len(expected & there)} of them "
                f"and {len(there - expected)} others found; {REMEDY}"
            )
        return found

    def array(self, name: str) -> NDArray[Any]:
        """All rows of an array. Raises CorruptArtefact."""
        layout = self.layout(name)
        rows = np.empty(layout.shape, layout.kind)
        for number, data in self._objects(name, layout, range(layout.count)):
            self._fill(rows[layout.span(number)], name, layout, number, data)
        return rows

    def rows(self, name: str, index: NDArray[np.int64]) -> NDArray[Any]:
        """The rows of an index, in its order; only the shards that hold them are opened. Raises CorruptArtefact."""
        layout = self.layout(name)
        rows = np.empty((len(index), *layout.shape[1:]), layout.kind)
        owners = index // layout.rows
        for number, data in self._objects(name, layout, np.unique(owners).tolist()):
            span = layout.span(number)
            block = np.empty((span.stop - span.start, *layout.shape[1:]), layout.kind)
            self._fill(block, name, layout, number, data)
            rows[owners == number] = block[index[owners == number] - span.start]
        return rows

    def _objects(self, name: str, layout: Layout, numbers: Sequence[int]) -> Iterator[tuple[int, bytes]]:
        """Shards with their numbers, each as it was written. Raises CorruptArtefact."""
        keys = [f"{name}/{layout.key(number)}" for number in numbers]
        coming = self.place.get_many(keys)
        for number, key in zip(numbers, keys, strict=True):
            yield number, self._verified(key, lambda: next(coming))

    def _fill(self, out: NDArray[Any], name: str, layout: Layout, number: int, data: bytes) -> None:
        decode(data, layout, out)
        start = layout.span(number).start
        if name == "images" and not self.objects and digests.sha256(out.tobytes()) != self.blocks[start]:
            raise CorruptArtefact(f"shard at image {start} differs from its manifest; {REMEDY}")

    def _get(self, key: str) -> bytes:
        return self._verified(key, lambda: self.place.get(key))

    def _verified(self, key: str, get: Callable[[], bytes]) -> bytes:
        try:
            data = get()
        except FileNotFoundError:
            raise CorruptArtefact(f"a shard of a cohort, or what describes it, is missing; {REMEDY}") from None
        if self.objects and self.objects.get(key) != digests.sha256(data):
            raise CorruptArtefact(f"a shard of a cohort, or what describes it, differs from its manifest; {REMEDY}")
        return data


def _starts(layout: Layout) -> range:
    return range(0, layout.shape[0], layout.rows)


def opened(place: Place) -> Reader:
    """What stands at a place. Raises CorruptArtefact where it is not a complete cohort."""
    try:
        attributes = dict(json.loads(place.get(ROOT))["attributes"])
        listed = place.get(SHARDS)
        rows = json.loads(listed)
        if "manifest" not in attributes:
            return Reader(place, attributes, {}, {int(row["start"]): str(row["sha256"]) for row in rows})
        if attributes.pop("manifest") != digests.sha256(listed) or rows["schema"] != SCHEMA:
            raise CorruptArtefact(f"a cohort's list of shards was changed, or is of a later medgan; {REMEDY}")
        return Reader(place, attributes, {key: str(row["sha256"]) for key, row in rows["objects"].items()}, {})
    except FileNotFoundError:
        raise CorruptArtefact(f"no cohort there, or one whose writing was cut short; {REMEDY}") from None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CorruptArtefact(f"a cohort's description is damaged ({type(error).__name__}); {REMEDY}") from None
