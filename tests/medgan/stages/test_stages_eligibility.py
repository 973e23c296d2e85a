"""Consent and opt-out lists: who may enter, who has to go, who may come back; and a list in doubt lets nobody in."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import pytest
from people import (
    cohort_of,
    come,
    empty_registry,  # noqa: F401 - a fixture
    fill_registry,
    holds,
    key,
    lists,
    model,
    needle,
    new_home,
    send,
    with_registry,
)

from medgan import digest
from medgan.errors import HomeError, UsageError
from medgan.home import Home
from medgan.stages.desk import LEASE
from medgan.stages.eligibility import Enforced, enforce, read
from medgan.stages.ingest import pending
from medgan.stages.withdraw import withdraw
from medgan.store import Store


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return new_home(tmp_path / "home")


def enforced(home: Home) -> Enforced:
    """As an intake calls it."""
    with home.identified_ledger.lease(LEASE):
        return enforce(home)


def there(home: Home, *patients: tuple[str, str]) -> list[tuple[str, str]]:
    """Of these, the ones whose studies go on to the next stage."""
    keys = {study.patient_key for study in pending(home)}
    return [one for one in patients if key(home, *one) in keys]


N, S, A, B = ("17", "NORTH"), ("17", "SOUTH"), ("17", ""), ("18", "")


@dataclass(frozen=True)
class Case:
    """Lists, films that come, and those of them that get in."""

    enters: list[tuple[str, str]]
    consent: str = ""
    opt_out: str = ""
    merges: str = ""
    came: list[tuple[str, str]] = field(default_factory=lambda: [N, S, A, B])


ENTER = {
    "no list": Case([N, S, A, B]),
    "opted out, whoever issued the id": Case([B], opt_out="patient_id\n17\n"),
    "opted out, one issuer": Case([S, A, B], opt_out="patient_id,issuer\n17,NORTH\n"),
    "opted out, an empty issuer": Case([B], opt_out="patient_id,issuer\n17,\n"),
    "an opt-out list without anyone": Case([N, S, A, B], opt_out="patient_id,issuer\n"),
    "consent, whoever issued the id": Case([N, S, A], consent="patient_id\n17\n"),
    "consent, one issuer": Case([N], consent="patient_id,issuer\n17,NORTH\n"),
    "consent and opt-out": Case([S, A], consent="patient_id\n17\n", opt_out="patient_id,issuer\n17,NORTH\n"),
    "both lists name the same": Case([], consent="patient_id\n17\n", opt_out="patient_id\n17\n"),
    "semicolons": Case([S, A, B], opt_out="patient_id;issuer\n17;NORTH\n"),
    "tabs": Case([S, A, B], opt_out="patient_id\tissuer\r\n17\tNORTH\r\n"),
    "a mark before the text, blank lines, other columns": Case(
        [S, A, B], opt_out="\ufeff\n Note , ISSUER,Patient_ID\n\n,NORTH, 17 \n,,\n\n"
    ),
    "quotes": Case([S, A, B], opt_out='patient_id,issuer,note\n"17","NORTH","a, ""b"""\n'),
    "opted out under an id that is the same person": Case(
        [B], opt_out="patient_id\n19\n", merges="patient_id,issuer,into_id,into_issuer\n19,,17,NORTH\n", came=[N, B]
    ),
    "opted out, a chain of merges, nobody came before": Case(
        [B], opt_out="patient_id\n20\n", merges="patient_id,into_id\n20,19\n19,17\n", came=[N, B]
    ),
    "consent under an id that is the same person": Case(
        [N],
        consent="patient_id\n19\n",
        merges="patient_id,issuer,into_id,into_issuer\n19,,17,NORTH\n",
        came=[N, B],
    ),
}


@pytest.mark.parametrize("case", ENTER.values(), ids=ENTER)
def test_who_may_enter_enters_and_nobody_else(home: Home, tmp_path: Path, case: Case) -> None:
    for name in ("consent", "opt_out", "merges"):
        if text := getattr(case, name):
            lists(home, **{name: text})
    intake = come(home, send(tmp_path / "in", *case.came))
    assert there(home, *case.came) == case.enters
    refused = len(case.came) - len(case.enters)
    assert (intake.states["refused"], intake.states["ingested"]) == (refused, len(case.enters))


@pytest.mark.parametrize("case", ENTER.values(), ids=ENTER)
def test_lists_that_come_later_leave_the_same_ones_and_erase_the_others(home: Home, tmp_path: Path, case: Case) -> None:
    folder = send(tmp_path / "in", *case.came)
    come(home, folder)
    cohort_of(home)
    for name in ("consent", "opt_out", "merges"):
        if text := getattr(case, name):
            lists(home, **{name: text})
    come(home, folder)
    assert there(home, *case.came) == case.enters
    assert [one for one in case.came if holds(home, needle(folder, *one))] == case.enters
    assert enforced(home) == Enforced()
    if case.enters:
        assert cohort_of(home).patients == len(case.enters)


