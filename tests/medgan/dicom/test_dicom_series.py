from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from dicom_series import ct_slice, film, sorted_series, uid, write
from pydicom.dataset import Dataset

from medgan.dicom.read import read_planes, values
from medgan.dicom.series import sort_planes
from medgan.errors import Reason


def block(count: int = 8, **more: object) -> list[Dataset]:
    return [ct_slice(index, **more) for index in range(count)]


def test_a_series_becomes_one_volume_in_the_order_of_its_normal(tmp_path: Path) -> None:
    found = sorted_series(tmp_path, block())
    (stack,) = found.stacks
    assert stack.geometry.shape == (8, 16, 16) and stack.geometry.spacing_mm == (2.0, 1.0, 1.0)
    assert [plane.position_mm[2] for plane in stack.planes] == [2.0 * i for i in range(8)]
    assert not found.refused and not found.corrected
    assert np.allclose(stack.geometry.affine @ [3, 0, 1, 1], [1, 0, 6, 1])


def test_the_order_of_files_changes_nothing(tmp_path: Path) -> None:
    files = write(tmp_path, block())
    planes, _ = read_planes(files)
    chance = np.random.default_rng(1)
    wanted = sort_planes(planes).stacks[0].planes
    for _ in range(5):
        some = [planes[i] for i in chance.permutation(len(planes))]
        assert sort_planes(some).stacks[0].planes == wanted


def without(index: int) -> Callable[[list[Dataset]], list[Dataset]]:
    return lambda slices: slices[:index] + slices[index + 1 :]


def changed(index: int, **more: object) -> Callable[[list[Dataset]], list[Dataset]]:
    return lambda slices: slices[:index] + [ct_slice(index, **more)] + slices[index + 1 :]


def all_changed(change: Callable[[int], dict[str, object]]) -> Callable[[list[Dataset]], list[Dataset]]:
    return lambda slices: [ct_slice(index, **change(index)) for index in range(len(slices))]


