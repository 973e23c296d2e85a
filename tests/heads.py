"""Made-up heads with a face each: skin, skull, brain, eyes, teeth and airways as implicit surfaces, for CT and MR.

Millimetres in DICOM's axes (x left, y back, z up), the origin in the middle of the brain.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from factories import dicom_bytes
from numpy.typing import NDArray
from pydicom import dcmread
from pydicom.dataset import FileDataset

from medgan.errors import Reason

Array = NDArray[np.floating[Any]]
AIR, SKIN, MUSCLE, BONE, FLUID, GREY, WHITE, TOOTH, EYE = range(9)
HU = (-1000, -60, 55, 900, 8, 38, 28, 1900, 15)
T1 = (0.0, 0.92, 0.42, 0.06, 0.16, 0.54, 0.78, 0.02, 0.2)
T2 = (0.0, 0.7, 0.2, 0.05, 1.0, 0.62, 0.45, 0.02, 0.95)


@dataclass(frozen=True, slots=True)
class Face:
    """What differs between heads: sizes against the usual, shapes in mm, the pose in degrees."""

    brain: tuple[float, float, float]
    width: float
    depth: float
    nose: tuple[float, float, float]  # how far it stands out, its width, its height above the usual
    jaw: tuple[float, float]
    chin: float
    cheek: float
    brow: float
    socket: float
    lips: float
    ear: tuple[float, float]
    pitch_deg: float
    seed: int


def draw_face(seed: int, pitch_deg: float = 0.0) -> Face:
    rng = np.random.default_rng(seed)
    size = rng.normal(1.0, 0.04)
    return Face(
        brain=(float(67 * size), float(85 * size * rng.normal(1, 0.02)), float(62 * size * rng.normal(1, 0.02))),
        width=float(rng.normal(60, 4)),
        depth=float(rng.normal(46, 4)),
        nose=(float(rng.normal(17, 4)), float(rng.normal(12, 2)), float(rng.normal(0, 5))),
        jaw=(float(rng.normal(48, 5)), float(rng.normal(30, 4))),
        chin=float(rng.normal(10, 4)),
        cheek=float(rng.normal(10, 3)),
        brow=float(rng.normal(6, 2)),
        socket=float(rng.normal(11, 2)),
        lips=float(rng.normal(6, 2)),
        ear=(float(rng.normal(15, 4)), float(rng.normal(30, 4))),
        pitch_deg=pitch_deg,
        seed=seed,
    )


@dataclass
class Picture:
    """An instance as the removal of faces sees it."""

    ds: FileDataset
    reason: Reason | None = None
    repainted: bool = False
    faceless: bool = False


@dataclass(frozen=True, slots=True)
class Plan:
    """Parallel slices: how many of which size, where the first pixel lies, their directions and steps, mm."""

    shape: tuple[int, int, int]
    origin: tuple[float, float, float]
    step: tuple[float, float, float]  # from a slice to the next; may be oblique
    spacing: tuple[float, float]
    along: tuple[float, float, float] = (1.0, 0.0, 0.0)
    down: tuple[float, float, float] = (0.0, 1.0, 0.0)

    def origins(self) -> Array:
        """[D, 3]"""
        return np.array(self.origin) + np.arange(self.shape[0])[:, None] * np.array(self.step)

    def points(self) -> Array:
        """[D, H, W, 3]"""
        rows = np.arange(self.shape[1])[:, None, None] * self.spacing[0] * np.array(self.down)
        columns = np.arange(self.shape[2])[:, None] * self.spacing[1] * np.array(self.along)
        return (self.origins()[:, None, None] + rows + columns).astype(np.float32)


AXIAL = Plan((58, 64, 52), (-104.0, -140.0, -170.0), (0.0, 0.0, 4.5), (4.0, 4.0))
SAGITTAL = Plan((46, 64, 66), (-100.0, -140.0, 90.0), (4.5, 0.0, 0.0), (4.0, 4.0), (0.0, 1.0, 0.0), (0.0, 0.0, -1.0))


def series(stored: NDArray[Any], plan: Plan, **more: Any) -> list[Picture]:
    """Instances of 16-bit stored values [D, H, W]; a CT series of the head unless `more` says otherwise."""
    values: dict[str, Any] = {
        "BodyPartExamined": "HEAD",
        "ImageType": ["ORIGINAL", "PRIMARY", "AXIAL"],
        "FrameOfReferenceUID": "1.2.3.9",
        "Rows": plan.shape[1],
        "Columns": plan.shape[2],
        "BitsStored": 16,
        "HighBit": 15,
        "PixelSpacing": list(plan.spacing),
        "ImageOrientationPatient": [*plan.along, *plan.down],
    }
    if more.get("Modality", "CT") == "CT":
        values |= {"RescaleSlope": 1, "RescaleIntercept": -1024}
    found = []
    for number, (frame, origin) in enumerate(zip(stored, plan.origins(), strict=True)):
        place = {"ImagePositionPatient": [round(float(c), 4) for c in origin], "PixelData": frame.tobytes()}
        found.append(reread(dicom_bytes(f"1.2.3.4.{number}", **{**values, **place, **more})))
    return found


def reread(data: bytes) -> Picture:
    return Picture(dcmread(io.BytesIO(data)))


def stack(pictures: Sequence[Picture]) -> NDArray[Any]:
    """Stored values [D, H, W] as they are now."""
    return np.stack([picture.ds.pixel_array for picture in pictures])


def stored_ct(hu: NDArray[np.float32]) -> NDArray[np.uint16]:
    return np.clip(np.round(hu + 1024), 0, 4095).astype("<u2")


def stored_mr(signal: NDArray[np.float32]) -> NDArray[np.uint16]:
    return np.clip(np.round(np.abs(signal) * 1000), 0, 4095).astype("<u2")


def scan(labels: NDArray[np.uint8], contrast: tuple[float, ...], noise: float, seed: int = 0) -> NDArray[np.float32]:
    """Values of tissues in the contrast's unit, with noise of that deviation."""
    grain = np.random.default_rng(seed).standard_normal(labels.shape, np.float32)
    return np.asarray(contrast, np.float32)[labels] + np.float32(noise) * grain


