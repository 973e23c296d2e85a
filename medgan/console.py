"""What a person sees: progress and notes on stderr, one table or one JSON object on stdout."""

from __future__ import annotations

import json
import logging
import sys
import time
from collections.abc import Callable
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

err = Console(stderr=True)
out = Console()
PLAIN_EVERY_S = 10.0


class Steps(logging.Handler):
    """Shows the progress records of the `medgan.progress` logger: bars on a terminal, plain lines elsewhere."""

    def __init__(self) -> None:
        super().__init__()
        self.bars = Progress(
            TextColumn("{task.description:<15}"),
            BarColumn(bar_width=32),
            MofNCompleteColumn(),
            TextColumn("{task.fields[unit]}"),
            TimeElapsedColumn(),
            TextColumn("{task.fields[pace]}"),
            console=err,
        )
        self.tasks: dict[str, Any] = {}
        self.told: dict[str, float] = {}
        self.begun: dict[str, tuple[float, int]] = {}  # stage -> when it was first shown, and how far it was then
        self.parts: dict[str, dict[str, int]] = {}

    def __enter__(self) -> Steps:
        logger = logging.getLogger("medgan.progress")
        logger.setLevel(logging.INFO)
        logger.addHandler(self)
        if err.is_terminal:
            self.bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        logging.getLogger("medgan.progress").removeHandler(self)
        if err.is_terminal:
            self.bars.stop()

    def emit(self, record: logging.LogRecord) -> None:
        if (progress := getattr(record, "progress", None)) is not None:
            stage, done, total, unit, part = progress
            parts = self.parts.setdefault(stage, {})
            parts[part] = done
            self.show(stage, min(total, sum(parts.values())), total, unit)

    def show(self, stage: str, done: int, total: int, unit: str) -> None:
        pace = self._pace(stage, done, total)
        if err.is_terminal:
            if stage not in self.tasks:
                self.tasks[stage] = self.bars.add_task(stage, total=total, unit=unit, pace="")
            self.bars.update(self.tasks[stage], completed=done, total=total, pace=pace)
        elif done >= total or time.monotonic() - self.told.get(stage, 0.0) >= PLAIN_EVERY_S:
            self.told[stage] = time.monotonic()
            err.print(f"{stage}: {done} of {total} {unit}{', ' if pace else ''}{pace}", highlight=False)

    def _pace(self, stage: str, done: int, total: int) -> str:
        """How fast, and how long it will take still at this pace; nothing in the first second, or for what was done."""
        now = time.monotonic()
        at, start = self.begun.setdefault(stage, (now, done))
        if now - at < 1 or done <= start:
            return ""
        rate = (done - start) / (now - at)
        each = f"{rate:.0f}/s" if rate >= 10 else f"{rate:.1f}/s"
        return f"{each}, {_duration((total - done) / rate)} left" if done < total else each

    def reporter(self, stage: str, unit: str) -> Callable[[int, int], None]:
        """An `on_progress(done, total)` for a stage called without Prefect."""
        return lambda done, total: self.show(stage, done, total, unit)


def _duration(seconds: float) -> str:
    """7 s, 3 min 20 s, 2 h 05 min"""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def note(text: str) -> None:
    err.print(text, highlight=False, soft_wrap=True)


def fail(text: str) -> None:
    err.print(f"[bold red]medgan:[/] {text}", highlight=False, soft_wrap=True)


def answer(data: dict[str, Any], *, as_json: bool, title: str = "") -> None:
    """One JSON object on stdout, or a two-column table."""
    if as_json:
        sys.stdout.write(json.dumps(data, default=str, sort_keys=True) + "\n")
        return
    rows = Table(title=title or None, show_header=False, box=None, padding=(0, 2, 0, 0), title_justify="left")
    rows.add_column(style="bold", no_wrap=True)
    rows.add_column(overflow="fold")
    for name, value in data.items():
        rows.add_row(name, _plain(value))
    out.print(rows, highlight=False)


def listing(rows: list[dict[str, Any]], *, as_json: bool, title: str = "", empty: str = "nothing") -> None:
    """Rows with the same columns: a table, or one JSON object with `rows`."""
    if as_json:
        sys.stdout.write(json.dumps({"rows": rows}, default=str, sort_keys=True) + "\n")
        return
    if not rows:
        out.print(empty, highlight=False)
        return
    table = Table(title=title or None, title_justify="left")
    for name in rows[0]:
        table.add_column(name)
    for row in rows:
        table.add_row(*(_plain(value) for value in row.values()))
    out.print(table, highlight=False)


def _plain(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {_plain(inner)}" for name, inner in value.items()) or "none"
    if isinstance(value, (list, tuple)):
        return "\n".join(_plain(inner) for inner in value) or "none"
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
    return str(value)
