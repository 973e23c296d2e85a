"""A pydicom Dataset over the elements of a tree: for pixels and gating, so that no second parser reads the file."""

from __future__ import annotations

from typing import Any

from pydicom.charset import convert_encodings
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.tag import BaseTag
from pydicom.uid import UID

from medgan.deid.scrub.tree import PIXEL_DATA, DataSet, Element, Inside, Tree


def dataset(tree: Tree) -> Dataset:
    """Standard attributes at every depth, raw until they are asked for, and the transfer syntax as file meta."""
    ds = _dataset(tree.elements, tree)
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = UID(tree.syntax)
    return ds


def pixel_element(ds: Dataset, before: Element) -> Element:
    """The Pixel Data that `ds` holds now, as an element; `before` is what it came from."""
    held: Any = ds._dict[BaseTag(PIXEL_DATA)]
    if held.value is before.value:
        return before
    encapsulated = UID(str(ds.file_meta.TransferSyntaxUID)).is_encapsulated
    return Element(PIXEL_DATA, held.VR, bytes(held.value), None, Inside.FRAGMENTS if encapsulated else None)


def _dataset(data: DataSet, tree: Tree) -> Dataset:
    ds = Dataset()
    held: Any = ds._dict
    for tag, element in data.items():
        if not tag >> 16 & 1:
            held[BaseTag(tag)] = _held(element, tree)
    ds.set_original_encoding(not tree.explicit, tree.little, convert_encodings(None))
    return ds


def _held(element: Element, tree: Tree) -> DataElement | RawDataElement:
    tag = BaseTag(element.tag)
    if element.items is not None:
        return DataElement(tag, "SQ", Sequence([_dataset(item, tree) for item in element.items]))
    length = 0xFFFFFFFF if element.inside is Inside.FRAGMENTS else len(element.value)
    return RawDataElement(tag, element.vr, length, element.value, 0, not tree.explicit, tree.little, True)
