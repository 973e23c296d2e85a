import contextlib
import os
import pickle
import signal
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from dask_cluster import POISON, cluster, deadly, deadly_after_writing, deadly_once, double, greedy, pids, slow
from dicom_series import ct_slice, sealed_study
from distributed import KilledWorker
from small import GRID

from medgan import parallel
from medgan.errors import Reason
from medgan.home import Home
from medgan.records import Quarantined, Sample, Study
from medgan.stages.preprocess import STAGE, preprocess, preprocess_studies, sample_key


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with cluster(tmp_path_factory.mktemp("dask")) as started:
        yield started


@pytest.fixture
def dask(address: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The map goes to a scheduler and two workers that are processes of their own."""
    parallel.close()
    monkeypatch.setenv("MEDGAN_DASK", address)
    yield
    parallel.close()


@pytest.mark.parametrize("n", [0, 1, 5])
def test_order_is_kept(n: int) -> None:
    assert parallel.over(list(range(n)), double, 3) == [3 * i for i in range(n)]


def test_progress_is_told_to_the_end() -> None:
    told: list[tuple[int, int]] = []
    parallel.in_chunks(list(range(10)), lambda xs: xs, size=4, on_progress=lambda d, t: told.append((d, t)))
    assert told == [(4, 10), (8, 10), (10, 10)]


def test_what_is_known_is_sent_to_no_worker_and_keeps_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[tuple[int, int]] = []
    sent: list[int] = []

    def negated(items: list[int]) -> list[int]:
        sent.extend(items)
        return [-item for item in items]

    monkeypatch.setenv("MEDGAN_DASK", "serial")
    found = parallel.in_chunks(
        list(range(10)),
        negated,
        size=4,
        known=lambda item: 0 if item % 2 else None,
        on_progress=lambda done, total: told.append((done, total)),
    )
    assert found == [0, 0, -2, 0, -4, 0, -6, 0, -8, 0] and sent == [0, 2, 4, 6, 8]
    assert told == [(5, 10), (9, 10), (10, 10)]


def test_where_all_is_known_no_cluster_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEDGAN_DASK", "tcp://127.0.0.1:1")  # nobody answers there
    told: list[tuple[int, int]] = []
    found = parallel.in_chunks(
        list(range(80)), pids, known=lambda item: item, on_progress=lambda done, total: told.append((done, total))
    )
    assert found == list(range(80)) and told == [(80, 80)]


def test_batches_are_few_and_lose_nothing() -> None:
    for n in (0, 1, 63, 64, 65, 1024, 1025, 12_000):
        found = list(parallel.batches(list(range(n))))
        assert len(found) <= 16 and all(len(batch) >= 64 for batch in found[:-1])
        assert [i for batch in found for i in batch] == list(range(n))


def test_a_poisoned_item_among_twenty_is_lost_and_all_others_come_in_order(dask: None) -> None:
    told: list[tuple[int, int]] = []
    found = parallel.in_chunks(
        list(range(20)), deadly, size=4, lost=lambda item: 1000 + item, on_progress=lambda d, t: told.append((d, t))
    )
    assert found == [1000 + item if item == POISON else -item for item in range(20)]
    assert told == sorted(told) and told[-1] == (20, 20)


def test_what_a_killed_chunk_had_sealed_is_found_and_not_done_again(dask: None, tmp_path: Path) -> None:
    def known(item: int) -> int | None:
        return item if (tmp_path / str(item)).exists() else None

    found = parallel.in_chunks(list(range(12)), deadly_after_writing, tmp_path, size=6, known=known, lost=lambda _: -1)
    assert found == [-1 if item == POISON else item for item in range(12)]
    assert (tmp_path / "6").read_text() == "x"  # sealed in the chunk that was killed by its neighbour


def test_without_a_word_for_the_lost_the_error_is_raised(dask: None) -> None:
    with pytest.raises(KilledWorker):
        parallel.in_chunks([0, POISON], deadly, size=1)


def test_an_item_under_which_one_worker_died_is_not_lost(dask: None, tmp_path: Path) -> None:
    found = parallel.over(list(range(POISON + 1)), deadly_once, tmp_path, lost=lambda item: 1000 + item)
    assert found == [-item for item in range(POISON + 1)] and (tmp_path / "died").exists()


def test_where_a_worker_is_killed_midway_everything_still_comes(
    dask: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parallel, "IN_FLIGHT", 8)  # far fewer than there are

    def kill(done: int, total: int) -> None:
        if done == 6:
            os.kill(int(next(tmp_path.iterdir()).name), signal.SIGKILL)

    found = parallel.in_chunks(list(range(60)), slow, tmp_path, size=2, on_progress=kill)
    assert found == [-item for item in range(60)]
    assert os.getpid() not in {int(file.name) for file in tmp_path.iterdir()}


class DeadlyStudy(Study):
    """Kills every process that looks into it, but one."""

    spared: int

    def __getattribute__(self, name: str) -> object:
        if name == "digest" and os.getpid() != super().__getattribute__("spared"):
            os.kill(os.getpid(), signal.SIGKILL)
        return super().__getattribute__(name)


def studies_like(study: Study, count: int) -> list[Study]:
    return [study.model_copy(update={"study_key": f"{n:032x}"}) for n in range(count)]


def test_a_study_that_kills_its_workers_is_set_aside_and_its_neighbours_are_done(dask: None, tmp_path: Path) -> None:
    home = Home.create(tmp_path / "home")
    studies = studies_like(sealed_study(home, [ct_slice(i) for i in range(8)], patient="p"), 34)
    studies[POISON] = DeadlyStudy(**studies[POISON].model_dump(), spared=os.getpid())
    outcomes = preprocess(studies, GRID, home)
    assert outcomes[POISON] == Quarantined(study_key=f"{POISON:032x}", stage=STAGE, reason=Reason.POISON)
    assert [one.study_key for one in outcomes] == [study.study_key for study in studies]
    assert sum(isinstance(one, Sample) for one in outcomes) == 33
    key = sample_key(studies[POISON], GRID, home)
    assert home.research.ledger.set_aside_reason(studies[POISON].study_key, STAGE, key) is Reason.POISON


def test_a_chunk_of_studies_and_its_results_are_small_when_they_travel(tmp_path: Path) -> None:
    home = Home.create(tmp_path / "home")
    chunk = studies_like(sealed_study(home, [ct_slice(i) for i in range(8)], patient="p"), 32)
    there = pickle.dumps((preprocess_studies, chunk, GRID, home))
    back = pickle.dumps(preprocess_studies(chunk, GRID, home))
    assert len(there) + len(back) < 64 << 10


def test_a_local_cluster_really_works_in_other_processes_and_outlives_them(monkeypatch: pytest.MonkeyPatch) -> None:
    if parallel.cores() < 2:
        pytest.skip("one core: everything is done in this process")
    parallel.close()
    monkeypatch.setenv("MEDGAN_DASK", "")
    try:
        found = parallel.in_chunks(list(range(8)), pids, size=2)
        outlived = parallel.in_chunks(list(range(8)), deadly, size=4, lost=lambda item: 1000 + item)
    finally:
        parallel.close()
    assert len(found) == 8 and os.getpid() not in found
    assert outlived == [1000 + item if item == POISON else -item for item in range(8)]


@pytest.mark.timeout(90)
def test_what_takes_more_than_a_workers_memory_is_lost_and_workers_that_are_nearly_full_go_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if parallel.cores() < 2:
        pytest.skip("one core: everything is done in this process")
    parallel.close()
    limit = 400 << 20
    monkeypatch.setenv("MEDGAN_DASK", "")
    monkeypatch.setattr("distributed.system.MEMORY_LIMIT", parallel.cores() * limit)
    try:
        found = parallel.in_chunks(list(range(12)), greedy, limit, size=2, lost=lambda item: 1000 + item)
    finally:
        parallel.close()
    assert found == [1000 + item if item == POISON else -item for item in range(12)]


def test_a_scheduler_that_goes_away_is_an_error_of_the_world_and_another_is_found_after_it(
    address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def end(done: int, total: int) -> None:
        for process in psutil.Process().children() if done == 4 else ():
            with contextlib.suppress(psutil.Error):  # what other tests started may have ended
                if f"{tmp_path}/scheduler.json" in process.cmdline():
                    process.kill()

    parallel.close()
    (tmp_path / "pids").mkdir()
    items = list(range(40))
    with cluster(tmp_path, workers=1) as its_own, pytest.raises(OSError, match="scheduler went away"):
        monkeypatch.setenv("MEDGAN_DASK", its_own)
        parallel.in_chunks(items, slow, tmp_path / "pids", size=2, on_progress=end)
    monkeypatch.setenv("MEDGAN_DASK", address)
    assert parallel.in_chunks(items, slow, tmp_path / "pids", size=2) == [-item for item in items]
    parallel.close()