def test_who_is_taken_off_the_list_comes_back_from_the_source(home: Home, tmp_path: Path) -> None:
    folder = send(tmp_path / "in", A, B)
    come(home, folder)
    before = cohort_of(home)
    lists(home, opt_out="patient_id\n17\n")
    come(home, folder)
    assert not holds(home, needle(folder, *A)) and cohort_of(home).patients == 1
    lists(home, opt_out="patient_id\n")
    intake = come(home, folder)
    assert intake.states["ingested"] == 1 and not home.research.ledger.buried()
    assert cohort_of(home).digest == before.digest  # the very cohort there was


def test_who_was_refused_at_the_door_comes_in_when_consent_is_given(home: Home, tmp_path: Path) -> None:
    lists(home, consent="patient_id\n18\n")
    folder = send(tmp_path / "in", A, B)
    assert come(home, folder).states["refused"] == 1
    assert come(home, folder).states["unchanged"] == 2
    lists(home, consent="patient_id\n18\n17\n")
    assert come(home, folder).states["ingested"] == 1 and there(home, A, B) == [A, B]


def test_who_withdrew_is_not_let_in_by_any_list(home: Home, tmp_path: Path) -> None:
    folder = send(tmp_path / "in", A, B)
    come(home, folder)
    withdraw(["17"], home)
    lists(home, consent="patient_id\n17\n18\n", opt_out="patient_id\n")
    come(home, folder)
    assert there(home, A, B) == [B] and not holds(home, needle(folder, *A))


def test_beside_a_pipeline_they_are_hidden_at_once_and_erased_later(home: Home, tmp_path: Path) -> None:
    folder = send(tmp_path / "in", A, B)
    come(home, folder)
    cohort_of(home)
    lists(home, opt_out="patient_id\n17\n")
    with home.research.ledger.lease("pipeline"):
        assert enforced(home) == Enforced(opted_out=1, waits=True)
        assert there(home, A, B) == [B] and cohort_of(home).patients == 1
        assert holds(home, needle(folder, *A)) and enforced(home) == Enforced(waits=True)
    done = enforced(home)
    assert done.erased > 0 and not done.waits and not holds(home, needle(folder, *A))


def test_taken_back_before_the_erasure_nothing_is_lost(home: Home, tmp_path: Path) -> None:
    folder = send(tmp_path / "in", A, B)
    come(home, folder)
    before = cohort_of(home)
    lists(home, opt_out="patient_id\n17\n")
    with home.research.ledger.lease("pipeline"):
        enforced(home)
    lists(home, opt_out="patient_id\n")
    assert enforced(home).taken_back == 1
    assert come(home, folder).states["unchanged"] == 2 and cohort_of(home).digest == before.digest


@pytest.mark.parametrize("text", ["patient_id\n17\n", "patient_id\n"], ids=["then finished", "then taken back"])
@pytest.mark.parametrize("after", [0, 1, 2, 3], ids=lambda n: f"after {n} artefacts")
def test_an_erasure_that_was_cut_off_is_finished_and_may_still_be_taken_back(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after: int, text: str
) -> None:
    folder = send(tmp_path / "in", A, B)
    come(home, folder)
    before = cohort_of(home)
    lists(home, opt_out="patient_id\n17\n")
    whole, calls = Store.drop, iter(range(100))

    def failing(store: Store, which: str) -> None:
        if next(calls) >= after:
            raise OSError("cut off")
        whole(store, which)

    with monkeypatch.context() as cut:
        cut.setattr(Store, "drop", failing)
        with pytest.raises(OSError, match="cut off"):
            enforced(home)
    assert there(home, A, B) == [B]
    lists(home, opt_out=text)
    come(home, folder)
    ends = [B] if "17" in text else [A, B]
    assert there(home, A, B) == ends and [one for one in (A, B) if holds(home, needle(folder, *one))] == ends
    assert enforced(home) == Enforced()
    assert (cohort_of(home).digest == before.digest) == (A in ends)


def test_a_model_that_learned_from_who_opted_out_is_retired_and_asked_for_again(
    home: Home,
    tmp_path: Path,
    empty_registry: Path,  # noqa: F811
) -> None:
    with_registry(home, empty_registry)
    folder = send(tmp_path / "in", A, B)
    come(home, folder)
    saw = model(home, "m", [key(home, "17")])
    client = fill_registry(home, {("medgan", "1"): saw}, {("medgan", "champion"): 1})
    lists(home, opt_out="patient_id\n17\n")
    come(home, folder)
    assert not client.get_registered_model("medgan").aliases
    assert client.get_model_version("medgan", "1").tags["retrain_reason"] == "opt-out"
    assert home.research.ledger.requested("retrain") == [saw]


