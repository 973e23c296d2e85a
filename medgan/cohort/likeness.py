"""How like real pictures synthetic ones are: the fidelity part of a scorecard, as one table that becomes JSON.

Three networks that were trained on real training pictures look; the one in the middle speaks, figure by figure. One
that learned nothing looks too, as a control. Before anything is believed, real pictures are spoiled in known ways, and
each figure must move as it should (cohort/corruption.py).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medgan.cohort import corruption, external, floor, suite
from medgan.cohort.features import eyes, features, untrained

NO_WEIGHTS = "skipped: no weights file was given"
TOO_FEW = f"skipped: fewer than {corruption.LEAST} pictures of each half of the patients"
FLAT = ("fd", "kid", "precision", "recall", "density", "coverage")
BESIDE = ("fd", "coverage", "recall")
Look = Callable[[NDArray[np.float32]], NDArray[np.float64]]


@dataclass(frozen=True, slots=True)
class Offered:
    """Pictures float32 [N, C, D, H, W] in [-1, 1]; label [N], or None where classes do not match; owner [N] or None."""

    images: NDArray[np.float32]
    label: NDArray[Any] | None
    owner: NDArray[Any] | None


def likeness(
    real: Offered,
    fakes: Mapping[str, Offered],
    train: int,
    classes: int,
    *,
    steps: int,
    seed: int,
    weights: Path | None = None,
    draws: int = floor.DRAWS,
    most: int = floor.MOST,
) -> dict[str, Any]:
    """The figures of the sets `synthetic` and, where it is there, `baseline`, beside real pictures with labels.

    Only the first `train` real pictures teach the feature networks. Raises UsageError for weights that are none.
    """
    assert real.label is not None and real.owner is not None
    owner, sets = real.owner, {"real": real, **fakes}
    networks = eyes(real.images[:train], real.label[:train], classes, steps=steps, seed=seed)
    plain = untrained(real.images[:1], classes, seed=seed)
    looks = [_through(network) for network in networks]
    seen = {
        name: suite.seen(some.images, _labels(some), some.owner, looks[0](some.images), seed=seed)
        for name, some in sets.items()
    }
    width = seen["real"].features.shape[1]
    drawn = floor.draws(
        owner, {name: len(some.images) for name, some in fakes.items()}, seed=seed, count=draws, most=most
    )
    if not drawn:
        return {"n": 0, "features": width, "baseline": None, "external": NO_WEIGHTS, "checks": {"skipped": TOO_FEW}}
    beside = _Beside(sets, owner, drawn, classes, seed)
    first = beside.measured({name: some.features for name, some in seen.items()})
    found, spread = suite.median([first, *(beside.measured(beside.through(look)) for look in looks[1:])], "synthetic")
    pictured = suite.pictured(seen, drawn, seed=seed)
    metrics = {name: {**found[name], **pictured[name]} for name in fakes}
    control = beside.measured(beside.through(_through(plain)))["synthetic"]
    return {
        **_told(metrics["synthetic"], metrics.get("baseline"), control, spread),
        "n": drawn[0].n,
        "draws": len(drawn),
        "networks": len(networks),
        "features": width,
        "external": NO_WEIGHTS if weights is None else _external(weights, beside),
        "checks": _checks(seen["real"], looks[0], classes, seed),
    }


@dataclass(frozen=True, slots=True)
class _Beside:
    """All sets, and the draws by which each is held against the real one."""

    sets: Mapping[str, Offered]
    owner: NDArray[Any]
    drawn: Sequence[floor.Draw]
    classes: int
    seed: int

    def through(self, look: Look) -> dict[str, NDArray[np.float64]]:
        """The features of each set."""
        return {name: look(some.images) for name, some in self.sets.items()}

    def measured(self, features: Mapping[str, NDArray[np.float64]]) -> dict[str, dict[str, Any]]:
        """The figures of each set but the real one; those of classes only where they match."""
        labels = {name: _labels(some) for name, some in self.sets.items()}
        found = suite.measured(features, labels, self.owner, self.drawn, self.classes, seed=self.seed)
        for name, some in self.sets.items():
            if some.label is None:
                found[name].pop("class_auc", None)
        return found


def _told(
    ours: Mapping[str, Any], baseline: Mapping[str, Any] | None, control: Mapping[str, Any], spread: Mapping[str, Any]
) -> dict[str, Any]:
    """The figures of the synthetic set, of the baseline, and of the network that learned nothing."""
    spreads = {name: {"spread": list(some)} for name, some in spread.items()}
    return {
        **{name: ours[name]["value"] for name in FLAT},
        "fd_ratio": _ratio(ours),
        "fd_floor_mean": ours["fd"]["floor"],
        "fd_floor_sd": ours["fd"]["floor_sd"],
        "metrics": {name: {**of, **spreads.get(name, {})} for name, of in ours.items()},
        "untrained": _brief(control),
        "baseline": _brief(baseline) | {"metrics": baseline} if baseline else None,
    }


def failures(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """A sentence for each check that failed."""
    return [
        f"the fidelity figure {row['figure']} did not go {row['expected']} when real pictures were spoiled "
        f"({row['corruption']}): it shows nothing here"
        for row in rows
        if row["ok"] is False
    ]


def _checks(real: suite.Seen, look: Look, classes: int, seed: int) -> dict[str, Any]:
    n = corruption.side(real.owner, seed=seed)
    if not n:
        return {"skipped": TOO_FEW}
    rows = corruption.checks(corruption.moved(real, look, classes, seed=seed))
    return {"n": n, "rows": rows, "failed": failures(rows), "binding": n >= corruption.SURE}


def _external(weights: Path, beside: _Beside) -> dict[str, Any]:
    extractor = external.load(weights)
    of = external.leading(beside.through(extractor.features))
    return {
        "kind": extractor.kind,
        "digest": extractor.digest,
        "features": int(of["real"].shape[1]),
        "metrics": beside.measured(of)["synthetic"],
    }


def _through(network: Any) -> Look:
    return lambda images: features(network, images)


def _labels(some: Offered) -> NDArray[Any]:
    return np.zeros(len(some.images), np.uint16) if some.label is None else some.label


def _brief(of: Mapping[str, Mapping[str, float]]) -> dict[str, Any]:
    return {"fd_ratio": _ratio(of), **{name: of[name]["value"] for name in BESIDE}}


def _ratio(of: Mapping[str, Mapping[str, float]]) -> float:
    return of["fd"]["value"] / max(of["fd"]["floor"], 1e-9)
