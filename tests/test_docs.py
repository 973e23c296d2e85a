"""Every verb, recipe field, exit code and reason stands in the documentation."""

import re
from pathlib import Path

import pytest
import typer

from medgan import errors
from medgan.commands import analyze, deidentify, house, intake, road, stages  # noqa: F401 - each adds its verbs to the app
from medgan.commands.app import app
from medgan.recipes import PRESETS, STAGES

ROOT = Path(__file__).resolve().parent.parent
VERBS = sorted(name for name in typer.main.get_command(app).commands)  # type: ignore[attr-defined]


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("page", ["README.md", "README.zh.md"])
def test_every_verb_stands_in_the_readme(verb: str, page: str) -> None:
    assert re.search(rf"`{verb}\b", (ROOT / page).read_text()), f"{verb} is not in {page}"


@pytest.mark.parametrize("kind", STAGES, ids=lambda kind: STAGES[kind])
def test_every_recipe_field_is_explained(kind) -> None:
    page = (ROOT / "docs" / "recipes.md").read_text()
    section = page.split(f"## [{STAGES[kind]}]", 1)[1].split("\n## ", 1)[0]
    missing = [name for name in kind.model_fields if f"`{name}`" not in section]
    assert not missing, f"[{STAGES[kind]}] in docs/recipes.md lacks {missing}"


def test_every_preset_and_exit_code_stands_in_the_readme() -> None:
    text = (ROOT / "README.md").read_text()
    for preset in PRESETS:
        assert f"`{preset}`" in text
    for code in {
        kind.exit_code for kind in vars(errors).values() if isinstance(kind, type) and hasattr(kind, "exit_code")
    }:
        assert re.search(rf"^\| {code} \|", text, re.MULTILINE), f"exit code {code}"


def test_every_reason_for_a_quarantine_is_explained() -> None:
    text = (ROOT / "docs" / "errors.md").read_text()
    assert not [reason.value for reason in errors.Reason if f"`{reason.value}`" not in text]


def test_every_relative_link_of_the_pages_leads_somewhere() -> None:
    for page in [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")]:
        for target in re.findall(r"\]\((?!https?:|#|mailto:)([^)#\s]+)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_every_cap_says_why_and_when_it_can_go() -> None:
    for line in (ROOT / "pyproject.toml").read_text().splitlines():
        requirement = re.match(r'\s+"([a-z0-9-]+)[^"]*<[^"]*"', line)
        if requirement:
            assert "#" in line and "lift" in line, f"{requirement[1]} has an upper bound without its reason"


def test_every_range_is_met_by_the_pins() -> None:
    from packaging.requirements import Requirement

    pins = dict(line.split("==") for line in (ROOT / "requirements.txt").read_text().splitlines() if "==" in line)
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    for text in project["dependencies"] + project["optional-dependencies"]["dev"]:
        wanted = Requirement(text)
        name = wanted.name.lower().replace("_", "-")
        assert wanted.specifier.contains(pins[name]), f"{name}: {pins[name]} does not meet {wanted.specifier}"
