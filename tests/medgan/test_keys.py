"""Keys: which file holds them, who may read it, and how one is told from another."""

import stat
from pathlib import Path

import pytest

from medgan.errors import HomeError
from medgan.home import Home
from medgan.keys import Key, pick, put_new_key, read_key, read_keys

OLD, NEW = bytes(range(32)), bytes(range(1, 33))


def key_file(path: Path, text: str | bytes, mode: int = 0o600) -> Path:
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    path.chmod(mode)
    return path


def test_the_newest_key_comes_first_with_or_without_its_id(tmp_path: Path) -> None:
    path = key_file(tmp_path / "k", f"# rotated\n{Key(NEW).id}: {NEW.hex()}\n\n{OLD.hex()}\n")
    assert read_keys(path) == (Key(NEW), Key(OLD)) and read_key(path) == NEW
    assert pick(read_keys(path), Key(OLD).id.upper()) == Key(OLD)
    with pytest.raises(HomeError, match=f"{Key(NEW).id}, {Key(OLD).id}"):
        pick(read_keys(path), "00000000")


@pytest.mark.parametrize(
    ("text", "mode", "message"),
    [
        pytest.param(None, 0o600, "missing", id="missing"),
        pytest.param(OLD.hex(), 0o640, "read by others", id="open"),
        pytest.param("", 0o600, "damaged", id="empty"),
        pytest.param("# nothing but words\n", 0o600, "damaged", id="only a comment"),
        pytest.param(OLD.hex()[:-1], 0o600, "damaged", id="short"),
        pytest.param(b"\xff\xfe" * 40, 0o600, "damaged", id="binary"),
        pytest.param(f"{OLD.hex()}\n{OLD.hex()}", 0o600, "twice", id="the same twice"),
        pytest.param(f"{Key(NEW).id}: {OLD.hex()}", 0o600, "does not match the id", id="mistyped"),
    ],
)
def test_what_is_wrong_with_a_key_file_is_told_apart(
    tmp_path: Path, text: str | bytes | None, mode: int, message: str
) -> None:
    path = tmp_path / "k"
    if text is not None:
        key_file(path, text, mode)
    with pytest.raises(HomeError, match=message) as caught:
        read_keys(path)
    assert OLD.hex()[:16] not in str(caught.value)


def test_an_id_says_nothing_of_the_key_and_is_the_same_everywhere() -> None:
    assert Key(OLD).id == Key(OLD).id != Key(NEW).id and len(Key(OLD).id) == 8
    assert Key(OLD).id not in OLD.hex() and OLD.hex() not in repr(Key(OLD))


def test_a_new_key_goes_on_top_of_the_old_ones_in_a_closed_file(tmp_path: Path) -> None:
    path = tmp_path / "k"
    first = put_new_key(path)
    second = put_new_key(path)
    assert read_keys(path) == (second, first) and first != second
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    path.chmod(0o644)
    with pytest.raises(HomeError, match="read by others"):
        put_new_key(path)


def test_another_key_in_a_home_is_told_from_a_missing_one(tmp_path: Path) -> None:
    home = Home.create(tmp_path)
    before, path = home.pseudonym_key, tmp_path / "identified" / "key"
    path.write_text(NEW.hex())
    with pytest.raises(HomeError, match=f"another key .{Key(NEW).id}. than the one that made this home"):
        _ = Home(tmp_path).pseudonym_key
    path.unlink()
    with pytest.raises(HomeError, match="missing"):
        _ = Home(tmp_path).pseudonym_key
    key_file(path, before.hex())
    assert Home(tmp_path).pseudonym_key == before
