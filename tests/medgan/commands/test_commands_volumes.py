"""`preprocess SRC DST --spacing-mm` from the command line."""

import json
from pathlib import Path

from test_commands_bad_input import medgan

from medgan.phantom.write import write_phantoms


def test_a_folder_becomes_volumes_of_one_spacing(tmp_path: Path) -> None:
    write_phantoms(tmp_path / "phantom", patients=8, seed=4)
    words = ("preprocess", tmp_path / "phantom" / "images", tmp_path / "out", "--spacing-mm", "4", "--json")
    done = medgan(*words, home=tmp_path / "home")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["volumes"] and (tmp_path / "out" / "0000.ome.zarr").is_dir()


def test_a_spacing_without_folders_is_wrong_usage(tmp_path: Path) -> None:
    done = medgan("preprocess", "--spacing-mm", "4", home=tmp_path / "home")
    assert done.returncode == 2 and "needs SRC and DST" in done.stderr
