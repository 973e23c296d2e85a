"""Where a lesion lies, in the pixels of a film and in the voxels of a scan."""

from __future__ import annotations

import numpy as np

from medgan.phantom.anatomy import Array, Body, lungs
from medgan.phantom.lesions import Lesion, share_of_water
from medgan.phantom.radiograph import Shot, film_place
from medgan.phantom.tomography import Scan

PROBES = 36


def lesion_points(body: Body, lesion: Lesion, *, supine: bool) -> Array:
    """Places inside the lesion, nominal mm [n, 3]: where at least a third of the lung has turned to tissue."""
    reach = (95.0, 90.0, 105.0) if lesion.kind == "effusion" else (1.6 * lesion.radius_mm,) * 3
    middle = (lesion.side * 70.0, 0.0, body.dome_mm + 10) if lesion.kind == "effusion" else lesion.centre
    axes = [np.linspace(c - r, c + r, PROBES, dtype=np.float32) for c, r in zip(middle, reach, strict=True)]
    x, y, z = (a.reshape(-1) for a in np.meshgrid(*axes, indexing="ij"))
    found = share_of_water(lesion, body, x, y, z, supine=supine) * lungs(body, x, y, z) > 0.33
    return np.stack([x[found], y[found], z[found]], 1)


def box_in_film(body: Body, lesion: Lesion, shot: Shot, film: int) -> list[int] | None:
    """x0, y0, x1, y1 in pixels, ends excluded; None when nothing of it shows."""
    points = lesion_points(body, lesion, supine=False)
    if not len(points):
        return None
    row, column = film_place(body, points, shot, film)[:2]
    low = np.floor([column.min(), row.min()]).clip(0, film - 1)
    high = np.ceil([column.max(), row.max()]).clip(1, film)
    return [int(v) for v in (*low, *high)]


def box_in_scan(body: Body, lesion: Lesion, scan: Scan) -> dict[str, list[float]] | None:
    """First and last voxel (column, row, slice) and the same in patient mm (x, y, z)."""
    points = lesion_points(body, lesion, supine=True) * np.array(body.scale, np.float32)
    if not len(points):
        return None
    step = np.array([scan.pixel_mm, scan.pixel_mm, scan.slice_mm])
    last = np.array([scan.rows, scan.rows, scan.slices]) - 1
    low, high = points.min(0), points.max(0)
    first = np.round((low - scan.origin_mm) / step).clip(0, last)
    end = np.round((high - scan.origin_mm) / step).clip(0, last)
    return {
        "voxels": [float(v) for v in (*first, *end)],
        "mm": [round(float(v), 1) for v in (*low, *high)],
    }
