import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorstore
import zarr

from medgan.cohort import volumes
from medgan.cohort.volumes import read_volume, write_volume
from medgan.errors import CorruptArtefact, UsageError

AFFINE = [[0.0, 0.0, 0.7, -120.0], [0.0, 0.8, 0.0, -90.5], [1.5, 0.0, 0.0, 310.25], [0.0, 0.0, 0.0, 1.0]]
ABOUT: dict[str, Any] = {"affine_lps": AFFINE, "values": "HU", "window": [-1000.0, 400.0], "fill": -1024}


def voxels(shape: tuple[int, int, int], kind: str) -> np.ndarray:
    return np.random.default_rng(1).integers(0, 200, shape).astype(kind)


def attributes(path: Path) -> dict[str, Any]:
    said: dict[str, Any] = json.loads((path / "zarr.json").read_text())["attributes"]
    return said


@pytest.mark.parametrize("kind", ["uint8", "int16", "float32"])
@pytest.mark.parametrize("shape", [(1, 1, 1), (9, 31, 17), (40, 250, 130)], ids=str)
def test_a_volume_is_read_as_it_was_written_by_three_readers(
    tmp_path: Path, shape: tuple[int, int, int], kind: str
) -> None:
    made, place = voxels(shape, kind), tmp_path / "v.ome.zarr"
    write_volume(place, made, ABOUT)
    read, about = read_volume(place)
    assert np.array_equal(read, made) and read.dtype == made.dtype and about == ABOUT
    assert np.array_equal(np.asarray(zarr.open_array(place / "0", mode="r")[...]), made)
    spec = {"driver": "zarr3", "kvstore": {"driver": "file", "path": str(place / "0")}}
    assert np.array_equal(tensorstore.open(spec, read=True).result().read().result(), made)


def test_a_volume_without_a_grey_level_is_no_lost_volume(tmp_path: Path) -> None:
    write_volume(tmp_path / "v.ome.zarr", np.zeros((20, 64, 64), "int16"), ABOUT)
    assert not read_volume(tmp_path / "v.ome.zarr")[0].any()
    assert (tmp_path / "v.ome.zarr/0/c/0/0/0").is_file()


def test_a_turned_view_of_an_array_is_written_in_its_own_order(tmp_path: Path) -> None:
    made = voxels((20, 30, 40), "int16").transpose(2, 0, 1)[::-1]
    write_volume(tmp_path / "v.ome.zarr", made, ABOUT)
    assert np.array_equal(read_volume(tmp_path / "v.ome.zarr")[0], made)


def test_what_viewers_need_is_there(tmp_path: Path) -> None:
    """OME-NGFF 0.5, image: axes by name, kind and unit, and per resolution a path, one scale, then one translation."""
    write_volume(tmp_path / "v.ome.zarr", voxels((4, 5, 6), "uint8"), ABOUT)
    ome = attributes(tmp_path / "v.ome.zarr")["ome"]
    assert ome["version"] == "0.5" and len(ome["multiscales"]) == 1
    image = ome["multiscales"][0]
    assert [axis["name"] for axis in image["axes"]] == ["z", "y", "x"] and isinstance(image["name"], str)
    assert all((axis["type"], axis["unit"]) == ("space", "millimeter") for axis in image["axes"])
    (level,) = image["datasets"]
    assert [sorted(move) for move in level["coordinateTransformations"]] == [["scale", "type"], ["translation", "type"]]
    scale, translation = level["coordinateTransformations"]
    assert (scale["type"], scale["scale"]) == ("scale", [1.5, 0.8, 0.7])
    assert (translation["type"], translation["translation"]) == ("translation", [310.25, -90.5, -120.0])
    array = json.loads((tmp_path / "v.ome.zarr" / level["path"] / "zarr.json").read_text())
    assert array["dimension_names"] == ["z", "y", "x"]
    assert array["chunk_key_encoding"]["configuration"]["separator"] == "/"


def test_spacing_is_the_length_of_a_step_along_a_tilted_axis(tmp_path: Path) -> None:
    turn = np.deg2rad(20)
    affine = np.eye(4)
    affine[:3, :3] = np.array([[0, 0, 1], [-np.sin(turn), np.cos(turn), 0], [np.cos(turn), np.sin(turn), 0]]) * 2.0
    write_volume(tmp_path / "v.ome.zarr", voxels((4, 5, 6), "uint8"), {"affine_lps": affine.tolist()})
    (level,) = attributes(tmp_path / "v.ome.zarr")["ome"]["multiscales"][0]["datasets"]
    assert level["coordinateTransformations"][0]["scale"] == [2.0, 2.0, 2.0]
    assert read_volume(tmp_path / "v.ome.zarr")[1]["affine_lps"] == affine.tolist()


