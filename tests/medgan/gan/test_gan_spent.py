"""What a private run has spent, on disk before it is spent."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from medgan.errors import CorruptArtefact, UsageError
from medgan.gan import spent
from medgan.gan.accountant import Segment, epsilon
from medgan.gan.spent import Account, Terms, opened, promised, statement

TERMS = Terms(epsilon=3.0, delta=1e-3, noise=1.5, clip=1.0, patients=100, expected=10)


def counted(folder: Path) -> int:
    return int(json.loads((folder / spent.FILE).read_bytes())["counted"])


def after_a_kill(folder: Path, made: int = 3, block: int = 5) -> Account:
    """A run counted `block` steps, made some of them and died before any checkpoint; it is opened again."""
    account = spent.opened(folder, TERMS, 50, None)
    account.reserve(block)
    for _ in range(made):
        account.spend()
    return spent.opened(folder, TERMS, 50, None)


def test_steps_are_on_disk_before_they_are_made(tmp_path: Path) -> None:
    account = opened(tmp_path / "run", TERMS, 50, None)
    with pytest.raises(UsageError, match="0 private steps are made, 0 counted"):
        account.spend()
    account.reserve(2)
    assert counted(tmp_path / "run") == 2 and account.made == 0
    account.spend()
    account.spend()
    with pytest.raises(UsageError, match="2 private steps are made, 2 counted"):
        account.spend()


def test_what_a_kill_threw_away_stays_counted(tmp_path: Path) -> None:
    assert after_a_kill(tmp_path).made == 5


def test_planted_forgetfulness_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    true = spent.opened
    monkeypatch.setattr(spent, "opened", lambda *args: replace(true(*args), made=0, counted=0))
    assert after_a_kill(tmp_path).made < 3


def test_a_run_that_ends_well_gives_back_what_it_did_not_make(tmp_path: Path) -> None:
    account = opened(tmp_path, TERMS, 50, None)
    account.reserve(5)
    account.spend()
    account.settle()
    assert opened(tmp_path, TERMS, 50, 1).made == counted(tmp_path) == 1


def test_the_budget_ends_before_it_is_exceeded(tmp_path: Path) -> None:
    account = opened(tmp_path, TERMS, 10_000, None)
    most = account.most

    def cost(steps: int) -> float:
        return epsilon([Segment(TERMS.rate, TERMS.noise, steps)], TERMS.delta)

    assert cost(most) <= TERMS.epsilon < cost(most + 1)
    account.reserve(most + 100)
    assert counted(tmp_path) == most
    for _ in range(most):
        account.spend()
    assert account.left == 0
    with pytest.raises(UsageError, match=f"{most} allowed"):
        account.spend()


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(lambda file: file.unlink(), id="gone"),
        pytest.param(lambda file: file.write_bytes(b"{"), id="torn"),
        pytest.param(lambda file: file.write_text(file.read_text().replace('"counted":7', '"counted":6')), id="edited"),
        pytest.param(lambda file: file.write_bytes(b'{"counted":9}'), id="unsigned"),
    ],
)
def test_a_checkpoint_without_its_account_is_not_gone_on_from(tmp_path: Path, damage) -> None:
    account = opened(tmp_path, TERMS, 50, None)
    account.reserve(7)
    damage(tmp_path / spent.FILE)
    with pytest.raises(CorruptArtefact, match="what it spent cannot be told; count the whole epsilon as spent"):
        opened(tmp_path, TERMS, 50, 7)


def test_an_account_older_than_its_checkpoint_is_refused(tmp_path: Path) -> None:
    opened(tmp_path, TERMS, 50, None).reserve(7)
    with pytest.raises(CorruptArtefact, match="older than its checkpoint"):
        opened(tmp_path, TERMS, 50, 8)


def test_other_terms_are_another_run(tmp_path: Path) -> None:
    opened(tmp_path, TERMS, 50, None).reserve(1)
    with pytest.raises(UsageError, match="other terms"):
        opened(tmp_path, replace(TERMS, noise=1.4), 50, None)


def test_without_a_noise_multiplier_all_steps_fit_and_hardly_more() -> None:
    terms = promised(patients=2000, expected=64, steps=500, epsilon=3.0, delta=1e-5)
    assert 2.99 < epsilon([Segment(64 / 2000, terms.noise, 500)], 1e-5) <= 3.0
    assert promised(patients=2000, expected=64, steps=500, epsilon=3.0, delta=1e-5, noise=9.0).noise == 9.0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        pytest.param({"delta": 5e-4}, r"delta is 0.0005; with 2000 patients .* must be below 0.0005", id="delta"),
        pytest.param({"expected": 2001}, "2001 patients a step, the train part has 2000", id="more than there are"),
        pytest.param({"epsilon": 1e-9}, "no noise multiplier up to 10000 keeps epsilon", id="out of reach"),
    ],
)
def test_terms_that_cannot_be_kept_are_refused(change: dict[str, float], message: str) -> None:
    asked = {"patients": 2000, "expected": 64, "steps": 500, "epsilon": 3.0, "delta": 1e-5, **change}
    with pytest.raises(UsageError, match=message):
        promised(**asked)  # type: ignore[arg-type]


def test_a_statement_holds_what_a_second_accountant_needs() -> None:
    found = statement(TERMS, 40, "image")
    assert found["epsilon"] == pytest.approx(epsilon([Segment(0.1, 1.5, 40)], 1e-3), abs=1e-4)
    assert (found["sampling_rate"], found["noise_multiplier"], found["steps"], found["delta"]) == (0.1, 1.5, 40, 1e-3)
    assert found["unit"] == "image" and "one image" in found["neighbours"]
