import struct
from pathlib import Path

import pytest
from dicom_series import sorted_series, write
from pydicom.dataset import Dataset
from pydicom.filewriter import dcmwrite
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian
from units_series import VENDORS, Block, ge, mr_slice, philips, private, siemens

from medgan.dicom.attributes import BLOCKS
from medgan.dicom.read import Plane, planes_by_pydicom, planes_of
from medgan.errors import Reason

B_VALUE, DIRECTION = 5, 6  # places in Plane.phase
X, Y = (1.0, 0.0, 0.0), (0.0, 0.8, -0.6)


def one(folder: Path, *blocks: Block, at: int = 0x10, **more: object) -> Plane:
    """The plane of a slice, which both roads to its header must give."""
    (file,) = write(folder, [private(mr_slice(0, **more), *blocks, at=at)])
    (plane,) = planes_of(file)
    assert [plane] == planes_by_pydicom(file)
    return plane


def passes(*some: list[Block]) -> list[Dataset]:
    return [private(mr_slice(i, 7 * k), *blocks) for k, blocks in enumerate(some) for i in range(5)]


@pytest.mark.parametrize("vendor", VENDORS)
def test_b_values_of_private_attributes_tell_volumes_apart(tmp_path: Path, vendor: str) -> None:
    made = VENDORS[vendor]
    found = sorted_series(tmp_path, passes(made(1000, X), made(0), made(50, X)))
    assert [stack.planes[0].phase[B_VALUE] for stack in found.stacks] == [0, 50, 1000] and not found.refused
    assert [stack.phase for stack in found.stacks] == [0, 1, 2] and found.corrected == {"multi_phase_split": 2}


@pytest.mark.parametrize("vendor", VENDORS)
def test_directions_of_one_b_value_tell_volumes_apart(tmp_path: Path, vendor: str) -> None:
    made = VENDORS[vendor]
    found = sorted_series(tmp_path, passes(made(1000, X), made(1000, Y)))
    assert {stack.planes[0].phase[DIRECTION] for stack in found.stacks} == {"+1.00 +0.00 +0.00", "+0.00 +0.80 -0.60"}
    assert [len(stack.planes) for stack in found.stacks] == [5, 5] and not found.refused


def test_a_volume_of_two_directions_is_none(tmp_path: Path) -> None:
    mixed = [private(mr_slice(i), *siemens(1000, X if i % 2 else Y)) for i in range(6)]
    found = sorted_series(tmp_path, mixed)
    assert all(len({plane.phase[DIRECTION] for plane in stack.planes}) == 1 for stack in found.stacks)
    assert len(found.stacks) == 2


@pytest.mark.parametrize("vendor", VENDORS)
def test_without_its_creator_a_private_attribute_says_nothing(tmp_path: Path, vendor: str) -> None:
    blocks = [(group, "", some) for group, _, some in VENDORS[vendor](1000, X)]
    assert one(tmp_path, *blocks).phase[B_VALUE : DIRECTION + 1] == (0.0, "")


def test_nor_with_the_creator_of_another(tmp_path: Path) -> None:
    blocks = [(group, "SOMEBODY", some) for group, _, some in siemens(1000, X)]
    assert one(tmp_path, *blocks).phase[B_VALUE : DIRECTION + 1] == (0.0, "")
    found = sorted_series(
        tmp_path / "all", passes(*([(g, "SOMEBODY", s) for g, _, s in siemens(b)] for b in (0, 1000)))
    )
    assert found.refused == {Reason.MULTI_PHASE: 1} and not found.stacks


@pytest.mark.parametrize("at", BLOCKS)
@pytest.mark.parametrize("vendor", VENDORS)
def test_a_block_may_lie_elsewhere(tmp_path: Path, vendor: str, at: int) -> None:
    plane = one(tmp_path, *VENDORS[vendor](1000, Y), at=at)
    assert plane.phase[B_VALUE : DIRECTION + 1] == (1000.0, "+0.00 +0.80 -0.60")


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian])
@pytest.mark.parametrize("vendor", VENDORS)
def test_any_byte_order_is_read(tmp_path: Path, vendor: str, syntax: str) -> None:
    dataset = private(mr_slice(0), *VENDORS[vendor](700, Y))
    dataset.file_meta.TransferSyntaxUID = syntax
    order = {"implicit_vr": syntax == ImplicitVRLittleEndian, "little_endian": syntax != ExplicitVRBigEndian}
    dcmwrite(tmp_path / "a", dataset, enforce_file_format=True, **order)
    planes = planes_of(tmp_path / "a")
    assert planes == planes_by_pydicom(tmp_path / "a")
    assert planes[0].phase[B_VALUE : DIRECTION + 1] == (700.0, "+0.00 +0.80 -0.60")


