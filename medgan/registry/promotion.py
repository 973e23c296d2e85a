"""Whether a new version becomes champion: better than the present one, and no leakier. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

COVERAGE_SLACK = 0.05  # of one evaluation against another, by chance


@dataclass(frozen=True, slots=True)
class Version:
    """What the comparison needs: what the model makes, and its figures.

    metrics: fd_ratio, coverage, epsilon_lower, auc, auc_high.
    """

    group: str
    metrics: Mapping[str, float]


def keeps_challenger(new: Version, champion: Version) -> str:
    """Why `new` must not replace `champion`; empty when it should. A missing figure never promotes."""
    if new.group != champion.group:
        return f"the champion makes {champion.group or 'other images'}, this one {new.group}: not comparable"
    ours, theirs = new.metrics, champion.metrics
    for name in ("fd_ratio", "coverage", "epsilon_lower", "auc"):
        if not math.isfinite(ours.get(name, math.nan)) or not math.isfinite(theirs.get(name, math.nan)):
            return f"{name} is not known of both versions"
    if ours["epsilon_lower"] > theirs["epsilon_lower"]:
        return f"leakier: epsilon at least {ours['epsilon_lower']:.2f}, the champion's {theirs['epsilon_lower']:.2f}"
    if ours["auc"] > theirs.get("auc_high", theirs["auc"]):
        return f"leakier: attack AUC {ours['auc']:.2f}, above the champion's interval"
    if ours["fd_ratio"] >= theirs["fd_ratio"]:
        return f"no better: FD {ours['fd_ratio']:.3g} times the floor, the champion's {theirs['fd_ratio']:.3g}"
    if ours["coverage"] < theirs["coverage"] - COVERAGE_SLACK:
        return f"less varied: coverage {ours['coverage']:.2f}, the champion's {theirs['coverage']:.2f}"
    return ""
