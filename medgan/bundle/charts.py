"""Line charts as inline SVG whose colours come from the page, so that light, dark and print all work."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from markupsafe import Markup, escape

WIDTH, HEIGHT = 460, 300
LEFT, RIGHT, TOP, BOTTOM = 46, 22, 16, 46
ROOM = 112  # that a label takes
Point = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Scale:
    """Values to pixels, straight or logarithmic, with the ticks to label."""

    low: float
    high: float
    ticks: tuple[float, ...]
    show: Callable[[float], str] = field(default=lambda value: f"{value:g}")
    log: bool = False

    def at(self, value: float) -> float:
        """Where `value` lies, 0 at the low end and 1 at the high end; clamped."""
        low, high, value = self.low, self.high, min(max(value, self.low), self.high)
        if self.log:
            low, high, value = math.log(low), math.log(high), math.log(value)
        return (value - low) / (high - low) if high > low else 0.0


@dataclass(frozen=True, slots=True)
class Line:
    points: Sequence[Point]
    name: str = ""
    style: str = "ours"  # a class of the style sheet: ours, real, base, chance
    area: bool = False
    dots: bool = False


@dataclass(frozen=True, slots=True)
class Mark:
    """A vertical line with a word at its top."""

    x: float
    text: str
    style: str = "ours"


def percent(value: float) -> str:
    return f"{100 * value:g}\u202f%"


def straight(values: Sequence[float], show: Callable[[float], str], *, ticks: int = 4) -> Scale:
    """A straight scale around `values`, from round number to round number."""
    low, high = min(values), max(values)
    step = _round_step((high - low) or abs(high) or 1.0, ticks)
    first, last = math.floor(low / step), math.ceil(high / step)
    last = max(last, first + 1)
    return Scale(first * step, last * step, tuple(round(i * step, 10) for i in range(first, last + 1)), show)


def chart(
    lines: Sequence[Line],
    x: Scale,
    y: Scale,
    *,
    x_title: str,
    title: str,
    marks: Sequence[Mark] = (),
) -> Markup:
    """One chart; `title` is what a screen reader says."""
    parts = [_frame(x, y, x_title)]
    for line in lines:
        parts += _line(line, x, y)
    parts += [_mark(mark, x) for mark in marks]
    body = "".join(parts)
    return Markup(  # noqa: S704 - every text above was escaped
        f'<svg class="chart" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(title)}">{body}</svg>'
    )


def _frame(x: Scale, y: Scale, x_title: str) -> str:
    parts = []
    for tick in y.ticks:
        v = _y(tick, y)
        parts.append(f'<line class="rule" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{v:.1f}" y2="{v:.1f}"/>')
        parts.append(
            f'<text class="tick" x="{LEFT - 8}" y="{v + 4:.1f}" text-anchor="end">{escape(y.show(tick))}</text>'
        )
    for tick in x.ticks:
        h = _x(tick, x)
        parts.append(
            f'<text class="tick" x="{h:.1f}" y="{HEIGHT - BOTTOM + 18}" text-anchor="middle">'
            f"{escape(x.show(tick))}</text>"
        )
    parts.append(
        f'<text class="title" x="{(LEFT + WIDTH - RIGHT) / 2:.0f}" y="{HEIGHT - 8}" text-anchor="middle">'
        f"{escape(x_title)}</text>"
    )
    return "".join(parts)


def _line(line: Line, x: Scale, y: Scale) -> list[str]:
    places = [(_x(h, x), _y(v, y)) for h, v in line.points]
    if not places:
        return []
    path = " ".join(f"{'L' if i else 'M'}{h:.1f} {v:.1f}" for i, (h, v) in enumerate(places))
    parts = []
    if line.area:
        floor = HEIGHT - BOTTOM
        parts.append(
            f'<path class="area {line.style}" d="{path} L{places[-1][0]:.1f} {floor} L{places[0][0]:.1f} {floor} Z"/>'
        )
    parts.append(f'<path class="line {line.style}" d="{path}"/>')
    if line.dots:
        parts += [f'<circle class="dot {line.style}" cx="{h:.1f}" cy="{v:.1f}" r="3.4"/>' for h, v in places]
    return parts


def _mark(mark: Mark, x: Scale) -> str:
    """Ours is named on the left near the top, where a rising curve leaves room; a limit at its foot."""
    h = _x(mark.x, x)
    if mark.style == "ours" and h > LEFT + ROOM:
        anchor, shift, v = "end", -11, TOP + 8
    elif h > WIDTH - RIGHT - ROOM:
        anchor, shift, v = "end", -7, HEIGHT - BOTTOM - 12
    else:
        anchor, shift, v = "start", 7, HEIGHT - BOTTOM - (12 if mark.style == "stop" else 34)
    return (
        f'<line class="mark {mark.style}" x1="{h:.1f}" x2="{h:.1f}" y1="{TOP - 8}" y2="{HEIGHT - BOTTOM}"/>'
        f'<text class="label {mark.style}" x="{h + shift:.1f}" y="{v}" text-anchor="{anchor}">'
        f"{escape(mark.text)}</text>"
    )


def _x(value: float, scale: Scale) -> float:
    return LEFT + scale.at(value) * (WIDTH - LEFT - RIGHT)


def _y(value: float, scale: Scale) -> float:
    return HEIGHT - BOTTOM - scale.at(value) * (HEIGHT - TOP - BOTTOM)


def _round_step(span: float, ticks: int) -> float:
    raw = span / ticks
    size = 10.0 ** math.floor(math.log10(raw))
    return next(step * size for step in (1, 2, 2.5, 5, 10) if step * size >= raw * 0.999)