def tissue(face: Face, points: Array) -> NDArray[np.uint8]:
    """The tissue at `points` [..., 3]."""
    x, y, z = _posed(face, points)
    inside = brain(face, x, y, z)
    skin = surface(face, x, y, z, inside - 9)
    found = np.where(skin < 0, np.where(skin > -4, SKIN, MUSCLE), AIR).astype(np.uint8)
    found[facial_bone(x, y, z, skin) | (inside < 9)] = BONE
    column, under = np.hypot(x, y - 28), skin < -6
    found[(z < -60) & (column < 20) & under] = BONE
    found[(column < 15) & (z < -40) & under] = FLUID  # the foramen magnum and the spinal canal
    found[inside < 0] = FLUID
    found[(column < 7) & (z < -40) & under] = WHITE
    sulcus = np.abs(np.sin(x / 7 + face.seed) * np.sin(y / 8) * np.sin(z / 7.5)) < 0.03
    found[(inside < -2.5) & ~(sulcus & (inside > -16))] = GREY
    found[inside < -9] = WHITE
    found[oval(np.abs(x) - 9, y, z - 8, (5, 26, 9)) < 0] = FLUID
    _face_inside(face, found, x, y, z, under)
    return found


def _face_inside(face: Face, found: NDArray[np.uint8], x: Array, y: Array, z: Array, under: NDArray[np.bool_]) -> None:
    found[oval(np.abs(x) - 32, y + 0.86 * face.brain[1] - 2, z + 48, (12, 12, 12)) < 0] = EYE
    airways = np.minimum(oval(x, y + 55, z + 62, (12, 26, 17)), oval(x, y + 12, z + 95, (9, 9, 60)))
    found[(airways < 0) & under] = AIR
    arch = np.abs(np.hypot(x, y + 45) - 26) < 4
    found[arch & (y < -45) & (np.abs(z + 100) < 9) & under] = TOOTH


def inside_skull(face: Face, points: Array) -> NDArray[np.bool_]:
    """Whether `points` [..., 3] lie inside the skull."""
    x, y, z = _posed(face, points)
    return np.asarray(brain(face, x, y, z) < 0)


