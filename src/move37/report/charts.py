"""Curves as SVG, through matplotlib: small, sharp at any size, no script, readable offline.

Inside the page the colours are CSS variables, so that one picture serves the light and the dark theme. matplotlib
knows no CSS variables: it draws with stand-in colours, which `inline` then replaces.
"""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator


@dataclass(frozen=True, slots=True)
class Theme:
    ink: str
    grid: str
    series: tuple[str, ...]


PAGE = Theme("#010203", "#010204", tuple(f"#0a0b{index:02x}" for index in range(6)))  # stand-ins
# blue, vermilion, green, purple, amber, grey; told apart by people with the common colour blindnesses
PAPER = Theme("#3b4148", "#e3e6ea", ("#2166c2", "#d1491f", "#17835c", "#8a4fbf", "#b07d00", "#68707a"))
SETTINGS = {"svg.fonttype": "none", "font.family": ["sans-serif"], "font.size": 9, "axes.unicode_minus": False}


@dataclass(frozen=True, slots=True)
class Curve:
    """One line. `low` and `high`, of the same length, draw a band around it."""

    label: str
    x: Sequence[float]
    y: Sequence[float | None]
    low: Sequence[float | None] | None = None
    high: Sequence[float | None] | None = None
    dashed: bool = False
    colour: int | None = None  # index into the series colours; by default the position


@dataclass(frozen=True, slots=True)
class Panel:
    """One small chart. `unit` "share" is drawn as percent from 0 to 100."""

    title: str
    curves: Sequence[Curve]
    unit: str = ""
    caption: str = ""
    across: str = "step"

    @property
    def empty(self) -> bool:
        return not any(value is not None for curve in self.curves for value in curve.y)


def draw(
    panels: Sequence[Panel],
    theme: Theme = PAGE,
    columns: int = 1,
    caption: str = "",
    size: tuple[float, float] = (4.8, 2.7),
) -> Figure:
    """Panels on one figure, row by row; `size` in inches per panel."""
    rows = -(-len(panels) // columns)
    extra = 0.32 * (1 + caption.count("\n")) if caption else 0.0
    with matplotlib.rc_context(SETTINGS):
        figure = Figure(figsize=(size[0] * columns, size[1] * rows + extra), layout="constrained")
        grid = figure.subplots(rows, columns, squeeze=False)
        for index, axes in enumerate(grid.flat):
            if index < len(panels):
                _panel(axes, panels[index], theme, title=len(panels) > 1)
            else:
                axes.set_axis_off()
        if caption:
            figure.supxlabel(caption, fontsize=7.5, color=theme.ink)
    return figure


def inline(figure: Figure, label: str) -> str:
    """The figure as an `<svg>` element for the page, in the page's colours."""
    svg = _svg(figure)
    for index, colour in enumerate(PAGE.series):
        svg = svg.replace(colour, f"var(--s{index})")
    svg = svg.replace(PAGE.ink, "var(--ink)").replace(PAGE.grid, "var(--grid)")
    svg = re.sub(r'(<g) id="[^"]*"', r"\1", svg)  # repeated from picture to picture; nothing refers to them
    head, _, body = svg[svg.index("<svg") :].partition(">")
    box = re.search(r'viewBox="[^"]*"', head)
    assert box
    return f'<svg xmlns="http://www.w3.org/2000/svg" {box[0]} role="img" aria-label="{escape(label)}">{body}'


def save(figure: Figure, path: Path) -> None:
    """The figure as a file of its own, SVG or PNG, on white.

    Raises:
        ValueError: for another ending.
    """
    if path.suffix not in {".svg", ".png"}:
        raise ValueError(f"{path.name}: a picture is an .svg or a .png")
    svg = path.suffix == ".svg"
    with matplotlib.rc_context(SETTINGS | {"svg.hashsalt": "move37"}):
        figure.savefig(path, dpi=160, metadata={"Date": None} if svg else {"Software": None})


def _panel(axes: Axes, panel: Panel, theme: Theme, title: bool) -> None:
    many = len(panel.curves) > 1
    for index, curve in enumerate(panel.curves):
        colour = theme.series[(index if curve.colour is None else curve.colour) % len(theme.series)]
        y = _numbers(curve.y)
        style = "--" if curve.dashed else "-"
        marker = "o" if len(y) == 1 else None
        axes.plot(curve.x, y, style, color=colour, linewidth=1.5, label=curve.label, marker=marker)
        if curve.low is not None and curve.high is not None:
            axes.fill_between(curve.x, _numbers(curve.low), _numbers(curve.high), color=colour, alpha=0.18, linewidth=0)
    if title:
        axes.set_title(panel.title, loc="left", fontsize=9.5, color=theme.ink, fontweight="bold")
    if panel.unit == "share":
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:g}%"))
    if all(value is None or value >= 0 for curve in panel.curves for value in curve.y):
        axes.set_ylim(bottom=0)  # so that "doubled" looks doubled
    if many:
        axes.legend(frameon=False, fontsize=8, labelcolor=theme.ink, loc="best")
    axes.xaxis.set_major_locator(MaxNLocator(integer=panel.across in ("step", "tokens"), nbins=6))
    axes.set_xlabel(panel.across, color=theme.ink, fontsize=8)
    axes.grid(True, color=theme.grid, linewidth=0.6)
    axes.tick_params(colors=theme.ink, length=0, labelsize=8)
    axes.set_facecolor("none")
    for spine in axes.spines.values():
        spine.set_visible(False)


def _numbers(values: Sequence[float | None]) -> np.ndarray:
    return np.array([np.nan if value is None else value for value in values], float)


def _svg(figure: Figure) -> str:
    out = io.StringIO()
    with matplotlib.rc_context(SETTINGS | {"svg.hashsalt": "move37"}):
        figure.savefig(out, format="svg", metadata={"Date": None}, transparent=True)
    return out.getvalue()
