import math
from collections.abc import Callable
from pathlib import Path

import pytest
from dicom_series import sorted_series
from pydicom.dataset import Dataset
from units_series import DOSE_BQ, HALF_LIFE_S, WEIGHT_KG, isotope, pet_slice, private

from medgan.dicom.series import Stack
from medgan.dicom.suv import NoSuv, suv_factor
from medgan.errors import Reason

HOUR_S = 3600.0
Change = Callable[[int], dict[str, object]]


def series(each: Change = lambda index: {}, **more: object) -> list[Dataset]:
    return [pet_slice(i, **{**more, **each(i)}) for i in range(4)]


def factor_of(folder: Path, datasets: list[Dataset]) -> tuple[float | None, NoSuv | None]:
    (stack,) = sorted_series(folder, datasets).stacks
    return suv_factor(stack.planes)


def wanted(elapsed_s: float, half_life_s: float = HALF_LIFE_S) -> float:
    return WEIGHT_KG * 1000 / (DOSE_BQ * math.exp(-math.log(2) * elapsed_s / half_life_s))


def of(**more: object) -> dict[str, object]:
    return {"RadiopharmaceuticalInformationSequence": [isotope(**more)]}


MEANT = {
    "the series' time is the scan's start": ({}, HOUR_S),
    "corrected to the injection": ({"DecayCorrection": "ADMIN"}, 0.0),
    "an injection with its date": (of(RadiopharmaceuticalStartDateTime="20200101113000.50"), 1.5 * HOUR_S - 0.5),
    "over midnight, by its time": (
        {
            "SeriesTime": "001500",
            "AcquisitionTime": "001600",
            **of(RadiopharmaceuticalStartTime="231500.00"),
        },
        HOUR_S,
    ),
    "over midnight, by its date": (
        {
            "SeriesTime": "001500",
            "AcquisitionTime": "001600",
            **of(RadiopharmaceuticalStartDateTime="20191231231500"),
        },
        HOUR_S,
    ),
    "a time zone of its own": (
        {
            "TimezoneOffsetFromUTC": "+0100",
            **of(RadiopharmaceuticalStartDateTime="20200101110000+0000"),
        },
        HOUR_S,
    ),
    "made anew later, reckoned from the slices": (
        {"SeriesTime": "170000", "FrameReferenceTime": 360_000.0, "ActualFrameDuration": 1000},
        HOUR_S - 60 + 0.5,
    ),
    "a dummy as the series' time": (
        {"SeriesTime": "000000", "FrameReferenceTime": 360_000.0, "ActualFrameDuration": 1000},
        HOUR_S - 60 + 0.5,
    ),
}


@pytest.mark.parametrize("case", MEANT)
def test_the_dose_that_is_left_at_the_moment_values_are_corrected_to(tmp_path: Path, case: str) -> None:
    more, elapsed_s = MEANT[case]
    factor, why = factor_of(tmp_path, series(**more))
    assert why is None and factor == pytest.approx(wanted(elapsed_s), rel=1e-6)


def test_the_reference_time_is_when_the_rate_was_the_average(tmp_path: Path) -> None:
    """Of a frame as long as two half-lives that is well before its middle."""
    frame_s = 2 * 120.0
    short = of(RadionuclideHalfLife=120.0, RadiopharmaceuticalStartTime="130000")
    more = {"SeriesTime": "170000", "FrameReferenceTime": 60_000.0, "ActualFrameDuration": int(1000 * frame_s)}
    factor, _ = factor_of(tmp_path, series(**short, **more))
    rate = math.log(2) / 120
    mean = (1 - math.exp(-rate * frame_s)) / (rate * frame_s)
    assert factor == pytest.approx(wanted(300 - 60 + -math.log(mean) / rate, 120.0), rel=1e-6)


