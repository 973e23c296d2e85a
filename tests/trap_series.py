"""Series that mislead, and what should come of each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from dicom_series import write
from known_content import (
    CORNER,
    CORONAL,
    COUNT,
    OBLIQUE,
    SHADE,
    altered,
    block,
    cut,
    enhanced,
    padded,
    place,
    replaced,
    rounded,
    screen,
    steps,
    tilted,
    turned,
    without,
)
from known_mosaic import mosaic
from pydicom.dataset import Dataset
from units_series import Block, ge, philips, private, siemens, uih

from medgan.errors import Reason


@dataclass(frozen=True)
class Trap:
    """A series, and what should come of it: planes of each volume, refusals, corrections."""

    slices: Sequence[Dataset]
    volumes: tuple[int, ...] = ()
    refused: frozenset[Reason] = frozenset()
    corrected: Mapping[str, int] = field(default_factory=dict)
    shades: tuple[float, ...] = (0.0,)
    limit_hu: float = 1.0  # half a unit of rounding, and as much again for who interpolates
    why: str = ""  # a refusal on purpose, where another tool may be right
    garbled: tuple[bytes, bytes] = (b"", b"")

    def files(self, folder: Path) -> list[Path]:
        files = write(folder, self.slices)
        for file in files if self.garbled[0] else ():
            file.write_bytes(file.read_bytes().replace(*self.garbled))
        return files


def volume(slices: list[Dataset], *volumes: int, **more: Any) -> Trap:
    return Trap(slices, volumes or (COUNT,), **more)


def refusal(slices: list[Dataset], *reasons: Reason, why: str = "") -> Trap:
    return Trap(slices, refused=frozenset(reasons), why=why)


def both(first: list[Dataset], second: list[Dataset], *volumes: int, **more: Any) -> Trap:
    return Trap(first + second, volumes, **{"shades": (0.0, SHADE), **more})


SPLIT = {"multi_phase_split": 1}
COPY = {"duplicate_dropped": 1}
PADDED_POSITION = {"ImagePositionPatient": ["-10.0000", "-8.00000", "15.00000"]}
ACQUISITIONS = {"AcquisitionNumber": 1}, {"AcquisitionNumber": 2}
SCOUT = {"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"], "InstanceNumber": 40}


def traps() -> dict[str, Trap]:
    """Every trap by its name."""
    values = (diffusion_traps, mixture_traps, value_traps, honest_series)
    kinds = (positions_traps, copies_traps, passes_traps, *values)
    return {name: trap for kind in kinds for name, trap in kind().items()}


def positions_traps() -> dict[str, Trap]:
    inner = place(4)
    aside, high = inner + np.array([0.6, 0, 0]), inner + np.array([0, 0, 0.7])
    return {
        "missing slice": refusal(without(block(), 4), Reason.MISSING_SLICE, why="what lay in a gap is not known"),
        "two neighbours missing": refusal(without(block(), 4, 5), Reason.MISSING_SLICE, why="as above"),
        "uneven step": refusal(replaced(4, cut(high)), Reason.UNEVEN_STEP, why="no grid holds all slices"),
        "last slice too high": refusal(
            replaced(9, cut(place(9) + np.array([0, 0, 0.9]))), Reason.UNEVEN_STEP, why="as above"
        ),
        "one step 0.015 mm off": volume(replaced(4, cut(inner + np.array([0, 0, 0.015])))),
        "thin base, thick vertex": volume(
            steps(2, 2, 2, 2, 0.5, 3.5, 3.5, 3.5), 5, 4, corrected={"uneven_step_split": 1}
        ),
        "steps change twice": refusal(
            steps(2, 2, 2, 3, 3, 3, 2, 2), Reason.UNEVEN_STEP, why="no grid holds all slices"
        ),
        "positions rounded to 0.1 mm": volume(rounded(0.65), limit_hu=2.5, corrected={"positions_rounded": 1}),
        "gantry tilt": volume(tilted(17), corrected={"tilt_removed": 1}),
        "gantry tilt, declared": volume(tilted(17, GantryDetectorTilt=-17.0), corrected={"tilt_removed": 1}),
        "tilt in the header only": refusal(
            block(GantryDetectorTilt=17.0), Reason.SHEARED, why="header and positions contradict each other"
        ),
        "tilt declared is another": refusal(tilted(17, GantryDetectorTilt=9.0), Reason.SHEARED, why="as above"),
        "drift that bends": refusal(
            tilted(17, lambda i: 0.05 * i * i), Reason.SHEARED, why="slices lie on no straight line"
        ),
        "one slice aside": refusal(replaced(4, cut(aside)), Reason.SHEARED, why="as above"),
        "position with a comma": Trap(
            [*without(block(), 6), cut(place(6), InstanceNumber=7, **PADDED_POSITION)],
            refused=frozenset({Reason.NO_POSITION, Reason.MISSING_SLICE}),
            why="a slice without a position leaves a gap",
            garbled=(b"15.00000", b"15,00000"),
        ),
    }


def copies_traps() -> dict[str, Trap]:
    once = cut(place(4), shade=SHADE, InstanceNumber=5)
    return {
        "duplicate, same pixels": volume([*block(), cut(place(4), name="copy", InstanceNumber=30)], corrected=COPY),
        "a file twice": volume([*block(), cut(place(4), InstanceNumber=5)], corrected=COPY),
        "all files twice": volume(block() + block(), corrected={"duplicate_dropped": COUNT}),
        "duplicate, other pixels": refusal([*block(), once], Reason.MULTI_PHASE, why="nothing says which is right"),
    }


def passes_traps() -> dict[str, Trap]:
    first, second = ACQUISITIONS
    mr = {"Modality": "MR", "RescaleIntercept": -1024}
    interleaved = [
        cut(place(i), shade=SHADE * (i % 2), EchoTime=[10.0, 80.0][i % 2], InstanceNumber=i + 1, **mr)
        for i in range(2 * COUNT)
    ]
    apart = [
        cut(
            place(i) + np.array([0, 0, 1.4 * k]),
            shade=SHADE * k,
            AcquisitionNumber=k + 1,
            InstanceNumber=i + 1 + 10 * k,
        )
        for k in range(2)
        for i in range(0, COUNT, 2)
    ]
    gates = [
        dataset
        for gate in range(3)
        for dataset in block(shade=SHADE * gate, first=1 + COUNT * gate, Modality="PT", TriggerTime=100.0 * gate)
    ]
    return {
        "two phases": both(block(**first), block(shade=SHADE, first=11, **second), 10, 10, corrected=SPLIT),
        "second phase shorter": both(block(**first), block(6, shade=SHADE, first=11, **second), 10, 6, corrected=SPLIT),
        "phases between one another": both(apart, [], 5, 5, corrected=SPLIT),
        "phases by number only": both(block(), block(shade=SHADE, first=11), 10, 10, corrected=SPLIT),
        "phases nothing tells apart": refusal(
            block(first=0, each=lambda i: {"InstanceNumber": 1})
            + block(shade=SHADE, each=lambda i: {"InstanceNumber": 1}),
            Reason.MULTI_PHASE,
            why="nothing says which slices belong together",
        ),
        "phases by two attributes": Trap(
            [
                dataset
                for gate in range(2)
                for number in range(2)
                for dataset in block(
                    shade=SHADE * (2 * gate + number),
                    each=lambda i: {"InstanceNumber": 1},
                    TriggerTime=100.0 * gate,
                    AcquisitionNumber=number,
                )
            ],
            (10, 10, 10, 10),
            corrected={"multi_phase_split": 3},
            shades=(0.0, SHADE, 2 * SHADE, 3 * SHADE),
        ),
        "interleaved echoes": both(interleaved, [], 10, 10, corrected=SPLIT),
        "b-values of unlike number": both(
            block(DiffusionBValue=0.0, **mr),
            block(7, shade=SHADE, DiffusionBValue=1000.0, **mr),
            10,
            7,
            corrected=SPLIT,
        ),
        "gated PET": Trap(gates, (10, 10, 10), corrected={"multi_phase_split": 2}, shades=(0.0, SHADE, 2 * SHADE)),
        "mosaics": both([mosaic(0, 0.0)], [mosaic(1, SHADE)], 10, 10, corrected=SPLIT),
        "enhanced, two times": both(enhanced(2), [], 10, 10, corrected=SPLIT),
    }


def diffusion(*passes: Sequence[Block], maker: str, **more: Any) -> list[Dataset]:
    """Passes told apart by these attributes only: Instance Numbers run slice by slice."""
    mr = {"Modality": "MR", "RescaleIntercept": -1024, "Manufacturer": maker}
    return [
        private(one, *blocks)
        for k, blocks in enumerate(passes)
        for one in block(shade=SHADE * k, each=lambda i, k=k: {"InstanceNumber": 1 + len(passes) * i + k}, **mr, **more)
    ]


def enhanced_directions() -> list[Dataset]:
    """Two gradient directions in one file, the frames of a place one after the other."""
    (whole,) = enhanced(2)
    whole.Modality = "MR"
    order = [k * COUNT + index for index in range(COUNT) for k in range(2)]
    size = len(whole.PixelData) // len(order)
    whole.PixelData = b"".join(whole.PixelData[n * size : (n + 1) * size] for n in order)
    frames = [whole.PerFrameFunctionalGroupsSequence[n] for n in order]
    for number, frame in enumerate(frames):
        gradient, weighted = Dataset(), Dataset()
        gradient.DiffusionGradientOrientation = [[1.0, 0.0, 0.0], [0.0, 0.8, -0.6]][number % 2]
        weighted.DiffusionBValue, weighted.DiffusionDirectionality = 1000.0, "DIRECTIONAL"
        weighted.DiffusionGradientDirectionSequence = [gradient]
        frame.MRDiffusionSequence = [weighted]
        frame.FrameContentSequence[0].TemporalPositionIndex = 1
    whole.PerFrameFunctionalGroupsSequence = frames
    return [whole]


def diffusion_traps() -> dict[str, Trap]:
    makers = {"Siemens": (siemens, "SIEMENS"), "GE": (ge, "GE MEDICAL SYSTEMS"), "Philips": (philips, "Philips")}
    makers["UIH"] = uih, "UIH"
    x, y = (1.0, 0.0, 0.0), (0.0, 0.8, -0.6)
    unsaid = [(group, "", some) for group, _, some in siemens(1000, x)]
    return {
        **{
            f"b-values, private: {name}": both(
                diffusion(said(0), said(1000, x), maker=maker), [], 10, 10, corrected=SPLIT
            )
            for name, (said, maker) in makers.items()
        },
        **{
            f"directions, private: {name}": both(
                diffusion(said(1000, x), said(1000, y), maker=maker), [], 10, 10, corrected=SPLIT
            )
            for name, (said, maker) in makers.items()
        },
        "directions, enhanced": both(enhanced_directions(), [], 10, 10, corrected=SPLIT),
        "b-value without its creator": refusal(
            diffusion(siemens(0), unsaid, maker="SIEMENS"),
            Reason.MULTI_PHASE,
            why="whose attribute it is, is not known",
        ),
    }


def mixture_traps() -> dict[str, Trap]:
    mpr = {"ImageType": ["DERIVED", "SECONDARY", "MPR"]}
    scout = cut(CORNER + np.array([0, 5, 30]), CORONAL, **SCOUT)
    other = cut(place(9), size=(10, 16), InstanceNumber=10)
    turn = cut(place(12), turned(20, (1, 0, 0)), InstanceNumber=11)
    frame = {"FrameOfReferenceUID": "1.2.3.10"}
    pet: dict[str, Any] = {"Modality": "PT", "RescaleIntercept": 0, "Units": "BQML"}
    activity = block(shade=500.0, **pet)
    return {
        "localizer inside": volume([*block(), scout], refused=frozenset({Reason.LOCALIZER})),
        "a slice of other size": volume([*without(block(), 9), other], 9, refused=frozenset({Reason.MIXED_SIZE})),
        "a slice of other spacing": volume(
            [*without(block(), 9), cut(place(9), PixelSpacing=[1.4, 1.25], InstanceNumber=10)],
            9,
            refused=frozenset({Reason.MIXED_SPACING}),
        ),
        "inner slice of other spacing": refusal(
            replaced(4, cut(place(4), PixelSpacing=[1.4, 1.25])),
            Reason.MIXED_SPACING,
            Reason.MISSING_SLICE,
            why="one slice is of another grid",
        ),
        "a slice of other orientation": volume([*block(), turn], refused=frozenset({Reason.MIXED_ORIENTATION})),
        "two frames of reference": both(block(), block(6, shade=SHADE, first=11, **frame), 10, 6),
        "reformatted slices inside": both(block(), block(6, CORONAL, first=11, **mpr), 10, 6),
        "projections inside": both(block(), block(step=4.0, shade=SHADE, first=11, count=5, **mpr), 10, 5),
        "a PET slice of another unit": refusal(
            [*without(activity, 4), cut(place(4), shade=500.0 + SHADE, InstanceNumber=5, **{**pet, "Units": "CNTS"})],
            Reason.MISSING_SLICE,
            Reason.TOO_FEW_SLICES,
            why="counts are no activity",
        ),
        "screen inside": volume([*block(), *screen()]),
        "two slices": refusal(block(2), Reason.TOO_FEW_SLICES, why="with one step no gap can be seen"),
    }


def value_traps() -> dict[str, Trap]:
    return {
        "slope of each slice": volume(
            block(
                Modality="PT",
                RescaleIntercept=0,
                shade=500.0,
                each=lambda i: {"RescaleSlope": round(0.11 * (1 + 0.13 * i), 6)},
            ),
            shades=(500.0,),
            limit_hu=0.2,
        ),
        "intercept of each slice": volume(block(each=lambda i: {"RescaleIntercept": -1024 - 10 * i})),
        "MONOCHROME1": volume(block(PhotometricInterpretation="MONOCHROME1")),
        "12 bits signed, not extended": volume(
            altered(lambda v: v & 0x0FFF, RescaleIntercept=0, PixelRepresentation=1, BitsStored=12, HighBit=11)
        ),
        "junk above the bits stored": volume(
            altered(lambda v: v & 0x0FFF | 0xA000, PixelRepresentation=0, BitsStored=12, HighBit=11)
        ),
        "padding beside the signal": volume(padded()),
    }


def honest_series() -> dict[str, Trap]:
    """Series without fault that a careless reader gets wrong."""
    backwards = sorted(block(each=lambda i: {"InstanceNumber": COUNT - i}), key=lambda d: -d.ImagePositionPatient[2])
    liar = {"SpacingBetweenSlices": 5.0, "SliceThickness": 7.0}
    return {
        "plain": volume(block()),
        "oblique": volume(block(10, OBLIQUE)),
        "sagittal": volume(block(10, (0.0, 1.0, 0.0, 0.0, 0.0, -1.0))),
        "prone": volume(block(10, (-1.0, 0.0, 0.0, 0.0, -1.0, 0.0), PatientPosition="HFP")),
        "feet first": volume(block(10, (-1.0, 0.0, 0.0, 0.0, 1.0, 0.0), PatientPosition="FFS")),
        "names and numbers reversed": volume(backwards),
        "thickness and location lie": volume(block(each=lambda i: {"SliceLocation": float(-i * i)}, **liar)),
        "enhanced": volume(enhanced()),
    }