SPOILT = {
    "a slice is missing": (without(3), Reason.MISSING_SLICE),
    "two slices are missing": (lambda s: without(3)(without(4)(s)), Reason.MISSING_SLICE),
    "a slice lies too high": (changed(3, ImagePositionPatient=[0, 0, 6.5]), Reason.UNEVEN_STEP),
    "the last slice lies too high": (changed(7, ImagePositionPatient=[0, 0, 14.9]), Reason.UNEVEN_STEP),
    "a slice lies aside": (changed(3, ImagePositionPatient=[0.3, 0, 6]), Reason.SHEARED),
    "a slice is tilted": (changed(7, ImageOrientationPatient=[1, 0, 0, 0, 0.98, 0.199]), Reason.MIXED_ORIENTATION),
    "a slice has another size": (changed(7, side=12), Reason.MIXED_SIZE),
    "a slice has another spacing": (changed(7, PixelSpacing=[1.1, 1.1]), Reason.MIXED_SPACING),
    "a slice has no position": (changed(7, ImagePositionPatient=None), Reason.NO_POSITION),
    "a localizer is among them": (changed(7, ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"]), Reason.LOCALIZER),
    "the gantry was tilted": (
        all_changed(lambda i: {"ImagePositionPatient": [0, 0.7 * i, 2.0 * i]}),
        Reason.SHEARED,
    ),
    "a tilt is declared but not shown": (all_changed(lambda _: {"GantryDetectorTilt": 12.0}), Reason.SHEARED),
    "nothing has an orientation": (all_changed(lambda _: {"ImageOrientationPatient": None}), Reason.NO_POSITION),
    "orientation is no direction": (all_changed(lambda _: {"ImageOrientationPatient": [0] * 6}), Reason.NO_POSITION),
    "axes are not perpendicular": (
        all_changed(lambda _: {"ImageOrientationPatient": [1, 0, 0, 0.5, 0.866, 0]}),
        Reason.NO_POSITION,
    ),
    "tiles of a mosaic": (all_changed(lambda _: {"ImageType": ["ORIGINAL", "PRIMARY", "MOSAIC"]}), Reason.MOSAIC),
    "too few": (lambda s: s[:2], Reason.TOO_FEW_SLICES),
}


@pytest.mark.parametrize("name", SPOILT)
def test_a_spoilt_series_never_becomes_an_unmarked_volume(tmp_path: Path, name: str) -> None:
    spoil, reason = SPOILT[name]
    found = sorted_series(tmp_path, spoil(block()))
    assert found.refused[reason] == 1, found.refused
    assert all(len(stack.planes) < 8 for stack in found.stacks)


def test_rounded_positions_are_one_step(tmp_path: Path) -> None:
    slices = [ct_slice(i, ImagePositionPatient=[0, 0, round(0.7031 * i, 2)]) for i in range(30)]
    (stack,) = sorted_series(tmp_path, slices).stacks
    assert stack.geometry.spacing_mm[0] == pytest.approx(0.7031, abs=1e-3)


def test_exact_copies_are_dropped_and_counted(tmp_path: Path) -> None:
    again = [ct_slice(i, SOPInstanceUID=uid("copy", i)) for i in (2, 5)]
    found = sorted_series(tmp_path, block() + again)
    assert found.stacks[0].geometry.shape[0] == 8
    assert found.corrected == {"duplicate_dropped": 2} and not found.refused


def later(index: int, **more: object) -> Dataset:
    brighter = np.full((16, 16), 1100 + 10 * index, "<u2").tobytes()
    return ct_slice(index, SOPInstanceUID=uid("later", index), PixelData=brighter, **more)


PHASES = {
    "acquisition": {"AcquisitionNumber": 2},
    "time": {"TemporalPositionIdentifier": 2},
    "echo": {"EchoTime": 80.0},
}


@pytest.mark.parametrize("name", PHASES)
def test_of_two_phases_the_first_is_taken_and_it_is_counted(tmp_path: Path, name: str) -> None:
    first = [ct_slice(i, **dict.fromkeys(PHASES[name], 1)) for i in range(8)]
    found = sorted_series(tmp_path, first + [later(i, **PHASES[name]) for i in range(8)])
    (stack,) = found.stacks
    assert [values(plane)[0][5, 5] for plane in stack.planes] == [10.0 * i for i in range(8)]
    assert found.corrected == {"multi_phase_split": 1}


def test_phases_that_only_instance_numbers_tell_apart_are_split_by_passes(tmp_path: Path) -> None:
    found = sorted_series(tmp_path, block() + [later(i, InstanceNumber=9 + i) for i in range(8)])
    assert [values(plane)[0][5, 5] for plane in found.stacks[0].planes] == [10.0 * i for i in range(8)]


def test_phases_that_nothing_tells_apart_are_refused(tmp_path: Path) -> None:
    found = sorted_series(tmp_path, block(InstanceNumber=1) + [later(i, InstanceNumber=1) for i in range(8)])
    assert found.refused == {Reason.MULTI_PHASE: 1} and not found.stacks


@pytest.mark.parametrize("number", [lambda i: (i + 1, 16 - i), lambda i: (2 * i + 1, 2 * i + 2)])
def test_instance_numbers_that_are_not_passes_in_one_order_split_nothing(
    tmp_path: Path, number: Callable[[int], tuple[int, int]]
) -> None:
    first = [ct_slice(i, InstanceNumber=number(i)[0]) for i in range(8)]
    found = sorted_series(tmp_path, first + [later(i, InstanceNumber=number(i)[1]) for i in range(8)])
    assert found.refused == {Reason.MULTI_PHASE: 1} and not found.stacks


def test_one_more_slice_at_an_occupied_place_is_refused(tmp_path: Path) -> None:
    found = sorted_series(tmp_path, [*block(), later(3)])
    assert found.refused == {Reason.MULTI_PHASE: 1} and not found.stacks


def test_a_radiograph_is_a_film_and_a_cine_loop_gives_its_middle_frame(tmp_path: Path) -> None:
    loop = np.repeat(np.arange(5, dtype=np.uint8) * 40, 64).reshape(5, 8, 8)
    cine = film("us", loop[0], Modality="US", NumberOfFrames=5, PixelData=loop.tobytes())
    found = sorted_series(tmp_path, [film("dx", np.arange(64, dtype=np.uint8).reshape(8, 8)), cine])
    assert {plane.modality: plane.frame for plane in found.films} == {"DX": 0, "US": 2}
    assert not found.stacks and not found.refused


def enhanced(count: int = 6) -> Dataset:
    """An enhanced multi-frame file of `count` frames, in falling order of position, slope 2 on each."""
    frames = []
    for index in reversed(range(count)):
        frame, position, rescale = Dataset(), Dataset(), Dataset()
        position.ImagePositionPatient = [0.0, 0.0, 3.0 * index]
        rescale.RescaleSlope, rescale.RescaleIntercept, rescale.RescaleType = 2, -100, "HU"
        frame.PlanePositionSequence, frame.PixelValueTransformationSequence = [position], [rescale]
        frames.append(frame)
    shared, orientation, measures = Dataset(), Dataset(), Dataset()
    orientation.ImageOrientationPatient, measures.PixelSpacing = [1, 0, 0, 0, 1, 0], [0.5, 0.5]
    shared.PlaneOrientationSequence, shared.PixelMeasuresSequence = [orientation], [measures]
    pixels = np.stack([np.full((16, 16), index, "<u2") for index in reversed(range(count))])
    return ct_slice(
        0,
        ImagePositionPatient=None,
        ImageOrientationPatient=None,
        PixelSpacing=None,
        NumberOfFrames=count,
        PixelData=pixels.tobytes(),
        SharedFunctionalGroupsSequence=[shared],
        PerFrameFunctionalGroupsSequence=frames,
    )


def test_an_enhanced_file_is_a_volume_by_its_functional_groups(tmp_path: Path) -> None:
    (stack,) = sorted_series(tmp_path, [enhanced()]).stacks
    assert stack.geometry.spacing_mm == (3.0, 0.5, 0.5)
    assert [values(plane)[0][0, 0] for plane in stack.planes] == [2.0 * i - 100 for i in range(6)]


def test_an_enhanced_file_with_a_frame_left_out_is_refused(tmp_path: Path) -> None:
    spoilt = enhanced()
    spoilt.PerFrameFunctionalGroupsSequence[2].PlanePositionSequence[0].ImagePositionPatient = [0.0, 0.0, 30.0]
    found = sorted_series(tmp_path, [spoilt])
    assert not found.stacks and sum(found.refused.values()) == 1
