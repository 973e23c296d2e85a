"""The whole road in one table that a manager understands."""

from __future__ import annotations

import json
from typing import Any

from medgan.home import Home
from medgan.records import Release, Sample, Scorecard, Study


def summary(home: Home, release: Release) -> dict[str, Any]:
    """Rows of the closing table, read from the ledgers and the scorecard, never from memory of the run."""
    states = home.identified_ledger.input_states()
    studies = home.research.records("deidentify", Study)
    rows: dict[str, Any] = {
        "inputs": {"received": sum(states.values()), **states},
        "studies in": len(home.identified_ledger.entries("ingest")),
        "quarantined, why": {**home.identified_ledger.input_reasons(), **_set_aside(home)},
        "identifiers removed": sum(study.removed for study in studies),
        "burned-in text": f"{sum(study.boxes for study in studies)} boxes blanked",
    }
    card = _card(home, release)
    if card is not None:
        rows |= _judgement(card)
    rows |= {
        "verdict": _verdict(release),
        "model": f"version {release.model_version}, alias {release.alias or 'none'}"
        if release.model_version
        else "none",
    }
    if release.bundle_digest:
        bundle = home.public.path(release.bundle_digest)
        rows |= {"bundle": bundle, "report": bundle / "report.html"}
    else:
        rows |= {"bundle": "none: nothing was released"}
    return rows


def _set_aside(home: Home) -> dict[str, int]:
    counts: dict[str, int] = {}
    for row in home.research.ledger.set_aside_rows():
        counts[row["reason"]] = counts.get(row["reason"], 0) + 1
    for sample in home.research.records("preprocess", Sample):
        for reason, n in sample.refused.items():
            counts[f"series {reason.value}"] = counts.get(f"series {reason.value}", 0) + n
    return counts


def _card(home: Home, release: Release) -> dict[str, Any] | None:
    cards = [c for c in home.research.records("evaluate", Scorecard) if c.digest == release.scorecard_digest]
    if not cards:
        return None
    card: dict[str, Any] = json.loads((home.research.store.path(cards[-1].digest) / "scorecard.json").read_text())
    return card


def _judgement(card: dict[str, Any]) -> dict[str, Any]:
    """What the scorecard says; of a small home much of it is missing, and that is said too."""
    fidelity, privacy, counts = card["fidelity"], card["privacy"], card["counts"]
    baseline = fidelity.get("baseline")
    rows = {
        "images trained on": f"{counts['train_images']} of {counts['train_patients']} {card['unit']}s, {card['group']}",
        "fidelity": f"FD {_said(fidelity, 'fd', '.3g')}, {_said(fidelity, 'fd_ratio', '.3g')} x the real-real floor; "
        f"coverage {_said(fidelity, 'coverage', '.2f')}, recall {_said(fidelity, 'recall', '.2f')}",
    }
    if baseline:
        rows["the article's MLP pair"] = (
            f"FD {_said(baseline, 'fd', '.3g')}, {_said(baseline, 'fd_ratio', '.3g')} x the floor; "
            f"coverage {_said(baseline, 'coverage', '.2f')}"
        )
    positive = [c for c in privacy["controls"] if c["kind"] == "positive"]
    negative = [c for c in privacy["controls"] if c["kind"] == "negative"]
    smallest = {"p": min((t["p"] for t in privacy["tests"] if t.get("p") is not None), default=None)}
    return rows | {
        "privacy": f"{privacy['answer']}; smallest p {_said(smallest, 'p', '.2g')} of {len(privacy['tests'])} tests; "
        f"smallest leak that would be seen {_said(privacy, 'smallest_leak', '.0%')}",
        "planted leaks": f"{sum(c['answer'] == 'reject' for c in positive)} of {len(positive)} refused "
        f"({', '.join(c['name'] for c in positive) or 'none was planted'}); honest controls accepted "
        f"{sum(c['answer'] == 'accept' for c in negative)} of {len(negative)}",
    }


def _said(of: dict[str, Any], name: str, how: str) -> str:
    value = of.get(name)
    return "unknown" if value is None else format(value, how)


def _verdict(release: Release) -> str:
    return " ".join((release.answer, *(("-", *release.reasons) if release.reasons else ())))
