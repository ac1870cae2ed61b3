"""The display of a run while it runs: a table in a terminal, one line per step elsewhere.

It is a view: whatever it shows has been written to the run directory before.
"""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

from rich.console import Console, Group, RenderableType
from rich.live import Live as RichLive
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

BARS = "▁▂▃▄▅▆▇█"
SPARKS = (("pass@1", "pass@1"), ("length", "length"))
# key, label, format
RL_ROWS = (
    ("pass@1", "pass@1", ".3f"),
    ("reward", "reward", ".3f"),
    ("accepted", "accepted responses", ",.0f"),
    ("length", "length", ".0f"),
    ("length/right", "length of right ones", ".0f"),
    ("truncated", "truncated", ".1%"),
    ("entropy", "entropy, nats/token", ".3f"),
    ("reverse_kl", "reverse KL to the teacher, nats/token", ".4f"),
    ("kl", "KL to the reference", ".4f"),
    ("mismatch_kl", "sampler/learner KL", ".1e"),
    ("grad_norm", "gradient norm", ".2f"),
    ("signal", "groups with signal", ".0%"),
    ("cannot_tell", "can not tell", ".1%"),
)
OTHER_ROWS = (
    ("loss", "loss", ".4f"),
    ("held_out_loss", "held-out loss", ".4f"),
    ("accuracy", "prefers what is preferred", ".1%"),
    ("held_out_accuracy", "the same, held out", ".1%"),
    ("grad_norm", "gradient norm", ".2f"),
    ("lr", "learning rate", ".2e"),
)
PLAIN = (
    *("pass@1", "accepted", "reward", "length", "reverse_kl", "entropy", "loss", "held_out_loss", "accuracy"),
    *("held_out_accuracy", "tokens_per_s"),
)


class Live:
    """Shows stages and steps. Use as a context manager; `step` takes the metrics just recorded.

    Args:
        plain: one line per step; by default wherever standard output is no terminal.
    """

    def __init__(self, title: str = "", console: Console | None = None, plain: bool | None = None) -> None:
        self.console = console or Console()
        self.plain = not self.console.is_terminal if plain is None else plain
        self.title = title
        self._view = None if self.plain else RichLive(console=self.console, refresh_per_second=4, transient=False)
        self._begin("", "", 0, "")

    def _begin(self, name: str, kind: str, total: int, sentence: str) -> None:
        self._name, self._kind, self._total, self._sentence = name, kind, total, sentence
        self._unit = "problem" if kind == "evaluate" else "step"
        self._rows: list[dict[str, Any]] = []
        self._clock = Clock(total)

    def __enter__(self) -> Self:
        if self._view:
            self._view.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def stage(self, name: str, kind: str, total_steps: int, sentence: str = "") -> None:
        """A stage begins. `total_steps` 0: unknown."""
        if self._view and self._rows:
            self.console.print(self._render())  # what the last stage ended with stays on the screen
        self._begin(name, kind, total_steps, sentence)
        if self.plain:
            self.console.print(Text(f"[{name}] {kind}: {sentence}".rstrip(": ")), soft_wrap=True)
        self._refresh()

    def step(self, metrics: Mapping[str, Any]) -> None:
        """One step's metrics, as recorded; `step` counts from 1 (in an evaluation: the problems done)."""
        self._rows.append(dict(metrics))
        self._clock.tick(int(metrics.get("step", len(self._rows))))
        if self.plain:
            self.console.print(Text(self._line(metrics)), soft_wrap=True)
        self._refresh()

    def note(self, text: str) -> None:
        """A sentence that stays on the screen, above the display."""
        self.console.print(Text(text), soft_wrap=True)

    def close(self) -> None:
        """Leave the last picture on the screen. Safe to call twice."""
        if self._view:
            self._view.stop()
            self._view = None

    # ------------------------------------------------------------------------------------------------------ rendering

    def _refresh(self) -> None:
        if self._view:
            self._view.update(self._render())

    def _line(self, metrics: Mapping[str, Any]) -> str:
        shown = [f"{key} {number(metrics[key])}" for key in PLAIN if finite(metrics.get(key))]
        total = f"/{self._total}" if self._total else ""
        left = self._clock.left()
        return "  ".join(
            [f"[{self._name}] {self._unit} {metrics.get('step', '?')}{total}", *shown, *([f"left {left}"] if left else [])]
        )

    def _render(self) -> RenderableType:
        now = self._rows[-1] if self._rows else {}
        parts: list[RenderableType] = [Text(self._sentence, style="dim")] if self._sentence else []
        if self._total:
            parts.append(self._progress(int(now.get("step", 0))))
        if now:
            parts.append(self._table(now))
        return Panel(Group(*parts), title=Text(f"{self.title} {self._name} ({self._kind})".strip()), title_align="left")

    def _progress(self, step: int) -> RenderableType:
        row = Table.grid(padding=(0, 1), expand=True)
        row.add_column(ratio=1)
        row.add_column(justify="right", no_wrap=True)
        left = self._clock.left()
        row.add_row(
            ProgressBar(total=self._total, completed=step),
            Text(f"{self._unit} {step}/{self._total}" + (f"  {left} left" if left else "")),
        )
        return row

    def _table(self, now: Mapping[str, Any]) -> RenderableType:
        left = _values([*(RL_ROWS if "pass@1" in now else OTHER_ROWS)], now)
        parts = [(key, key.removeprefix("reward/"), ".3f") for key in now if key.startswith("reward/")]
        styles = [(key, key.removeprefix("style/"), ".0%") for key in now if key.startswith("style/")]
        right = _values([*parts, *styles, ("tokens_per_s", "tokens/s", ",.0f")], now)
        for key, label in SPARKS:
            series = [row[key] for row in self._rows if finite(row.get(key))]
            if len(series) > 1:
                right.add_row(Text(label, style="dim"), Text(sparkline(series)))
        both = Table.grid(padding=(0, 4))
        both.add_row(left, right)
        return both


