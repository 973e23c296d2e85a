"""Pixels of a result against those of its source: kept where nobody is named, hidden where somebody was written."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from pydicom.dataset import Dataset

if TYPE_CHECKING:
    from plants_check import Result, Verdict

HOLDS_TEXT = ("color-pl.dcm", "real US")  # real pictures with text of their own: screens of ultrasound devices
KEPT = "kept bit for bit: "
INK = 240  # glyphs are written with 250 on a ground below 140


def judge_pixels(result: Result, verdict: Verdict) -> None:
    source = result.case.source()
    if "PixelData" not in source:
        return
    if result.case.kind in HOLDS_TEXT:
        return
    before, after = _pixels(source), _pixels(result.ds)
    if before is not None and after is not None and before.ndim == after.ndim + 1:
        before = before[0]  # planted bytes after the last pixel, that look like another frame
    if before is None or after is None or before.shape != after.shape:
        verdict.count("pixels", "decodable as before", before is None, result.case.kind)
        return
    if result.case.burned:
        glyphs = before >= INK
        hidden = 1 - float((after[glyphs] >= INK).mean())
        verdict.count(
            "pixels", "burned-in text hidden", hidden >= 0.97, f"{hidden:.2f} of glyphs in {result.case.kind}"
        )
        return
    if (stored := source.get("BitsStored", 8)) < source.get("BitsAllocated", 8) and not source.get(
        "PixelRepresentation", 0
    ):
        mask = (1 << stored) - 1
        verdict.count(
            "pixels", "unused bits empty", bool((after & ~np.array(mask, after.dtype) == 0).all()), result.case.kind
        )
        before = before & np.array(mask, before.dtype)
    changed = float((before != after).mean())
    verdict.count("pixels", f"{KEPT}{result.case.kind}", changed == 0, f"{changed:.4f} changed in {result.case.kind}")


def _pixels(ds: Dataset) -> np.ndarray | None:
    try:
        return np.asarray(ds.pixel_array)
    except Exception:  # noqa: BLE001 - decoders raise their own; a file that cannot be decoded has no pixels to compare
        return None
