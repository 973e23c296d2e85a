"""Every benchmark starts by the command that the pages give, in a checkout that is set up, from any folder."""

import subprocess
from pathlib import Path

import pytest

from benchmarks.known_sources import large_ledger

ROOT = Path(__file__).resolve().parent.parent
NAMES = sorted(path.stem for path in (ROOT / "benchmarks").glob("*.py"))


def bench(*words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    if not (ROOT / ".venv" / ".stamp").is_file():
        pytest.skip("this checkout was not set up by ./run: a call would install everything first")
    return subprocess.run(["bash", ROOT / "run", "bench", *words], cwd=cwd, capture_output=True, text=True, timeout=120)


@pytest.mark.parametrize("name", NAMES)
def test_a_benchmark_starts_and_says_what_it_takes(name: str, tmp_path: Path) -> None:
    done = bench(name, "--help", cwd=tmp_path)
    assert done.returncode == 0 and done.stdout.startswith(f"usage: {name}.py"), done.stderr


def test_without_a_name_they_are_all_named(tmp_path: Path) -> None:
    for words in ((), ("nonsense",)):
        done = bench(*words, cwd=tmp_path)
        assert done.returncode == 1 and done.stderr == f"medgan: bench takes a name: {' '.join(NAMES)}.\n"


def test_the_large_ledger_has_the_tables_of_today(capsys: pytest.CaptureFixture[str]) -> None:
    large_ledger(rows=3000, rounds=1)
    said = capsys.readouterr().out
    assert said.count("USING INDEX") + said.count("USING COVERING INDEX") + said.count("USING PRIMARY KEY") > 5
