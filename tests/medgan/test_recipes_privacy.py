"""The table [train.privacy]."""

from __future__ import annotations

from pathlib import Path

import pytest

from medgan.errors import UsageError
from medgan.recipes import TrainRecipe, load

TABLE = """
[train]
loss = "nonsaturating"
augment = 0.0
{train}
[train.privacy]
epsilon = 8.0
delta = 1e-5
{privacy}
"""


def written(folder: Path, train: str = "", privacy: str = "") -> TrainRecipe:
    (folder / "recipe.toml").write_text(TABLE.format(train=train, privacy=privacy))
    return load(TrainRecipe, str(folder / "recipe.toml"))


def test_two_numbers_ask_for_privacy(tmp_path: Path) -> None:
    found = written(tmp_path)
    assert found.privacy is not None
    assert (found.privacy.epsilon, found.privacy.delta, found.privacy.noise_multiplier) == (8.0, 1e-5, None)
    assert found.model_dump(mode="json")["privacy"]["clip"] == 1.0
    assert TrainRecipe.model_validate(found.model_dump(mode="json")) == found


def test_a_recipe_without_privacy_is_written_as_before_it_existed() -> None:
    assert "privacy" not in TrainRecipe().model_dump(mode="json")


@pytest.mark.parametrize(
    ("train", "privacy", "message"),
    [
        pytest.param("gamma = 1.0", 'epsilon_total = "x"', "privacy.epsilon_total", id="unknown"),
        pytest.param("", "clip = 0.0", "train.privacy.clip", id="no clip"),
        pytest.param("", "noise_multiplier = 0.0", "train.privacy.noise_multiplier", id="no noise"),
        pytest.param("", "images_per_patient = 0", "train.privacy.images_per_patient", id="no image"),
        pytest.param('network = "mlp"', "", 'privacy: takes network = "residual"', id="mlp"),
    ],
)
def test_what_cannot_be_private_is_refused_by_name(tmp_path: Path, train: str, privacy: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        written(tmp_path, train, privacy)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param('loss = "relativistic"\naugment = 0.0', "the relativistic generator reads reals", id="loss"),
        pytest.param('loss = "nonsaturating"\naugment = 0.3', "augment = 0", id="augmentation"),
        pytest.param('loss = "nonsaturating"', "residual network takes relativistic", id="without privacy"),
    ],
)
def test_the_loss_and_augmentation_fit_privacy_or_are_refused(tmp_path: Path, text: str, message: str) -> None:
    privacy = "" if "without" in message or "residual" in message else "[train.privacy]\nepsilon = 8.0\ndelta = 1e-5\n"
    (tmp_path / "recipe.toml").write_text(f"[train]\n{text}\n{privacy}")
    with pytest.raises(UsageError, match=message):
        load(TrainRecipe, str(tmp_path / "recipe.toml"))
