"""Faces go from every instance of a head that has a place, and nothing inside the skull changes."""

from dataclasses import dataclass, replace
from functools import cache

import heads
import numpy as np
import pytest
from heads import AXIAL, SAGITTAL, Picture, Plan
from pydicom.dataset import Dataset
from pydicom.pixels import compress
from pydicom.uid import RLELossless

from medgan.deid.faces import surface
from medgan.deid.faces.faces import UNCLEAR, Shows, deface, shows
from medgan.deid.faces.planes import planes, volume

FACE = heads.draw_face(3)
TILTED = Plan((44, 64, 52), (-104.0, -112.0, -182.0), (0.0, 0.0, 6.0), (4.0, 4.0), down=(0.0, 0.9483, -0.3173))
PROFILE = replace(SAGITTAL, shape=(1, *SAGITTAL.shape[1:]), origin=(0.0, *SAGITTAL.origin[1:]))
OTHER = {"SeriesInstanceUID": "1.2.3.2"}


@cache
def ct(plan: Plan = AXIAL, face: heads.Face = FACE) -> np.ndarray:
    return heads.stored_ct(heads.scan(heads.tissue(face, plan.points()), heads.HU, 15))


def mr(contrast: tuple[float, ...], plan: Plan) -> np.ndarray:
    return heads.stored_mr(heads.scan(heads.tissue(FACE, plan.points()), contrast, 0.03))


@cache
def shadow() -> np.ndarray:
    """A lateral scout [1, H, W]: the head's attenuation summed from side to side."""
    total = np.clip(ct(SAGITTAL).astype(int) - 24, 0, None).sum(axis=0, keepdims=True) // 40
    return total.astype("<u2")


@dataclass
class Study:
    """A head CT with a lateral scout, one sagittal slice and a screen, after removal."""

    axial: list[Picture]
    scout: list[Picture]
    profile: list[Picture]
    screen: list[Picture]


