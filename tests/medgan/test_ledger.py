import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from medgan.errors import Busy, Reason
from medgan.ledger import Entry, Input, open_ledger


def row(locator: str, sha256: str = "s", state: str = "ingested", **more) -> Input:
    return Input("src", locator, sha256, "stamp", 1, state, **more)


def test_an_input_seen_twice_is_one_row(tmp_path: Path) -> None:
    ledger = open_ledger(tmp_path)
    for _ in range(2):
        ledger.add_inputs([row("a", instance_key="i"), row("b", state="quarantined", reason=Reason.NOT_DICOM)])
    assert ledger.input_states() == {"ingested": 1, "quarantined": 1}
    assert ledger.input_reasons() == {"not_dicom": 1}
    assert ledger.known("src") == {"a": "stamp", "b": "stamp"}
    assert ledger.instances(["i", "j"]) == {"i": "s"}
    assert [i.reason for i in ledger.inputs(state="quarantined")] == [Reason.NOT_DICOM]


def test_inputs_and_the_artefacts_made_of_them_are_recorded_together_or_not_at_all(tmp_path: Path) -> None:
    ledger = open_ledger(tmp_path)
    broken = Entry("k", "d", "ingest", None)  # type: ignore[arg-type]
    with pytest.raises(Exception, match="NOT NULL"):
        ledger.add_inputs([row("a")], [broken])
    assert ledger.input_states() == {}


def test_lineage_answers_both_ways(tmp_path: Path) -> None:
    ledger = open_ledger(tmp_path)
    ledger.record(Entry("1", "study", "deidentify", "{}", patients=("p",)))
    ledger.record(Entry("2", "cohort", "assemble", "{}", parents=("study",), patients=("p", "q")))
    ledger.record(Entry("3", "model", "train", "{}", parents=("cohort",), patients=("p",)))
    assert ledger.made_from("study") == {"cohort", "model"}
    assert ledger.made_of("model") == {"cohort", "study"}
    assert ledger.artefacts_of("p") == {"study", "cohort", "model"}
    assert ledger.patients_of("cohort") == {"p", "q"}


def test_of_one_subject_the_newest_alone_is_live_until_an_older_one_is_wanted_again(tmp_path: Path) -> None:
    ledger = open_ledger(tmp_path)
    for key, subject in (("1", "s"), ("2", "s"), ("3", "t"), ("4", ""), ("5", "")):
        ledger.record(Entry(key, f"d{key}", "ingest", "{}", subject))
    assert [e.key for e in ledger.entries("ingest")] == ["2", "3", "4", "5"]
    assert len(ledger.entries("ingest", state=None)) == 5
    ledger.revive("1")
    assert [e.key for e in ledger.entries("ingest")] == ["1", "3", "4", "5"]


def test_what_was_withdrawn_is_not_found_again(tmp_path: Path) -> None:
    ledger = open_ledger(tmp_path)
    ledger.record(Entry("1", "d", "ingest", '{"a":1}', "s"))
    ledger.forget("d")
    assert ledger.find("1") is None and ledger.entries("ingest", state=None) == []


def test_a_study_set_aside_twice_is_counted_and_can_be_taken_back(tmp_path: Path) -> None:
    ledger = open_ledger(tmp_path)
    for _ in range(2):
        ledger.set_aside("s", "deidentify", "k", Reason.AUDIT_FAILED)
    assert [r["times"] for r in ledger.set_aside_rows("deidentify")] == [2]
    assert ledger.set_aside_reason("s", "deidentify", "k") is Reason.AUDIT_FAILED
    assert ledger.take_back("s") == 1 and ledger.set_aside_reason("s", "deidentify", "k") is None


def test_each_different_look_at_the_audit_part_is_counted_once(tmp_path: Path) -> None:
    ledger = open_ledger(tmp_path)
    assert [ledger.look("c", k) for k in ("1", "2", "2", "3")] == [1, 2, 2, 3]


def test_a_lease_is_held_alone_and_its_token_grows(tmp_path: Path) -> None:
    ledger = open_ledger(tmp_path)
    with ledger.lease("train") as first:
        with pytest.raises(Busy), open_ledger(tmp_path).lease("train"):
            pass
        with ledger.lease("other"):
            pass
    with ledger.lease("train") as second:
        assert second == first + 1


def test_a_lease_of_a_killed_process_is_taken_over_at_once(tmp_path: Path) -> None:
    code = f"""
import os, pathlib
from medgan.ledger import open_ledger
with open_ledger(pathlib.Path({str(tmp_path)!r})).lease("train"):
    os.kill(os.getpid(), 9)
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -9
    with open_ledger(tmp_path).lease("train") as token:
        assert token == 2


def test_a_lease_that_ran_out_is_taken_over(tmp_path: Path) -> None:
    now = [1000.0]
    ledger = open_ledger(tmp_path)
    ledger.clock = lambda: now[0]
    with ledger.lease("train"):
        now[0] += 91
        with ledger.lease("train") as token:
            assert token == 2


def test_several_writers_lose_nothing(tmp_path: Path) -> None:
    open_ledger(tmp_path)

    def write(worker: int) -> None:
        ledger = open_ledger(tmp_path)
        for n in range(20):
            ledger.record(Entry(f"{worker}-{n}", f"d{worker}-{n}", "x", "{}"))

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(write, range(4)))
    assert len(open_ledger(tmp_path).entries("x")) == 80
