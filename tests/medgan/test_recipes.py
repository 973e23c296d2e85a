from pathlib import Path

import pytest

from medgan.errors import UsageError
from medgan.recipes import PRESETS, STAGES, EvaluateRecipe, PreprocessRecipe, TrainRecipe, load


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("kind", STAGES, ids=lambda kind: STAGES[kind])
def test_every_preset_gives_every_stage_a_recipe(preset: str, kind) -> None:
    assert load(kind, preset)


@pytest.mark.parametrize("preset", PRESETS)
def test_the_network_of_a_preset_fits_its_grid(preset: str) -> None:
    train, grid = load(TrainRecipe, preset), load(PreprocessRecipe, preset)
    if train.network == "residual":
        assert train.head * 4 * 2 ** (len(train.widths) - 1) == grid.size


def test_a_file_changes_some_fields_of_a_preset(tmp_path: Path) -> None:
    file = tmp_path / "own.toml"
    file.write_text('base = "smoke"\n[train]\nimages = 7\n')
    assert load(TrainRecipe, str(file)).images == 7
    assert load(TrainRecipe, str(file)).widths == load(TrainRecipe, "smoke").widths
    assert load(EvaluateRecipe, str(file)) == load(EvaluateRecipe, "smoke")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param("[train]\nimagez = 7\n", r"train\.imagez.*fields of \[train\]", id="unknown field"),
        pytest.param("[train]\nimages = 0\n", r"train\.images", id="impossible value"),
        pytest.param('[train]\nnetwork = "mlp"\n', "loss", id="impossible pair"),
        pytest.param("[trian]\nimages = 1\n", "unknown recipe table 'trian'", id="unknown table"),
        pytest.param('base = "nothing"\n', "presets are", id="unknown base"),
        pytest.param("[train\n", "not valid TOML", id="not TOML"),
    ],
)
def test_a_wrong_recipe_is_named(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "own.toml"
    file.write_text(text)
    with pytest.raises(UsageError, match=message):
        load(TrainRecipe, str(file))


def test_a_recipe_of_no_name_is_refused() -> None:
    with pytest.raises(UsageError, match="presets are"):
        load(TrainRecipe, "no-such")