@pytest.fixture(scope="module")
def study() -> Study:
    study = Study(
        axial=heads.series(ct(), AXIAL, BodyPartExamined="", StudyDescription="CHEST"),
        scout=heads.series(shadow(), PROFILE, ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"], **OTHER),
        profile=heads.series(ct(PROFILE), PROFILE, **OTHER),
        screen=block(Modality="SC", BodyPartExamined="CHEST")[:1],
    )
    deface([*study.screen, *study.profile, *study.axial[::-1], *study.scout])
    return study


def check(series: list[Picture], before: np.ndarray, points: np.ndarray) -> None:
    assert all(picture.faceless and picture.reason is None for picture in series)
    changed = heads.stack(series) != before
    assert not changed[heads.inside_skull(FACE, points)].any()
    assert changed[heads.on_face(FACE, points, 4)].mean() > 0.9
    for picture, was_changed in zip(series, changed.any(axis=(1, 2)), strict=True):
        assert picture.repainted == was_changed


def test_a_face_goes_and_the_brain_stays_to_the_bit_though_the_text_says_chest(study: Study) -> None:
    check(study.axial, ct(), AXIAL.points())


@pytest.mark.parametrize(
    ("contrast", "plan"),
    [pytest.param(heads.T1, SAGITTAL, id="sagittal T1"), pytest.param(heads.T2, AXIAL, id="axial T2")],
)
def test_mr_in_any_contrast_and_direction_is_treated_alike(contrast: tuple[float, ...], plan: Plan) -> None:
    before = mr(contrast, plan)
    series = heads.series(before, plan, Modality="MR")
    deface(series)
    check(series, before, plan.points())


def test_a_tilted_gantry_and_uneven_steps_change_nothing_of_that() -> None:
    kept = [n for n in range(TILTED.shape[0]) if n < 22 or n % 2]
    whole = heads.series(ct(TILTED), TILTED)
    series = [whole[n] for n in kept]
    deface(series)
    check(series, ct(TILTED)[kept], TILTED.points()[kept])


def test_what_is_put_there_is_air_and_the_geometry_stays(study: Study) -> None:
    after = heads.stack(study.axial)
    assert set(after[after != ct()]) == {24}  # -1000 HU
    for old, new in zip(heads.series(ct(), AXIAL), study.axial, strict=True):
        for keyword in ("ImagePositionPatient", "PixelSpacing", "Rows", "Columns", "BitsStored", "PixelRepresentation"):
            assert old.ds[keyword] == new.ds[keyword]


def test_another_look_finds_nothing_left_to_do(study: Study) -> None:
    again = heads.series(heads.stack(study.axial), AXIAL)
    deface(again)
    assert all(picture.faceless for picture in again) and not any(picture.repainted for picture in again)


def test_the_cut_knows_the_brain_and_nothing_of_the_face() -> None:
    other = replace(heads.draw_face(8), brain=FACE.brain, seed=FACE.seed)
    zones = []
    for face in (FACE, other):
        slices = volume([p for picture in heads.series(ct(AXIAL, face), AXIAL) for p in planes(picture)])
        zones.append(surface.find_zone(slices, "CT"))
    points = AXIAL.points()[:, ::2, ::2]
    assert np.mean((zones[0].depth_at(points) > 0) != (zones[1].depth_at(points) > 0)) < 0.01
    assert np.mean(ct() != ct(AXIAL, other)) > 0.01


def test_compressed_heads_leave_uncompressed_and_padding_stays_padding() -> None:
    padded = ct().copy()
    padded[:, :6] = 0
    series = heads.series(padded, AXIAL, PixelPaddingValue=0)
    for picture in series:
        compress(picture.ds, RLELossless, generate_instance_uid=False)
    deface(series)
    check(series, padded, AXIAL.points())
    assert not heads.stack(series)[:, :6].any()
    for picture in series:
        assert picture.ds.file_meta.TransferSyntaxUID.is_encapsulated != picture.repainted


def test_a_slice_of_the_same_frame_of_reference_loses_the_face_too(study: Study) -> None:
    check(study.profile, ct(PROFILE), PROFILE.points())


def test_a_lateral_scout_loses_the_profile_and_keeps_the_brain(study: Study) -> None:
    changed, points = heads.stack(study.scout)[0] != shadow()[0], SAGITTAL.points()
    inside, (face,) = heads.inside_skull(FACE, points).any(axis=0), heads.tissue(FACE, PROFILE.points())
    nose = (face > 0) & (points[0, :, :, 1] < -90) & (points[0, :, :, 2] < -50)
    assert study.scout[0].faceless and not changed[inside].any() and nose.sum() > 9 and changed[nose].all()


def test_a_screen_beside_a_head_gets_a_reason_whatever_it_says(study: Study) -> None:
    assert study.screen[0].reason == UNCLEAR and not study.screen[0].faceless


def test_an_enhanced_instance_is_treated_frame_by_frame() -> None:
    first, *_ = heads.series(ct(), AXIAL)
    ds = first.ds
    for keyword in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "RescaleSlope"):
        del ds[keyword]
    ds.NumberOfFrames, ds.PixelData = AXIAL.shape[0], ct().tobytes()
    orientation, measures, units, frame = (Dataset() for _ in range(4))
    orientation.ImageOrientationPatient = [*AXIAL.along, *AXIAL.down]
    measures.PixelSpacing = list(AXIAL.spacing)
    units.RescaleSlope, units.RescaleIntercept = 1, -1024
    frame.PlaneOrientationSequence, frame.PixelMeasuresSequence = [orientation], [measures]
    frame.PixelValueTransformationSequence = [units]
    ds.SharedFunctionalGroupsSequence = [frame]
    each = []
    for origin in AXIAL.origins():
        place, group = Dataset(), Dataset()
        place.ImagePositionPatient = [float(c) for c in origin]
        group.PlanePositionSequence = [place]
        each.append(group)
    ds.PerFrameFunctionalGroupsSequence = each
    deface([first])
    changed, points = ds.pixel_array != ct(), AXIAL.points()
    assert first.faceless and changed[heads.on_face(FACE, points, 4)].mean() > 0.9
    assert not changed[heads.inside_skull(FACE, points)].any()


SMALL = Plan((12, 32, 32), (-64.0, -64.0, -60.0), (0.0, 0.0, 10.0), (4.0, 4.0))
TOP = Plan((20, 60, 48), (-96.0, -118.0, -30.0), (0.0, 0.0, 6.0), (4.0, 4.0))
FLAT = np.full(SMALL.shape, 1064, "<u2")


def block(**more: object) -> list[Picture]:
    return heads.series(FLAT, SMALL, **more)


