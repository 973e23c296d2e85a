import os

import pytest

from medgan import parallel


def double(x: int, by: int) -> int:
    return x * by


def pids(items: list[int]) -> list[int]:
    return [os.getpid() for _ in items]


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


def test_a_local_cluster_really_works_in_other_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    if parallel.cores() < 2:
        pytest.skip("one core: everything is done in this process")
    monkeypatch.setenv("MEDGAN_DASK", "")
    try:
        found = parallel.in_chunks(list(range(8)), pids, size=2)
    finally:
        parallel.close()
    assert len(found) == 8 and os.getpid() not in found