class Clock:
    """Time left, from the pace of the recent steps of this process."""

    def __init__(self, total: int) -> None:
        self.total = total
        self._ticks: list[tuple[int, float]] = []

    def tick(self, step: int, now: float | None = None) -> None:
        self._ticks = [*self._ticks[-20:], (step, time.monotonic() if now is None else now)]

    def left(self) -> str:
        """As `3m 05s`; empty before two steps are done, or where the total is unknown."""
        if len(self._ticks) < 2 or not self.total:
            return ""
        (first, start), (last, end) = self._ticks[0], self._ticks[-1]
        return duration((self.total - last) * (end - start) / max(1, last - first))


def duration(seconds: float) -> str:
    """`45s`, `3m 05s`, `2h 07m`."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m {whole % 60:02d}s"
    return f"{whole // 3600}h {whole % 3600 // 60:02d}m"


def sparkline(values: list[float], width: int = 24) -> str:
    """The values as a row of bars, lowest to highest, averaged into at most `width` of them."""
    edges = [round(i * len(values) / min(width, len(values))) for i in range(min(width, len(values)) + 1)]
    means = [sum(values[a:b]) / (b - a) for a, b in itertools.pairwise(edges)]
    low, high = min(means), max(means)
    span = (high - low) or 1.0
    return "".join(BARS[min(len(BARS) - 1, int((value - low) / span * len(BARS)))] for value in means)


def finite(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def number(value: float) -> str:
    """Three significant digits, without an exponent for ordinary sizes."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _values(rows: list[tuple[str, str, str]], now: Mapping[str, Any]) -> Table:
    table = Table.grid(padding=(0, 2))
    for key, label, form in rows:
        if finite(now.get(key)):
            table.add_row(Text(label, style="dim"), Text(format(now[key], form)))
    return table
