"""What a pull does when an archive is slow, wrong, large or goes away: told by an archive made for the purpose."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from factories import dicom_bytes

import medgan.stages.pull as stage
from medgan.digest import keyed, patient_key, study_key
from medgan.errors import HomeError, SourceError
from medgan.home import Home
from medgan.ledger_inputs import Held
from medgan.recipes import IngestRecipe
from medgan.records import Intake
from medgan.sources.entry import Limits
from medgan.sources.server import Holding, Poll
from medgan.sources.source import open_source
from medgan.stages.doctor import doctor
from medgan.stages.ingest import ingest, pending


class Shelf:
    """A server of the protocol: studies in memory, with the faults that real ones have."""

    name, connections = "shelf", 2

    def __init__(self) -> None:
        self.studies: dict[str, dict[str, bytes]] = {}
        self.stamps: dict[str, str] = {}
        self.expected: dict[str, int] = {}
        self.ages: dict[str, float | None] = {}
        self.settled = True
        self.breaks_after: int | None = None  # instances until the connection is gone for good
        self.broken: set[str] = set()  # studies that cannot be had
        self.fetched: list[str] = []
        self.lock = threading.Lock()

    def put(self, study: str, *images: str, **more: object) -> None:
        for image in images:
            data = dicom_bytes(f"{study}.{image}", StudyInstanceUID=study, PatientID=study, **more)
            self.studies.setdefault(study, {})[f"{study}.{image}"] = data
        self.stamps[study] = f"{self.stamps.get(study, '')}+"

    def poll(self, cursor: str, *, whole: bool) -> Poll:
        return Poll(
            tuple(
                Holding(uid, self.stamps[uid], self.expected.get(uid), self.ages.get(uid), self.settled)
                for uid in self.studies
            ),
            whole=True,
        )

    def fetch(self, study_uid: str, landing: Path, limits: Limits, has: Callable[[str], bool]) -> Iterator[Path]:
        for uid, data in self.studies[study_uid].items():
            if has(uid):
                continue
            with self.lock:
                if self.breaks_after == 0 or study_uid in self.broken:
                    raise SourceError("the archive stopped answering; run again")
                if self.breaks_after is not None:
                    self.breaks_after -= 1
                self.fetched.append(uid)
            path = landing / f"raw-{len(self.fetched)}"
            path.write_bytes(data)
            yield path

    def close(self) -> None:
        pass


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home.create(tmp_path / "home")


def take(shelf: Shelf, home: Home, **recipe: float) -> Intake:
    return ingest(shelf, IngestRecipe(**recipe), home)


def images(home: Home) -> list[int]:
    return sorted(study.n_instances for study in pending(home))


def counts(intake: Intake) -> dict[str, int]:
    return {state: n for state, n in intake.states.items() if n}


def test_a_study_that_is_still_arriving_is_taken_when_it_settles(home: Home) -> None:
    shelf = Shelf()
    shelf.settled = False
    shelf.put("1.2", "1")
    intake = take(shelf, home)
    assert (counts(intake), intake.waiting, images(home)) == ({}, 1, [])
    shelf.put("1.2", "2")
    assert take(shelf, home).waiting == 1
    shelf.settled = True
    assert counts(take(shelf, home)) == {"received": 2, "ingested": 2}


def test_an_archive_that_tells_the_age_of_a_change_is_believed(home: Home) -> None:
    shelf = Shelf()
    shelf.settled, shelf.ages = False, {"1.2": 299.0, "1.3": 301.0}
    shelf.put("1.2", "1")
    shelf.put("1.3", "1")
    intake = take(shelf, home)
    assert (intake.states["ingested"], intake.waiting) == (1, 1)


def test_a_study_with_fewer_images_than_announced_is_no_version_yet(home: Home) -> None:
    shelf = Shelf()
    shelf.expected["1.2"] = 3
    shelf.put("1.2", "1", "2")
    intake = take(shelf, home)
    assert (counts(intake), intake.waiting, images(home)) == ({"received": 2, "ingested": 2}, 1, [])
    assert take(shelf, home).waiting == 1 and shelf.fetched == ["1.2.1", "1.2.2"], "what came is not fetched again"
    shelf.studies["1.2"]["1.2.3"] = dicom_bytes("1.2.3", StudyInstanceUID="1.2", PatientID="1.2")
    assert counts(take(shelf, home)) == {"received": 1, "ingested": 1} and images(home) == [3]


def test_after_some_patience_of_ours_what_came_is_all(home: Home) -> None:
    shelf = Shelf()
    shelf.expected["1.2"], shelf.ages["1.2"] = 3, 1e6  # however old the study is
    shelf.put("1.2", "1", "2")
    assert take(shelf, home).waiting == 1 and images(home) == []
    assert take(shelf, home, patience_s=0).waiting == 0 and images(home) == [2]


def test_an_answer_without_images_deletes_nothing(home: Home) -> None:
    shelf = Shelf()
    for number in range(3):
        shelf.put(f"1.{number}", "1", "2")
    take(shelf, home)
    whole, shelf.studies = shelf.studies, {uid: {} for uid in shelf.studies}
    shelf.stamps = dict.fromkeys(shelf.stamps, "empty")
    assert take(shelf, home, patience_s=0).waiting == 3 and images(home) == [2, 2, 2]
    shelf.studies, shelf.stamps = whole, dict.fromkeys(shelf.stamps, "back")
    assert take(shelf, home).superseded == 0 and images(home) == [2, 2, 2]


def test_an_answer_that_cannot_be_read_does_not_take_the_image_away(home: Home) -> None:
    shelf = Shelf()
    shelf.put("1.2", "1", "2")
    take(shelf, home)
    shelf.studies["1.2"]["1.2.2"] = b"cut off"
    shelf.stamps["1.2"] = "again"
    intake = take(shelf, home)
    assert (intake.superseded, intake.states["quarantined"], images(home)) == (0, 1, [2])


def test_a_state_that_comes_back_with_other_images_is_fetched_whole(home: Home) -> None:
    shelf = Shelf()
    shelf.put("1.2", "1", "2")
    take(shelf, home)
    first, shelf.settled = shelf.stamps["1.2"], False
    shelf.stamps["1.2"] = "other"
    del shelf.studies["1.2"]["1.2.2"]
    take(shelf, home)
    shelf.settled = True
    shelf.put("1.2", "2", PixelData=bytes(96))
    shelf.put("1.2", "3")
    shelf.stamps["1.2"] = first
    intake = take(shelf, home)
    assert (intake.states["ingested"], intake.superseded, images(home)) == (2, 1, [3])


def test_studies_that_fail_now_and_then_do_not_keep_the_others_back(home: Home) -> None:
    shelf = Shelf()
    shelf.connections = 1
    for number in range(30):
        shelf.put(f"1.{number:02}", "1")
    shelf.broken = {f"1.{number:02}" for number in (2, 9, 16, 23)}
    with pytest.raises(SourceError, match="4 studies did not come whole, 4 are still owed"):
        take(shelf, home)
    assert images(home) == [1] * 26


def test_a_deletion_that_was_not_acted_on_is_found_by_the_next_run(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    shelf = Shelf()
    shelf.put("1.2", "1")
    shelf.put("1.3", "1")
    take(shelf, home)
    del shelf.studies["1.2"]
    monkeypatch.setattr(stage, "_see_off", lambda *_: 1 / 0)  # as if killed there
    with pytest.raises(ZeroDivisionError):
        take(shelf, home, reconcile_s=0)
    monkeypatch.undo()
    assert home.identified_ledger.cursor(_source(home)).whole_at < home.identified_ledger.clock() - 0
    assert take(shelf, home).gone == 1 and images(home) == [1]


def test_an_image_from_elsewhere_does_not_complete_a_study_that_is_still_arriving(home: Home, tmp_path: Path) -> None:
    shelf = Shelf()
    shelf.expected["1.2"] = 3
    shelf.put("1.2", "1", "2")
    take(shelf, home)
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "x").write_bytes(dicom_bytes("1.2.9", StudyInstanceUID="1.2", PatientID="1.2"))
    ingest(open_source(str(tmp_path / "in")), IngestRecipe(), home)
    assert images(home) == []
    shelf.put("1.2", "3")
    take(shelf, home)
    assert images(home) == [4]


def test_a_large_study_that_was_moved_to_another_patient_changes_hands(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stage, "CHUNK", 4)
    monkeypatch.setattr(stage, "BATCH", 4)
    shelf = Shelf()
    shelf.put("1.2", *"12345678")
    take(shelf, home)
    shelf.studies["1.2"] = {
        uid: dicom_bytes(uid, StudyInstanceUID="1.2", PatientID="P9") for uid in shelf.studies["1.2"]
    }
    shelf.stamps["1.2"] = "moved"
    for _ in range(3):
        take(shelf, home)
    assert home.identified_ledger.input_states() == {"ingested": 8, "superseded": 8}
    (study,) = pending(home)
    assert study.patient_key == patient_key(home.pseudonym_key, "P9") and study.n_instances == 8


def test_a_partial_version_that_was_damaged_is_fetched_again(home: Home) -> None:
    shelf = Shelf()
    shelf.expected["1.2"] = 3
    shelf.put("1.2", "1", "2")
    take(shelf, home)
    (part,) = [e for e in home.identified_ledger.entries("ingest", state=None) if e.state == "partial"]
    for file in (home.identified.store.path(part.digest) / "instances").iterdir():
        file.chmod(0o600)
        file.write_bytes(b"damaged")
    doctor(home, repair=True)
    shelf.put("1.2", "3")
    take(shelf, home)
    assert images(home) == [3]


def test_the_version_before_stays_live_until_the_next_is_whole(home: Home) -> None:
    shelf = Shelf()
    shelf.put("1.2", "1")
    take(shelf, home)
    shelf.expected["1.2"] = 3
    shelf.put("1.2", "2")
    take(shelf, home)
    assert images(home) == [1]
    shelf.put("1.2", "3")
    take(shelf, home)
    assert images(home) == [3]


def test_what_came_before_an_archive_went_away_is_kept_and_not_fetched_again(home: Home) -> None:
    shelf = Shelf()
    shelf.connections = 1
    shelf.put("1.2", *"12345")
    shelf.breaks_after = 3
    with pytest.raises(SourceError, match=r"stopped answering.*1 studies did not come whole, 1 are still owed"):
        take(shelf, home)
    assert home.identified_ledger.input_states() == {"ingested": 3} and images(home) == []
    shelf.breaks_after = None
    assert counts(take(shelf, home)) == {"received": 2, "ingested": 2}
    assert images(home) == [5] and len(shelf.fetched) == 5


def test_an_archive_that_fails_again_and_again_is_left_alone(home: Home) -> None:
    shelf = Shelf()
    for number in range(40):
        shelf.put(f"1.{number}", "1")
    shelf.breaks_after = 2
    with pytest.raises(SourceError, match=r"38 are still owed"):
        take(shelf, home)
    shelf.breaks_after = None
    take(shelf, home)
    assert images(home) == [1] * 40


def test_a_large_study_is_settled_in_parts_and_is_one_version(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stage, "CHUNK", 4)
    monkeypatch.setattr(stage, "BATCH", 4)
    shelf = Shelf()
    shelf.put("1.2", *map(str, range(1, 12)))
    assert counts(take(shelf, home)) == {"received": 11, "ingested": 11}
    assert images(home) == [11]
    assert [entry.state for entry in home.identified_ledger.entries("ingest", state=None)].count("live") == 1


def test_a_large_study_whose_last_part_is_empty_is_closed_all_the_same(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stage, "CHUNK", 4)
    monkeypatch.setattr(stage, "BATCH", 1)
    shelf = Shelf()
    shelf.put("1.2", *"12345678")
    take(shelf, home)
    assert images(home) == [8]


def test_an_image_that_says_it_is_of_another_study_is_set_aside(home: Home) -> None:
    shelf = Shelf()
    shelf.put("1.2", "1")
    shelf.studies["1.2"]["1.9.1"] = dicom_bytes("1.9.1", StudyInstanceUID="1.9", PatientID="1.9")
    intake = take(shelf, home)
    assert counts(intake) == {"received": 2, "ingested": 1, "quarantined": 1}
    assert [reason.value for reason in intake.reasons] == ["wrong_study"]


def test_an_image_that_cannot_be_read_does_not_hold_its_study_back(home: Home) -> None:
    shelf = Shelf()
    shelf.expected["1.2"] = 2
    shelf.put("1.2", "1")
    shelf.studies["1.2"]["1.2.2"] = b"nonsense"
    assert counts(take(shelf, home)) == {"received": 2, "ingested": 1, "quarantined": 1}
    assert images(home) == [1] and counts(take(shelf, home)) == {}


def test_below_the_reserve_nothing_is_fetched(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    shelf = Shelf()
    shelf.put("1.2", "1")
    monkeypatch.setenv("MEDGAN_RESERVE_GIB", "1e9")
    with pytest.raises(HomeError, match="less room than its reserve"):
        take(shelf, home)
    assert shelf.fetched == []
    monkeypatch.delenv("MEDGAN_RESERVE_GIB")
    take(shelf, home)
    assert images(home) == [1]


def test_when_room_runs_out_on_the_way_what_waits_is_taken_by_the_next_run(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stage, "BATCH", 1)
    shelf = Shelf()
    for number in range(20):
        shelf.put(f"1.{number}", "1")
    calls = iter([True] * 5)
    monkeypatch.setattr(Home, "has_room", lambda _: next(calls, False))
    with pytest.raises(HomeError, match="less room"):
        take(shelf, home)
    monkeypatch.undo()
    done = home.identified_ledger.input_states()["ingested"]
    assert 0 < done < 20
    assert counts(take(shelf, home)) == {"received": 20 - done, "ingested": 20 - done}


def test_more_deletions_than_a_share_are_not_believed_and_fewer_are(home: Home) -> None:
    shelf = Shelf()
    for number in range(30):
        shelf.put(f"1.{number}", "1")
    take(shelf, home)
    for number in range(11):
        del shelf.studies[f"1.{number}"]
    shelf.put("1.50", "1")
    with pytest.raises(SourceError, match=r"11 of 30 studies .* gone at once.* share of 0\.1; nothing was deleted"):
        take(shelf, home)
    assert images(home) == [1] * 31, "what is new is taken in all the same"
    assert take(shelf, home, max_gone=0.5).gone == 11 and images(home) == [1] * 20


def test_with_a_study_that_is_gone_go_its_derived_data(home: Home) -> None:
    shelf = Shelf()
    shelf.put("1.2", "1")
    shelf.put("1.3", "1")
    take(shelf, home)
    (gone,) = [study for study in pending(home) if study.study_key == _key(home, "1.2")]
    with home.research.store.staging() as folder:
        (folder / "x").write_bytes(b"x")
        digest = home.research.store.seal(folder, "deidentify")
    from medgan.ledger import Entry

    home.research.ledger.record(Entry("k", digest, "deidentify", "{}", gone.study_key))
    del shelf.studies["1.2"]
    assert take(shelf, home).gone == 1
    assert not home.research.store.has(digest) and not home.identified.store.has(gone.digest)
    assert home.research.ledger.entries("deidentify", state=None) == []


def _key(home: Home, uid: str) -> str:
    return study_key(home.pseudonym_key, uid)


def test_a_bug_in_a_thread_is_told(home: Home) -> None:
    shelf = Shelf()
    shelf.put("1.2", "1")
    shelf.fetch = None  # type: ignore[assignment]
    with pytest.raises(TypeError):
        take(shelf, home)
    assert [type(held) for held in home.identified_ledger.owed(_source(home))] == [Held]


def _source(home: Home) -> str:
    return keyed(home.pseudonym_key, "source", "shelf")
