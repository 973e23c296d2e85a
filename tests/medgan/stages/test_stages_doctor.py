"""Doctor finds what is damaged, and repair sends it back to wanted: the next run makes the same digest."""

from __future__ import annotations

from pathlib import Path

import pytest
from small import go_the_road

from medgan.errors import Busy
from medgan.home import Home, Zone
from medgan.ledger import Entry
from medgan.stages.doctor import doctor


def finding(home: Home, check: str, *, repair: bool = False) -> tuple[bool, str]:
    return next((f.fine, f.says) for f in doctor(home, repair=repair) if f.check == check)


def flip(file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)


def biggest(folder: Path) -> Path:
    return max((file for file in folder.rglob("*") if file.is_file()), key=lambda file: file.stat().st_size)


def test_a_house_in_order_is_told_so(home: Home) -> None:
    assert [(f.check, f.says) for f in doctor(home) if not f.fine] == []


@pytest.mark.parametrize("stage", ["ingest", "deidentify", "preprocess", "assemble", "train"])
def test_a_flipped_byte_is_found_and_the_next_run_makes_the_same_digest(home: Home, phantoms: Path, stage: str) -> None:
    name = "identified" if stage == "ingest" else "research"
    zone: Zone = getattr(home, name)
    before = zone.ledger.live_digests()
    victim = zone.ledger.entries(stage)[0].digest
    flip(biggest(zone.store.path(victim)))
    fine, says = finding(home, f"{name} artefacts")
    assert not fine and says.startswith("1 damaged") and "--repair" in says
    assert finding(home, f"{name} artefacts", repair=True)[0]
    assert victim not in zone.ledger.live_digests() and not zone.store.has(victim)
    go_the_road(phantoms, home)
    assert zone.ledger.live_digests() == before
    assert zone.store.verify(victim)


def test_a_damaged_original_asks_for_its_inputs_again(home: Home) -> None:
    entry = home.identified_ledger.entries("ingest")[0]
    held = len(home.identified_ledger.inputs(study_key=entry.subject))
    flip(biggest(home.identified.store.path(entry.digest)))
    assert f"{held} inputs will be read again" in finding(home, "identified artefacts", repair=True)[1]
    assert not home.identified_ledger.inputs(study_key=entry.subject)


def test_a_bundle_is_looked_for_in_the_public_zone(home: Home) -> None:
    with home.public.staging() as folder:
        (folder / "report.html").write_text("fine")
        digest = home.public.seal(folder, "bundle")
    home.research.ledger.record(Entry("k", digest, "release", "{}"))
    assert finding(home, "research artefacts")[0] and finding(home, "bundles")[0]
    (home.public.path(digest) / "report.html").write_text("foul")
    assert not finding(home, "bundles")[0] and finding(home, "research artefacts")[0]
    finding(home, "bundles", repair=True)
    assert not home.public.has(digest) and home.research.ledger.entries("release") == []


def test_leftovers_are_told_and_go_with_repair(home: Home) -> None:
    with home.research.store.staging() as folder:
        (folder / "file").write_text("nobody knows me")
        stray = home.research.store.seal(folder, "stray")
    assert finding(home, "research leftovers")[1].startswith("1 unrecorded,") and home.research.store.has(stray)
    finding(home, "research leftovers", repair=True)
    assert not home.research.store.has(stray)


def test_nothing_is_repaired_under_a_run_that_is_at_work(home: Home) -> None:
    with home.research.ledger.lease("pipeline"):
        with pytest.raises(Busy):
            doctor(home, repair=True)
        assert doctor(home)


def test_a_half_deleted_artefact_is_lost_and_can_be_made_again(home: Home) -> None:
    """Killed inside `drop`, the manifest is gone and some files stand."""
    with home.research.store.staging() as folder:
        (folder / "a").write_text("a")
        digest = home.research.store.seal(folder, "x")
    (home.research.store.path(digest) / "manifest.json").unlink()
    with home.research.store.staging() as folder:
        (folder / "a").write_text("a")
        assert home.research.store.seal(folder, "x") == digest
    assert home.research.store.verify(digest)
