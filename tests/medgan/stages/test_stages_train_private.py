"""Cohort + TrainRecipe with privacy -> Checkpoint."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from test_stages_train import GROUP, cohort

from medgan.cohort.arrays import read_part
from medgan.errors import MedganError, UsageError
from medgan.gan.accountant import Segment, epsilon
from medgan.gan.checkpoint import load_generator, read_state
from medgan.home import Home
from medgan.recipes import PrivacyRecipe, TrainRecipe
from medgan.stages.train import train

PRIVACY = PrivacyRecipe(epsilon=8.0, delta=0.01, discriminator_steps=2)
RECIPE = TrainRecipe(
    widths=(16, 8), head=2, batch=3, images=24, checkpoint_images=6, loss="nonsaturating", augment=0.0, privacy=PRIVACY
)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home.create(tmp_path / "home")


def test_a_private_checkpoint_says_what_it_promises_and_no_count_of_images(home: Home) -> None:
    made = train(cohort(home), RECIPE, home, threads=1)
    folder = home.research.store.path(made.digest)
    state = read_state(folder)
    told = state["privacy"]
    assert made.images_seen == 24 and made.group == GROUP
    assert (told["unit"], told["units"], told["steps"], told["delta"]) == ("patient", 6, 8, 0.01)
    assert told["sampling_rate"] == 0.5
    assert told["epsilon"] == pytest.approx(epsilon([Segment(0.5, told["noise_multiplier"], 8)], 0.01), abs=1e-4)
    assert told["epsilon"] <= 8.0
    assert state["proportions"] == [0.5, 0.5] and "training_images" not in state
    history = json.loads((folder / "history.json").read_bytes())
    assert history and {(row["penalty"], row["logit_gap"]) for row in history} == {(0.0, 0.0)}
    assert np.isfinite([p.detach().numpy().sum() for p in load_generator(folder).parameters()]).all()
    assert not list(home.work.glob("*"))


def test_without_privacy_nothing_is_promised(home: Home) -> None:
    plain = RECIPE.model_copy(update={"privacy": None, "loss": "relativistic"})
    state = read_state(home.research.store.path(train(cohort(home), plain, home, threads=1).digest))
    assert "privacy" not in state and state["training_images"] == 12


def test_a_run_that_ends_by_the_clock_goes_on_and_pays_each_step_once(home: Home) -> None:
    real = cohort(home)
    some = train(real, RECIPE, home, budget_s=0.0, threads=1)
    assert some.images_seen == 0
    for left in (9, 0):

        def stop(progress: object, left: int = left) -> None:
            if left and progress.images_seen == left:  # type: ignore[attr-defined]
                raise KeyboardInterrupt

        if left:
            with pytest.raises(KeyboardInterrupt):
                train(real, RECIPE, home, on_progress=stop, threads=1)
        else:
            whole = train(real, RECIPE, home, threads=1)
    told = read_state(home.research.store.path(whole.digest))["privacy"]
    assert whole.images_seen == 24 and told["steps"] == 8


def test_a_budget_that_is_spent_ends_the_run_for_good(home: Home) -> None:
    low = PRIVACY.model_copy(update={"noise_multiplier": 0.8, "epsilon": 6.0})
    recipe = RECIPE.model_copy(update={"privacy": low})
    made = train(cohort(home), recipe, home, threads=1)
    told = read_state(home.research.store.path(made.digest))["privacy"]
    assert 0 < made.images_seen < 24 and told["epsilon"] <= 6.0 and not list(home.work.glob("*"))
    assert train(cohort(home), recipe, home, threads=1).digest == made.digest


@pytest.mark.parametrize(
    ("change", "privacy", "message"),
    [
        pytest.param({}, {"delta": 0.2}, "delta is 0.2; with 6 patients", id="delta"),
        pytest.param({"batch": 7}, {}, "7 patients a step, the train part has 6", id="batch"),
    ],
)
def test_a_promise_that_so_few_patients_cannot_be_given_is_refused(
    home: Home, change: dict[str, object], privacy: dict[str, object], message: str
) -> None:
    recipe = RECIPE.model_copy(update={**change, "privacy": PRIVACY.model_copy(update=privacy)})
    with pytest.raises(UsageError, match=message):
        train(cohort(home), recipe, home, threads=1)


def test_images_of_nobody_known_are_refused(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    def nameless(*args: object, **_: object):
        part = read_part(*args)  # type: ignore[arg-type]
        part.patient_key[:] = "0" * 32
        return part

    monkeypatch.setattr("medgan.cohort.staged.read_part", nameless)
    recipe = RECIPE.model_copy(update={"batch": 1, "images": 1})
    with pytest.raises(MedganError, match="12 of 12 images are of no known patient"):
        train(cohort(home), recipe, home, threads=1)