def test_a_list_that_did_not_change_opens_nothing(home: Home, tmp_path: Path) -> None:
    lists(home, opt_out="patient_id\n17\n")
    come(home, send(tmp_path / "in", A, B))
    enforced(home)  # the refused input told that somebody came under the id
    with home.research.ledger.lease("pipeline"):
        assert enforced(home) == Enforced()


BAD = {
    "not UTF-8": (b"patient_id\nM\xfcller\n", UsageError, "is not UTF-8"),
    "no such column": (b"patient,issuer\nSECRET,NORTH\n", UsageError, "has no column patient_id"),
    "empty": (b"", UsageError, "has no column patient_id"),
    "no header": (b"SECRET\n17\n", UsageError, "has no column patient_id"),
    "a quote that is not closed": (b'patient_id\n"SECRET\n17\n', UsageError, "is no CSV"),
    "a comma that is not quoted": (b"patient_id,issuer\nSECRET,17,NORTH\n", UsageError, "line 2: expected 2 columns"),
    "an issuer without an id": (b"patient_id,issuer\n17,\n,SECRET\n", UsageError, "line 3"),
    "bytes of nothing": (b"patient_id\n17\x00\n", UsageError, "is no CSV"),
    "a folder": (None, HomeError, "cannot be read"),
}


@pytest.mark.parametrize("name", ["consent.csv", "opt-out.csv"])
@pytest.mark.parametrize(("data", "error", "says"), BAD.values(), ids=BAD)
def test_a_list_in_doubt_lets_nobody_in_and_is_never_quoted(
    home: Home, tmp_path: Path, name: str, data: bytes | None, error: type[Exception], says: str
) -> None:
    place = home.root / "identified" / name
    if data is None:
        place.mkdir()
    else:
        place.write_bytes(data)
    with pytest.raises(error, match=says) as told:
        come(home, send(tmp_path / "in", A))
    assert f"identified/{name}" in str(told.value) and "SECRET" not in str(told.value)
    assert not home.identified_ledger.input_states()


def test_a_consent_list_of_nobody_and_a_dangling_link_are_refused(home: Home, tmp_path: Path) -> None:
    lists(home, consent="patient_id,issuer\n\n")
    with pytest.raises(UsageError, match="names no patient"):
        read(home)
    lists(home, consent=None)
    (home.root / "identified" / "consent.csv").symlink_to(tmp_path / "nowhere")
    with pytest.raises(HomeError, match="cannot be read"):
        read(home)


def test_the_digest_tells_the_lists_apart_and_nothing_else(home: Home, tmp_path: Path) -> None:
    assert read(home).digest == ""
    seen = set()
    for text in ("patient_id\n17\n", "patient_id\n17\n18\n", "patient_id,issuer\n17,NORTH\n", "patient_id\n"):
        lists(home, opt_out=text)
        seen.add(read(home).digest)
    lists(home, opt_out=None, consent="patient_id\n17\n")
    seen.add(read(home).digest)
    assert len(seen) == 5
    one = read(home).digest
    lists(home, consent="issuer;patient_id\n;17\n;17\n")
    come(home, send(tmp_path / "in", A))
    assert read(home).digest == one
    assert digest.id_key(home.pseudonym_key, " 17 ") in (read(home).consented or ())


def test_a_study_without_a_patient_id_needs_consent_that_it_cannot_show(home: Home) -> None:
    nobody = digest.id_key(home.pseudonym_key, "")
    lists(home, opt_out="patient_id\n17\n")
    assert read(home).allows("of a study", nobody)
    lists(home, consent="patient_id\n17\n")
    assert not read(home).allows("of a study", nobody) and not read(home).allows("", "")


@pytest.mark.parametrize("name", ["opt-out.csv", "consent.csv"])
def test_a_list_that_was_in_force_and_is_missing_stops_the_intake(home: Home, tmp_path: Path, name: str) -> None:
    folder = send(tmp_path / "in", A, B)
    path = home.root / "identified" / name
    path.write_text("patient_id\n17\n")
    come(home, folder)
    path.unlink()
    before = home.identified_ledger.input_states()
    with pytest.raises(UsageError, match=f"{name} was in force and is missing"):
        come(home, folder)
    assert home.identified_ledger.input_states() == before
    path.write_text("patient_id\n*\n" if name == "consent.csv" else "patient_id\n")
    come(home, folder)
    assert home.identified_ledger.input_states() == {"ingested": 2}
