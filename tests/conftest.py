"""Fixtures named by noun. This folder is on the path of the tests: `from factories import ...` works anywhere."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

PATIENTS, SEED = 8, 3
KEY = "ab" * 32


@pytest.fixture(scope="session")
def lived_in(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with phantom/ (made-up patients) and home/, where they went the road up to a trained checkpoint."""
    from small import go_the_road

    from medgan.home import Home
    from medgan.phantom.write import write_phantoms

    root = tmp_path_factory.mktemp("lived-in")
    write_phantoms(root / "phantom", patients=PATIENTS, seed=SEED, film=128)
    (root / "home" / "identified").mkdir(parents=True, mode=0o700)
    key = root / "home" / "identified" / "key"  # a fixed one: who falls into which part hangs on it
    key.write_text(KEY)
    key.chmod(0o600)
    home = Home.create(root / "home")
    go_the_road(root / "phantom" / "images", home)
    for zone in (home.identified, home.research):
        zone.ledger.engine.dispose()  # so that the databases can be copied
    return root


@pytest.fixture
def home(tmp_path: Path, lived_in: Path):
    """A copy of the lived-in home, to do with as one likes."""
    from medgan.home import Home

    shutil.copytree(lived_in / "home", tmp_path / "home", symlinks=True)
    return Home.create(tmp_path / "home")


@pytest.fixture
def phantoms(lived_in: Path) -> Path:
    """The folder that the lived-in home took in; read only."""
    return lived_in / "phantom" / "images"