def on_face(face: Face, points: Array, thick_mm: float) -> NDArray[np.bool_]:
    """Whether `points` [..., 3] lie just under the skin from brow to chin, in front of the jaw's joint, or in ears."""
    x, y, z = _posed(face, points)
    skin = surface(face, x, y, z, brain(face, x, y, z) - 9)
    front = (y < -0.3 * face.brain[1]) & (z < -32) & (z > -155) & (skin < 0) & (skin > -thick_mm)
    return np.asarray(front | (ear(face, np.abs(x), y, z) < 0) & (np.abs(x) > 86))


def brain(face: Face, x: Array, y: Array, z: Array) -> Array:
    """Signed distance to the inside of the skull, mm."""
    a, b, c = face.brain
    vault = np.maximum(oval(x, y, z, (a, b, c)), -z - 32)
    temporal = oval(np.abs(x) - 0.62 * a, y + 12, z + 32, (0.34 * a, 34, 24))
    below = oval(np.abs(x) - 18, y - 0.5 * b, z + 38, (32, 36, 26))
    return np.minimum(np.minimum(vault, temporal), below)


def surface(face: Face, x: Array, y: Array, z: Array, skull: Array) -> Array:
    """Signed distance to the skin, mm."""
    front = -0.5 * face.brain[1]
    edge, aside = front - face.depth, np.abs(x)
    out, wide, high = face.nose
    skin = blend(skull - 6, oval(x, y - front, z + 75, (face.width, face.depth, 62)), 14)
    skin = blend(skin, oval(x, y - front + 2, z + 118, (face.jaw[0], face.depth - 4, face.jaw[1])), 14)
    skin = blend(skin, oval(x, y - edge - 3, z + 138, (18, face.chin + 8, 14)), 8)
    cheek = oval(aside - 0.72 * face.width, y - front + 0.62 * face.depth, z + 68, (18, face.cheek + 6, 14))
    skin = blend(skin, cheek, 8)
    skin = np.minimum(skin, ear(face, aside, y, z))
    skin = blend(skin, oval(x, y - edge - 8, z + 36, (42, face.brow + 8, 9)), 8)
    skin = -blend(-skin, oval(aside - 32, y - edge + 1, z + 50, (17, face.socket, 11)), 6)
    skin = blend(skin, oval(x, y - edge - 2, z + 68 + high, (0.5 * wide, 4 + 0.6 * out, 22)), 6)
    skin = blend(skin, oval(x, y - edge, z + 84 + high, (wide, out, 0.7 * wide)), 6)
    skin = blend(skin, oval(x, y - edge, z + 106, (24, face.lips, 9)), 4)
    return blend(skin, np.maximum(np.hypot(x, (y - 22) * 0.95) - 56, z + 70), 12)


def ear(face: Face, aside: Array, y: Array, z: Array) -> Array:
    """Signed distance to the ears, mm; they lean out and back."""
    out, high = face.ear
    lean = aside - 78 - 0.25 * out - 0.3 * (y - 12)
    return oval(lean, y - 12, z + 45, (0.55 * out, 17, high))


def facial_bone(x: Array, y: Array, z: Array, skin: Array) -> NDArray[np.bool_]:
    """A shell of bone well under the face's skin, with the eyes and the mouth open."""
    shell = (skin < -11) & (skin > -15) & (z < -40) & (z > -150) & (y < 0)
    open_ = (np.abs(np.abs(x) - 32) < 15) & (np.abs(z + 50) < 13)
    return np.asarray(shell & ~open_)


def oval(x: Array, y: Array, z: Array, half: tuple[float, float, float]) -> Array:
    """About the signed distance to an ellipsoid."""
    a, b, c = half
    far = np.sqrt((x / a) ** 2 + (y / b) ** 2 + (z / c) ** 2)
    steep = np.sqrt((x / a**2) ** 2 + (y / b**2) ** 2 + (z / c**2) ** 2)
    return far * (far - 1) / np.maximum(steep, 1e-6)


def blend(a: Array, b: Array, soft_mm: float) -> Array:
    """The union of two bodies, rounded where they meet."""
    near = np.clip(soft_mm - np.abs(a - b), 0, None)
    return np.minimum(a, b) - near * near / (4 * soft_mm)


def _posed(face: Face, points: Array) -> tuple[Array, Array, Array]:
    angle = np.deg2rad(face.pitch_deg)
    x, y, z = np.moveaxis(points.astype(np.float32), -1, 0)
    return x, np.cos(angle) * y - np.sin(angle) * z, np.sin(angle) * y + np.cos(angle) * z
