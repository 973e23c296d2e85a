import pickle
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from medgan.errors import Busy, HomeError
from medgan.home import Home, read_key
from medgan.ledger_inputs import Input
from medgan.records import Record


class Note(Record):
    digest: str
    n: int


def test_a_new_home_makes_closed_keys_once(tmp_path: Path) -> None:
    home = Home.create(tmp_path / "h")
    assert home.created
    again = Home.create(tmp_path / "h")
    assert not again.created and again.pseudonym_key == home.pseudonym_key
    assert home.pseudonym_key != home.cohort_key
    for name in ("identified/key", "research/keys/cohort"):
        assert stat.S_IMODE((tmp_path / "h" / name).stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "h" / "identified").stat().st_mode) == 0o700


def test_a_ledger_with_entries_and_no_key_is_refused(tmp_path: Path) -> None:
    home = Home.create(tmp_path)
    home.identified_ledger.settle([Input("s", "l", "x", "t", 1, "ingested")])
    (tmp_path / "identified" / "key").unlink()
    with pytest.raises(HomeError, match="key is missing beside a ledger"):
        Home.create(tmp_path)
    assert not (tmp_path / "identified" / "key").exists()


@pytest.mark.parametrize(
    ("text", "mode", "message"),
    [
        pytest.param("ab" * 32, 0o644, "read by others", id="open"),
        pytest.param("ab", 0o600, "damaged", id="short"),
        pytest.param("zz" * 32, 0o600, "damaged", id="not hex"),
        pytest.param(None, 0o600, "missing", id="missing"),
    ],
)
def test_a_bad_key_is_named_without_its_value(tmp_path: Path, text: str | None, mode: int, message: str) -> None:
    path = tmp_path / "key"
    if text is not None:
        path.write_text(text)
        path.chmod(mode)
    with pytest.raises(HomeError, match=message) as caught:
        read_key(path)
    assert text is None or text not in str(caught.value)


def test_what_was_made_is_found_and_not_made_again(tmp_path: Path) -> None:
    home = Home.create(tmp_path)
    calls = []

    def fill(folder: Path) -> Note:
        calls.append(1)
        (folder / "f").write_text("x")
        return Note(digest="", n=1)

    first = home.research.make("k", fill, stage="note", kind=Note, patients=["p"])
    assert home.research.make("k", fill, stage="note", kind=Note) == first and len(calls) == 1
    assert home.research.records("note", Note) == [first]
    home.research.store.drop(first.digest)
    assert home.research.make("k", fill, stage="note", kind=Note) == first and len(calls) == 2


def test_a_home_travels_as_its_path(tmp_path: Path) -> None:
    home = Home.create(tmp_path)
    assert home.research.ledger is home.research.ledger
    assert pickle.loads(pickle.dumps(home)).pseudonym_key == home.pseudonym_key  # noqa: S301 - our own bytes


def test_a_flow_inside_another_shares_the_lease_and_a_second_run_is_busy(tmp_path: Path) -> None:
    home = Home.create(tmp_path / "home")
    with home.at_work(), Home(home.root).at_work():
        pass
    with home.at_work(), ThreadPoolExecutor(1) as pool:  # a thread that was not handed the context is another run
        assert isinstance(pool.submit(_work_in, home).exception(), Busy)
    _work_in(home)


def _work_in(home: Home) -> None:
    with home.at_work():
        pass