def bright_skull() -> list[Picture]:
    signal = np.where(heads.tissue(FACE, TOP.points()) > 0, 0.6, 0.0)
    return heads.series(heads.stored_mr(signal), TOP, Modality="MR")


@pytest.mark.parametrize(
    "series",
    [
        pytest.param(block, id="a head without a brain"),
        pytest.param(lambda: block(Modality="MR"), id="an MR without anything"),
        pytest.param(bright_skull, id="an MR in which skull is not dark, so that the head is one body"),
        pytest.param(lambda: block(BodyPartExamined=""), id="nothing said, and no brain"),
        pytest.param(lambda: heads.series(ct(), AXIAL)[25:26], id="one slice"),
        pytest.param(lambda: heads.series(ct(), AXIAL)[25:30], id="five slices"),
        pytest.param(lambda: block(ImageType=["DERIVED", "SECONDARY", "MOSAIC"]), id="tiles in one frame"),
        pytest.param(lambda: block(PixelSpacing=None), id="no spacing"),
        pytest.param(lambda: block(ImageOrientationPatient=[1, 0, 0, 1, 0, 0]), id="no plane"),
        pytest.param(
            lambda: block(Modality=["CT", "MR"], SeriesInstanceUID=["1.2", "1.3"]), id="two modalities at once"
        ),
        pytest.param(lambda: block(Modality="XC", BodyPartExamined=""), id="a photograph"),
        pytest.param(lambda: block(Modality="SC", StudyDescription="CCT"), id="a screen in a study of the head"),
    ],
)
def test_a_head_that_cannot_be_treated_gets_a_reason(series) -> None:
    pictures = series()
    deface(pictures)
    assert {p.reason for p in pictures} == {UNCLEAR} and not any(p.faceless or p.repainted for p in pictures)


def test_a_frame_that_cannot_be_decoded_is_never_faceless() -> None:
    series = heads.series(ct(), AXIAL)
    series[20].ds.PixelData = series[20].ds.PixelData[:100]
    deface(series)
    assert series[20].reason == UNCLEAR and not series[20].faceless


@pytest.mark.parametrize(
    "more",
    [
        {"BodyPartExamined": "CHEST"},
        {"BodyPartExamined": "", "SeriesDescription": "Knee"},
        {"BodyPartExamined": "SKULL", "Modality": "DX"},
    ],
)
def test_other_parts_of_the_body_and_films_are_left_alone(more: dict) -> None:
    pictures = block(**more)
    deface(pictures)
    assert not any(p.reason or p.faceless or p.repainted for p in pictures) and (heads.stack(pictures) == FLAT).all()


def test_a_liver_is_no_brain() -> None:
    points = AXIAL.points()
    liver = heads.oval(*np.moveaxis(points, -1, 0), (80, 70, 60)) < 0
    body = heads.oval(*np.moveaxis(points, -1, 0), (100, 120, 300)) < 0
    spine = np.hypot(points[..., 0], points[..., 1] - 90) < 15
    hu = np.where(liver, 60.0, np.where(spine, 700.0, np.where(body, -90.0, -1000.0)))
    pictures = heads.series(heads.stored_ct(hu), AXIAL, BodyPartExamined="ABDOMEN")
    deface(pictures)
    assert not any(p.reason or p.faceless for p in pictures)


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ({"BodyPartExamined": "HEAD"}, Shows.HEAD),
        ({"BodyPartExamined": "SKULL "}, Shows.HEAD),
        ({"BodyPartExamined": "", "StudyDescription": "CT Sch\u00e4del nativ"}, Shows.HEAD),
        ({"BodyPartExamined": "", "ProtocolName": "t1_mprage_BRAIN"}, Shows.HEAD),
        ({"BodyPartExamined": "CHEST", "StudyDescription": "CT Thorax + Hals"}, Shows.HEAD),
        ({"BodyPartExamined": "CHEST", "StudyDescription": "cardiac"}, Shows.ELSEWHERE),
        ({"BodyPartExamined": "", "StudyDescription": "knee left"}, Shows.ELSEWHERE),
        ({"BodyPartExamined": "", "StudyDescription": "routine"}, Shows.UNSAID),
    ],
)
def test_texts_say_what_is_shown(said: dict, expected: Shows) -> None:
    assert shows(block(**said)[0].ds) is expected
