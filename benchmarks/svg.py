"""Plots as SVG: bars side by side, and curves over logarithmic axes.

Just what the benchmarks show; a library for plots would be larger than they are.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final
from xml.sax.saxutils import escape

__all__ = ["Bar", "Panel", "bars", "curves"]

FONT: Final = "font-family='sans-serif' font-size='12'"
OURS: Final = "#c2410c"
OTHERS: Final = "#94a3b8"
COLORS: Final = (
    *(OURS, "#f59e0b", "#0369a1", "#38bdf8", "#15803d"),
    *("#84cc16", "#7e22ce", "#ec4899", "#000000", "#78716c"),
)
DASHES: Final = ("none", "6 3", "2 2")

LABELS: Final = 150
BAR_WIDTH: Final = 190
VALUES: Final = 120
ROW: Final = 22
HEAD: Final = 64
PLOT: Final = (70, 40, 460, 300)
"""Left, top, width and height of the area of curves."""


@dataclass(frozen=True)
class Bar:
    """One value of a panel."""

    label: str
    value: float
    low: float
    high: float
    shown: str
    ours: bool


@dataclass(frozen=True)
class Panel:
    """Bars that are compared with each other."""

    title: str
    bars: Sequence[Bar]
    log: bool = False
    """Whether each tenth of the width is as many times more; lengths lie then."""


def _text(x: float, y: float, text: str, anchor: str = "start", more: str = "") -> str:
    return (
        f"<text x='{x:.1f}' y='{y:.1f}' text-anchor='{anchor}' {FONT} {more}>"
        f"{escape(text)}</text>"
    )


def _line(x1: float, y1: float, x2: float, y2: float, more: str) -> str:
    return f"<line x1='{x1:.1f}' y1='{y1:.1f}' x2='{x2:.1f}' y2='{y2:.1f}' {more}/>"


def _document(width: float, height: float, title: str, parts: Sequence[str]) -> str:
    return "\n".join(
        [
            f"<svg xmlns='http://www.w3.org/2000/svg' width='{width:.0f}' "
            f"height='{height:.0f}' viewBox='0 0 {width:.0f} {height:.0f}' role='img'>",
            f"<title>{escape(title)}</title>",
            "<rect width='100%' height='100%' fill='white'/>",
            _text(12, 22, title, more="font-weight='bold'"),
            *parts,
            "</svg>",
            "",
        ]
    )


def _panel(panel: Panel, left: float) -> list[str]:
    high = max((bar.high for bar in panel.bars), default=0) or 1.0
    low = min((bar.low for bar in panel.bars if bar.low > 0), default=high) / 2

    def width(value: float) -> float:
        if not panel.log:
            return value / high * BAR_WIDTH
        return math.log(max(value, low) / low) / math.log(high / low) * BAR_WIDTH

    parts = [_text(left, 46, panel.title)]
    for number, bar in enumerate(panel.bars):
        top = HEAD + number * ROW
        middle = top + ROW / 2 - 3
        color = OURS if bar.ours else OTHERS
        parts.append(
            f"<rect x='{left:.1f}' y='{top:.1f}' width='{width(bar.value):.1f}' "
            f"height='{ROW - 6}' fill='{color}'/>"
        )
        ends = (left + width(bar.low), middle, left + width(bar.high), middle)
        parts.append(_line(*ends, "stroke='black'"))
        parts.append(_text(left + width(bar.high) + 6, top + 13, bar.shown))
    return parts


def bars(title: str, panels: Sequence[Panel]) -> str:
    """Return panels side by side; a thin line on each bar spans the rounds."""
    parts = []
    for number, bar in enumerate(panels[0].bars):
        weight = "font-weight='bold'" if bar.ours else ""
        y = HEAD + number * ROW + 13
        parts.append(_text(LABELS - 8, y, bar.label, "end", weight))
    for number, panel in enumerate(panels):
        parts += _panel(panel, LABELS + number * (BAR_WIDTH + VALUES))
    width = LABELS + len(panels) * (BAR_WIDTH + VALUES)
    return _document(width, HEAD + len(panels[0].bars) * ROW + 8, title, parts)


def _decades(values: Sequence[float]) -> tuple[int, int]:
    low = math.floor(math.log10(min(values)))
    return low, max(low + 1, math.ceil(math.log10(max(values))))


def curves(
    title: str,
    axes: tuple[str, str],
    series: Mapping[str, Sequence[tuple[float, float]]],
) -> str:
    """Return curves through points, on logarithmic axes with names.

    Args:
        title: What is shown.
        axes: Names of the horizontal and of the vertical one.
        series: Points by name; all numbers are positive.

    """
    left, top, width, height = PLOT
    points = list(itertools.chain.from_iterable(series.values()))
    (x0, x1), (y0, y1) = (_decades([p[i] for p in points]) for i in (0, 1))

    def place(x: float, y: float) -> tuple[float, float]:
        return (
            left + (math.log10(x) - x0) / (x1 - x0) * width,
            top + height - (math.log10(y) - y0) / (y1 - y0) * height,
        )

    parts = []
    grid = "stroke='#e2e8f0'"
    for decade in range(x0, x1 + 1):
        x, y = place(10**decade, 10**y0)
        parts += [
            _line(x, top, x, y, grid),
            _text(x, y + 18, f"{10**decade:,}", "middle"),
        ]
    for decade in range(y0, y1 + 1):
        x, y = place(10**x0, 10**decade)
        parts.append(_line(x, y, left + width, y, grid))
        parts.append(_text(x - 8, y + 4, f"{10.0**decade:,g}", "end"))
    parts.append(_text(left + width / 2, top + height + 38, axes[0], "middle"))
    parts.append(_text(left, top - 6, axes[1]))
    for number, (name, line) in enumerate(series.items()):
        color = COLORS[number % len(COLORS)]
        dash = DASHES[number // len(COLORS) % len(DASHES)]
        stroke = f"stroke='{color}' stroke-width='2' stroke-dasharray='{dash}'"
        where = " ".join(f"{x:.1f},{y:.1f}" for x, y in itertools.starmap(place, line))
        parts.append(f"<polyline points='{where}' fill='none' {stroke}/>")
        row = top + 10 + number * 20
        beside = left + width + 16
        parts.append(_line(beside, row, beside + 24, row, stroke))
        parts.append(_text(beside + 30, row + 4, name))
    high = max(top + height + 52, top + 20 + len(series) * 20)
    return _document(left + width + 190, high, title, parts)
