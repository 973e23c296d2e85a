"""A small challenge through the real door: nothing planted stays, everything asked is done."""

from functools import cache
from pathlib import Path
from tempfile import mkdtemp

import plants
import pytest
from plants import Challenge
from plants_check import Verdict, judge, lines
from plants_check_actions import BASIC, RESEARCH, allowed, cell
from plants_check_search import in_bytes, stays
from plants_run import deidentified

COLUMNS = {"research": RESEARCH, "basic": BASIC}
SECTIONS = (
    *("leaks", "actions", "retained", "words", "marks", "pixels"),
    *("dates", "references", "private", "set aside", "accounted"),
)


@cache
def challenge() -> Challenge:
    return plants.quick(0)


@cache
def verdict(profile: str) -> Verdict:
    work = Path(mkdtemp())
    total = challenge().write(work / "in")
    said, report = deidentified(work / "in", work / "out", profile)  # type: ignore[arg-type]
    found = judge(challenge(), work / "out", said, COLUMNS[profile])
    counted = report["written"] + report["duplicate"] + sum(report["quarantined"].values())
    found.count("accounted", "every file", counted == report["files"] == total)
    return found


@pytest.mark.parametrize("profile", sorted(COLUMNS))
@pytest.mark.parametrize("section", SECTIONS)
def test_a_small_challenge_is_met(section: str, profile: str) -> None:
    found = verdict(profile)
    assert not found.of(section)[1], "\n".join(lines(found))


def test_the_same_seed_plants_the_same_files() -> None:
    first, again = challenge().cases[0], plants.quick(0).cases[0]
    assert first.data == again.data and first.data != plants.quick(1).cases[0].data


def test_identity_is_in_what_is_planted() -> None:
    """The judge finds every planted mention in the source, or its silence about the result would mean nothing."""
    for case in challenge().cases:
        for plant in case.plants:
            if plant.path is None and plant.needles:
                assert in_bytes(case.data, plant.needles), plant.place


def test_the_judge_sees_a_source_that_was_only_copied(tmp_path: Path) -> None:
    for case in challenge().cases:
        (tmp_path / f"{case.number}.dcm").write_bytes(case.data)
    found = judge(challenge(), tmp_path, "")
    assert all(found.of(section)[1] for section in ("leaks", "actions", "marks", "dates", "references"))


def test_needles_are_found_in_any_encoding() -> None:
    for encoding in ("latin-1", "utf-8", "utf-16-le", "utf-16-be"):
        assert in_bytes(b"\0\0" + "GROẞHENNIG großhennig".encode(encoding, "ignore"), ["Großhennig"])
    assert in_bytes("山田太郎".encode("iso2022_jp"), ["山田"]) and not in_bytes(b"Grosshans", ["Großhennig"])
    assert stays("12.03.1980", "born 12 03 1980") and not stays("94", "1994")


def test_combined_codes_follow_the_type_of_the_attribute() -> None:
    ct, us = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.6.1"
    assert allowed(cell(0x0008002A, BASIC), ct, (0x0008002A,)) == {"X"}
    assert allowed(cell(0x0008002A, BASIC), us, (0x0008002A,)) == {"D"}
    assert cell(0x0008002A, RESEARCH) == "C" and cell(0x00101010, RESEARCH) == "K"
