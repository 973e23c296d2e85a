"""The public report shows synthetic pictures and the evidence, needs no network, and survives odd scorecards."""

from __future__ import annotations

import base64
import copy
import html.parser
import io
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from medgan.bundle import pictures, words
from medgan.bundle.report import Facts, Gallery, Research, public_report, research_report

GOLDEN = json.loads((Path(__file__).parents[2] / "golden" / "scorecard.json").read_text())
ABOUT = dict.fromkeys(("licence", "intended_use", "fingerprint", "version"), "word")
LIMITS = {"smallest_leak": 0.25, "max_epsilon": 0.5, "min_coverage": 0.3, "max_distance_ratio": 1e6}


def gallery(seed: int, shade: int, shape: tuple[int, ...] = (1, 1, 16, 16), dtype: str = "uint8") -> Gallery:
    """Flat pictures around a shade that tells the galleries apart."""
    rng = np.random.default_rng(seed)
    images = np.full((30, *shape), shade, dtype) + rng.integers(0, 9, (30, *shape)).astype(dtype)
    return Gallery(images, np.arange(30) % 3, ("normal", "<b>nodule</b>", "effusion"))


def facts(card: dict[str, Any] = GOLDEN, answer: str = "accept", **more: Any) -> Facts:
    return Facts(card, answer, (), "DX-CHEST-2d-64", LIMITS, {"images_seen": 1000.0, **more}, ABOUT)


def shades(page: str) -> set[int]:
    """Mean grey of every picture on the page, to the nearest ten."""
    found = re.findall(r"data:image/png;base64,([A-Za-z0-9+/=]+)", page)
    return {round(float(np.asarray(Image.open(io.BytesIO(base64.b64decode(p)))).mean()) / 10) * 10 for p in found}


class Tags(html.parser.HTMLParser):
    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


def test_the_page_loads_nothing():
    page = public_report(facts(), gallery(0, 50))
    tags = Tags(page).found
    assert not [tag for tag, _ in tags if tag in ("script", "link", "iframe", "object", "base", "form")]
    addresses = [value for _, attrs in tags for name, value in attrs.items() if name in ("src", "href")]
    assert addresses and all(value and value.startswith("data:image/png") for value in addresses)
    assert "@import" not in page and "http://" not in page and "https://" not in page
    assert re.search(r"url\((?!#)", page) is None


def test_public_shows_synthetic_pictures_only_and_research_both():
    synthetic, real = gallery(0, 50), gallery(1, 200)
    assert shades(public_report(facts(), synthetic)) == {50}
    assert shades(research_report(facts(), synthetic, Research(real))) == {50, 200}


def test_the_same_evidence_gives_the_same_bytes():
    assert public_report(facts(), gallery(0, 50)) == public_report(copy.deepcopy(facts()), gallery(0, 50))


def test_a_class_name_cannot_write_markup():
    page = public_report(facts(), gallery(0, 50))
    assert "<b>nodule" not in page and "&lt;b&gt;nodule" in page


def test_figures_of_the_scorecard_stand_on_the_page():
    page = public_report(facts(), gallery(0, 50))
    for text in (
        "400",
        "copies of 9 of the 104 training patients",
        "p = 0.41",
        "0.91",
        "0.93",
        "74\u202f%",
        "0.43 to 0.59",
    ):
        assert text in page, text


def test_a_gate_that_was_not_passed_has_no_tick():
    ready, made = public_report(facts(), gallery(0, 50)), public_report(facts(studies=20.0), gallery(0, 50))
    assert 'class="gate open"' in ready and "brought in packed" in ready
    assert 'class="gate open"' not in made


def holes(card: dict[str, Any]) -> None:
    for part in ("fidelity", "utility", "power"):
        card[part] = None


def nothing_measured(card: dict[str, Any]) -> None:
    card["privacy"] = {"tests": [], "controls": [], "smallest_leak": None, "flagged": None}


def not_numbers(card: dict[str, Any]) -> None:
    card["fidelity"] |= {"fd": float("nan"), "coverage": "many", "fd_floor_mean": 0}
    card["privacy"]["membership_auc"] = [0.1, None, 3]
    card["power"] = [[0.1], "x", [0.2, None]]


ODD = [
    pytest.param(dict.clear, id="empty"),
    pytest.param(holes, id="parts are null"),
    pytest.param(nothing_measured, id="no privacy evidence"),
    pytest.param(not_numbers, id="not numbers"),
    pytest.param(lambda card: card.update(unit="image"), id="pictures as unit"),
    pytest.param(lambda card: card.update(privacy=[]), id="privacy is a list"),
]


@pytest.mark.parametrize("change", ODD)
@pytest.mark.parametrize("answer", ["accept", "reject", "inconclusive"])
def test_odd_scorecards_still_make_a_page(change: Callable[[dict[str, Any]], object], answer: str):
    card = copy.deepcopy(GOLDEN)
    change(card)
    page = research_report(facts(card, answer), gallery(0, 50), Research(gallery(1, 200)))
    assert "</html>" in page and "nan" not in page.lower().replace("finance", "")
    assert "None" not in re.sub(r"base64,[A-Za-z0-9+/=]+", "", page)


def test_volumes_of_sixteen_bits_show_their_middle_slice():
    volumes = np.zeros((2, 1, 5, 16, 16), np.uint16)
    volumes[:, :, 2] = 65535
    assert pictures.planar(volumes).shape == (2, 16, 16)
    assert pictures.planar(volumes).min() == 255


def test_the_nearest_pair_is_the_copy():
    rng = np.random.default_rng(0)
    real, synthetic = rng.integers(0, 255, (20, 32, 32), np.uint8), rng.integers(0, 255, (9, 32, 32), np.uint8)
    synthetic[4] = real[13]
    (row, of, closeness), *_ = pictures.nearest(synthetic, real, 3)
    assert (row, of) == (4, 13) and closeness > 0.99


def test_pairs_come_from_the_privacy_tests_when_they_name_them():
    restricted = {
        "nearest": [{"synthetic": 7, "train": 3, "nearness": 0.4}, {"synthetic": 999, "train": 3, "nearness": 1}]
    }
    page = research_report(facts(), gallery(0, 50), Research(gallery(1, 200), restricted=restricted))
    assert "no. 7" in page and "nearness 0.40" in page and "no. 999" not in page


WORDS = [
    pytest.param(
        "control fresh: expected accept, got reject", "should have been let through, was caught", id="control"
    ),
    pytest.param("patient_rank: training patients are nearer (p 0.1)", "Patients, all of them: training", id="test"),
    pytest.param("coverage 0.1 is below 0.3", "Coverage 0.1 is below 0.3.", id="other"),
]


@pytest.mark.parametrize(("text", "said"), WORDS)
def test_reasons_are_said_in_plain_words(text: str, said: str):
    assert said in words.reason(text)
