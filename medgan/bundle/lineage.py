"""The road from the hospital's files to the bundle, drawn: three zones, two gates, and who was left out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from markupsafe import Markup, escape

from medgan.bundle.words import number

BOX_W, BOX_H = 138, 78


@dataclass(frozen=True, slots=True)
class Box:
    """One artefact: where it stands, how many, of what."""

    x: float
    y: float
    big: str
    small: str
    style: str = ""


def drawing(counts: Mapping[str, float | None], *, unit: str, picture: str, accepted: bool) -> Markup:
    """Wide for a screen, tall for a telephone; the style sheet shows one of them.

    counts: received, studies, train_images, train_patients, held_out, images_seen, synthetic, files; each may miss.
    """
    texts, passed = _texts(counts, unit, picture, accepted), (counts.get("studies") is not None, accepted)
    return Markup(_wide(texts, passed) + _tall(texts, passed))  # noqa: S704 - every text was escaped


def _texts(counts: Mapping[str, float | None], unit: str, picture: str, accepted: bool) -> dict[str, tuple[str, str]]:
    def n(name: str) -> str:
        return number(counts.get(name), 0)

    ready = counts.get("studies") is None
    return {
        "source": ("ready", "brought in packed") if ready else (n("received"), "files with names"),
        "studies": ("as given", "not made here") if ready else (n("studies"), "studies, no names"),
        "train": (n("train_images"), f"from {n('train_patients')} {unit}"),
        "generator": (n("images_seen"), "pictures shown to it"),
        "synthetic": (n("synthetic"), f"invented {picture}"),
        "held": (n("held_out"), f"{unit} kept aside"),
        "bundle": ("nothing", "was released")
        if not accepted
        else ("signed", "and released")
        if counts.get("files") is None
        else (n("files"), "signed files"),
    }


def _wide(texts: dict[str, tuple[str, str]], passed: tuple[bool, bool]) -> str:
    """Columns: hospital | de-identified, training part, generator, synthetic | bundle; below, who was kept aside."""
    top, low = 56, 170
    columns = [22, 228, 392, 556, 720, 926]
    mid, aside = top + BOX_H / 2, low + BOX_H / 2
    row = [("source", "HOSPITAL", "source"), ("studies", "DE-IDENTIFIED", ""), ("train", "TRAINING PART", "")]
    row += [
        ("generator", "GENERATOR", "made"),
        ("synthetic", "SYNTHETIC", "made"),
        ("bundle", "THE BUNDLE", "out" if passed[1] else ""),
    ]
    drawn = [
        _box(Box(x, top, *texts[name], style), title) for x, (name, title, style) in zip(columns, row, strict=True)
    ]
    drawn.append(_box(Box(columns[2], low, *texts["held"]), "NEVER TRAINED ON"))
    ways = [_path(f"M{x + BOX_W} {mid} H{after}") for x, after in zip(columns, columns[1:], strict=False)]
    down = columns[1] + BOX_W / 2
    ways.append(
        _path(f"M{down} {top + BOX_H} V{aside - 12} Q{down} {aside} {down + 12} {aside} H{columns[2]}", "aside")
    )
    ways.append(_path(f"M{columns[2] + BOX_W} {aside} H880 Q892 {aside} 892 {aside - 12} V{mid + 17}", "aside"))
    zones = [_zone(8, 166, "IDENTIFIED ZONE"), _zone(214, 658, "RESEARCH ZONE"), _zone(912, 166, "PUBLIC")]
    gates = [_gate(194, mid, "gate 1", passed=passed[0]), _gate(892, mid, "gate 2", passed=passed[1])]
    body = "".join([*zones, *ways, *gates, *drawn])
    return (
        '<svg class="lineage wide" viewBox="0 0 1086 272" role="img" aria-label="From files to bundle">'
        f"{_arrow('a')}{body}</svg>"
    )


def _zone(x: float, width: float, name: str) -> str:
    return (
        f'<rect class="zone" x="{x}" y="8" width="{width}" height="256" rx="14"/>'
        f'<text class="zonename" x="{x + 16}" y="34">{escape(name)}</text>'
    )


def _tall(texts: dict[str, tuple[str, str]], passed: tuple[bool, bool]) -> str:
    left, right, step = 16, 196, 122
    rows = [44 + step * i for i in range(5)]
    boxes = [
        (Box(106, rows[0], *texts["source"], "source"), "HOSPITAL"),
        (Box(106, rows[1], *texts["studies"]), "DE-IDENTIFIED"),
        (Box(left, rows[2], *texts["train"]), "TRAINING PART"),
        (Box(right, rows[2], *texts["held"]), "NEVER TRAINED ON"),
        (Box(left, rows[3], *texts["generator"], "made"), "GENERATOR"),
        (Box(left, rows[4], *texts["synthetic"], "made"), "SYNTHETIC"),
        (Box(106, rows[4] + step, *texts["bundle"], "out" if passed[1] else ""), "THE BUNDLE"),
    ]
    lx, rx, end = left + BOX_W / 2, right + BOX_W / 2, rows[4] + step
    paths = [
        _path(f"M180 {rows[0] + BOX_H} V{rows[1]}", end="b"),
        _path(f"M150 {rows[1] + BOX_H} V{rows[1] + BOX_H + 22} H{lx} V{rows[2]}", end="b"),
        _path(f"M210 {rows[1] + BOX_H} V{rows[1] + BOX_H + 22} H{rx} V{rows[2]}", "aside", end="b"),
        _path(f"M{lx} {rows[2] + BOX_H} V{rows[3]}", end="b"),
        _path(f"M{lx} {rows[3] + BOX_H} V{rows[4]}", end="b"),
        _path(f"M{lx} {rows[4] + BOX_H} V{end - 23} H180 V{end}", end="b"),
        _path(f"M{rx} {rows[2] + BOX_H} V{end - 23} H192", "aside", end="b"),
    ]
    gates = [
        _gate(180, rows[1] - 22, "gate 1", passed=passed[0], label=(23, 4, "start")),
        _gate(180, end - 23, "gate 2", passed=passed[1], label=(-20, -7, "end")),
    ]
    drawn = [_box(box, name) for box, name in boxes]
    return (
        f'<svg class="lineage tall" viewBox="0 0 360 {end + BOX_H + 16}" role="img" aria-label="From files to bundle">'
        f"{_arrow('b')}{''.join([*paths, *gates, *drawn])}</svg>"
    )


def _arrow(name: str) -> str:
    return (
        f'<defs><marker id="{name}" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" '
        'orient="auto-start-reverse"><path class="tip" d="M0 0 L8 4 L0 8 Z"/></marker></defs>'
    )


def _path(way: str, style: str = "", end: str = "a") -> str:
    return f'<path class="way {style}" d="{way}" marker-end="url(#{end})"/>'


def _gate(
    x: float, y: float, name: str, *, passed: bool = True, label: tuple[float, float, str] = (0, -23, "middle")
) -> str:
    """A tick, or for a gate that was not passed here a dash: what was not looked at is not clean."""
    right, down, anchor = label
    sign = f"M{x - 6} {y} l4.2 4.6 l7.4 -9" if passed else f"M{x - 5} {y} h10"
    return (
        f'<g class="gate{"" if passed else " open"}"><circle cx="{x}" cy="{y}" r="15"/><path d="{sign}"/>'
        f'<text x="{x + right}" y="{y + down}" text-anchor="{anchor}">{escape(name)}</text></g>'
    )


def _box(box: Box, name: str) -> str:
    return (
        f'<g class="box {box.style}"><rect x="{box.x}" y="{box.y}" width="{BOX_W}" height="{BOX_H}" rx="9"/>'
        f'<text class="boxname" x="{box.x + 13}" y="{box.y + 20}">{escape(name)}</text>'
        f'<text class="big" x="{box.x + 13}" y="{box.y + 46}">{escape(box.big)}</text>'
        f'<text class="small" x="{box.x + 13}" y="{box.y + 64}">{escape(box.small)}</text></g>'
    )
