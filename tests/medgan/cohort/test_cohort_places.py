"""Folders and buckets hold the same things in the same way: complete, or told as incomplete."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Barrier, Lock
from typing import Any

import numpy as np
import obstore
import pytest
import zarr
from obstore.store import MemoryStore, from_url
from s3_server import BUCKET, s3, unavailable
from test_cohort_arrays import cohort, same
from zarr.storage import ObjectStore

from medgan.cohort.arrays import read_cohort, read_owners, read_part, read_rows, write_cohort
from medgan.cohort.places import AT_ONCE, Bucket, Folder, Place, place
from medgan.cohort.volumes import read_volume, write_volume
from medgan.errors import CorruptArtefact, SourceError, UsageError

AFFINE = [[0, 0, 1.5, 0], [0, 1.5, 0, 0], [1.5, 0, 0, 0], [0, 0, 0, 1]]
VOXELS = np.arange(4 * 5 * 6, dtype="int16").reshape(4, 5, 6)


@pytest.fixture(scope="module")
def server() -> Iterator[dict[str, str]]:
    if why := unavailable():
        pytest.skip(why)
    with s3() as found:
        yield found


@pytest.fixture
def bucket(server: dict[str, str], monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> str:
    """The address of a prefix of its own; credentials and end point lie in the environment."""
    for name, value in server.items():
        monkeypatch.setenv(name, value)
    return f"s3://{BUCKET}/{abs(hash(request.node.nodeid))}"


@pytest.fixture(params=["folder", "memory", "s3"])
def somewhere(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    if request.param == "s3":
        return place(request.getfixturevalue("bucket"))
    return Folder(tmp_path) if request.param == "folder" else Bucket(MemoryStore(), "below/")


def test_cohorts_and_volumes_are_the_same_anywhere(somewhere: Place) -> None:
    write_cohort(somewhere.at("c.zarr"), cohort(40), shard=16)
    write_volume(somewhere.at("v.ome.zarr"), VOXELS, {"affine_lps": AFFINE})
    assert same(read_cohort(somewhere.at("c.zarr")), cohort(40))
    assert same(read_part(somewhere.at("c.zarr"), "audit"), cohort(40).part("audit"))
    assert len(read_owners(somewhere.at("c.zarr"))) == 40
    assert np.array_equal(read_volume(somewhere.at("v.ome.zarr"))[0], VOXELS)


def test_nothing_is_written_over_what_stands_there(somewhere: Place) -> None:
    write_cohort(somewhere.at("c.zarr"), cohort(8))
    with pytest.raises(UsageError, match="stands there already"):
        write_cohort(somewhere.at("c.zarr"), cohort(9))
    assert same(read_cohort(somewhere.at("c.zarr")), cohort(8))


def test_where_nothing_is_nothing_is_read(somewhere: Place) -> None:
    with pytest.raises(CorruptArtefact):
        read_cohort(somewhere.at("c.zarr"))
    with pytest.raises(CorruptArtefact):
        read_volume(somewhere.at("v.ome.zarr"))


def test_a_shard_lost_or_left_over_in_a_bucket_is_found() -> None:
    store = MemoryStore()
    write_cohort(Bucket(store), cohort(40), shard=16)
    kept = store.get("images/c/1/0/0/0/0").bytes()
    obstore.put(store, "images/c/3/0/0/0/0", kept)
    with pytest.raises(CorruptArtefact, match="1 others found"):
        read_cohort(Bucket(store))
    obstore.delete(store, ["images/c/3/0/0/0/0", "images/c/1/0/0/0/0"])
    with pytest.raises(CorruptArtefact, match="2 of them"):
        read_cohort(Bucket(store))


def test_other_readers_find_a_cohort_in_a_bucket(bucket: str) -> None:
    write_cohort(f"{bucket}/c.zarr", cohort(40), shard=16)
    group = zarr.open_group(ObjectStore(from_url(f"{bucket}/c.zarr"), read_only=True), mode="r")
    assert np.array_equal(np.asarray(group["images"][...]), cohort(40).images)  # type: ignore[index]


class Counting(MemoryStore):
    """A store whose shards come only when four of them are asked for at once; counts what is on its way."""

    meeting, lock, asked, there, most = Barrier(4), Lock(), 0, 0, 0

    def get(self, path: str, *args: Any, **more: Any) -> Any:
        if "/c/" in path and path.startswith("images"):
            with self.lock:
                self.asked += 1
                self.most = max(self.most, self.asked - self.there)
            self.meeting.wait(timeout=20)
        return super().get(path, *args, **more)


def test_shards_of_a_bucket_come_several_at_once_and_never_more_than_a_few() -> None:
    store = Counting()
    write_cohort(Bucket(store), cohort(24 * 8), shard=8)
    taken = Bucket(store).get_many([f"images/c/{number}/0/0/0/0" for number in range(24)])
    for number, data in enumerate(taken):
        with store.lock:
            store.there += 1
        assert data == obstore.get(store, f"images/c/{number}/0/0/0/0").bytes()
    assert 4 <= store.most <= AT_ONCE and store.asked == 24
    assert same(read_cohort(Bucket(store)), cohort(24 * 8))


def test_many_shards_of_s3_come_in_their_order(bucket: str) -> None:
    write_cohort(f"{bucket}/c.zarr", cohort(160), shard=8)
    assert same(read_cohort(f"{bucket}/c.zarr"), cohort(160))
    chosen = np.array([159, 3, 77, 4, 80])
    assert same(read_rows(f"{bucket}/c.zarr", chosen), cohort(160).take(chosen))


def test_a_shard_that_goes_while_others_are_on_their_way_is_told() -> None:
    store = MemoryStore()
    write_cohort(Bucket(store), cohort(160), shard=8)
    listed = Bucket(store).keys("images/c")
    obstore.delete(store, ["images/c/11/0/0/0/0"])

    class Listing(Bucket):
        def keys(self, below: str) -> set[str]:
            return listed if below == "images/c" else Bucket.keys(self, below)

    with pytest.raises(CorruptArtefact, match="missing"):
        read_cohort(Listing(store))


DYING = """
import os, sys
sys.path[:0] = {path!r}
from test_cohort_arrays import cohort
from test_cohort_places import AFFINE, VOXELS
from medgan.cohort import places
from medgan.cohort.arrays import write_cohort

