"""Ports and files of the house, without starting it; and the two thin flows beside the road."""

import inspect
import socket
import sys
from pathlib import Path

import pytest
import yaml

from flows import up
from flows.analyze import analyze
from flows.house import LOOPBACK, free_port, project
from flows.withdraw import withdraw
from medgan.errors import UsageError


def test_a_free_port_is_taken_and_a_busy_one_is_left() -> None:
    with socket.socket() as busy:
        busy.bind((LOOPBACK, 0))
        busy.listen()
        wanted = busy.getsockname()[1]
        other = free_port(wanted)
        assert other != wanted and other > 1023
    assert free_port(other) == other


def test_any_port_will_do_for_zero() -> None:
    assert free_port(0) > 1023


def test_the_deployments_stand_beside_the_flows_and_each_names_a_flow_that_is_there() -> None:
    file = up.deployments_file()
    assert file == project() / "prefect.yaml"
    for wanted in yaml.safe_load(file.read_text())["deployments"]:
        path, name = wanted["entrypoint"].split(":")
        assert f"def {name}(" in (project() / path).read_text()


def test_installed_they_are_found_below_the_prefix_or_it_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(up, "project", lambda: tmp_path / "site-packages")
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    with pytest.raises(UsageError, match="prefect.yaml"):
        up.deployments_file()
    (tmp_path / "share" / "medgan").mkdir(parents=True)
    (tmp_path / "share" / "medgan" / "prefect.yaml").write_text("deployments: []")
    assert up.deployments_file().parent.name == "medgan"


def test_no_flow_beside_the_road_takes_a_path_or_a_patient() -> None:
    assert list(inspect.signature(withdraw.fn).parameters) == ["list_name"]
    assert list(inspect.signature(analyze.fn).parameters) == ["kind", "recipe"]
