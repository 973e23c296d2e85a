"""The evidence in plain words: what a test asked, what a control was, what an answer means."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

TESTS = {
    "patient_rank": (
        "Patients, all of them",
        "Do training patients lie nearer than the others?",
    ),
    "patient_top": ("Patients, the closest", "Are the nearest ones mostly training patients?"),
    "picture_tail_1": (
        "Pictures, the closest",
        "Is any one nearer to training than chance explains?",
    ),
    "picture_tail_5": ("Pictures, the closest few", "Are several nearer than chance explains?"),
}
CONTROLS = {
    "verbatim_replay": "Training pictures, copied as they are",
    "treated_replay": "Training pictures, disguised",
    "other_pictures": "Other pictures of the same training patients",
    "one_copy": "Honest pictures with a single copy among them",
    "patient_mates": "Other pictures of the same training patients",
    "fresh": "Real patients that nobody trained on",
    "fresh_treated": "The same patients, disguised in the same ways",
    "fresh_shrunk": "The same patients, faded towards the average",
}
DID = {"reject": "caught", "accept": "let through", "inconclusive": "told apart"}
GROUP_WORDS = {
    "CR": "radiographs",
    "DX": "radiographs",
    "XR": "radiographs",
    "CT": "CT images",
    "MR": "MR images",
    "OT": "images",
    "SC": "images",
}


def figure(card: Mapping[str, Any] | None, *path: str) -> float | None:
    """A finite number of a scorecard, or None when it is missing or not one."""
    value: Any = card
    for name in path:
        value = value.get(name) if isinstance(value, Mapping) else None
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)


def interval(card: Mapping[str, Any] | None, *path: str) -> tuple[float, float, float] | None:
    """Low, middle, high; or None."""
    value: Any = card
    for name in path:
        value = value.get(name) if isinstance(value, Mapping) else None
    if not isinstance(value, list | tuple) or len(value) != 3:
        return None
    found = [figure({"value": number}, "value") for number in value]
    return None if None in found else (found[0], found[1], found[2])  # type: ignore[return-value]


def rows(card: Mapping[str, Any] | None, *path: str) -> list[Mapping[str, Any]]:
    """A list of named rows of a scorecard; what is malformed is left out."""
    value: Any = card
    for name in path:
        value = value.get(name) if isinstance(value, Mapping) else None
    return [row for row in value if isinstance(row, Mapping) and "name" in row] if isinstance(value, list) else []


def test(name: str) -> tuple[str, str]:
    """A short name and the question that a privacy test asks."""
    if name in TESTS:
        return TESTS[name]
    for known, (short, question) in TESTS.items():
        if name.startswith(known):
            return f"{short} ({name[len(known) :].strip('_') or name})", question
    return name.replace("_", " ").capitalize(), ""


def control(name: str) -> str:
    """What a control set was made of."""
    if match := re.fullmatch(r"mixture_(\d+)", name):
        return f"Honest pictures with {match[1]} % copies mixed in"
    return CONTROLS.get(name, name.replace("_", " ").capitalize())


def modality(group: str) -> str:
    """What the pictures of a cohort group are, in the plural."""
    return GROUP_WORDS.get(re.split(r"[-_/]", group.upper())[0], "images")


def reason(text: str) -> str:
    """One of the gate's reasons with the names of tests and controls in plain words."""
    if match := re.fullmatch(r"control (\w+): expected (\w+), got (\w+)", text):
        return f"A control failed. {control(match[1])}: should have been {DID.get(match[2])}, was {DID.get(match[3])}."
    if (match := re.match(r"(\w+): ", text)) and match[1] in TESTS:
        return f"{TESTS[match[1]][0]}: {text[match.end() :]}."
    return text[:1].upper() + text[1:] + ("" if text.endswith(".") else ".")


def number(value: float | None, digits: int = 2) -> str:
    """Thousands apart, `digits` places, and a dash for what is not known."""
    if value is None:
        return "–"
    return f"{value:,.{digits}f}".replace(",", "\u202f") if math.isfinite(value) else "–"


def percent(value: float | None) -> str:
    if value is None:
        return "–"
    text = f"{100 * value:.0f}" if value >= 0.1 else f"{100 * value:.1f}".removesuffix(".0")
    return f"{text}\u202f%"


def p_value(value: float | None) -> str:
    if value is None:
        return "–"
    return "p < 0.0001" if value < 1e-4 else f"p = {value:.2g}" if value < 0.1 else f"p = {value:.2f}"


def unit(card: Mapping[str, Any], count: float | None = None) -> str:
    """`patient` or, without patient ids, `picture`; plural unless count is one."""
    word = "picture" if card.get("unit") == "image" else "patient"
    return word if count == 1 else f"{word}s"


def headline(answer: str, card: Mapping[str, Any]) -> str:
    """The verdict as one sentence that stands alone."""
    privacy = card.get("privacy")
    private = privacy.get("answer") if isinstance(privacy, Mapping) else None
    if answer == "accept":
        sought = "patients in these pictures" if unit(card) == "patients" else "real pictures among these"
        return f"We looked for {sought}, and found none."
    if answer == "reject":
        return (
            "Not released: the pictures give patients away."
            if private == "reject"
            else "Not released: the pictures are not good enough."
        )
    return "Not released: there is not enough evidence to say."


def leak(card: Mapping[str, Any]) -> str:
    """What the tests would have noticed, in patients."""
    share, least = figure(card, "privacy", "smallest_leak"), figure(card, "privacy", "smallest_leak_patients")
    total = figure(card, "counts", "train_patients")
    if share is None or share > 1:
        return "The tests could not have noticed a leak of any size."
    if least is None and total is not None:
        least = math.ceil(share * total)
    if least is None or total is None:
        return f"The tests would have noticed copies of {percent(share)} of the training {unit(card)}."
    return (
        f"The tests would have noticed copies of {number(least, 0)} of the {number(total, 0)} "
        f"training {unit(card)} ({percent(share)})."
    )
