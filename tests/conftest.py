"""Fixtures named by noun. This folder is on the path of the tests: `from factories import ...` works anywhere."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

# how long an example takes says nothing on a busy machine
hypothesis.settings.register_profile("house", deadline=None)
hypothesis.settings.load_profile("house")
PATIENTS, SEED = 8, 3
LONGEST = "test_end_to_end.py"

if worker := os.environ.get("PYTEST_XDIST_WORKER"):
    # with several threads each, workers and what they start would wait for one another
    mine = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {mine[int(worker.removeprefix("gw")) % len(mine)]})


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest file first: at the end one worker would wait for the other."""
    items.sort(key=lambda item: item.path.name != LONGEST)


@pytest.fixture(scope="session", autouse=True)
def readers() -> Iterator[None]:
    """Intakes share their reading children: hundreds of short intakes would each wait for some to start.

    After an intake that failed they are started anew, as they would be in earnest.
    """
    from medgan.sources.readers import Readers
    from medgan.stages import ingest

    kept: dict[tuple[int, float, int], contextlib.ExitStack] = {}
    opened: dict[tuple[int, float, int], Readers] = {}

    @contextlib.contextmanager
    def shared(n: int, *, seconds: float, memory: int) -> Iterator[Readers]:
        key = (n, seconds, memory)
        if key not in kept:
            kept[key] = contextlib.ExitStack()
            opened[key] = kept[key].enter_context(Readers(n, seconds=seconds, memory=memory))
        try:
            yield opened[key]
        except BaseException:
            kept.pop(key).close()
            raise

    patch = pytest.MonkeyPatch()
    patch.setattr(ingest, "Readers", shared)
    yield
    patch.undo()
    for stack in kept.values():
        stack.close()


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
