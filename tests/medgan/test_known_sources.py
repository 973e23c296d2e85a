"""A source has a name; only the identified zone knows its address."""

import stat
from pathlib import Path

import pytest

from medgan import known_sources
from medgan.errors import HomeError, UsageError

SECRET = b"s" * 32


def test_the_same_source_has_the_same_name_and_another_has_another(tmp_path: Path) -> None:
    first = known_sources.remember(tmp_path, "/pacs/mueller", secret=SECRET)
    assert known_sources.remember(tmp_path, "/pacs/mueller", secret=SECRET) == first
    labelled = known_sources.remember(tmp_path, "/pacs/mueller", Path("/labels.csv"), secret=SECRET)
    assert labelled != first and len(known_sources.everything(tmp_path)) == 2
    assert known_sources.recall(tmp_path, first) == ("/pacs/mueller", None)
    assert known_sources.recall(tmp_path, labelled) == ("/pacs/mueller", Path("/labels.csv"))


def test_a_name_says_nothing_of_the_address_without_the_secret(tmp_path: Path) -> None:
    name = known_sources.remember(tmp_path, "/pacs/mueller", secret=SECRET)
    assert "mueller" not in name and known_sources.remember(tmp_path, "/pacs/mueller", secret=b"t" * 32) != name


def test_the_list_is_closed_to_others(tmp_path: Path) -> None:
    known_sources.remember(tmp_path, "/pacs", secret=SECRET)
    assert not stat.S_IMODE((tmp_path / known_sources.FILE).stat().st_mode) & 0o077


def test_an_unknown_name_is_wrong_usage_and_a_damaged_list_is_told(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="medgan ingest"):
        known_sources.recall(tmp_path, "source-1")
    (tmp_path / known_sources.FILE).write_text("{")
    with pytest.raises(HomeError, match="damaged"):
        known_sources.everything(tmp_path)
