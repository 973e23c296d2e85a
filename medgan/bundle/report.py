"""The two reports, each one HTML file that needs no network: for the public, and for the research zone.

The public one shows synthetic pictures only. The other one also shows real pictures of training patients
and must stay in the research zone; it says so at its top.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import jinja2
import numpy as np
from numpy.typing import NDArray

from medgan.bundle import pictures, views, words
from medgan.bundle.lineage import drawing

HERO, WALL, PAIRS, SIDE_BY_SIDE = 32, 24, 12, 12


@dataclass(frozen=True, slots=True)
class Facts:
    """What both reports are about.

    card: scorecard.json. limits: smallest_leak, max_epsilon, min_coverage, max_distance_ratio.
    counts: received, studies, files, images_seen, and any other of lineage.drawing; each may miss.
    about: licence, intended_use, fingerprint, version, network, name; texts.
    """

    card: Mapping[str, Any]
    answer: str
    reasons: tuple[str, ...]
    group: str
    limits: Mapping[str, float] = field(default_factory=dict)
    counts: Mapping[str, float | None] = field(default_factory=dict)
    about: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Gallery:
    """Pictures to show: images, stored integers [N, C, D, H, W]; label [N], rows of `classes`."""

    images: NDArray[Any]
    label: NDArray[Any]
    classes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Research:
    """What only the research zone may see.

    history: one row an interval, with `images_seen` and any losses. roc: [[false, true positive rate], ...].
    """

    real: Gallery
    history: Sequence[Mapping[str, Any]] = ()
    roc: Sequence[Sequence[float]] = ()
    restricted: Mapping[str, Any] = field(default_factory=dict)


def public_report(facts: Facts, synthetic: Gallery) -> str:
    """report.html of a bundle: what was made, how it was tested, and what came out."""
    return _page("public.html.j2", facts, _common(facts, synthetic))


def research_report(facts: Facts, synthetic: Gallery, research: Research) -> str:
    """The report for the house: the same evidence, with real pictures, nearest pairs and the training curve."""
    more = {
        "classes": _side_by_side(synthetic, research.real),
        "pairs": _pairs(synthetic, research.real, research.restricted),
        "training": views.training(research.history),
        "roc": views.roc(research.roc),
        "flagged": _flagged(research.restricted),
    }
    return _page("research.html.j2", facts, {**_common(facts, synthetic), **more})


def _page(template: str, facts: Facts, view: dict[str, Any]) -> str:
    return environment().get_template(template).render(facts=facts, about=facts.about, **view).strip() + "\n"


def environment() -> jinja2.Environment:
    """Templates of this package, escaping all text, with numbers in our spelling."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("medgan.bundle", "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["number"] = words.number
    environment.filters["percent"] = words.percent
    environment.filters["p_value"] = words.p_value
    return environment


def _common(facts: Facts, synthetic: Gallery) -> dict[str, Any]:
    card, kind = facts.card, words.modality(facts.group)
    counts = {**_card_counts(card), **{name: value for name, value in facts.counts.items() if value is not None}}
    return {
        "kind": kind,
        "unit": words.unit(card),
        "headline": words.headline(facts.answer, card),
        "leak": words.leak(card),
        "reasons": [words.reason(text) for text in facts.reasons],
        "hero": _hero(synthetic),
        "wall": _wall(synthetic),
        "privacy": views.privacy(card, facts.limits),
        "fidelity": views.fidelity(card, facts.limits),
        "utility": views.utility(card),
        "counts": counts,
        "lineage": drawing(
            counts,
            unit=words.unit(card),
            picture=kind if " " not in kind else "images",
            accepted=facts.answer == "accept",
        ),
    }


def _card_counts(card: Mapping[str, Any]) -> dict[str, float | None]:
    parts = [words.figure(card, "counts", name) for name in ("audit_patients", "fresh_patients")]
    return {
        "synthetic": words.figure(card, "counts", "synthetic"),
        "train_images": words.figure(card, "counts", "train_images"),
        "train_patients": words.figure(card, "counts", "train_patients"),
        "audit_patients": parts[0],
        "fresh_patients": parts[1],
        "held_out": sum(part for part in parts if part is not None) if any(p is not None for p in parts) else None,
    }


def _hero(gallery: Gallery) -> list[str]:
    """A band of pictures, spread over the cohort."""
    flat = pictures.planar(gallery.images)
    rows = np.linspace(0, max(len(flat) - 1, 0), min(HERO, len(flat))).astype(np.intp)
    return [pictures.data_uri(flat[row]) for row in rows]


def _wall(gallery: Gallery) -> list[dict[str, Any]]:
    flat = pictures.planar(gallery.images)
    return [
        {
            "name": name,
            "count": int((gallery.label == gallery.classes.index(name)).sum()),
            "share": float((gallery.label == gallery.classes.index(name)).mean()),
            "pictures": [pictures.data_uri(flat[row]) for row in rows],
        }
        for name, rows in pictures.by_class(gallery.label, gallery.classes, WALL).items()
    ]


def _side_by_side(synthetic: Gallery, real: Gallery) -> list[dict[str, Any]]:
    ours, theirs = pictures.planar(synthetic.images), pictures.planar(real.images)
    made = pictures.by_class(synthetic.label, synthetic.classes, SIDE_BY_SIDE)
    taken = pictures.by_class(real.label, real.classes, SIDE_BY_SIDE)
    return [
        {
            "name": name,
            "synthetic": [pictures.data_uri(ours[row]) for row in made.get(name, ())],
            "real": [pictures.data_uri(theirs[row]) for row in taken.get(name, ())],
        }
        for name in dict.fromkeys([*made, *taken])
    ]


def _pairs(synthetic: Gallery, real: Gallery, restricted: Mapping[str, Any]) -> list[dict[str, Any]]:
    ours, theirs = pictures.planar(synthetic.images), pictures.planar(real.images)
    found = _judged(restricted, len(ours), len(theirs))
    measure = "nearness" if found else "r"
    found = found or pictures.nearest(ours, theirs, PAIRS)
    return [
        {
            "synthetic": pictures.data_uri(ours[i]),
            "real": pictures.data_uri(theirs[j]),
            "closeness": value,
            "measure": measure,
            "row": i,
        }
        for i, j, value in found
    ]


def _judged(restricted: Mapping[str, Any], ours: int, theirs: int) -> list[tuple[int, int, float]]:
    """The pairs that the privacy tests found nearest, with their alignment search: (synthetic, real row, nearness)."""
    found = []
    for pair in restricted.get("nearest", [])[:PAIRS]:
        i, j, value = pair.get("synthetic"), pair.get("train"), pair.get("nearness")
        if isinstance(i, int) and isinstance(j, int) and 0 <= i < ours and 0 <= j < theirs and value is not None:
            found.append((i, j, float(value)))
    return found


def _flagged(restricted: Mapping[str, Any]) -> list[int]:
    found = restricted.get("flagged", [])
    return [row for row in found if isinstance(row, int)] if isinstance(found, list) else []
