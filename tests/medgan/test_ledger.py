import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from medgan.errors import Busy, HomeError, Reason
from medgan.ledger import Entry, open_ledger
from medgan.ledger_inputs import Cursor, Held, Input


def row(locator: str, sha256: str = "s", state: str = "ingested", **more) -> Input:
    return Input("src", locator, sha256, "stamp", 1, state, **more)


def test_an_input_seen_twice_is_one_row(tmp_path: Path) -> None:
    ledger = open_ledger(tmp_path)
    for _ in range(2):
        ledger.settle([row("a", instance_key="i"), row("b", state="quarantined", reason=Reason.NOT_DICOM)])
    assert ledger.input_states() == {"ingested": 1, "quarantined": 1}
    assert ledger.input_reasons() == {"not_dicom": 1}
    assert ledger.known("src") == {"a": "stamp", "b": "stamp"}
    assert ledger.versions(["i", "j"]) == {"i": [row("a", instance_key="i")]}
    assert [i.reason for i in ledger.inputs(state="quarantined")] == [Reason.NOT_DICOM]


def test_inputs_and_the_artefacts_made_of_them_are_recorded_together_or_not_at_all(tmp_path: Path) -> None:
    ledger = open_ledger(tmp_path)
    broken = Entry("k", "d", "ingest", None)  # type: ignore[arg-type]
    with pytest.raises(Exception, match="(?i)not.null"):
        ledger.settle([row("a")], [broken])
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


def held(place: str, stamp: str, at: float = 0.0, **more) -> Held:
    return Held(place, f"uid of {place}", stamp, at, **more)


def test_what_a_poll_tells_is_owed_until_it_is_taken(tmp_path: Path) -> None:
    ledger = open_ledger(tmp_path)
    assert ledger.cursor("s") == Cursor()
    assert ledger.note_poll("s", "7", [held("a", "1"), held("b", "1")], whole=True) == []
    assert [h.place for h in ledger.owed("s")] == ["a", "b"] and ledger.cursor("s").cursor == "7"
    ledger.settle([], taken=[("s", "a", "1"), ("s", "b", "0")])  # b changed again while it was fetched
    assert [h.place for h in ledger.owed("s")] == ["b"] and ledger.owed("t") == []
    assert ledger.taken("s") == {"a": "1", "b": "0"}


def test_a_poll_that_tells_the_same_owes_nothing_and_a_change_is_owed_again(tmp_path: Path) -> None:
    ledger = open_ledger(tmp_path)
    ledger.note_poll("s", "", [held("a", "1", at=5.0)], whole=True)
    ledger.settle([], taken=[("s", "a", "1")])
    ledger.note_poll("s", "", [held("a", "1", at=9.0)], whole=False)
    assert ledger.owed("s") == [] and ledger.oldest_owed() is None
    for stamp in ("2", "1"):  # also back to what was taken before: other images may have come and gone meanwhile
        ledger.note_poll("s", "", [held("a", stamp, at=9.0)], whole=False)
        assert [(h.stamp, h.taken) for h in ledger.owed("s")] == [(stamp, None)] and ledger.oldest_owed() == 9.0


def test_a_study_that_only_settles_keeps_the_time_of_its_change(tmp_path: Path) -> None:
    ledger = open_ledger(tmp_path)
    ledger.note_poll("s", "", [held("a", "1", at=5.0)], whole=True)
    ledger.note_poll("s", "", [held("a", "1", at=9.0, settled=True)], whole=True)
    (owed,) = ledger.owed("s")
    assert (owed.changed_at, owed.settled, owed.noted_at > 9.0) == (5.0, True, True)


def test_only_a_whole_listing_tells_what_is_gone(tmp_path: Path) -> None:
    ledger = open_ledger(tmp_path)
    ledger.note_poll("s", "", [held("a", "1"), held("b", "1")], whole=True)
    assert ledger.note_poll("s", "", [held("b", "1")], whole=False) == []
    gone = ledger.note_poll("s", "", [held("b", "1")], whole=True)
    assert [h.place for h in gone] == ["a"] and ledger.held("s") == 2
    ledger.settle([], left=[("s", "a")])
    assert ledger.held("s") == 1 and ledger.note_poll("s", "", [held("b", "1")], whole=True) == []