def test_ge_says_the_scan_time_of_a_series_made_anew(tmp_path: Path) -> None:
    scan = (0x0009, "GEMS_PETD_01", {0x0D: ("DT", "20200101130200.00")})
    datasets = [private(one, scan) for one in series(SeriesTime="170000")]
    assert factor_of(tmp_path, datasets) == (pytest.approx(wanted(HOUR_S + 120), rel=1e-6), None)
    other = (0x0009, "SOMEBODY", {0x0D: ("DT", "20200101130200.00")})
    datasets = [private(one, other) for one in series(SeriesTime="170000")]
    assert factor_of(tmp_path / "other", datasets) == (None, NoSuv.TIMES)


def test_counts_of_philips_have_factors_of_their_own(tmp_path: Path) -> None:
    def philips(**factors: float) -> list[Dataset]:
        some = {{"suv": 0x00, "activity": 0x09}[name]: ("DS", str(value)) for name, value in factors.items()}
        block = (0x7053, "Philips PET Private Group", some)
        return [private(one, block) for one in series(Units="CNTS")]

    assert factor_of(tmp_path / "a", philips(suv=0.00045)) == (0.00045, None)
    both = factor_of(tmp_path / "b", philips(suv=0.0, activity=1.5))
    assert both == (pytest.approx(1.5 * wanted(HOUR_S), rel=1e-6), None)
    assert factor_of(tmp_path / "c", series(Units="CNTS")) == (None, NoSuv.UNITS)


def test_grams_a_millilitre_are_suv(tmp_path: Path) -> None:
    bare = {"drop": ("PatientWeight", "RadiopharmaceuticalInformationSequence", "DecayCorrection")}
    assert factor_of(tmp_path / "a", series(Units="GML", **bare)) == (1.0, None)
    assert factor_of(tmp_path / "b", series(Units="GML", SUVType="BW", **bare)) == (1.0, None)
    assert factor_of(tmp_path / "c", series(Units="GML", SUVType="LBM", **bare)) == (None, NoSuv.UNITS)


NONE = {
    "not corrected for attenuation": ({"CorrectedImage": ["DECY"]}, NoSuv.NOT_CORRECTED),
    "not corrected for decay": ({"CorrectedImage": ["ATTN"]}, NoSuv.NOT_CORRECTED),
    "corrections unknown": ({"drop": ("CorrectedImage",)}, NoSuv.NOT_CORRECTED),
    "no decay correction": ({"DecayCorrection": "NONE"}, NoSuv.DECAY_CORRECTION),
    "decay correction unknown": ({"drop": ("DecayCorrection",)}, NoSuv.DECAY_CORRECTION),
    "weight removed": ({"drop": ("PatientWeight",)}, NoSuv.WEIGHT),
    "weight empty": ({"PatientWeight": None}, NoSuv.WEIGHT),
    "weight 0": ({"PatientWeight": 0}, NoSuv.WEIGHT),
    "weight in grams": ({"PatientWeight": 70000}, NoSuv.WEIGHT),
    "no radiopharmaceutical": (
        {"drop": ("RadiopharmaceuticalInformationSequence",)},
        NoSuv.RADIOPHARMACEUTICAL,
    ),
    "two of them": (
        {"RadiopharmaceuticalInformationSequence": [isotope(), isotope()]},
        NoSuv.RADIOPHARMACEUTICAL,
    ),
    "dose in MBq": (of(RadionuclideTotalDose=370.0), NoSuv.RADIOPHARMACEUTICAL),
    "dose missing": (of(RadionuclideTotalDose=None), NoSuv.RADIOPHARMACEUTICAL),
    "half-life 0": (of(RadionuclideHalfLife=0), NoSuv.RADIOPHARMACEUTICAL),
    "injection unknown": (of(RadiopharmaceuticalStartTime=None), NoSuv.TIMES),
    "injection a day late": (of(RadiopharmaceuticalStartDateTime="20200102120000"), NoSuv.TIMES),
    "injection shifted by years": (of(RadiopharmaceuticalStartDateTime="20170101120000"), NoSuv.TIMES),
    "injection no date": (of(RadiopharmaceuticalStartDateTime="1200"), NoSuv.TIMES),
    "injection after the scan": (of(RadiopharmaceuticalStartTime="130100"), NoSuv.TIMES),
    "all times one": (
        {
            "SeriesTime": "000000",
            "AcquisitionTime": "000000",
            **of(RadiopharmaceuticalStartTime="000000"),
        },
        NoSuv.TIMES,
    ),
    "a long half-life without a date": (of(RadionuclideHalfLife=282_000.0), NoSuv.TIMES),
    "acquisition unknown": ({"drop": ("AcquisitionDate",)}, NoSuv.TIMES),
    "made anew, and nothing to reckon from": ({"SeriesTime": "170000"}, NoSuv.TIMES),
    "activity of no linear scale": ({"drop": ("RescaleIntercept",)}, NoSuv.UNITS),
    "inverted": ({"PhotometricInterpretation": "MONOCHROME1"}, NoSuv.UNITS),
    "other units": ({"Units": "PROPCPS"}, NoSuv.UNITS),
    "no units": ({"drop": ("Units",)}, NoSuv.UNITS),
}


