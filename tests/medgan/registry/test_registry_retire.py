"""A model that learned from someone who left stays as a record, is to be trained anew, and loses its names."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from people import empty_registry  # noqa: F401 - a fixture

from medgan.registry import models
from medgan.registry.models import Retired, retire
from medgan.registry.tracking import open_client

HELD = {("medgan", 1): "a" * 64, ("medgan", 2): "b" * 64, ("chest x-ray's", 1): "a" * 64}
ALIASES = {
    ("medgan", "champion"): 1,
    ("medgan", "challenger"): 2,
    ("medgan", "best"): 1,
    ("chest x-ray's", "champion"): 1,
}


@pytest.fixture
def uri(tmp_path: Path, empty_registry: Path) -> str:  # noqa: F811
    shutil.copyfile(empty_registry, tmp_path / "mlflow.db")
    address = f"sqlite:///{tmp_path / 'mlflow.db'}"
    client = open_client(address)
    for name in ("medgan", "chest x-ray's"):
        client.create_registered_model(name)
    for (name, _), checkpoint in HELD.items():
        client.create_model_version(name, "file:///nowhere", tags={"checkpoint": checkpoint, "scorecard": "s"})
    for (name, alias), version in ALIASES.items():
        client.set_registered_model_alias(name, alias, str(version))
    return address


def tags(uri: str, name: str, version: int) -> dict[str, Any]:
    return dict(open_client(uri).get_model_version(name, str(version)).tags)


def aliases(uri: str) -> dict[tuple[str, str], int]:
    found = open_client(uri).search_registered_models()
    return {(m.name, alias): int(version) for m in found for alias, version in m.aliases.items()}


A = Retired(("chest x-ray's 1", "medgan 1"), ("chest x-ray's@champion", "medgan@best", "medgan@champion"))


@pytest.mark.parametrize(
    ("checkpoints", "told", "left"),
    [
        (["a" * 64], A, {("medgan", "challenger"): 2}),
        (["b" * 64], Retired(("medgan 2",), ("medgan@challenger",)), {k: 1 for k, v in ALIASES.items() if v == 1}),
        (["c" * 64], Retired(), ALIASES),
        ([], Retired(), ALIASES),
    ],
    ids=["two models of one checkpoint", "the challenger", "a stranger", "none"],
)
def test_versions_of_these_checkpoints_lose_every_alias_and_no_other(
    uri: str, checkpoints: list[str], told: Retired, left: dict[tuple[str, str], int]
) -> None:
    assert retire(checkpoints, uri, why="withdrawal") == told
    assert aliases(uri) == left
    for (name, version), checkpoint in HELD.items():
        said = tags(uri, name, version)
        assert said["checkpoint"] == checkpoint and said["scorecard"] == "s"  # the record stays
        assert (said.get("retrain_required"), said.get("retrain_reason")) == (
            ("true", "withdrawal") if checkpoint in checkpoints else (None, None)
        )


def test_a_second_call_changes_nothing_and_says_the_same(uri: str) -> None:
    assert retire(["a" * 64], uri, why="withdrawal") == A
    before = tags(uri, "medgan", 1)
    assert retire(["a" * 64, "a" * 64], uri, why="opt-out") == A
    assert tags(uri, "medgan", 1) == before and before["retired_aliases"] == "best,champion"


def test_cut_off_after_the_tag_the_second_call_takes_the_alias_and_still_knows_which(
    uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import mlflow

    def away(*_: object) -> None:
        raise OSError

    with monkeypatch.context() as cut:
        cut.setattr(mlflow.MlflowClient, "delete_registered_model_alias", away)
        with pytest.raises(ConnectionError, match="MLflow is away"):
            retire(["b" * 64], uri, why="withdrawal")
    assert ("medgan", "challenger") in aliases(uri)
    assert retire(["b" * 64], uri, why="withdrawal").aliases == ("medgan@challenger",)
    assert ("medgan", "challenger") not in aliases(uri)


def test_asking_an_absent_registry_makes_none_and_one_that_is_away_is_told(tmp_path: Path) -> None:
    assert retire(["a" * 64], f"sqlite:///{tmp_path / 'none.db'}", why="withdrawal") == Retired()
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ConnectionError):
        retire(["a" * 64], "http://127.0.0.1:9", why="withdrawal")


def test_a_retired_champion_is_no_champion(uri: str) -> None:
    assert models.champion("medgan", uri) is not None
    retire(["a" * 64], uri, why="withdrawal")
    assert models.champion("medgan", uri) is None and len(models.history("medgan", uri)) == 2
