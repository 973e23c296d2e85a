from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from dicom_series import ct_slice, film, sorted_series, uid, write
from pydicom.dataset import Dataset

from medgan.dicom.phases import DIVIDING
from medgan.dicom.read import planes_of, read_planes, values
from medgan.dicom.series import Stack, sort_planes
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
    "slices drift steeply": (all_changed(lambda i: {"ImagePositionPatient": [0, 2.1 * i, 2.0 * i]}), Reason.SHEARED),
    "slices drift on a curve": (
        all_changed(lambda i: {"ImagePositionPatient": [0, 0.05 * i * i, 2.0 * i]}),
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


def inside(stack: Stack) -> list[float]:
    return [float(values(plane)[0][5, 5]) for plane in stack.planes]


@pytest.mark.parametrize("name", PHASES)
def test_each_of_two_phases_is_a_volume_in_the_order_of_what_tells_them_apart(tmp_path: Path, name: str) -> None:
    first = [ct_slice(i, **dict.fromkeys(PHASES[name], 1)) for i in range(8)]
    found = sorted_series(tmp_path, [later(i, **PHASES[name]) for i in range(8)] + first)
    assert [inside(stack) for stack in found.stacks] == [
        [10.0 * i for i in range(8)],
        [76.0 + 10.0 * i for i in range(8)],
    ]
    assert [(stack.series, stack.phase) for stack in found.stacks] == [("1.2.3.1", 0), ("1.2.3.1", 1)]
    assert found.corrected == {"multi_phase_split": 1} and not found.refused


def test_phases_that_only_instance_numbers_tell_apart_are_split_by_passes(tmp_path: Path) -> None:
    found = sorted_series(tmp_path, [later(i, InstanceNumber=9 + i) for i in range(8)] + block())
    assert [inside(stack)[0] for stack in found.stacks] == [0.0, 76.0]


def test_a_phase_that_is_no_volume_is_refused_and_the_others_stay(tmp_path: Path) -> None:
    spoilt = [later(i, EchoTime=80.0) for i in (0, 1, 2, 4, 5)]
    third = [ct_slice(i, EchoTime=90.0, SOPInstanceUID=uid("third", i), RescaleIntercept=0) for i in range(8)]
    found = sorted_series(tmp_path, block(EchoTime=10.0) + spoilt + third)
    assert [(stack.phase, len(stack.planes)) for stack in found.stacks] == [(0, 8), (1, 8)]
    assert found.refused == {Reason.MISSING_SLICE: 1}


@pytest.mark.parametrize("name", PHASES)
def test_the_order_of_phases_is_that_of_what_tells_them_apart(tmp_path: Path, name: str) -> None:
    first = [ct_slice(i, **dict.fromkeys(PHASES[name], 99)) for i in range(8)]
    found = sorted_series(tmp_path, first + [later(i, **PHASES[name]) for i in range(8)])
    assert [inside(stack)[0] for stack in found.stacks] == [76.0, 0.0]


IMAGE_TYPES = {
    "derived": ["DERIVED", "PRIMARY", "AXIAL"],
    "a field map": ["ORIGINAL", "PRIMARY", "AXIAL", "FIELD_MAP"],
    "water": ["ORIGINAL", "PRIMARY", "AXIAL", "WATER"],
}


@pytest.mark.parametrize("name", IMAGE_TYPES)
def test_pictures_of_another_kind_at_the_same_places_are_a_volume_of_their_own(tmp_path: Path, name: str) -> None:
    found = sorted_series(tmp_path, block() + [later(i, ImageType=IMAGE_TYPES[name]) for i in range(8)])
    assert sorted(inside(stack)[0] for stack in found.stacks) == [0.0, 76.0] and not found.refused


def test_two_acquisitions_that_follow_one_another_with_a_gap_between_are_no_phases(tmp_path: Path) -> None:
    found = sorted_series(tmp_path, [ct_slice(i, AcquisitionNumber=1 + (i > 4)) for i in range(9) if i != 4])
    assert found.refused == {Reason.MISSING_SLICE: 1} and not found.stacks


def test_passes_alike_only_in_their_middle_are_both_kept(tmp_path: Path) -> None:
    second = [later(i, InstanceNumber=9 + i) for i in range(8)]
    second[4].PixelData = ct_slice(4).PixelData
    assert len(sorted_series(tmp_path, block() + second).stacks) == 2


def test_a_pass_that_repeats_the_pixels_of_another_is_dropped(tmp_path: Path) -> None:
    again = [ct_slice(i, SOPInstanceUID=uid("again", i), InstanceNumber=9 + i) for i in range(8)]
    found = sorted_series(tmp_path, block() + again)
    assert len(found.stacks) == 1 and found.corrected == {"duplicate_dropped": 8}


def test_equal_pixels_of_unequal_slope_are_no_copies(tmp_path: Path) -> None:
    again = [ct_slice(i, SOPInstanceUID=uid("again", i), InstanceNumber=9 + i, RescaleSlope=2) for i in range(8)]
    found = sorted_series(tmp_path, block() + again)
    assert len(found.stacks) == 2 and found.corrected == {"multi_phase_split": 1}


def test_an_attribute_that_varies_with_the_slice_divides_nothing(tmp_path: Path) -> None:
    slices = [ct_slice(i, InversionTime=100.0 + i, AcquisitionNumber=i) for i in range(8)]
    (stack,) = sorted_series(tmp_path, slices).stacks
    assert len(stack.planes) == 8


DIVIDING_ATTRIBUTES = {
    "TemporalPositionIdentifier": 7,
    "EchoTime": 7.5,
    "EchoNumbers": 3,
    "InversionTime": 900.0,
    "DiffusionBValue": 700.0,
}
PERHAPS_OF_THE_SLICE = {"TriggerTime": 40.0, "AcquisitionNumber": 3, "FrameReferenceTime": 9.0, "AcquisitionTime": "1"}


def test_what_divides_planes_comes_first_in_what_they_say_of_their_phase(tmp_path: Path) -> None:
    def changed_by(number: int, **more: object) -> list[int]:
        plane, plain = (planes_of(write(tmp_path / f"{number}", [ct_slice(0, **some)])[0])[0] for some in (more, {}))
        return [c for c, (a, b) in enumerate(zip(plane.phase, plain.phase, strict=True)) if a != b]

    for number, (name, value) in enumerate({**DIVIDING_ATTRIBUTES, **PERHAPS_OF_THE_SLICE}.items()):
        (column,) = changed_by(number, **{name: value})
        assert (column < DIVIDING) == (name in DIVIDING_ATTRIBUTES), name


def test_a_tilt_becomes_an_upright_grid_and_the_shift_of_each_slice(tmp_path: Path) -> None:
    found = sorted_series(tmp_path, [ct_slice(i, ImagePositionPatient=[0.3 * i, 0.7 * i, 2.0 * i]) for i in range(8)])
    (stack,) = found.stacks
    assert stack.shear == pytest.approx((0.7, 0.3)) and stack.geometry.spacing_mm == (2.0, 1.0, 1.0)
    assert stack.geometry.axes == ((0, 0, 1), (0, 1, 0), (1, 0, 0)) and found.corrected == {"tilt_removed": 1}


def test_a_declared_tilt_is_held_against_the_drift_or_else_the_lean_of_the_slices(tmp_path: Path) -> None:
    def drifting(tilt: float) -> list[Dataset]:
        return [ct_slice(i, ImagePositionPatient=[0, 0.7 * i, 2.0 * i], GantryDetectorTilt=tilt) for i in range(8)]

    for number, (tilt, refused) in enumerate({19.3: False, -19.3: False, 0.0: False, 12.0: True}.items()):
        found = sorted_series(tmp_path / f"{number}", drifting(tilt))
        assert (found.refused == {Reason.SHEARED: 1}) == refused and len(found.stacks) == 1 - refused


def test_reformatted_slices_repeat_the_tilt_of_their_source(tmp_path: Path) -> None:
    slices = block(GantryDetectorTilt=12.0, ImageType=["DERIVED", "SECONDARY", "MPR"])
    assert len(sorted_series(tmp_path, slices).stacks) == 1


def test_jitter_that_no_rounding_explains_is_no_even_step(tmp_path: Path) -> None:
    slices = [ct_slice(i, ImagePositionPatient=[0, 0, 2.0 * i + [0.03, -0.03][i % 2]]) for i in range(8)]
    assert sorted_series(tmp_path, slices).refused == {Reason.UNEVEN_STEP: 1}


def test_rows_and_columns_keep_their_own_spacing(tmp_path: Path) -> None:
    (stack,) = sorted_series(tmp_path, block(PixelSpacing=[0.8, 0.5])).stacks
    assert np.allclose(stack.geometry.affine @ [0, 1, 0, 1], [0, 0.8, 0, 1])
    assert np.allclose(stack.geometry.affine @ [0, 0, 1, 1], [0.5, 0, 0, 1])


def test_small_differences_of_steps_must_not_add_up(tmp_path: Path) -> None:
    heights = np.cumsum([0.0] + [2.0] * 20 + [2.018] * 20)
    found = sorted_series(tmp_path, [ct_slice(i, ImagePositionPatient=[0, 0, float(z)]) for i, z in enumerate(heights)])
    assert found.refused == {Reason.UNEVEN_STEP: 1} and not found.stacks


def test_the_step_may_change_once_where_both_parts_are_volumes(tmp_path: Path) -> None:
    heights = [0.0, 2, 4, 6, 7, 11, 15]
    found = sorted_series(tmp_path, [ct_slice(i, ImagePositionPatient=[0, 0, z]) for i, z in enumerate(heights)])
    assert [(len(s.planes), s.geometry.spacing_mm[0], s.geometry.origin_mm[2]) for s in found.stacks] == [
        (4, 2.0, 0.0),
        (3, 4.0, 7.0),
    ]
    assert found.corrected == {"uneven_step_split": 1}


def test_two_copies_of_a_radiograph_are_one_and_another_of_its_name_is_kept(tmp_path: Path) -> None:
    picture = np.arange(64, dtype=np.uint8).reshape(8, 8)
    planes, _ = read_planes(write(tmp_path, [film("a", picture), film("a", picture), film("a", picture[::-1])]))
    found = sort_planes(planes)
    assert sort_planes(planes[::-1]) == found
    assert len(found.films) == 2 and found.corrected == {"duplicate_dropped": 1}


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