def die_after(kind):
    put = kind.put
    def and_die(self, key, data):
        put(self, key, data)
        if key.startswith("images/c/"):
            os._exit(9)
    kind.put = and_die

die_after(places.Bucket), die_after(places.Folder)
write_cohort(sys.argv[1], cohort(40), shard=16)
"""


def killed_after_the_first_shard(where: str) -> None:
    code = DYING.format(path=[str(Path(__file__).parent), str(Path(__file__).parents[2]), str(Path.cwd())])
    done = subprocess.run([sys.executable, "-c", code, where], env=os.environ, timeout=120)
    assert done.returncode == 9


def test_a_write_to_a_bucket_that_was_killed_is_told_and_the_next_completes_it(bucket: str) -> None:
    killed_after_the_first_shard(f"{bucket}/c.zarr")
    assert "images/c/0/0/0/0/0" in place(f"{bucket}/c.zarr").keys("images")
    with pytest.raises(CorruptArtefact, match="cut short"):
        read_cohort(f"{bucket}/c.zarr")
    with pytest.raises(UsageError, match="half a result"):
        write_cohort(f"{bucket}/c.zarr", cohort(41), shard=16)
    write_cohort(f"{bucket}/c.zarr", cohort(40), shard=16)
    assert same(read_cohort(f"{bucket}/c.zarr"), cohort(40))


def test_a_write_to_a_folder_that_was_killed_left_nothing_there_and_the_next_sweeps_up(tmp_path: Path) -> None:
    killed_after_the_first_shard(str(tmp_path / "c.zarr"))
    assert not (tmp_path / "c.zarr").exists()
    with pytest.raises(CorruptArtefact):
        read_cohort(tmp_path / "c.zarr")
    (left,) = tmp_path.iterdir()
    other_host = tmp_path / left.name.replace(f".{socket.gethostname()}-", ".another-host-")
    other_place = tmp_path / left.name.replace("c.zarr", "d.zarr")
    running = tmp_path / f"{left.name.rsplit('-', 2)[0]}-{os.getpid()}-0123abcd"
    for kept in (other_host, other_place, running):
        kept.mkdir()
    write_cohort(tmp_path / "c.zarr", cohort(40), shard=16)
    assert same(read_cohort(tmp_path / "c.zarr"), cohort(40))
    assert set(tmp_path.iterdir()) == {tmp_path / "c.zarr", other_host, other_place, running}


def test_a_write_that_failed_leaves_no_temporary_folder(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), Folder(tmp_path / "c").building() as site:
        site.put("a/b", b"c")
        raise ZeroDivisionError
    assert not list(tmp_path.iterdir())


def in_memory(_: Path) -> Place:
    return Bucket(MemoryStore())


def in_a_folder(tmp_path: Path) -> Place:
    return Folder(tmp_path / "c")


@pytest.mark.parametrize(("where", "stands"), [(in_memory, b"first to begin"), (in_a_folder, b"first to end")])
def test_of_two_writers_one_is_refused(tmp_path: Path, where: Callable[[Path], Place], stands: bytes) -> None:
    both = where(tmp_path)
    with pytest.raises(UsageError), both.building() as one:
        one.put("0/zarr.json", b"first to begin")
        with both.building() as other:
            other.put("0/zarr.json", b"first to end")
    assert both.get("0/zarr.json") == stands


def test_two_writers_of_the_same_to_a_bucket_do_no_harm() -> None:
    both = Bucket(MemoryStore())
    with both.building():
        write_cohort(both, cohort(20), shard=8)
    with pytest.raises(UsageError):
        write_cohort(both, cohort(20), shard=8)
    for key in both.keys("images"):
        both.put(key, both.get(key))
    assert same(read_cohort(both), cohort(20))


@pytest.mark.parametrize("where", ["ftp://a/b", "https://a/b", "file:///tmp/a", "memory:///a", "s3:///"])
def test_an_address_that_is_none_is_told_without_quoting_it(where: str) -> None:
    with pytest.raises(UsageError) as told:
        place(where)
    assert where not in str(told.value)


def test_a_path_as_text_is_a_folder(tmp_path: Path) -> None:
    assert place(str(tmp_path)) == Folder(tmp_path) == place(tmp_path) == place(Folder(tmp_path))


def test_the_world_s_errors_are_the_system_s_and_name_no_address(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(OSError, match="object store did not do as asked") as told:
        place("s3://no-such-bucket/x").keys("images")
    assert "no-such-bucket" not in str(told.value)
    with pytest.raises(SourceError, match="no such bucket") as refused:
        write_cohort("s3://no-such-bucket/x", cohort(8))
    assert "no-such-bucket" not in str(refused.value)
    monkeypatch.setenv("AWS_ALLOW_HTTP", "false")
    with pytest.raises(OSError, match="object store did not do as asked"):
        place(bucket).put("a", b"b")


def test_a_refusal_is_no_matter_for_another_try() -> None:
    class Closed(MemoryStore):
        def get(self, *_: object, **__: object) -> object:  # type: ignore[override]
            raise obstore.exceptions.PermissionDeniedError("s3://hidden: AccessDenied")

    with pytest.raises(SourceError, match="credentials") as told:
        read_cohort(Bucket(Closed()))
    assert "hidden" not in str(told.value)