@pytest.mark.parametrize("case", NONE)
def test_where_anything_is_missing_or_cannot_be_there_is_no_factor(tmp_path: Path, case: str) -> None:
    more, why = NONE[case]
    assert factor_of(tmp_path, series(**more)) == (None, why)


DIFFER: dict[str, Change] = {
    "weight": lambda i: {"PatientWeight": 70 + (i == 2)},
    "dose": lambda i: of(RadionuclideTotalDose=DOSE_BQ + 1e6 * (i == 3)),
    "decay correction": lambda i: {"DecayCorrection": "ADMIN" if i == 1 else "START"},
    "corrections": lambda i: {"CorrectedImage": ["DECY", "ATTN", *["SCAT"] * (i == 1)]},
    "series time": lambda i: {"SeriesTime": f"13000{i}"},
}


@pytest.mark.parametrize("case", DIFFER)
def test_files_must_agree(tmp_path: Path, case: str) -> None:
    assert factor_of(tmp_path, series(DIFFER[case])) == (None, NoSuv.DIFFER)


def test_beds_of_one_scan_may_be_acquired_one_after_the_other(tmp_path: Path) -> None:
    def beds(i: int) -> dict[str, object]:
        return {"AcquisitionTime": f"13{5 + 10 * (i // 2):02d}00"}

    def reckoned(i: int) -> dict[str, object]:
        return {**beds(i), "FrameReferenceTime": 1000.0 * (360 + 600 * (i // 2))}

    assert factor_of(tmp_path / "a", series(beds)) == (pytest.approx(wanted(HOUR_S), rel=1e-6), None)
    anew = series(reckoned, SeriesTime="170000", ActualFrameDuration=1000)
    assert factor_of(tmp_path / "b", anew) == (pytest.approx(wanted(HOUR_S - 60 + 0.5), rel=1e-6), None)
    apart = series(beds, SeriesTime="170000", ActualFrameDuration=1000, FrameReferenceTime=360_000.0)
    assert factor_of(tmp_path / "c", apart) == (None, NoSuv.TIMES)


def test_slices_of_two_units_are_no_volume(tmp_path: Path) -> None:
    datasets = series()
    datasets[1] = pet_slice(1, Units="CNTS")
    found = sorted_series(tmp_path, [*datasets, pet_slice(4), pet_slice(5)])
    assert not found.stacks and Reason.MISSING_SLICE in found.refused


def test_a_file_that_cannot_be_read_is_no_factor(tmp_path: Path) -> None:
    stack: Stack = sorted_series(tmp_path, series()).stacks[0]
    stack.planes[2].pixels.file.write_bytes(b"nothing")
    assert suv_factor(stack.planes) == (None, NoSuv.UNREADABLE)


def test_a_disk_that_fails_is_no_property_of_a_series(tmp_path: Path) -> None:
    stack: Stack = sorted_series(tmp_path, series()).stacks[0]
    stack.planes[2].pixels.file.unlink()
    with pytest.raises(OSError, match="No such file"):
        suv_factor(stack.planes)