@pytest.mark.parametrize("vr", ["UN", "OB"])
def test_a_lost_vr_is_that_of_the_vendor(tmp_path: Path, vr: str) -> None:
    lost = (0x0019, "SIEMENS MR HEADER", {0x0C: (vr, b"800 "), 0x0E: (vr, struct.pack("<3d", *Y))})
    assert one(tmp_path, lost).phase[B_VALUE : DIRECTION + 1] == (800.0, "+0.00 +0.80 -0.60")
    lost = (0x2001, "Philips Imaging DD 001", {0x03: (vr, struct.pack("<f", 800))})
    assert one(tmp_path / "philips", lost).phase[B_VALUE] == 800


@pytest.mark.parametrize(
    "blocks",
    [
        [(0x0019, "SIEMENS MR HEADER", {0x0C: ("UN", b"8x0 ")})],
        [(0x0019, "SIEMENS MR HEADER", {0x0C: ("LO", "many")})],
        [(0x2001, "Philips Imaging DD 001", {0x03: ("UN", b"\0\0\x80")})],
        [(0x2001, "Philips Imaging DD 001", {0x03: ("FL", float("nan"))})],
        [(0x0065, "Image Private Header", {0x09: ("FD", -5.0)})],
        [(0x0043, "GEMS_PARM_01", {0x39: ("SH", "")})],
    ],
)
def test_what_is_no_b_value_is_none(tmp_path: Path, blocks: list[Block]) -> None:
    assert one(tmp_path, *blocks).phase[B_VALUE : DIRECTION + 1] == (0.0, "")


def test_ge_adds_a_thousand_million(tmp_path: Path) -> None:
    assert ge(750)[1][2][0x39][1][0] == 1_000_000_750
    assert one(tmp_path, *ge(750)).phase[B_VALUE] == 750


def test_without_weighting_there_is_no_direction(tmp_path: Path) -> None:
    """GE keeps other numbers of the user in its place."""
    assert one(tmp_path, *ge(0, (3.0, 0.0, 16.0))).phase[DIRECTION] == ""
    assert one(tmp_path / "b", *ge(50, (3.0, 0.0, 16.0))).phase[DIRECTION] != ""


def test_what_is_no_direction_is_none(tmp_path: Path) -> None:
    for number, wrong in enumerate(([float("nan"), 0.0, 1.0], [float("inf"), 0.0, 1.0], [0.0, 0.0, 0.0], [1.0, 0.0])):
        more = {"DiffusionBValue": 400.0, "DiffusionGradientOrientation": wrong}
        assert one(tmp_path / f"{number}", **more).phase[B_VALUE : DIRECTION + 1] == (400.0, "")


def test_a_trace_beside_directions_is_a_volume(tmp_path: Path) -> None:
    found = sorted_series(tmp_path, passes(philips(1000.0, X), philips(1000.0, kind="I")))
    assert [stack.planes[0].phase[DIRECTION] for stack in found.stacks] == ["+1.00 +0.00 +0.00", "ISOTROPIC"]


def test_standard_attributes_go_before_private_ones(tmp_path: Path) -> None:
    more = {"DiffusionBValue": 400.0, "DiffusionGradientOrientation": list(X)}
    assert one(tmp_path, *siemens(1000, Y), **more).phase[B_VALUE : DIRECTION + 1] == (400.0, "+1.00 +0.00 +0.00")


def test_only_mr_is_asked(tmp_path: Path) -> None:
    plane = one(tmp_path, *siemens(1000, X), Modality="PT")
    assert plane.phase[B_VALUE : DIRECTION + 1] == (0.0, "")