@pytest.mark.parametrize(
    "affine",
    [
        pytest.param(np.eye(4).tolist(), id="columns first"),
        pytest.param((np.array(AFFINE) * [[1], [1], [-1], [1]]).tolist(), id="to the feet"),
        pytest.param([row[:3] for row in AFFINE[:3]], id="no origin"),
    ],
)
def test_axes_that_viewers_would_be_told_wrong_are_refused(tmp_path: Path, affine: list[list[float]]) -> None:
    with pytest.raises(ValueError, match="to the head, to the back, to the left"):
        write_volume(tmp_path / "v.ome.zarr", voxels((4, 5, 6), "uint8"), {"affine_lps": affine})
    assert not list(tmp_path.iterdir())


@pytest.fixture
def cut_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A volume above the size of a shard, with that size set low."""
    monkeypatch.setattr(volumes, "CHUNK_BYTES", 2 * 30 * 40 * 2)
    monkeypatch.setattr(volumes, "SHARD_BYTES", 5 * 30 * 40 * 2)
    write_volume(tmp_path / "v.ome.zarr", voxels((13, 30, 40), "int16"), ABOUT)
    return tmp_path / "v.ome.zarr"


def files(place: Path) -> list[Path]:
    return sorted(p for p in (place / "0" / "c").rglob("*") if p.is_file())


def test_a_large_volume_is_several_shards(cut_up: Path) -> None:
    assert len(files(cut_up)) == 4
    assert np.array_equal(read_volume(cut_up)[0], voxels((13, 30, 40), "int16"))
    assert np.array_equal(np.asarray(zarr.open_array(cut_up / "0", mode="r")[...]), voxels((13, 30, 40), "int16"))


def swap(place: Path) -> None:
    first, second = (file.read_bytes() for file in files(place)[:2])
    files(place)[0].write_bytes(second)
    files(place)[1].write_bytes(first)


def cut(place: Path) -> None:
    files(place)[0].write_bytes(files(place)[0].read_bytes()[:-1])


def forget_the_shards(place: Path) -> None:
    document = json.loads((place / "zarr.json").read_text())
    document["attributes"]["medgan"]["objects"].pop("0/c/3/0/0")
    (place / "zarr.json").write_text(json.dumps(document))


def make_it_shorter(place: Path) -> None:
    document = json.loads((place / "0/zarr.json").read_text())
    document["shape"][0] = 12
    (place / "0/zarr.json").write_text(json.dumps(document))


HARMS: dict[str, Callable[[Path], Any]] = {
    "a shard lost": lambda place: files(place)[2].unlink(),
    "the root lost": lambda place: (place / "zarr.json").unlink(),
    "the description lost": lambda place: (place / "0/zarr.json").unlink(),
    "no JSON": lambda place: (place / "zarr.json").write_text("{"),
    "another image": lambda place: (place / "zarr.json").write_text('{"attributes": {"ome": {}}}'),
    "two shards swapped": swap,
    "a shard cut short": cut,
    "a shard not listed": forget_the_shards,
    "fewer slices": make_it_shorter,
}


@pytest.mark.parametrize("harm", HARMS.values(), ids=HARMS)
def test_a_volume_that_is_not_whole_is_not_read(cut_up: Path, harm: Callable[[Path], Any]) -> None:
    harm(cut_up)
    with pytest.raises(CorruptArtefact):
        read_volume(cut_up)


def test_nothing_is_written_over_a_volume(tmp_path: Path) -> None:
    write_volume(tmp_path / "v.ome.zarr", voxels((4, 5, 6), "uint8"), ABOUT)
    with pytest.raises(UsageError, match="stands there already"):
        write_volume(tmp_path / "v.ome.zarr", voxels((4, 5, 6), "int16"), ABOUT)
    assert read_volume(tmp_path / "v.ome.zarr")[0].dtype == "uint8"


def test_equal_volumes_are_equal_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_volume(tmp_path / name, voxels((40, 250, 130), "int16"), ABOUT)
    assert files(tmp_path / "a")[0].read_bytes() == files(tmp_path / "b")[0].read_bytes()
    assert (tmp_path / "a/zarr.json").read_bytes() == (tmp_path / "b/zarr.json").read_bytes()
