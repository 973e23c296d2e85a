"""What the report draws of a scorecard: places on scales, in percent, and finished charts."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from medgan.bundle import charts, words
from medgan.bundle.charts import Line, Mark, Scale

P_SCALE = Scale(1e-4, 1.0, (1e-4, 1e-3, 1e-2, 0.1, 1.0), log=True)
BESIDE = (
    ("swd", "sliced Wasserstein distance"),
    ("log_psd", "log power"),
    ("c2st_auc", "real from synthetic (AUC)"),
    ("authenticity", "authentic"),
)
AUC_SCALE = Scale(0.3, 1.0, (0.3, 0.5, 0.75, 1.0))


def privacy(card: Mapping[str, Any], limits: Mapping[str, float]) -> dict[str, Any]:
    """Tests, controls, the attack, epsilon and the power curve."""
    controls = [_control(row) for row in words.rows(card, "privacy", "controls")]
    return {
        "tests": [_test(row) for row in words.rows(card, "privacy", "tests")],
        "p_ticks": [{"at": 100 * P_SCALE.at(tick), "text": f"{tick:g}"} for tick in P_SCALE.ticks],
        "planted": [control for control in controls if control["kind"] == "positive"],
        "honest": [control for control in controls if control["kind"] == "negative"],
        "attack": _attack(card),
        "epsilon": _epsilon(card, limits),
        "flagged": words.figure(card, "privacy", "flagged"),
        "looks": words.figure(card, "privacy", "looks"),
        "power": _power(card, limits),
        "share": words.figure(card, "privacy", "smallest_leak"),
    }


def _test(row: Mapping[str, Any]) -> dict[str, Any]:
    short, question = words.test(str(row["name"]))
    p, level = words.figure(row, "p"), words.figure(row, "level")
    return {
        "short": short,
        "question": question,
        "p": p,
        "n": words.figure(row, "n"),
        "at": None if p is None else 100 * P_SCALE.at(p),
        "level": None if level is None else 100 * P_SCALE.at(level),
        "calm": p is not None and level is not None and p >= level,
    }


def _control(row: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "text": words.control(str(row["name"])),
        "kind": row.get("kind"),
        "answer": row.get("answer", "none"),
        "right": row.get("answer") == row.get("expected") and row.get("expected") in ("accept", "reject"),
        "p": words.figure(row, "p"),
    }


def _attack(card: Mapping[str, Any]) -> dict[str, Any] | None:
    auc, tpr = words.interval(card, "privacy", "membership_auc"), words.interval(card, "privacy", "tpr_at_fpr1")
    if auc is None:
        return None
    low, mid, high = (100 * AUC_SCALE.at(value) for value in auc)
    return {
        "low": low,
        "mid": mid,
        "high": high,
        "auc": auc,
        "tpr": tpr,
        "guess": 100 * AUC_SCALE.at(0.5),
        "ticks": [{"at": 100 * AUC_SCALE.at(tick), "text": f"{tick:g}"} for tick in AUC_SCALE.ticks],
    }


def _epsilon(card: Mapping[str, Any], limits: Mapping[str, float]) -> dict[str, Any] | None:
    value, limit = words.figure(card, "privacy", "epsilon_lower"), words.figure(limits, "max_epsilon")
    if value is None:
        return None
    scale = Scale(0.0, max(1.0, 2 * (limit or 0.5), value), ())
    return {
        "value": value,
        "limit": limit,
        "over": limit is not None and value > limit,
        "at": 100 * scale.at(value),
        "stop": None if limit is None else 100 * scale.at(limit),
    }


def _power(card: Mapping[str, Any], limits: Mapping[str, float]) -> Markup | None:
    raw = card.get("power")
    points = sorted(
        (float(row[0]), float(row[1]))
        for row in (raw if isinstance(raw, list) else ())
        if isinstance(row, list | tuple) and len(row) == 2 and all(_finite(value) for value in row)
    )
    shown = [(x, y) for x, y in points if x > 0]
    if len(shown) < 2:
        return None
    low = min(0.01, shown[0][0]) if shown[0][0] > 0.001 else shown[0][0]
    policy = words.figure(limits, "smallest_leak")
    high = min(1.0, 1.6 * max(shown[-1][0], policy or 0.0))
    ticks = tuple(t for t in (0.01, 0.02, 0.05, 0.1, 0.2, 0.4, 1.0) if low <= t <= high)
    x = Scale(low, high, ticks, charts.percent, log=True)
    y = Scale(0.0, 1.0, (0, 0.25, 0.5, 0.75, 1.0), charts.percent)
    marks = []
    leak = words.figure(card, "privacy", "smallest_leak")
    if leak is not None and 0 < leak <= 1:
        marks.append(Mark(leak, f"noticed from {words.percent(leak)}", "ours"))
    if policy is not None:
        marks.append(Mark(policy, f"asked for {words.percent(policy)}", "stop"))
    return charts.chart(
        [Line(shown, "detected", "ours", area=True, dots=True)],
        x,
        y,
        x_title=f"share of training {words.unit(card)} copied into the release",
        title="How often the tests notice a planted leak, by its size",
        marks=marks,
    )


def fidelity(card: Mapping[str, Any], limits: Mapping[str, float]) -> dict[str, Any]:
    """The distance on a logarithmic scale beside its floor and the baseline; precision to coverage as bars."""
    base = card.get("fidelity", {}).get("baseline") if isinstance(card.get("fidelity"), Mapping) else None
    base = base if isinstance(base, Mapping) else None
    bars = []
    for name, text in (
        ("precision", "of ours that look like a real one"),
        ("recall", "of the real ones that we could have made"),
        ("coverage", "of the real ones with one of ours near by"),
    ):
        value = words.figure(card, "fidelity", name)
        bars.append(
            {
                "name": name,
                "text": text,
                "value": value,
                "at": None if value is None else 100 * min(max(value, 0.0), 1.0),
                "base": words.figure(base, name),
                "limit": words.figure(limits, "min_coverage") if name == "coverage" else None,
            }
        )
    return {
        "distance": _distance(card, base),
        "bars": bars,
        "ratio": words.figure(card, "fidelity", "fd_ratio"),
        "base_ratio": words.figure(base, "fd_ratio"),
        "kid": words.figure(card, "fidelity", "kid"),
        "density": words.figure(card, "fidelity", "density"),
        "beside": [_beside(card, name, text) for name, text in BESIDE],
        "coverage": words.figure(card, "fidelity", "coverage"),
        "base_coverage": words.figure(base, "coverage"),
        "n": words.figure(card, "fidelity", "n"),
    }


def _beside(card: Mapping[str, Any], name: str, text: str) -> dict[str, Any]:
    """A figure of the suite and what real pictures of other patients get."""
    at = ("fidelity", "metrics", name)
    return {"text": text, "value": words.figure(card, *at, "value"), "floor": words.figure(card, *at, "floor")}


def _distance(card: Mapping[str, Any], base: Mapping[str, Any] | None) -> dict[str, Any] | None:
    ours, floor = words.figure(card, "fidelity", "fd"), words.figure(card, "fidelity", "fd_floor_mean")
    spread, theirs = words.figure(card, "fidelity", "fd_floor_sd") or 0.0, words.figure(base, "fd")
    if ours is None or floor is None or floor <= 0 or ours <= 0:
        return None
    values = [ours, floor, *([theirs] if theirs and theirs > 0 else [])]
    low, high = 10 ** math.floor(math.log10(min(values) / 2)), 10 ** math.ceil(math.log10(max(values) * 1.5))
    scale = Scale(low, high, (), log=True)
    decades = round(math.log10(high / low))
    return {
        "ours": 100 * scale.at(ours),
        "floor": 100 * scale.at(floor),
        "floor_low": 100 * scale.at(max(floor - spread, low)),
        "floor_high": 100 * scale.at(floor + spread),
        "base": 100 * scale.at(theirs) if theirs and theirs > 0 else None,
        "ticks": [{"at": 100 * i / decades, "text": f"{low * 10**i:g}"} for i in range(decades + 1)],
        "values": {"ours": ours, "floor": floor, "base": theirs},
    }


def utility(card: Mapping[str, Any]) -> dict[str, Any] | None:
    """Two bars: a classifier trained on synthetic and one trained on real pictures, both tested on real."""
    tstr, trtr = words.figure(card, "utility", "tstr_auc"), words.figure(card, "utility", "trtr_auc")
    if tstr is None or trtr is None:
        return None
    scale = Scale(0.4, 1.0, ())
    return {
        "tstr": tstr,
        "trtr": trtr,
        "tstr_at": 100 * scale.at(tstr),
        "trtr_at": 100 * scale.at(trtr),
        "guess": 100 * scale.at(0.5),
        "n": words.figure(card, "utility", "n"),
    }


def training(history: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """One small chart for each figure that the training recorded, by images seen."""
    names = [name for name in dict.fromkeys(name for row in history for name in row) if name != "images_seen"]
    drawn = []
    for name in names:
        points = [
            (float(row["images_seen"]), float(row[name]))
            for row in history
            if _finite(row.get("images_seen")) and _finite(row.get(name))
        ]
        if len(points) < 2:
            continue
        whole = charts.straight([0.0, points[-1][0]], lambda value: words.number(value, 0))
        ticks = tuple(tick for tick in whole.ticks if tick <= points[-1][0])
        x = Scale(0.0, max(points[-1][0], 1.0), ticks, whole.show)
        y = charts.straight([v for _, v in points], lambda value: f"{value:g}")
        title = name.replace("_", " ")
        chart = charts.chart([Line(points, title)], x, y, x_title="training pictures seen", title=title)
        drawn.append({"name": title, "chart": chart})
    return drawn


def roc(points: Sequence[Sequence[float]]) -> Markup | None:
    """The attack's true positives against its false alarms."""
    shown = [(float(row[0]), float(row[1])) for row in points if len(row) == 2 and all(_finite(v) for v in row)]
    if len(shown) < 2:
        return None
    scale = Scale(0.0, 1.0, (0, 0.25, 0.5, 0.75, 1.0), charts.percent)
    return charts.chart(
        [Line([(0, 0), (1, 1)], "guessing", "chance"), Line(shown, "attack", "ours")],
        scale,
        scale,
        x_title="false alarms",
        title="The membership attack against guessing",
    )


def _finite(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