def test_inputs_that_are_reconsidered_are_read_again_from_every_archive_that_holds_their_study(tmp_path: Path) -> None:
    ledger = open_ledger(tmp_path)
    ledger.note_poll("src", "", [held("a", "1"), held("b", "1")], whole=True)
    rows = [row("x", state="refused", study_key="a"), row("y", state="ingested", study_key="b")]
    ledger.settle(rows, taken=[("src", "a", "1"), ("src", "b", "1")])
    assert ledger.reconsider(state="refused") == 1
    assert [h.place for h in ledger.owed("src")] == ["a"] and ledger.known("src") == {"x": "", "y": "stamp"}


def test_a_rule_has_changed_when_it_is_another_than_last_time(tmp_path: Path) -> None:
    ledger = open_ledger(tmp_path)
    assert [ledger.rule_changed("limits", rule) for rule in ("a", "a", "b", "b")] == [False, False, True, False]


def test_of_what_lay_in_one_place_the_content_that_is_there_now_counts_as_known(tmp_path: Path) -> None:
    ledger = open_ledger(tmp_path)
    ledger.settle([Input("src", "a", "new", "2", 1, "ingested"), Input("src", "a", "old", "1", 1, "superseded")])
    assert ledger.known("src") == {"a": "2"}
    assert len(ledger.placed([row("a")])["src", "a"]) == 2


def test_merged_patients_are_one_person_however_they_were_merged(tmp_path: Path) -> None:
    ledger = open_ledger(tmp_path)
    assert ledger.merge([("b", "a"), ("c", "b"), ("e", "d")]) == 3 and ledger.merge([("d", "c")]) == 1
    assert ledger.merge([("b", "a"), ("a", "e")]) == 0, "known, or the other way round: nothing new"
    assert ledger.same_person() == {"b": "a", "c": "a", "d": "a", "e": "a"}
    assert ledger.everyone_like(["e", "x"]) == {"a", "b", "c", "d", "e", "x"}


def test_a_tombstone_of_a_list_can_be_taken_back_that_of_a_withdrawal_cannot(tmp_path: Path) -> None:
    ledger = open_ledger(tmp_path)
    ledger.bury("a", "opted_out")
    ledger.bury("b", "withdrawn")
    assert ledger.unbury(["a", "b", "c"]) == 1 and ledger.buried() == {"b"} == ledger.buried("withdrawn")


def test_what_is_asked_for_is_owed_until_it_is_answered_and_can_be_asked_for_again(tmp_path: Path) -> None:
    ledger = open_ledger(tmp_path)
    assert ledger.request("retrain", "m") and not ledger.request("retrain", "m")
    assert (
        ledger.requested("retrain") == ["m"] and ledger.answered("retrain") == 1 and ledger.requested("retrain") == []
    )
    assert ledger.request("retrain", "m") and ledger.requested("retrain") == ["m"]


def test_a_partial_version_stands_beside_the_live_one_until_it_takes_its_place(tmp_path: Path) -> None:
    ledger = open_ledger(tmp_path)
    for key, state in (("1", "live"), ("2", "partial"), ("3", "partial")):
        ledger.record(Entry(key, f"d{key}", "ingest", "{}", "s", state=state))
    assert (
        ledger.live("ingest", ["s"])["s"].key == "1" and ledger.live("ingest", ["s"], state="partial")["s"].key == "3"
    )
    ledger.record(Entry("4", "d4", "ingest", "{}", "s"))
    assert ledger.live("ingest", ["s"])["s"].key == "4" and not ledger.live("ingest", ["s"], state="partial")


def test_a_ledger_of_an_earlier_version_is_refused_with_what_it_lacks(tmp_path: Path) -> None:
    with open_ledger(tmp_path).engine.begin() as db:
        db.exec_driver_sql("ALTER TABLE inputs DROP COLUMN content")
    with pytest.raises(HomeError, match=r"earlier version.*inputs\.content.*make a new home"):
        open_ledger(tmp_path)
