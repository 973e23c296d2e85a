"""The texts of a bundle: datasheet, model card and licence, all from the same facts as the report."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import jinja2

from medgan.bundle import words
from medgan.bundle.report import Facts

LICENCE = """\
Licence and terms of this synthetic dataset

{licence}

1. The pictures are synthetic. They must not be used for diagnosis, treatment or any other clinical decision.
2. No attempt may be made to find out who a patient was, in this dataset or by joining it with another one.
3. Whoever finds a picture that seems to show a real person stops using it and tells the publisher.
4. These terms travel with every copy and with every dataset that contains a part of this one.
5. The dataset comes as it is, without warranty.
"""


def datasheet(
    facts: Facts, *, training: Mapping[str, Any], classes: Mapping[str, int], formats: tuple[str, ...]
) -> str:
    """DATASHEET.md: why, from whom, how, tested how, and what to do when a patient withdraws."""
    return _render("datasheet.md.j2", facts, training=training, classes=classes, formats=formats)


def model_card(facts: Facts, *, training: Mapping[str, Any]) -> str:
    """MODEL_CARD.md of the generator; its weights are not in the bundle."""
    return _render("model_card.md.j2", facts, training=training)


def licence(text: str) -> str:
    return LICENCE.format(licence=text.strip().capitalize().rstrip(".") + ".")


def _render(template: str, facts: Facts, **more: Any) -> str:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("medgan.bundle", "templates"),
        autoescape=False,  # noqa: S701 - Markdown of our own numbers; names go through `plain`
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    card = facts.card
    view = {
        "card": card,
        "facts": facts,
        "about": facts.about,
        "counts": facts.counts,
        "unit": words.unit(card),
        "kind": words.modality(facts.group),
        "leak": words.leak(card),
        "tests": [(words.test(str(row["name"])), row) for row in words.rows(card, "privacy", "tests")],
        "controls": [(words.control(str(row["name"])), row) for row in words.rows(card, "privacy", "controls")],
    }

    def figure(path: str, digits: int = 2) -> str:
        return words.number(words.figure(card, *path.split(".")), digits)

    environment.filters |= {"plain": _plain, "number": words.number, "percent": words.percent, "p_value": words.p_value}
    return environment.get_template(template).render(**view, **more, figure=figure).strip() + "\n"


def _plain(name: str) -> str:
    """A class name as Markdown text: nothing in it can become a link, a picture or markup."""
    return re.sub(r"([\\`*_{}\[\]<>()#|!])", r"\\\1", " ".join(str(name).split()))
